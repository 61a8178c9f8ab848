//! What FOREIGN KEYs of eventual tables cost: rows that refer to others come and go.
//!
//! Both sides enforce them (`PRAGMA foreign_keys`), and both have the index on the referring column
//! that SQLite recommends; one of them also keeps them on every replica.

use std::path::Path;

use rusqlite::params;

use crate::Result;
use crate::measure::timed;
use crate::table::{Engine, open};

/// Rows that are referred to.
const PARENTS: i64 = 1_000;

/// CPU microseconds of `count` inserts in one transaction, of setting another parent in every tenth of these rows, and of
/// deleting all, each a transaction too.
pub(crate) fn measure(engine: Engine, count: usize, directory: &Path) -> Result<Vec<f64>> {
    let db = open(&directory.join("bench.db"))?;
    db.execute_batch(
        "PRAGMA foreign_keys = on;
         CREATE TABLE parent(id INTEGER PRIMARY KEY, name TEXT);
         CREATE TABLE child(id INTEGER PRIMARY KEY, parent INTEGER REFERENCES parent, text TEXT);
         CREATE INDEX child_parent ON child(parent);",
    )?;
    if engine == Engine::Nuda {
        db.execute_batch("SELECT nuda_init('bench'); SELECT nuda_join('a');")?;
        for sql in [
            "SELECT nuda_track('parent')",
            "SELECT nuda_track('child', 'eventual', 'foreign_keys')",
        ] {
            db.query_row(sql, [], |_| Ok(()))?;
        }
    }
    let mut parent = db.prepare("INSERT INTO parent VALUES (?, ?)")?;
    db.execute_batch("BEGIN")?;
    for n in 0..PARENTS {
        parent.execute(params![n, format!("parent number {n}")])?;
    }
    db.execute_batch("COMMIT")?;
    let mut child = db.prepare("INSERT INTO child VALUES (?, ?, ?)")?;
    let inserts = timed(|| {
        db.execute_batch("BEGIN")?;
        for n in 0..i64::try_from(count)? {
            child.execute(params![n, n * 7 % PARENTS, format!("child number {n}")])?;
        }
        Ok(db.execute_batch("COMMIT")?)
    })?;
    let moved = "UPDATE child SET parent = (parent + 1) % 1000 WHERE id % 10 = 0";
    let updates = timed(|| Ok(db.execute_batch(moved)?))?;
    let deletes = timed(|| Ok(db.execute_batch("DELETE FROM child")?))?;
    Ok(vec![inserts, updates, deletes])
}
