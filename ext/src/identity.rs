//! Which incarnation a file is: boot id, device and inode.
//!
//! A site may only continue its numbering where nothing can have been lost or copied since:
//! the same file, on the same boot. After a power cut the latest commits may be gone although
//! peers have them; a copied or restored file may be a second one. Either shows here, and the
//! replica takes a new site before its next capture.

use std::os::unix::fs::MetadataExt;

use nuda_core::site::Site;

use crate::error::{Error, Result};
use crate::ffi::db::Db;

/// What must be unchanged for a site to go on, as text.
pub(crate) fn of_file(path: &str) -> String {
    // No boot id (not Linux, or /proc hidden): the process start would change too often, so
    // only the file's place counts there.
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    // `stat` only: opening the file here would drop the process's POSIX locks on it.
    let place = std::fs::metadata(path)
        .map(|m| format!("{}:{}", m.dev(), m.ino()))
        .unwrap_or_default();
    format!("{}/{place}", boot.trim())
}

/// Low bits of a site id that are left for its successors (see [`successor`]).
const SUCCESSORS: u64 = 0xffff;

/// A site id that nobody has.
pub(crate) fn new_site(db: Db) -> Result<Site> {
    for _ in 0..8 {
        if let Some(site) = Site::from_random(random(db)? & !SUCCESSORS) {
            return Ok(site);
        }
    }
    Err(Error::internal("no randomness"))
}

/// A site id for what `old` wrote and has to be renumbered: greater than `old`, and with no
/// other node's site between them, so that ties between equal stamps, which are broken by site
/// and may have been decided here already, stay as they are.
pub(crate) fn successor(db: Db, old: Site) -> Result<Site> {
    let used = old.get() & SUCCESSORS;
    let free = SUCCESSORS - used;
    if free == 0 {
        return new_site(db);
    }
    let step = 1 + random(db)? % free.min(256);
    Site::from_u64(old.get() + step).ok_or_else(|| Error::internal("no successor"))
}

#[allow(clippy::cast_sign_loss)]
fn random(db: Db) -> Result<u64> {
    Ok(db.int("SELECT random()", &[])? as u64)
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}
