//! Column types: what an edit is, and what concurrent edits of one column amount to.
//!
//! One module each, all pure, with the same few questions: may the column hold this value
//! ([`ColumnType::stored`]), what does an UPDATE ship ([`ColumnType::edit`]), and what do
//! concurrent writes make of the column ([`merge_edit`] for a row that goes on, [`merge_life`]
//! for one whose newest life begins). Nothing is kept per cell: every answer needs the
//! concurrent changes and the value that is there, never the history.
//!
//! [`sequence`] merges concurrent edits by position; [`text`] is a text's edit, and needs the
//! former only while edits are concurrent; [`doc`] are edits of documents. Beside the value such
//! an edit needs to know who did what: a [`state`], made from the log while anything is concurrent.
//! [`rebase`] makes edits again on another text.
//!
//! Of the writes of a register only those count that stand against the strong ones
//! ([`standing`]). [`lww`] and [`counter`] look at every live write. The others ask for the *frontier*: the
//! live writes that no other live write of the column saw.

pub mod counter;
pub mod doc;
pub mod extremum;
pub mod lww;
pub mod mvreg;
pub mod orset;
pub mod rebase;
pub mod sequence;
pub(crate) mod standing;
pub mod state;
pub mod text;

use crate::error::DecodeError;
use crate::merge::{Event, Lost};
use crate::row::Cell;
use crate::value::{OwnedValue, Value};

use doc::rules::Rules;

/// A column's conflict-free type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ColumnType {
    /// Last writer wins.
    Lww,
    /// Differences add up.
    Counter,
    /// The greatest concurrent value wins.
    MaxReg,
    /// The least concurrent value wins.
    MinReg,
    /// All concurrent values are kept until the next write.
    MvReg,
    /// A set of JSON values; an add wins over a concurrent remove.
    OrSet,
    /// A text; concurrent edits are all kept.
    TextDoc,
    /// A JSON document; concurrent edits are merged per key and per list element.
    Doc,
}

/// Why a column cannot hold a value; in words that follow the column's name.
pub type Unfit = String;

impl ColumnType {
    /// All types, in the order in which they are documented.
    pub const ALL: [Self; 8] = [
        Self::Lww,
        Self::Counter,
        Self::MaxReg,
        Self::MinReg,
        Self::MvReg,
        Self::OrSet,
        Self::Doc,
        Self::TextDoc,
    ];

