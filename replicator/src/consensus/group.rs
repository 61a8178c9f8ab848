//! One group on this node: the engine, its log and its decisions.
//!
//! Answers the calls of other nodes, and what the leader is asked. A call for another
//! incarnation than this node's is refused: it was meant for a log that is gone.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nuda_core::certify::{self, Answer, Entry, Foreseen, Ordered, Proposal, TxnId};
use nuda_core::control::{Reply, Standing};
use nuda_core::moves::Departed;
use nuda_core::site::{PartitionId, Site};
use nuda_core::turns::Contender;
use openraft::error::{ClientWriteError, RaftError};
use openraft::raft::AppendEntriesResponse;
use openraft::{BasicNode, ServerState, Snapshot};

use super::broken::{self, Early};
use super::charter::Charter;
use super::engine;
use super::engine_members;
use super::log::Log;
use super::machine::Machine;
use super::network::{Acknowledged, Lines};
use super::store::{Kept, Store};
use super::turns::{FairTurns, contender};
use super::types::{Data, GroupId, LogId, Raft, config};
use super::wire::{EngineCall, Response};
use crate::error::{Error, Result};
use crate::node::Node;

/// A leader that has not heard of a majority for this long takes no proposals: they could
/// only end as *unknown*.
pub(super) const QUORUM_SILENCE_MS: u64 = 1_000;

/// A leader says something within this time.
const LISTEN: Duration = Duration::from_millis(300);

/// A group that is as it should be knows its leader, and what that has, within this time.
const CATCHING_UP: Duration = Duration::from_secs(30);

/// One group.
pub(crate) struct Group {
    pub(crate) id: GroupId,
    pub(crate) charter: Charter,
    started: Instant,
    /// Since when it has nothing to do, as this node has seen it.
    pub(super) idle_since: Mutex<Option<Instant>>,
    pub(super) me: u64,
    store: Arc<Store>,
    log: Log,
    pub(super) raft: Raft,
    machine: Machine,
    turns: FairTurns,
}

/// What a leader made of an entry.
pub(crate) enum Appended {
    /// It is in the log, and this is what that means.
    Reply(Reply),
    /// It was not appended, and the reason lies with the group.
    Refused(String),
    /// Another node leads; nothing was appended.
    NotLeader,
    /// It may be in the log.
    Unknown(String),
}

/// Whoever starts hears first whether somebody leads. An election that it began at once would be refused, and
/// told of a greater log: for that the engine makes a node wait a second longer before its next one, which
/// is the one that counts.
async fn listen_first(raft: Raft, led: bool) {
    let began_with = raft.metrics().borrow().vote;
    tokio::time::sleep(LISTEN).await;
    if led && raft.metrics().borrow().vote == began_with {
        // Nobody leads in its place: often it leads again at once, in a new term.
        let _ = raft.trigger().elect().await;
    }
    tokio::time::sleep(LISTEN).await;
    raft.runtime_config().elect(true);
}

impl Group {
    /// Starts the engine on what the log file holds.
    pub(crate) async fn start(node: &Arc<Node>, store: &Arc<Store>, kept: Kept) -> Result<Self> {
        let log = Log::open(Arc::clone(store), kept.number)?;
        let machine = Machine::open(
            Arc::clone(store),
            kept.number,
            log.clone(),
            Arc::clone(node),
        )?;
        let lines = Lines {
            node: Arc::clone(node),
            group: kept.id,
            log: log.clone(),
            acknowledged: Acknowledged::default(),
        };
        let config = Arc::new(
            config(node.config.snapshot_after)
                .validate()
                .map_err(engine)?,
        );
        let me = store.incarnation();
        let raft = Raft::new(me, config, lines, log.clone(), machine.clone())
            .await
            .map_err(engine)?;
        if kept.charter.voters.len() > 1 {
            raft.runtime_config().elect(false);
            tokio::spawn(listen_first(raft.clone(), log.led()));
        } else if log.led() {
            raft.trigger().elect().await.map_err(engine)?;
        }
        let voters = kept.charter.voters.join(",");
        tracing::info!(group = %kept.id, home = kept.charter.home, voters, "takes part");
        Ok(Self {
            id: kept.id,
            charter: kept.charter,
            started: Instant::now(),
            idle_since: Mutex::default(),
            me,
            store: Arc::clone(store),
            log,
            raft,
            machine,
            turns: FairTurns::default(),
        })
    }

