//! What one child process does: prepare a file, measure one thing, answer one number.
//!
//! A process of its own for every measurement, so that neither memory nor the extension, which
//! stays with a process once it is registered, leaks from one into the next.

use std::fs;
use std::path::Path;

use rusqlite::Connection;
use rusqlite::types::{ToSqlOutput, Value};

use crate::Result;
use crate::ffi::cpu_time;
use crate::table::{Engine, Key, create, fill, insert, open, prepare_insert, spread, text_key};

/// Something to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Measure {
    /// CPU: many rows, one transaction.
    Insert,
    /// CPU: transactions of one row.
    Single,
    /// CPU: one statement that sets one column of every row.
    Update,
    /// CPU: one statement that deletes two rows of five.
    Delete,
    /// CPU: what `Insert` wrote, delivered at a fresh replica, or copied row by row.
    Apply,
    /// The same against one `INSERT ... SELECT`, which moves records from b-tree to b-tree.
    Transfer,
    /// WAL bytes of a transaction of one row.
    Wal,
    /// File size after the log was collected.
    Size,
    /// CPU: reads by key, each its own transaction.
    Read,
    /// Peak memory of the process after a transaction of very many rows, in bytes.
    Memory,
}

impl Measure {
    pub(crate) const ALL: [Self; 10] = [
        Self::Insert,
        Self::Single,
        Self::Update,
        Self::Delete,
        Self::Apply,
        Self::Transfer,
        Self::Wal,
        Self::Size,
        Self::Read,
        Self::Memory,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Single => "single",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Apply => "apply",
            Self::Transfer => "transfer",
            Self::Wal => "wal",
            Self::Size => "size",
            Self::Read => "read",
            Self::Memory => "memory",
        }
    }

    /// How many rows, transactions or reads.
    pub(crate) fn count(self, quick: bool) -> i64 {
        let count = match self {
            Self::Insert | Self::Apply | Self::Transfer | Self::Size => 100_000,
            Self::Single | Self::Wal => 2_000,
            // Of the rows, a delete takes two of five: 20,000.
            Self::Update | Self::Delete => 50_000,
            Self::Read => 100_000,
            Self::Memory => 1_000_000,
        };
        if quick && self != Self::Single && self != Self::Wal {
            count / 10
        } else {
            count
        }
    }
}

/// Measures. The answer is in microseconds or bytes.
pub(crate) fn run(
    measure: Measure,
    engine: Engine,
    key: Key,
    count: i64,
    directory: &Path,
) -> Result<f64> {
    if engine == Engine::Nuda {
        nuda::register_static(rusqlite::ffi::sqlite3_auto_extension)?;
    }
    if matches!(measure, Measure::Apply | Measure::Transfer) {
        return match engine {
            Engine::Plain => copy(measure, key, count, directory),
            Engine::Nuda => apply(key, count, directory),
        };
    }
    let path = directory.join("bench.db");
    let db = open(&path)?;
    create(&db, engine, key)?;
    match measure {
        Measure::Insert => timed(|| fill(&db, key, count)),
        Measure::Single => {
            let mut statement = prepare_insert(&db)?;
            insert(&mut statement, key, count)?;
            timed(|| (0..count).try_for_each(|n| insert(&mut statement, key, n)))
        }
        Measure::Update => {
            fill(&db, key, count)?;
            checkpoint(&db)?;
            timed(|| Ok(db.execute_batch("UPDATE item SET kind = kind + 1")?))
        }
        Measure::Delete => {
            fill(&db, key, count)?;
            checkpoint(&db)?;
            timed(|| Ok(db.execute_batch("DELETE FROM item WHERE number % 5 < 2")?))
        }
        Measure::Wal => {
            checkpoint(&db)?;
            db.execute_batch("PRAGMA wal_autocheckpoint = 0")?;
            let mut statement = prepare_insert(&db)?;
            (0..count).try_for_each(|n| insert(&mut statement, key, n))?;
            Ok(bytes(&directory.join("bench.db-wal"))? / to_f64(count))
        }
        Measure::Size => {
            fill(&db, key, count)?;
            if engine == Engine::Nuda {
                for sql in ["SELECT nuda_set_members(1, 'a')", "SELECT nuda_collect()"] {
                    db.query_row(sql, [], |_| Ok(()))?;
                }
            }
            db.execute_batch("VACUUM")?;
            checkpoint(&db)?;
            bytes(&path)
        }
        Measure::Read => reads(&db, key, count),
        Measure::Memory => {
            fill(&db, key, count)?;
            peak_memory()
        }
        Measure::Apply | Measure::Transfer => Err("measured elsewhere".into()),
    }
}

