//! The engine's messages over the nodes' transport.
//!
//! Every failure is given back as unreachable: the engine pauses and tries again; it never
//! depends on a message having arrived.
//!
//! The engine has one message under way to each voter, and one of them only says what is
//! committed, after every commit. So that the next entries need not wait for its answer, such a
//! message goes its own way on a line whose voter has just taken entries: at most one at a time,
//! and if it was not answered well, the next one is waited for again. A line that confirms a
//! reader's question has taken no entries, and is always waited for.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use openraft::error::{Fatal, RPCError, RaftError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{BasicNode, OptionalSend, RaftLogId, Snapshot, Vote};

use super::log::Log;
use super::types::{GroupId, LogId, Types};
use super::wire::{self, Call, EngineCall, Response};
use crate::broken::{Rule, is};
use crate::error::{Error, Result};
use crate::node::Node;
use crate::transport::Route;

type RpcError = RPCError<u64, BasicNode, RaftError<u64>>;

/// The pause after a message that did not arrive.
const PAUSE: Duration = Duration::from_millis(100);

/// Makes lines to other voters of one group.
pub(crate) struct Lines {
    pub(crate) node: Arc<Node>,
    pub(crate) group: GroupId,
    pub(crate) log: Log,
    pub(crate) acknowledged: Acknowledged,
}

/// What each voter has acknowledged to this node: a voter that has less has lost its log, and
/// is told so.
pub(crate) type Acknowledged = Arc<Mutex<HashMap<u64, LogId>>>;

/// The line to one voter.
pub(crate) struct Line {
    far: Far,
    /// The voter has taken entries at the last occasion.
    takes_entries: bool,
    /// What it has acknowledged on this line. A message without entries that asks about anything
    /// beyond is a question, by which the engine looks for where the two logs agree, and only the
    /// voter can answer it.
    matched: Option<LogId>,
    /// Whether the latest message that nobody waited for was answered well; `None` while it is
    /// under way.
    aside: Arc<Mutex<Option<bool>>>,
}

/// The voter at the other end.
#[derive(Clone)]
struct Far {
    node: Arc<Node>,
    group: GroupId,
    log: Log,
    to: u64,
    name: String,
    acknowledged: Acknowledged,
}

impl RaftNetworkFactory<Types> for Lines {
    type Network = Line;

    async fn new_client(&mut self, to: u64, at: &BasicNode) -> Line {
        Line {
            far: Far {
                node: Arc::clone(&self.node),
                group: self.group,
                log: self.log.clone(),
                to,
                name: at.addr.clone(),
                acknowledged: Arc::clone(&self.acknowledged),
            },
            takes_entries: false,
            matched: None,
            aside: Arc::new(Mutex::new(Some(true))),
        }
    }
}

impl Far {
    /// Nobody hears that an entry is committed before this node's disk has it: the engine has
    /// counted this node when it took the entry.
    async fn hold_back(&self, rpc: &mut AppendEntriesRequest<Types>) {
        let Some(committed) = rpc.leader_commit else {
            return;
        };
        if rpc.entries.is_empty() {
            self.log.flushed(committed.index).await;
        } else if !self.log.has_flushed(committed.index) {
            // Entries need not wait for it; the next message says it.
            rpc.leader_commit = None;
        }
    }

    /// Sends entries, or none, and notes what the voter has acknowledged.
    async fn append(
        &self,
        mut rpc: AppendEntriesRequest<Types>,
    ) -> Result<AppendEntriesResponse<u64>> {
        self.hold_back(&mut rpc).await;
        let last = rpc.entries.last().map(|entry| *entry.get_log_id());
        let last = last.or(rpc.prev_log_id);
        let answer = match self.call(EngineCall::Append(rpc)).await {
            Ok(Response::Append(answer)) => answer,
            Ok(_) => return Err(other_answer()),
            Err(_) if is(Rule::Majority) => AppendEntriesResponse::Success,
            Err(e) => return Err(e),
        };
        if let (AppendEntriesResponse::Success, Some(last)) = (&answer, last) {
            let mut acknowledged = lock(&self.acknowledged);
            let known = acknowledged.entry(self.to).or_insert(last);
            *known = last.max(*known);
        }
        Ok(answer)
    }

    async fn call(&self, message: EngineCall) -> Result<Response> {
        let acknowledged = lock(&self.acknowledged).get(&self.to).copied();
        let body = wire::encode(&Call::Engine {
            group: self.group,
            to: self.to,
            acknowledged,
            call: message,
        })?;
        match self.node.call(&self.name, Route::Consensus, body).await {
            Ok(answer) => {
                self.node.heard(&self.name);
                let answer = wire::decode(&answer)?;
                if let Response::Retired = answer {
                    self.node.consensus.ended_elsewhere(self.group);
                }
                Ok(answer)
            }
            Err(e) => {
                // A refusal is an answer: the node is there.
                if e.is_retry() {
                    self.node.failed(&self.name, &e);
                }
                Err(e)
            }
        }
    }
}

impl Line {
    /// Takes the place of the message that nobody waits for, if it is free and the one before was
    /// answered well.
    fn may_go_aside(&self) -> bool {
        let mut aside = lock(&self.aside);
        match *aside {
            Some(true) => {
                *aside = None;
                true
            }
            Some(false) => {
                *aside = Some(true);
                false
            }
            None => false,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unreachable(e: &Error) -> Unreachable {
    Unreachable::new(e)
}

fn other_answer() -> Error {
    Error::refused("an answer to another question")
}

impl RaftNetwork<Types> for Line {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, RpcError> {
        if !rpc.entries.is_empty() {
            let last = rpc.entries.last().map(|entry| *entry.get_log_id());
            let answer = self.far.append(rpc).await;
            self.takes_entries = matches!(answer, Ok(AppendEntriesResponse::Success));
            if self.takes_entries {
                self.matched = self.matched.max(last);
            }
            return answer.map_err(|e| unreachable(&e).into());
        }
        if self.takes_entries && rpc.prev_log_id <= self.matched && self.may_go_aside() {
            let (far, aside) = (self.far.clone(), Arc::clone(&self.aside));
            tokio::spawn(async move {
                let answer = far.append(rpc).await;
                let well = matches!(answer, Ok(AppendEntriesResponse::Success));
                *lock(&aside) = Some(well);
            });
            return Ok(AppendEntriesResponse::Success);
        }
        let answer = self.far.append(rpc).await;
        answer.map_err(|e| unreachable(&e).into())
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<u64>,
        _option: RPCOption,
    ) -> Result<VoteResponse<u64>, RpcError> {
        match self.far.call(EngineCall::Vote(rpc)).await {
            Ok(Response::Vote(answer)) => Ok(answer),
            Ok(_) => Err(unreachable(&other_answer()).into()),
            Err(e) => Err(unreachable(&e).into()),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote<u64>,
        snapshot: Snapshot<Types>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<u64>, StreamingError<Types, Fatal<u64>>> {
        let message = EngineCall::Snapshot {
            vote,
            meta: snapshot.meta,
            data: *snapshot.snapshot,
        };
        let answer = tokio::select! {
            answer = self.far.call(message) => answer,
            closed = cancel => return Err(StreamingError::Closed(closed)),
        };
        match answer {
            Ok(Response::Snapshot(vote)) => Ok(SnapshotResponse::new(vote)),
            Ok(_) => Err(unreachable(&other_answer()).into()),
            Err(e) => Err(unreachable(&e).into()),
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(PAUSE))
    }
}
