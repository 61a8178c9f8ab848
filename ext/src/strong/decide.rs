//! At which level a transaction commits: one decision, from the tables that it writes and the
//! level in force.
//!
//! A strong table makes it strong whatever the level. Else the level in force counts. What a
//! large transaction has in the log already was numbered at the level decided first, and stays
//! so. A level that is answered here is kept by the commit, or the commit fails.

use nuda_core::changeset::Level;

use crate::error::{Error, Result};

/// What the transaction writes.
pub(crate) struct Writes<'a> {
    /// A strong table, if it writes one.
    pub(crate) strong: Option<&'a str>,
    /// The level of its parts that are in the log.
    pub(crate) begun: Option<Level>,
}

/// The level of the transaction's commit.
pub(crate) fn decide(writes: &Writes<'_>, in_force: Level) -> Result<Level> {
    match (writes.strong, writes.begun) {
        (Some(strong), Some(begun)) if begun != Level::Strong => Err(Error::refused(format!(
            "this large transaction wrote eventual tables before the strong table {strong}, and that \
             much is numbered as {}; set nuda_write_consistency to strong, write {strong} first, or \
             write them in two",
            begun.word()
        ))),
        (_, Some(begun)) => Ok(begun),
        (Some(_), None) => Ok(Level::Strong),
        (None, None) => Ok(in_force),
    }
}
