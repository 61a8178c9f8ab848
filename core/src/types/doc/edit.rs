//! An edit of a document: a tree of changes that follows the document's own.
//!
//! A key of an object, or an element of a list by its place in its author's version, leads to
//! what happened there. An edit has one encoding:
//!
//! ```text
//! 00  SET     sized JSON in the canonical form: a scalar or everything below
//! 01  REMOVE  of a key
//! 02  ADD     signed: what was added to a counter, not 0
//! 03  MAP     varint n from 1, n x (sized key without its quotes, change), ascending
//! 04  LIST    varint n, n x (varint kept, varint deleted, varint m, m x sized JSON),
//!             varint n, n x (varint step, change): elements inserted and deleted, and changes
//!             of elements by their place before, the first from 0, then from the one before
//! ```

use std::collections::BTreeMap;

use crate::codec::{Reader, put_signed, put_sized, put_varint};
use crate::error::DecodeError;
use crate::limits;
use crate::types::sequence::Delta;

use super::document::{DEPTH, Json};

pub(super) const SET: u8 = 0;
const REMOVE: u8 = 1;
const ADD: u8 = 2;
pub(super) const MAP: u8 = 3;
const LIST: u8 = 4;

/// What happened at one place of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It became this.
    Set(Json),
    /// The key went.
    Remove,
    /// This was added to the counter.
    Add(i128),
    /// Changes of members, by key as it is written; at least one.
    Map(BTreeMap<String, Change>),
    /// Changes of a list.
    List(ListChange),
}

/// What happened to a list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListChange {
    /// Where elements were inserted and deleted.
    pub delta: Delta,
    /// All that were inserted, one place after the other.
    pub inserted: Vec<Json>,
    /// Changes of elements that stay, by their place before.
    pub inside: BTreeMap<u64, Change>,
}

impl Change {
    /// Does it to the value that is there; `None` answers that nothing is there afterwards.
    ///
    /// # Errors
    /// [`Unfit`]: the value is not of the kind that was changed.
    pub fn apply(&self, value: Option<Json>) -> Result<Option<Json>, Unfit> {
        match (self, value) {
            (Self::Set(new), _) => Ok(Some(new.clone())),
            (Self::Remove, _) => Ok(None),
            (Self::Add(n), value) => {
                let now = value.as_ref().map_or(Some(0), Json::integer).ok_or(Unfit)?;
                Ok(Some(Json::Scalar(added(now, *n).to_string())))
            }
            (Self::Map(changes), Some(Json::Object(mut members))) => {
                for (key, change) in changes {
                    if let Some(new) = change.apply(members.remove(key))? {
                        members.insert(key.clone(), new);
                    }
                }
                Ok(Some(Json::Object(members)))
            }
            (Self::List(list), Some(Json::Array(elements))) => list
                .apply(elements)
                .map(|elements| Some(Json::Array(elements))),
            _ => Err(Unfit),
        }
    }

    /// Appends the encoded form.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Set(value) => {
                out.push(SET);
                put_sized(out, value.to_string().as_bytes());
            }
            Self::Remove => out.push(REMOVE),
            Self::Add(n) => {
                out.push(ADD);
                put_signed(out, *n);
            }
            Self::Map(changes) => {
                out.push(MAP);
                put_varint(out, changes.len() as u64);
                for (key, change) in changes {
                    let bare = key.strip_prefix('"').and_then(|k| k.strip_suffix('"'));
                    put_sized(out, bare.unwrap_or(key).as_bytes());
                    change.encode(out);
                }
            }
            Self::List(list) => {
                out.push(LIST);
                list.encode(out);
            }
        }
    }

    /// Reads what [`Change::encode`] wrote.
    ///
    /// # Errors
    /// Malformed, beyond the bounds, or not in its one form.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let change = read_change(&mut reader, 0)?;
        reader.end("an edit of a document")?;
        if change == Self::Remove {
            return Err(DecodeError::Invalid("a document without a value"));
        }
        Ok(change)
    }
}

/// Sums of counters inside documents wrap at 64 bits, so that no order of arrival matters.
#[allow(clippy::cast_possible_truncation)]
pub(super) fn added(now: i64, n: i128) -> i64 {
    now.wrapping_add(n as i64)
}

/// Whether it writes something, and so keeps alive what it is in.
pub(super) fn writes(change: &Change) -> bool {
    match change {
        Change::Set(_) | Change::Add(_) => true,
        Change::Remove => false,
        Change::Map(changes) => changes.values().any(writes),
        Change::List(list) => list.delta.inserted() > 0 || list.inside.values().any(writes),
    }
}

/// The value is not what the edit was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unfit;

impl ListChange {
    fn apply(&self, elements: Vec<Json>) -> Result<Vec<Json>, Unfit> {
        if self.delta.needs() > elements.len() as u64 {
            return Err(Unfit);
        }
        let mut inside = self.inside.iter().peekable();
        let mut changed = Vec::with_capacity(elements.len());
        for (place, element) in (0u64..).zip(elements) {
            changed.push(match inside.next_if(|(at, _)| **at == place) {
                None => element,
                Some((_, change)) => change.apply(Some(element))?.ok_or(Unfit)?,
            });
        }
        if inside.next().is_some() {
            return Err(Unfit);
        }
        let mut out = Vec::with_capacity(changed.len() + self.inserted.len());
        let mut rest = changed.into_iter();
        let mut inserted = self.inserted.iter();
        let count = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        for edit in self.delta.edits() {
            out.extend(rest.by_ref().take(count(edit.keep)));
            out.extend(inserted.by_ref().take(count(edit.insert)).cloned());
            rest.by_ref().take(count(edit.delete)).for_each(drop);
        }
        out.extend(rest);
        Ok(out)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let mut inserted = self.inserted.iter();
        put_varint(out, self.delta.edits().len() as u64);
        for edit in self.delta.edits() {
            put_varint(out, edit.keep);
            put_varint(out, edit.delete);
            put_varint(out, edit.insert);
            for _ in 0..edit.insert {
                let value = inserted.next().map(Json::to_string).unwrap_or_default();
                put_sized(out, value.as_bytes());
            }
        }
        put_varint(out, self.inside.len() as u64);
        let mut previous = 0;
        for (place, change) in &self.inside {
            put_varint(out, place - previous);
            change.encode(out);
            previous = *place;
        }
    }
}

