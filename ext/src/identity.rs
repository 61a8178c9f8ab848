//! Which incarnation a file is: boot id, device and inode.
//!
//! A site may only continue its numbering where nothing can have been lost or copied since:
//! the same file, on the same boot. After a power cut the latest commits may be gone although
//! peers have them; a copied or restored file may be a second one. Either shows here, and the
//! replica takes a new site before its next capture.

use std::os::unix::fs::MetadataExt;

use nuda_core::site::Site;
use nuda_core::value::Value;

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
pub(crate) const SUCCESSORS: u64 = 0xffff;

/// How many sets of invented keys there are; see [`key_set`].
pub(crate) const KEY_SETS: i64 = 1 << 20;

/// The set from which a site invents keys (see `keys`). A site and its successors share one:
/// they are the same file.
#[allow(clippy::cast_possible_wrap)]
pub(crate) fn key_set(site: Site) -> i64 {
    (site.get() >> SUCCESSORS.count_ones()) as i64 & (KEY_SETS - 1)
}

/// A site id that nobody has, and if possible with a key set that no known site has.
pub(crate) fn new_site(db: Db) -> Result<Site> {
    let mut second_best = None;
    for _ in 0..64 {
        let Some(site) = Site::from_random(random(db)? & !SUCCESSORS) else {
            continue;
        };
        let shift = i64::from(SUCCESSORS.count_ones());
        let taken = db.int(
            "SELECT EXISTS (SELECT 1 FROM main.nuda_site WHERE (site >> ?) & ? = ?)",
            &[
                Value::Int(shift),
                Value::Int(KEY_SETS - 1),
                Value::Int(key_set(site)),
            ],
        )?;
        if taken == 0 {
            return Ok(site);
        }
        second_best = Some(site);
    }
    if let Some(site) = second_best {
        return Ok(site);
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
