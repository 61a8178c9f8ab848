//! The engine's messages over the nodes' transport.
//!
//! Every failure is given back as unreachable: the engine pauses and tries again; it never
//! depends on a message having arrived.

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
            node: Arc::clone(&self.node),
            group: self.group,
            log: self.log.clone(),
            to,
            name: at.addr.clone(),
            acknowledged: Arc::clone(&self.acknowledged),
        }
    }
}

impl Line {
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

    fn acknowledged(&self) -> MutexGuard<'_, HashMap<u64, LogId>> {
        self.acknowledged
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    async fn call(&self, message: EngineCall) -> Result<Response> {
        let acknowledged = self.acknowledged().get(&self.to).copied();
        let body = wire::encode(&Call::Engine {
            group: self.group,
            to: self.to,
            acknowledged,
            call: message,
        })?;
        match self.node.call(&self.name, Route::Consensus, body).await {
            Ok(answer) => {
                self.node.heard(&self.name);
                wire::decode(&answer)
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

fn unreachable(e: &Error) -> Unreachable {
    Unreachable::new(e)
}

fn other_answer() -> Error {
    Error::refused("an answer to another question")
}

impl RaftNetwork<Types> for Line {
    async fn append_entries(
        &mut self,
        mut rpc: AppendEntriesRequest<Types>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, RpcError> {
        self.hold_back(&mut rpc).await;
        let last = rpc.entries.last().map(|entry| *entry.get_log_id());
        let last = last.or(rpc.prev_log_id);
        match self.call(EngineCall::Append(rpc)).await {
            Ok(Response::Append(answer)) => {
                if let (AppendEntriesResponse::Success, Some(last)) = (&answer, last) {
                    let mut acknowledged = self.acknowledged();
                    let known = acknowledged.entry(self.to).or_insert(last);
                    *known = last.max(*known);
                }
                Ok(answer)
            }
            Ok(_) => Err(unreachable(&other_answer()).into()),
            Err(e) => Err(unreachable(&e).into()),
        }
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<u64>,
        _option: RPCOption,
    ) -> Result<VoteResponse<u64>, RpcError> {
        match self.call(EngineCall::Vote(rpc)).await {
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
            answer = self.call(message) => answer,
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
