//! Definitions that arrive: a table that another node tracks becomes one here.
//!
//! Whatever the local schema cannot take makes the changeset wait, with the reason; nothing
//! of the user's is ever dropped or overwritten to make room.

use std::rc::Rc;

use nuda_core::changeset::ChainHash;
use nuda_core::row::TableRef;
use nuda_core::site::{Dot, Seq, Site};
use nuda_core::value::{OwnedValue, Value};
use sqlite3_ext::ffi;

use crate::apply::optional_hash;
use crate::authority;
use crate::beside;
use crate::blob_writes;
use crate::canonical;
use crate::connection::Connection;
use crate::constraints::Unique;
use crate::definition::{Definition, SchemaChange};
use crate::early;
use crate::error::{Error, Result};
use crate::evolve;
use crate::ffi::db::Db;
use crate::ffi::own::OwnConnection;
use crate::hidden;
use crate::inspect;
use crate::log;
use crate::replaced;
use crate::shadow::{self, Sites, to_i64};
use crate::sql;
use crate::track;
use crate::tracked::{Column, Table, literal, quote};
use crate::triggers;
use crate::visible;

/// Why a changeset cannot be applied to this schema.
pub(crate) enum NotHere {
    /// Not yet.
    Wait(String),
    /// Not at all, anywhere, for what its node is.
    Never(String),
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

/// Once definitions go through the log, whatever defines a table otherwise waits for good. All that
/// the founder defined alone came before its word that it leaves them to the log; so this is from its
/// file as it was before that, put back from a backup, and has numbers that others have given since.
pub(crate) fn refuse_alone(
    connection: &Connection,
    change: &SchemaChange,
    site: Site,
) -> std::result::Result<(), NotHere> {
    let is_ordered = || Ok::<bool, Error>(shadow::state(connection.db())?.is_ordered);
    if site == Site::LOG_STRONG || *change == SchemaChange::HandOver || !is_ordered()? {
        return Ok(());
    }
    Err(NotHere::Never(
        "the founding node changed tables alone, in a file that was put back from before it left them \
         to the log, so nothing more of that file is taken; remove that node from the partition and add \
         it again (nuda members NAME --remove NODE, nuda create NAME --on ...)"
            .to_owned(),
    ))
}

/// Carries out a schema change.
pub(crate) fn schema(
    connection: &Connection,
    change: &SchemaChange,
) -> std::result::Result<Vec<Vec<u8>>, NotHere> {
    match change {
        SchemaChange::Untrack(number) => drop(track::forget(connection, *number)?),
        SchemaChange::Drop(number) => drop_table(connection, *number)?,
        SchemaChange::HandOver => {
            authority::accept(connection.db())?;
            connection.forget_tables();
        }
        SchemaChange::Define(definition) => return define(connection, definition),
    }
    Ok(Vec::new())
}

fn define(
    connection: &Connection,
    definition: &Definition,
) -> std::result::Result<Vec<Vec<u8>>, NotHere> {
    let db = connection.db();
    let number = definition.table.at.number;
    let statements = definition.check()?;
    let known = connection.tables()?.get(number).cloned();
    let mut out = Vec::new();
    match known {
        Some(ref table) if table.at.version >= definition.table.at.version => return Ok(out),
        Some(ref table) => out = change(connection, table, definition)?,
        None => create(connection, definition, &statements)?,
    }
    let shape = inspect::shape(db, &definition.table.name, definition.table.options)?;
    if definition.table.may_hide() {
        hidden::prepare(db)?;
    }
    let added = known.map_or(definition.table.columns.len(), |table| table.columns.len());
    let defaults = canonical::added_defaults(db, &definition.table, added)?;
    hidden::reshape(db, &definition.table, &defaults)?;
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
    Ok(out)
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
            return create_indexes(db, &definition.table.indexes);
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

/// The table is dropped, with its rows.
fn drop_table(connection: &Connection, number: u32) -> std::result::Result<(), NotHere> {
    let Some(table) = connection.tables()?.get(number).cloned() else {
        return Ok(());
    };
    hidden::forget(connection.db(), &table)?;
    track::forget(connection, number)?;
    let dropped = format!("DROP TABLE IF EXISTS {}", table.quoted());
    run(connection.db(), &dropped)
}

/// Makes the table what a newer version says: columns renamed, dropped and added, its own name,
/// its indexes. Answers the keys of rows that went beside it.
fn change(
    connection: &Connection,
    table: &Table,
    definition: &Definition,
) -> std::result::Result<Vec<Vec<u8>>, NotHere> {
    let db = connection.db();
    let new = &definition.table;
    if new.columns.len() < table.columns.len() {
        return Err(Error::corrupt("a definition that forgets columns; refused").into());
    }
    if let Some(why) = table.drift.problem() {
        return Err(NotHere::Wait(format!("{why}; mend it here first")));
    }
    triggers::drop_all(db, table.at.number)?;
    let mut indexes = Vec::new();
    for index in &table.indexes {
        indexes.extend(index_named(db, index)?);
    }
    for (old, new) in table.columns.iter().zip(&new.columns) {
        let name = quote(&old.name);
        match (old.is_gone, new.is_gone) {
            (true, _) => {}
            (false, true) => run(
                db,
                &format!("ALTER TABLE {} DROP COLUMN {name}", table.quoted()),
            )?,
            (false, false) if old.name != new.name => run(
                db,
                &format!(
                    "ALTER TABLE {} RENAME COLUMN {name} TO {}",
                    table.quoted(),
                    quote(&new.name)
                ),
            )?,
            (false, false) => {}
        }
    }
    if table.name != new.name {
        let renamed = format!(
            "ALTER TABLE {} RENAME TO {}",
            table.quoted(),
            quote(&new.name)
        );
        run(db, &renamed)?;
    }
    evolve::forget_cells(db, table, new)?;
    evolve::choices_follow(db, table, Some(new))?;
    add_columns(connection, table, definition)?;
    // A renaming has changed their texts, here as at the author's.
    for index in &indexes {
        drop_unless(db, index, &new.indexes)?;
    }
    let out = if new.options.keep_first {
        make_room(connection, definition)?
    } else {
        Vec::new()
    };
    create_indexes(db, &new.indexes)?;
    Ok(out)
}

/// New UNIQUE indexes of a table that shows the oldest of several rows: the rows that have the same
/// values go beside it, until the changeset's end tells which of them is shown. Answers their keys.
fn make_room(connection: &Connection, definition: &Definition) -> Result<Vec<Vec<u8>>> {
    let (db, new) = (connection.db(), &definition.table);
    let (mut missing, mut out) = (Vec::new(), Vec::new());
    for index in &new.indexes {
        if index_named(db, index)?.is_none() {
            missing.push(index);
        }
    }
    if missing.is_empty() {
        return Ok(out);
    }
    let scratch = OwnConnection::in_memory()?;
    scratch.db().exec(&definition.sql)?;
    let before = Unique::all(scratch.db(), &new.name)?;
    for index in missing {
        scratch.db().exec(index)?;
    }
    let added = Unique::all(scratch.db(), &new.name)?;
    for unique in added.iter().filter(|unique| !before.contains(unique)) {
        for row in visible::alike(db, new, unique)? {
            beside::take_out(connection, new, &row)?;
            out.push(beside::keep(db, new, &row)?);
        }
    }
    Ok(out)
}

/// Adds the columns that a newer version has.
fn add_columns(
    connection: &Connection,
    table: &Table,
    definition: &Definition,
) -> std::result::Result<(), NotHere> {
    let db = connection.db();
    let scratch = OwnConnection::in_memory()?;
    scratch.db().exec(&definition.sql)?;
    let new = &definition.table;
    let add = |name: &str| {
        let text = sql::column_text(&definition.sql, name)
            .ok_or_else(|| Error::corrupt("a definition without one of its columns"))?;
        run(
            db,
            &format!("ALTER TABLE {} ADD COLUMN {text}", new.quoted()),
        )
    };
    let added = new.columns.iter().enumerate().skip(table.columns.len());
    for (position, column) in added.filter(|(_, column)| !column.is_gone) {
        let Some(wanted) = Declared::of(scratch.db(), &new.name, &column.name)? else {
            continue;
        };
        match Declared::of(db, &new.name, &column.name)? {
            None => add(&column.name)?,
            Some(here) if here == wanted => {
                let default = canonical::added_default(db, new, column)?;
                early::set_aside(connection, new, (position, &default))?;
            }
            Some(_) => return Err(NotHere::Wait(in_the_way(new, column))),
        }
    }
    // Generated ones have no number, and stored ones cannot be added.
    let generated = scratch.db().all(
        "SELECT name FROM pragma_table_xinfo(?) WHERE hidden = 2",
        &[Value::Text(new.name.as_bytes())],
    )?;
    for row in &generated {
        if let [OwnedValue::Text(name)] = row.as_slice() {
            let name = String::from_utf8_lossy(name);
            if Declared::of(db, &new.name, &name)?.is_none() {
                add(&name)?;
            }
        }
    }
    Ok(())
}

/// Runs a statement of a definition. What is in its way here has to go first.
fn run(db: Db, statement: &str) -> std::result::Result<(), NotHere> {
    match db.exec(statement) {
        Err(error) if error.code == ffi::SQLITE_ERROR => Err(NotHere::Wait(format!(
            "it needs {statement}, and here: {}; remove what is in the way",
            error.message
        ))),
        done => Ok(done?),
    }
}

/// Two nodes added a column of one name, and the other one was first.
fn in_the_way(table: &Table, column: &Column) -> String {
    let (table, own) = (quote(&table.name), quote(&format!("{}_here", column.name)));
    let column = quote(&column.name);
    format!(
        "another node was first to add the column {column} to {table}, declared otherwise than the \
         one here; ALTER TABLE {table} RENAME COLUMN {column} TO {own} keeps both, DROP COLUMN \
         gives this one up"
    )
}

/// How a column is declared, apart from its spelling.
#[derive(PartialEq, Eq)]
struct Declared {
    kind: String,
    not_null: i64,
    default: OwnedValue,
    collation: Option<String>,
}

impl Declared {
    fn of(db: Db, table: &str, column: &str) -> Result<Option<Self>> {
        let row = db.first(
            "SELECT type, \"notnull\", dflt_value FROM pragma_table_xinfo(?, 'main') \
             WHERE name = ? COLLATE NOCASE",
            &[
                Value::Text(table.as_bytes()),
                Value::Text(column.as_bytes()),
            ],
        )?;
        let Some([OwnedValue::Text(kind), OwnedValue::Int(not_null), default]) = row.as_deref()
        else {
            return Ok(None);
        };
        Ok(Some(Self {
            kind: String::from_utf8_lossy(kind).to_ascii_uppercase(),
            not_null: *not_null,
            default: default.clone(),
            collation: db.collation(table, column),
        }))
    }
}

fn index_named(db: Db, index: &str) -> Result<Option<String>> {
    db.text(
        "SELECT name FROM main.sqlite_schema WHERE type = 'index' AND sql = ?",
        &[Value::Text(index.as_bytes())],
    )
}

/// Drops an index whose definition is none of these.
fn drop_unless(db: Db, name: &str, wanted: &[String]) -> Result<()> {
    let text = db.text(
        "SELECT sql FROM main.sqlite_schema WHERE type = 'index' AND name = ?",
        &[Value::Text(name.as_bytes())],
    )?;
    match text {
        Some(text) if !wanted.contains(&text) => {
            db.exec(&format!("DROP INDEX main.{}", quote(name)))
        }
        _ => Ok(()),
    }
}

/// Creates the indexes that are not here. Indexes that were only ever made here stay.
fn create_indexes(db: Db, indexes: &[String]) -> std::result::Result<(), NotHere> {
    for index in indexes {
        if index_named(db, index)?.is_none() {
            db.exec(index).map_err(|error| {
                NotHere::Wait(format!(
                    "an index cannot be created: {}; if its name is taken here, DROP INDEX frees it",
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
