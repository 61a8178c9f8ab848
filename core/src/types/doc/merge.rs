//! What concurrent edits of one document amount to.
//!
//! A [`Merge`] is kept, like a [`Sequence`], from the first edit of a cell that did not see
//! another one until all of them are stable, and is handled alike (see
//! [`crate::types::sequence`]): begin with [`Merge::new`], [`Merge::follow`] the logged chain,
//! then [`Merge::integrate`] the incoming edit, which changes the current value in place. While it
//! is kept, every edit goes through it, local ones late but in order by `follow`. It is
//! [collapsed](Merge::collapse) with the log, and dropped when [trivial](Merge::is_trivial). It
//! needs neither the document's history nor its length: it knows places and who wrote there.
//! A row's INSERT is a [`Change::Set`] of the whole document.
//!
//! The value is a function of the set of edits. An edit is a set of *writes*: a scalar, an
//! addition, or "here is an object (a list)" for every one that it set or wrote into. Setting or
//! removing a place resets all that the author saw there and below. A write is dead
//!
//! - if it was reset by an edit that saw it, or
//! - if a concurrent write at its place, or at a place above it, is of another kind there and
//!   of greater rank. Two scalars are of different kinds; a counter's additions are of the
//!   kind of integers.
//!
//! Greater is who knew a later strong edit of the document (a strong one counts itself), and among
//! equals who has the greater rank: a strong edit beats what had not seen it. As for plain
//! registers (`types/standing.rs`) this is a total order in which whatever an edit saw comes before
//! it. The strong edits are those of the document, not of the place: what is written at a place
//! is also written at all above it, and has one order at all of them.
//!
//! What is left never contradicts itself and is the value. Elements of lists are written
//! once, where they are inserted, and stand in the order of [`Sequence`]; to delete an element is
//! final, whatever happens inside it. What dies, stays dead: a write that lost does not return
//! when the winner is removed, so nothing hidden has to be kept.

use std::collections::BTreeMap;

use crate::hlc::Stamp;
use crate::merge::{Rank, Reason};
use crate::site::{Dot, Seq, Site};
use crate::types::sequence::{Delta, Sequence};
use crate::version_vector::VersionVector;

use super::document::Json;
use super::edit::{Change, ListChange, added, writes};
use super::loss::{Loss, Losses};

/// An edit with its place in the causal order.
#[derive(Debug, Clone, Copy)]
pub struct Edited<'a> {
    /// The changeset.
    pub dot: Dot,
    /// Its stamp.
    pub stamp: Stamp,
    /// What its author had seen of other sites.
    pub seen: &'a VersionVector,
    /// What he did.
    pub change: &'a Change,
}

/// The places of one document at which edits that are not stable were made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Merge {
    pub(super) root: Node,
    /// The edits that are not stable; also those that left no trace at any place.
    pub(super) edits: BTreeMap<Dot, Place>,
}

/// Where an edit is in the order of writes that contradict each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) stamp: Stamp,
    /// Up to where it knew the order of strong transactions, its own place included.
    pub(super) position: Seq,
}

/// What is written at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Integer(i64),
    Scalar,
    Add(i128),
    Object,
    Array,
}

impl Kind {
    fn of(value: &Json) -> Self {
        match value {
            Json::Object(_) => Self::Object,
            Json::Array(_) => Self::Array,
            Json::Scalar(_) => value.integer().map_or(Self::Scalar, Self::Integer),
        }
    }

