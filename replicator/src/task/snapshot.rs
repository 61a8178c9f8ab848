//! Snapshots on the donor's side: a copy of a partition's pages that others read in pieces.
//!
//! The copy is made by SQLite's backup API into a file of the daemon's own, so reading it
//! needs no lock and disturbs nobody. Its number and its life are bounded.

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use crate::clock;
use crate::error::{Error, Result};
use crate::limits;
use crate::node::Node;
use crate::partition::Partition;
use crate::transport::wire::SnapshotOffer;

struct Prepared {
    file: File,
    path: PathBuf,
    bytes: u64,
    used_ms: u64,
}

impl Drop for Prepared {
    fn drop(&mut self) {
        if let Err(e) = fs::remove_file(&self.path) {
            tracing::warn!(file = %self.path.display(), error = %e, "cannot remove a snapshot");
        }
    }
}

/// The snapshots that this node offers.
#[derive(Default)]
pub(crate) struct Snapshots {
    by_token: Mutex<HashMap<String, Prepared>>,
}

impl Snapshots {
    /// Makes a snapshot of a partition, unless the file is not fit for it as it is now. Blocking.
    pub(crate) fn prepare(
        &self,
        node: &Arc<Node>,
        partition: &Partition,
        is_fit: impl FnOnce(&Connection) -> Result<bool>,
    ) -> Result<Option<SnapshotOffer>> {
        self.expire();
        if self.lock().len() >= limits::SNAPSHOTS {
            return Err(Error::retry(format!(
                "{} prepares {} snapshots already; try again",
                node.me().name,
                limits::SNAPSHOTS
            )));
        }
        let token = crate::random::hex128();
        let path = node.dir.temporary().join(format!("{token}.out"));
        let source = one_moment(&partition.path)?;
        if !is_fit(&source)? {
            return Ok(None);
        }
        copy(&source, &path)?;
        drop(source);
        let file = File::open(&path)?;
        let prepared = Prepared {
            bytes: file.metadata()?.len(),
            file,
            path,
            used_ms: clock::now_ms(),
        };
        let offer = SnapshotOffer {
            token: token.clone(),
            bytes: prepared.bytes,
            hash: hash_file(&prepared.path)?,
        };
        self.lock().insert(token, prepared);
        node.metrics.snapshots_served.add(1);
        Ok(Some(offer))
    }

    /// A piece of a snapshot. Blocking.
    pub(crate) fn piece(&self, token: &str, offset: u64) -> Result<Vec<u8>> {
        let (file, bytes) = {
            let mut all = self.lock();
            let prepared = all
                .get_mut(token)
                .ok_or_else(|| Error::not_found("that snapshot is gone; ask for a new one"))?;
            prepared.used_ms = clock::now_ms();
            (prepared.file.try_clone()?, prepared.bytes)
        };
        let left = usize::try_from(bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut piece = vec![0; left.min(limits::SNAPSHOT_PIECE_BYTES)];
        file.read_exact_at(&mut piece, offset)?;
        Ok(piece)
    }

    /// Lets go of a snapshot.
    pub(crate) fn done(&self, token: &str) {
        self.lock().remove(token);
    }

    /// Lets go of those that nobody reads.
    pub(crate) fn expire(&self) {
        let now_ms = clock::now_ms();
        let idle_ms = u64::try_from(limits::SNAPSHOT_IDLE.as_millis()).unwrap_or(u64::MAX);
        self.lock()
            .retain(|_, p| now_ms.saturating_sub(p.used_ms) < idle_ms);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Prepared>> {
        self.by_token.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Copies the pages of a database to a new file, as of one moment.
pub(crate) fn copy_pages(from: &Path, to: &Path) -> Result<()> {
    copy(&one_moment(from)?, to)
}

/// A connection that reads a file as of now.
fn one_moment(from: &Path) -> Result<Connection> {
    let source = Connection::open_with_flags(
        from,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
    .map_err(|e| Error::from(e).during(from.display()))?;
    source.busy_timeout(limits::BUSY_TIMEOUT)?;
    source.set_db_config(
        rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE,
        true,
    )?;
    // One read transaction, or the copy would begin again whenever somebody writes.
    source.execute_batch("BEGIN; SELECT count(*) FROM sqlite_schema;")?;
    Ok(source)
}

fn copy(source: &Connection, to: &Path) -> Result<()> {
    let mut target = Connection::open(to)?;
    let backup = Backup::new(source, &mut target)?;
    step_all(&backup)?;
    drop(backup);
    // The copy is nobody else's: a rollback journal while it is made, whole when closed.
    target
        .close()
        .map_err(|(_, e)| Error::from(e).during(to.display()))?;
    File::open(to)?.sync_all()?;
    Ok(())
}

/// Steps a backup to its end; a lock is waited for, but not for ever.
pub(crate) fn step_all(backup: &Backup<'_, '_>) -> Result<()> {
    let mut tries = 0u32;
    loop {
        match backup.step(1_000)? {
            StepResult::Done => return Ok(()),
            StepResult::More => tries = 0,
            _ if tries < 100 => {
                tries += 1;
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            _ => {
                return Err(Error::retry(
                    "the file is locked by a long transaction; try again",
                ));
            }
        }
    }
}

/// BLAKE3 of a file.
pub(crate) fn hash_file(path: &Path) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        let len = std::io::Read::read(&mut file, &mut buffer)?;
        let Some(read) = buffer.get(..len).filter(|b| !b.is_empty()) else {
            return Ok(hasher.finalize().to_hex().to_string());
        };
        hasher.update(read);
    }
}
