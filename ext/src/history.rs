//! `nuda_history('table', 'key')`: what happened to one row, change by change and column by column, in
//! words: who wrote what and when, what became of it, and why.
//!
//! It reads what the log still holds, and asks the merge's own rules ([`nuda_core::types`]) what each
//! write amounts to, so that it cannot say something else than what was done. What every member
//! has reported is collected and told by nobody. For people: nothing is decided by it, and it reads
//! the whole log for one row.

use std::rc::Rc;

use nuda_core::changeset::Header;
use nuda_core::merge::{Event, Lost, Reason, merge};
use nuda_core::row::{Cell, Change, OwnedCell};
use nuda_core::site::Dot;
use nuda_core::types::text::TextDelta;
use nuda_core::types::{ColumnType, Wrote, orset};
use nuda_core::value::{OwnedValue, Value};
use nuda_core::version_vector::VersionVector;

use crate::changes::Walk;
use crate::concurrent::for_each_row;
use crate::conflicts::display;
use crate::connection::Connection;
use crate::error::{Error, Result};
use crate::ffi::db::Db;
use crate::ffi::rows_table::{Rows, Source};
use crate::log;
use crate::shadow::{Sites, to_i64};
use crate::told;
use crate::tracked::Table;

/// Characters of a value that are shown.
const SHOWN: usize = 200;

/// Changes of a row that are told: the latest.
const CHANGES: usize = 1_000;

/// `SELECT * FROM nuda_history('note', 'n1')`: the key as `nuda_changes` shows it.
pub(crate) static HISTORY: Source = Source {
    name: "nuda_history",
    columns: &[
        "site", "seq", "at_ms", "level", "author", "change", "column", "type", "wrote", "outcome",
    ],
    parameters: &["of_table", "of_key"],
    open,
};

/// A change of the row.
struct Told {
    dot: Dot,
    index: u64,
    at: Header,
    seen: VersionVector,
    /// All columns of an INSERT, those written by an UPDATE; `None`: a DELETE.
    cells: Option<Vec<(usize, OwnedCell)>>,
    is_insert: bool,
}

impl Told {
    fn event(&self) -> Event<'_> {
        let cells = self.cells.as_ref();
        let change = match (cells, self.is_insert) {
            (None, _) => Change::Delete,
            (Some(cells), true) => {
                Change::Insert(cells.iter().map(|(_, cell)| cell.as_ref()).collect())
            }
            (Some(cells), false) => {
                Change::Update(cells.iter().map(|(n, cell)| (*n, cell.as_ref())).collect())
            }
        };
        Event {
            dot: self.dot,
            index: self.index,
            stamp: self.at.stamp,
            seen: &self.seen,
            change,
        }
    }

    fn kind(&self) -> &'static str {
        match (&self.cells, self.is_insert) {
            (None, _) => "delete",
            (_, true) => "insert",
            _ => "update",
        }
    }
}

struct Lines(std::vec::IntoIter<Vec<OwnedValue>>);

impl Rows for Lines {
    fn next_row(&mut self) -> Result<Option<Vec<OwnedValue>>> {
        Ok(self.0.next())
    }
}

fn open(connection: &Rc<Connection>, parameters: &[OwnedValue]) -> Result<Box<dyn Rows>> {
    let name = |n: usize| match parameters.get(n) {
        Some(OwnedValue::Text(text)) => Some(String::from_utf8_lossy(text).into_owned()),
        Some(OwnedValue::Null) | None => None,
        Some(other) => Some(display(other.as_ref())),
    };
    let (Some(table), Some(key)) = (name(0), name(1)) else {
        return Err(Error::refused(
            "nuda_history needs a table and a key: SELECT * FROM nuda_history('note', 'n1')",
        ));
    };
    let tables = connection.tables()?;
    let table = tables.by_name(&table).ok_or_else(|| {
        Error::refused(format!(
            "{table} is not replicated; SELECT name FROM nuda_tables"
        ))
    })?;
    let told = read(connection.db(), table, &key)?;
    let events: Vec<Event<'_>> = told.iter().map(Told::event).collect();
    let mut lines = Vec::new();
    let first = told.len().saturating_sub(CHANGES);
    for (change, event) in told.iter().zip(&events).skip(first) {
        lines.extend(
            Teller {
                table,
                events: &events,
            }
            .lines(change, event),
        );
    }
    Ok(Box::new(Lines(lines.into_iter())))
}

