//! What concurrent changes of one row amount to: pure functions.
//!
//! There is no metadata per row. Every change that can still meet an incoming one is
//! concurrent with it, therefore not yet acknowledged by its author's node, therefore still in
//! the log ([`crate::changeset`] records are dropped only when all members have them). So a
//! merge takes the incoming change, the *concurrent* changes of the same row from the log, and
//! whether the row is visible; what the incoming change had seen needs no comparison, it is
//! older by construction.
//!
//! The state of a row is a function of the set of its changes:
//!
//! - An INSERT begins a new life: it resets every change that it saw. The *live* changes are
//!   those that no INSERT saw.
//! - Each column is what its type makes of the live changes that wrote it ([`crate::types`]).
//! - A DELETE hides what it saw. The row is visible while some INSERT or UPDATE is left that
//!   no DELETE saw (with [`Rules::delete_wins`], some INSERT); the values of a hidden row stay alive in its *image* until the delete is
//!   stable, so that a concurrent edit brings the row back with all its values.
//!
//! [`merge`] computes the step from one such state to the next; the tests compare it with the
//! definition above, over all orders of delivery.
//!
//! What it relies on, and the applier must see to:
//!
//! - Delivery is causal, and a stamp is greater than every stamp its transaction had seen.
//!   If it is not, replicas differ for ever: let A write at 30, B overwrite that at 10, and C
//!   write concurrently at 20. In the order A B C the last word is B's; in A C B it is A's.
//! - A log record goes only when every member has applied it and everything those members
//!   wrote before they had is applied here: then nothing concurrent with it can arrive.
//! - An image lies beside the delete that hid the row. When that delete's record goes and the
//!   log still holds another delete of the row, the image moves on to it: an edit concurrent
//!   with *that* one may yet arrive. With the last delete the image goes; it also goes when
//!   the row becomes visible, be it by a merge or by a local INSERT.
//! - A cell suits its column's type ([`ColumnType::fits`]).
//! - Changes of one row are found under whatever spelling of the key SQLite takes for equal
//!   ([`Value::canonical_key`], and the key's collation).

use std::collections::BTreeSet;

use crate::hlc::Stamp;
use crate::row::{Cell, Change};
use crate::site::{Dot, Site};
use crate::types::{self, ColumnType, Write, Wrote, text};
use crate::value::Value;
use crate::version_vector::VersionVector;

/// The order of writes on a register: later stamp, then greater site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rank {
    /// The transaction's stamp.
    pub stamp: Stamp,
    /// Its site: breaks ties, the same way for all cells of a transaction.
    pub site: Site,
}

/// A change of the row in question, with its place in the causal order.
#[derive(Debug, Clone)]
pub struct Event<'a> {
    /// The changeset it belongs to.
    pub dot: Dot,
    /// Its place within that changeset.
    pub index: u64,
    /// The changeset's stamp.
    pub stamp: Stamp,
    /// Everything the changeset had seen, not counting its own site.
    pub seen: &'a VersionVector,
    /// What it did.
    pub change: Change<'a>,
}

impl<'a> Event<'a> {
    /// Its rank among writes of a register.
    #[must_use]
    pub fn rank(&self) -> Rank {
        Rank {
            stamp: self.stamp,
            site: self.dot.site,
        }
    }

    /// Whether this change was made knowing `other`.
    #[must_use]
    pub fn saw(&self, other: &Self) -> bool {
        if self.dot.site == other.dot.site {
            (other.dot.seq, other.index) < (self.dot.seq, self.index)
        } else {
            self.seen.contains(other.dot)
        }
    }

    /// The total order of writes: the changes of one changeset share a rank, the later counts.
    pub(crate) fn order(&self) -> (Rank, u64) {
        (self.rank(), self.index)
    }

    fn is_delete(&self) -> bool {
        matches!(self.change, Change::Delete)
    }

    fn is_insert(&self) -> bool {
        matches!(self.change, Change::Insert(_))
    }

