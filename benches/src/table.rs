//! The table that all measurements share: eight columns of ordinary content, about 130 bytes a
//! row, under one of two shapes of key.

use std::path::Path;

use rusqlite::{Connection, Statement, params};

use crate::Result;

/// How rows are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    /// A text like `nuda_uuid7()` makes: 36 characters, ascending with time.
    Text,
    /// An explicit INTEGER PRIMARY KEY.
    Int,
}

impl Key {
    pub(crate) const ALL: [Self; 2] = [Self::Text, Self::Int];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Int => "int",
        }
    }
}

/// Which engine a child process measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    /// SQLite and nothing else.
    Plain,
    /// The same SQLite with the extension, the table tracked.
    Nuda,
}

impl Engine {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Nuda => "nuda",
        }
    }
}

/// Opens a file as every measurement does.
pub(crate) fn open(path: &Path) -> Result<Connection> {
    let db = Connection::open(path)?;
    db.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    db.execute_batch("PRAGMA synchronous = NORMAL")?;
    Ok(db)
}

/// Creates the table, and tracks it where there is something to track it.
pub(crate) fn create(db: &Connection, engine: Engine, key: Key) -> Result<()> {
    let key = match key {
        Key::Text => "TEXT PRIMARY KEY NOT NULL",
        Key::Int => "INTEGER PRIMARY KEY",
    };
    db.execute_batch(&format!(
        "CREATE TABLE item(id {key}, number INTEGER, name TEXT, mail TEXT, price REAL, \
         note TEXT, kind INTEGER, at INTEGER)"
    ))?;
    if engine == Engine::Nuda {
        for sql in [
            "SELECT nuda_init('bench')",
            "SELECT nuda_join('a')",
            "SELECT nuda_track('item')",
        ] {
            db.query_row(sql, [], |_| Ok(()))?;
        }
    }
    Ok(())
}

/// The statement that [`insert`] runs.
pub(crate) fn prepare_insert(db: &Connection) -> Result<Statement<'_>> {
    Ok(db.prepare("INSERT INTO item VALUES (?, ?, ?, ?, ?, ?, ?, ?)")?)
}

/// Row `n` under key `key`.
pub(crate) fn insert(statement: &mut Statement<'_>, key: Key, n: i64) -> Result<()> {
    let (name, mail, note) = (
        format!("item number {n}"),
        format!("owner{}@example.org", spread(n) % 10_000),
        format!(
            "made for measuring, {:016x} is nothing anybody knows",
            spread(n)
        ),
    );
    let price = f64::from(i32::try_from(n % 9_973).unwrap_or(0)) / 7.0;
    let at = 1_790_000_000_000 + n * 13;
    match key {
        Key::Text => {
            statement.execute(params![text_key(n), n, name, mail, price, note, n % 7, at])?
        }
        Key::Int => statement.execute(params![n + 1, n, name, mail, price, note, n % 7, at])?,
    };
    Ok(())
}

/// Rows `0..count` in one transaction.
pub(crate) fn fill(db: &Connection, key: Key, count: i64) -> Result<()> {
    db.execute_batch("BEGIN")?;
    let mut statement = prepare_insert(db)?;
    for n in 0..count {
        insert(&mut statement, key, n)?;
    }
    drop(statement);
    db.execute_batch("COMMIT")?;
    Ok(())
}

/// A text key as a version 7 UUID: time first, then what looks random.
pub(crate) fn text_key(n: i64) -> String {
    let at = 0x0199_0000_0000 + n * 13;
    let random = spread(n);
    format!(
        "{:08x}-{:04x}-7{:03x}-8{:03x}-{:012x}",
        at >> 16,
        at & 0xffff,
        random & 0xfff,
        (random >> 12) & 0xfff,
        (random >> 16) & 0xffff_ffff_ffff
    )
}

/// The same number for the same `n`, and far from its neighbours'.
pub(crate) fn spread(n: i64) -> u64 {
    let mut x = n
        .unsigned_abs()
        .wrapping_add(1)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x ^= x >> 29;
    x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^ (x >> 32)
}
