//! Rows that live and are not shown: another row has their unique value, or none has what they
//! refer to.
//!
//! A hidden row is kept whole in this table, is merged there like any other, and returns when what
//! hides it is gone. Beside it stands the key of the row that holds it back, so that a change of
//! that one finds it, or what the row refers to and is not there ([`crate::references`]). Where
//! nothing is named, the row is looked at whenever its table changes.
//!
//! The invariant: a living row is in its table or here, never in both.

use std::rc::Rc;

use nuda_core::codec::Reader;
use nuda_core::value::{OwnedValue, Value};

use crate::births::{self, key_bytes};
use crate::error::Result;
use crate::ffi::db::Db;
use crate::references::WANT;
use crate::replaced;
use crate::shadow::damaged;
use crate::tracked::{Table, Tables, quote};

/// Made with the first table that may hide rows.
const DEFINITIONS: &str = "CREATE TABLE IF NOT EXISTS main.nuda_hidden(\
     number INTEGER NOT NULL, key BLOB NOT NULL, -- the row
     row BLOB NOT NULL,                -- its values, the key's first
     by BLOB,                          -- key of the row of the same table that holds it back, or what it lacks
     PRIMARY KEY (number, key)) WITHOUT ROWID;
     CREATE INDEX IF NOT EXISTS main.nuda_hidden_by ON nuda_hidden(number, by)";

/// A row that is not shown.
#[derive(Debug, Clone)]
pub(crate) struct HiddenRow {
    pub(crate) key: Vec<u8>,
    pub(crate) values: Vec<OwnedValue>,
}

/// Makes what tables that may hide rows need.
pub(crate) fn prepare(db: Db) -> Result<()> {
    db.exec(DEFINITIONS)?;
    db.exec(births::DEFINITION)
}

/// Whether rows of a table are hidden.
#[inline(never)]
pub(crate) fn any(db: Db, table: &Table) -> Result<bool> {
    if !table.may_hide() {
        return Ok(false);
    }
    let there = "SELECT EXISTS (SELECT 1 FROM main.nuda_hidden WHERE number = ?)";
    Ok(db.int(there, &[number(table.at.number)])? != 0)
}

/// Whether hidden rows of a table are to be looked at.
pub(crate) fn any_unnamed(db: Db, table: &Table) -> Result<bool> {
    if !table.may_hide() {
        return Ok(false);
    }
    let there = "SELECT EXISTS (SELECT 1 FROM main.nuda_hidden WHERE number = ? AND by IS NULL)";
    Ok(db.int(there, &[number(table.at.number)])? != 0)
}

/// Whether rows of any table are hidden.
pub(crate) fn any_at_all(db: Db) -> Result<bool> {
    Ok(db.int("SELECT EXISTS (SELECT 1 FROM main.nuda_hidden)", &[])? != 0)
}

/// The rows of a table that lack what they refer to.
pub(crate) fn waiting(db: Db, table: u32) -> Result<Vec<HiddenRow>> {
    rows(
        db,
        "SELECT key, row FROM main.nuda_hidden WHERE number = ? AND by >= ?",
        &[number(table), Value::Blob(&[WANT])],
    )
}

/// Those rows are looked at next.
pub(crate) fn look_again_at_waiting(db: Db, table: u32) -> Result<()> {
    db.run(
        "UPDATE main.nuda_hidden SET by = NULL WHERE number = ? AND by >= ?",
        &[number(table), Value::Blob(&[WANT])],
    )
}

/// A row was written here: whom it held back, it may hold back no longer.
pub(crate) fn let_go(db: Db, table: u32, key: &[u8]) -> Result<()> {
    db.run(
        "UPDATE main.nuda_hidden SET by = NULL WHERE number = ? AND by = ?",
        &[number(table), Value::Blob(key)],
    )
}

fn number(table: u32) -> Value<'static> {
    Value::Int(i64::from(table))
}

/// Takes a row out, to be changed or shown.
pub(crate) fn take(db: Db, table: u32, key: &[u8]) -> Result<Option<Vec<OwnedValue>>> {
    let row = db.first(
        "SELECT row FROM main.nuda_hidden WHERE number = ? AND key = ?",
        &[number(table), Value::Blob(key)],
    )?;
    let Some([OwnedValue::Blob(row)]) = row.as_deref() else {
        return Ok(None);
    };
    remove(db, table, key)?;
    decode(row).map(Some)
}