    /// Ends the engine.
    pub(crate) async fn stop(&self) {
        if let Err(e) = self.raft.shutdown().await {
            tracing::warn!(group = %self.id, error = %e, "ended badly");
        }
    }

    /// Whether this group orders a partition, as far as this node knows.
    pub(crate) fn orders(&self, partition: PartitionId) -> bool {
        self.machine.look(|g| g.partition(partition).is_some())
    }

    /// What is known of a partition that is ordered here.
    pub(crate) fn ordered(&self, partition: PartitionId) -> Option<Ordered> {
        self.machine.look(|g| g.partition(partition).cloned())
    }

    /// How often a partition that is ordered here has moved; `None` if it is not.
    pub(crate) fn moves(&self, partition: PartitionId) -> Option<u64> {
        self.machine
            .look(|g| g.partition(partition).map(|o| o.moves))
    }

    /// The partitions that are ordered here.
    pub(crate) fn partitions(&self) -> Vec<PartitionId> {
        let ids = |g: &certify::Group| g.partitions().map(|(id, _)| id).collect();
        self.machine.look(ids)
    }

    /// Where a partition went that was ordered here.
    pub(crate) fn departed(&self, partition: PartitionId) -> Option<Departed> {
        self.machine.look(|g| g.departed(partition).cloned())
    }

    /// The partitions that have left and are not known to have arrived.
    pub(crate) fn on_their_way(&self) -> Vec<(PartitionId, Departed)> {
        self.machine.look(|g| {
            let departed = g.all_departed();
            let on_their_way = departed.filter(|(_, departed)| departed.baggage.is_some());
            on_their_way
                .map(|(id, departed)| (id, departed.clone()))
                .collect()
        })
    }

    /// Whether it orders nothing and no move needs it; whether it has ended.
    pub(crate) fn is_idle(&self) -> (bool, bool) {
        self.machine.look(|g| (g.is_idle(), g.is_retired()))
    }

    /// What the next proposal needs to know, as far as this node knows.
    pub(crate) fn standing(&self, partition: PartitionId) -> Standing {
        self.machine.standing(partition)
    }

    /// What is known of an id, as far as this node knows.
    pub(crate) fn outcome(&self, id: TxnId) -> Option<Answer> {
        self.machine.look(|g| g.outcome(id))
    }

    /// What an accepted statement answered, if that is still kept.
    pub(crate) fn result(&self, id: TxnId) -> Option<String> {
        self.machine.look(|g| {
            let result = g.result(id)?;
            Some(String::from_utf8_lossy(result).into_owned())
        })
    }

    /// Whether it has its first members.
    pub(crate) async fn is_founded(&self) -> Result<bool> {
        self.raft.is_initialized().await.map_err(engine)
    }

    /// Gives the group its first members.
    pub(crate) async fn found(&self, voters: Vec<(u64, String)>) -> Result<()> {
        let members = voters
            .into_iter()
            .map(|(id, name)| (id, BasicNode::new(name)))
            .collect::<std::collections::BTreeMap<_, _>>();
        self.raft.initialize(members).await.map_err(engine)
    }

    /// Whether this node leads.
    pub(crate) fn leads(&self) -> bool {
        self.raft.metrics().borrow().state == ServerState::Leader
    }

    /// Whether this node has applied what its leader found committed when it began to lead. A group
    /// that has had no leader for long is not waited for, nor one of which nothing is here: then
    /// this node has acknowledged nothing of it.
    pub(crate) async fn has_caught_up(&self) -> bool {
        self.is_current() || !self.is_founded().await.unwrap_or(true)
    }

