//! A row's change as an event of the buffer: what a trigger handed over, checked and encoded.
//!
//! An event holds what its change would ship if the row had no other in this transaction, so that
//! the usual case is copied and nothing more. For columns whose edits say where and not what,
//! it also holds how to get back to the old value (see [`crate::undo`]).

use nuda_core::codec::put_varint;
use nuda_core::limits;
use nuda_core::row::Cell;
use nuda_core::types::doc::column::NO_DOCUMENT;
use nuda_core::value::{OwnedValue, Value};

use crate::buffer::Kind;
use crate::capture::Capture;
use crate::drift::Drift;
use crate::error::{Error, Result};
use crate::tracked::{Column, ColumnType, Table};
use crate::undo;

/// Space that is used again for every event.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// An encoded row.
    payload: Vec<u8>,
    /// An update's changed columns.
    cells: Vec<u8>,
    /// The way back.
    undo: Vec<u8>,
}

/// A new row.
pub(crate) fn insert<'a>(
    capture: &mut Capture,
    table: &Table,
    new: impl Fn(usize) -> Value<'a>,
) -> Result<()> {
    let payload = &mut capture.scratch.payload;
    let row = begin_row(payload, table, &new)?;
    for (n, column) in table.columns.iter().enumerate().skip(table.at.key_columns) {
        let value = new(n);
        checked_size(table, column, value)?;
        if column.kind == ColumnType::Lww {
            // The usual case.
            value.encode(payload);
            continue;
        }
        let form = capture.known.stored(column.kind, value);
        match form.map_err(|why| unfit(table, column, &why))? {
            None => column.kind.initial(value).encode(payload),
            Some(stored) => column.kind.initial(stored.as_ref()).encode(payload),
        }
    }
    capture
        .buffer
        .push(Kind::Insert, table.at.number, row, payload, &[]);
    Ok(())
}

/// A row that goes.
pub(crate) fn delete<'a>(
    capture: &mut Capture,
    table: &Table,
    old: impl Fn(usize) -> Value<'a>,
) -> Result<()> {
    let payload = &mut capture.scratch.payload;
    let row = begin_row(payload, table, &old)?;
    for n in table.at.key_columns..table.columns.len() {
        old(n).encode(payload);
    }
    capture
        .buffer
        .push(Kind::Delete, table.at.number, row, payload, &[]);
    Ok(())
}

/// A row whose values change; `same`: whether it does not in a column, to the last bit.
pub(crate) fn update<'a>(
    capture: &mut Capture,
    table: &Table,
    (old, new): (impl Fn(usize) -> Value<'a>, impl Fn(usize) -> Value<'a>),
    same: impl Fn(usize) -> bool,
) -> Result<()> {
    let keys = table.at.key_columns;
    if !(0..keys).all(&same) {
        if (0..keys).any(|n| old(n).canonical_key() != new(n).canonical_key()) {
            // A changed key is another row.
            delete(capture, table, old)?;
            return insert(capture, table, new);
        }
        return Err(Error::constraint(format!(
            "{}: a key cannot change its spelling only (1 to 1.0); delete the row and insert it",
            table.name
        )));
    }
    let Capture {
        buffer,
        scratch: Scratch {
            payload,
            cells,
            undo,
        },
        known,
        ..
    } = capture;
    cells.clear();
    undo.clear();
    let (mut count, mut previous) = (0, 0);
    let is_edited = |n: &usize| !same(*n);
    let is_edited_with = |n: usize| {
        table
            .group(n)
            .is_some_and(|with| with.iter().any(is_edited))
    };
    for (n, column) in table.columns.iter().enumerate().skip(keys) {
        if same(n) && !is_edited_with(n) {
            continue;
        }
        let (old, new) = (old(n), new(n));
        checked_size(table, column, new)?;
        // The way back leads from form to form, whatever was spelled between.
        let (mut form, mut form_before) = (None, Ok(None));
        if column.kind.has_state() && column.kind.has_canonical_form() {
            let found = known.stored(column.kind, new);
            form = found.map_err(|why| unfit(table, column, &why))?;
            form_before = known.stored(column.kind, old);
        }
        let new = form.as_ref().map_or(new, OwnedValue::as_ref);
        let (old, from) = match &form_before {
            Ok(Some(form)) => (form.as_ref(), form.as_ref()),
            Ok(None) => (old, old),
            Err(_) => (old, NO_DOCUMENT),
        };
        let before = cells.len();
        put_varint(cells, (n - previous) as u64);
        let edited = column.kind.edit_forms(from, new, &column.rules, cells);
        if edited.map_err(|why| unfit(table, column, &why))? {
            count += 1;
            previous = n;
            if column.kind.has_state() {
                undo::put(undo, n, old, new);
            }
        } else {
            // The same set, or document, in another spelling.
            cells.truncate(before);
        }
    }
    // A column that the trigger does not know may have changed: the commit looks.
    if count == 0 && table.drift != Drift::Added {
        return Ok(());
    }
    let row = begin_row(payload, table, &old)?;
    put_varint(payload, count);
    payload.extend_from_slice(cells);
    buffer.push(Kind::Update, table.at.number, row, payload, undo);
    Ok(())
}

