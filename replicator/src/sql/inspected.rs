//! What people are shown of a file: counted, or looked for, when they ask.

use serde::{Deserialize, Serialize};

use super::Replica;
use crate::error::Result;

/// The rest of `nuda_status`: for people, counted when they ask.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) waiting: u64,
    pub(crate) log_records: u64,
    pub(crate) log_bytes: u64,
    pub(crate) stamp_ms: u64,
    pub(crate) conflicts: u64,
}

/// A site of which changesets lie in the file and cannot be applied yet.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Waiting {
    pub(crate) site: String,
    /// How many.
    pub(crate) changesets: u64,
    /// The first of them.
    pub(crate) first: u64,
    /// What that one waits for.
    pub(crate) reason: String,
}

impl Replica {
    /// What is counted for people.
    pub(crate) fn counts(&self) -> Result<Counts> {
        Ok(self.conn.query_row(
            "SELECT waiting, log_records, log_bytes, stamp_ms, conflicts FROM nuda_status",
            [],
            |row| {
                Ok(Counts {
                    waiting: row.get(0)?,
                    log_records: row.get(1)?,
                    log_bytes: row.get(2)?,
                    stamp_ms: row.get(3)?,
                    conflicts: row.get(4)?,
                })
            },
        )?)
    }

    /// What keeps its tables from being replicated, a line each.
    pub(crate) fn problems(&self) -> Result<Vec<String>> {
        let asked = "SELECT coalesce(nuda_problems(), '')";
        let text: String = self.conn.query_row(asked, [], |row| row.get(0))?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// What waits, by site, and for what.
    pub(crate) fn waiting(&self) -> Result<Vec<Waiting>> {
        let mut statement = self.conn.prepare_cached(
            "SELECT printf('%016x', s.site), count(DISTINCT w.seq), min(w.seq), w.reason
             FROM nuda_waiting w JOIN nuda_site s ON s.id = w.site GROUP BY w.site LIMIT 20",
        )?;
        let rows = statement.query_map([], |row| {
            Ok(Waiting {
                site: row.get(0)?,
                changesets: row.get(1)?,
                first: row.get(2)?,
                reason: row.get(3)?,
            })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}
