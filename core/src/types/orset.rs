//! ORSET: an observed-remove set of JSON values, shown as a JSON array, sorted, each element
//! once. NULL means that there is no set.
//!
//! An UPDATE ships the elements that it added and removed. An element is there while some live
//! add of it is seen by no remove of it: an add wins over a concurrent remove. The column is
//! NULL while it has no element and every write of the frontier left NULL. Elements are equal
//! if their canonical forms are ([`crate::json`]): 1 and 1.0 are two.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;

use crate::codec::{Reader, put_sized, put_varint};
use crate::error::DecodeError;
use crate::json;
use crate::limits;
use crate::merge::Event;
use crate::row::Cell;
use crate::sorted;
use crate::types::{Unfit, Wrote, null_if_empty};
use crate::value::{OwnedValue, Value};

/// The elements of a set, in order, each in its canonical form.
#[derive(Debug, Clone, Default)]
pub struct Set {
    bytes: Vec<u8>,
    places: Vec<Range<usize>>,
}

impl Set {
    /// Reads a JSON array, in any order and with repetitions.
    ///
    /// # Errors
    /// Not a JSON array.
    pub fn parse(text: &[u8]) -> Result<Self, json::Invalid> {
        let json::Elements { bytes, mut places } = json::elements(text)?;
        let element = |place: &Range<usize>| bytes.get(place.clone()).unwrap_or_default();
        let is_sorted = places.windows(2).all(|pair| match pair {
            [a, b] => json::compare(element(a), element(b)) == Ordering::Less,
            _ => true,
        });
        if !is_sorted {
            sorted::by(&mut places, |a, b| json::compare(element(a), element(b)));
            places.dedup_by(|a, b| element(a) == element(b));
        }
        Ok(Self { bytes, places })
    }

    /// The set that a stored value shows; empty for NULL and for what is no set.
    #[must_use]
    pub fn of(value: Value<'_>) -> Self {
        match value {
            Value::Text(text) => Self::parse(text).unwrap_or_default(),
            _ => Self::default(),
        }
    }

    /// The elements, ascending.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.places
            .iter()
            .map(|place| self.bytes.get(place.clone()).unwrap_or_default())
    }
}

/// The column's text for elements in order.
fn text<'e>(elements: impl Iterator<Item = &'e [u8]>) -> Vec<u8> {
    let mut out = vec![b'['];
    for (n, element) in elements.enumerate() {
        if n > 0 {
            out.push(b',');
        }
        out.extend_from_slice(element);
    }
    out.push(b']');
    out
}

/// The form in which the column stores a value; `None` if it is that already.
///
/// # Errors
/// It is neither NULL nor a JSON array.
pub fn stored(value: Value<'_>) -> Result<Option<OwnedValue>, Unfit> {
    match value {
        Value::Null => Ok(None),
        Value::Text(written) => {
            let set = Set::parse(written).map_err(|invalid| invalid.to_string())?;
            let text = text(set.iter());
            Ok((text != written).then_some(OwnedValue::Text(text)))
        }
        _ => Err("a set is written as a JSON array, such as '[\"a\",\"b\"]', or NULL".into()),
    }
}

/// Whether a value is exactly what a set column stores.
#[must_use]
pub fn is_stored(value: Value<'_>) -> bool {
    matches!(stored(value), Ok(None))
}

/// The elements of both; NULL only if both are.
#[must_use]
pub fn union(a: Value<'_>, b: Value<'_>) -> OwnedValue {
    let sets = [Set::of(a), Set::of(b)];
    let mut elements: Vec<&[u8]> = sets.iter().flat_map(Set::iter).collect();
    sorted::by(&mut elements, |a, b| json::compare(a, b));
    elements.dedup();
    shown(elements.into_iter(), a == Value::Null && b == Value::Null)
}