    /// The name in a declaration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Lww => "LWW",
            Self::Counter => "COUNTER",
            Self::MaxReg => "MAXREG",
            Self::MinReg => "MINREG",
            Self::MvReg => "MVREG",
            Self::OrSet => "ORSET",
            Self::TextDoc => "TEXTDOC",
            Self::Doc => "DOC",
        }
    }

    /// The type of that name, in upper or lower case.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name().eq_ignore_ascii_case(name))
    }

    /// Whether a write is an assignment: it ships the value, not a difference.
    #[must_use]
    pub fn is_assigned(self) -> bool {
        !matches!(
            self,
            Self::Counter | Self::OrSet | Self::TextDoc | Self::Doc
        )
    }

    /// Whether a strong write beats the eventual ones that had not seen it, instead of being joined
    /// with them.
    #[must_use]
    pub fn is_register(self) -> bool {
        matches!(self, Self::Lww | Self::MvReg)
    }

    /// Whether the column's text has one canonical form that differs from what may be written.
    #[must_use]
    pub fn has_canonical_form(self) -> bool {
        matches!(self, Self::OrSet | Self::Doc)
    }

    /// The form in which the column stores a value; `None` if it is that already.
    ///
    /// # Errors
    /// The column cannot hold it.
    pub fn stored(self, value: Value<'_>) -> Result<Option<OwnedValue>, Unfit> {
        match self {
            Self::Lww => Ok(None),
            Self::Counter => counter::check(value).map(|()| None),
            Self::MaxReg | Self::MinReg => extremum::check(value).map(|()| None),
            Self::MvReg => mvreg::check(value).map(|()| None),
            Self::OrSet => orset::stored(value),
            Self::TextDoc => text::check(value).map(|()| None),
            Self::Doc => doc::column::stored(value),
        }
    }

    /// What an INSERT ships for a stored value.
    #[must_use]
    #[inline(never)]
    pub fn initial(self, value: Value<'_>) -> Cell<'_> {
        match (self, value) {
            (Self::Counter, Value::Int(n)) => Cell::Add(i128::from(n)),
            _ => Cell::Value(value),
        }
    }

    /// Whether an edit needs a [`state::State`] while others are concurrent with it.
    #[must_use]
    pub fn has_state(self) -> bool {
        matches!(self, Self::TextDoc | Self::Doc)
    }

    /// Appends the cell that an UPDATE from `old` to `new` ships; answers `false` if it ships
    /// nothing. The two values differ. `rules` say of a document what its places are.
    ///
    /// # Errors
    /// The column cannot hold the new value, or can no longer be edited.
    pub fn edit(
        self,
        old: Value<'_>,
        new: Value<'_>,
        rules: &Rules,
        out: &mut Vec<u8>,
    ) -> Result<bool, Unfit> {
        match self {
            Self::Doc => return doc::column::edit(old, new, rules, out),
            Self::OrSet => return orset::diff(old, new, out),
            Self::TextDoc => text::edit(old, new, out)?,
            Self::Counter => counter::diff(old, new)?.encode(out),
            _ => {
                self.stored(new)?;
                Cell::Value(new).encode(out);
            }
        }
        Ok(true)
    }

    /// The same, of values that are known to be in the form in which [`ColumnType::stored`] leaves
    /// them; an old one that the column cannot hold is [`doc::column::NO_DOCUMENT`].
    ///
    /// # Errors
    /// As [`ColumnType::edit`].
    pub fn edit_forms(
        self,
        old: Value<'_>,
        new: Value<'_>,
        rules: &Rules,
        out: &mut Vec<u8>,
    ) -> Result<bool, Unfit> {
        match self {
            Self::Doc => doc::column::edit_forms(old, new, rules, out),
            _ => self.edit(old, new, rules, out),
        }
    }

    /// What becomes of a column that shows `now`, if its row is there, when a write that had
    /// not seen it is made again after it. A counter's difference is for the caller to add, and
    /// so is an edit that says only where.
    #[must_use]
    pub fn again(self, now: Option<Value<'_>>, cell: Cell<'_>) -> Option<OwnedValue> {
        let value = match (cell, now) {
            (Cell::Add(_) | Cell::Text(_) | Cell::Doc(_), _) => return None,
            (Cell::Set(edit), now) => {
                return Some(orset::Step::all_of(edit).apply(now.unwrap_or(Value::Null)));
            }
            (Cell::Value(value), None) => return Some(value.into()),
            (Cell::Value(value), Some(_)) => value,
        };
        let now = now.unwrap_or(Value::Null);
        let better = |wants| extremum::beats(wants, value, now);
        Some(match self {
            Self::MaxReg if !better(extremum::Wants::Greatest) => now.into(),
            Self::MinReg if !better(extremum::Wants::Least) => now.into(),
            Self::MvReg => mvreg::beside(now, value),
            Self::OrSet => orset::union(now, value),
            _ => value.into(),
        })
    }

    /// Whether an INSERT may ship this cell, and an UPDATE may.
    ///
    /// # Errors
    /// An edit that is malformed, or of a kind that only a newer version knows.
    pub fn fits(self, cell: &Cell<'_>, is_insert: bool) -> Result<bool, DecodeError> {
        Ok(match (self, cell) {
            (Self::Counter, Cell::Add(_)) => true,
            (Self::OrSet, Cell::Value(value)) => is_insert && orset::is_stored(*value),
            (Self::OrSet, Cell::Set(edit)) => !is_insert && edit.is_canonical(),
            (Self::TextDoc, Cell::Value(value)) => text::check(*value).is_ok(),
            (Self::TextDoc, Cell::Text(edit)) => {
                let edit = text::TextDelta::decode(edit)?;
                !is_insert && !edit.delta.is_empty()
            }
            (Self::Doc, Cell::Value(value)) => doc::column::is_stored(*value),
            (Self::Doc, Cell::Doc(edit)) => !is_insert && doc::column::fits(edit)?,
            (Self::Counter, _) => false,
            (_, cell) => matches!(cell, Cell::Value(_)),
        })
    }
}

/// A write of one column by a live change.
#[derive(Debug, Clone, Copy)]
pub struct Wrote<'a, 'e> {
    /// The change.
    pub event: &'e Event<'a>,
    /// What it wrote.
    pub cell: Cell<'a>,
}

impl<'a> Wrote<'a, '_> {
    /// The value it assigned.
    fn value(&self) -> Value<'a> {
        match self.cell {
            Cell::Value(value) => value,
            _ => Value::Null,
        }
    }
}

/// The value `now` with an edit done to it that is of just that value; `None` if it is not.
#[must_use]
pub fn edited(cell: Cell<'_>, now: Value<'_>) -> Option<OwnedValue> {
    match cell {
        Cell::Text(edit) => {
            let edit = text::TextDelta::decode(edit).ok()?;
            let text = edit.apply(text::shown(now)?)?;
            Some(OwnedValue::Text(text.into_bytes()))
        }
        Cell::Doc(edit) => doc::column::edited(edit, now),
        _ => None,
    }
}

