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
//!   no DELETE saw (with [`Rules::delete_wins`], some INSERT or strong UPDATE); the values of a
//!   hidden row stay alive in its *image* until the delete is stable, so that a concurrent edit
//!   brings the row back with all its values.
//! - Strong transactions come after the eventual ones that had not seen them. A strong transaction
//!   that deletes the row ends every change that had not seen it: that one counts for nothing any more. A strong write
//!   of a register beats those that had not seen it (`types/standing.rs`).
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
//!   wrote before they had is applied here: then nothing concurrent with it can arrive. And the
//!   record of a strong transaction stays as long as that of an eventual one which had not seen
//!   it: a third one that saw only the former may arrive, and must find out that it won.
//!   What all that stay have seen decides nothing between them, so no result depends on what
//!   was collected.
//! - An image lies beside the delete that hid the row. When that delete's record goes and the
//!   log still holds another delete of the row, the image moves on to it: an edit concurrent
//!   with *that* one may yet arrive. With the last delete the image goes; it also goes when
//!   the row becomes visible, be it by a merge or by a local INSERT.
//! - A cell suits its column's type ([`ColumnType::fits`]).
//! - Changes of one row are found under whatever spelling of the key SQLite takes for equal
//!   ([`Value::canonical_key`], and the key's collation).

use crate::hlc::Stamp;
use crate::row::{Cell, Change};
use crate::site::{Dot, Seq, Site};
use crate::sorted;
use crate::types::standing::StrongWrites;
use crate::types::{self, ColumnType, Write, Wrote, doc, text};
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
    #[inline(never)]
    pub fn saw(&self, other: &Self) -> bool {
        if self.dot.site == other.dot.site {
            (other.dot.seq, other.index) < (self.dot.seq, self.index)
        } else {
            self.seen.contains(other.dot)
        }
    }

    /// Whether the replicated log gave it its place in the one order of strong transactions.
    #[must_use]
    pub fn is_strong(&self) -> bool {
        self.dot.site == Site::LOG_STRONG
    }

    /// Up to where in that order it knew; a strong one counts itself.
    #[must_use]
    #[inline(never)]
    pub fn position(&self) -> Seq {
        if self.is_strong() {
            self.dot.seq
        } else {
            self.seen.get(Site::LOG_STRONG)
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
    #[must_use]
    pub fn wrote(&self, column: usize) -> Option<Cell<'a>> {
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

    /// Whether the column was dropped: nobody asks any more what was written to it.
    fn is_gone(&self, _column: usize) -> bool {
        false
    }

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
    /// The other write was a strong one, which this one had not seen.
    Strong,
    /// The other write of the document knew a strong one of it, which this one had not seen.
    KnewStrong,
    /// The delete of the row was a strong one, which this one had not seen.
    StronglyDeleted,
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
    /// What the one that won has written; NULL if it deleted the row.
    pub kept: Value<'a>,
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
    /// Write these columns of the image: the row stays hidden, and may come back.
    EditImage(Vec<(usize, Write<'a>)>),
    /// A concurrent edit keeps the row alive, or it is hidden already, or the change came too late.
    Keep,
}

/// The step that `incoming` makes, given all changes of its row that are concurrent with it and
/// have been applied here, in any order, and whether the row is `visible`. `others` are those, and
/// the strong changes that `incoming` saw and one of those did not.
///
/// `lost` receives the writes that were overruled, on either side.
pub fn merge<'a>(
    incoming: &Event<'a>,
    others: &[Event<'a>],
    visible: bool,
    rules: &impl Rules,
    lost: &mut Vec<Lost<'a>>,
) -> Plan<'a> {
    let met = Met::new(incoming, others);
    if let Some(end) = met.end_of(incoming) {
        overruled(incoming, end, Reason::StronglyDeleted, lost);
        return Plan::Keep;
    }
    match &incoming.change {
        Change::Update(cells) if visible => Plan::Update(met.edited(cells, rules, lost)),
        Change::Update(cells) if rules.delete_wins() && !incoming.is_strong() => {
            let deletes = met.concurrent.iter().filter(|e| e.is_delete());
            if let Some(delete) = deletes.max_by_key(|e| e.order()) {
                overruled(incoming, delete, Reason::Deleted, lost);
            }
            Plan::EditImage(met.edited(cells, rules, &mut Vec::new()))
        }
        Change::Update(cells) => Plan::Revive(met.edited(cells, rules, lost)),
        Change::Insert(cells) => Plan::Insert(met.new_life(cells, rules, lost)),
        Change::Delete if visible && !met.has_survivor(rules.delete_wins()) => {
            met.overrule(lost);
            Plan::Hide
        }
        Change::Delete => Plan::Keep,
    }
}

/// What a column of type LWW holds, of all these changes of its row, if one of them wrote it.
#[must_use]
pub fn register<'a>(column: usize, events: &[Event<'a>]) -> Option<Value<'a>> {
    let end = last_end(events);
    let counting: Vec<&Event<'a>> = events.iter().filter(|e| !is_ended(e, end)).collect();
    let live = live(&counting);
    let strong = StrongWrites::new(events.iter().filter_map(|event| write_of(column, event)));
    let writes = live.iter().filter_map(|event| write_of(column, event));
    let last = writes.max_by_key(|write| (strong.known_to(write.event), write.event.order()))?;
    match last.cell {
        Cell::Value(value) => Some(value),
        _ => None,
    }
}

