//! Texts and documents that a re-seeded replica had edited and nobody has: their edits are made
//! again at once.
//!
//! A register's last write can be made again by itself. An edit of a text says where in a version
//! that is gone, so all edits of a cell that the donor lacked are gathered first, and what they
//! amount to on the donor's text (see [`nuda_core::types::rebase`]) or document
//! ([`nuda_core::types::doc::again`]) is written when the first one
//! is met.

use std::collections::HashMap;

use nuda_core::row::{BodyReader, Cell, Item, OwnedCell};
use nuda_core::types::doc::again as doc;
use nuda_core::types::rebase;
use nuda_core::value::{OwnedValue, Value};

use crate::beside;
use crate::concurrent::RowName;
use crate::error::Result;
use crate::ffi::db::Db;
use crate::states;
use crate::tracked::{ColumnType, Table, Tables};

/// The edits of each cell, by its name, in the order of their stamps.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    cells: HashMap<Vec<u8>, Vec<OwnedCell>>,
}

impl Texts {
    /// Gathers the edits from these bodies.
    pub(crate) fn read(bodies: &[Vec<u8>], tables: &Tables) -> Result<Self> {
        let mut texts = Self::default();
        for body in bodies {
            let mut reader = BodyReader::new(body);
            let mut table = None;
            while let Some(item) = reader.next_item()? {
                match (item, table) {
                    (Item::Table(at), _) => table = tables.get(at.number),
                    (Item::Row(row), Some(of)) => {
                        let name = RowName {
                            table: of.at.number,
                            key: &row.key,
                        };
                        for (n, cell) in states::edits(of, &row.change) {
                            let edits = texts.cells.entry(name.cell(n)).or_default();
                            edits.push(cell.into());
                        }
                    }
                    _ => {}
                }
            }
        }
        Ok(texts)
    }

    /// What becomes of a cell that shows `now`; `None` if that was written before.
    pub(crate) fn again(
        &mut self,
        db: Db,
        table: &Table,
        (key, column): (&[Value<'_>], usize),
        now: Value<'_>,
    ) -> Result<Option<OwnedValue>> {
        let name = RowName {
            table: table.at.number,
            key,
        };
        let Some(edits) = self.cells.remove(&name.cell(column)) else {
            return Ok(None);
        };
        // Gone there: the text is what the edits say, as far as they do.
        let row = beside::find_old(db, table, key)?.unwrap_or_default();
        let after = row.get(column).map_or(Value::Null, OwnedValue::as_ref);
        let edits: Vec<Cell<'_>> = edits.iter().map(OwnedCell::as_ref).collect();
        Ok(Some(match table.columns.get(column) {
            Some(of) if of.kind == ColumnType::Doc => doc::again(&edits, after, now, &of.rules),
            _ => rebase::again(&edits, after, now),
        }))
    }
}
