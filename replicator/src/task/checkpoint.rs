//! Checkpoints a write-ahead log that nobody else checkpoints.
//!
//! Applications checkpoint what they write. A replica that only the daemon writes, or whose
//! applications leave it to others, would grow its log for ever; so the daemon looks after it
//! applied something and after it took notice of something: when the log holds more pages than an
//! application of default settings ever leaves (1,000).
//!
//! The danger is SQLite's WAL-reset bug (3.7.0 to 3.51.2): a checkpoint that begins right
//! after another one finished, while some connection's commit starts the log over, can mark
//! pages as checkpointed that are not. The checkpointing side is the faulty one. The SQLite in
//! this program is fixed; an application's may not be. So while the daemon checkpoints,
//! nobody may write and nobody else may checkpoint: one connection holds the write lock
//! (BEGIN IMMEDIATE, nothing written), a second one runs the PASSIVE checkpoint, which needs
//! only the checkpoint lock. TRUNCATE and RESTART are no substitute: when the write lock is
//! taken they silently go on as PASSIVE. What remains is the race between an old
//! application's own checkpoint and any other writer, as it exists between two applications.

use std::sync::Arc;

use crate::error::Result;
use crate::node::Node;
use crate::partition::Partition;
use crate::sql::Replica;

/// Checkpoints if the log has grown large. Failure is no harm: the next batch tries again.
pub(crate) fn if_large(node: &Arc<Node>, at: &Partition, replica: &Replica) {
    // A log file never shrinks by itself, so its size only says whether to look closer.
    let mut wal = at.path.as_os_str().to_owned();
    wal.push("-wal");
    let bytes = std::fs::metadata(&wal).map_or(0, |m| m.len());
    if bytes < u64::from(node.config.checkpoint_pages).saturating_mul(512) {
        return;
    }
    match checkpoint(at, replica, node.config.checkpoint_pages) {
        Ok(true) => {
            node.metrics.checkpoints.add(1);
            tracing::debug!(partition = %at.name, "checkpointed");
        }
        Ok(false) => {}
        Err(e) => tracing::debug!(partition = %at.name, error = %e, "cannot checkpoint now"),
    }
}

fn checkpoint(at: &Partition, replica: &Replica, least_pages: u32) -> Result<bool> {
    // NOOP counts: pages in the log, pages of it already in the file.
    let (pages, done): (i64, i64) =
        replica
            .connection()
            .query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| {
                Ok((row.get(1)?, row.get(2)?))
            })?;
    if pages.saturating_sub(done) < i64::from(least_pages) {
        return Ok(false);
    }
    let worker = Replica::open(&at.path)?;
    replica.connection().execute_batch("BEGIN IMMEDIATE")?;
    let ran = worker
        .connection()
        .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
    replica.connection().execute_batch("ROLLBACK")?;
    ran?;
    Ok(true)
}