/// A hidden row's values, where they are.
pub(crate) fn peek(db: Db, table: &Table, key: &[Value<'_>]) -> Result<Option<Vec<OwnedValue>>> {
    if !table.may_hide() {
        return Ok(None);
    }
    peek_in(db, "main", table, key)
}

/// The same in the attached old file, where it has such.
pub(crate) fn peek_old(
    db: Db,
    table: &Table,
    key: &[Value<'_>],
) -> Result<Option<Vec<OwnedValue>>> {
    peek_in(db, "nuda_old", table, key)
}

fn peek_in(
    db: Db,
    schema: &str,
    table: &Table,
    key: &[Value<'_>],
) -> Result<Option<Vec<OwnedValue>>> {
    let row = db.first(
        &format!("SELECT row FROM {schema}.nuda_hidden WHERE number = ? AND key = ?"),
        &[number(table.at.number), Value::Blob(&key_bytes(key))],
    )?;
    match row.as_deref() {
        Some([OwnedValue::Blob(row)]) => decode(row).map(Some),
        _ => Ok(None),
    }
}

/// Lets go of a row.
pub(crate) fn remove(db: Db, table: u32, key: &[u8]) -> Result<()> {
    db.run(
        "DELETE FROM main.nuda_hidden WHERE number = ? AND key = ?",
        &[number(table), Value::Blob(key)],
    )
}

/// Keeps a row; `by` is the key of the row that holds it back.
pub(crate) fn put(
    db: Db,
    table: u32,
    key: &[u8],
    values: &[OwnedValue],
    by: Option<&[u8]>,
) -> Result<()> {
    let mut row = Vec::new();
    for value in values {
        value.as_ref().encode(&mut row);
    }
    db.run(
        "INSERT OR REPLACE INTO main.nuda_hidden(number, key, row, by) VALUES (?, ?, ?, ?)",
        &[
            number(table),
            Value::Blob(key),
            Value::Blob(&row),
            by.map_or(Value::Null, Value::Blob),
        ],
    )
}

/// The rows that the one of this key holds back; without one, those that nobody is named for.
pub(crate) fn held_back_by(db: Db, table: u32, key: Option<&[u8]>) -> Result<Vec<HiddenRow>> {
    rows(
        db,
        "SELECT key, row FROM main.nuda_hidden WHERE number = ? AND by IS ?",
        &[number(table), key.map_or(Value::Null, Value::Blob)],
    )
}

/// A hidden row, and the key of the row that holds it back, if one is named.
pub(crate) struct HeldBack {
    pub(crate) row: HiddenRow,
    pub(crate) by: Option<Vec<u8>>,
}

/// Whether this file may hide rows.
pub(crate) fn are_kept(db: Db) -> Result<bool> {
    let there = "SELECT count(*) FROM main.sqlite_schema WHERE name = 'nuda_hidden'";
    Ok(db.int(there, &[])? != 0)
}

/// All hidden rows of a table, and what holds them back.
pub(crate) fn with_holders(db: Db, table: u32) -> Result<Vec<HeldBack>> {
    let found = db.all(
        "SELECT key, row, by FROM main.nuda_hidden WHERE number = ? ORDER BY key",
        &[number(table)],
    )?;
    let rows = found.iter().map(|row| match row.as_slice() {
        [OwnedValue::Blob(key), OwnedValue::Blob(row), by] => Ok(HeldBack {
            row: HiddenRow {
                key: key.clone(),
                values: decode(row)?,
            },
            by: match by {
                OwnedValue::Blob(by) => Some(by.clone()),
                _ => None,
            },
        }),
        _ => Err(damaged("nuda_hidden")),
    });
    rows.collect()
}

/// All hidden rows of a table.
pub(crate) fn all(db: Db, table: u32) -> Result<Vec<HiddenRow>> {
    rows(
        db,
        "SELECT key, row FROM main.nuda_hidden WHERE number = ?",
        &[number(table)],
    )
}

fn rows(db: Db, sql: &str, values: &[Value<'_>]) -> Result<Vec<HiddenRow>> {
    let found = db.all(sql, values)?;
    let rows = found.iter().map(|row| match row.as_slice() {
        [OwnedValue::Blob(key), OwnedValue::Blob(row)] => Ok(HiddenRow {
            key: key.clone(),
            values: decode(row)?,
        }),
        _ => Err(damaged("nuda_hidden")),
    });
    rows.collect()
}

fn decode(row: &[u8]) -> Result<Vec<OwnedValue>> {
    let mut reader = Reader::new(row);
    let mut values = Vec::new();
    while !reader.is_empty() {
        values.push(Value::decode(&mut reader)?.into());
    }
    Ok(values)
}

/// Whether a row of this table lives: only then its birth is needed.
fn lives(db: Db, table: &Table, key: &[Value<'_>]) -> Result<bool> {
    let hidden = db.int(
        "SELECT EXISTS (SELECT 1 FROM main.nuda_hidden WHERE number = ? AND key = ?)",
        &[number(table.at.number), Value::Blob(&key_bytes(key))],
    )?;
    Ok(hidden != 0 || is_shown(db, table, key)?)
}

fn is_shown(db: Db, table: &Table, key: &[Value<'_>]) -> Result<bool> {
    let shown = format!(
        "SELECT EXISTS (SELECT 1 FROM {} WHERE {})",
        table.quoted(),
        table.key_condition()
    );
    Ok(db.int(&shown, key)? != 0)
}

/// A row was inserted here: if one of its key was hidden, that one is replaced.
pub(crate) fn replaced(db: Db, table: &Table, key: &[Value<'_>]) -> Result<()> {
    if is_shown(db, table, key)? {
        remove(db, table.at.number, &key_bytes(key))?;
    }
    Ok(())
}

/// The image of a deleted row is gone for good: so is its birth.
pub(crate) fn image_gone(
    db: Db,
    tables: &Tables,
    (number, key): (u32, &[Value<'_>]),
) -> Result<()> {
    match tables.get(number) {
        Some(table) if table.may_hide() && !lives(db, table, key)? => {
            births::forget(db, number, &key_bytes(key))
        }
        _ => Ok(()),
    }
}

/// A table is defined anew: in added columns its hidden rows get what its other rows hold there,
/// in dropped ones nothing; and its constraints may be others, so all are looked at again.
pub(crate) fn reshape(db: Db, table: &Table, defaults: &[(usize, OwnedValue)]) -> Result<()> {
    if !any(db, table)? {
        return Ok(());
    }
    for HiddenRow { key, mut values } in all(db, table.at.number)? {
        for (n, default) in defaults {
            if *n == values.len() {
                values.push(default.clone());
            }
        }
        for (n, value) in values.iter_mut().enumerate() {
            if table.is_gone(n) {
                *value = OwnedValue::Null;
            }
        }
        put(db, table.at.number, &key, &values, None)?;
    }
    Ok(())
}

/// The table's constraints are others than they were: every hidden row is looked at again.
pub(crate) fn look_again(db: Db, table: &Table) -> Result<()> {
    if !any(db, table)? {
        return Ok(());
    }
    db.run(
        "UPDATE main.nuda_hidden SET by = NULL WHERE number = ?",
        &[number(table.at.number)],
    )
}

/// The table is no longer replicated: its rows stay, those that are hidden in a plain table beside
/// it, which is answered if there is one.
pub(crate) fn set_aside(db: Db, table: &Rc<Table>) -> Result<Option<String>> {
    if !table.may_hide() {
        return Ok(None);
    }
    let hidden = all(db, table.at.number)?;
    let name = replaced::free_name(db, &format!("{} hidden rows", table.name))?;
    if !hidden.is_empty() {
        let live: Vec<&str> = table.live().map(|c| c.name.as_str()).collect();
        let columns: Vec<String> = live.iter().map(|name| quote(name)).collect();
        let columns = columns.join(", ");
        db.exec(&format!(
            "CREATE TABLE main.{0} AS SELECT {columns} FROM {1} WHERE 0",
            quote(&name),
            table.quoted()
        ))?;
        for row in &hidden {
            let values: Vec<Value<'_>> = row.values.iter().map(OwnedValue::as_ref).collect();
            let values = table.live_values(&values);
            let places = vec!["?"; values.len()].join(", ");
            db.run(
                &format!(
                    "INSERT INTO main.{}({columns}) VALUES ({places})",
                    quote(&name)
                ),
                &values,
            )?;
        }
    }
    forget(db, table)?;
    Ok((!hidden.is_empty()).then_some(name))
}

/// The table goes with all its rows.
pub(crate) fn forget(db: Db, table: &Table) -> Result<()> {
    if !table.may_hide() {
        return Ok(());
    }
    for shadow in ["nuda_hidden", "nuda_birth"] {
        db.run(
            &format!("DELETE FROM main.{shadow} WHERE number = ?"),
            &[number(table.at.number)],
        )?;
    }
    Ok(())
}
