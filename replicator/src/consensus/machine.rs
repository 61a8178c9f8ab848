//! The engine's state machine: `nuda_core::certify`, with its snapshots in the store.
//!
//! The state lives in memory. It is rebuilt from the latest snapshot and the log after it; so a
//! snapshot is taken only when every transaction accepted up to there is in its partition's
//! file *and* on disk: then the log behind it is not needed any more. A snapshot from a leader
//! replaces decisions, never a file: what it skips reaches the file from the other members.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use nuda_core::certify::{Answer, Entry, Group, Ordered, Outcome};
use nuda_core::control::{Reply, Standing};
use nuda_core::protocol::NodeId;
use nuda_core::site::{Dot, PartitionId};
use nuda_core::version_vector::VersionVector;
use openraft::storage::RaftStateMachine;
use openraft::{
    BasicNode, EntryPayload, OptionalSend, RaftSnapshotBuilder, Snapshot, SnapshotMeta,
    StoredMembership,
};
use rusqlite::params;

use super::broken;
use super::deliver::Place;
use super::log::{Log, bytes, failed_read, failed_write, read};
use super::store::Store;
use super::types::{LogEntry, LogId, StorageError, Types, Verdict};
use crate::error::Result;
use crate::node::Node;

type Meta = SnapshotMeta<u64, BasicNode>;

/// A group's decisions, shared between the engine and those who ask.
#[derive(Clone)]
pub(crate) struct Machine {
    store: Arc<Store>,
    number: i64,
    log: Log,
    node: Arc<Node>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    group: Group,
    applied: Option<LogId>,
    membership: StoredMembership<u64, BasicNode>,
}

/// A transaction that was accepted just now.
struct Accepted {
    partition: PartitionId,
    dot: Dot,
    /// Whose application is about to commit it.
    origin: NodeId,
}

/// A snapshot as of one moment, on its way to the store.
pub(crate) struct Builder {
    machine: Machine,
    meta: Meta,
    group: Group,
}

impl Machine {
    /// The state as of the latest snapshot.
    pub(crate) fn open(store: Arc<Store>, number: i64, log: Log, node: Arc<Node>) -> Result<Self> {
        let mut state = State::default();
        if let Some((meta, body)) = load(&store, number)? {
            state = State::of_snapshot(&meta, &body)?;
        }
        Ok(Self {
            store,
            number,
            log,
            node,
            state: Arc::new(Mutex::new(state)),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the decisions.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Group) -> T) -> T {
        look(&self.state().group)
    }

    /// What the next proposal for a partition needs to know.
    pub(crate) fn standing(&self, partition: PartitionId) -> Standing {
        self.state().standing(partition)
    }

    async fn keep(&self, meta: &Meta, body: Vec<u8>) -> Result<(), StorageError> {
        let (number, meta) = (self.number, bytes(meta).map_err(failed_write)?);
        let written = self.store.written(move |conn| {
            conn.execute(
                "UPDATE consensus_group SET meta = ?, snapshot = ? WHERE number = ?",
                params![meta, body, number],
            )
            .map(|_| ())
        });
        written.await.map_err(failed_write)
    }
}

impl State {
    fn of_snapshot(meta: &Meta, body: &[u8]) -> Result<Self> {
        let group = Group::decode(body)
            .map_err(|e| crate::error::Error::internal(format!("a consensus snapshot: {e}")))?;
        Ok(Self {
            group,
            applied: meta.last_log_id,
            membership: meta.last_membership.clone(),
        })
    }

    fn standing(&self, partition: PartitionId) -> Standing {
        let ordered = self.group.partition(partition);
        Standing {
            decided: self.group.decided(),
            position: ordered.map_or(0, |o| o.link.seq),
            quorum: ordered.map(Ordered::quorum).unwrap_or_default(),
            covered: ordered.map(|o| o.covered.clone()).unwrap_or_default(),
            voters: self.membership.membership().voter_ids().count() as u64,
            clock_ahead_ms: 0,
        }
    }

