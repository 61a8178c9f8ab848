//! User triggers on the applier's connection: they run, so that derived tables (FTS5, counts)
//! stay right, but what they write to tracked tables is suppressed, because it arrives as data
//! of its own.
//!
//! Temporary BEFORE triggers on all tracked tables ask `nuda_nested` and, if so, ignore the
//! row. SQLite fires temporary triggers first, so the first question of a statement is always
//! about the row that the applier itself writes; the applier announces that row, and whatever
//! is asked afterwards was written by a trigger. Where no table has a trigger of the user's,
//! there is nothing to guard, and a connection that only applies switches triggers off.

use std::cell::Cell;

use nuda_core::value::Value;

use crate::concurrent::row_fingerprint;
use crate::connection::Connection;
use crate::error::Result;
use crate::ffi::db::{Db, Setting};
use crate::ffi::value::Args;
use crate::tracked::{Table, quote};

/// What the applier is about to do to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Write {
    Insert = 1,
    Update = 2,
    Delete = 3,
}

/// The announced write, and whether anybody asks.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    announced: Cell<Option<(i64, u64)>>,
    active: Cell<bool>,
    /// The schema for which the triggers were looked at.
    schema: Cell<Option<i64>>,
}

impl Guard {
    /// Whether user triggers run while applying.
    pub(crate) fn is_active(&self) -> bool {
        self.active.get()
    }

    /// Looks at the triggers again before the next change is applied.
    pub(crate) fn look_again(&self) {
        self.schema.set(None);
    }

    /// The next write of the applier.
    pub(crate) fn announce(&self, write: Write, table: u32, key: &[Value<'_>]) {
        if self.active.get() {
            self.announced
                .set(Some((write as i64, row_fingerprint(table, key))));
        }
    }

    /// `nuda_nested(write, table, key...)`: whether this write comes from a trigger.
    pub(crate) fn is_nested(&self, args: Args<'_>) -> bool {
        let write = args.int(0).unwrap_or(0);
        let table = args.int(1).and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
        let key: Vec<Value<'_>> = (2..args.len()).map(|n| args.get(n)).collect();
        let asked = (write, row_fingerprint(table, &key));
        if self.announced.get() == Some(asked) {
            self.announced.set(None);
            return false;
        }
        true
    }
}

/// Looks at the triggers, if the schema changed, and sets up what applying needs.
pub(crate) fn prepare(connection: &Connection, dedicated: bool) -> Result<()> {
    let db = connection.db();
    let guard = &connection.guard;
    let schema = db.int("PRAGMA main.schema_version", &[])?;
    if guard.schema.get() == Some(schema) {
        return Ok(());
    }
    let users = db.int(
        "SELECT EXISTS (SELECT 1 FROM main.sqlite_schema WHERE type = 'trigger' \
           AND name NOT GLOB 'nuda_[0-9]*' AND tbl_name IN (SELECT name FROM main.nuda_table)) \
         OR EXISTS (SELECT 1 FROM temp.sqlite_schema WHERE type = 'trigger' \
           AND name NOT GLOB 'nuda_guard_*')",
        &[],
    )?;
    guard.active.set(users != 0);
    if users != 0 {
        for table in connection.tables()?.sorted() {
            create(db, &table)?;
        }
    }
    db.switch(Setting::Triggers, users != 0 || !dedicated)?;
    guard.schema.set(Some(schema));
    Ok(())
}

/// The same for changes that are captured as they are written: triggers stay on.
pub(crate) fn prepare_captured(connection: &Connection) -> Result<()> {
    connection.guard.look_again();
    let prepared = prepare(connection, false);
    // Whoever applies next decides for itself.
    connection.guard.look_again();
    prepared
}

fn create(db: Db, table: &Table) -> Result<()> {
    for (write, event, row) in [
        (Write::Insert, "INSERT", "NEW"),
        (Write::Update, "UPDATE", "OLD"),
        (Write::Delete, "DELETE", "OLD"),
    ] {
        let key: Vec<String> = table
            .key()
            .map(|c| format!("{row}.{}", quote(&c.name)))
            .collect();
        let name = format!(
            "nuda_guard_{}_{}",
            table.at.number,
            event.to_ascii_lowercase()
        );
        db.exec(&format!(
            "CREATE TEMP TRIGGER IF NOT EXISTS {name} BEFORE {event} ON {} \
             WHEN nuda_applying() AND nuda_nested({}, {}, {}) BEGIN SELECT RAISE(IGNORE); END",
            table.quoted(),
            write as i64,
            table.at.number,
            key.join(", ")
        ))?;
    }
    Ok(())
}
