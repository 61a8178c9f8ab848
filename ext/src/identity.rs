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

/// A site id that nobody has.
pub(crate) fn new_site(db: Db) -> Result<Site> {
    for _ in 0..8 {
        #[allow(clippy::cast_sign_loss)]
        let bits = db.int("SELECT random()", &[])? as u64;
        if let Some(site) = Site::from_random(bits) {
            return Ok(site);
        }
    }
    Err(Error::internal("no randomness"))
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}