    /// What it wrote to `column`, if it did.
    fn wrote(&self, column: usize) -> Option<Cell<'a>> {
        match &self.change {
            Change::Insert(cells) => cells.get(column).copied(),
            Change::Update(cells) => cells
                .iter()
                .find(|(c, _)| *c == column)
                .map(|(_, cell)| *cell),
            Change::Delete => None,
        }
    }
}

/// Adds to a counter's sum. It wraps, so that a sum never depends on the order of arrival,
/// whatever is sent; honest sums stay far inside ([`crate::limits::DIFFERENCE`]).
#[must_use]
pub fn add(sum: i128, difference: i128) -> i128 {
    sum.wrapping_add(difference)
}

/// A sum as a column of 64 bits can show it.
#[must_use]
pub fn shown(n: i128) -> i64 {
    i64::try_from(n).unwrap_or(if n < 0 { i64::MIN } else { i64::MAX })
}

/// What a table's definition says about merging its rows.
pub trait Rules {
    /// The type of a column.
    fn column_type(&self, column: usize) -> ColumnType;

    /// Whether an edit concurrent with a delete does not keep the row alive.
    fn delete_wins(&self) -> bool {
        false
    }
}

/// Why a value lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The other write was later, or as late and of a greater site.
    Later,
    /// The other value was greater.
    Greater,
    /// The other value was less.
    Less,
    /// The row was deleted, and deletes win.
    Deleted,
}

/// A write that lost against a concurrent one of another value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost<'a> {
    /// Which column.
    pub column: usize,
    /// The rank of the write that won.
    pub winner: Rank,
    /// The rank of the write that lost.
    pub loser: Rank,
    /// What it had written.
    pub value: Value<'a>,
    /// Why it lost.
    pub reason: Reason,
}

