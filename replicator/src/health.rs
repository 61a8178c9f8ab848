//! What operators ask: is it ready, what are its figures.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use nuda_core::protocol::PeerState;

use crate::clock;
use crate::metrics::gauge;
use crate::node::Node;

/// Why the node is not ready; `None` when it is.
pub(crate) fn unready(node: &Node) -> Option<String> {
    if !node.scanned.load(Ordering::Acquire) {
        return Some("the directory is not looked over yet".to_owned());
    }
    let unopened = node
        .partitions
        .all()
        .iter()
        .filter(|p| p.id().is_none())
        .count();
    (unopened > 0).then(|| format!("{unopened} partitions are not opened yet"))
}

/// Everything for Prometheus. Partitions that are at work are left out this time.
pub(crate) fn exposition(node: &Arc<Node>) -> String {
    let mut text = node.metrics.exposition();
    text.push_str(&node.consensus.told.exposition());
    let partitions = node.partitions.all();
    let one = |value: u64| vec![(String::new(), value)];
    gauge(
        &mut text,
        "partitions",
        "Partitions on this node",
        &one(partitions.len() as u64),
    );
    let peers = node.peers.all();
    let reachable = |p: &&crate::peers::Peer| p.failure.is_none() && p.heard_ms.is_some();
    let incompatible = peers.iter().filter(|p| p.incompatible).count();
    gauge(&mut text, "peers", "Nodes known", &one(peers.len() as u64));
    gauge(
        &mut text,
        "peers_reachable",
        "Nodes that answered last time",
        &one(peers.iter().filter(reachable).count() as u64),
    );
    gauge(
        &mut text,
        "peers_incompatible",
        "Nodes of another protocol version",
        &one(incompatible as u64),
    );
    let ahead = u64::try_from(node.peers.clock_ahead_ms()).unwrap_or(0);
    gauge(
        &mut text,
        "clock_ahead_ms",
        "This clock minus the median of the peers'",
        &one(ahead),
    );
    let mut lag = Vec::new();
    let mut silent = Vec::new();
    let mut waiting = Vec::new();
    let (mut troubles, mut stopped) = (Vec::new(), Vec::new());
    for partition in &partitions {
        let Some((status, failing)) = partition
            .try_host()
            .and_then(|host| Some((host.status()?, host.troubles().len())))
        else {
            continue;
        };
        let labels = format!("{{partition=\"{}\"}}", partition.name);
        troubles.push((labels.clone(), failing as u64));
        stopped.push((labels, status.stopped_sites.len() as u64));
        let mut held_up = 0;
        for peer in status.peers {
            let labels = format!(
                "{{partition=\"{}\",peer=\"{}\"}}",
                partition.name,
                node.name_of(peer.node)
            );
            held_up += u64::from(peer.state == PeerState::Waiting);
            lag.push((labels.clone(), peer.lacks));
            if let Some(at_ms) = peer.last_contact_ms {
                silent.push((labels, clock::now_ms().saturating_sub(at_ms)));
            }
        }
        waiting.push((format!("{{partition=\"{}\"}}", partition.name), held_up));
    }
    gauge(&mut text, "lag_changesets", "Changesets a peer lacks", &lag);
    gauge(
        &mut text,
        "troubles",
        "Kinds of work that fail now: a full disk, a lock",
        &troubles,
    );
    gauge(
        &mut text,
        "stopped_sites",
        "Sites with two shipped variants of a change",
        &stopped,
    );
    gauge(
        &mut text,
        "silence_ms",
        "Time since a peer was heard about a partition",
        &silent,
    );
    gauge(
        &mut text,
        "peers_waiting",
        "Peers that hold changesets they cannot apply yet",
        &waiting,
    );
    text
}
