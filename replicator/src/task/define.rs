//! What plain DDL did to tracked tables gets its place in the log.
//!
//! A definition is a strong transaction of this node's, on a connection of its own: the
//! partition's worker must be free to apply what was first meanwhile. Begun when the worker finds
//! that tables differ from their definitions, and repeated, ever more rarely, while no majority
//! answers; one at a time for each partition. Whoever is overtaken tries again at once, since what
//! was first may have been the same definition.
//!
//! Also here: the founder hands its authority over tables to the log, once that is there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use crate::error::Result;
use crate::node::Node;
use crate::partition::{Job, Partition};
use crate::sql::Replica;

/// The pause after the first try that failed, and the longest one. A try may hold the file's
/// write lock for as long as a strong commit may take.
const PAUSE: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// How long a try waits for a majority: others cannot write the file meanwhile.
const WITHIN_MS: u32 = 3_000;

/// What is under way at a partition.
#[derive(Default)]
pub(crate) struct Defining {
    running: AtomicBool,
    /// The schema for which it was begun last.
    schema: AtomicI64,
    /// The schema has changed since.
    again: Notify,
}

/// Looks whether plain DDL altered a partition's tables, and begins to propose that, unless that is
/// under way. What failed for one schema is tried at once for the next. Answers whether it wrote.
pub(crate) fn look(node: &Arc<Node>, at: &Partition, replica: &Replica) -> Result<bool> {
    let Some(schema) = replica.altered()? else {
        return Ok(false);
    };
    if !replica.is_ordered()? {
        return replica.propose().map(|()| true);
    }
    let Some(partition) = node.partitions.get(&at.name) else {
        return Ok(false);
    };
    let defining = &partition.defining;
    if defining.schema.swap(schema, Ordering::AcqRel) != schema {
        defining.again.notify_one();
    }
    if !defining.running.swap(true, Ordering::AcqRel) {
        let worker = Arc::clone(node);
        node.spawn(async move { run(worker, partition).await });
    }
    Ok(false)
}

async fn run(node: Arc<Node>, partition: Arc<Partition>) {
    let mut pause = PAUSE;
    loop {
        let at = Arc::clone(&partition);
        let tried = tokio::task::spawn_blocking(move || propose(&at)).await;
        let left = match tried.map_err(crate::error::Error::from).flatten() {
            Ok(left) => {
                pause = PAUSE;
                left
            }
            Err(e) => {
                tracing::debug!(partition = %partition.name, error = %e, "a definition has no place yet");
                true
            }
        };
        if !left {
            break;
        }
        let news = partition.defining.again.notified();
        pause = match tokio::time::timeout(pause, news).await {
            Ok(()) => PAUSE,
            Err(_) => (pause * 2).min(PAUSE_MAX),
        };
    }
    partition.defining.running.store(false, Ordering::Release);
    // What was altered since nobody has looked at.
    partition.post(&node, Job::Wake);
}

/// Answers whether something is left to propose.
fn propose(partition: &Partition) -> Result<bool> {
    let replica = Replica::open(&partition.path)?;
    replica.wait_at_most(WITHIN_MS)?;
    replica.propose()?;
    Ok(replica.altered()?.is_some())
}

/// As the founder of a partition that has its log: definitions go through it from here on.
/// Answers whether nothing is left to do.
pub(crate) async fn hand_over(node: &Arc<Node>, partition: &Arc<Partition>) -> Result<bool> {
    let at = Arc::clone(partition);
    let is_done = node
        .on_partition(at, |_, at, host| host.replica(at)?.hand_over())
        .await?;
    partition.post(node, Job::Wake);
    Ok(is_done)
}
