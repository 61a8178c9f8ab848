//! Writes of texts and documents whose place in the value only a state knows.
//!
//! The merge of a row says of such a column *that* a write meets concurrent ones; what it amounts
//! to in the value that is here is asked of the cell's state ([`crate::states`]) once that value is
//! at hand: in the row, or in the image of a hidden one.

use std::rc::Rc;

use nuda_core::merge::{Event, Plan, Rules, merge};
use nuda_core::row::{Change, RowChange};
use nuda_core::types::{Write, edited};
use nuda_core::value::{OwnedValue, Value};

use crate::concurrent::RowName;
use crate::error::{Error, Result};
use crate::rows::{Applying, absolute, image_row};
use crate::states::{self, CellOf};
use crate::tracked::{ColumnType, Table};

impl Applying<'_> {
    /// Finds out what the writes whose place only a state knows make of a row that shows, or
    /// whose image shows, `now`.
    pub(crate) fn placed<'w>(
        &mut self,
        table: &Rc<Table>,
        incoming: &Event<'w>,
        key: &[Value<'_>],
        writes: Vec<(usize, Write<'w>)>,
        now: &[OwnedValue],
    ) -> Result<Vec<(usize, Write<'w>)>> {
        let mut settled = Vec::with_capacity(writes.len());
        for (n, write) in writes {
            let Write::Placed(placed) = &write else {
                settled.push((n, write));
                continue;
            };
            let index = self
                .index
                .as_deref_mut()
                .ok_or_else(|| Error::internal("a concurrent edit without a log"))?;
            let row = RowName {
                table: table.at.number,
                key,
            };
            let cell = CellOf {
                row,
                column: n,
                kind: table.column_type(n),
            };
            let shown = now.get(n).map_or(Value::Null, OwnedValue::as_ref);
            let log = (self.db, self.sites);
            let value = states::settle(log, index, cell, (incoming, placed), shown)?;
            let value = value.ok_or_else(|| misfit(table, n))?;
            settled.push((n, Write::Made(value)));
        }
        Ok(settled)
    }

    /// An edit does not bring its row back where deletes win, but what it did to texts must be
    /// in the image: an INSERT that saw neither may still come, and their places count for it.
    pub(crate) fn edit_image(
        &mut self,
        table: &Rc<Table>,
        row: &RowChange<'_>,
        incoming: &Event<'_>,
        concurrent: &[Event<'_>],
    ) -> Result<()> {
        let has_state = |n: usize| table.column_type(n).has_state();
        let Change::Update(cells) = &row.change else {
            return Ok(());
        };
        if !cells.iter().any(|(n, _)| has_state(*n)) {
            return Ok(());
        }
        let Some(image) = self.take_image(table, &row.key)? else {
            return Ok(());
        };
        let mut now = image_row(table, &image);
        let plan = merge(
            incoming,
            concurrent,
            true,
            &EditsCount(table),
            &mut Vec::new(),
        );
        let Plan::Update(mut writes) = plan else {
            return Err(Error::internal("an edit that is none"));
        };
        writes.retain(|(n, _)| has_state(*n));
        for (n, write) in self.placed(table, incoming, &row.key, writes, &now)? {
            let before = now.get(n).map_or(Value::Null, OwnedValue::as_ref);
            let after = match write {
                Write::Edit(cell) => edited(cell, before).ok_or_else(|| misfit(table, n))?,
                write => absolute(&write).into(),
            };
            if let Some(place) = now.get_mut(n) {
                *place = after;
            }
        }
        let mut encoded = Vec::new();
        for value in &now {
            value.as_ref().encode(&mut encoded);
        }
        self.net.image(table, &encoded);
        Ok(())
    }
}

/// The table's types, without its rule about deletes.
struct EditsCount<'t>(&'t Table);

impl Rules for EditsCount<'_> {
    fn column_type(&self, column: usize) -> ColumnType {
        self.0.column_type(column)
    }
}

/// An edit of something else than what is here.
pub(crate) fn misfit(table: &Table, column: usize) -> Error {
    let column = table.columns.get(column).map_or("", |c| c.name.as_str());
    Error::corrupt(format!(
        "{}.{column}: an edit does not fit what its author saw; if this replica was written \
         without the extension, re-seed it (`nuda verify` shows which tables differ)",
        table.name
    ))
}