/// A document that is shipped as it is, whole, in place of all that is known of it.
pub(crate) fn say_again(
    capture: &mut Capture,
    table: &Table,
    (key, column): (&[Value<'_>], usize),
    value: Value<'_>,
) -> Result<()> {
    let payload = &mut capture.scratch.payload;
    let row = begin_row(payload, table, &|n| {
        key.get(n).copied().unwrap_or(Value::Null)
    })?;
    put_varint(payload, 1);
    put_varint(payload, column as u64);
    Cell::Value(value).encode(payload);
    capture
        .buffer
        .push(Kind::Update, table.at.number, row, payload, &[]);
    Ok(())
}

/// A row that is to be read again, whatever is known of its change.
pub(crate) fn touch<'a>(
    capture: &mut Capture,
    table: &Table,
    key: impl Fn(usize) -> Value<'a>,
) -> Result<()> {
    let payload = &mut capture.scratch.payload;
    let row = begin_row(payload, table, &key)?;
    put_varint(payload, 0);
    capture
        .buffer
        .push(Kind::Update, table.at.number, row, payload, &[]);
    Ok(())
}

/// Refuses what is too large to travel.
#[inline(never)]
fn checked_size(table: &Table, column: &Column, value: Value<'_>) -> Result<()> {
    if let Value::Text(bytes) | Value::Blob(bytes) = value
        && bytes.len() > limits::VALUE_BYTES
    {
        return Err(Error::constraint(format!(
            "{}.{}: a value of {} bytes is too large to replicate (limit {})",
            table.name,
            column.name,
            bytes.len(),
            limits::VALUE_BYTES
        )));
    }
    Ok(())
}

/// A value that the column's type cannot hold.
pub(crate) fn unfit(table: &Table, column: &Column, why: &str) -> Error {
    Error::constraint(format!(
        "{} {}.{}: {why}",
        column.kind.name(),
        table.name,
        column.name
    ))
}

/// Starts a payload with the row's key; answers what identifies the row within the buffer.
/// Refuses keys that identify nothing.
fn begin_row<'a>(
    payload: &mut Vec<u8>,
    table: &Table,
    value: &impl Fn(usize) -> Value<'a>,
) -> Result<u64> {
    payload.clear();
    let mut is_canonical = true;
    for (n, column) in table.key().enumerate() {
        let value = value(n);
        if value == Value::Null {
            return Err(Error::constraint(format!(
                "{}: NULL in the primary key identifies no row; give every row a key",
                table.name
            )));
        }
        checked_size(table, column, value)?;
        is_canonical &= !matches!(value, Value::Real(_));
        value.encode(payload);
    }
    if is_canonical {
        return Ok(crate::index::fingerprint(table.at.number, payload));
    }
    let mut key = Vec::with_capacity(payload.len());
    for n in 0..table.at.key_columns {
        value(n).canonical_key().encode(&mut key);
    }
    Ok(crate::index::fingerprint(table.at.number, &key))
}
