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
///
/// They stand still first: while this kernel takes a disk away, an fsync may return as if it had
/// been done. A machine without power would not have said so to anybody.
pub(crate) fn cut(cluster: &mut Cluster, running: &Running, names: &[String]) -> bool {
    running.off(names);
    let all = |signal: &str| {
        // Applications are numbered node by node within each workload.
        let of_node = |client: usize| NAMES[client % NAMES.len()].to_owned();
        for client in (0..running.clients()).filter(|client| names.contains(&of_node(*client))) {
            running.signal(client, signal);
        }
        let daemons = &cluster.nodes;
        names.iter().for_each(|name| daemons.signal(name, signal));
    };
    all("-STOP");
    let disks: Vec<&Disk> = names.iter().map(|name| &cluster.disks[name]).collect();
    let was_cut = Disk::cut(&disks);
    all(if was_cut { "-KILL" } else { "-CONT" });
    if was_cut {
        names.iter().for_each(|name| cluster.nodes.kill(name));
    } else {
        running.on(names);
    }
    was_cut
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