    fn is_current(&self) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let applied = metrics.last_applied.map(|id| id.leader_id.term);
        let is_current = metrics.current_leader.is_some() && applied == Some(metrics.current_term);
        is_current || self.started.elapsed() >= CATCHING_UP
    }

    /// The leader's name, if one is known.
    pub(crate) fn leader(&self) -> Option<String> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let id = metrics.current_leader?;
        let membership = metrics.membership_config.membership();
        membership.get_node(&id).map(|node| node.addr.clone())
    }

    /// The term, for people.
    pub(crate) fn term(&self) -> u64 {
        self.raft.metrics().borrow().current_term
    }

    /// As the leader: appends an entry and waits for its decision. Proposals wait for their turn
    /// first.
    pub(crate) async fn append(&self, entry: Vec<u8>, within: Duration) -> Appended {
        let began = Instant::now();
        if !self.leads() {
            return Appended::NotLeader;
        }
        let silent = self.raft.metrics().borrow().millis_since_quorum_ack;
        if silent.is_some_and(|ms| ms > QUORUM_SILENCE_MS) {
            return Appended::Refused("a majority of the voters does not answer".to_owned());
        }
        let proposed = match Entry::decode(&entry) {
            Ok(Entry::Propose(partition, proposal)) => Some((partition, proposal)),
            _ => None,
        };
        let Some((partition, proposal)) = proposed else {
            return self.write(entry, within).await;
        };
        let early = self
            .machine
            .look(|g| broken::early(g, partition, &proposal));
        if let Early::Append(entry) = early {
            return self.write(entry, within).await;
        }
        // Nobody overtakes a quorum transaction, and it overtakes nobody.
        let is_quorum = proposal
            .dot()
            .is_some_and(|dot| dot.site != Site::LOG_STRONG);
        if is_quorum {
            return match self.judge_early(partition, &proposal) {
                Some(reply) => Appended::Reply(reply),
                None => self.write(entry, within).await,
            };
        }
        let who = contender(&proposal);
        self.turns.arrived(partition, who);
        let reply = loop {
            let place = self.turns.place();
            if let Some(reply) = self.judge_early(partition, &proposal) {
                break reply;
            }
            let left = within.saturating_sub(began.elapsed());
            match self.turns.permit(partition, who) {
                Some(_) if left.is_zero() => {
                    return Appended::Refused("its turn did not come in time".to_owned());
                }
                Some(pause) => place.wait(pause.min(left)).await,
                None => match self.write(entry, left).await {
                    Appended::Reply(reply) => break reply,
                    other => return other,
                },
            }
        };
        self.turns.decided(partition, who, &reply);
        Appended::Reply(reply)
    }

    /// Waits until calls of others may be run without being overtaken at once.
    pub(crate) async fn turn_of_calls(&self, partition: PartitionId, until: Instant) {
        self.turns.wait(partition, Contender::Calls, until).await;
    }

    /// Puts an entry into the log and waits for its decision.
    async fn write(&self, entry: Vec<u8>, within: Duration) -> Appended {
        let began = Instant::now();
        let write = self.raft.client_write(Data(entry));
        match tokio::time::timeout(within, write).await {
            Err(_) => Appended::Unknown(format!(
                "no majority confirmed it within {} ms",
                began.elapsed().as_millis()
            )),
            Ok(Ok(written)) => match Reply::decode(written.data.0.get(4..).unwrap_or_default()) {
                Ok(reply) => Appended::Reply(reply),
                Err(e) => Appended::Unknown(format!("the decision cannot be read; {e}")),
            },
            // The engine says this before it appends and when it stops leading half-way.
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_)))) => {
                Appended::Unknown("the leader has changed".to_owned())
            }
            Ok(Err(e)) => Appended::Unknown(format!("the leader failed; {e}")),
        }
    }

    /// What needs no entry: an id that is decided, a snapshot that is stale (positions only
    /// grow), dependencies that would have to travel too.
    fn judge_early(&self, partition: PartitionId, proposal: &Proposal) -> Option<Reply> {
        let verdict = self.machine.look(|g| g.foresee(partition, proposal))?;
        let standing = self.standing(partition);
        Some(match verdict {
            Foreseen::Answer(answer) => Reply::Decided(answer, standing),
            Foreseen::Lacks => Reply::Lacks(standing),
        })
    }

    /// As the leader: where a partition stands, confirmed by a majority after the question.
    pub(crate) async fn position(&self, partition: PartitionId, within: Duration) -> Appended {
        if !self.leads() {
            return Appended::NotLeader;
        }
        match tokio::time::timeout(within, self.raft.ensure_linearizable()).await {
            Err(_) => Appended::Refused("a majority of the voters does not answer".to_owned()),
            Ok(Ok(_)) if self.orders(partition) => {
                Appended::Reply(Reply::Ready(self.standing(partition)))
            }
            Ok(Ok(_)) => {
                let standing = self.standing(partition);
                let answer = self.elsewhere(partition);
                Appended::Reply(Reply::Decided(answer, standing))
            }
            Ok(Err(e)) => Appended::Refused(format!("the leader is not confirmed; {e}")),
        }
    }

    /// What is said of a partition that is not ordered here.
    pub(crate) fn elsewhere(&self, partition: PartitionId) -> Answer {
        match self.machine.look(|g| g.departed(partition).is_some()) {
            true => Answer::Moved,
            false => Answer::NotHere,
        }
    }

    /// Whether this incarnation is in the group.
    pub(crate) fn is_member(&self) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        metrics
            .membership_config
            .membership()
            .get_node(&self.me)
            .is_some()
    }

    /// Whether this incarnation is among those whose votes and acknowledgements count, in the old
    /// membership and in the new one while it changes. A log that is empty yet names nobody.
    pub(crate) fn votes(&self) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        engine_members::counts(metrics.membership_config.membership(), self.me)
    }

    /// Whether this incarnation is what the charter says that this node is: a voter, or a follower.
    pub(crate) fn has_its_place(&self, me: &str) -> bool {
        match self.charter.voters.iter().any(|voter| voter == me) {
            true => self.votes(),
            false => self.is_member(),
        }
    }

    /// Why the engine has stopped, if it has.
    pub(crate) fn failure(&self) -> Option<String> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        metrics
            .running_state
            .as_ref()
            .err()
            .map(ToString::to_string)
    }

    /// Whether this log holds what this node has acknowledged; if not, the node is in no group
    /// from here on, and takes a new incarnation when it starts again.
    async fn check_log(&self, acknowledged: Option<LogId>) -> Result<()> {
        if self.store.is_disowned() {
            return Err(Error::refused(
                "this node has lost the end of its consensus log",
            ));
        }
        if acknowledged <= self.log.greatest() {
            return Ok(());
        }
        // Said once it is so: whoever restarts the daemon then gets what is promised.
        self.store.disown().await?;
        tracing::error!(group = %self.id, "the consensus log ends before what this node acknowledged: it was restored from an older copy; restart the daemon, and it joins its groups anew");
        self.stop().await;
        Err(Error::refused(
            "this node has lost the end of its consensus log",
        ))
    }

    /// A message of the engine on another node.
    pub(crate) async fn engine_call(
        &self,
        to: u64,
        acknowledged: Option<LogId>,
        call: EngineCall,
    ) -> Result<Response> {
        if to != self.me {
            return Err(Error::refused(format!(
                "the voter {to:016x} is gone; this node's consensus log is another one ({:016x})",
                self.me
            )));
        }
        self.check_log(acknowledged).await?;
        Ok(match call {
            EngineCall::Append(rpc) => {
                let last = rpc.entries.last().map(|entry| entry.log_id);
                let upto = last.or(rpc.prev_log_id).map_or(0, |id| id.index);
                let answer = self.raft.append_entries(rpc).await.map_err(engine)?;
                match &answer {
                    AppendEntriesResponse::Success => self.log.flushed(upto).await,
                    AppendEntriesResponse::PartialSuccess(Some(id)) => {
                        self.log.flushed(id.index).await;
                    }
                    _ => {}
                }
                Response::Append(answer)
            }
            EngineCall::Vote(rpc) => Response::Vote(self.raft.vote(rpc).await.map_err(engine)?),
            EngineCall::Snapshot { vote, meta, data } => {
                let snapshot = Snapshot {
                    meta,
                    snapshot: Box::new(data),
                };
                let done = self.raft.install_full_snapshot(vote, snapshot).await;
                Response::Snapshot(done.map_err(engine)?.vote)
            }
        })
    }
}