/// All changes of the row that the log holds, in the order of stamps.
fn read(db: Db, table: &Table, key: &str) -> Result<Vec<Told>> {
    let sites = Sites::load(db)?;
    let mut walk = Walk::new(db, &crate::apply::frontier(db)?)?;
    let mut told = Vec::new();
    let mut query = db.prepare(&format!(
        "SELECT {}, seen FROM main.nuda_log l WHERE id BETWEEN ? AND ? ORDER BY id",
        told::BODY
    ))?;
    while let Some((header, site_id)) = walk.next()? {
        query.bind(&[
            Value::Int(log::key(site_id, header.dot.seq, 0)),
            Value::Int(log::key(site_id, header.dot.seq + 1, 0) - 1),
        ])?;
        let mut seen = None;
        let mut index = 0;
        while query.step()? {
            if seen.is_none() {
                seen = Some(sites.decode_seen(query.blob(1))?);
            }
            for_each_row(query.blob(0), |number, row| {
                index += 1;
                let keys: Vec<String> = row.key.iter().map(|value| display(*value)).collect();
                if number != table.at.number || keys.join(", ") != key {
                    return;
                }
                let own = |(n, cell): (usize, &Cell<'_>)| (n, OwnedCell::from(*cell));
                told.push(Told {
                    dot: header.dot,
                    index,
                    at: header.clone(),
                    seen: seen.clone().unwrap_or_default(),
                    cells: match &row.change {
                        Change::Insert(cells) => Some(cells.iter().enumerate().map(own).collect()),
                        Change::Update(cells) => {
                            Some(cells.iter().map(|(n, cell)| own((*n, cell))).collect())
                        }
                        Change::Delete => None,
                    },
                    is_insert: matches!(row.change, Change::Insert(_)),
                });
            })?;
        }
        query.reset();
    }
    Ok(told)
}

/// Says what became of changes.
struct Teller<'a> {
    table: &'a Table,
    events: &'a [Event<'a>],
}

