//! Consensus: the ordered log behind strong transactions.
//!
//! One group for each set of voters and home; it orders the transactions of all partitions that
//! those nodes hold. In reading order: `types` (what the Raft engine is told), `store` (one
//! file for all groups), `writer` (its one writer, one sync for all that waits), `journal` (where
//! entries are synced before that file gets them), `log` (a group's log in it), `machine`
//! (decisions, by `nuda_core::certify`), `wire` and `network` (between nodes), `charter` (who is in a
//! group), `group` (one group on this node), `engine_members` (incarnations of its members), `found`
//! (who founds groups and opens partitions), `moves` (partitions whose members change), `retire`
//! (groups without partitions), `propose`
//! (questions of the extension, carried to the leader), `explain` (why nobody can be asked, for people), `turns` (who is next where many
//! compete), `execute` and `statement` (what runs at the leader for others), `deliver` (accepted transactions into
//! the partitions' files), `collected` (what members collect is in the log first), `socket` (the extension's connections), `told` (what came of it, counted). `broken` is for tests: what must be noticed.
//!
//! Invariants. Nothing is acknowledged before the log that holds it has been fsynced. A node
//! votes under the id of its log file's incarnation only: a file that is new, copied or
//! restored has another id, which is in no group. Nothing here takes a SQLite lock of a
//! partition's file, save `deliver`, for which nobody's acknowledgement waits.

mod broken;
pub(crate) mod charter;
pub(crate) mod collected;
pub(crate) mod deliver;
mod engine_members;
mod execute;
pub(crate) mod explain;
pub(crate) mod fence;
pub(crate) mod found;
pub(crate) mod group;
mod journal;
mod log;
mod machine;
mod moves;
mod network;
pub(crate) mod propose;
mod recent;
mod retire;
pub(crate) mod socket;
mod statement;
mod store;
pub(crate) mod told;
mod turns;
pub(crate) mod types;
pub(crate) mod wire;
mod writer;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use nuda_core::moves::Departed;
use nuda_core::site::PartitionId;
use tokio::sync::Notify;

use crate::error::{Error, Result};
use crate::node::Node;
use charter::Charter;
use deliver::Delivery;
use execute::Executors;
use group::Group;
use recent::Recent;
use store::Store;
use told::Told;
use types::GroupId;

/// All groups of this node.
pub(crate) struct Consensus {
    store: Arc<Store>,
    groups: RwLock<HashMap<GroupId, Arc<Group>>>,
    pub(crate) delivery: Arc<Delivery>,
    pub(crate) told: Told,
    recent: Recent,
    executors: Executors,
    /// One group is founded at a time.
    founding: tokio::sync::Mutex<()>,
    /// Partitions whose members are being changed: their groups wait for the last one.
    held: Mutex<HashMap<String, usize>>,
    /// Member lists have changed.
    news: Notify,
    /// The member list with which a partition was last found to be where it belongs.
    settled: Mutex<HashMap<PartitionId, (GroupId, u64)>>,
    /// Groups of which another member has said that they have ended.
    ended: Mutex<HashSet<GroupId>>,
    /// Why partitions have no log, as of the last attempt.
    unordered: Mutex<HashMap<PartitionId, String>>,
}

/// What is known of the group of a partition.
pub(crate) struct Known {
    pub(crate) group: GroupId,
    pub(crate) charter: Charter,
    /// The number of the move by which the partition came there.
    pub(crate) moves: u64,
}

