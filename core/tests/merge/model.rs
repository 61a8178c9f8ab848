//! The merge rule written straight from its definition, as naively as possible.
//!
//! A row is a function of the *set* of its changes. Who saw whom is kept as an explicit bit
//! set, filled when the change is made: nothing here uses version vectors, delivery order,
//! logs or images, which is what the comparison is about.

use std::collections::BTreeSet;

use nuda_core::hlc::Stamp;
use nuda_core::merge::Rules;
use nuda_core::row::{Cell, Change};
use nuda_core::site::Site;
use nuda_core::types::ColumnType;
use nuda_core::value::{OwnedValue, Value};

/// A set of changes, by their number in the [`History`].
pub(crate) type Set = u128;

/// The most changes that one history can hold.
pub(crate) const CAPACITY: usize = 128;

/// Whether the log numbered what this site is said to have made.
fn is_strong(made: &Made) -> bool {
    made.site == Site::LOG_STRONG
}

/// One change as its author made it.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    /// The row.
    pub(crate) key: u8,
    /// What was done to it.
    pub(crate) change: Change<'static>,
    /// When, by its author's clock.
    pub(crate) stamp: Stamp,
    /// By whom.
    pub(crate) site: Site,
    /// The changes that its author knew.
    pub(crate) saw: Set,
}

/// A row's content, column by column.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    /// Key and registers: columns 0 to 2.
    pub(crate) registers: [i64; 3],
    /// The sum: column 3.
    pub(crate) counter: i128,
    /// What the columns from [`MAXREG`] on show.
    pub(crate) shown: [OwnedValue; 4],
}

/// A row as the definition has it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct State {
    /// Whether an edit is left that no DELETE saw.
    pub(crate) visible: bool,
    /// The values, alive also while hidden; `None` if the row never was.
    pub(crate) row: Option<Row>,
}

/// Every change ever made, in the order of making (which nothing depends on).
#[derive(Debug, Default)]
pub(crate) struct History {
    made: Vec<Made>,
    /// Whether only an INSERT outlives a delete that did not see it.
    pub(crate) delete_wins: bool,
}

/// The set of one change.
pub(crate) fn one(number: usize) -> Set {
    1 << number
}

impl History {
    /// Nothing was done yet.
    pub(crate) fn new(delete_wins: bool) -> Self {
        Self {
            delete_wins,
            ..Self::default()
        }
    }

    /// Records a change and answers its number.
    pub(crate) fn record(&mut self, made: Made) -> usize {
        self.made.push(made);
        self.made.len() - 1
    }

    /// Whether another transaction of `changes` changes still fits.
    pub(crate) fn has_room(&self, changes: usize) -> bool {
        self.made.len() + changes <= CAPACITY
    }

