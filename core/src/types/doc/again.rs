//! Edits of a document made again on another one than they were made of.
//!
//! That is needed when a replica is re-seeded (see [`crate::types::rebase`] for texts): what it
//! alone had written is written again, on what the others made of the document meanwhile. Keys name
//! the same place in any version. Elements of lists do not: those that were changed are found by
//! their name or by comparing, and what was inserted goes behind the element that it stood behind.
//! What they had is known after the edits only, so a scalar that was removed is removed again, but
//! not an object, a list or an element: it cannot be told what others wrote in it meanwhile.

use std::collections::{BTreeMap, HashMap};

use crate::diff::json::pairs;
use crate::row::Cell;
use crate::value::{OwnedValue, Value};

use super::column::{change_of, document, value_of};
use super::document::Json;
use super::edit::{Change, ListChange, added, writes};
use super::rules::{Rules, Step};

/// The document `here` after these writes, in their order, were made again; `after` is the document
/// that their author had then.
#[must_use]
pub fn again(cells: &[Cell<'_>], after: Value<'_>, here: Value<'_>, rules: &Rules) -> OwnedValue {
    let changes: Vec<Change> = cells.iter().filter_map(|cell| change_of(*cell)).collect();
    let after = match document(after) {
        // The row is gone there: the document is what the edits say, as far as they do.
        None if !changes.is_empty() => replayed(&changes),
        after => after,
    };
    let changes: Vec<&Change> = changes.iter().collect();
    let mut redo = Redo {
        rules,
        place: Vec::new(),
    };
    value_of(redo.change(&changes, after.as_ref(), document(here)))
}

/// What the last whole document and the edits after it amount to.
fn replayed(changes: &[Change]) -> Option<Json> {
    let start = changes
        .iter()
        .rposition(|change| matches!(change, Change::Set(_) | Change::Remove))?;
    let rest = changes.get(start..)?;
    rest.iter().fold(None, |document, change| {
        let unchanged = document.clone();
        change.apply(document).unwrap_or(unchanged)
    })
}

struct Redo<'r> {
    rules: &'r Rules,
    place: Vec<Step<'r>>,
}

