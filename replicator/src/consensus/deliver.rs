//! Accepted transactions into the partitions' files.
//!
//! Each accepted transaction is queued by its place in the log and applied in order by the
//! partition's worker, with what travelled with it, by the extension's own apply. The file
//! itself says what it has: what the origin's commit recorded, or what another member brought,
//! is a duplicate and skipped. Nobody's acknowledgement waits for any of this; a strong read
//! does, and a snapshot of the log.
//!
//! What an application on this node proposed, it is about to commit itself: it is left alone for
//! that, since asking for the file's write lock at that moment would only make both wait for
//! each other. Transactions of others that follow each other quickly are applied together, unless
//! somebody waits for them.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nuda_core::certify::{Entry, Proposal};
use nuda_core::site::{Dot, PartitionId};
use nuda_core::version_vector::VersionVector;
use openraft::EntryPayload;
use tokio::sync::{Notify, watch};

use super::log::Log;
use crate::error::{Error, Result};
use crate::node::Node;
use crate::partition::host::Host;
use crate::partition::{Partition, notice};

/// Transactions that one turn of the worker applies.
const TURN: usize = 64;

/// A try that failed (a lock, a full disk) is repeated after this long.
const RETRY: Duration = Duration::from_millis(50);

/// Whoever waits for a position looks again after this long, whatever happened.
const LOOK: Duration = Duration::from_millis(100);

/// How long an application may take for the commit of what it proposed, and how long if somebody
/// waits for that.
const OWN: Duration = Duration::from_millis(100);
const OWN_HURRIED: Duration = Duration::from_millis(2);

/// The pause between two turns at a file for which nobody waits: at least this long, longer the
/// more files are written, so that all together take less than seventy turns a second, and never longer
/// than GATHER_MAX. A turn costs a transaction and two looks, however little it brings.
const GATHER: Duration = Duration::from_millis(50);
const GATHER_EACH: Duration = Duration::from_millis(15);
const GATHER_MAX: Duration = Duration::from_millis(250);

/// Where an accepted transaction lies.
pub(crate) struct Place {
    pub(crate) dot: Dot,
    pub(crate) log: Log,
    pub(crate) index: u64,
    /// Since when an application on this node may commit it; `None` for those of others.
    pub(crate) own_since: Option<Instant>,
}

/// What a partition's worker does next.
enum Next {
    Apply(Vec<Place>),
    Wait(Duration),
    End,
}

/// What is accepted and not in the file yet.
#[derive(Default)]
struct Queue {
    places: VecDeque<Place>,
    /// When the file was written last.
    turned: Option<Instant>,
    /// How many wait for the file.
    waiting: usize,
    /// Somebody began to wait, or something of others came to what this node's applications wrote.
    news: Arc<Notify>,
}

impl Queue {
    /// `busy` partitions have something to apply.
    fn next(&self, now: Instant, busy: u32) -> Next {
        let Some(first) = self.places.front() else {
            return Next::End;
        };
        let own_since = first.own_since.filter(|_| self.all_own());
        let due = due(own_since, self.waiting > 0, self.turned, busy);
        match due.unwrap_or(now).saturating_duration_since(now) {
            Duration::ZERO => {
                Next::Apply(self.places.iter().take(TURN).map(Place::again).collect())
            }
            left => Next::Wait(left),
        }
    }

    /// Whether nothing of others is among it.
    fn all_own(&self) -> bool {
        self.places.iter().all(|place| place.own_since.is_some())
    }
}

/// When the next turn is; `None`: at once. `own_since`: all of it is this node's applications'.
fn due(
    own_since: Option<Instant>,
    hurried: bool,
    turned: Option<Instant>,
    busy: u32,
) -> Option<Instant> {
    match own_since {
        Some(since) if hurried => Some(since + OWN_HURRIED),
        Some(since) => Some(since + OWN),
        None if hurried => None,
        None => turned.map(|turned| turned + (GATHER_EACH * busy).clamp(GATHER, GATHER_MAX)),
    }
}

