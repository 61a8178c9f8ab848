//! What a replica that begins anew writes again, fenced off in the log beforehand.
//!
//! A proposal whose client gave up may be accepted much later, and bring along what its file had seen. If the
//! replica that wrote that has begun anew from a snapshot meanwhile, and has written it again, it would
//! count twice. So the fence is in the log first: what was accepted before it is known here and
//! must be in the snapshot, and what comes after it brings nothing along that is not
//! (`nuda_core::certify`): also what a process sent that is dead.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nuda_core::certify::{Entry, Fences};
use nuda_core::site::PartitionId;
use nuda_core::version_vector::VersionVector;

use super::propose;
use crate::broken::{self, Rule};
use crate::error::Result;
use crate::node::Node;

/// How long one try may take.
const WITHIN: Duration = Duration::from_secs(5);

/// As a member that gives a snapshot: puts the fence of who begins anew into the partition's log; answers all that
/// was accepted before it. Who begins anew may be in no group yet.
pub(crate) async fn put(
    node: &Arc<Node>,
    partition: PartitionId,
    fences: Fences,
) -> Result<VersionVector> {
    if broken::is(Rule::Fence) {
        return Ok(VersionVector::new());
    }
    let until = Instant::now() + WITHIN;
    propose::note(node, partition, until, &Entry::Fence(partition, fences)).await
}
