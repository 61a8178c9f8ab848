//! Idle anti-entropy: one summary per peer now and then, whatever the number of partitions.
//!
//! A summary has one 8-byte digest per partition that both nodes hold. Where digests agree
//! nothing more is said; where they differ the protocol exchanges vectors. Neither making nor
//! comparing one touches a file.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use nuda_core::protocol::{Event, NodeId, Summary};
use nuda_core::site::PartitionId;

use crate::node::Node;
use crate::partition::Job;
use crate::transport::wire::{Frame, Refused, RefusedKind};

/// Sends summaries for ever.
pub(crate) async fn run(node: Arc<Node>) {
    loop {
        tokio::time::sleep(node.config.compare).await;
        let worker = Arc::clone(&node);
        let sent = tokio::task::spawn_blocking(move || {
            for peer in worker.peers.entries() {
                send(&worker, &peer.name);
            }
        });
        if let Err(e) = sent.await {
            tracing::error!(error = %e, "comparing with peers failed");
        }
    }
}

fn send(node: &Arc<Node>, name: &str) {
    let peer = NodeId::of_name(name);
    let mut digests: Vec<(PartitionId, u64)> = Vec::new();
    for partition in node.partitions.all() {
        // One that is at work is compared the next time.
        if let Some(host) = partition.try_host()
            && let Some(live) = &host.live
            && live.kept.members.counts(peer)
        {
            digests.push((live.partition, live.machine.digest()));
        }
    }
    for piece in digests.chunks(Summary::ENTRIES) {
        let summary = Summary {
            from: node.id,
            digests: piece.to_vec(),
        };
        let frame = Frame::Summary(summary.encode());
        node.outboxes.send(node, name, None, frame);
    }
}

/// Compares a peer's summary; answers which of its partitions are not held here.
pub(crate) fn received(node: &Arc<Node>, summary: &Summary) -> Vec<Refused> {
    let mut unknown = Vec::new();
    for (id, digest) in &summary.digests {
        let Some(partition) = node.partitions.by_id(*id) else {
            unknown.push(not_held(node, *id));
            continue;
        };
        let Some(mut host) = partition.try_host() else {
            continue;
        };
        let Some(live) = &host.live else { continue };
        let event = Event::Compared {
            peer: summary.from,
            equal: live.machine.digest() == *digest,
        };
        // In place: agreement on a thousand partitions must not wake a thousand workers.
        if let Err(e) = host.feed(node, &partition, event) {
            tracing::debug!(partition = %partition.name, error = %e, "put off");
            partition.post(node, Job::Wake);
        }
        node.timers.set(&partition.name, host.deadline());
    }
    unknown
}

/// The refusal of a message about a partition that is not here (yet).
pub(crate) fn not_held(node: &Node, id: PartitionId) -> Refused {
    // A partition that was just found on disk has no known id until it was opened, and one
    // that was not looked for yet is not known at all. Saying that it is not held would make
    // the other members begin it anew.
    let starting = !node.scanned.load(Ordering::Acquire)
        || (node.partitions.all().iter()).any(|p| p.id().is_none() || p.id() == Some(id));
    Refused {
        partition: id.to_string(),
        reason: format!("{} does not hold this partition", node.me().name),
        kind: if starting {
            RefusedKind::Later
        } else {
            RefusedKind::Unknown
        },
    }
}
