//! Collects changes that every member has reported, when the partition's log allows it.
//!
//! The log is told first, so that nothing is accepted any more that has not seen them, and what was
//! accepted before is brought into the file (`consensus::collected`). It is tried until it is done: what
//! every member has reported once, they have for ever. Invariant: the protocol hears of it when it is
//! done, and asks for no more before that.

use std::sync::Arc;
use std::time::Duration;

use nuda_core::site::PartitionId;
use nuda_core::version_vector::VersionVector;

use crate::consensus::collected;
use crate::error::Result;
use crate::node::Node;
use crate::partition::Partition;

/// A try that failed (no majority, a full disk) is repeated after this long.
const RETRY: Duration = Duration::from_secs(1);

/// Collects `frontier`.
pub(crate) async fn run(node: Arc<Node>, partition: PartitionId, frontier: VersionVector) {
    while let Some(at) = node.partitions.by_id(partition) {
        match collect(&node, at, partition, &frontier).await {
            Ok(()) => return,
            Err(e) => tracing::debug!(%partition, error = %e, "not collected yet"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn collect(
    node: &Arc<Node>,
    at: Arc<Partition>,
    partition: PartitionId,
    frontier: &VersionVector,
) -> Result<()> {
    collected::allow(node, partition, frontier).await?;
    let frontier = frontier.clone();
    node.on_partition(at, move |node, at, host| host.collect(node, at, frontier))
        .await
}