/// The changes that an incoming one meets.
struct Met<'a, 'e> {
    incoming: &'e Event<'a>,
    /// Those that it had not seen, the ended ones included.
    concurrent: Vec<&'e Event<'a>>,
    /// The strong ones of the row, `incoming` included.
    strong: Vec<&'e Event<'a>>,
    /// The last strong DELETE of the row, but `incoming`.
    end: Option<&'e Event<'a>>,
}

impl<'a, 'e> Met<'a, 'e> {
    fn new(incoming: &'e Event<'a>, others: &'e [Event<'a>]) -> Self {
        let all = others.iter().chain([incoming]);
        Self {
            incoming,
            concurrent: others.iter().filter(|e| !incoming.saw(e)).collect(),
            strong: all.filter(|e| e.is_strong()).collect(),
            end: last_end(others),
        }
    }

    /// The strong DELETE that ended this change.
    fn end_of(&self, event: &Event<'a>) -> Option<&'e Event<'a>> {
        self.end.filter(|_| is_ended(event, self.end))
    }

    /// The concurrent changes that count.
    fn counting(&self) -> Vec<&'e Event<'a>> {
        let concurrent = self.concurrent.iter().copied();
        concurrent.filter(|e| !is_ended(e, self.end)).collect()
    }

    /// Whether one of the concurrent edits, or of those among them that outlive a delete where
    /// deletes win, was seen by no delete.
    fn has_survivor(&self, delete_wins: bool) -> bool {
        if self.incoming.is_strong() {
            return false;
        }
        let counting = self.counting();
        let deletes: Vec<_> = counting.iter().filter(|e| e.is_delete()).collect();
        counting
            .iter()
            .filter(|e| !e.is_delete() && (!delete_wins || e.is_insert() || e.is_strong()))
            .any(|event| !deletes.iter().any(|d| d.saw(event)))
    }

    /// Notes what goes with the row that `incoming` deletes.
    fn overrule(&self, lost: &mut Vec<Lost<'a>>) {
        let counting = self.counting();
        let is_seen = |edit: &Event<'a>| {
            let mut deletes = counting.iter().filter(|e| e.is_delete());
            deletes.any(|delete| delete.saw(edit))
        };
        let reason = if self.incoming.is_strong() {
            Reason::StronglyDeleted
        } else {
            Reason::Deleted
        };
        for edit in counting.iter().filter(|edit| !is_seen(edit)) {
            overruled(edit, self.incoming, reason, lost);
        }
    }

    /// What the columns of the row become that `incoming` edits.
    fn edited(
        &self,
        cells: &[(usize, Cell<'a>)],
        rules: &impl Rules,
        lost: &mut Vec<Lost<'a>>,
    ) -> Vec<(usize, Write<'a>)> {
        let live = live(&self.counting());
        let mut writes = Vec::with_capacity(cells.len());
        for (column, cell) in cells.iter().filter(|(n, _)| !rules.is_gone(*n)) {
            let mine = Wrote {
                event: self.incoming,
                cell: *cell,
            };
            let kind = rules.column_type(*column);
            let others = writes_of(*column, &live);
            let strong = self.strong_writes(*column);
            let standing = strong.stand((kind, *column), Some(mine), others, lost);
            let write = standing
                .mine
                .and_then(|mine| types::merge_edit(kind, *column, mine, &standing.others, lost));
            writes.extend(write.map(|write| (*column, write)));
        }
        writes
    }

    /// The columns of the row whose newest life begins with `incoming`.
    fn new_life(
        &self,
        cells: &[Cell<'a>],
        rules: &impl Rules,
        lost: &mut Vec<Lost<'a>>,
    ) -> Vec<(usize, Write<'a>)> {
        let live = live(&self.counting());
        let mut columns: Vec<(usize, Write<'a>)> = Vec::with_capacity(cells.len());
        let own = cells.iter().map(Some).enumerate();
        let rest = columns_from(cells.len(), &live);
        for (column, cell) in own.chain(rest.into_iter().map(|column| (column, None))) {
            if rules.is_gone(column) {
                columns.push((column, Write::Value(Value::Null)));
                continue;
            }
            let mine = cell.map(|cell| Wrote {
                event: self.incoming,
                cell: *cell,
            });
            let kind = rules.column_type(column);
            let others = writes_of(column, &live);
            let strong = self.strong_writes(column);
            let standing = strong.stand((kind, column), mine, others, lost);
            let write = types::merge_life(kind, column, standing.mine, &standing.others, lost);
            columns.push((column, write));
        }
        columns
    }

    fn strong_writes(&self, column: usize) -> StrongWrites<'a, 'e> {
        let strong = self.strong.iter();
        StrongWrites::new(strong.filter_map(|event| write_of(column, event)))
    }
}

/// The last strong DELETE among these changes that its transaction left at that: one that
/// inserted the row again has changed it.
fn last_end<'a, 'e>(events: &'e [Event<'a>]) -> Option<&'e Event<'a>> {
    let goes_on = |end: &Event<'a>| {
        let mut same = events.iter().filter(|event| event.dot == end.dot);
        same.any(|event| event.index > end.index)
    };
    events
        .iter()
        .filter(|event| event.is_strong() && event.is_delete() && !goes_on(event))
        .max_by_key(|event| event.dot.seq)
}

/// Whether a change had not seen the strong DELETE `end`, and so came before it.
fn is_ended(event: &Event<'_>, end: Option<&Event<'_>>) -> bool {
    end.is_some_and(|end| {
        let place = |event: &Event<'_>| {
            let index = if event.is_strong() {
                event.index
            } else {
                u64::MAX
            };
            (event.position(), index)
        };
        place(event) < place(end)
    })
}