/// What to do to the local row.
#[derive(Debug, Clone, PartialEq)]
pub enum Plan<'a> {
    /// Write these columns of the visible row.
    Update(Vec<(usize, Write<'a>)>),
    /// Bring the row back from its image, which goes, then as `Update`.
    Revive(Vec<(usize, Write<'a>)>),
    /// The row begins a new life with exactly these columns, the key's included: insert it,
    /// or overwrite what is visible, and drop its image. Where two spellings of the key are
    /// equal to SQLite (1 and 1.0), the columns hold the winner's, and so must the row.
    /// Counters get the sum, not a difference.
    Insert(Vec<(usize, Write<'a>)>),
    /// Take the row out of sight and keep its image.
    Hide,
    /// A concurrent edit keeps the row alive, or it is hidden already.
    Keep,
}

/// The step that `incoming` makes, given all `concurrent` changes of its row that have been
/// applied here, in any order, and whether the row is `visible`.
///
/// `lost` receives the writes that were overruled, on either side.
pub fn merge<'a>(
    incoming: &Event<'a>,
    concurrent: &[Event<'a>],
    visible: bool,
    rules: &impl Rules,
    lost: &mut Vec<Lost<'a>>,
) -> Plan<'a> {
    match &incoming.change {
        Change::Update(_) if !visible && rules.delete_wins() => {
            let deletes = concurrent.iter().filter(|e| e.is_delete());
            if let Some(delete) = deletes.max_by_key(|e| e.order()) {
                overruled(incoming, delete, lost);
            }
            Plan::Keep
        }
        Change::Update(cells) => {
            let live = live(concurrent);
            let mut writes = Vec::with_capacity(cells.len());
            for (column, cell) in cells {
                let mine = Wrote {
                    event: incoming,
                    cell: *cell,
                };
                let kind = rules.column_type(*column);
                let others = writes_of(*column, &live);
                let write = types::merge_edit(kind, *column, mine, &others, lost);
                writes.extend(write.map(|write| (*column, write)));
            }
            if visible {
                Plan::Update(writes)
            } else {
                Plan::Revive(writes)
            }
        }
        Change::Insert(cells) => Plan::Insert(new_life(incoming, cells, concurrent, rules, lost)),
        Change::Delete if visible && !has_survivor(concurrent, rules.delete_wins()) => {
            let is_seen = |edit: &Event<'a>| {
                let mut deletes = concurrent.iter().filter(|e| e.is_delete());
                deletes.any(|delete| delete.saw(edit))
            };
            for edit in concurrent.iter().filter(|edit| !is_seen(edit)) {
                overruled(edit, incoming, lost);
            }
            Plan::Hide
        }
        Change::Delete => Plan::Keep,
    }
}

/// Whether one of these edits, or of the inserts among them, was seen by none of these deletes.
fn has_survivor(concurrent: &[Event<'_>], only_inserts: bool) -> bool {
    let deletes: Vec<_> = concurrent.iter().filter(|e| e.is_delete()).collect();
    concurrent
        .iter()
        .filter(|event| event.is_insert() || !only_inserts && !event.is_delete())
        .any(|event| !deletes.iter().any(|d| d.saw(event)))
}

/// Notes what an edit wrote that went with its row.
fn overruled<'a>(edit: &Event<'a>, delete: &Event<'a>, lost: &mut Vec<Lost<'a>>) {
    if let Change::Update(cells) = &edit.change {
        lost.extend(cells.iter().map(|(column, cell)| Lost {
            column: *column,
            winner: delete.rank(),
            loser: edit.rank(),
            value: match cell {
                Cell::Value(value) => *value,
                Cell::Add(n) => Value::Int(shown(*n)),
                Cell::Text(edit) => text::only_insertion(edit).map_or(Value::Null, Value::Text),
                Cell::Set(_) | Cell::Doc(_) => Value::Null,
            },
            reason: Reason::Deleted,
        }));
    }
}

/// The changes that no INSERT among them saw.
fn live<'a, 'e>(concurrent: &'e [Event<'a>]) -> Vec<&'e Event<'a>> {
    let inserts: Vec<_> = concurrent.iter().filter(|e| e.is_insert()).collect();
    concurrent
        .iter()
        .filter(|event| !event.is_delete() && !inserts.iter().any(|i| i.saw(event)))
        .collect()
}

fn writes_of<'a, 'e>(column: usize, live: &[&'e Event<'a>]) -> Vec<Wrote<'a, 'e>> {
    live.iter()
        .filter_map(|event| {
            let cell = event.wrote(column)?;
            Some(Wrote { event, cell })
        })
        .collect()
}

/// The columns of a row whose newest life begins with `incoming`.
fn new_life<'a>(
    incoming: &Event<'a>,
    cells: &[Cell<'a>],
    concurrent: &[Event<'a>],
    rules: &impl Rules,
    lost: &mut Vec<Lost<'a>>,
) -> Vec<(usize, Write<'a>)> {
    let live = live(concurrent);
    let mut columns: Vec<(usize, Write<'a>)> = Vec::with_capacity(cells.len());
    let own = cells.iter().map(Some).enumerate();
    let rest = columns_from(cells.len(), &live);
    for (column, cell) in own.chain(rest.into_iter().map(|column| (column, None))) {
        let mine = cell.map(|cell| Wrote {
            event: incoming,
            cell: *cell,
        });
        let others = writes_of(column, &live);
        let kind = rules.column_type(column);
        let write = types::merge_life(kind, column, mine, &others, lost);
        columns.push((column, write));
    }
    columns
}

/// The columns that the insert's author did not know yet and others have written.
fn columns_from(first: usize, live: &[&Event<'_>]) -> BTreeSet<usize> {
    live.iter()
        .flat_map(|event| match &event.change {
            Change::Insert(cells) => (0..cells.len()).collect(),
            Change::Update(cells) => cells.iter().map(|(column, _)| *column).collect(),
            Change::Delete => Vec::new(),
        })
        .filter(|column| *column >= first)
        .collect()
}
