//! The states of texts and documents that several nodes edit at the same time.
//!
//! A state is made from the log's changes of the row when an incoming edit meets a concurrent
//! one, and kept in memory as the log grows: nothing is written for it, and what rewrites the log
//! (a new site, other stamps) needs not know of it. Only what collection takes out of the log
//! while an edit that stays had not seen it is kept in `nuda_cell`, as the state at the
//! frontier, from where the log's edits go on (see [`crate::collect`]).

use std::collections::HashMap;

use nuda_core::merge::Event;
use nuda_core::row::{Cell, Change};
use nuda_core::site::Seq;
use nuda_core::sorted;
use nuda_core::types::doc::loss::Loss;
use nuda_core::types::state::State;
use nuda_core::types::{ColumnType, Placed, Wrote};
use nuda_core::value::{OwnedValue, Value};
use nuda_core::version_vector::VersionVector;

use crate::apply::frontier;
use crate::concurrent::{Found, LogIndex, RowName};
use crate::error::{Error, Result};
use crate::ffi::db::Db;
use crate::shadow::{Sites, damaged};
use crate::tracked::Table;

/// States kept in memory.
const KEPT: usize = 1_000;

/// The states in memory, by the cell's name.
#[derive(Debug, Default)]
pub(crate) struct States {
    cells: HashMap<Vec<u8>, Taken>,
}

/// A state, and which of the log's changes are in it.
#[derive(Debug)]
struct Taken {
    state: State,
    /// Places of the row in the index.
    places: usize,
    /// The latest changeset of each site.
    until: VersionVector,
    /// The position of the last strong DELETE of the row; 0 if there was none.
    end: Seq,
}

impl States {
    /// What was taken in may have been rolled back.
    pub(crate) fn forget(&mut self) {
        self.cells.clear();
    }
}

/// A cell that needs a state.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CellOf<'a> {
    pub(crate) row: RowName<'a>,
    pub(crate) column: usize,
    pub(crate) kind: ColumnType,
}

/// What becomes of a cell that shows `now` by a write that `event` made and that meets
/// concurrent ones. `None`: the write is not of what its author saw. `lost` receives what was
/// overruled inside a document.
pub(crate) fn settle<'a>(
    (db, sites): (Db, &Sites),
    index: &mut LogIndex,
    cell: CellOf<'_>,
    (event, placed): (&Event<'a>, &Placed<'a>),
    (now, lost): (Value<'_>, &mut Vec<Loss>),
) -> Result<Option<OwnedValue>> {
    let name = cell.row.cell(cell.column);
    let mut taken = match index.states.cells.remove(&name) {
        Some(taken) => taken,
        None => Taken::begin(db, cell, &name)?,
    };
    let (changes, places) = index.changes_from(db, sites, cell.row, taken.places)?;
    taken.follow(cell, changes.iter().map(|found| &**found));
    taken.places = places;
    let write = Wrote {
        event,
        cell: placed.cell,
    };
    let value = taken.state.settle(&write, placed, now, lost);
    taken.until.raise(event.dot.site, event.dot.seq);
    if index.states.cells.len() >= KEPT {
        index.states.cells.clear();
    }
    if value.is_some() {
        index.states.cells.insert(name, taken);
    }
    Ok(value)
}

impl Taken {
    /// The state at the frontier.
    fn begin(db: Db, cell: CellOf<'_>, name: &[u8]) -> Result<Self> {
        let state = match stored(db, cell.kind, name)? {
            Some(state) => Some(state),
            None => State::new(cell.kind),
        };
        Ok(Self {
            state: state.ok_or_else(|| Error::internal("a state of a plain column"))?,
            places: 0,
            until: frontier(db)?,
            end: 0,
        })
    }

    /// Takes in what the value shows, in causal order: a stamp is greater than all that its
    /// transaction had seen. What had not seen a strong DELETE is not shown.
    fn follow<'f>(&mut self, cell: CellOf<'_>, changes: impl Iterator<Item = &'f Found>) {
        let mut new: Vec<&Found> = changes
            .filter(|found| found.dot.seq > self.until.get(found.dot.site))
            .collect();
        sorted::by_key(&mut new, |found| (found.stamp, found.dot, found.index));
        for found in &new {
            let event = found.event();
            if event.position() < self.end {
                continue;
            }
            let goes_on = |later: &&Found| later.dot == found.dot && later.index > found.index;
            if ends_row(&event) && !new.iter().any(goes_on) {
                self.end = event.position();
                if let Some(new) = State::new(cell.kind) {
                    self.state = new;
                }
            }
            if let Some(cell) = wrote(&event.change, cell.column) {
                self.state.follow(&Wrote {
                    event: &event,
                    cell,
                });
            }
        }
        for found in new {
            self.until.raise(found.dot.site, found.dot.seq);
        }
    }
}

/// Whether nothing of the row counts any more that had not seen this.
pub(crate) fn ends_row(event: &Event<'_>) -> bool {
    event.is_strong() && matches!(event.change, Change::Delete)
}

/// What a change did to a column. An INSERT whose author did not know it leaves nothing there.
fn wrote<'a>(change: &Change<'a>, column: usize) -> Option<Cell<'a>> {
    match change {
        Change::Insert(cells) => Some(
            cells
                .get(column)
                .copied()
                .unwrap_or(Cell::Value(Value::Null)),
        ),
        Change::Update(cells) => cells
            .iter()
            .find(|(n, _)| *n == column)
            .map(|(_, cell)| *cell),
        Change::Delete => None,
    }
}

/// What a change did to the table's columns that need states.
pub(crate) fn edits<'a>(table: &Table, change: &Change<'a>) -> Vec<(usize, Cell<'a>)> {
    let columns = table.columns.iter().enumerate();
    columns
        .filter(|(_, column)| column.kind.has_state())
        .filter_map(|(n, _)| Some((n, wrote(change, n)?)))
        .collect()
}

/// The state of a cell at the frontier, if one is kept.
pub(crate) fn stored(db: Db, kind: ColumnType, name: &[u8]) -> Result<Option<State>> {
    let row = db.first(
        "SELECT state FROM main.nuda_cell WHERE cell = ?",
        &[Value::Blob(name)],
    )?;
    match row.as_deref() {
        None => Ok(None),
        Some([OwnedValue::Blob(state)]) => Ok(State::decode(kind, state)?),
        Some(_) => Err(damaged("nuda_cell")),
    }
}