/// Notes what an edit wrote that went with its row.
fn overruled<'a>(edit: &Event<'a>, delete: &Event<'a>, reason: Reason, lost: &mut Vec<Lost<'a>>) {
    let cells: Vec<(usize, Cell<'a>)> = match &edit.change {
        Change::Insert(cells) => cells.iter().copied().enumerate().collect(),
        Change::Update(cells) => cells.clone(),
        Change::Delete => Vec::new(),
    };
    lost.extend(cells.iter().map(|(column, cell)| Lost {
        column: *column,
        winner: delete.rank(),
        loser: edit.rank(),
        value: match cell {
            Cell::Value(value) => *value,
            Cell::Add(n) => Value::Int(shown(*n)),
            Cell::Text(edit) => text::only_insertion(edit).map_or(Value::Null, Value::Text),
            Cell::Doc(edit) => doc::column::only_value(edit).map_or(Value::Null, Value::Text),
            Cell::Set(_) => Value::Null,
        },
        kept: Value::Null,
        reason,
    }));
}

/// The changes that no INSERT among them saw.
fn live<'a, 'e>(counting: &[&'e Event<'a>]) -> Vec<&'e Event<'a>> {
    let inserts: Vec<_> = counting.iter().filter(|e| e.is_insert()).collect();
    counting
        .iter()
        .filter(|event| !event.is_delete() && !inserts.iter().any(|i| i.saw(event)))
        .copied()
        .collect()
}

fn write_of<'a, 'e>(column: usize, event: &'e Event<'a>) -> Option<Wrote<'a, 'e>> {
    let cell = event.wrote(column)?;
    Some(Wrote { event, cell })
}

fn writes_of<'a, 'e>(column: usize, live: &[&'e Event<'a>]) -> Vec<Wrote<'a, 'e>> {
    live.iter()
        .filter_map(|event| write_of(column, event))
        .collect()
}

/// The columns that the insert's author did not know yet and others have written.
fn columns_from(first: usize, live: &[&Event<'_>]) -> Vec<usize> {
    let mut columns: Vec<usize> = live
        .iter()
        .flat_map(|event| match &event.change {
            Change::Insert(cells) => (0..cells.len()).collect(),
            Change::Update(cells) => cells.iter().map(|(column, _)| *column).collect(),
            Change::Delete => Vec::new(),
        })
        .filter(|column| *column >= first)
        .collect();
    sorted::ascending(&mut columns);
    columns.dedup();
    columns
}