/// Appends what an UPDATE ships; answers `false` if the two sets are the same.
///
/// # Errors
/// The new value is no set.
pub fn diff(old: Value<'_>, new: Value<'_>, out: &mut Vec<u8>) -> Result<bool, Unfit> {
    let after = match new {
        Value::Null => Set::default(),
        Value::Text(text) => Set::parse(text).map_err(|invalid| invalid.to_string())?,
        _ => return stored(new).map(|_| false),
    };
    let before = Set::of(old);
    let (mut added, mut removed) = (Vec::new(), Vec::new());
    let (mut left, mut right) = (before.iter().peekable(), after.iter().peekable());
    loop {
        let order = match (left.peek(), right.peek()) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => json::compare(a, b),
        };
        if order == Ordering::Equal {
            left.next();
            right.next();
        } else if order == Ordering::Less {
            removed.extend(left.next());
        } else {
            added.extend(right.next());
        }
    }
    let leaves_null = new == Value::Null;
    if added.is_empty() && removed.is_empty() && leaves_null == (old == Value::Null) {
        return Ok(false);
    }
    encode(leaves_null, &added, &removed, out);
    Ok(true)
}

/// Appends the cell of an edit. The lists are ascending and have nothing in common.
pub fn encode(leaves_null: bool, added: &[&[u8]], removed: &[&[u8]], out: &mut Vec<u8>) {
    out.push(Cell::SET);
    out.push(u8::from(leaves_null));
    for list in [added, removed] {
        put_varint(out, list.len() as u64);
        for element in list {
            put_sized(out, element);
        }
    }
}

/// What an UPDATE did to a set: a view of its encoded form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edit<'a> {
    leaves_null: bool,
    added: List<'a>,
    removed: List<'a>,
}

/// Elements of an edit, ascending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct List<'a> {
    count: usize,
    bytes: &'a [u8],
}

impl<'a> List<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let count = reader.length("elements of a set", limits::VALUE_BYTES)?;
        let start = reader.rest();
        let mut previous: Option<&[u8]> = None;
        for _ in 0..count {
            let element = reader.sized("an element of a set", limits::VALUE_BYTES)?;
            if previous.is_some_and(|p| json::compare(p, element) != Ordering::Less) {
                return Err(DecodeError::Invalid("elements of a set out of order"));
            }
            previous = Some(element);
        }
        let length = start.len() - reader.rest().len();
        Ok(Self {
            count,
            bytes: start.get(..length).unwrap_or_default(),
        })
    }

    fn iter(self) -> impl Iterator<Item = &'a [u8]> {
        let mut reader = Reader::new(self.bytes);
        // Read once already, by `read`.
        std::iter::from_fn(move || reader.sized("an element", limits::VALUE_BYTES).ok())
            .take(self.count)
    }
}

impl<'a> Edit<'a> {
    /// Reads an edit whose tag was read.
    ///
    /// # Errors
    /// Malformed, or elements out of order, or added and removed at once.
    pub fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let leaves_null = match reader.byte("an edit of a set")? {
            0 => false,
            1 => true,
            _ => return Err(DecodeError::Unknown("an edit of a set of this kind")),
        };
        let edit = Self {
            leaves_null,
            added: List::read(reader)?,
            removed: List::read(reader)?,
        };
        if leaves_null && edit.added.count > 0 {
            return Err(DecodeError::Invalid("elements added to no set"));
        }
        let mut removed = edit.removed.iter().peekable();
        for added in edit.added.iter() {
            while removed
                .next_if(|r| json::compare(r, added) == Ordering::Less)
                .is_some()
            {}
            if removed.peek() == Some(&added) {
                return Err(DecodeError::Invalid("an element added and removed"));
            }
        }
        Ok(edit)
    }

    /// Appends the encoded form.
    pub fn encode(self, out: &mut Vec<u8>) {
        out.push(Cell::SET);
        out.push(u8::from(self.leaves_null));
        for list in [self.added, self.removed] {
            put_varint(out, list.count as u64);
            out.extend_from_slice(list.bytes);
        }
    }

    /// Whether every element is JSON in its canonical form.
    #[must_use]
    pub fn is_canonical(self) -> bool {
        self.added
            .iter()
            .chain(self.removed.iter())
            .all(|element| json::canonical(element).is_ok_and(|canonical| canonical == element))
    }

    /// The elements added, ascending.
    pub fn added(self) -> impl Iterator<Item = &'a [u8]> {
        self.added.iter()
    }

    /// The elements removed, ascending.
    pub fn removed(self) -> impl Iterator<Item = &'a [u8]> {
        self.removed.iter()
    }

    /// Whether its author saw NULL afterwards.
    #[must_use]
    pub fn leaves_null(self) -> bool {
        self.leaves_null
    }
}

