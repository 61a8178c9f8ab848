//! What users were promised, booked as they work: no increment goes missing unless an INSERT
//! that knew of it began the row anew; a register holds the latest write that still counts; an
//! element is there unless somebody removed what he saw; of values nobody overwrote knowingly,
//! the greatest or least is shown, or all of them. What a strong transaction wrote to a register,
//! nobody takes back who had not seen it, nor does he bring back what it deleted.
//!
//! Entries are struck out when an INSERT is made, by what its author knew at that moment, and
//! when a strong write is, by whoever does not know of it; the
//! rest is what every replica must show in the end if it shows the row at all.

use std::collections::BTreeSet;

use nuda_core::hlc::Stamp;
use nuda_core::row::{Cell, Change};
use nuda_core::site::Site;
use nuda_core::value::{OwnedValue, Value};

use crate::model::{COUNTER, MAXREG, MINREG, MVREG, ORSET, Row, Set, elements, one};

#[derive(Debug)]
struct Entry {
    key: u8,
    column: usize,
    cell: Cell<'static>,
    stamp: Stamp,
    site: Site,
    number: usize,
    /// Those that the set gained and nobody removed knowingly.
    elements: Vec<u8>,
    struck: bool,
}

/// What a strong transaction did: to a register, or to the row.
#[derive(Debug)]
struct Strong {
    key: u8,
    /// `None`: it deleted the row.
    column: Option<usize>,
    number: usize,
}

/// All acknowledged writes.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    entries: Vec<Entry>,
    strong: Vec<Strong>,
}

/// Whether a strong write of it beats the others.
fn is_register(column: usize) -> bool {
    column < COUNTER || column == MVREG
}

impl Ledger {
    /// Books a change that was acknowledged to a user whose node had applied `known`; whether its
    /// transaction goes on changing the row.
    pub(crate) fn book(
        &mut self,
        key: u8,
        change: &Change<'static>,
        (stamp, site, goes_on): (Stamp, Site, bool),
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
            Change::Delete => {
                if site == Site::LOG_STRONG && !goes_on {
                    for entry in self.entries.iter_mut().filter(|e| e.key == key) {
                        entry.struck = true;
                    }
                    self.strong.push(Strong {
                        key,
                        column: None,
                        number,
                    });
                }
                Vec::new()
            }
        };
        for (column, cell) in cells {
            let is_unaware = self.strong.iter().any(|strong| {
                let is_meant = strong.column.is_none_or(|of| of == column);
                strong.key == key && is_meant && known & one(strong.number) == 0
            });
            if site == Site::LOG_STRONG && is_register(column) {
                let entries = self.entries.iter_mut();
                for entry in entries.filter(|e| e.key == key && e.column == column) {
                    entry.struck = true;
                }
                self.strong.push(Strong {
                    key,
                    column: Some(column),
                    number,
                });
            }
            let removed = elements(cell).1;
            for entry in self
                .entries
                .iter_mut()
                .filter(|e| e.key == key && e.column == column && known & one(e.number) != 0)
            {
                if (MAXREG..ORSET).contains(&column) {
                    entry.struck = true;
                } else if column == ORSET {
                    entry.elements.retain(|element| !removed.contains(element));
                }
            }
            self.entries.push(Entry {
                key,
                column,
                cell,
                stamp,
                site,
                number,
                elements: if column == ORSET {
                    elements(cell).0
                } else {
                    Vec::new()
                },
                struck: is_unaware,
            });
        }
    }

    /// Compares what a replica shows in the end with what was booked.
    pub(crate) fn audit(&self, key: u8, row: &Row) {
        let standing = || self.entries.iter().filter(|e| e.key == key && !e.struck);
        let sum: i128 = standing()
            .filter_map(|e| match e.cell {
                Cell::Add(n) => Some(n),
                _ => None,
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
        let values = |column| {
            standing()
                .filter(move |e| e.column == column)
                .filter_map(|e| match e.cell {
                    Cell::Value(Value::Int(n)) => Some(n),
                    _ => None,
                })
        };
        let shown = |n: Option<i64>| n.map_or(OwnedValue::Null, OwnedValue::Int);
        assert_eq!(row.shown[0], shown(values(MAXREG).max()), "greatest");
        assert_eq!(row.shown[1], shown(values(MINREG).min()), "least");
        let all = String::from_utf8(match &row.shown[2] {
            OwnedValue::Int(n) => n.to_string().into_bytes(),
            OwnedValue::Text(text) => text.clone(),
            _ => Vec::new(),
        })
        .unwrap();
        for value in values(MVREG) {
            assert!(all.contains(&value.to_string()), "{value} is not in {all}");
        }
        let there: BTreeSet<u8> = standing().flat_map(|e| e.elements.clone()).collect();
        let shown: BTreeSet<u8> = match &row.shown[3] {
            OwnedValue::Text(text) => text.iter().copied().filter(u8::is_ascii_digit).collect(),
            _ => BTreeSet::new(),
        };
        assert_eq!(shown, there, "an element is missing, or came back");
    }
}