impl Teller<'_> {
    fn lines(&self, change: &Told, event: &Event<'_>) -> Vec<Vec<OwnedValue>> {
        let text = |text: &str| OwnedValue::Text(text.as_bytes().to_vec());
        let line = |column: OwnedValue, kind: OwnedValue, wrote: OwnedValue, outcome: String| {
            vec![
                text(&change.dot.site.to_string()),
                OwnedValue::Int(to_i64(change.dot.seq)),
                OwnedValue::Int(to_i64(change.at.stamp.millis())),
                text(change.at.level.word()),
                text(&change.at.author),
                text(change.kind()),
                column,
                kind,
                wrote,
                text(&outcome),
            ]
        };
        let Some(cells) = &change.cells else {
            let outcome = self.of_delete(event);
            return vec![line(
                OwnedValue::Null,
                OwnedValue::Null,
                OwnedValue::Null,
                outcome,
            )];
        };
        let keys = self.table.at.key_columns;
        let written = cells.iter().filter(|(n, _)| *n >= keys);
        let mut lines: Vec<_> = written
            .map(|(n, cell)| {
                let column = self.table.columns.get(*n);
                let name = column.map_or_else(|| n.to_string(), |c| c.name.clone());
                let kind = column.map_or(ColumnType::Lww, |c| c.kind);
                let outcome = if self.table.is_gone(*n) {
                    "the column was dropped".to_owned()
                } else {
                    self.of_cell(event, *n, kind, cell.as_ref())
                };
                let wrote = text(&said(cell.as_ref()));
                line(text(&name), text(kind.name()), wrote, outcome)
            })
            .collect();
        if lines.is_empty() {
            let outcome = self
                .of_life(event)
                .unwrap_or_else(|| "the row is there".to_owned());
            lines.push(line(
                OwnedValue::Null,
                OwnedValue::Null,
                OwnedValue::Null,
                outcome,
            ));
        }
        lines
    }

    /// The latest of some events.
    fn latest<'e>(events: impl Iterator<Item = &'e Event<'e>>) -> Option<&'e Event<'e>> {
        events.max_by_key(|event| (event.rank(), event.index))
    }

    fn of_delete(&self, delete: &Event<'_>) -> String {
        if let Some(life) = Self::latest(self.inserts().filter(|insert| insert.saw(delete))) {
            return format!("the row went, and {} began it again", name(life));
        }
        match self.survivor() {
            Some(edit) => format!("the row stays: no delete had seen {}", name(edit)),
            None => "the row is gone".to_owned(),
        }
    }

    /// What keeps the row alive.
    fn survivor(&self) -> Option<&Event<'_>> {
        let only_inserts = self.table.options.delete_wins;
        let survivors = self.events.iter().filter(|edit| match edit.change {
            Change::Delete => false,
            Change::Update(_) if only_inserts => false,
            // A strong delete ends also what it had not seen.
            _ => !self.deletes().any(|delete| {
                delete.saw(edit) || delete.is_strong() && edit.position() < delete.position()
            }),
        });
        Self::latest(survivors)
    }

    fn inserts(&self) -> impl Iterator<Item = &Event<'_>> {
        let events = self.events.iter();
        events.filter(|event| matches!(event.change, Change::Insert(_)))
    }

    fn deletes(&self) -> impl Iterator<Item = &Event<'_>> {
        let events = self.events.iter();
        events.filter(|event| matches!(event.change, Change::Delete))
    }

    /// Whether a write ended together with its row.
    fn of_life(&self, event: &Event<'_>) -> Option<String> {
        if let Some(life) = Self::latest(self.inserts().filter(|insert| insert.saw(event))) {
            return Some(format!("ended with the row: {} began it again", name(life)));
        }
        let last = Self::latest(self.deletes())?;
        match self.survivor() {
            Some(_) => None,
            None => Some(format!("went with the row, which {} deleted", name(last))),
        }
    }

    /// What the merge says of a write that meets all that is concurrent with it.
    fn losses<'e>(&'e self, event: &'e Event<'e>, column: usize, cell: Cell<'e>) -> Vec<Lost<'e>> {
        let mut alone = event.clone();
        alone.change = Change::Update(vec![(column, cell)]);
        let is_beside = |other: &Event<'_>| {
            let is_itself = other.dot == event.dot && other.index == event.index;
            !is_itself && !event.saw(other) && !other.saw(event)
        };
        let mut met: Vec<Event<'_>> = self
            .events
            .iter()
            .filter(|e| is_beside(e))
            .cloned()
            .collect();
        // See `nuda_core::merge`: the strong ones that it saw and one of those did not.
        let known = met.iter().map(Event::position).min();
        let is_needed = |other: &&Event<'_>| {
            let later = known.is_some_and(|known| other.position() > known);
            other.is_strong() && event.saw(other) && later
        };
        met.extend(self.events.iter().filter(is_needed).cloned());
        let mut lost = Vec::new();
        merge(&alone, &met, true, self.table, &mut lost);
        lost.retain(|loss| loss.column == column);
        lost
    }

    fn of_cell(
        &self,
        event: &Event<'_>,
        column: usize,
        kind: ColumnType,
        cell: Cell<'_>,
    ) -> String {
        if let Some(ended) = self.of_life(event) {
            return ended;
        }
        let live: Vec<Wrote<'_, '_>> = self
            .events
            .iter()
            .filter(|other| !self.inserts().any(|insert| insert.saw(other)))
            .filter_map(|other| {
                let cell = wrote(other, column)?;
                Some(Wrote { event: other, cell })
            })
            .filter(|other| other.event.dot != event.dot || other.event.index != event.index)
            .collect();
        let beside: Vec<Wrote<'_, '_>> = live
            .iter()
            .filter(|other| !other.event.saw(event) && !event.saw(other.event))
            .copied()
            .collect();
        let others: Vec<String> = beside.iter().map(|other| name(other.event)).collect();
        match kind {
            ColumnType::Lww | ColumnType::MaxReg | ColumnType::MinReg | ColumnType::MvReg => {
                let later = live
                    .iter()
                    .map(|w| w.event)
                    .filter(|other| other.saw(event));
                if let Some(later) = Self::latest(later) {
                    return format!("replaced by {}, which had seen it", name(later));
                }
                let lost = self.losses(event, column, cell);
                let loss = lost.iter().find(|loss| loss.loser == event.rank());
                if let Some(loss) = loss {
                    let winner = self.events.iter().find(|e| e.rank() == loss.winner);
                    let winner = winner.map_or_else(String::new, name);
                    return format!(
                        "lost to {winner}, written concurrently: {}",
                        why(loss.reason)
                    );
                }
                match (kind, others.is_empty()) {
                    (_, true) => "stands".to_owned(),
                    (ColumnType::MvReg, _) => format!("stands beside {}", others.join(", ")),
                    _ => format!("stands against {}, written concurrently", others.join(", ")),
                }
            }
            _ if others.is_empty() => joined(kind).to_owned(),
            _ => format!(
                "{}, with the concurrent {}",
                joined(kind),
                others.join(", ")
            ),
        }
    }
}