/// An edit that owns its elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedEdit {
    leaves_null: bool,
    added: (usize, Vec<u8>),
    removed: (usize, Vec<u8>),
}

impl OwnedEdit {
    /// Borrows it.
    #[must_use]
    pub fn as_ref(&self) -> Edit<'_> {
        Edit {
            leaves_null: self.leaves_null,
            added: List {
                count: self.added.0,
                bytes: &self.added.1,
            },
            removed: List {
                count: self.removed.0,
                bytes: &self.removed.1,
            },
        }
    }
}

impl From<Edit<'_>> for OwnedEdit {
    fn from(edit: Edit<'_>) -> Self {
        let list = |list: List<'_>| (list.count, list.bytes.to_vec());
        Self {
            leaves_null: edit.leaves_null,
            added: list(edit.added),
            removed: list(edit.removed),
        }
    }
}

/// The net effect of several edits of one cell by one transaction. The order in which they
/// are added does not matter: additions and removals of an element alternate, so that their
/// sum is what they amount to.
#[derive(Debug, Clone, Default)]
pub struct Net {
    elements: BTreeMap<Vec<u8>, i32>,
}

impl Net {
    /// Adds an edit.
    pub fn add(&mut self, edit: Edit<'_>) {
        edit.added().for_each(|element| self.count(element, 1));
        edit.removed().for_each(|element| self.count(element, -1));
    }

    /// Adds the replacement of one value by another.
    pub fn replace(&mut self, old: Value<'_>, new: Value<'_>) {
        Set::of(new)
            .iter()
            .for_each(|element| self.count(element, 1));
        Set::of(old)
            .iter()
            .for_each(|element| self.count(element, -1));
    }

    /// Adds another net effect.
    pub fn join(&mut self, other: &Self) {
        for (element, count) in &other.elements {
            self.count(element, *count);
        }
    }

    fn count(&mut self, element: &[u8], by: i32) {
        *self.elements.entry(element.to_vec()).or_insert(0) += by;
    }

    /// Appends the cell; `now` is the value as it stands.
    pub fn encode(&self, now: Value<'_>, out: &mut Vec<u8>) {
        let with = |wanted: fn(&i32) -> bool| {
            let mut list: Vec<&[u8]> = self
                .elements
                .iter()
                .filter(|(_, count)| wanted(count))
                .map(|(element, _)| element.as_slice())
                .collect();
            sorted::by(&mut list, |a, b| json::compare(a, b));
            list
        };
        let (added, removed) = (with(|n| *n > 0), with(|n| *n < 0));
        encode(now == Value::Null, &added, &removed, out);
    }
}

/// What a merge does to the set that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step<'a> {
    edit: Edit<'a>,
    /// Elements that the edit removed, and a concurrent add keeps; ascending.
    kept: Vec<&'a [u8]>,
    /// Whether an empty set is shown as NULL.
    null_if_empty: bool,
}

impl<'a> Step<'a> {
    /// All that an edit did.
    #[must_use]
    pub fn all_of(edit: Edit<'a>) -> Self {
        Self {
            edit,
            kept: Vec::new(),
            null_if_empty: edit.leaves_null,
        }
    }

