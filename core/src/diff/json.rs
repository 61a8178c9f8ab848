//! The edit between two documents.
//!
//! Objects are compared key by key. Lists are matched by equal elements, so that what is
//! inserted at the front is one insertion; what is left between two matches is matched by the
//! elements' name where a rule gives one, otherwise in order as far as elements are alike, and is
//! then an edit inside an element. An element that moved is deleted and inserted. The
//! work is bounded in steps; what exceeds them becomes longer, not wrong.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use crate::sorted;
use crate::types::doc::document::Json;
use crate::types::doc::edit::{Change, ListChange};
use crate::types::doc::rules::{Rules, Step};
use crate::types::sequence::Delta;

use super::longest::common;
use super::narrow::{self, Into, Part};

/// Bytes by which an edit may be longer than the new value: an append to a short list is, and
/// merges with another one only as an edit.
const SLACK_BYTES: usize = 64;

/// Bytes of an element's name that cost as much as a step.
const NAME_BYTES: u64 = 64;

/// Steps that are enough for any document that a person wrote.
const STEPS: u64 = 200_000;

/// Bytes that differ beyond which nobody looks for what is equal in them: it would take hundreds
/// of megabytes.
const COMPARED_BYTES: usize = 8 << 20;

/// What was done to the document `old` to make it `new`, both canonical; `None` if nothing.
#[must_use]
pub fn between(old: &str, new: &str, rules: &Rules) -> Option<Change> {
    found(old, new, rules).map(|(change, _)| change)
}

/// The same, encoded.
#[must_use]
pub fn encoded(old: &str, new: &str, rules: &Rules) -> Option<Vec<u8>> {
    let (change, measured) = found(old, new, rules)?;
    Some(measured.unwrap_or_else(|| bytes_of(&change)))
}

fn bytes_of(change: &Change) -> Vec<u8> {
    let mut bytes = Vec::new();
    change.encode(&mut bytes);
    bytes
}

/// The change, and what it is encoded, if that had to be known.
fn found(old: &str, new: &str, rules: &Rules) -> Option<(Change, Option<Vec<u8>>)> {
    if old == new {
        return None;
    }
    let named =
        |way: &[Into<'_>]| !rules.identities.is_empty() && rules.identity(&steps_of(way)).is_some();
    let change = match narrow::place(old, new, named) {
        Some(place) => within(&place, rules),
        None if old.len() + new.len() > COMPARED_BYTES => None,
        None => {
            let change = diff(&parsed(old)?, &parsed(new)?, rules, STEPS)?;
            return Some((change, None));
        }
    };
    let whole = || parsed(new).map(|new| (Change::Set(new), None));
    match change {
        Some(change) => {
            let bytes = bytes_of(&change);
            if bytes.len() <= new.len() + SLACK_BYTES || counts(&change) {
                Some((change, Some(bytes)))
            } else {
                whole()
            }
        }
        None => whole(),
    }
}

fn parsed(text: &str) -> Option<Json> {
    Json::of_canonical(text)
}

fn steps_of<'t>(way: &[Into<'t>]) -> Vec<Step<'t>> {
    let steps = way.iter().map(|step| match step {
        Into::Member(key) => Step::Key(key),
        Into::Element(_) => Step::Element,
    });
    steps.collect()
}

