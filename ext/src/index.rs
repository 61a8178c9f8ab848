//! Which rows a log record touches: fingerprints, so that finding concurrent changes of a row
//! does not mean reading every record again.

use std::hash::{DefaultHasher, Hasher};

/// A fingerprint of a row: its table and its canonical key, encoded. Equal rows have equal
/// fingerprints; a match is looked up before anything is decided.
pub(crate) fn fingerprint(table: u32, key: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write_u32(table);
    hasher.write(key);
    hasher.finish()
}