    /// The column's value after this step.
    #[must_use]
    pub fn apply(&self, now: Value<'_>) -> OwnedValue {
        let before = Set::of(now);
        let mut kept = self.kept.iter().copied().peekable();
        let mut gone = self
            .edit
            .removed()
            .filter(move |element| kept.next_if_eq(element).is_none())
            .peekable();
        let mut stays = before
            .iter()
            .filter(|element| {
                while gone
                    .next_if(|g| json::compare(g, element) == Ordering::Less)
                    .is_some()
                {}
                gone.peek() != Some(element)
            })
            .peekable();
        let mut added = self.edit.added().peekable();
        let mut after: Vec<&[u8]> = Vec::with_capacity(before.places.len() + 1);
        loop {
            let order = match (stays.peek(), added.peek()) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(a), Some(b)) => json::compare(a, b),
            };
            if order == Ordering::Equal {
                added.next();
            } else if order == Ordering::Less {
                after.extend(stays.next());
            } else {
                after.extend(added.next());
            }
        }
        shown(after.into_iter(), self.null_if_empty)
    }
}

fn shown<'e>(elements: impl Iterator<Item = &'e [u8]>, null_if_empty: bool) -> OwnedValue {
    let mut elements = elements.peekable();
    if null_if_empty && elements.peek().is_none() {
        return OwnedValue::Null;
    }
    OwnedValue::Text(text(elements))
}

/// The step that an edit makes on a set, among live concurrent writes.
pub(crate) fn merge_edit<'a>(mine: Wrote<'a, '_>, others: &[Wrote<'a, '_>]) -> super::Write<'a> {
    let Cell::Set(edit) = mine.cell else {
        return super::Write::of(mine.cell);
    };
    let removed: HashSet<&[u8]> = edit.removed().collect();
    let standing = if removed.is_empty() {
        HashSet::new()
    } else {
        standing(others, |element| removed.contains(element))
    };
    super::Write::Set(Step {
        edit,
        kept: edit
            .removed()
            .filter(|element| standing.contains(*element))
            .collect(),
        null_if_empty: null_if_empty(Some(&mine), others),
    })
}

/// The set of a new life.
pub(crate) fn merge_life(mine: Option<Wrote<'_, '_>>, others: &[Wrote<'_, '_>]) -> OwnedValue {
    let null = null_if_empty(mine.as_ref(), others);
    let own = mine.map_or_else(Set::default, |mine| Set::of(mine.value()));
    let standing = standing(others, |_| true);
    let mut elements: Vec<&[u8]> = own.iter().collect();
    elements.extend(standing.iter().map(Vec::as_slice));
    sorted::by(&mut elements, |a, b| json::compare(a, b));
    elements.dedup();
    shown(elements.into_iter(), null)
}

/// The wanted elements of which some add is seen by no remove.
fn standing(others: &[Wrote<'_, '_>], is_wanted: impl Fn(&[u8]) -> bool) -> HashSet<Vec<u8>> {
    let mut removes: HashMap<&[u8], Vec<&Event<'_>>> = HashMap::new();
    for write in others {
        if let Cell::Set(edit) = write.cell {
            for element in edit.removed().filter(|element| is_wanted(element)) {
                removes.entry(element).or_default().push(write.event);
            }
        }
    }
    let mut standing = HashSet::new();
    let mut add = |element: &[u8], by: &Event<'_>| {
        let is_seen = removes
            .get(element)
            .is_some_and(|removes| removes.iter().any(|remove| remove.saw(by)));
        if !is_seen && is_wanted(element) && !standing.contains(element) {
            standing.insert(element.to_vec());
        }
    };
    for write in others {
        match write.cell {
            Cell::Set(edit) => edit.added().for_each(|element| add(element, write.event)),
            Cell::Value(value) => {
                let set = Set::of(value);
                set.iter().for_each(|element| add(element, write.event));
            }
            Cell::Add(_) | Cell::Text(_) | Cell::Doc(_) => {}
        }
    }
    standing
}