    /// What the changes of `key` within `applied` amount to.
    pub(crate) fn state(&self, key: u8, applied: Set) -> State {
        let all: Vec<(usize, &Made)> = self
            .made
            .iter()
            .enumerate()
            .filter(|(n, made)| made.key == key && applied & one(*n) != 0)
            .collect();
        let events = unended(&all);
        let strong = |column: usize, n: usize, made: &Made| strong_writes(&all, column, (n, made));
        let unseen_by = |n: usize, kind: fn(&Change<'_>) -> bool| {
            !events
                .iter()
                .any(|(_, by)| kind(&by.change) && by.saw & one(n) != 0)
        };
        let visible = events
            .iter()
            .filter(|(_, made)| is_insert(&made.change) || is_strong(made) || !self.delete_wins)
            .any(|(n, made)| !is_delete(&made.change) && unseen_by(*n, is_delete));
        let live: Vec<&(usize, &Made)> = events
            .iter()
            .filter(|(n, made)| !is_delete(&made.change) && unseen_by(*n, is_insert))
            .collect();
        if live.is_empty() {
            return State { visible, row: None };
        }
        let register = |column: usize| {
            live.iter()
                .filter_map(|(n, made)| match written(&made.change, column) {
                    // Changes of one transaction are numbered in their order.
                    Some(Cell::Value(Value::Int(v))) => {
                        let known = strong(column, *n, made);
                        Some((known, made.stamp, made.site, *n, v))
                    }
                    _ => None,
                })
                .max()
                .map_or(i64::MIN, |(_, _, _, _, value)| value)
        };
        let counter = live
            .iter()
            .filter_map(|(_, made)| match written(&made.change, COUNTER) {
                Some(Cell::Add(n)) => Some(n),
                _ => None,
            })
            .sum();
        let live: Vec<(usize, &Made)> = live.iter().copied().copied().collect();
        let known = |(n, made): &&(usize, &Made)| strong(MVREG, *n, made);
        let writes = || {
            live.iter()
                .filter(|(_, m)| written(&m.change, MVREG).is_some())
        };
        let most = writes().map(|write| known(&write)).max();
        let standing: Vec<(usize, &Made)> = writes()
            .filter(|write| Some(known(write)) == most)
            .copied()
            .collect();
        let row = Row {
            registers: [register(0), register(1), register(2)],
            counter,
            shown: [
                extremum(&live, MAXREG, |a, b| a > b),
                extremum(&live, MINREG, |a, b| a < b),
                multi_value(&standing),
                set(&live),
            ],
        };
        State {
            visible,
            row: Some(row),
        }
    }
}

/// The changes of a row that count: a strong transaction that leaves the row deleted ends what had
/// not seen it.
fn unended<'m>(all: &[(usize, &'m Made)]) -> Vec<(usize, &'m Made)> {
    let ends: Vec<usize> = all
        .iter()
        .filter(|(n, made)| {
            let same = |by: &Made| (by.stamp, by.site) == (made.stamp, made.site);
            let goes_on = all.iter().any(|(later, by)| later > n && same(by));
            is_strong(made) && is_delete(&made.change) && !goes_on
        })
        .map(|(n, _)| *n)
        .collect();
    let is_ended = |n: usize, made: &Made| {
        let mut ends = ends.iter();
        ends.any(|end| *end != n && made.saw & one(*end) == 0)
    };
    all.iter()
        .filter(|(n, made)| !is_ended(*n, made))
        .copied()
        .collect()
}

/// How many strong writes of a cell a change knew, its own included.
fn strong_writes(all: &[(usize, &Made)], column: usize, (n, made): (usize, &Made)) -> usize {
    all.iter()
        .filter(|(_, by)| is_strong(by) && written(&by.change, column).is_some())
        .filter(|(other, _)| *other == n || made.saw & one(*other) != 0)
        .count()
}

/// The assignments to a column that no other of them saw.
fn frontier<'m>(live: &[(usize, &'m Made)], column: usize) -> Vec<(&'m Made, Cell<'static>)> {
    let wrote = |made: &Made| written(&made.change, column);
    live.iter()
        .filter_map(|(n, made)| {
            let is_seen = live
                .iter()
                .any(|(_, by)| wrote(by).is_some() && by.saw & one(*n) != 0);
            wrote(made).filter(|_| !is_seen).map(|cell| (*made, cell))
        })
        .collect()
}

fn integer(cell: Cell<'static>) -> Option<i64> {
    match cell {
        Cell::Value(Value::Int(n)) => Some(n),
        Cell::Value(Value::Null) => None,
        other => panic!("{other:?} is no integer"),
    }
}

fn extremum(
    live: &[(usize, &Made)],
    column: usize,
    is_better: fn(&i64, &i64) -> bool,
) -> OwnedValue {
    let mut best = None;
    for (_, cell) in frontier(live, column) {
        if let Some(n) = integer(cell)
            && best.is_none_or(|b| is_better(&n, &b))
        {
            best = Some(n);
        }
    }
    best.map_or(OwnedValue::Null, OwnedValue::Int)
}

