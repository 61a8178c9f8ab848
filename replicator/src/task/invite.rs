//! Invites a member that lacks the partition to take a snapshot from this node.
//!
//! Tries until the member accepted (it fetches on its own then) or the node stops; a member
//! that is away is waited for. Accepting twice is harmless.

use std::sync::Arc;
use std::time::Duration;

use nuda_core::site::PartitionId;

use crate::limits;
use crate::node::Node;
use crate::transport::wire::{Ask, Done};

/// Invites `member` to hold `partition`.
pub(crate) async fn run(node: Arc<Node>, partition: String, id: PartitionId, member: String) {
    let ask = Ask::Invite {
        name: partition.clone(),
        id: id.to_string(),
    };
    let mut pause = Duration::from_millis(100);
    loop {
        match node.ask::<Done>(&member, &ask).await {
            Ok(Done {}) => {
                tracing::info!(partition, member, "invited");
                return;
            }
            Err(e) if e.is_retry() => {
                tracing::debug!(partition, member, error = %e, "cannot invite yet");
            }
            Err(e) => {
                tracing::error!(partition, member, error = %e, "the invitation was refused");
                return;
            }
        }
        node.wait_for_peer(&member, pause).await;
        pause = (pause * 2).min(limits::BACKOFF_MAX);
    }
}
