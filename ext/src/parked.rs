//! Rows that are out of their table for a moment, while a changeset is applied.
//!
//! A changeset tells each row's end and not the way there. Where two rows exchange unique
//! values, or a value moves along a chain of rows, the first of them collides with one whose turn
//! is still to come. Such a row is taken out whole, and put back when the changeset's last part is
//! done: by then every other row is as its writer left it, and the writer's SQLite has found
//! that state free of collisions.
//!
//! The invariant: a row of the changeset is in its table, or here, or deleted. All of it is
//! inside the changeset's savepoint.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::rc::Rc;

use nuda_core::value::{OwnedValue, Value};

use crate::tracked::Table;

/// The table's number and the key, encoded.
type Name = (u32, Vec<u8>);

/// A row that waits, from its first column on; the columns it lacks get their defaults.
#[derive(Debug)]
pub(crate) struct ParkedRow {
    pub(crate) table: Rc<Table>,
    pub(crate) values: Vec<OwnedValue>,
}

/// The rows that wait.
#[derive(Debug, Default)]
pub(crate) struct Parked {
    rows: HashMap<Name, ParkedRow>,
}

fn name(table: &Table, key: &[Value<'_>]) -> Name {
    let mut bytes = Vec::new();
    for value in key {
        value.canonical_key().encode(&mut bytes);
    }
    (table.at.number, bytes)
}

impl Parked {
    /// Whether nothing waits, which is nearly always.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The values of a row that waits.
    pub(crate) fn get(&self, table: &Table, key: &[Value<'_>]) -> Option<&[OwnedValue]> {
        if self.is_empty() {
            return None;
        }
        self.rows
            .get(&name(table, key))
            .map(|row| row.values.as_slice())
    }

    /// Keeps a row, or overwrites columns of one that waits.
    pub(crate) fn put<'v>(
        &mut self,
        table: &Rc<Table>,
        key: &[Value<'_>],
        values: impl Iterator<Item = (usize, Value<'v>)>,
    ) {
        let row = match self.rows.entry(name(table, key)) {
            Entry::Occupied(row) => row.into_mut(),
            Entry::Vacant(empty) => empty.insert(ParkedRow {
                table: Rc::clone(table),
                values: Vec::new(),
            }),
        };
        for (n, value) in values {
            if row.values.len() <= n {
                row.values.resize(n + 1, OwnedValue::Null);
            }
            if let Some(place) = row.values.get_mut(n) {
                *place = value.into();
            }
        }
    }

    /// Lets go of a row that was deleted.
    pub(crate) fn remove(&mut self, table: &Table, key: &[Value<'_>]) -> Option<ParkedRow> {
        if self.is_empty() {
            return None;
        }
        self.rows.remove(&name(table, key))
    }

    /// All rows, to be put back.
    pub(crate) fn take_all(&mut self) -> Vec<ParkedRow> {
        self.rows.drain().map(|(_, row)| row).collect()
    }
}
