//! Columns whose text has one canonical form (sets, documents): whatever spelling a statement writes, the
//! column ends up with that form, so that replicas hold the same bytes.
//!
//! AFTER triggers write a row once more where its text is not canonical. They are made before
//! the capture triggers, so that those, which name what to load, are the first to fail in a
//! connection without the extension. What is captured does not depend on which of them SQLite
//! fires first: an edit is the difference between contents, not between spellings.

use nuda_core::value::{OwnedValue, Value};

use crate::connection::Connection;
use crate::error::{Error, Result};
use crate::event::unfit;
use crate::ffi::db::{Db, Setting};
use crate::ffi::value::Args;
use crate::tracked::{Column, Table, quote};

fn names(number: u32) -> [String; 2] {
    ["insert", "update"].map(|event| format!("nuda_{number}_canonical_{event}"))
}

/// Creates the triggers, if a column needs them.
pub(crate) fn create(db: Db, table: &Table) -> Result<()> {
    let places = places(table);
    if places.is_empty() {
        return Ok(());
    }
    let set = assignments(table, &places, "NEW.");
    let differs: Vec<String> = places
        .iter()
        .map(|(n, name)| {
            let number = table.at.number;
            format!("NOT nuda_is_canonical({number}, {n}, NEW.{name})")
        })
        .collect();
    let differs = differs.join(" OR ");
    let key: Vec<String> = table
        .key()
        .map(|c| format!("{0} = NEW.{0}", quote(&c.name)))
        .collect();
    let columns: Vec<String> = places.iter().map(|(_, name)| name.clone()).collect();
    let [insert, update] = names(table.at.number);
    for (name, event) in [
        (insert, "INSERT".to_owned()),
        (update, format!("UPDATE OF {}", columns.join(", "))),
    ] {
        db.exec(&format!(
            "CREATE TRIGGER {name} AFTER {event} ON {on} WHEN {differs} \
             BEGIN UPDATE {on} SET {set} WHERE {}; END",
            key.join(" AND "),
            on = quote(&table.name),
        ))?;
    }
    Ok(())
}

/// Drops the triggers.
pub(crate) fn drop_all(db: Db, number: u32) -> Result<()> {
    for name in names(number) {
        db.exec(&format!("DROP TRIGGER IF EXISTS main.{name}"))?;
    }
    Ok(())
}

/// Gives the rows that are there already their canonical form. No trigger fires: it is no
/// edit, and within a commit SQLite lets nobody write a capture table.
pub(crate) fn mend_existing(connection: &Connection, table: &Table) -> Result<()> {
    let places = places(table);
    if places.is_empty() {
        return Ok(());
    }
    let differs: Vec<String> = places
        .iter()
        .map(|(n, name)| {
            let number = table.at.number;
            format!("nuda_canonical({number}, {n}, {name}) IS NOT {name} COLLATE BINARY")
        })
        .collect();
    let db = connection.db();
    let triggers = db.switch(Setting::Triggers, false)?;
    let outcome = db.exec(&format!(
        "UPDATE {} SET {} WHERE {}",
        table.quoted(),
        assignments(table, &places, ""),
        differs.join(" OR ")
    ));
    db.switch(Setting::Triggers, triggers)?;
    outcome
}

/// What an added column shows in rows that were there before: its default, as it is on every
/// replica. Refuses one in another form.
pub(crate) fn added_default(db: Db, table: &Table, column: &Column) -> Result<OwnedValue> {
    let expression = db.text(
        "SELECT dflt_value FROM pragma_table_xinfo(?) WHERE name = ?",
        &[
            Value::Text(table.name.as_bytes()),
            Value::Text(column.name.as_bytes()),
        ],
    )?;
    let Some(expression) = expression else {
        return Ok(OwnedValue::Null);
    };
    let value = db
        .first(&format!("SELECT {expression}"), &[])?
        .and_then(|row| row.into_iter().next())
        .unwrap_or(OwnedValue::Null);
    if !column.kind.has_canonical_form() {
        return Ok(value);
    }
    let stored = column.kind.stored(value.as_ref());
    match stored.map_err(|why| unfit(table, column, &why))? {
        Some(_) => Err(unfit(
            table,
            column,
            "the DEFAULT of an added column is written in its one form: sorted, each element or key \
             once, without spaces",
        )),
        None => Ok(value),
    }
}

/// The same of all columns from `first` on, by position.
pub(crate) fn added_defaults(
    db: Db,
    table: &Table,
    first: usize,
) -> Result<Vec<(usize, OwnedValue)>> {
    let added = table.columns.iter().enumerate().skip(first);
    let added = added.filter(|(_, column)| !column.is_gone);
    added
        .map(|(n, column)| Ok((n, added_default(db, table, column)?)))
        .collect()
}

/// Gives a row of before columns were added what they show in such rows.
pub(crate) fn fill_up(db: Db, table: &Table, row: &mut Vec<OwnedValue>) -> Result<()> {
    for column in table.columns.iter().skip(row.len()) {
        row.push(if column.is_gone {
            OwnedValue::Null
        } else {
            added_default(db, table, column)?
        });
    }
    Ok(())
}

/// Position and quoted name of the columns in question.
fn places(table: &Table) -> Vec<(usize, String)> {
    table
        .columns
        .iter()
        .enumerate()
        .filter(|(_, column)| column.kind.has_canonical_form())
        .map(|(n, column)| (n, quote(&column.name)))
        .collect()
}

fn assignments(table: &Table, places: &[(usize, String)], row: &str) -> String {
    let terms: Vec<String> = places
        .iter()
        .map(|(n, name)| {
            format!(
                "{name} = nuda_canonical({}, {n}, {row}{name})",
                table.at.number
            )
        })
        .collect();
    terms.join(", ")
}

/// `nuda_canonical(table, column, value)`: the value in its canonical form.
pub(crate) fn canonical(connection: &Connection, args: Args<'_>) -> Result<OwnedValue> {
    Ok(stored(connection, args)?.unwrap_or_else(|| args.get(2).into()))
}

/// `nuda_is_canonical(table, column, value)`: what is applied is.
pub(crate) fn is_canonical(connection: &Connection, args: Args<'_>) -> Result<OwnedValue> {
    let is = connection.is_guarded()
        || args.get(2) == Value::Null
        || stored(connection, args)?.is_none();
    Ok(OwnedValue::Int(i64::from(is)))
}

fn stored(connection: &Connection, args: Args<'_>) -> Result<Option<OwnedValue>> {
    let place = |n| args.int(n).and_then(|n| u32::try_from(n).ok());
    let (Some(number), Some(column)) = (place(0), place(1)) else {
        return Err(Error::refused("a table and a column by number are wanted"));
    };
    let table = connection.table(number)?;
    match table.columns.get(column as usize) {
        Some(column) => {
            let (kind, value) = (column.kind, args.get(2));
            let form = match connection.idle_capture() {
                Some(mut capture) => capture.known.stored(kind, value),
                None => kind.stored(value),
            };
            form.map_err(|why| unfit(&table, column, &why))
        }
        None => Err(Error::refused(format!("{} has no such column", table.name))),
    }
}