    /// Applies one entry; answers also what it accepted, and whose.
    fn apply(&mut self, entry: LogEntry) -> (Verdict, Option<Accepted>) {
        self.applied = Some(entry.log_id);
        let data = match entry.payload {
            EntryPayload::Blank => return (Verdict(Vec::new()), None),
            EntryPayload::Membership(members) => {
                self.membership = StoredMembership::new(Some(entry.log_id), members);
                return (Verdict(Vec::new()), None);
            }
            EntryPayload::Normal(data) => data,
        };
        let entry = match Entry::decode(&data.0) {
            Ok(entry) => entry,
            Err(e) => {
                // Every member of this version says the same.
                let reply = Reply::NotCommitted(format!("the entry cannot be read; {e}"));
                return (Verdict(reply.encode()), None);
            }
        };
        let Some(partition) = entry.partition() else {
            let reply = Reply::Decided(self.group.apply(&entry), Standing::default());
            return (Verdict(reply.encode()), None);
        };
        let before = self.group.decided();
        let answer = self.group.apply(&broken::told(&self.group, &entry));
        let answer = broken::answer(&entry, answer);
        let accepted = match (answer, &entry) {
            (Answer::Decided(Outcome::Accepted(_)), Entry::Propose(partition, proposal))
                if self.group.decided() > before =>
            {
                proposal.dot().map(|dot| Accepted {
                    partition: *partition,
                    dot,
                    origin: proposal.id.node,
                })
            }
            _ => None,
        };
        let reply = Reply::Decided(answer, self.standing(partition));
        (Verdict(reply.encode()), accepted)
    }
}

fn load(store: &Store, number: i64) -> Result<Option<(Meta, Vec<u8>)>> {
    let (meta, body): (Option<Vec<u8>>, Option<Vec<u8>>) = store.reader().query_row(
        "SELECT meta, snapshot FROM consensus_group WHERE number = ?",
        [number],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    match (meta, body) {
        (Some(meta), Some(body)) => Ok(Some((read(&meta)?, body))),
        _ => Ok(None),
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotBuilder = Builder;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogId>, StoredMembership<u64, BasicNode>), StorageError> {
        let state = self.state();
        Ok((state.applied, state.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Verdict>, StorageError>
    where
        I: IntoIterator<Item = LogEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<LogEntry> = entries.into_iter().collect();
        if let Some(last) = entries.last() {
            self.log.flushed(last.log_id.index).await;
        }
        let mut verdicts = Vec::new();
        for entry in entries {
            let index = entry.log_id.index;
            let (verdict, accepted) = self.state().apply(entry);
            if let Some(accepted) = accepted {
                let delivery = Arc::clone(&self.node.consensus.delivery);
                let is_own = accepted.origin == self.node.id;
                let place = Place {
                    dot: accepted.dot,
                    log: self.log.clone(),
                    index,
                    own_since: is_own.then(Instant::now),
                };
                delivery.accepted(&self.node, accepted.partition, place);
            }
            verdicts.push(verdict);
        }
        Ok(verdicts)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let state = self.state();
        let index = state.applied.map_or(0, |id| id.index);
        Builder {
            machine: self.clone(),
            meta: SnapshotMeta {
                last_log_id: state.applied,
                last_membership: state.membership.clone(),
                snapshot_id: format!("{index}-{:016x}", crate::random::bits()),
            },
            group: state.group.clone(),
        }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Vec<u8>>, StorageError> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &Meta,
        snapshot: Box<Vec<u8>>,
    ) -> Result<(), StorageError> {
        let state = State::of_snapshot(meta, &snapshot).map_err(failed_read)?;
        self.keep(meta, *snapshot).await?;
        *self.state() = state;
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Types>>, StorageError> {
        let kept = load(&self.store, self.number).map_err(failed_read)?;
        Ok(kept.map(|(meta, body)| Snapshot {
            meta,
            snapshot: Box::new(body),
        }))
    }
}

impl RaftSnapshotBuilder<Types> for Builder {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Types>, StorageError> {
        let here = self.group.partitions();
        let here = here.map(|(id, ordered)| (id, ordered.accepted()));
        // What moves away is on the disks of a majority of its new voters when it has arrived.
        let leaving = self.group.all_departed().filter_map(|(id, departed)| {
            let baggage = departed.baggage.as_ref()?;
            Some((id, baggage.ordered.accepted()))
        });
        let positions: Vec<(PartitionId, VersionVector)> = here.chain(leaving).collect();
        let delivery = Arc::clone(&self.machine.node.consensus.delivery);
        delivery.secure(&self.machine.node, &positions).await;
        let body = self.group.encode();
        self.machine.keep(&self.meta, body.clone()).await?;
        Ok(Snapshot {
            meta: self.meta.clone(),
            snapshot: Box::new(body),
        })
    }
}