/// The change of a document that differs in one place. `None`: the whole is to be set.
fn within(place: &narrow::Place<'_>, rules: &Rules) -> Option<Change> {
    let bytes = |parts: &[Part<'_>]| parts.iter().map(|(_, value)| value.len()).sum::<usize>();
    let is_large = bytes(&place.old) + bytes(&place.new) > COMPARED_BYTES;
    let trees = |parts: &[Part<'_>]| -> Option<Vec<Json>> {
        parts.iter().map(|(_, value)| parsed(value)).collect()
    };
    let change = if place.is_object {
        members_between(place, rules, is_large)?
    } else if is_large {
        return None;
    } else {
        let (old, new) = (trees(&place.old)?, trees(&place.new)?);
        let mut differ = Differ {
            rules,
            place: steps_of(&place.way),
            steps: STEPS,
        };
        differ.elements(&old, &new, place.before)?
    };
    let inner_to_outer = place.way.iter().rev();
    Some(inner_to_outer.fold(change, |change, step| match step {
        Into::Member(key) => Change::Map(BTreeMap::from([((*key).to_owned(), change)])),
        Into::Element(index) => Change::List(ListChange {
            inside: BTreeMap::from([(*index, change)]),
            ..ListChange::default()
        }),
    }))
}

fn members_between(place: &narrow::Place<'_>, rules: &Rules, is_large: bool) -> Option<Change> {
    let old: BTreeMap<&str, &str> = sorted::map(place.old.iter().copied());
    let new: BTreeMap<&str, &str> = sorted::map(place.new.iter().copied());
    let mut changes = BTreeMap::new();
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        changes.insert((*key).to_owned(), Change::Remove);
    }
    for (key, value) in new {
        let change = match old.get(key) {
            Some(before) if *before == value => continue,
            Some(before) if !is_large => {
                let (before, value) = (parsed(before)?, parsed(value)?);
                let mut steps = steps_of(&place.way);
                steps.push(Step::Key(key));
                let mut differ = Differ {
                    rules,
                    place: steps,
                    steps: STEPS,
                };
                differ.change(&before, &value)?
            }
            _ => Change::Set(parsed(value)?),
        };
        changes.insert(key.to_owned(), change);
    }
    (!changes.is_empty()).then_some(Change::Map(changes))
}

/// What was done to `old` to make it `new`, found within about `steps`; `None` if nothing. Where
/// hardly anything is left of the old value, the edit is the new one.
#[must_use]
pub fn diff(old: &Json, new: &Json, rules: &Rules, steps: u64) -> Option<Change> {
    let mut differ = Differ {
        rules,
        place: Vec::new(),
        steps,
    };
    let change = differ.change(old, new)?;
    let whole = Change::Set(new.clone());
    if counts(&change) || bytes_of(&change).len() <= bytes_of(&whole).len() + SLACK_BYTES {
        Some(change)
    } else {
        Some(whole)
    }
}

/// Pairs of elements that are the same one in both lists at `place`, ascending on both sides.
pub(crate) fn pairs<'d>(
    old: &'d [Json],
    new: &'d [Json],
    rules: &'d Rules,
    place: &[Step<'d>],
) -> Vec<(usize, usize)> {
    let mut differ = Differ {
        rules,
        place: place.to_vec(),
        steps: STEPS,
    };
    differ.matched(old, new)
}

/// A counter's difference says more than its value, however long it is.
fn counts(change: &Change) -> bool {
    match change {
        Change::Set(_) | Change::Remove => false,
        Change::Add(_) => true,
        Change::Map(changes) => changes.values().any(counts),
        Change::List(list) => list.inside.values().any(counts),
    }
}

struct Differ<'d> {
    rules: &'d Rules,
    place: Vec<Step<'d>>,
    steps: u64,
}

impl<'d> Differ<'d> {
    fn change(&mut self, old: &'d Json, new: &'d Json) -> Option<Change> {
        match (old, new) {
            (Json::Object(old), Json::Object(new)) => self.members(old, new),
            (Json::Array(old), Json::Array(new)) => self.elements(old, new, 0),
            _ if old == new => None,
            _ => Some(self.scalar(old, new)),
        }
    }

    fn scalar(&self, old: &Json, new: &Json) -> Change {
        if self.rules.counts(&self.place)
            && let (Some(from), Some(to)) = (old.integer(), new.integer())
            && from != to
        {
            return Change::Add(i128::from(to) - i128::from(from));
        }
        Change::Set(new.clone())
    }

    fn members(
        &mut self,
        old: &'d BTreeMap<String, Json>,
        new: &'d BTreeMap<String, Json>,
    ) -> Option<Change> {
        let mut changes = BTreeMap::new();
        for key in old.keys().filter(|key| !new.contains_key(*key)) {
            changes.insert(key.clone(), Change::Remove);
        }
        for (key, value) in new {
            let change = match old.get(key) {
                None => Some(Change::Set(value.clone())),
                Some(before) => {
                    self.place.push(Step::Key(key));
                    let change = self.change(before, value);
                    self.place.pop();
                    change
                }
            };
            if let Some(change) = change {
                changes.insert(key.clone(), change);
            }
        }
        (!changes.is_empty()).then_some(Change::Map(changes))
    }