fn multi_value(live: &[(usize, &Made)]) -> OwnedValue {
    let values: BTreeSet<Option<i64>> = frontier(live, MVREG)
        .into_iter()
        .map(|(_, cell)| integer(cell))
        .collect();
    let name = |n: Option<i64>| n.map_or("null".to_owned(), |n| n.to_string());
    match values.iter().copied().collect::<Vec<_>>().as_slice() {
        [one] => one.map_or(OwnedValue::Null, OwnedValue::Int),
        several => {
            let names: Vec<String> = several.iter().copied().map(name).collect();
            OwnedValue::Text(format!("[{}]", names.join(",")).into_bytes())
        }
    }
}

/// The elements that a cell added, and those that it removed.
pub(crate) fn elements(cell: Cell<'static>) -> (Vec<u8>, Vec<u8>) {
    let digit = |element: &[u8]| element[0];
    match cell {
        Cell::Set(edit) => (
            edit.added().map(digit).collect(),
            edit.removed().map(digit).collect(),
        ),
        Cell::Value(Value::Text(text)) => (
            text.iter().copied().filter(u8::is_ascii_digit).collect(),
            Vec::new(),
        ),
        _ => (Vec::new(), Vec::new()),
    }
}

fn set(live: &[(usize, &Made)]) -> OwnedValue {
    let writes: Vec<(usize, &Made, Cell<'static>)> = live
        .iter()
        .filter_map(|(n, made)| Some((*n, *made, written(&made.change, ORSET)?)))
        .collect();
    let mut there = BTreeSet::new();
    for (n, _, cell) in &writes {
        for element in elements(*cell).0 {
            let is_removed = writes
                .iter()
                .any(|(_, by, cell)| by.saw & one(*n) != 0 && elements(*cell).1.contains(&element));
            if !is_removed {
                there.insert(char::from(element).to_string());
            }
        }
    }
    let leaves_null = |cell| match cell {
        Cell::Set(edit) => edit.leaves_null(),
        cell => cell == Cell::Value(Value::Null),
    };
    if there.is_empty() && frontier(live, ORSET).iter().all(|(_, c)| leaves_null(*c)) {
        return OwnedValue::Null;
    }
    let list: Vec<String> = there.into_iter().collect();
    OwnedValue::Text(format!("[{}]", list.join(",")).into_bytes())
}

/// The counter's column.
pub(crate) const COUNTER: usize = 3;
/// The greatest value's column; the columns after it are in [`Row::shown`], too.
pub(crate) const MAXREG: usize = 4;
/// The least value's column.
pub(crate) const MINREG: usize = 5;
/// The column of concurrent values.
pub(crate) const MVREG: usize = 6;
/// The set's column.
pub(crate) const ORSET: usize = 7;

/// The types of these columns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Columns {
    /// The table's option.
    pub(crate) delete_wins: bool,
}

impl Rules for Columns {
    fn column_type(&self, column: usize) -> ColumnType {
        match column {
            COUNTER => ColumnType::Counter,
            MAXREG => ColumnType::MaxReg,
            MINREG => ColumnType::MinReg,
            MVREG => ColumnType::MvReg,
            ORSET => ColumnType::OrSet,
            _ => ColumnType::Lww,
        }
    }

    fn delete_wins(&self) -> bool {
        self.delete_wins
    }
}

fn is_delete(change: &Change<'_>) -> bool {
    matches!(change, Change::Delete)
}

fn is_insert(change: &Change<'_>) -> bool {
    matches!(change, Change::Insert(_))
}

pub(crate) fn written(change: &Change<'static>, column: usize) -> Option<Cell<'static>> {
    match change {
        Change::Insert(cells) => cells.get(column).copied(),
        Change::Update(cells) => cells
            .iter()
            .find(|(c, _)| *c == column)
            .map(|(_, cell)| *cell),
        Change::Delete => None,
    }
}
