//! Becomes a member's replica: fetches a snapshot and puts it in place.
//!
//! The snapshot is received into a temporary file, checked against its hash, marked as this
//! node's replica (which gives it a site of its own) and only then linked to its final name,
//! which fails if that name exists: no file is ever replaced. Anything that goes wrong is
//! tried again with a new snapshot.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nuda_core::site::PartitionId;

use crate::error::{Error, Result};
use crate::limits;
use crate::node::Node;
use crate::partition::Job;
use crate::sql::Replica;
use crate::transport::Route;
use crate::transport::wire::{Ask, Done, Piece, SnapshotOffer};

const TRIES: u32 = 10;

/// Fetches `partition` from `donor`.
pub(crate) async fn run(node: Arc<Node>, partition: String, id: PartitionId, donor: String) {
    let mut pause = Duration::from_millis(100);
    for _ in 0..TRIES {
        match fetch_and_place(&node, &partition, id, &donor).await {
            Ok(()) => {
                tracing::info!(partition, donor, "joined from a snapshot");
                return;
            }
            Err(e) => tracing::warn!(partition, donor, error = %e, "cannot join yet"),
        }
        node.wait_for_peer(&donor, pause).await;
        pause = (pause * 2).min(limits::BACKOFF_MAX);
    }
    // The donor's next summary invites again.
}

async fn fetch_and_place(
    node: &Arc<Node>,
    partition: &str,
    id: PartitionId,
    donor: &str,
) -> Result<()> {
    let target = node.dir.partition_file(partition)?;
    if !target.exists() {
        let received = fetch(node, partition, id, donor, None).await?;
        let me = node.me().name.clone();
        let placed = tokio::task::spawn_blocking(move || {
            let placed = place(&received, &target, id, &me);
            remove_database(&received);
            placed
        });
        placed.await??;
        node.metrics.snapshots_installed.add(1);
    }
    let partition = node.partitions.enter(&node.dir, partition)?;
    partition.post(node, Job::Wake);
    Ok(())
}

/// Receives a snapshot into a temporary file, checked against its hash. `joined` says under
/// which list version this node held the partition until now.
pub(crate) async fn fetch(
    node: &Arc<Node>,
    partition: &str,
    id: PartitionId,
    donor: &str,
    joined: Option<u64>,
) -> Result<PathBuf> {
    let ask = Ask::Snapshot {
        name: partition.to_owned(),
        id: id.to_string(),
        joined,
    };
    let offer: SnapshotOffer = node.ask(donor, &ask).await?;
    let path = node
        .dir
        .temporary()
        .join(format!("{}.in", crate::random::hex128()));
    let received = receive(node, donor, &offer, &path).await;
    let done = Ask::SnapshotDone { token: offer.token };
    // The donor lets go of it by itself after a while.
    let _: Result<Done> = node.ask(donor, &done).await;
    match received {
        Ok(()) => Ok(path),
        Err(e) => {
            remove_database(&path);
            Err(e.during(format!("receiving a snapshot from {donor}")))
        }
    }
}

async fn receive(node: &Arc<Node>, donor: &str, offer: &SnapshotOffer, path: &Path) -> Result<()> {
    let mut file = OpenOptions::new().create_new(true).write(true).open(path)?;
    let mut offset = 0u64;
    while offset < offer.bytes {
        let piece = Piece {
            token: offer.token.clone(),
            offset,
        };
        let body = serde_json::to_vec(&piece)?;
        let bytes = node.call(donor, Route::Piece, body).await?;
        if bytes.is_empty() || offset + bytes.len() as u64 > offer.bytes {
            return Err(Error::retry("a piece of the wrong length"));
        }
        offset += bytes.len() as u64;
        file = tokio::task::spawn_blocking(move || file.write_all(&bytes).map(|()| file)).await??;
    }
    let (path, hash) = (path.to_owned(), offer.hash.clone());
    tokio::task::spawn_blocking(move || {
        file.sync_all()?;
        if super::snapshot::hash_file(&path)? == hash {
            Ok(())
        } else {
            Err(Error::retry("its hash differs"))
        }
    })
    .await?
}

/// Marks a received snapshot as this node's replica and gives it its final name.
fn place(received: &Path, target: &Path, id: PartitionId, me: &str) -> Result<()> {
    let replica = Replica::open(received)?;
    let found = replica.identity()?.partition;
    if found != id {
        return Err(Error::refused(format!(
            "the snapshot is of another partition ({found}, not {id})"
        )));
    }
    replica.join(me)?;
    seal(replica)?;
    link(received, target)
}

/// Moves everything from the write-ahead log into the file and closes it: nobody else has it.
pub(crate) fn seal(replica: Replica) -> Result<()> {
    replica
        .connection()
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    drop(replica);
    Ok(())
}

/// Gives a finished file its final name, unless that name exists.
pub(crate) fn link(from: &Path, to: &Path) -> Result<()> {
    fs::File::open(from)?.sync_all()?;
    fs::hard_link(from, to).map_err(|e| {
        Error::new(
            crate::error::Kind::Refused,
            format!("cannot make {}; {e}", to.display()),
        )
    })?;
    if let Some(parent) = to.parent() {
        fs::File::open(parent)?.sync_all()?;
    }
    Ok(())
}

/// Removes a temporary database with its companions.
pub(crate) fn remove_database(path: &Path) {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let mut file = path.as_os_str().to_owned();
        file.push(suffix);
        if let Err(e) = fs::remove_file(&file)
            && e.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(file = %file.display(), error = %e, "cannot remove a temporary file");
        }
    }
}
