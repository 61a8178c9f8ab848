//! The definition: every write that was ever made, at a path of keys and elements that never
//! changes, and for each the edits that reset or kill it. What a replica shows are the writes of
//! its edits that none of its edits resets or kills.

use std::collections::BTreeMap;

use nuda_core::types::doc::document::Json;
use nuda_core::types::doc::edit::{Change, ListChange};

use crate::sequence::{Model as Order, Name, Set};

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Elem {
    Key(String),
    Item(usize),
}

type Path = Vec<Elem>;

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Integer(i64),
    Scalar(String),
    Add(i64),
    Object,
    Array,
}

impl What {
    fn contradicts(&self, other: &Self) -> bool {
        use What::{Add, Array, Integer, Object};
        !matches!(
            (self, other),
            (Object, Object)
                | (Array, Array)
                | (Add(_), Add(_) | Integer(_))
                | (Integer(_), Add(_))
        )
    }
}

#[derive(Debug)]
struct Write {
    path: Path,
    what: What,
    edit: usize,
    /// Edits that reset or kill it.
    doom: Set,
}

#[derive(Debug)]
struct Made {
    saw: Set,
    /// The last strong edit known, its own included; stamp; site.
    rank: (u64, u64, u64),
}

/// Everything that was ever done.
#[derive(Debug, Default)]
pub(crate) struct Model {
    made: Vec<Made>,
    writes: Vec<Write>,
    lists: BTreeMap<Path, Order>,
    /// Who inserted an element, by number.
    items: Vec<usize>,
}

fn letter(item: usize) -> char {
    char::from_u32(0x1_0000 + u32::try_from(item).unwrap()).unwrap()
}

fn item(letter: char) -> usize {
    letter as usize - 0x1_0000
}

impl Model {
    /// Records what the next edit did.
    pub(crate) fn record(&mut self, saw: Set, rank: (u64, u64, u64), change: &Change) {
        self.made.push(Made { saw, rank });
        let start = self.writes.len();
        self.change(&Vec::new(), change);
        for new in start..self.writes.len() {
            for old in 0..start {
                self.fight(old, new);
            }
        }
    }

    fn now(&self) -> usize {
        self.made.len() - 1
    }

    fn saw(&self) -> Set {
        self.made[self.now()].saw
    }

    /// Two writes of different edits: one may kill the other.
    fn fight(&mut self, old: usize, new: usize) {
        let (a, b) = (&self.writes[old], &self.writes[new]);
        if a.edit == b.edit || self.made[b.edit].saw & 1 << a.edit != 0 {
            return;
        }
        let new_wins = self.made[b.edit].rank > self.made[a.edit].rank;
        let (winner, loser) = if new_wins { (b, a) } else { (a, b) };
        if !loser.path.starts_with(&winner.path) {
            return;
        }
        let kind = match loser.path.get(winner.path.len()) {
            None => loser.what.clone(),
            Some(Elem::Key(_)) => What::Object,
            Some(Elem::Item(_)) => What::Array,
        };
        if !winner.what.contradicts(&kind) {
            return;
        }
        let by = winner.edit;
        let depth = winner.path.len();
        let dead = if new_wins { old } else { new };
        let loser = &mut self.writes[dead];
        loser.doom |= 1 << by;
        // An element goes with what it was inserted as, if that died above it.
        if let Some((Elem::Item(item), list)) = loser.path.split_last()
            && self.items[*item] == loser.edit
            && depth <= list.len()
        {
            let order = self.lists.get_mut(list).expect("an element's list");
            order.delete_letter(letter(*item), by);
        }
    }

    fn write(&mut self, path: &Path, what: What) {
        let edit = self.now();
        self.writes.push(Write {
            path: path.clone(),
            what,
            edit,
            doom: 0,
        });
    }

    fn change(&mut self, path: &Path, change: &Change) {
        match change {
            Change::Set(value) => {
                self.reset(path);
                self.place(path, value);
            }
            Change::Remove => self.reset(path),
            Change::Add(n) => self.write(path, What::Add(i64::try_from(*n).unwrap())),
            Change::Map(changes) => {
                if writes(change) {
                    self.write(path, What::Object);
                }
                for (key, change) in changes {
                    let mut inner = path.clone();
                    inner.push(Elem::Key(key.clone()));
                    self.change(&inner, change);
                }
            }
            Change::List(list) => {
                if writes(change) {
                    self.write(path, What::Array);
                }
                self.list(path, list);
            }
        }
    }

    fn reset(&mut self, path: &Path) {
        let (saw, edit) = (self.saw(), self.now());
        for write in &mut self.writes {
            if write.path.starts_with(path) && saw & 1 << write.edit != 0 {
                write.doom |= 1 << edit;
            }
        }
        for (list, order) in &mut self.lists {
            if list.starts_with(path) {
                order.delete_all(saw, edit);
            }
        }
    }

