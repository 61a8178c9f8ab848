//! Whether a change that arrived is one of the table that is here.
//!
//! Its author may have known an older definition: what it says of columns that were dropped since is
//! nobody's any more, and left out. What does not fit the types that both know is refused whole,
//! because only a damaged or forged changeset can say it.

use nuda_core::row::{Cell, Change, RowChange};
use nuda_core::value::Value;

use crate::apply::Stop;
use crate::error::Error;
use crate::tracked::Table;

/// The change without what it says of columns that were dropped.
pub(crate) fn of_live_columns(table: &Table, row: &mut RowChange<'_>) {
    match &mut row.change {
        Change::Update(cells) => cells.retain(|(n, _)| !table.is_gone(*n)),
        Change::Insert(cells) => {
            for (n, cell) in cells.iter_mut().enumerate() {
                if table.is_gone(n) {
                    *cell = Cell::Value(Value::Null);
                }
            }
        }
        Change::Delete => {}
    }
}

/// Whether a change fits the table's column types.
pub(crate) fn check_types(table: &Table, change: &Change<'_>) -> std::result::Result<(), Stop> {
    let check = |n: usize, cell: &Cell<'_>, is_insert: bool| {
        if table.is_gone(n) {
            return Ok(());
        }
        let fits = match table.columns.get(n) {
            Some(column) => column.kind.fits(cell, is_insert)?,
            None => false,
        };
        if fits {
            return Ok(());
        }
        Err(Stop::from(Error::corrupt(format!(
            "a change of {} does not fit its column types; refused",
            table.name
        ))))
    };
    match change {
        Change::Insert(cells) => {
            let mut cells = cells.iter().enumerate();
            cells.try_for_each(|(n, cell)| check(n, cell, true))
        }
        Change::Update(cells) => cells
            .iter()
            .try_for_each(|(n, cell)| check(*n, cell, false)),
        Change::Delete => Ok(()),
    }
}
