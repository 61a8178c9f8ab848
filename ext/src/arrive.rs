//! Definitions that arrive: a table that another node tracks becomes one here.
//!
//! Whatever the local schema cannot take makes the changeset wait, with the reason; nothing
//! of the user's is ever dropped or overwritten to make room.

use std::rc::Rc;

use nuda_core::changeset::ChainHash;
use nuda_core::row::TableRef;
use nuda_core::site::{Dot, Seq};
use nuda_core::value::{OwnedValue, Value};

use crate::apply::optional_hash;
use crate::blob_writes;
use crate::canonical;
use crate::connection::Connection;
use crate::definition::{Definition, SchemaChange};
use crate::error::{Error, Result};
use crate::ffi::db::Db;
use crate::ffi::own::OwnConnection;
use crate::hidden;
use crate::inspect;
use crate::log;
use crate::replaced;
use crate::shadow::{Sites, to_i64};
use crate::track;
use crate::tracked::{Table, literal, quote};
use crate::triggers;

/// Why a changeset cannot be applied to this schema.
pub(crate) enum NotHere {
    /// Not yet.
    Wait(String),
    /// Not at all.
    Fail(Error),
}

impl From<Error> for NotHere {
    fn from(error: Error) -> Self {
        Self::Fail(error)
    }
}

/// The local table that changes in shape `at` go to. An older version of it is fine: columns
/// are only ever added. `None`: it is no longer replicated, and what others wrote to it
/// without knowing that concerns them only.
pub(crate) fn local_table(
    connection: &Connection,
    at: &TableRef,
) -> std::result::Result<Option<Rc<Table>>, NotHere> {
    let tables = connection.tables()?;
    let Some(table) = tables.get(at.number) else {
        let was_here = connection.db().int(
            "SELECT count(*) FROM main.nuda_table WHERE number = ?",
            &[Value::Int(i64::from(at.number))],
        )?;
        if was_here > 0 {
            return Ok(None);
        }
        return Err(NotHere::Wait(format!(
            "table {} has not arrived",
            at.number
        )));
    };
    if let Some(why) = table.drift.problem() {
        return Err(NotHere::Wait(format!("{why}; mend it here first")));
    }
    if at.version > table.at.version {
        return Err(NotHere::Wait(format!(
            "{} is version {} here, the changeset needs {}",
            table.name, table.at.version, at.version
        )));
    }
    let same_key = at.key_columns == table.at.key_columns && at.columns <= table.at.columns;
    let same = at.version < table.at.version || at.definition == table.at.definition;
    if !same_key || !same {
        return Err(NotHere::Fail(Error::corrupt(format!(
            "the changeset knows {} in another definition than this file",
            table.name
        ))));
    }
    Ok(Some(Rc::clone(table)))
}

/// Carries out a schema change.
pub(crate) fn schema(
    connection: &Connection,
    change: &SchemaChange,
) -> std::result::Result<(), NotHere> {
    match change {
        SchemaChange::Untrack(number) => Ok(track::forget(connection, *number).map(drop)?),
        SchemaChange::Define(definition) => define(connection, definition),
    }
}

fn define(connection: &Connection, definition: &Definition) -> std::result::Result<(), NotHere> {
    let db = connection.db();
    let number = definition.table.at.number;
    let statements = definition.check()?;
    let known = connection.tables()?.get(number).cloned();
    match known {
        Some(ref table) if table.at.version >= definition.table.at.version => return Ok(()),
        Some(ref table) => add_columns(db, table, definition)?,
        None => create(connection, definition, &statements)?,
    }
    let shape = inspect::shape(db, &definition.table.name, definition.table.options)?;
    if definition.table.may_hide() {
        hidden::prepare(db)?;
    }
    let added = known.map_or(definition.table.columns.len(), |table| table.columns.len());
    let mut defaults = Vec::new();
    for (n, column) in definition.table.columns.iter().enumerate().skip(added) {
        defaults.push((n, canonical::added_default(db, &definition.table, column)?));
    }
    hidden::widen(db, &definition.table, &defaults)?;
    hidden::look_again(db, &definition.table)?;
    track::record(db, &definition.table)?;
    triggers::drop_all(db, number)?;
    triggers::create(
        db,
        &definition.table,
        shape.invents_keys,
        triggers::Tables::Create,
    )?;
    blob_writes::refuse(db, &definition.table)?;
    connection.forget_tables();
    Ok(())
}