/// A partition's group stays as it is, until this is dropped.
pub(crate) struct Hold<'a>(&'a Consensus, String);

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        let mut held = lock(&self.0.held);
        if let Some(count) = held.get_mut(&self.1) {
            *count -= 1;
        }
        held.retain(|_, count| *count > 0);
        drop(held);
        self.0.news.notify_one();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Consensus {
    /// Opens the log file in the daemon's private directory. No group runs yet.
    pub(crate) fn open(private: &Path) -> Result<Self> {
        let store = Store::open(&private.join("consensus.db"))?;
        Ok(Self {
            store: Arc::new(store),
            groups: RwLock::default(),
            delivery: Arc::new(Delivery::default()),
            told: Told::default(),
            recent: Recent::default(),
            executors: Executors::default(),
            founding: tokio::sync::Mutex::default(),
            held: Mutex::default(),
            news: Notify::new(),
            settled: Mutex::default(),
            ended: Mutex::default(),
            unordered: Mutex::default(),
        })
    }

    /// This node's name in every group, while its log file lives.
    pub(crate) fn incarnation(&self) -> u64 {
        self.store.incarnation()
    }

    /// For tests: the disk of the log takes nothing, or everything again.
    pub(crate) fn set_stalled(&self, stalled: bool) {
        self.store.set_stalled(stalled);
    }

    /// Starts the groups that the log file holds.
    pub(crate) async fn start(&self, node: &Arc<Node>) -> Result<()> {
        for kept in self.store.groups()? {
            let id = kept.id;
            let group = Group::start(node, &self.store, kept).await?;
            self.enter(id, Arc::new(group));
        }
        Ok(())
    }

    /// Ends all groups; what they acknowledged is on disk.
    pub(crate) async fn stop(&self) {
        for group in self.all() {
            group.stop().await;
        }
    }

    fn enter(&self, id: GroupId, group: Arc<Group>) {
        let mut groups = self.groups.write().unwrap_or_else(PoisonError::into_inner);
        groups.insert(id, group);
    }

    /// All groups.
    pub(crate) fn all(&self) -> Vec<Arc<Group>> {
        let groups = self.groups.read().unwrap_or_else(PoisonError::into_inner);
        groups.values().map(Arc::clone).collect()
    }

    /// A group by its id.
    pub(crate) fn group(&self, id: GroupId) -> Option<Arc<Group>> {
        let groups = self.groups.read().unwrap_or_else(PoisonError::into_inner);
        groups.get(&id).map(Arc::clone)
    }

    /// The group that orders a partition, as far as this node knows: of two, one has not heard yet
    /// that the partition has moved.
    pub(crate) fn of_partition(&self, partition: PartitionId) -> Option<Arc<Group>> {
        let groups = self.all().into_iter();
        let ordering = groups.filter_map(|group| Some((group.moves(partition)?, group)));
        let latest = ordering.max_by_key(|(moves, _)| *moves);
        latest.map(|(_, group)| group)
    }

    /// Where a partition went that a group here has ordered.
    pub(crate) fn departed(&self, partition: PartitionId) -> Option<Departed> {
        let groups = self.all();
        let departed = groups.iter().filter_map(|group| group.departed(partition));
        departed.max_by_key(|departed| departed.moves)
    }

    /// The group that orders a partition, or will when it has arrived there.
    pub(crate) fn describe(&self, partition: PartitionId) -> Option<Known> {
        let here = self.of_partition(partition).and_then(|group| {
            Some(Known {
                group: group.id,
                charter: group.charter.clone(),
                moves: group.moves(partition)?,
            })
        });
        here.or_else(|| {
            let Departed { moves, to, .. } = self.departed(partition)?;
            let charter = Charter {
                home: to.home,
                voters: to.voters,
                followers: to.followers,
            };
            Some(Known {
                group: GroupId(to.group),
                charter,
                moves,
            })
        })
    }

    /// Notes why a partition has no log yet, or that this is not known.
    fn note_unordered(&self, partition: PartitionId, why: Option<String>) {
        let mut unordered = lock(&self.unordered);
        match why {
            Some(why) => unordered.insert(partition, why),
            None => unordered.remove(&partition),
        };
    }

    /// Whether what this node says of its groups can be relied on: soon after a start a log is there
    /// and what it says is not known yet.
    async fn has_caught_up(&self) -> bool {
        for group in self.all() {
            if !group.has_caught_up().await {
                return false;
            }
        }
        true
    }

    /// Leaves a partition's group as it is, until the answer is dropped.
    pub(crate) fn hold(&self, partition: &str) -> Hold<'_> {
        *lock(&self.held).entry(partition.to_owned()).or_default() += 1;
        Hold(self, partition.to_owned())
    }

    /// A member list has changed.
    pub(crate) fn look_again(&self) {
        self.news.notify_one();
    }

    fn is_held(&self, partition: &str) -> bool {
        lock(&self.held).contains_key(partition)
    }

    /// Forgets a group that has ended.
    async fn forget(&self, group: &Arc<Group>) -> Result<()> {
        let (store, id) = (Arc::clone(&self.store), group.id);
        {
            let mut groups = self.groups.write().unwrap_or_else(PoisonError::into_inner);
            groups.remove(&id);
        }
        group.stop().await;
        tokio::task::spawn_blocking(move || store.retire_group(id)).await??;
        lock(&self.ended).remove(&id);
        Ok(())
    }

    /// Whether a group was here and has ended.
    fn has_ended(&self, group: GroupId) -> Result<bool> {
        self.store.is_retired(group)
    }

    /// Another member says that a group has ended.
    pub(crate) fn ended_elsewhere(&self, group: GroupId) {
        lock(&self.ended).insert(group);
    }

    /// The group of this description, kept and started if it is new here.
    pub(crate) async fn take_part(
        &self,
        node: &Arc<Node>,
        id: GroupId,
        charter: &Charter,
    ) -> Result<Arc<Group>> {
        if let Some(group) = self.group(id) {
            return Ok(group);
        }
        let store = Arc::clone(&self.store);
        let charter = charter.clone();
        let keeping = tokio::task::spawn_blocking(move || store.keep_group(id, &charter)).await??;
        let group = Arc::new(Group::start(node, &self.store, keeping).await?);
        let mut groups = self.groups.write().unwrap_or_else(PoisonError::into_inner);
        // Two who found at once: the first one stays.
        if let Some(first) = groups.get(&id) {
            return Ok(Arc::clone(first));
        }
        groups.insert(id, Arc::clone(&group));
        Ok(group)
    }
}

/// A failure of the engine, as an error of ours.
fn engine(e: impl std::fmt::Display) -> Error {
    Error::retry(format!("consensus: {e}"))
}
