//! Writes of texts and documents whose place in the value only a state knows.
//!
//! The merge of a row says of such a column *that* a write meets concurrent ones; what it amounts
//! to in the value that is here is asked of the cell's state ([`crate::states`]) once that value is
//! at hand: in the row, or in the image of a hidden one.

use std::rc::Rc;

use nuda_core::merge::{Event, Rules};
use nuda_core::types::{Write, edited};
use nuda_core::value::{OwnedValue, Value};

use crate::concurrent::RowName;
use crate::conflicts;
use crate::error::{Error, Result};
use crate::excess::{self, CounterCell};
use crate::rows::{Applying, absolute, image_row};
use crate::states::{self, CellOf};
use crate::tracked::Table;

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
            let mut lost = Vec::new();
            let value = states::settle(log, index, cell, (incoming, placed), (shown, &mut lost))?;
            let value = value.ok_or_else(|| misfit(table, n))?;
            for loss in &lost {
                conflicts::record_inside(self.db, table, key, (n, loss))?;
            }
            settled.push((n, Write::Made(value)));
        }
        Ok(settled)
    }

    /// Edits the image of a hidden row. Where deletes win an eventual edit does not bring it back,
    /// but a strong one may, and an INSERT that saw neither may still come, for which the places of
    /// texts count.
    pub(crate) fn edit_image<'w>(
        &mut self,
        table: &Rc<Table>,
        incoming: &Event<'w>,
        key: &[Value<'_>],
        writes: Vec<(usize, Write<'w>)>,
    ) -> Result<()> {
        let Some(image) = self.take_image(table, key)? else {
            return Ok(());
        };
        let mut now = image_row(table, &image);
        for (n, write) in self.placed(table, incoming, key, writes, &now)? {
            let before = now.get(n).map_or(Value::Null, OwnedValue::as_ref);
            let after = match (&write, before) {
                (Write::Edit(cell), _) => edited(*cell, before).ok_or_else(|| misfit(table, n))?,
                (Write::Set(step), _) => step.apply(before),
                (Write::Add(added), Value::Int(count)) => {
                    let cell = CounterCell {
                        table: table.at.number,
                        key,
                        column: n,
                    };
                    OwnedValue::Int(excess::add(self.db, &cell, count, *added)?)
                }
                (write, _) => absolute(write).into(),
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

/// An edit of something else than what is here.
pub(crate) fn misfit(table: &Table, column: usize) -> Error {
    let column = table.columns.get(column).map_or("", |c| c.name.as_str());
    Error::corrupt(format!(
        "{}.{column}: an edit does not fit what its author saw; if this replica was written \
         without the extension, re-seed it (`nuda verify` shows which tables differ)",
        table.name
    ))
}
