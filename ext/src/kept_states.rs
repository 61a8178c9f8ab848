//! What is kept of the edits of texts and documents when they are collected.
//!
//! Whatever is still to come has seen what is collected. But an edit that stays in the log may not
//! have: to give it its place again, those that go must be told apart from what was there before.
//! So the state of the edits that go is kept for the cells where that is the case, collapsed
//! to what all edits that stay have seen. It is gone with the next collection after which no such
//! edit is left.
//!
//! The invariant: what is kept, and the log's edits taken in after it, are all edits of the cell
//! that some edit in the log, or none to come, has not seen.

use std::collections::HashMap;
use std::rc::Rc;

use nuda_core::hlc::Stamp;
use nuda_core::merge::Event;
use nuda_core::row::{Cell, Change, OwnedCell, RowChange};
use nuda_core::site::{Dot, Seq, Site};
use nuda_core::sorted;
use nuda_core::types::state::State;
use nuda_core::types::{ColumnType, Wrote};
use nuda_core::value::{OwnedValue, Value};
use nuda_core::version_vector::VersionVector;

use crate::concurrent::{RowName, for_each_row, read_header};
use crate::error::Result;
use crate::ffi::db::Db;
use crate::log;
use crate::shadow::{SiteRow, Sites, damaged};
use crate::states;
use crate::told;
use crate::tracked::{Table, Tables};

/// A cell that edits which stay in the log have in common.
struct Staying {
    kind: ColumnType,
    /// What all of them had seen.
    seen: VersionVector,
    /// The edits of it that go.
    going: Vec<Going>,
}

/// An edit that is about to be collected.
struct Going {
    dot: Dot,
    place: u64,
    stamp: Stamp,
    seen: Rc<VersionVector>,
    /// `None`: a strong DELETE of the row.
    cell: Option<OwnedCell>,
}

type Cells = HashMap<Vec<u8>, Staying>;

/// The frontier is about to go from `before` to `goal`: keeps the states that will be needed.
pub(crate) fn keep(
    (db, sites): (Db, &Sites),
    tables: &Tables,
    (before, goal): (&VersionVector, &VersionVector),
) -> Result<()> {
    let mut cells = Cells::new();
    if tables.sorted().iter().any(|table| has_states(table)) {
        for site in sites.iter() {
            staying((db, sites), tables, site, goal, &mut cells)?;
        }
    }
    if !cells.is_empty() {
        for site in sites.iter() {
            going((db, sites), tables, site, (before, goal), &mut cells)?;
        }
    }
    let mut kept = db.prepare("SELECT cell FROM main.nuda_cell")?;
    let mut over = Vec::new();
    kept.bind(&[])?;
    while kept.step()? {
        let cell = kept.blob(0).to_vec();
        if !cells.contains_key(&cell) {
            over.push(cell);
        }
    }
    kept.reset();
    for cell in over {
        put(db, &cell, None)?;
    }
    for (name, cell) in cells {
        cell.settle(db, &name)?;
    }
    Ok(())
}

fn has_states(table: &Table) -> bool {
    table.columns.iter().any(|column| column.kind.has_state())
}

/// Finds the cells that were edited by those records of a site which stay and had not seen all
/// that goes.
fn staying(
    (db, sites): (Db, &Sites),
    tables: &Tables,
    site: &SiteRow,
    goal: &VersionVector,
    cells: &mut Cells,
) -> Result<()> {
    let mut seq = goal.get(site.site) + 1;
    // What waits has no `seen` yet, and has seen all that goes.
    while let Some((_, mut seen)) = read_header(db, sites, site.id, seq)? {
        seen.set(site.site, seq - 1);
        if seen.covers(goal) {
            break;
        }
        for_each_edit(db, tables, (site.id, seq), |_, name, kind, edit| {
            if edit.is_none() {
                return;
            }
            let cell = cells.entry(name).or_insert_with(|| Staying {
                kind,
                seen: goal.clone(),
                going: Vec::new(),
            });
            cell.seen.meet(&seen);
        })?;
        seq += 1;
    }
    Ok(())
}

