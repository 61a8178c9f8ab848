//! Tables that plain SQL dropped and made again: they have no capture triggers, so nothing would
//! tell of what is written to them.
//!
//! SQLite lets nobody refuse a DROP or a CREATE TABLE but by hooks of which there is one for each
//! connection, the host's. So it is noticed when it is committed: the file's VFS sees every
//! commit, and after one that captured nothing a second connection looks whether the schema has
//! moved. A table without its capture triggers then gets three that refuse every write, in words,
//! of every connection and process; the daemon makes them where somebody without the extension rebuilt
//! the table. They go with the table, or with its tracking.
//!
//! The invariant: at most the transaction that made the table anew has written to it unseen.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;

use crate::authority;
use crate::connection::Connection;
use crate::drift::Drift;
use crate::error::Result;
use crate::ffi::db::Db;
use crate::ffi::own::OwnConnection;
use crate::savepoint::atomically;
use crate::shadow;
use crate::track;
use crate::tracked::{Table, Tables, literal, quote};

/// How long the second connection waits for the write lock, in milliseconds.
const WAIT_MS: u32 = 1_000;

/// Names of the triggers that refuse writes to table `number`.
fn names(number: u32) -> [String; 3] {
    ["insert", "update", "delete"].map(|event| format!("nuda_{number}_refuses_{event}"))
}

/// Whether a table was rebuilt and takes writes nevertheless.
pub(crate) fn is_open(connection: &Connection) -> Result<bool> {
    match connection.tables()?.rebuilt() {
        Some(table) => Ok(!is_closed(connection.db(), table)?),
        None => Ok(false),
    }
}

fn is_closed(db: Db, table: &Table) -> Result<bool> {
    let [insert, ..] = names(table.at.number);
    let there = format!(
        "SELECT EXISTS (SELECT 1 FROM main.sqlite_schema WHERE type = 'trigger' AND name = {})",
        literal(&insert)
    );
    Ok(db.int(&there, &[])? != 0)
}

/// Makes rebuilt tables refuse writes, if there are such that take them.
pub(crate) fn close_open(connection: &Connection) -> Result<()> {
    if shadow::is_replica(connection.db())? && is_open(connection)? {
        close(connection.db())?;
    }
    Ok(())
}

fn close(db: Db) -> Result<()> {
    atomically(db, || {
        let authority = authority::read(db)?;
        for table in Tables::load(db)?.sorted() {
            if let Drift::Rebuilt(what) = &table.drift
                && !is_closed(db, &table)?
            {
                let way_out = track::way_out(&table.name, authority);
                refuse(
                    db,
                    &table,
                    &format!("nuda: {what}, but it is replicated; {way_out}"),
                )?;
            }
        }
        Ok(())
    })
}

/// Drops those triggers.
pub(crate) fn open_again(db: Db, number: u32) -> Result<()> {
    for name in names(number) {
        db.exec(&format!("DROP TRIGGER IF EXISTS main.{name}"))?;
    }
    Ok(())
}

fn refuse(db: Db, table: &Rc<Table>, why: &str) -> Result<()> {
    let events = ["INSERT", "UPDATE", "DELETE"];
    for (name, event) in names(table.at.number).iter().zip(events) {
        db.exec(&format!(
            "CREATE TRIGGER main.{name} BEFORE {event} ON {} BEGIN SELECT RAISE(ABORT, {}); END",
            quote(&table.name),
            literal(why)
        ))?;
    }
    Ok(())
}

/// A second connection to a file, which looks whether its schema has moved.
#[derive(Debug)]
pub(crate) struct Lookout {
    own: OwnConnection,
    /// The schema for which all was found well.
    schema: Option<i64>,
}

thread_local! {
    /// A look is under way: what it writes itself is no reason for another one.
    static LOOKS: Cell<bool> = const { Cell::new(false) };
}

impl Lookout {
    fn open(path: &str) -> Result<Self> {
        let own = OwnConnection::to_file(path)?;
        own.db().exec(&format!("PRAGMA busy_timeout = {WAIT_MS}"))?;
        Ok(Self { own, schema: None })
    }

    fn look(&mut self) -> Result<()> {
        let db = self.own.db();
        let schema = db.int("PRAGMA main.schema_version", &[])?;
        if self.schema == Some(schema) || !shadow::is_replica(db)? {
            return Ok(());
        }
        if Tables::load(db)?.rebuilt().is_some() {
            close(db)?;
        }
        self.schema = Some(schema);
        Ok(())
    }
}

/// Looks, by the lookout that is there or a new one. What fails is tried again after the next commit.
pub(crate) fn look(lookout: &mut Option<Lookout>, path: &Path) {
    if LOOKS.replace(true) {
        return;
    }
    let mut there = match lookout.take() {
        Some(there) => Ok(there),
        None => Lookout::open(&path.to_string_lossy()),
    };
    if there.as_mut().is_ok_and(|there| there.look().is_ok()) {
        *lookout = there.ok();
    }
    LOOKS.set(false);
}
