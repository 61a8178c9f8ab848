//! Replaces the content of a replica that missed a collection by a donor's snapshot (R7).
//!
//! The file stays: pages are copied *into* it by the backup API, so open connections go on.
//! While the file's write lock is held, the old content is set aside; after the copy the file
//! gets a new site, and what the donor lacked is re-issued from the set-aside copy. No local
//! write falls between the two copies.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nuda_core::site::PartitionId;
use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use crate::clock;
use crate::error::{Error, Result};
use crate::limits;
use crate::node::Node;
use crate::partition::{Job, Partition};
use crate::sql::Replica;

const TRIES: u32 = 10;

/// Re-seeds `partition` from `donor`.
pub(crate) async fn run(
    node: Arc<Node>,
    partition: String,
    id: PartitionId,
    donor: String,
    reason: String,
) {
    tracing::warn!(partition, donor, reason, "re-seeding");
    let mut pause = Duration::from_millis(200);
    for _ in 0..TRIES {
        match once(&node, &partition, id, &donor).await {
            Ok(()) => {
                tracing::info!(partition, donor, "re-seeded");
                return;
            }
            Err(e) => tracing::warn!(partition, donor, error = %e, "cannot re-seed yet"),
        }
        node.wait_for_peer(&donor, pause).await;
        pause = (pause * 2).min(limits::BACKOFF_MAX);
    }
    // The machine still says that it must re-seed; a restart or the next contact begins anew.
}

async fn once(node: &Arc<Node>, name: &str, id: PartitionId, donor: &str) -> Result<()> {
    let partition = node.partitions.expect_name(name)?;
    let me = node.id;
    let joined = node
        .on_partition(Arc::clone(&partition), move |_, partition, host| {
            let kept = host.replica(partition)?.kept()?;
            Ok(kept.members.get(me).map_or(0, |m| m.joined))
        })
        .await?;
    let received = super::join::fetch(node, name, id, donor, Some(joined)).await?;
    let snapshot = received.clone();
    let done = node
        .on_partition(Arc::clone(&partition), move |node, partition, host| {
            host.forget();
            let done = replace(node, partition, &snapshot, id);
            host.forget();
            done
        })
        .await;
    super::join::remove_database(&received);
    done?;
    node.metrics.snapshots_installed.add(1);
    partition.post(node, Job::Wake);
    Ok(())
}

fn replace(node: &Arc<Node>, at: &Partition, snapshot: &Path, id: PartitionId) -> Result<()> {
    let aside = node.dir.set_aside_file(&at.name, clock::wall_ms());
    let source = Replica::open(snapshot)?;
    if source.identity()?.partition != id {
        return Err(Error::refused("the snapshot is of another partition"));
    }
    let mut target = Replica::open(&at.path)?;
    copy_into(source.connection(), target.connection_mut(), || {
        super::snapshot::copy_pages(&at.path, &aside)
    })?;
    target.join(&node.me().name)?;
    let aside_text = aside.to_string_lossy().into_owned();
    let reissued = target.transaction(|replica| {
        Ok(replica
            .connection()
            .query_row("SELECT nuda_reissue(?)", [&aside_text], |_| Ok(()))?)
    });
    match reissued {
        Ok(()) => {
            super::join::remove_database(&aside);
            Ok(())
        }
        Err(e) => {
            tracing::error!(partition = %at.name, error = %e, kept = %aside.display(), "local changes that nobody else has could not be re-issued; they are kept in the set-aside copy");
            Ok(())
        }
    }
}

/// Copies all pages of `source` into `target`; `first` runs once the target is locked.
fn copy_into(
    source: &Connection,
    target: &mut Connection,
    first: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let backup = Backup::new(source, target)?;
    // A step of no pages takes the target's write lock and copies nothing.
    let mut tries = 0;
    while matches!(backup.step(0)?, StepResult::Busy | StepResult::Locked) {
        tries += 1;
        if tries > 100 {
            return Err(Error::retry("the file is locked by a long transaction"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    first()?;
    super::snapshot::step_all(&backup)
}
