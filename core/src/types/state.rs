//! What concurrent edits of one text or document need beside its value.
//!
//! A [`State`] is a function of the edits that were taken in, whatever their order as long as it
//! is causal; the value is not in it. It is made anew from the log's changes of the row when an
//! incoming edit meets a concurrent one ([`State::follow`]: the value shows them already), and
//! then says what the incoming one amounts to ([`State::integrate`]). It begins without
//! knowing what was there before: of that only the places count.
//!
//! So nothing has to be kept while the log holds all edits that were made without knowing one
//! another. When it is collected, an edit that stays may not have seen one that goes. The state of
//! the edits that go is kept then, [collapsed](State::collapse) to what some edit that stays, or
//! none to come, has not seen; taking in the log's edits goes on from there.

use crate::error::DecodeError;
use crate::row::Cell;
use crate::value::{OwnedValue, Value};
use crate::version_vector::VersionVector;

use super::doc::column::{change_of, document, value_of};
use super::doc::edit::Change;
use super::doc::loss::Loss;
use super::doc::merge::{Edited, Merge};
use super::sequence::{Delta, Sequence};
use super::text::{self, TextDelta, count};
use super::{ColumnType, Placed, Wrote};

/// Who did what in a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Of a text.
    Text(Sequence),
    /// Of a document.
    Doc(Merge),
}

impl State {
    /// Before any edit. `None` if columns of this type need no state.
    #[must_use]
    pub fn new(kind: ColumnType) -> Option<Self> {
        match kind {
            ColumnType::TextDoc => Some(Self::Text(Sequence::unknown())),
            ColumnType::Doc => Some(Self::Doc(Merge::new())),
            _ => None,
        }
    }

    /// Takes in a write that the value shows already.
    pub fn follow(&mut self, write: &Wrote<'_, '_>) {
        match self {
            Self::Text(sequence) => {
                // One that does not fit was refused when it arrived.
                place(sequence, write);
            }
            Self::Doc(merge) => {
                if let Some(change) = change_of(write.cell) {
                    merge.follow(&edited(write, &change));
                }
            }
        }
    }

    /// Takes in a write that meets concurrent ones; answers what becomes of the column that
    /// shows `now`. `None`: the write is not of what its author saw. `lost` receives what was
    /// overruled inside a document, on either side.
    #[must_use]
    pub fn integrate(
        &mut self,
        write: &Wrote<'_, '_>,
        now: Value<'_>,
        null_if_empty: bool,
        lost: &mut Vec<Loss>,
    ) -> Option<OwnedValue> {
        match self {
            Self::Text(sequence) => {
                let now = text::shown(now).unwrap_or_default();
                let edit = place(sequence, write)?;
                let edit = match write.cell {
                    // What it deletes of the unknown beyond the end is nothing.
                    Cell::Value(_) => edit.clipped(count(now.as_bytes())),
                    _ => edit,
                };
                let text = edit.apply(now)?;
                Some(if text.is_empty() && null_if_empty {
                    OwnedValue::Null
                } else {
                    OwnedValue::Text(text.into_bytes())
                })
            }
            Self::Doc(merge) => {
                let mut value = document(now);
                if value.is_none() && now != Value::Null {
                    return None;
                }
                let change = change_of(write.cell)?;
                merge.integrate(&edited(write, &change), &mut value, lost);
                Some(value_of(value))
            }
        }
    }

    /// As [`State::integrate`], of a merge's answer.
    #[must_use]
    pub fn settle<'a>(
        &mut self,
        write: &Wrote<'a, '_>,
        placed: &Placed<'a>,
        now: Value<'_>,
        lost: &mut Vec<Loss>,
    ) -> Option<OwnedValue> {
        let write = Wrote {
            event: write.event,
            cell: placed.cell,
        };
        self.integrate(&write, now, placed.null_if_empty, lost)
    }

    /// Forgets what everybody has seen who may still write.
    pub fn collapse(&mut self, stable: &VersionVector) {
        match self {
            Self::Text(sequence) => sequence.collapse(stable),
            Self::Doc(merge) => merge.collapse(stable),
        }
    }

    /// Whether everything in it was forgotten.
    #[must_use]
    pub fn is_trivial(&self) -> bool {
        match self {
            Self::Text(sequence) => sequence.is_trivial(),
            Self::Doc(merge) => merge.is_trivial(),
        }
    }

    /// Appends the encoded form.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Text(sequence) => sequence.encode(out),
            Self::Doc(merge) => merge.encode(out),
        }
    }

    /// Reads what [`State::encode`] wrote; `None` if columns of this type need no state.
    ///
    /// # Errors
    /// Malformed or beyond the bounds.
    pub fn decode(kind: ColumnType, bytes: &[u8]) -> Result<Option<Self>, DecodeError> {
        match kind {
            ColumnType::TextDoc => Sequence::decode(bytes).map(|s| Some(Self::Text(s))),
            ColumnType::Doc => Merge::decode(bytes).map(|m| Some(Self::Doc(m))),
            _ => Ok(None),
        }
    }
}

/// A write of a document with its place in the causal order.
fn edited<'e>(write: &'e Wrote<'_, '_>, change: &'e Change) -> Edited<'e> {
    Edited {
        dot: write.event.dot,
        stamp: write.event.stamp,
        seen: write.event.seen,
        change,
    }
}

/// Gives a write its place; answers the edit of the present text.
fn place(sequence: &mut Sequence, write: &Wrote<'_, '_>) -> Option<TextDelta> {
    let (dot, seen) = (write.event.dot, write.event.seen);
    match write.cell {
        Cell::Text(bytes) => {
            let edit = TextDelta::decode(bytes).ok()?;
            let answer = sequence.integrate(dot, seen, &edit.delta)?;
            Some(edit.placed(answer))
        }
        Cell::Value(value) => {
            let new = text::shown(value).unwrap_or_default();
            let answer = sequence.assign(dot, seen, count(new.as_bytes()), content(new));
            let edit = TextDelta {
                delta: Delta::new(),
                inserted: new.to_owned(),
            };
            Some(edit.placed(answer))
        }
        _ => None,
    }
}

/// Names a text: of those that several assign at the same time, equal ones count once.
fn content(text: &str) -> [u8; 16] {
    let hash = blake3::hash(text.as_bytes());
    let mut name = [0; 16];
    name.copy_from_slice(hash.as_bytes().get(..16).unwrap_or(&[0; 16]));
    name
}