fn name(event: &Event<'_>) -> String {
    format!("{}:{}", event.dot.site, event.dot.seq)
}

fn wrote<'a>(event: &Event<'a>, column: usize) -> Option<Cell<'a>> {
    match &event.change {
        Change::Insert(cells) => cells.get(column).copied(),
        Change::Update(cells) => cells.iter().find(|(n, _)| *n == column).map(|(_, c)| *c),
        Change::Delete => None,
    }
}

fn why(reason: Reason) -> &'static str {
    match reason {
        Reason::Later => "the later one wins, of two as late that of the greater site",
        Reason::Greater => "the greater value wins",
        Reason::Less => "the lesser value wins",
        Reason::Deleted => "the delete wins",
        Reason::Strong => "a strong write wins against what had not seen it",
        Reason::KnewStrong => "a write that knew a strong one wins against what had not seen it",
        Reason::StronglyDeleted => "a strong delete wins against what had not seen it",
    }
}

/// What a type makes of a write that never loses.
fn joined(kind: ColumnType) -> &'static str {
    match kind {
        ColumnType::Counter => "added to the sum",
        ColumnType::OrSet => "in the set, save what others removed who saw it",
        _ => "in the text, save what others deleted who saw it",
    }
}

/// What a cell says, for people.
fn said(cell: Cell<'_>) -> String {
    let said = match cell {
        Cell::Value(value) => display(value),
        Cell::Add(n) => format!("{n:+}"),
        Cell::Set(edit) => elements(edit),
        Cell::Text(edit) => match TextDelta::decode(edit) {
            Ok(edit) => format!(
                "typed '{}', deleted {} characters, at {} places",
                edit.inserted,
                edit.delta.deleted(),
                edit.delta.edits().len()
            ),
            Err(_) => "an edit of the text".to_owned(),
        },
        Cell::Doc(_) => "an edit of the document".to_owned(),
    };
    match said.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", said.get(..end).unwrap_or_default()),
        None => said,
    }
}

fn elements(edit: orset::Edit<'_>) -> String {
    let list = |sign: &str, elements: Vec<&[u8]>| {
        let words = elements.into_iter().map(String::from_utf8_lossy);
        let words: Vec<String> = words.map(|word| format!("{sign}{word}")).collect();
        words.join(" ")
    };
    let both = [
        list("+", edit.added().collect()),
        list("-", edit.removed().collect()),
    ];
    both.join(" ").trim().to_owned()
}