/// Creates the table, or takes an empty one of the same shape, or one that was replicated
/// before: its rows make room for the founding node's.
fn create(
    connection: &Connection,
    definition: &Definition,
    statements: &[String],
) -> std::result::Result<(), NotHere> {
    let db = connection.db();
    let name = &definition.table.name;
    let run = || {
        statements
            .iter()
            .try_for_each(|statement| db.exec(statement))
    };
    let there = db.int(
        "SELECT count(*) FROM main.sqlite_schema WHERE name = ? COLLATE NOCASE",
        &[Value::Text(name.as_bytes())],
    )?;
    if there == 0 {
        return Ok(run()?);
    }
    let shape = inspect::shape(db, name, definition.table.options);
    let is_same = shape.as_ref().is_ok_and(|shape| {
        Table::definition_hash(&shape.columns, &shape.groups) == definition.table.at.definition
    });
    let was_replicated = db.int(
        "SELECT EXISTS (SELECT 1 FROM main.nuda_table WHERE kind = 'untracked' \
           AND name = 'untracked ' || number || ' ' || ?1 COLLATE NOCASE) \
         AND EXISTS (SELECT 1 FROM main.sqlite_schema \
           WHERE type = 'table' AND name = ?1 COLLATE NOCASE)",
        &[Value::Text(name.as_bytes())],
    )? != 0;
    if was_replicated {
        replaced::set_aside(connection, &definition.table)?;
        if is_same && shape.is_ok_and(|shape| shape.sql == definition.sql) {
            db.exec(&format!("DELETE FROM main.{}", quote(name)))?;
            return change_indexes(db, &[], &definition.table.indexes);
        }
        db.exec(&format!("DROP TABLE main.{}", quote(name)))?;
        return Ok(run()?);
    }
    if let Err(error) = shape {
        return Err(NotHere::Wait(format!(
            "{name} exists here and cannot be replicated: {}",
            error.message
        )));
    }
    if !is_same {
        return Err(NotHere::Wait(format!(
            "{name} exists here in another shape; rename or drop it, the replicated one follows"
        )));
    }
    let rows = db.int(
        &format!("SELECT EXISTS (SELECT 1 FROM main.{})", quote(name)),
        &[],
    )?;
    if rows != 0 {
        return Err(NotHere::Wait(format!(
            "{name} exists here with rows of its own; rename it, the replicated one follows"
        )));
    }
    Ok(())
}

/// Adds the columns and indexes that a newer version has.
fn add_columns(db: Db, table: &Table, definition: &Definition) -> std::result::Result<(), NotHere> {
    let scratch = OwnConnection::in_memory()?;
    scratch.db().exec(&definition.sql)?;
    let columns = scratch.db().all(
        "SELECT name, type, \"notnull\", dflt_value FROM pragma_table_xinfo(?) WHERE hidden = 0",
        &[Value::Text(definition.table.name.as_bytes())],
    )?;
    for column in columns {
        let [
            OwnedValue::Text(name),
            OwnedValue::Text(kind),
            OwnedValue::Int(not_null),
            default,
        ] = column.as_slice()
        else {
            continue;
        };
        let name = String::from_utf8_lossy(name);
        let exists = db.int(
            "SELECT count(*) FROM pragma_table_xinfo(?) WHERE name = ? COLLATE NOCASE",
            &[
                Value::Text(table.name.as_bytes()),
                Value::Text(name.as_bytes()),
            ],
        )?;
        if exists > 0 {
            continue;
        }
        let default = match default {
            OwnedValue::Text(text) => format!(" DEFAULT {}", String::from_utf8_lossy(text)),
            _ => String::new(),
        };
        let not_null = if *not_null == 0 { "" } else { " NOT NULL" };
        db.exec(&format!(
            "ALTER TABLE {} ADD COLUMN {} {}{not_null}{default}",
            table.quoted(),
            quote(&name),
            String::from_utf8_lossy(kind)
        ))?;
    }
    change_indexes(db, &table.indexes, &definition.table.indexes)
}

/// Drops and creates what differs. Indexes that were only ever made here stay.
fn change_indexes(db: Db, old: &[String], new: &[String]) -> std::result::Result<(), NotHere> {
    let named = |index: &str| {
        db.text(
            "SELECT name FROM main.sqlite_schema WHERE type = 'index' AND sql = ?",
            &[Value::Text(index.as_bytes())],
        )
    };
    for index in old.iter().filter(|index| !new.contains(index)) {
        if let Some(name) = named(index)? {
            db.exec(&format!("DROP INDEX main.{}", quote(&name)))?;
        }
    }
    for index in new.iter().filter(|index| !old.contains(index)) {
        if named(index)?.is_none() {
            db.exec(index).map_err(|error| {
                NotHere::Wait(format!(
                    "an index cannot be created: {}",
                    literal(&error.message)
                ))
            })?;
        }
    }
    Ok(())
}

/// The chain hash of an applied changeset, if the log or the site table has it.
pub(crate) fn stored_hash(db: Db, sites: &Sites, dot: Dot) -> Result<Option<ChainHash>> {
    let Some(site) = sites.by_site(dot.site) else {
        return Ok(None);
    };
    let is_applied = |seq: Seq| -> Result<bool> {
        let waits = db.int(
            "SELECT EXISTS (SELECT 1 FROM main.nuda_waiting WHERE site = ? AND seq = ?)",
            &[Value::Int(site.id), Value::Int(to_i64(seq))],
        )?;
        Ok(waits == 0)
    };
    if !is_applied(dot.seq)? {
        return Ok(None);
    }
    let row = db.first(
        "SELECT hash FROM main.nuda_log WHERE id BETWEEN ? AND ? AND hash IS NOT NULL",
        &[
            Value::Int(log::key(site.id, dot.seq, 0)),
            Value::Int(log::key(site.id, dot.seq + 1, 0) - 1),
        ],
    )?;
    if let Some(hash) = optional_hash(row.as_deref())? {
        return Ok(Some(hash));
    }
    let row = db.first(
        "SELECT previous FROM main.nuda_log WHERE id = ?",
        &[Value::Int(log::key(site.id, dot.seq + 1, 0))],
    )?;
    if let (Some(hash), true) = (optional_hash(row.as_deref())?, is_applied(dot.seq + 1)?) {
        return Ok(Some(hash));
    }
    let row = db.first(
        "SELECT hash FROM main.nuda_site WHERE id = ? AND applied = ?",
        &[Value::Int(site.id), Value::Int(to_i64(dot.seq))],
    )?;
    optional_hash(row.as_deref())
}
