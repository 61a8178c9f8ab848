//! Changes that are made again, or settled anew, of rows that have no place in their table.
//!
//! After a re-seed a replica writes again what the donor lacked, and restamping gives registers
//! other values. In a table that may hide rows the row in question may be hidden, or its new values
//! may be another row's. Then the change is captured all the same, and the row is kept beside its
//! table ([`crate::hidden`]), from where it is shown if it is its turn ([`crate::visible`]).

use nuda_core::value::{OwnedValue, Value};
use sqlite3_ext::ffi::SQLITE_CONSTRAINT_UNIQUE;

use crate::births::key_bytes;
use crate::canonical;
use crate::capture::side;
use crate::connection::Connection;
use crate::error::{Error, Result};
use crate::event;
use crate::ffi::db::Db;
use crate::hidden;
use crate::tracked::{GONE, Table, quote};
use crate::triggers;

/// Whether a write failed because another row has its values, and the row goes beside the table.
pub(crate) fn has_no_place(table: &Table, error: &Error) -> bool {
    table.options.keep_first && error.code == SQLITE_CONSTRAINT_UNIQUE
}

/// A row's values, and whether it is hidden.
pub(crate) type Found = (Vec<OwnedValue>, bool);

/// A row as it is, shown or hidden.
pub(crate) fn find(db: Db, table: &Table, key: &[Value<'_>]) -> Result<Option<Found>> {
    let sql = format!(
        "SELECT {} FROM {} WHERE {}",
        table.column_list(),
        table.quoted(),
        table.key_condition()
    );
    if let Some(row) = db.first(&sql, key)? {
        return Ok(Some((row, false)));
    }
    let hidden = hidden::peek(db, table, key)?;
    Ok(hidden.map(|row| (row, true)))
}

/// A row as the attached old file has it, shown or hidden there: the columns that it knew, under
/// their numbers. Names may have changed since.
pub(crate) fn find_old(
    db: Db,
    table: &Table,
    key: &[Value<'_>],
) -> Result<Option<Vec<OwnedValue>>> {
    let number = [Value::Int(i64::from(table.at.number))];
    let name = "SELECT name FROM nuda_old.nuda_table WHERE number = ? AND kind <> 'untracked'";
    let Some(name) = db.text(name, &number)? else {
        return Ok(None);
    };
    let mut columns = Vec::new();
    for column in db.all(
        "SELECT name, is_key FROM nuda_old.nuda_column WHERE number = ? ORDER BY position",
        &number,
    )? {
        if let [OwnedValue::Text(name), OwnedValue::Int(is_key)] = column.as_slice() {
            columns.push((quote(&String::from_utf8_lossy(name)), *is_key));
        }
    }
    columns.truncate(table.columns.len());
    let read: Vec<&str> = columns
        .iter()
        .enumerate()
        .map(|(n, (name, is_key))| {
            let is_gone = *is_key == GONE || table.is_gone(n);
            if is_gone { "NULL" } else { name.as_str() }
        })
        .collect();
    let keys: Vec<String> = columns
        .iter()
        .filter(|(_, is_key)| *is_key == 1)
        .enumerate()
        .map(|(n, (name, _))| format!("{name} = ?{}", n + 1))
        .collect();
    let sql = format!(
        "SELECT {} FROM nuda_old.{} WHERE {}",
        read.join(", "),
        quote(&name),
        keys.join(" AND ")
    );
    let row = db.first(&sql, key)?;
    let is_there = "SELECT count(*) FROM nuda_old.sqlite_schema WHERE name = 'nuda_hidden'";
    if row.is_some() || !table.may_hide() || db.int(is_there, &[])? == 0 {
        return Ok(row);
    }
    hidden::peek_old(db, table, key)
}

/// A row that was inserted and has no place. Columns that it lacks get their defaults.
pub(crate) fn insert(connection: &Connection, table: &Table, values: &[OwnedValue]) -> Result<()> {
    let db = connection.db();
    let mut row = values.to_vec();
    canonical::fill_up(db, table, &mut row)?;
    let value = |n: usize| row.get(n).map_or(Value::Null, OwnedValue::as_ref);
    triggers::touch(db)?;
    event::insert(&mut *connection.capture()?, table, value)?;
    keep(db, table, &row).map(drop)
}

/// A row that was changed from `old` to `new`, and was hidden or has no place any more.
pub(crate) fn update(
    connection: &Connection,
    table: &Table,
    (old, new): (&[OwnedValue], &[OwnedValue]),
) -> Result<()> {
    triggers::touch(connection.db())?;
    event::update(
        &mut *connection.capture()?,
        table,
        (side(old), side(new)),
        |n| side(old)(n) == side(new)(n),
    )?;
    take_out(connection, table, new)?;
    keep(connection.db(), table, new).map(drop)
}

/// A hidden row that was deleted.
pub(crate) fn delete(connection: &Connection, table: &Table, old: &[OwnedValue]) -> Result<()> {
    let value = |n: usize| old.get(n).map_or(Value::Null, OwnedValue::as_ref);
    triggers::touch(connection.db())?;
    event::delete(&mut *connection.capture()?, table, value)?;
    let key: Vec<Value<'_>> = (0..table.at.key_columns).map(value).collect();
    hidden::remove(connection.db(), table.at.number, &key_bytes(&key))
}

/// Takes a row that is about to be kept out of its table, if it is there.
pub(crate) fn take_out(connection: &Connection, table: &Table, row: &[OwnedValue]) -> Result<()> {
    let key: Vec<Value<'_>> = row
        .iter()
        .take(table.at.key_columns)
        .map(OwnedValue::as_ref)
        .collect();
    let delete = format!(
        "DELETE FROM {} WHERE {}",
        table.quoted(),
        table.key_condition()
    );
    connection
        .guard
        .announce(crate::guard::Write::Delete, table.at.number, &key);
    connection.while_applying(|| connection.db().run(&delete, &key))
}

/// Keeps a row beside its table until somebody looks whether it is to be shown. Answers its key.
pub(crate) fn keep(db: Db, table: &Table, row: &[OwnedValue]) -> Result<Vec<u8>> {
    let key: Vec<Value<'_>> = row
        .iter()
        .take(table.at.key_columns)
        .map(OwnedValue::as_ref)
        .collect();
    let key = key_bytes(&key);
    hidden::put(db, table.at.number, &key, row, None)?;
    Ok(key)
}
