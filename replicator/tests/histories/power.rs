//! Machines that lose their power: one, two or all at the same moment.
//!
//! Daemon, applications and disk of a machine go together. What was not synced is gone from the
//! disk, and the machine boots again.

use std::collections::BTreeMap;

use crate::applications::Running;
use crate::cluster::{Cluster, NAMES};
use crate::support::Nodes;
pub(crate) use crate::support::power::Disk;
use crate::support::power::boots_of_their_own;

/// A disk for each node; `None` if this machine has no such thing.
pub(crate) fn disks(nodes: &mut Nodes) -> Option<BTreeMap<String, Disk>> {
    let mut disks = BTreeMap::new();
    for name in NAMES {
        disks.insert(name.to_owned(), Disk::new(nodes, name, 96)?);
    }
    boots_of_their_own(nodes, &NAMES).then_some(disks)
}

/// Cuts the power of these machines; false if this kernel cannot.
pub(crate) fn cut(cluster: &mut Cluster, running: &Running, names: &[String]) -> bool {
    running.off(names);
    let disks: Vec<&Disk> = names.iter().map(|name| &cluster.disks[name]).collect();
    if !Disk::cut(&disks) {
        running.on(names);
        return false;
    }
    names.iter().for_each(|name| cluster.nodes.kill(name));
    // Applications are numbered node by node within each workload.
    let of_node = |client: usize| NAMES[client % NAMES.len()].to_owned();
    for client in (0..running.clients()).filter(|client| names.contains(&of_node(*client))) {
        running.signal(client, "-KILL");
    }
    true
}

/// These machines boot.
pub(crate) fn boot(cluster: &mut Cluster, running: &Running, names: &[String], boot: usize) {
    for name in names {
        cluster.disks[name].back(boot);
    }
    names.iter().for_each(|name| cluster.nodes.spawn(name));
    // Applications are faster than the daemons.
    running.on(names);
    names.iter().for_each(|name| cluster.nodes.found(name));
}
