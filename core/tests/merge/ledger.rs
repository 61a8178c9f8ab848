//! What users were promised, booked as they work: no increment goes missing unless an INSERT
//! that knew of it began the row anew, and a column holds the latest write that still counts.
//!
//! Entries are struck out when an INSERT is made, by what its author knew at that moment; the
//! rest is what every replica must show in the end if it shows the row at all.

use nuda_core::hlc::Stamp;
use nuda_core::row::{Cell, Change};
use nuda_core::site::Site;
use nuda_core::value::Value;

use crate::model::{Row, Set, one};

#[derive(Debug)]
struct Entry {
    key: u8,
    column: usize,
    cell: Cell<'static>,
    stamp: Stamp,
    site: Site,
    number: usize,
    struck: bool,
}

/// All acknowledged writes.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    entries: Vec<Entry>,
}

impl Ledger {
    /// Books a change that was acknowledged to a user whose node had applied `known`.
    pub(crate) fn book(
        &mut self,
        key: u8,
        change: &Change<'static>,
        (stamp, site): (Stamp, Site),
        number: usize,
        known: Set,
    ) {
        let cells: Vec<(usize, Cell<'static>)> = match change {
            Change::Insert(cells) => {
                for entry in self.entries.iter_mut().filter(|e| e.key == key) {
                    entry.struck |= known & one(entry.number) != 0;
                }
                cells.iter().copied().enumerate().collect()
            }
            Change::Update(cells) => cells.clone(),
            Change::Delete => Vec::new(),
        };
        for (column, cell) in cells {
            self.entries.push(Entry {
                key,
                column,
                cell,
                stamp,
                site,
                number,
                struck: false,
            });
        }
    }

    /// Compares what a replica shows in the end with what was booked.
    pub(crate) fn audit(&self, key: u8, row: &Row) {
        let standing = || self.entries.iter().filter(|e| e.key == key && !e.struck);
        let sum: i128 = standing()
            .filter_map(|e| match e.cell {
                Cell::Add(n) => Some(n),
                Cell::Value(_) => None,
            })
            .sum();
        assert_eq!(row.counter, sum, "an increment is missing or counted twice");
        for (column, shown) in row.registers.iter().enumerate() {
            let last = standing()
                .filter(|e| e.column == column)
                .max_by_key(|e| (e.stamp, e.site, e.number))
                .expect("a visible row was inserted");
            assert_eq!(
                last.cell,
                Cell::Value(Value::Int(*shown)),
                "column {column}"
            );
        }
    }
}