    /// `before`: how many equal elements stand before these.
    fn elements(&mut self, old: &'d [Json], new: &'d [Json], before: u64) -> Option<Change> {
        let matches = self.matched(old, new);
        let mut delta = Delta::new();
        delta.keep(before);
        let mut list = ListChange::default();
        let (mut at_old, mut at_new) = (0, 0);
        let end = (old.len(), new.len());
        for (in_old, in_new) in matches.into_iter().chain([end]) {
            let inserted = new.get(at_new..in_new).unwrap_or_default();
            delta.insert(inserted.len() as u64);
            list.inserted.extend_from_slice(inserted);
            delta.delete((in_old - at_old) as u64);
            if let (Some(was), Some(is)) = (old.get(in_old), new.get(in_new)) {
                delta.keep(1);
                self.place.push(Step::Element);
                if let Some(change) = self.change(was, is) {
                    list.inside.insert(before + in_old as u64, change);
                }
                self.place.pop();
            }
            (at_old, at_new) = (in_old + 1, in_new + 1);
        }
        list.delta = delta.end();
        (!list.delta.is_empty() || !list.inside.is_empty()).then_some(Change::List(list))
    }

    /// Pairs of elements that are the same one, ascending on both sides.
    fn matched(&mut self, old: &[Json], new: &[Json]) -> Vec<(usize, usize)> {
        let identity = self.rules.identity(&self.place);
        let name = |element: &Json| -> String {
            let named = identity.as_ref().and_then(|key| match element {
                Json::Object(members) => members.get(key),
                _ => None,
            });
            named.unwrap_or(element).to_string()
        };
        let same = old.iter().zip(new).take_while(|(a, b)| a == b).count();
        let mut pairs: Vec<(usize, usize)> = (0..same).map(|n| (n, n)).collect();
        let old_rest = old.get(same..).unwrap_or_default();
        let new_rest = new.get(same..).unwrap_or_default();
        let mut numbers: HashMap<String, u32> = HashMap::new();
        let mut left = self.steps;
        let mut number = |element: &Json| {
            // Lists in lists are named once for each that they are in.
            let name = if left == 0 {
                String::new()
            } else {
                name(element)
            };
            left = left.saturating_sub(1 + name.len() as u64 / NAME_BYTES);
            let next = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
            *numbers.entry(name).or_insert(next)
        };
        let old_names: Vec<u32> = old_rest.iter().map(&mut number).collect();
        let new_names: Vec<u32> = new_rest.iter().map(&mut number).collect();
        self.steps = left;
        let blocks = if left == 0 {
            Vec::new()
        } else {
            common(&old_names, &new_names, &mut self.steps).unwrap_or_default()
        };
        let (mut at_old, mut at_new) = (0, 0);
        let end = (old_names.len(), new_names.len(), 0);
        for (in_old, in_new, len) in blocks.iter().map(|b| (b.old, b.new, b.len)).chain([end]) {
            if identity.is_none() {
                let gap = alike_in_order(old_rest, at_old..in_old, new_rest, at_new..in_new);
                pairs.extend(gap.into_iter().map(|(o, n)| (o + same, n + same)));
            }
            pairs.extend((0..len).map(|n| (in_old + n + same, in_new + n + same)));
            (at_old, at_new) = (in_old + len, in_new + len);
        }
        pairs
    }
}

/// Pairs elements of two stretches, in order. If they are equally long, each has its
/// counterpart; otherwise the next one that is alike is taken.
fn alike_in_order(
    old: &[Json],
    in_old: Range<usize>,
    new: &[Json],
    in_new: Range<usize>,
) -> Vec<(usize, usize)> {
    /// How far ahead a counterpart is looked for.
    const AHEAD: usize = 32;
    if in_old.len() == in_new.len() {
        return in_old.zip(in_new).collect();
    }
    let mut pairs = Vec::new();
    let mut next = in_new.start;
    for o in in_old {
        let ahead = next..in_new.end.min(next + AHEAD);
        let found = ahead.into_iter().find(|n| match (old.get(o), new.get(*n)) {
            (Some(a), Some(b)) => are_alike(a, b),
            _ => false,
        });
        if let Some(n) = found {
            pairs.push((o, n));
            next = n + 1;
        }
    }
    pairs
}

/// Two objects of which at least half of the members are equal.
fn are_alike(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Object(a), Json::Object(b)) => {
            let equal = a
                .iter()
                .filter(|(key, value)| b.get(*key) == Some(value))
                .count();
            equal > 0 && equal * 2 >= a.len().max(b.len())
        }
        _ => false,
    }
}