/// What a merge writes to a column.
#[derive(Debug, Clone, PartialEq)]
pub enum Write<'a> {
    /// This value.
    Value(Value<'a>),
    /// This value, which no single change wrote.
    Made(OwnedValue),
    /// The counter's value plus this; in a new life, this sum.
    Add(i128),
    /// The set's elements without some and with others.
    Set(orset::Step<'a>),
    /// The value with this edit done to it, which is of just that value.
    Edit(Cell<'a>),
    /// What the cell's [`state::State`] makes of this write.
    Placed(Placed<'a>),
}

/// A write that meets concurrent ones, and whose place only a state knows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Placed<'a> {
    /// The write.
    pub cell: Cell<'a>,
    /// Whether the column is NULL if nothing is left in it.
    pub null_if_empty: bool,
}

impl<'a> Write<'a> {
    /// A change's own write, which meets no concurrent one.
    #[must_use]
    pub fn of(cell: Cell<'a>) -> Self {
        match cell {
            Cell::Value(value) => Self::Value(value),
            Cell::Add(n) => Self::Add(n),
            Cell::Set(edit) => Self::Set(orset::Step::all_of(edit)),
            Cell::Text(_) | Cell::Doc(_) => Self::Edit(cell),
        }
    }
}

/// Whether the whole frontier left NULL.
fn null_if_empty<'a>(mine: Option<&Wrote<'a, '_>>, others: &[Wrote<'a, '_>]) -> bool {
    mine.into_iter()
        .chain(frontier(others.iter()))
        .all(|write| match write.cell {
            Cell::Set(edit) => edit.leaves_null(),
            Cell::Value(value) => value == Value::Null,
            Cell::Add(_) | Cell::Text(_) | Cell::Doc(_) => false,
        })
}

/// What the column of a row becomes when `mine` meets the live concurrent writes `others`;
/// `None` if it stays as it is.
pub fn merge_edit<'a>(
    kind: ColumnType,
    column: usize,
    mine: Wrote<'a, '_>,
    others: &[Wrote<'a, '_>],
    lost: &mut Vec<Lost<'a>>,
) -> Option<Write<'a>> {
    if others.is_empty() {
        return Some(Write::of(mine.cell));
    }
    match kind {
        ColumnType::Lww => lww::contest(column, mine, others, lost)
            .is_none()
            .then(|| Write::of(mine.cell)),
        ColumnType::Counter => Some(Write::of(mine.cell)),
        ColumnType::OrSet => Some(orset::merge_edit(mine, others)),
        ColumnType::TextDoc | ColumnType::Doc => Some(Write::Placed(Placed {
            cell: mine.cell,
            null_if_empty: null_if_empty(Some(&mine), others),
        })),
        _ => Some(merge_life(kind, column, Some(mine), others, lost)),
    }
}

/// What the column of a row's newest life holds: the insert's own write, unless its author did
/// not know the column, and the live concurrent ones.
pub fn merge_life<'a>(
    kind: ColumnType,
    column: usize,
    mine: Option<Wrote<'a, '_>>,
    others: &[Wrote<'a, '_>],
    lost: &mut Vec<Lost<'a>>,
) -> Write<'a> {
    match kind {
        ColumnType::Lww => Write::Value(lww::winner(column, mine, others, lost)),
        ColumnType::Counter => Write::Add(counter::sum(mine.iter().chain(others))),
        ColumnType::MaxReg | ColumnType::MinReg => {
            let wants = if kind == ColumnType::MaxReg {
                extremum::Wants::Greatest
            } else {
                extremum::Wants::Least
            };
            Write::Value(extremum::winner(wants, column, mine, others, lost))
        }
        ColumnType::MvReg => mvreg::join(mine, others),
        ColumnType::OrSet => Write::Made(orset::merge_life(mine, others)),
        ColumnType::TextDoc | ColumnType::Doc => {
            let cell = mine.map_or(Cell::Value(Value::Null), |mine| mine.cell);
            if others.is_empty() {
                return Write::of(cell);
            }
            Write::Placed(Placed {
                cell,
                null_if_empty: null_if_empty(mine.as_ref(), others),
            })
        }
    }
}

/// The writes among `all` that none of the others saw.
fn frontier<'a, 'e, 'w>(all: impl Iterator<Item = &'w Wrote<'a, 'e>>) -> Vec<&'w Wrote<'a, 'e>>
where
    'a: 'e,
    'e: 'w,
{
    // A site saw its own writes: only its latest can be in the frontier.
    let mut latest: Vec<&Wrote<'a, 'e>> = Vec::new();
    for write in all {
        let site = write.event.dot.site;
        match latest.iter_mut().find(|w| w.event.dot.site == site) {
            None => latest.push(write),
            Some(known) if write.event.saw(known.event) => *known = write,
            Some(_) => {}
        }
    }
    let seen = |write: &Wrote<'a, 'e>| latest.iter().any(|other| other.event.saw(write.event));
    latest.iter().filter(|w| !seen(w)).copied().collect()
}