    fn contradicts(self, other: Self) -> bool {
        !matches!(
            (self, other),
            (Self::Object, Self::Object)
                | (Self::Array, Self::Array)
                | (Self::Add(_), Self::Add(_) | Self::Integer(_))
                | (Self::Integer(_), Self::Add(_))
        )
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Write {
    pub(super) dot: Dot,
    pub(super) kind: Kind,
    pub(super) is_live: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) writes: Vec<Write>,
    /// Edits that reset this place.
    pub(super) resets: Vec<Dot>,
    pub(super) members: BTreeMap<String, Node>,
    pub(super) list: Option<List>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct List {
    pub(super) order: Sequence,
    /// By their number in `order`.
    pub(super) elements: BTreeMap<u64, Node>,
}

impl Merge {
    /// A document that everybody has seen.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether every edit in it is stable: the state may be dropped.
    #[must_use]
    pub fn is_trivial(&self) -> bool {
        self.edits.is_empty()
    }

    /// Takes in an edit that the current value shows already.
    pub fn follow(&mut self, edited: &Edited<'_>) {
        self.take_in(edited, &mut None, None);
    }

    /// Takes in an edit, and does to the current value what it amounts to there; `None` is no
    /// document. `lost` receives what was overruled, on either side.
    pub fn integrate(
        &mut self,
        edited: &Edited<'_>,
        value: &mut Option<Json>,
        lost: &mut Vec<Loss>,
    ) {
        self.take_in(edited, value, Some(lost));
    }

    fn take_in(
        &mut self,
        edited: &Edited<'_>,
        slot: &mut Option<Json>,
        lost: Option<&mut Vec<Loss>>,
    ) {
        let place = Place {
            stamp: edited.stamp,
            position: if edited.dot.site == Site::LOG_STRONG {
                edited.dot.seq
            } else {
                edited.seen.get(Site::LOG_STRONG)
            },
        };
        self.edits.insert(edited.dot, place);
        let mut step = Step {
            edited,
            shows: lost.is_some(),
            killers: Vec::new(),
            edits: &self.edits,
            resets: Vec::new(),
            losses: Losses::new(lost),
        };
        step.change(&mut self.root, edited.change, slot);
    }

    /// Forgets what everybody has seen; see [`Sequence::collapse`].
    pub fn collapse(&mut self, stable: &VersionVector) {
        self.root.collapse(stable);
        let stays = |dot: &Dot| !stable.contains(*dot);
        // Which of two edits is greater may depend on a strong one that only one of them knew.
        let staying = self.edits.iter().filter(|(dot, _)| stays(dot));
        let known = staying.map(|(_, place)| place.position).min();
        let decides =
            |dot: &Dot| dot.site == Site::LOG_STRONG && known.is_some_and(|known| dot.seq > known);
        self.edits.retain(|dot, _| stays(dot) || decides(dot));
    }

    /// Gives the edits of `from` after `last` to `to`, numbered from 1; see
    /// [`Sequence::renumber`].
    pub fn renumber(&mut self, from: Site, last: Seq, to: Site) {
        let moved = |dot: &mut Dot| {
            if dot.site == from && dot.seq > last {
                *dot = Dot {
                    site: to,
                    seq: dot.seq - last,
                };
            }
        };
        self.root.renumber(&moved, (from, last, to));
        let edits = std::mem::take(&mut self.edits);
        for (mut dot, place) in edits {
            moved(&mut dot);
            self.edits.insert(dot, place);
        }
    }
}

impl Node {
    fn is_empty(&self) -> bool {
        self.writes.is_empty()
            && self.resets.is_empty()
            && self.members.is_empty()
            && self.list.is_none()
    }

    fn renumber(&mut self, moved: &impl Fn(&mut Dot), (from, last, to): (Site, Seq, Site)) {
        self.writes
            .iter_mut()
            .for_each(|write| moved(&mut write.dot));
        self.resets.iter_mut().for_each(moved);
        for member in self.members.values_mut() {
            member.renumber(moved, (from, last, to));
        }
        if let Some(list) = &mut self.list {
            list.order.renumber(from, last, to);
            for element in list.elements.values_mut() {
                element.renumber(moved, (from, last, to));
            }
        }
    }

    /// What is alive here; an integer if there are additions to it, too.
    fn live(&self) -> Option<Kind> {
        let live = self.writes.iter().filter(|write| write.is_live);
        live.map(|write| write.kind)
            .max_by_key(|kind| !matches!(kind, Kind::Add(_)))
    }

    fn collapse(&mut self, stable: &VersionVector) {
        self.writes.retain(|write| !stable.contains(write.dot));
        self.resets.retain(|dot| !stable.contains(*dot));
        self.members.retain(|_, node| {
            node.collapse(stable);
            !node.is_empty()
        });
        let Some(list) = &mut self.list else { return };
        let numbers = list.order.collapse_numbered(stable);
        let elements = std::mem::take(&mut list.elements);
        for (id, mut node) in elements {
            node.collapse(stable);
            if let Some(now) = numbers.of(id).filter(|_| !node.is_empty()) {
                list.elements.insert(now, node);
            }
        }
        if list.order.is_trivial() && list.elements.is_empty() {
            self.list = None;
        }
    }
}

/// One edit on its way through the places.
struct Step<'a, 'e> {
    edited: &'e Edited<'a>,
    /// Whether the value is to be changed.
    shows: bool,
    /// Those who killed what is written at this place and below it.
    killers: Vec<Dot>,
    edits: &'e BTreeMap<Dot, Place>,
    /// The edits that reset this place or one above it.
    resets: Vec<Dot>,
    /// Where in the document this is, and what lost.
    losses: Losses<'e>,
}

impl Step<'_, '_> {
    fn saw(&self, dot: Dot) -> bool {
        dot.site == self.edited.dot.site || self.edited.seen.contains(dot)
    }

    fn change(&mut self, node: &mut Node, change: &Change, slot: &mut Option<Json>) {
        let resets = self.resets.len();
        self.resets.extend(&node.resets);
        let killers = self.killers.len();
        match change {
            Change::Set(value) => self.set(node, value, slot),
            Change::Remove => {
                node.resets.push(self.edited.dot);
                self.strip(node, slot);
            }
            Change::Add(n) => self.add(node, *n, slot),
            Change::Map(changes) => {
                if writes(change) {
                    self.write(node, Kind::Object, None, slot);
                    self.become_kind(slot, &Json::Object(BTreeMap::new()));
                }
                for (key, change) in changes {
                    let member = node.members.entry(key.clone()).or_default();
                    self.member(slot, key, |step, inner| step.change(member, change, inner));
                }
            }
            Change::List(list) => {
                if writes(change) {
                    self.write(node, Kind::Array, None, slot);
                    self.become_kind(slot, &Json::Array(Vec::new()));
                }
                self.list(node, list, slot);
            }
        }
        self.killers.truncate(killers);
        self.resets.truncate(resets);
    }

    /// Hands out the member of an object, if one is there and shown.
    fn member(
        &mut self,
        slot: &mut Option<Json>,
        key: &str,
        work: impl FnOnce(&mut Self, &mut Option<Json>),
    ) {
        let shows = self.shows;
        let outer = self.losses.enter_member(key);
        match slot {
            Some(Json::Object(members)) if shows && self.killers.is_empty() => {
                let mut inner = members.remove(key);
                work(self, &mut inner);
                if let Some(value) = inner {
                    members.insert(key.to_owned(), value);
                }
            }
            _ => {
                self.shows = false;
                work(self, &mut None);
            }
        }
        self.shows = shows;
        self.losses.leave(outer);
    }

    /// Makes sure that there is a container of the kind of `empty`.
    fn become_kind(&self, slot: &mut Option<Json>, empty: &Json) {
        let is_it = slot
            .as_ref()
            .is_some_and(|now| !Kind::of(now).contradicts(Kind::of(empty)));
        if self.is_shown() && !is_it {
            *slot = Some(empty.clone());
        }
    }

    fn is_shown(&self) -> bool {
        self.shows && self.killers.is_empty()
    }

    /// Records a write. Those of greater rank that contradict it kill it and all that is
    /// written below it; those of lesser rank die. `value` is what is written, if it is a scalar.
    fn write(
        &mut self,
        node: &mut Node,
        kind: Kind,
        value: Option<&Json>,
        slot: &mut Option<Json>,
    ) {
        for write in &node.writes {
            if !self.saw(write.dot) && write.kind.contradicts(kind) && self.yields_to(write.dot) {
                self.killers.push(write.dot);
            }
        }
        if let Some(value) = value.filter(|value| slot.as_ref() != Some(*value)) {
            self.lose(value, slot.as_ref());
        }
        if self.shows {
            self.beat(node, Some(kind), value, slot);
        } else {
            self.beat(node, Some(kind), value, &mut None);
        }
        node.writes.push(Write {
            dot: self.edited.dot,
            kind,
            is_live: self.killers.is_empty(),
        });
    }

    fn rank_of(&self, dot: Dot) -> Option<Rank> {
        let place = self.edits.get(&dot);
        place.map(|place| Rank {
            stamp: place.stamp,
            site: dot.site,
        })
    }

    /// Its place among edits that contradict each other; `None` if everybody has seen it.
    fn order_of(&self, dot: Dot) -> Option<(Seq, Rank)> {
        let position = self.edits.get(&dot)?.position;
        let strong = |seq| Dot {
            site: Site::LOG_STRONG,
            seq,
        };
        // Those that everybody has seen make no difference.
        let mut known = self.edits.range(strong(0)..=strong(position));
        let last = known.next_back().map_or(0, |(dot, _)| dot.seq);
        Some((last, self.rank_of(dot)?))
    }

    fn yields_to(&self, dot: Dot) -> bool {
        self.order_of(dot) > self.order_of(self.edited.dot)
    }

    fn beats(&self, dot: Dot) -> bool {
        let order = self.order_of(dot);
        !self.saw(dot) && order.is_some() && order < self.order_of(self.edited.dot)
    }

    /// Notes what this edit wrote here, if it lost; `kept` is what is here.
    fn lose(&mut self, value: &Json, kept: Option<&Json>) {
        let order = |dot: &&Dot| self.order_of(**dot);
        if let Some(winner) = self.killers.iter().max_by_key(order).copied() {
            self.note((value, kept), winner, self.edited.dot);
        }
    }

    fn note(&mut self, what: (&Json, Option<&Json>), winner: Dot, loser: Dot) {
        let (Some(won), Some(lost)) = (self.order_of(winner), self.order_of(loser)) else {
            return;
        };
        let reason = match won.0 == lost.0 {
            true => Reason::Later,
            false if winner.site == Site::LOG_STRONG => Reason::Strong,
            false => Reason::KnewStrong,
        };
        self.losses.note(what, (won.1, lost.1), reason);
    }

    /// What is of lesser rank and not seen dies: at this place if it contradicts `kind`, and all
    /// that is below a container of another kind. `by` is the scalar that is written here.
    fn beat(
        &mut self,
        node: &mut Node,
        kind: Option<Kind>,
        by: Option<&Json>,
        slot: &mut Option<Json>,
    ) {
        let mut best: Option<Dot> = None;
        for write in &mut node.writes {
            let contradicts = kind.is_none_or(|kind| write.kind.contradicts(kind));
            if write.is_live && contradicts && self.beats(write.dot) {
                write.is_live = false;
                let is_better = |best| self.order_of(best) < self.order_of(write.dot);
                if best.is_none_or(is_better) {
                    best = Some(write.dot);
                }
            }
        }
        if let (Some(loser), Some(value @ Json::Scalar(_))) = (best, &slot)
            && by != Some(value)
        {
            self.note((value, by), self.edited.dot, loser);
        }
        if kind != Some(Kind::Object) {
            let mut none = BTreeMap::new();
            let members = match slot {
                Some(Json::Object(members)) => members,
                _ => &mut none,
            };
            for (key, member) in &mut node.members {
                let mut inner = members.remove(key);
                let outer = self.losses.enter_member(key);
                self.beat(member, None, None, &mut inner);
                self.losses.leave(outer);
                if let Some(value) = inner {
                    members.insert(key.clone(), value);
                }
            }
        }
        if kind != Some(Kind::Array)
            && let Some(list) = &mut node.list
        {
            let by = self.edited.dot;
            let answer = list.order.kill_where(|dot| self.beats(dot), by);
            if let Some(Json::Array(elements)) = slot {
                let before = std::mem::take(elements);
                if let Some(loser) = best {
                    for element in deleted(&before, &answer) {
                        self.note((element, None), self.edited.dot, loser);
                    }
                }
                *elements = placed(before, &answer, &[]);
            }
        }
        if best.is_some() && slot.is_some() {
            *slot = match node.live() {
                None => None,
                Some(kind @ (Kind::Integer(_) | Kind::Add(_))) => Some(integer_of(node, kind)),
                Some(_) => slot.take(),
            };
        }
    }

    /// Takes away all that the author saw at this place and below it; leaves the rest.
    fn strip(&self, node: &mut Node, slot: &mut Option<Json>) {
        for write in &mut node.writes {
            if self.saw(write.dot) {
                write.is_live = false;
            }
        }
        let mut before = if self.shows { slot.take() } else { None };
        let mut left = BTreeMap::new();
        let mut members = match &mut before {
            Some(Json::Object(members)) => std::mem::take(members),
            _ => BTreeMap::new(),
        };
        for (key, member) in &mut node.members {
            let mut inner = members.remove(key);
            self.strip(member, &mut inner);
            if let Some(value) = inner {
                left.insert(key.clone(), value);
            }
        }
        let mut elements = match &mut before {
            Some(Json::Array(elements)) => std::mem::take(elements),
            _ => Vec::new(),
        };
        if let Some(list) = &mut node.list {
            let (dot, seen) = (self.edited.dot, self.edited.seen);
            let answer = list.order.assign(dot, seen, 0, [0; 16]);
            elements = placed(elements, &answer, &[]);
        } else {
            elements.clear();
        }
        if !self.shows {
            return;
        }
        *slot = match node.live() {
            None => None,
            Some(Kind::Scalar) => before,
            Some(kind @ (Kind::Integer(_) | Kind::Add(_))) => Some(integer_of(node, kind)),
            Some(Kind::Object) => Some(Json::Object(left)),
            Some(Kind::Array) => Some(Json::Array(elements)),
        };
    }

    fn set(&mut self, node: &mut Node, value: &Json, slot: &mut Option<Json>) {
        node.resets.push(self.edited.dot);
        self.resets.push(self.edited.dot);
        self.strip(node, slot);
        self.place(node, value, slot);
    }

    /// Writes a value and all that is in it.
    fn place(&mut self, node: &mut Node, value: &Json, slot: &mut Option<Json>) {
        let kind = Kind::of(value);
        let killers = self.killers.len();
        let scalar = Some(value).filter(|value| matches!(value, Json::Scalar(_)));
        self.write(node, kind, scalar, slot);
        let shows = self.is_shown();
        match value {
            Json::Scalar(_) if shows => {
                *slot = Some(match kind {
                    Kind::Integer(_) => integer_of(node, kind),
                    _ => value.clone(),
                });
            }
            Json::Scalar(_) => {}
            Json::Object(members) => {
                self.become_kind(slot, &Json::Object(BTreeMap::new()));
                for (key, value) in members {
                    let member = node.members.entry(key.clone()).or_default();
                    let resets = self.resets.len();
                    self.resets.extend(&member.resets);
                    self.member(slot, key, |step, inner| step.place(member, value, inner));
                    self.resets.truncate(resets);
                }
            }
            Json::Array(elements) => {
                self.become_kind(slot, &Json::Array(Vec::new()));
                let mut delta = Delta::new();
                delta.insert(elements.len() as u64);
                let list = ListChange {
                    delta: delta.end(),
                    inserted: elements.clone(),
                    inside: BTreeMap::new(),
                };
                self.list(node, &list, slot);
            }
        }
        self.killers.truncate(killers);
    }

    fn add(&mut self, node: &mut Node, n: i128, slot: &mut Option<Json>) {
        let difference = Json::Scalar(n.to_string());
        self.write(node, Kind::Add(n), Some(&difference), slot);
        if self.is_shown() {
            let now = slot.as_ref().and_then(Json::integer).unwrap_or(0);
            *slot = Some(Json::Scalar(added(now, n).to_string()));
        }
    }

    fn list(&mut self, node: &mut Node, change: &ListChange, slot: &mut Option<Json>) {
        let (dot, seen) = (self.edited.dot, self.edited.seen);
        let resets = &self.resets;
        let list = node.list.get_or_insert_with(|| List {
            order: base(resets),
            elements: BTreeMap::new(),
        });
        let shows = self.is_shown();
        let mut elements = match slot {
            Some(Json::Array(elements)) if shows => std::mem::take(elements),
            _ => Vec::new(),
        };
        // Inside an element only resets inside it count.
        let outer = std::mem::take(&mut self.resets);
        for (index, change) in &change.inside {
            let Some((id, position)) = list.order.locate(dot.site, seen, *index) else {
                continue;
            };
            let element = list.elements.entry(id).or_default();
            let place = position
                .and_then(|at| elements.get_mut(usize::try_from(at).ok()?))
                .filter(|_| shows);
            let was = self.shows;
            let outside = self.losses.enter_element(position.unwrap_or(*index));
            if let Some(place) = place {
                let mut inner = Some(std::mem::replace(place, Json::Array(Vec::new())));
                self.change(element, change, &mut inner);
                if let Some(value) = inner {
                    *place = value;
                }
            } else {
                self.shows = false;
                self.change(element, change, &mut None);
            }
            self.shows = was;
            self.losses.leave(outside);
        }
        self.resets = outer;
        for element in &change.inserted {
            self.lose(element, None);
        }
        let killers = &self.killers;
        let answer = list
            .order
            .integrate_killed(dot, seen, &change.delta, killers);
        if let Some(Json::Array(now)) = slot.as_mut().filter(|_| shows) {
            *now = placed(elements, &answer.unwrap_or_default(), &change.inserted);
        }
    }
}

/// The elements of a list that nobody has edited yet, as they stand after these resets.
fn base(resets: &[Dot]) -> Sequence {
    let mut order = Sequence::unknown();
    for dot in resets {
        order.reset(*dot);
    }
    order
}

/// An integer with all additions that are alive.
fn integer_of(node: &Node, kind: Kind) -> Json {
    let start = match kind {
        Kind::Integer(n) => n,
        _ => 0,
    };
    let live = node.writes.iter().filter(|write| write.is_live);
    let sum = live.fold(start, |sum, write| match write.kind {
        Kind::Add(n) => added(sum, n),
        _ => sum,
    });
    Json::Scalar(sum.to_string())
}

/// What an answer deletes of a list.
fn deleted<'j>(elements: &'j [Json], answer: &Delta) -> Vec<&'j Json> {
    let count = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    let mut rest = elements.iter();
    let mut out = Vec::new();
    for edit in answer.edits() {
        rest.by_ref().take(count(edit.keep)).for_each(drop);
        out.extend(rest.by_ref().take(count(edit.delete)));
    }
    out
}

/// Does an answer to a list; what it deletes beyond the end is not there.
fn placed(elements: Vec<Json>, answer: &Delta, inserted: &[Json]) -> Vec<Json> {
    let count = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    let mut rest = elements.into_iter();
    let mut inserted = inserted.iter();
    let mut out = Vec::new();
    for edit in answer.edits() {
        out.extend(rest.by_ref().take(count(edit.keep)));
        out.extend(inserted.by_ref().take(count(edit.insert)).cloned());
        rest.by_ref().take(count(edit.delete)).for_each(drop);
    }
    out.extend(rest);
    out
}
