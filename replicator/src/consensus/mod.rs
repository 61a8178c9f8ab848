//! Consensus: the ordered log behind strong transactions.
//!
//! One group for each set of voters and home; it orders the transactions of all partitions that
//! those nodes hold. In reading order: `types` (what the Raft engine is told), `store` (one
//! file, one writer, one fsync for all that waits), `log` (a group's log in it), `machine`
//! (decisions, by `nuda_core::certify`), `wire` and `network` (between nodes), `group` (one
//! group on this node), `found` (who founds groups and opens partitions), `propose`
//! (questions of the extension, carried to the leader), `turns` (who is next where many
//! compete), `execute` and `statement` (what runs at the leader for others), `deliver` (accepted transactions into
//! the partitions' files), `socket` (the extension's connections).
//!
//! Invariants. Nothing is acknowledged before the log that holds it has been fsynced. A node
//! votes under the id of its log file's incarnation only: a file that is new, copied or
//! restored has another id, which is in no group. Nothing here takes a SQLite lock of a
//! partition's file, save `deliver`, for which nobody's acknowledgement waits.

pub(crate) mod deliver;
mod execute;
pub(crate) mod found;
pub(crate) mod group;
mod log;
mod machine;
mod network;
pub(crate) mod propose;
pub(crate) mod socket;
mod statement;
mod store;
mod turns;
pub(crate) mod types;
pub(crate) mod wire;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use nuda_core::site::PartitionId;

use crate::error::{Error, Result};
use crate::node::Node;
use deliver::Delivery;
use execute::Executors;
use group::Group;
use store::Store;
use types::GroupId;

/// All groups of this node.
pub(crate) struct Consensus {
    store: Arc<Store>,
    groups: RwLock<HashMap<GroupId, Arc<Group>>>,
    pub(crate) delivery: Arc<Delivery>,
    executors: Executors,
}

impl Consensus {
    /// Opens the log file in the daemon's private directory. No group runs yet.
    pub(crate) fn open(private: &Path) -> Result<Self> {
        let store = Store::open(&private.join("consensus.db"))?;
        Ok(Self {
            store: Arc::new(store),
            groups: RwLock::default(),
            delivery: Arc::new(Delivery::default()),
            executors: Executors::default(),
        })
    }

    /// This node's name in every group, while its log file lives.
    pub(crate) fn incarnation(&self) -> u64 {
        self.store.incarnation()
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

    /// The group that orders a partition, as far as this node knows.
    pub(crate) fn of_partition(&self, partition: PartitionId) -> Option<Arc<Group>> {
        self.all().into_iter().find(|g| g.orders(partition))
    }

    /// The group of this description, kept and started if it is new here.
    pub(crate) async fn take_part(
        &self,
        node: &Arc<Node>,
        id: GroupId,
        home: &str,
        voters: &[String],
    ) -> Result<Arc<Group>> {
        if let Some(group) = self.group(id) {
            return Ok(group);
        }
        let store = Arc::clone(&self.store);
        let (home, voters) = (home.to_owned(), voters.to_vec());
        let keeping =
            tokio::task::spawn_blocking(move || store.keep_group(id, &home, &voters)).await??;
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