// Not inlined, nor is the next: edits nest deeply, and every level would carry what they need.
#[inline(never)]
fn read_json(reader: &mut Reader<'_>, depth: usize) -> Result<Json, DecodeError> {
    let value = Json::parse(reader.text("a JSON value", limits::VALUE_BYTES)?)
        .map_err(|_| DecodeError::Invalid("a value that is no canonical JSON"))?;
    if depth + nesting(&value) > DEPTH {
        return Err(DecodeError::Invalid("a document nested too deeply"));
    }
    Ok(value)
}

/// Arrays and objects inside each other.
fn nesting(value: &Json) -> usize {
    match value {
        Json::Scalar(_) => 0,
        Json::Array(elements) => 1 + elements.iter().map(nesting).max().unwrap_or(0),
        Json::Object(members) => 1 + members.values().map(nesting).max().unwrap_or(0),
    }
}

fn read_change(reader: &mut Reader<'_>, depth: usize) -> Result<Change, DecodeError> {
    if depth > DEPTH {
        return Err(DecodeError::Invalid("an edit nested too deeply"));
    }
    match reader.byte("a change")? {
        SET => read_json(reader, depth).map(Change::Set),
        REMOVE => Ok(Change::Remove),
        ADD => match reader.signed("a difference")? {
            0 => Err(DecodeError::Invalid("a difference of 0")),
            n if n.unsigned_abs() > u128::from(limits::DIFFERENCE) => {
                Err(DecodeError::Invalid("a difference beyond 64 bits"))
            }
            n => Ok(Change::Add(n)),
        },
        MAP => read_map(reader, depth),
        LIST => read_list(reader, depth).map(Change::List),
        _ => Err(DecodeError::Unknown("a change of this kind")),
    }
}

#[inline(never)]
fn read_key(reader: &mut Reader<'_>) -> Result<String, DecodeError> {
    let key = format!("\"{}\"", reader.text("a key", limits::VALUE_BYTES)?);
    match Json::parse(&key) {
        Ok(Json::Scalar(_)) => Ok(key),
        _ => Err(DecodeError::Invalid("a key that is no canonical JSON")),
    }
}

fn read_map(reader: &mut Reader<'_>, depth: usize) -> Result<Change, DecodeError> {
    let count = reader.length("changed keys", limits::VALUE_BYTES)?;
    if count == 0 {
        return Err(DecodeError::Invalid("an edit that does nothing"));
    }
    let mut changes: BTreeMap<String, Change> = BTreeMap::new();
    for _ in 0..count {
        let key = read_key(reader)?;
        if changes
            .last_key_value()
            .is_some_and(|(last, _)| *last >= key)
        {
            return Err(DecodeError::Invalid("keys that do not ascend"));
        }
        changes.insert(key, read_change(reader, depth + 1)?);
    }
    Ok(Change::Map(changes))
}

fn read_list(reader: &mut Reader<'_>, depth: usize) -> Result<ListChange, DecodeError> {
    const LIMIT: u64 = limits::VALUE_BYTES as u64;
    let mut list = ListChange::default();
    let places = reader.length("places", limits::VALUE_BYTES)?;
    // Where deleted elements lie: no change is inside one.
    let mut deleted = Vec::new();
    let mut at = 0u64;
    for place in 0..places {
        let keep = reader.bounded("kept elements", LIMIT)?;
        let delete = reader.bounded("deleted elements", LIMIT)?;
        let insert = reader.length("inserted elements", limits::VALUE_BYTES)?;
        if (keep == 0 && place > 0) || (delete == 0 && insert == 0) {
            return Err(DecodeError::Invalid("a place that is none"));
        }
        list.delta.keep(keep);
        list.delta.insert(insert as u64);
        list.delta.delete(delete);
        for _ in 0..insert {
            list.inserted.push(read_json(reader, depth + 1)?);
        }
        at = at.saturating_add(keep);
        deleted.push(at..at.saturating_add(delete));
        at = at.saturating_add(delete);
    }
    let changes = reader.length("changed elements", limits::VALUE_BYTES)?;
    if places == 0 && changes == 0 {
        return Err(DecodeError::Invalid("an edit that does nothing"));
    }
    let mut element = 0u64;
    for n in 0..changes {
        let step = reader.bounded("an element", LIMIT)?;
        if n > 0 && step == 0 {
            return Err(DecodeError::Invalid("an element changed twice"));
        }
        element = element.saturating_add(step);
        let after = deleted.partition_point(|range| range.end <= element);
        if deleted
            .get(after)
            .is_some_and(|range| range.contains(&element))
        {
            return Err(DecodeError::Invalid("a change of a deleted element"));
        }
        match read_change(reader, depth + 1)? {
            Change::Remove => return Err(DecodeError::Invalid("a key that is an element")),
            change => list.inside.insert(element, change),
        };
    }
    Ok(list)
}
