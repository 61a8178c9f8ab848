//! The merge rule written straight from its definition, as naively as possible.
//!
//! A row is a function of the *set* of its changes. Who saw whom is kept as an explicit bit
//! set, filled when the change is made: nothing here uses version vectors, delivery order,
//! logs or images, which is what the comparison is about.

use nuda_core::hlc::Stamp;
use nuda_core::row::{Cell, Change};
use nuda_core::site::Site;
use nuda_core::value::Value;

/// A set of changes, by their number in the [`History`].
pub(crate) type Set = u128;

/// The most changes that one history can hold.
pub(crate) const CAPACITY: usize = 128;

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

/// A row's content: the first columns are registers, the last is a counter.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    /// Key and registers.
    pub(crate) registers: [i64; 3],
    /// The sum.
    pub(crate) counter: i128,
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
}

/// The set of one change.
pub(crate) fn one(number: usize) -> Set {
    1 << number
}

impl History {
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
        let events: Vec<(usize, &Made)> = self
            .made
            .iter()
            .enumerate()
            .filter(|(n, made)| made.key == key && applied & one(*n) != 0)
            .collect();
        let unseen_by = |n: usize, kind: fn(&Change<'_>) -> bool| {
            !events
                .iter()
                .any(|(_, by)| kind(&by.change) && by.saw & one(n) != 0)
        };
        let visible = events
            .iter()
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
                    Some(Cell::Value(Value::Int(v))) => Some((made.stamp, made.site, *n, v)),
                    _ => None,
                })
                .max()
                .map_or(i64::MIN, |(_, _, _, value)| value)
        };
        let counter = live
            .iter()
            .filter_map(|(_, made)| match written(&made.change, COUNTER) {
                Some(Cell::Add(n)) => Some(n),
                _ => None,
            })
            .sum();
        let row = Row {
            registers: [register(0), register(1), register(2)],
            counter,
        };
        State {
            visible,
            row: Some(row),
        }
    }
}

/// The counter's column.
pub(crate) const COUNTER: usize = 3;

fn is_delete(change: &Change<'_>) -> bool {
    matches!(change, Change::Delete)
}

fn is_insert(change: &Change<'_>) -> bool {
    matches!(change, Change::Insert(_))
}

fn written(change: &Change<'static>, column: usize) -> Option<Cell<'static>> {
    match change {
        Change::Insert(cells) => cells.get(column).copied(),
        Change::Update(cells) => cells
            .iter()
            .find(|(c, _)| *c == column)
            .map(|(_, cell)| *cell),
        Change::Delete => None,
    }
}