impl<'r> Redo<'r> {
    fn change(
        &mut self,
        changes: &[&'r Change],
        after: Option<&Json>,
        now: Option<Json>,
    ) -> Option<Json> {
        let is_whole = |change: &&Change| matches!(change, Change::Set(_) | Change::Remove);
        if changes.iter().any(is_whole) {
            return match (after, now) {
                (Some(after), now) => Some(joined(now, after)),
                (None, Some(Json::Scalar(_))) => None,
                (None, now) => now,
            };
        }
        let sum = changes
            .iter()
            .fold(None, |sum: Option<i64>, change| match change {
                Change::Add(n) => Some(added(sum.unwrap_or(0), *n)),
                _ => sum,
            });
        if let Some(sum) = sum {
            let count = now.as_ref().map_or(Some(0), Json::integer);
            return match count {
                Some(count) => Some(Json::Scalar(added(count, i128::from(sum)).to_string())),
                None => after.cloned().or(now),
            };
        }
        match (after, now) {
            (Some(Json::Object(after)), now) => self.members(changes, after, now),
            (Some(Json::Array(after)), now) => self.elements(changes, after, now),
            (_, now) => now,
        }
    }

    fn members(
        &mut self,
        changes: &[&'r Change],
        after: &BTreeMap<String, Json>,
        now: Option<Json>,
    ) -> Option<Json> {
        let mut members = match now {
            Some(Json::Object(members)) => members,
            now if !changes.iter().any(|change| writes(change)) => return now,
            _ => BTreeMap::new(),
        };
        let mut by_key: BTreeMap<&'r String, Vec<&'r Change>> = BTreeMap::new();
        for change in changes {
            if let Change::Map(changes) = change {
                for (key, change) in changes {
                    by_key.entry(key).or_default().push(change);
                }
            }
        }
        for (key, changes) in by_key {
            self.place.push(Step::Key(key));
            let now = members.remove(key);
            if let Some(value) = self.change(&changes, after.get(key), now) {
                members.insert(key.clone(), value);
            }
            self.place.pop();
        }
        Some(Json::Object(members))
    }

    fn elements(
        &mut self,
        changes: &[&'r Change],
        after: &[Json],
        now: Option<Json>,
    ) -> Option<Json> {
        let mut now = match now {
            Some(Json::Array(elements)) => elements,
            now if !changes.iter().any(|change| writes(change)) => return now,
            _ => Vec::new(),
        };
        let lists: Vec<&'r ListChange> = changes
            .iter()
            .filter_map(|change| match change {
                Change::List(list) => Some(list),
                _ => None,
            })
            .collect();
        let fates = fates(&lists, after);
        let known: Vec<usize> = (0..after.len())
            .filter(|n| !matches!(fates.get(*n), Some(Fate::Inserted)))
            .collect();
        let base: Vec<Json> = known
            .iter()
            .filter_map(|n| after.get(*n))
            .cloned()
            .collect();
        let mut here: Vec<Option<usize>> = vec![None; after.len()];
        for (in_base, in_now) in pairs(&base, &now, self.rules, &self.place) {
            if let Some(place) = known.get(in_base).and_then(|n| here.get_mut(*n)) {
                *place = Some(in_now);
            }
        }
        // What goes behind each element that is here, and before all of them.
        let mut behind: Vec<Vec<Json>> = vec![Vec::new(); now.len() + 1];
        let mut reached = 0;
        self.place.push(Step::Element);
        for ((element, fate), found) in after.iter().zip(fates).zip(here) {
            reached = found.map_or(reached, |at| at + 1);
            match (fate, found.and_then(|at| now.get_mut(at))) {
                (Fate::Kept, _) => {}
                (Fate::Changed(changes), Some(slot)) => {
                    let value = std::mem::replace(slot, Json::Array(Vec::new()));
                    let made = self.change(&changes, Some(element), Some(value));
                    *slot = made.unwrap_or_else(|| element.clone());
                }
                (Fate::Inserted | Fate::Changed(_), _) => {
                    if let Some(place) = behind.get_mut(reached) {
                        place.push(element.clone());
                    }
                }
            }
        }
        self.place.pop();
        let mut behind = behind.into_iter();
        let mut out = behind.next().unwrap_or_default();
        for (element, inserted) in now.into_iter().zip(behind) {
            out.push(element);
            out.extend(inserted);
        }
        Some(Json::Array(out))
    }
}

/// What became of an element that is there after all edits of its list.
enum Fate<'c> {
    Kept,
    Inserted,
    Changed(Vec<&'c Change>),
}

/// Follows each element back through the edits, the last one first.
fn fates<'c>(lists: &[&'c ListChange], after: &[Json]) -> Vec<Fate<'c>> {
    let mut fates: Vec<Fate<'c>> = after.iter().map(|_| Fate::Kept).collect();
    let mut places: Vec<Option<u64>> = (0..after.len() as u64).map(Some).collect();
    for list in lists.iter().rev() {
        for (fate, place) in fates.iter_mut().zip(&mut places) {
            let Some(at) = *place else { continue };
            *place = before(list, at);
            match place.and_then(|at| list.inside.get(&at)) {
                _ if place.is_none() => *fate = Fate::Inserted,
                None => {}
                Some(change) => match fate {
                    Fate::Changed(changes) => changes.insert(0, change),
                    _ => *fate = Fate::Changed(vec![change]),
                },
            }
        }
    }
    // Edits of others may have come between, so that places are off: what was inserted is known
    // by its value, too.
    let mut inserted = Counted::of(lists.iter().flat_map(|list| &list.inserted));
    for (fate, element) in fates.iter_mut().zip(after) {
        if inserted.take(element) {
            *fate = Fate::Inserted;
        }
    }
    fates
}

/// Elements, and how often each is there.
struct Counted(HashMap<String, usize>);

impl Counted {
    fn of<'j>(elements: impl Iterator<Item = &'j Json>) -> Self {
        let mut counts = HashMap::new();
        for element in elements {
            *counts.entry(element.to_string()).or_default() += 1;
        }
        Self(counts)
    }

    /// Takes one away; `false` if none is left.
    fn take(&mut self, element: &Json) -> bool {
        if self.0.is_empty() {
            return false;
        }
        match self.0.get_mut(&element.to_string()) {
            Some(count) if *count > 0 => {
                *count -= 1;
                true
            }
            _ => false,
        }
    }
}