/// CPU microseconds of `body`.
pub(crate) fn timed(body: impl FnOnce() -> Result<()>) -> Result<f64> {
    let before = cpu_time();
    body()?;
    Ok((cpu_time() - before).as_secs_f64() * 1e6)
}

fn checkpoint(db: &Connection) -> Result<()> {
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    Ok(())
}

fn bytes(path: &Path) -> Result<f64> {
    Ok(to_f64(i64::try_from(fs::metadata(path)?.len())?))
}

/// Exact below 2^53.
#[allow(clippy::cast_precision_loss)]
fn to_f64(n: i64) -> f64 {
    n as f64
}

/// Reads of rows that are there, in no order, from a table of 50,000.
fn reads(db: &Connection, key: Key, count: i64) -> Result<f64> {
    const ROWS: i64 = 50_000;
    fill(db, key, ROWS)?;
    checkpoint(db)?;
    let mut statement = db.prepare("SELECT name, price FROM item WHERE id = ?")?;
    let keys: Vec<Value> = (0..4_096)
        .map(|n| {
            let n = i64::try_from(spread(n) % ROWS.unsigned_abs()).unwrap_or(0);
            match key {
                Key::Text => Value::Text(text_key(n)),
                Key::Int => Value::Integer(n + 1),
            }
        })
        .collect();
    let wanted = usize::try_from(count)?;
    timed(|| {
        for key in keys.iter().cycle().take(wanted) {
            statement.query_row([key], |row| row.get::<_, f64>(1))?;
        }
        Ok(())
    })
}

/// What delivering rows costs without replication: copying them from another file, as a program
/// does it, or as one statement.
fn copy(measure: Measure, key: Key, count: i64, directory: &Path) -> Result<f64> {
    let source = directory.join("source.db");
    let db = open(&source)?;
    create(&db, Engine::Plain, key)?;
    fill(&db, key, count)?;
    checkpoint(&db)?;
    drop(db);
    let db = open(&directory.join("bench.db"))?;
    create(&db, Engine::Plain, key)?;
    db.execute("ATTACH ? AS source", [source.to_string_lossy()])?;
    if measure == Measure::Transfer {
        return timed(|| Ok(db.execute_batch("INSERT INTO main.item SELECT * FROM source.item")?));
    }
    timed(|| {
        db.execute_batch("BEGIN")?;
        let mut insert = prepare_insert(&db)?;
        let mut select = db.prepare("SELECT * FROM source.item")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            for column in 0..8 {
                insert
                    .raw_bind_parameter(column + 1, ToSqlOutput::Borrowed(row.get_ref(column)?))?;
            }
            insert.raw_execute()?;
        }
        Ok(db.execute_batch("COMMIT")?)
    })
}

/// The same rows as changesets, in one transaction.
fn apply(key: Key, count: i64, directory: &Path) -> Result<f64> {
    let (source, replica) = (directory.join("source.db"), directory.join("bench.db"));
    let db = open(&source)?;
    create(&db, Engine::Nuda, key)?;
    checkpoint(&db)?;
    fs::copy(&source, &replica)?;
    let at_copy: String = db.query_row("SELECT nuda_version_vector()", [], |row| row.get(0))?;
    fill(&db, key, count)?;
    let parts: Vec<Vec<u8>> = db
        .prepare("SELECT changeset FROM nuda_changes_since(?)")?
        .query_map([at_copy], |row| row.get(0))?
        .collect::<std::result::Result<_, _>>()?;
    drop(db);
    let db = open(&replica)?;
    for sql in ["SELECT nuda_join('b')", "SELECT nuda_applier(1)"] {
        db.query_row(sql, [], |_| Ok(()))?;
    }
    let mut statement = db.prepare("SELECT nuda_apply(?)")?;
    let time = timed(|| {
        db.execute_batch("BEGIN IMMEDIATE")?;
        for part in &parts {
            statement.query_row([part], |_| Ok(()))?;
        }
        Ok(db.execute_batch("COMMIT")?)
    })?;
    let arrived: i64 = db.query_row("SELECT count(*) FROM item", [], |row| row.get(0))?;
    if arrived == count {
        Ok(time)
    } else {
        Err(format!("{arrived} of {count} rows arrived").into())
    }
}

/// The most memory this process ever held.
fn peak_memory() -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .ok_or("the system does not tell peak memory")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024.0)
}