/// Finds the edits of these cells by those records of a site which go.
fn going(
    (db, sites): (Db, &Sites),
    tables: &Tables,
    site: &SiteRow,
    (before, goal): (&VersionVector, &VersionVector),
    cells: &mut Cells,
) -> Result<()> {
    for seq in before.get(site.site) + 1..=goal.get(site.site) {
        let Some((stamp, seen)) = read_header(db, sites, site.id, seq)? else {
            continue;
        };
        let dot = Dot {
            site: site.site,
            seq,
        };
        let seen = Rc::new(seen);
        for_each_edit(db, tables, (site.id, seq), |place, name, _, cell| {
            if cell.is_none() && site.site != Site::LOG_STRONG {
                return;
            }
            if let Some(staying) = cells.get_mut(&name) {
                staying.going.push(Going {
                    dot,
                    place,
                    stamp,
                    seen: Rc::clone(&seen),
                    cell: cell.map(OwnedCell::from),
                });
            }
        })?;
    }
    Ok(())
}

/// Calls `each` for every edit of a cell that needs a state, with its place in the changeset;
/// a DELETE is none, of each such cell of its row.
fn for_each_edit(
    db: Db,
    tables: &Tables,
    (site_id, seq): (i64, Seq),
    mut each: impl FnMut(u64, Vec<u8>, ColumnType, Option<Cell<'_>>),
) -> Result<()> {
    let mut place = 0;
    let mut edits_of = |table: &Table, row: &RowChange<'_>| {
        let name = RowName {
            table: table.at.number,
            key: &row.key,
        };
        let edits = states::edits(table, &row.change);
        for (n, column) in table.columns.iter().enumerate() {
            let edit = edits.iter().find(|(edited, _)| *edited == n);
            let is_edited = edit.is_some() || matches!(row.change, Change::Delete);
            if is_edited && column.kind.has_state() {
                place += 1;
                each(
                    place,
                    name.cell(n),
                    column.kind,
                    edit.map(|(_, cell)| *cell),
                );
            }
        }
    };
    for part in db.all(
        &told::bodies("ORDER BY id"),
        &[
            Value::Int(log::key(site_id, seq, 0)),
            Value::Int(log::key(site_id, seq + 1, 0) - 1),
        ],
    )? {
        let [OwnedValue::Blob(body)] = part.as_slice() else {
            return Err(damaged("nuda_log"));
        };
        for_each_row(body, |number, row| {
            if let Some(table) = tables.get(number).filter(|table| has_states(table)) {
                edits_of(table, row);
            }
        })?;
    }
    Ok(())
}

impl Staying {
    /// Takes in what goes, and keeps what is left to be told apart.
    fn settle(mut self, db: Db, name: &[u8]) -> Result<()> {
        let stored = states::stored(db, self.kind, name)?;
        let Some(mut state) = stored.or_else(|| State::new(self.kind)) else {
            return Ok(());
        };
        sorted::by_key(&mut self.going, |edit| (edit.stamp, edit.dot, edit.place));
        let mut end = 0;
        for edit in &self.going {
            let event = Event {
                dot: edit.dot,
                index: edit.place,
                stamp: edit.stamp,
                seen: &edit.seen,
                change: Change::Delete,
            };
            if event.position() < end {
                continue;
            }
            let Some(cell) = &edit.cell else {
                let mut same = self.going.iter().filter(|later| later.dot == edit.dot);
                if !same.any(|later| later.place > edit.place) {
                    // What had not seen it is shown nowhere.
                    end = event.position();
                    state = State::new(self.kind).unwrap_or(state);
                }
                continue;
            };
            state.follow(&Wrote {
                event: &event,
                cell: cell.as_ref(),
            });
        }
        state.collapse(&self.seen);
        put(db, name, Some(state).filter(|state| !state.is_trivial()))
    }
}

fn put(db: Db, name: &[u8], state: Option<State>) -> Result<()> {
    let Some(state) = state else {
        return db.run(
            "DELETE FROM main.nuda_cell WHERE cell = ?",
            &[Value::Blob(name)],
        );
    };
    let mut bytes = Vec::new();
    state.encode(&mut bytes);
    db.run(
        "INSERT OR REPLACE INTO main.nuda_cell(cell, state) VALUES (?, ?)",
        &[Value::Blob(name), Value::Blob(&bytes)],
    )
}
