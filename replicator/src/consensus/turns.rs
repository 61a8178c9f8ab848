//! Fair turns at the leader: `nuda_core::turns` with a clock and somebody to wait.
//!
//! A proposal that must wait holds nothing here; it is looked at again when a turn ends or
//! somebody has won, and is told at once if it has been overtaken meanwhile.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nuda_core::certify::{Answer, Outcome, Proposal};
use nuda_core::control::Reply;
use nuda_core::site::PartitionId;
use nuda_core::turns::{Contender, Permit, Turns};
use tokio::sync::watch;

use crate::clock;

/// The turns of all partitions of a group.
pub(super) struct FairTurns {
    by_partition: Mutex<HashMap<PartitionId, Turns>>,
    changed: watch::Sender<()>,
}

/// A place to wait in, made before the question whether to wait.
pub(super) struct Place(watch::Receiver<()>);

impl Default for FairTurns {
    fn default() -> Self {
        Self {
            by_partition: Mutex::default(),
            changed: watch::Sender::new(()),
        }
    }
}

/// Who makes a proposal.
pub(super) fn contender(proposal: &Proposal) -> Contender {
    if proposal.statements.is_empty() {
        Contender::Node(proposal.id.node)
    } else {
        Contender::Calls
    }
}

impl FairTurns {
    fn lock(&self) -> MutexGuard<'_, HashMap<PartitionId, Turns>> {
        self.by_partition
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A proposal is here.
    pub(super) fn arrived(&self, partition: PartitionId, who: Contender) {
        if let Some(turns) = self.lock().get_mut(&partition) {
            turns.arrived(who, clock::now_ms());
        }
    }

    /// What became of a proposal.
    pub(super) fn decided(&self, partition: PartitionId, who: Contender, reply: &Reply) {
        let Reply::Decided(Answer::Decided(outcome), _) = reply else {
            return;
        };
        let mut all = self.lock();
        match outcome {
            Outcome::Accepted(_) => {
                // Where nobody ever lost there are no turns.
                let Some(turns) = all.get_mut(&partition) else {
                    return;
                };
                turns.won(who, clock::now_ms());
            }
            Outcome::Stale(_) => {
                let turns = all.entry(partition).or_default();
                turns.lost(who, clock::now_ms());
            }
            Outcome::Aborted | Outcome::Refused(_) => return,
        }
        drop(all);
        self.changed.send_replace(());
    }

    /// Where to wait for whatever happens from now on.
    pub(super) fn place(&self) -> Place {
        Place(self.changed.subscribe())
    }

    /// Whether a proposal may go on; else how long it has to wait at most.
    pub(super) fn permit(&self, partition: PartitionId, who: Contender) -> Option<Duration> {
        let now_ms = clock::now_ms();
        match self.lock().get_mut(&partition)?.permit(who, now_ms) {
            Permit::Go => None,
            Permit::Wait(until_ms) => Some(Duration::from_millis(until_ms.saturating_sub(now_ms))),
        }
    }

    /// Waits until it may be worth it to make a proposal.
    pub(super) async fn wait(&self, partition: PartitionId, who: Contender, until: Instant) {
        loop {
            let place = self.place();
            let left = until.saturating_duration_since(Instant::now());
            match self.permit(partition, who) {
                Some(pause) if !left.is_zero() => place.wait(pause.min(left)).await,
                _ => return,
            }
        }
    }
}

impl Place {
    /// Waits until something has changed, or the time is over.
    pub(super) async fn wait(mut self, pause: Duration) {
        let _ = tokio::time::timeout(pause, self.0.changed()).await;
    }
}
