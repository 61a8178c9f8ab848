//! What members collect, written to the log beforehand.
//!
//! A proposal whose client gave up may be accepted much later. Its file has gone on meanwhile and
//! reported what the proposal had not seen, and when all members have that they would collect it: then
//! nobody could merge the proposal any more. So a member collects only what the log knows of, and only
//! when its file has all that was accepted before. Whatever comes after has seen it, or is refused
//! (`nuda_core::certify`): also what a process sent that is dead, or a node that has lost its disk.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nuda_core::certify::Entry;
use nuda_core::site::PartitionId;
use nuda_core::version_vector::VersionVector;

use super::propose;
use crate::broken::{self, Rule};
use crate::error::{Error, Result};
use crate::node::Node;

/// How long one try may take.
const WITHIN: Duration = Duration::from_secs(5);

/// Returns when this may be collected in the file of this node.
pub(crate) async fn allow(
    node: &Arc<Node>,
    partition: PartitionId,
    frontier: &VersionVector,
) -> Result<()> {
    if broken::is(Rule::Collection) {
        return Ok(());
    }
    let until = Instant::now() + WITHIN;
    let none = || Error::retry("the partition has no log here");
    let group = node.consensus.of_partition(partition).ok_or_else(none)?;
    let is_known = group
        .ordered(partition)
        .is_some_and(|ordered| ordered.collected.covers(frontier));
    let accepted = match is_known {
        true => group.standing(partition).accepted(),
        false => {
            let entry = Entry::Collect(partition, frontier.clone());
            propose::note(node, partition, until, &entry).await?
        }
    };
    let delivery = Arc::clone(&node.consensus.delivery);
    let left = until.saturating_duration_since(Instant::now());
    let waiting = delivery.wait(node, partition, &accepted);
    tokio::time::timeout(left, waiting)
        .await
        .map_err(|_| Error::retry("the file lacks accepted transactions"))?
}
