//! Groups without partitions end.
//!
//! The leader of a group that has had nothing to do for a while puts that into the log; whoever
//! applies it forgets the group, but not its name, so that nobody begins it again with an empty
//! log. The leader goes last, so that the others hear of it; one that did not is told when it
//! calls somebody who did. Here also followers are taken in, which is as little urgent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nuda_core::certify::Entry;

use super::found;
use super::group::{Appended, Group};
use super::lock;
use crate::error::Result;
use crate::node::Node;

/// A group has nothing to do for this long before it ends.
const IDLE: Duration = Duration::from_secs(5);

/// How long the leader waits for those that have not heard of the end.
const GRACE: Duration = Duration::from_secs(5);

/// How long putting the end into the log may take.
const WRITING: Duration = Duration::from_secs(2);

/// Looks at this node's groups.
pub(super) async fn look(node: &Arc<Node>) {
    for group in node.consensus.all() {
        let told = lock(&node.consensus.ended).contains(&group.id);
        let (is_idle, is_retired) = group.is_idle();
        if is_retired || told {
            if told || !group.leads() || waited(&group, GRACE) || all_know(&group) {
                end(node, &group).await;
            }
        } else if !is_idle {
            *lock(&group.idle_since) = None;
        } else if group.leads() && waited(&group, IDLE) {
            *lock(&group.idle_since) = None;
            if let Appended::Unknown(why) = group.append(Entry::Retire.encode(), WRITING).await {
                tracing::debug!(group = %group.id, why, "does not end yet");
            }
        }
        if group.leads()
            && let Err(e) = admit(node, &group).await
        {
            tracing::debug!(group = %group.id, error = %e, "a follower does not follow yet");
        }
    }
}

/// Whether that has been so for a while.
fn waited(group: &Group, time: Duration) -> bool {
    let mut since = lock(&group.idle_since);
    since.get_or_insert_with(Instant::now).elapsed() >= time
}

fn all_know(group: &Group) -> bool {
    group.behind().iter().all(|(_, behind)| *behind == Some(0)) && waited(group, GRACE / 5)
}

async fn end(node: &Arc<Node>, group: &Arc<Group>) {
    match node.consensus.forget(group).await {
        Ok(()) => tracing::info!(group = %group.id, "has ended: it orders no partition any more"),
        Err(e) => tracing::warn!(group = %group.id, error = %e, "cannot be forgotten yet"),
    }
}

async fn admit(node: &Arc<Node>, group: &Group) -> Result<()> {
    for follower in group.followers_missing() {
        if node.peers.is_reachable(&follower) {
            let incarnation = found::enlist(node, group.id, &follower, &group.charter).await?;
            group.admit(&follower, incarnation).await?;
        }
    }
    Ok(())
}