    fn place(&mut self, path: &Path, value: &Json) {
        match value {
            Json::Scalar(text) => self.write(
                path,
                value
                    .integer()
                    .map_or_else(|| What::Scalar(text.clone()), What::Integer),
            ),
            Json::Object(members) => {
                self.write(path, What::Object);
                for (key, value) in members {
                    let mut inner = path.clone();
                    inner.push(Elem::Key(key.clone()));
                    self.place(&inner, value);
                }
            }
            Json::Array(elements) => {
                self.write(path, What::Array);
                self.insert(path, 0, elements);
            }
        }
    }

    fn insert(&mut self, path: &Path, at: usize, elements: &[Json]) {
        let (saw, edit) = (self.saw(), self.now());
        let name = Name::Site(self.made[edit].rank.2);
        let first = self.items.len();
        self.items.extend(elements.iter().map(|_| edit));
        let letters: String = (first..self.items.len()).map(letter).collect();
        let order = self.lists.entry(path.clone()).or_default();
        order.insert(saw, edit, &name, at, &letters);
        for (n, value) in elements.iter().enumerate() {
            let mut inner = path.clone();
            inner.push(Elem::Item(first + n));
            self.place(&inner, value);
        }
    }

    fn list(&mut self, path: &Path, list: &ListChange) {
        let (saw, edit) = (self.saw(), self.now());
        let order = self.lists.entry(path.clone()).or_default();
        let before: Vec<usize> = order.text(saw).chars().map(item).collect();
        for (index, change) in &list.inside {
            let mut inner = path.clone();
            inner.push(Elem::Item(before[usize::try_from(*index).unwrap()]));
            self.change(&inner, change);
        }
        let mut inserted = list.inserted.as_slice();
        let mut at = 0;
        let mut doomed = Vec::new();
        for place in list.delta.edits() {
            at += usize::try_from(place.keep).unwrap();
            let count = usize::try_from(place.insert).unwrap();
            let (here, rest) = inserted.split_at(count);
            self.insert(path, at, here);
            inserted = rest;
            at += count;
            let deleted = usize::try_from(place.delete).unwrap();
            doomed.extend(at..at + deleted);
            at += deleted;
        }
        let order = self.lists.get_mut(path).unwrap();
        for position in doomed.into_iter().rev() {
            order.delete(saw | 1 << edit, edit, position);
        }
    }

    /// What a replica with these edits shows.
    pub(crate) fn value(&self, set: Set) -> Option<Json> {
        self.at(&Vec::new(), set)
    }

    fn at(&self, path: &Path, set: Set) -> Option<Json> {
        let live: Vec<&Write> = self
            .writes
            .iter()
            .filter(|w| set & 1 << w.edit != 0 && w.doom & set == 0)
            .filter(|w| w.path.starts_with(path))
            .collect();
        let here: Vec<&What> = live
            .iter()
            .filter(|w| w.path.len() == path.len())
            .map(|w| &w.what)
            .collect();
        for (n, a) in here.iter().enumerate() {
            for b in &here[n + 1..] {
                assert!(!a.contradicts(b), "{a:?} beside {b:?} at {path:?}");
            }
        }
        match here.first()? {
            What::Scalar(text) => Some(Json::Scalar(text.clone())),
            What::Integer(_) | What::Add(_) => {
                let sum = here.iter().fold(0i64, |sum, what| match what {
                    What::Integer(n) | What::Add(n) => sum.wrapping_add(*n),
                    _ => sum,
                });
                Some(Json::Scalar(sum.to_string()))
            }
            What::Object => {
                let mut members = BTreeMap::new();
                for write in &live {
                    if let Some(Elem::Key(key)) = write.path.get(path.len())
                        && !members.contains_key(key)
                    {
                        let mut inner = path.clone();
                        inner.push(Elem::Key(key.clone()));
                        if let Some(value) = self.at(&inner, set) {
                            members.insert(key.clone(), value);
                        }
                    }
                }
                Some(Json::Object(members))
            }
            What::Array => {
                let order = self.lists.get(path);
                let shown = order.map(|order| order.text(set)).unwrap_or_default();
                let elements = shown.chars().map(|letter| {
                    let mut inner = path.clone();
                    inner.push(Elem::Item(item(letter)));
                    self.at(&inner, set).expect("an element has a value")
                });
                Some(Json::Array(elements.collect()))
            }
        }
    }
}

fn writes(change: &Change) -> bool {
    match change {
        Change::Set(_) | Change::Add(_) => true,
        Change::Remove => false,
        Change::Map(changes) => changes.values().any(writes),
        Change::List(list) => !list.inserted.is_empty() || list.inside.values().any(writes),
    }
}
