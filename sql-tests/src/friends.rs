//! Two people write one text at the same time, each on a replica of its own, by plain UPDATEs of the
//! whole text; what the other one typed arrives where the recording says that it was seen.

use std::path::Path;

use rusqlite::Connection;

use crate::trace::Trace;

type Result<T> = std::result::Result<T, String>;

/// A replica, and what this side has given away.
struct Writer {
    db: Connection,
    /// The replica's edits, as places in the recording.
    edits: Vec<usize>,
    /// How many of the other one's edits are here.
    has: usize,
}

/// Replays the whole recording on two files in `directory`; answers the two texts. The extension
/// must be registered.
///
/// # Errors
/// What SQLite says.
pub fn replay(trace: &Trace, directory: &Path) -> Result<[String; 2]> {
    let (first, second) = (directory.join("first.db"), directory.join("second.db"));
    let db = open(&first)?;
    db.execute_batch(
        "SELECT nuda_init('text'); SELECT nuda_join('first');
         CREATE TABLE text(id INTEGER PRIMARY KEY, body TEXTDOC);
         SELECT nuda_track('text'); SELECT nuda_set_members(1, 'first,second');
         INSERT INTO text VALUES (1, '');
         PRAGMA wal_checkpoint(TRUNCATE);",
    )
    .map_err(said)?;
    std::fs::copy(&first, &second).map_err(|e| e.to_string())?;
    let other = open(&second)?;
    other
        .execute_batch("SELECT nuda_join('second')")
        .map_err(said)?;
    let mut writers = [db, other].map(|db| Writer {
        db,
        edits: Vec::new(),
        has: 0,
    });
    // As which of its author's edits each was written.
    let mut places = Vec::with_capacity(trace.edits.len());
    for (number, edit) in trace.edits.iter().enumerate() {
        let (me, other) = (edit.agent, 1 - edit.agent);
        for parent in &edit.parents {
            if trace.edits[*parent].agent == other {
                exchange(&mut writers, other, places[*parent])?;
            }
        }
        let mut text = body(&writers[me].db)?;
        edit.apply(&mut text);
        let mut update = writers[me]
            .db
            .prepare_cached("UPDATE text SET body = ? WHERE id = 1")
            .map_err(said)?;
        update.execute([text]).map_err(said)?;
        drop(update);
        writers[me].edits.push(number);
        places.push(writers[me].edits.len());
    }
    for from in [0, 1] {
        let all = writers[from].edits.len();
        exchange(&mut writers, from, all)?;
    }
    Ok([body(&writers[0].db)?, body(&writers[1].db)?])
}

fn open(path: &Path) -> Result<Connection> {
    let db = Connection::open(path).map_err(said)?;
    db.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF")
        .map_err(said)?;
    db.set_prepared_statement_cache_capacity(16);
    Ok(db)
}

fn said(e: rusqlite::Error) -> String {
    e.to_string()
}

fn body(db: &Connection) -> Result<String> {
    let mut query = db
        .prepare_cached("SELECT body FROM text WHERE id = 1")
        .map_err(said)?;
    query.query_row([], |row| row.get(0)).map_err(said)
}

fn vector(db: &Connection) -> Result<String> {
    db.query_row("SELECT nuda_version_vector()", [], |row| row.get(0))
        .map_err(said)
}

/// Gives the other one what `from` had written up to its edit `upto`.
fn exchange(writers: &mut [Writer; 2], from: usize, upto: usize) -> Result<()> {
    let to = 1 - from;
    let new = upto.saturating_sub(writers[to].has);
    if new == 0 {
        return Ok(());
    }
    let since = vector(&writers[to].db)?;
    let source = &writers[from].db;
    // Every edit is a changeset of one part.
    let mut query = source
        .prepare_cached(
            "SELECT changeset FROM nuda_changes_since(?) WHERE site = nuda_site() LIMIT ?",
        )
        .map_err(said)?;
    let limit = i64::try_from(new).unwrap_or(i64::MAX);
    let found = query
        .query_map(rusqlite::params![since, limit], |row| {
            row.get::<_, Vec<u8>>(0)
        })
        .map_err(said)?;
    let changesets: Vec<Vec<u8>> = found.collect::<rusqlite::Result<_>>().map_err(said)?;
    let target = &writers[to].db;
    target.execute_batch("BEGIN IMMEDIATE").map_err(said)?;
    for changeset in changesets {
        let mut apply = target
            .prepare_cached("SELECT nuda_apply(?)")
            .map_err(said)?;
        apply
            .query_row([changeset], |row| row.get::<_, String>(0))
            .map_err(said)?;
    }
    target.execute_batch("COMMIT").map_err(said)?;
    for (at, other) in [(from, to), (to, from)] {
        let known = vector(&writers[other].db)?;
        let name = ["first", "second"][other];
        let acknowledge = "SELECT nuda_acknowledge(?, ?), nuda_collect()";
        let db = &writers[at].db;
        db.query_row(acknowledge, rusqlite::params![name, known], |_| Ok(()))
            .map_err(said)?;
    }
    writers[to].has = upto;
    Ok(())
}

/// Registers the extension for all connections of this process.
///
/// # Errors
/// If SQLite refuses.
pub fn register() -> Result<()> {
    nuda::register_static(rusqlite::ffi::sqlite3_auto_extension).map_err(|e| e.to_string())
}