/// Where an element was before an edit; `None` if that inserted it.
fn before(list: &ListChange, after: u64) -> Option<u64> {
    let (mut old, mut new) = (0u64, 0u64);
    for edit in list.delta.edits() {
        if after < new.saturating_add(edit.keep) {
            break;
        }
        old = old.saturating_add(edit.keep);
        new = new.saturating_add(edit.keep);
        if after < new.saturating_add(edit.insert) {
            return None;
        }
        new = new.saturating_add(edit.insert);
        old = old.saturating_add(edit.delete);
    }
    Some(old.saturating_add(after.saturating_sub(new)))
}

/// Both: what only `now` has stays, what is a scalar in `after` counts.
fn joined(now: Option<Json>, after: &Json) -> Json {
    match (now, after) {
        (Some(Json::Object(mut members)), Json::Object(after)) => {
            for (key, value) in after {
                let now = members.remove(key);
                members.insert(key.clone(), joined(now, value));
            }
            Json::Object(members)
        }
        (Some(Json::Array(mut elements)), Json::Array(after)) => {
            let mut there = Counted::of(elements.iter());
            let missing = after.iter().filter(|element| !there.take(element));
            elements.extend(missing.cloned());
            Json::Array(elements)
        }
        (_, after) => after.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diff::json::between;
    use crate::row::OwnedCell;

    /// What these versions' edits make of `here`.
    fn made(versions: &[&str], here: &str, rules: &str) -> String {
        let rules = if rules.is_empty() {
            Rules::default()
        } else {
            Rules::parse(rules).unwrap()
        };
        let cells: Vec<OwnedCell> = versions
            .windows(2)
            .map(|pair| {
                let mut bytes = Vec::new();
                between(pair[0], pair[1], &rules)
                    .unwrap()
                    .encode(&mut bytes);
                OwnedCell::Doc(bytes)
            })
            .collect();
        let cells: Vec<Cell<'_>> = cells.iter().map(OwnedCell::as_ref).collect();
        let last = versions.last().unwrap().as_bytes();
        let made = again(
            &cells,
            Value::Text(last),
            Value::Text(here.as_bytes()),
            &rules,
        );
        match made {
            OwnedValue::Text(text) => String::from_utf8(text).unwrap(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn keys_are_written_again_where_they_are() {
        let mine = [
            r#"{"a":1,"b":{"c":1}}"#,
            r#"{"a":2,"b":{"c":1,"d":2}}"#,
            r#"{"b":{"c":1,"d":3}}"#,
        ];
        assert_eq!(
            made(&mine, r#"{"a":1,"b":{"c":5,"x":1},"y":0}"#, ""),
            r#"{"b":{"c":5,"d":3,"x":1},"y":0}"#
        );
        // An object that was removed may hold what others wrote.
        assert_eq!(
            made(&[r#"{"a":{}}"#, "{}"], r#"{"a":{"b":1}}"#, ""),
            r#"{"a":{"b":1}}"#
        );
        assert_eq!(
            made(&[r#"{"a":{}}"#, r#"{"a":{"b":1}}"#], r#"{"a":7}"#, ""),
            r#"{"a":{"b":1}}"#
        );
    }

    #[test]
    fn additions_are_added() {
        let mine = [r#"{"n":1}"#, r#"{"n":5}"#, r#"{"n":4}"#];
        assert_eq!(made(&mine, r#"{"n":100}"#, "$.n counter"), r#"{"n":103}"#);
        assert_eq!(made(&mine, "{}", "$.n counter"), r#"{"n":3}"#);
    }

    #[test]
    fn elements_go_behind_what_they_stood_behind() {
        let mine = ["[1,2,3]", "[1,9,2,3]", "[1,9,2,8]"];
        assert_eq!(made(&mine, "[0,1,2,3,4]", ""), "[0,1,9,2,8,3,4]");
        assert_eq!(made(&["[]", "[1]"], "[2]", ""), "[1,2]");
        assert_eq!(made(&["[1]", "[1,2]"], "[1,3]", ""), "[1,2,3]");
        assert_eq!(
            made(
                &[
                    r#"[{"id":1,"n":1},{"id":2,"n":1}]"#,
                    r#"[{"id":1,"n":1},{"id":2,"n":7}]"#
                ],
                r#"[{"id":2,"m":3,"n":1}]"#,
                "$ key id"
            ),
            r#"[{"id":2,"m":3,"n":7}]"#
        );
    }
}
