//! Why a transaction cannot be committed now, for people: who is away, and where its partition is.

use std::sync::Arc;

use nuda_core::site::PartitionId;

use super::group::{Group, QUORUM_SILENCE_MS};
use super::{Known, lock};
use crate::clock;
use crate::node::Node;

/// Why nobody can be asked.
pub(super) fn not_ordered(node: &Arc<Node>, partition: PartitionId) -> String {
    let (name, me) = (name_of(node, partition), &node.me().name);
    match node.consensus.describe(partition) {
        Some(Known { charter, .. }) if !charter.names(me) => format!(
            "{me} is no member of {name} any more; its members are {}; add {me} there with `nuda create {name} --on ...,{me}`",
            charter.members().cloned().collect::<Vec<_>>().join(", ")
        ),
        _ => format!(
            "{name} has no log here now: {}{}",
            no_log(node, partition),
            nothing_changed(&name)
        ),
    }
}

/// Why a partition has no log here.
pub(crate) fn no_log(node: &Node, partition: PartitionId) -> String {
    let mut why = Vec::new();
    if let Some(known) = node.consensus.describe(partition) {
        let voters = known.charter.voters.join(", ");
        why.push(format!(
            "it moves to the group of {voters} and has not arrived"
        ));
    }
    // Each of these may have it: what their logs say is not known without a leader.
    for group in node.consensus.all() {
        if group.leader().is_none() {
            let who = reachable(node, &group, "no leader is known");
            why.push(format!(
                "the group of {} has no leader, {who}",
                group.charter.voters.join(", ")
            ));
        }
    }
    if why.is_empty() {
        why.push("its founding node makes one when all members are reachable".to_owned());
    }
    if let Some(tried) = lock(&node.consensus.unordered).get(&partition) {
        why.push(format!("last tried: {tried}"));
    }
    why.join("; ")
}

/// Nobody leads.
pub(super) fn no_leader(node: &Arc<Node>, group: &Group, partition: PartitionId) -> String {
    explained(node, group, partition, "no leader is known")
}

/// Who is reachable and who is not, and why; if nobody is away, this.
pub(super) fn explained(
    node: &Arc<Node>,
    group: &Group,
    partition: PartitionId,
    why: &str,
) -> String {
    let who = reachable(node, group, why);
    who + &nothing_changed(&name_of(node, partition))
}

fn nothing_changed(name: &str) -> String {
    format!("; nothing was changed; see `nuda status {name}`")
}

/// A leader hears all voters several times a second.
fn reachable(node: &Node, group: &Group, why: &str) -> String {
    let me = &node.me().name;
    let now_ms = clock::now_ms();
    let peers = node.peers.all();
    let leads = group.leads();
    let mut reachable = 1;
    let mut away = Vec::new();
    for voter in group.charter.voters.iter().filter(|v| *v != me) {
        let Some(peer) = peers.iter().find(|p| p.entry.name == *voter) else {
            away.push(format!("{voter}: its address is not known"));
            continue;
        };
        let silent_ms = peer.heard_ms.map(|heard| now_ms.saturating_sub(heard));
        let what = match (&peer.failure, silent_ms) {
            (None, Some(ms)) if leads && ms > QUORUM_SILENCE_MS => "no answer",
            (None, Some(_)) => {
                reachable += 1;
                continue;
            }
            _ => "no route",
        };
        away.push(match silent_ms {
            Some(ms) => format!("{voter}: {what} since {} s", ms / 1_000),
            None => format!("{voter}: {what}"),
        });
    }
    let who = format!(
        "{reachable} of {} members reachable",
        group.charter.voters.len()
    );
    let away = if away.is_empty() {
        why.to_owned()
    } else {
        away.join("; ")
    };
    format!("{who} ({away})")
}

fn name_of(node: &Arc<Node>, partition: PartitionId) -> String {
    node.partitions
        .by_id(partition)
        .map_or_else(|| partition.to_string(), |p| p.name.clone())
}