/// What is accepted and not known to be in its file.
#[derive(Default)]
pub(crate) struct Delivery {
    queues: Mutex<HashMap<PartitionId, Queue>>,
    /// Partitions with a worker.
    running: Mutex<HashSet<PartitionId>>,
    /// What each file has, as far as is known here.
    reached: Mutex<HashMap<PartitionId, watch::Sender<VersionVector>>>,
    /// What each file had at its latest fsync for a snapshot.
    secured: Mutex<HashMap<PartitionId, VersionVector>>,
    /// For which file, by device and inode, the two above hold.
    files: Mutex<HashMap<PartitionId, (u64, u64)>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Delivery {
    /// A transaction was accepted.
    pub(crate) fn accepted(
        self: &Arc<Self>,
        node: &Arc<Node>,
        partition: PartitionId,
        place: Place,
    ) {
        let mut queues = lock(&self.queues);
        let queue = queues.entry(partition).or_default();
        if place.own_since.is_none() && queue.all_own() {
            queue.news.notify_one();
        }
        queue.places.push_back(place);
        drop(queues);
        self.begin(node, partition);
    }

    /// Starts a partition's worker unless it runs.
    fn begin(self: &Arc<Self>, node: &Arc<Node>, partition: PartitionId) {
        if lock(&self.running).insert(partition) {
            let (delivery, worker) = (Arc::clone(self), Arc::clone(node));
            node.spawn(async move { delivery.work(worker, partition).await });
        }
    }

    async fn work(self: Arc<Self>, node: Arc<Node>, partition: PartitionId) {
        loop {
            let (next, news) = self.next(partition);
            let turn = match next {
                Next::Apply(turn) => turn,
                Next::Wait(left) => {
                    let _ = tokio::time::timeout(left, news.notified()).await;
                    continue;
                }
                Next::End => {
                    lock(&self.running).remove(&partition);
                    // Something may have been queued since.
                    if !matches!(self.next(partition).0, Next::End) {
                        self.begin(&node, partition);
                    }
                    return;
                }
            };
            let Some(at) = node.partitions.by_id(partition) else {
                // Not here, or not opened yet: what is here later comes from a snapshot.
                tokio::time::sleep(LOOK).await;
                continue;
            };
            let done = node
                .on_partition(at, move |node, at, host| host.deliver(node, at, &turn))
                .await;
            match done {
                Ok(reached) => {
                    let has_moved = self.delivered(partition, &reached);
                    self.reach(partition, &reached);
                    if !has_moved {
                        // Something before it is missing and comes from another member.
                        tokio::time::sleep(RETRY).await;
                    }
                }
                Err(e) => {
                    tracing::debug!(%partition, error = %e, "an accepted transaction is not applied yet");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    /// What comes next for a partition, and who tells that this has changed. Places stay queued
    /// until the file has them.
    fn next(&self, partition: PartitionId) -> (Next, Arc<Notify>) {
        let busy = u32::try_from(lock(&self.running).len()).unwrap_or(u32::MAX);
        let mut queues = lock(&self.queues);
        let queue = queues.entry(partition).or_default();
        (queue.next(Instant::now(), busy), Arc::clone(&queue.news))
    }

    /// A turn at a file is over; whether anything is done with.
    fn delivered(&self, partition: PartitionId, has: &VersionVector) -> bool {
        let mut queues = lock(&self.queues);
        let Some(queue) = queues.get_mut(&partition) else {
            return true;
        };
        let before = queue.places.len();
        queue.places.retain(|place| !has.contains(place.dot));
        queue.turned = Some(Instant::now());
        queue.places.len() < before
    }

    /// Somebody waits for a file, or no longer does.
    fn waits(&self, partition: PartitionId, more: bool) {
        let mut queues = lock(&self.queues);
        let queue = queues.entry(partition).or_default();
        if more {
            queue.waiting += 1;
            queue.news.notify_one();
        } else {
            queue.waiting = queue.waiting.saturating_sub(1);
        }
    }

    /// A file has these.
    pub(crate) fn reach(&self, partition: PartitionId, has: &VersionVector) {
        let mut reached = lock(&self.reached);
        let at = reached
            .entry(partition)
            .or_insert_with(|| watch::Sender::new(VersionVector::new()));
        at.send_if_modified(|at| {
            let news = !at.covers(has);
            at.join(has);
            news
        });
    }

    /// A file was put in the place of another, or has less than before: what it has is not known.
    pub(crate) fn lost(&self, partition: PartitionId) {
        lock(&self.secured).remove(&partition);
        if let Some(at) = lock(&self.reached).get(&partition) {
            at.send_replace(VersionVector::new());
        }
    }

    /// Forgets what is known of a partition's file if another one is in its place.
    fn recognise(&self, node: &Arc<Node>, partition: PartitionId) {
        let at = node.partitions.by_id(partition);
        let Some(now) = at.and_then(|at| notice::file_at(&at.path)) else {
            return;
        };
        let before = lock(&self.files).insert(partition, now);
        if before.is_some_and(|before| before != now) {
            self.lost(partition);
        }
    }

    /// Waits until a file has these transactions of the log.
    pub(crate) async fn wait(
        self: &Arc<Self>,
        node: &Arc<Node>,
        partition: PartitionId,
        wanted: &VersionVector,
    ) -> Result<()> {
        self.recognise(node, partition);
        let mut at = {
            let mut reached = lock(&self.reached);
            reached
                .entry(partition)
                .or_insert_with(|| watch::Sender::new(VersionVector::new()))
                .subscribe()
        };
        if at.borrow_and_update().covers(wanted) {
            return Ok(());
        }
        let _waiter = Waiter::new(self, partition);
        loop {
            if at.borrow_and_update().covers(wanted) {
                return Ok(());
            }
            // It may be in the file without having passed through here: by the origin's own
            // commit, or from another member.
            let found = self.look(node, partition).await;
            if found.is_ok_and(|found| found.covers(wanted)) {
                return Ok(());
            }
            let _ = tokio::time::timeout(LOOK, at.changed()).await;
        }
    }

    /// Asks a file what it has.
    async fn look(&self, node: &Arc<Node>, partition: PartitionId) -> Result<VersionVector> {
        let at = node
            .partitions
            .by_id(partition)
            .ok_or_else(|| Error::not_found("the partition is not on this node"))?;
        let has = node
            .on_partition(at, |node, at, host| {
                // Before what is read: whether it is still the same file.
                host.live(node, at)?;
                host.replica(at)?.vector()
            })
            .await?;
        self.reach(partition, &has);
        Ok(has)
    }

    /// Waits until a file has what this vector has of the log, and answers what it has on disk then.
    pub(crate) async fn synced(
        self: &Arc<Self>,
        node: &Arc<Node>,
        partition: PartitionId,
        wanted: &VersionVector,
    ) -> Result<VersionVector> {
        let missing = || Error::not_found("the partition is not on this node");
        let at = node.partitions.by_id(partition).ok_or_else(missing)?;
        self.wait(node, partition, wanted).await?;
        node.on_partition(at, fsync).await
    }

    /// Waits until the files have these transactions on disk. Files that are not on this node
    /// need nothing.
    pub(crate) async fn secure(
        self: &Arc<Self>,
        node: &Arc<Node>,
        positions: &[(PartitionId, VersionVector)],
    ) {
        for (partition, wanted) in positions {
            self.recognise(node, *partition);
            while !self.is_secured(*partition, wanted) {
                let Some(at) = node.partitions.by_id(*partition) else {
                    break;
                };
                if self.wait(node, *partition, wanted).await.is_err() {
                    break;
                }
                match node.on_partition(at, fsync).await {
                    Ok(synced) => {
                        lock(&self.secured).insert(*partition, synced);
                    }
                    Err(e) => {
                        tracing::debug!(%partition, error = %e, "not on disk yet");
                        tokio::time::sleep(RETRY).await;
                    }
                }
            }
        }
    }
}

impl Delivery {
    fn is_secured(&self, partition: PartitionId, wanted: &VersionVector) -> bool {
        let secured = lock(&self.secured);
        let has = secured.get(&partition);
        has.is_some_and(|has| has.covers(wanted))
    }
}

/// Brings a file to disk; answers what it has there.
fn fsync(node: &Arc<Node>, at: &Arc<Partition>, host: &mut Host) -> Result<VersionVector> {
    host.live(node, at)?;
    let path = at.path.clone();
    host.replica(at)?.fsync(&path)
}

/// Somebody waits for a file, until this is dropped.
struct Waiter<'a>(&'a Delivery, PartitionId);

impl<'a> Waiter<'a> {
    fn new(delivery: &'a Delivery, partition: PartitionId) -> Self {
        delivery.waits(partition, true);
        Self(delivery, partition)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.waits(self.1, false);
    }
}

impl Place {
    fn again(&self) -> Self {
        Self {
            dot: self.dot,
            log: self.log.clone(),
            index: self.index,
            own_since: self.own_since,
        }
    }

    /// What was accepted; `None` if the log has dropped it, which it does only when the file
    /// has it.
    pub(crate) fn proposal(&self, at: &Partition) -> Result<Option<Proposal>> {
        let Some(entry) = self.log.entry(self.index)? else {
            return Ok(None);
        };
        let EntryPayload::Normal(data) = entry.payload else {
            return Ok(None);
        };
        match Entry::decode(&data.0) {
            Ok(Entry::Propose(partition, proposal)) if Some(partition) == at.id() => {
                Ok(Some(proposal))
            }
            _ => Err(Error::internal("an accepted entry that is no transaction")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_take_turns_and_who_waits_is_served_at_once() {
        let now = Instant::now();
        let pause = |busy| due(None, false, Some(now), busy).map(|due| due - now);
        assert_eq!(pause(1), Some(GATHER));
        assert_eq!(pause(10), Some(GATHER_EACH * 10));
        assert_eq!(pause(1_000), Some(GATHER_MAX));
        assert_eq!(pause(u32::MAX), Some(GATHER_MAX));
        assert_eq!(due(None, false, None, 1_000), None);
        assert_eq!(due(None, true, Some(now), 1_000), None);
        // An application's own COMMIT comes first.
        assert_eq!(due(Some(now), true, Some(now), 1), Some(now + OWN_HURRIED));
        assert_eq!(due(Some(now), false, Some(now), 1), Some(now + OWN));
    }
}
