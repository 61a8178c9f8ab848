//! Incremental blob writes (`sqlite3_blob_open`, and what drivers make of it) to tracked tables:
//! refused, since no trigger, no authorizer and no counter of changes tells of them.
//!
//! SQLite opens no value for writing while an index of its table has a column that is computed,
//! whatever it is computed from. So each tracked table has an index of a constant, and of no rows:
//! it costs one page of the file, and nothing when rows change. It is in the schema, so that it
//! also stops connections without the extension. Reading values in pieces goes on. The index is
//! this file's own: it is no part of what replicas agree on.

use nuda_core::value::Value;

use crate::error::Result;
use crate::ffi::db::Db;
use crate::tracked::{Table, Tables};

/// Which rows of the schema are such indexes, as a condition.
pub(crate) const IS_OURS: &str = "type = 'index' AND name GLOB 'nuda_[0-9]*_no_blob_writes'";

fn name(number: u32) -> String {
    format!("nuda_{number}_no_blob_writes")
}

/// From here on the table takes no incremental blob writes.
pub(crate) fn refuse(db: Db, table: &Table) -> Result<()> {
    if is_without_rowid(db, table)? {
        // SQLite itself refuses there.
        return Ok(());
    }
    db.exec(&format!(
        "CREATE INDEX IF NOT EXISTS main.{} ON {}(0) WHERE 0",
        name(table.at.number),
        crate::tracked::quote(&table.name)
    ))
}

/// The table is tracked no longer.
pub(crate) fn allow(db: Db, number: u32) -> Result<()> {
    db.exec(&format!("DROP INDEX IF EXISTS main.{}", name(number)))
}

/// Tables that lack their index: tracked by an older version, or somebody dropped it.
pub(crate) fn open(db: Db, tables: &Tables) -> Result<Vec<std::rc::Rc<Table>>> {
    let mut open = Vec::new();
    for table in tables.sorted() {
        let there = db.int(
            "SELECT count(*) FROM main.sqlite_schema WHERE type = 'index' AND name = ? \
             AND tbl_name = ? COLLATE NOCASE",
            &[
                Value::Text(name(table.at.number).as_bytes()),
                Value::Text(table.name.as_bytes()),
            ],
        )?;
        if there == 0 && table.drift.problem().is_none() && !is_without_rowid(db, &table)? {
            open.push(table);
        }
    }
    Ok(open)
}

fn is_without_rowid(db: Db, table: &Table) -> Result<bool> {
    let without = db.int(
        "SELECT count(*) FROM pragma_table_list(?) WHERE schema = 'main' AND wr = 1",
        &[Value::Text(table.name.as_bytes())],
    )?;
    Ok(without != 0)
}
