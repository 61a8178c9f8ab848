//! The step from one state to the next: an edit, read as its author saw the sequence.
//!
//! One walk over the runs, left to right. What the author saw is counted, what he did not see is
//! passed over; what is visible now goes into the answer. An insertion belongs between the
//! element that its author saw on its left (the last visible one) and the next one that he knew
//! of (deleted or not). The runs between these two, all unknown to him, form the *gap*; where in
//! the gap, only their origins and sites decide.

use crate::site::{Dot, Site};
use crate::sorted;
use crate::version_vector::VersionVector;

use super::Sequence;
use super::delta::Delta;
use super::run::{Author, Dots, Origin, Run, View};

/// Runs beyond which a state is worth compacting.
const COMPACT: usize = 32;

impl Sequence {
    /// Takes in the edit `delta` of the changeset `dot`, whose author had `seen` this of
    /// others. Answers what it amounts to against the current value; the inserted elements
    /// keep their order. `None`, and nothing happens, if it does not fit the author's version.
    pub fn integrate(&mut self, dot: Dot, seen: &VersionVector, delta: &Delta) -> Option<Delta> {
        self.integrate_killed(dot, seen, delta, &[])
    }

    /// As [`Sequence::integrate`]; what it inserts is deleted at once by `killers`.
    pub(crate) fn integrate_killed(
        &mut self,
        dot: Dot,
        seen: &VersionVector,
        delta: &Delta,
        killers: &[Dot],
    ) -> Option<Delta> {
        let view = View::of(dot.site, seen);
        if delta.needs() > self.visible_to(&view) {
            return None;
        }
        let mut walk = Walk::begin(self, dot, view);
        walk.killers = killers.iter().copied().map(Dots::one).collect();
        sorted::ascending(&mut walk.killers);
        walk.killers.dedup();
        for edit in delta.edits() {
            walk.keep(edit.keep);
            if edit.insert > 0 {
                walk.insert(edit.insert, Author::Typed(Dots::one(dot)));
            }
            walk.delete(edit.delete);
        }
        Some(walk.end())
    }

    /// Takes in an assignment: deletes all that its author saw, and inserts `length` elements at
    /// the beginning. `key` names their content: of concurrent assignments of the same content
    /// the elements count once, and the answer to a later one then inserts nothing.
    pub fn assign(&mut self, dot: Dot, seen: &VersionVector, length: u64, key: [u8; 16]) -> Delta {
        let mut walk = Walk::begin(self, dot, View::of(dot.site, seen));
        if length > 0 {
            let dots = vec![dot];
            walk.insert(length, Author::Shared { key, dots });
        }
        walk.delete(u64::MAX);
        walk.end()
    }

    /// Deletes what was inserted by `doomed` changesets, whether the author of `by` saw it
    /// or not. Answers what is no longer visible.
    pub(crate) fn kill_where(&mut self, doomed: impl Fn(Dot) -> bool, by: Dot) -> Delta {
        let mut answer = Delta::new();
        let mut at = 0;
        while let Some(run) = self.runs.get(at) {
            let dots = match run.author {
                Author::Typed(dots) => Some(dots),
                _ => None,
            };
            if dots.is_some_and(|dots| dots.step != 0) {
                self.split(at, 1);
            }
            let is_doomed = dots.is_some_and(|dots| {
                doomed(Dot {
                    site: dots.site,
                    seq: dots.seq,
                })
            });
            if let Some(run) = self.runs.get_mut(at) {
                let was_visible = run.is_visible();
                if is_doomed {
                    run.delete(by);
                    self.edits.raise(by.site, by.seq);
                }
                match (was_visible, is_doomed) {
                    (true, true) => answer.delete(run.len),
                    (true, false) => answer.keep(run.len),
                    _ => {}
                }
            }
            at += 1;
        }
        answer.end()
    }

    /// Deletes everything by `dot`, too: what an edit did to a list that nobody had edited.
    pub(crate) fn reset(&mut self, dot: Dot) {
        for run in &mut self.runs {
            run.delete(dot);
        }
        self.edits.raise(dot.site, dot.seq);
    }

    /// The element that the author of a changeset of `site` saw at `index`, and where it stands
    /// in the current value, if it does.
    pub(crate) fn locate(
        &mut self,
        site: Site,
        seen: &VersionVector,
        index: u64,
    ) -> Option<(u64, Option<u64>)> {
        let view = View::of(site, seen);
        let (mut at, mut left, mut visible) = (0, index, 0u64);
        loop {
            self.settle(at, &view);
            let run = self.runs.get(at)?;
            let shows = view.shows(run);
            if shows && left < run.len {
                let position = run.is_visible().then_some(visible + left);
                return Some((run.id + left, position));
            }
            left -= if shows { run.len } else { 0 };
            visible += if run.is_visible() { run.len } else { 0 };
            at += 1;
        }
    }

    fn visible_to(&self, view: &View<'_>) -> u64 {
        let mut sum = 0u64;
        for run in &self.runs {
            let mut len = view.uniform(run);
            if len == run.len {
                sum = sum.saturating_add(if view.shows(run) { len } else { 0 });
                continue;
            }
            let mut rest = run.clone();
            while rest.len > 0 {
                let tail = rest.split_off(len);
                sum = sum.saturating_add(if view.shows(&rest) { len } else { 0 });
                rest = tail;
                len = view.uniform(&rest);
            }
        }
        sum
    }

    /// Cuts the run so that it looks the same from end to end.
    pub(super) fn settle(&mut self, at: usize, view: &View<'_>) {
        if let Some(len) = self.runs.get(at).map(|run| view.uniform(run)) {
            self.split(at, len);
        }
    }

    /// Cuts the run after its first `len` elements, if it has more.
    fn split(&mut self, at: usize, len: u64) {
        let tail = match self.runs.get_mut(at) {
            Some(run) if len > 0 && len < run.len => run.split_off(len),
            _ => return,
        };
        self.runs.insert(at + 1, tail);
    }

    /// Joins what nothing tells apart.
    pub(super) fn compact(&mut self) {
        self.runs.dedup_by(|next, run| run.absorb(next));
        self.compacted = self.runs.len();
    }
}

struct Walk<'s, 'v> {
    state: &'s mut Sequence,
    dot: Dot,
    view: View<'v>,
    // The next run to look at.
    at: usize,
    left: Origin,
    // Delete what is inserted.
    killers: Vec<Dots>,
    answer: Delta,
}

impl<'s, 'v> Walk<'s, 'v> {
    fn begin(state: &'s mut Sequence, dot: Dot, view: View<'v>) -> Self {
        Self {
            state,
            dot,
            view,
            at: 0,
            left: None,
            killers: Vec::new(),
            answer: Delta::new(),
        }
    }

    fn end(self) -> Delta {
        self.state.edits.raise(self.dot.site, self.dot.seq);
        for dots in &self.killers {
            self.state.edits.raise(dots.site, dots.seq);
        }
        if self.state.runs.len() > self.state.compacted.saturating_mul(2).max(COMPACT) {
            self.state.compact();
        }
        self.answer.end()
    }

    fn keep(&mut self, n: u64) {
        let mut rest = n;
        while rest > 0 {
            let Some(taken) = self.next(rest) else { return };
            if let Some(run) = self.state.runs.get(self.at).filter(|_| taken > 0) {
                self.left = Some(run.last_id());
            }
            self.pass();
            rest -= taken;
        }
    }

    fn delete(&mut self, n: u64) {
        let mut rest = n;
        while rest > 0 {
            let Some(taken) = self.next(rest) else { return };
            if taken == 0 {
                self.pass();
                continue;
            }
            if let Some(run) = self.state.runs.get_mut(self.at) {
                if run.is_visible() {
                    self.answer.delete(run.len);
                }
                run.delete(self.dot);
            }
            self.at += 1;
            rest -= taken;
        }
    }

    /// Makes the next run one that the author saw, of at most `most` elements, and answers
    /// their number; 0 if he did not see it. `None` at the end.
    fn next(&mut self, most: u64) -> Option<u64> {
        self.state.settle(self.at, &self.view);
        let run = self.state.runs.get(self.at)?;
        if !self.view.shows(run) {
            return Some(0);
        }
        let taken = run.len.min(most);
        self.state.split(self.at, taken);
        Some(taken)
    }

    /// Goes on to the next run.
    fn pass(&mut self) {
        if let Some(run) = self.state.runs.get(self.at) {
            if run.is_visible() {
                self.answer.keep(run.len);
            }
            self.at += 1;
        }
    }

    fn insert(&mut self, len: u64, author: Author) {
        let (end, right) = self.gap();
        if let Author::Shared { key, .. } = &author
            && self.join(end, right, *key)
        {
            while self.at < end {
                self.pass();
            }
            return;
        }
        let place = self.place(end, right, &tie(&author));
        while self.at < place {
            self.pass();
        }
        let id = self.state.next_id;
        self.state.next_id = id.saturating_add(len);
        let run = Run {
            id,
            len,
            author,
            left: self.left,
            right,
            gone: false,
            deletes: self.killers.clone(),
        };
        self.left = Some(run.last_id());
        if run.is_visible() {
            self.answer.insert(len);
        }
        let before = self.at.checked_sub(1);
        let absorbed = before
            .and_then(|n| self.state.runs.get_mut(n))
            .is_some_and(|previous| previous.absorb(&run));
        if !absorbed {
            self.state.runs.insert(self.at, run);
            self.at += 1;
        }
    }

    /// Where the gap ends: at the next run that the author knew, and its first element.
    fn gap(&mut self) -> (usize, Origin) {
        let mut end = self.at;
        loop {
            self.state.settle(end, &self.view);
            match self.state.runs.get(end) {
                None => return (end, None),
                Some(run) if self.view.knows(run) => return (end, Some(run.id)),
                Some(_) => end += 1,
            }
        }
    }

    /// The place in the gap for a run between `self.left` and `right`.
    fn place(&self, end: usize, right: Origin, mine: &Tie) -> usize {
        let gap = self.state.runs.get(self.at..end).unwrap_or_default();
        let mut spans: Vec<(u64, u64)> = gap.iter().map(|r| (r.id, r.last_id())).collect();
        sorted::ascending(&mut spans);
        let in_gap = |origin: Origin| {
            origin.is_some_and(|id| {
                let after = spans.partition_point(|(first, _)| *first <= id);
                let span = after.checked_sub(1).and_then(|n| spans.get(n));
                span.is_some_and(|(_, last)| id <= *last)
            })
        };
        let mut place = self.at;
        let mut undecided = false;
        for (n, other) in gap.iter().enumerate() {
            if other.left == self.left {
                if other.right == right {
                    if *mine < tie(&other.author) {
                        break;
                    }
                    undecided = false;
                } else {
                    // A right origin inside the gap is left of ours.
                    undecided = in_gap(other.right);
                }
            } else if !in_gap(other.left) {
                // It grew from something left of where we stand.
                break;
            }
            if !undecided {
                place = self.at + n + 1;
            }
        }
        place
    }

    /// Adds the author to the run of the same content at the same place, if there is one.
    fn join(&mut self, end: usize, right: Origin, key: [u8; 16]) -> bool {
        let mut found = false;
        for run in self.state.runs.get_mut(self.at..end).unwrap_or_default() {
            let same_place = run.right == right;
            match &mut run.author {
                Author::Shared { key: other, dots } if same_place && *other == key => {
                    dots.push(self.dot);
                    sorted::ascending(dots);
                    found = true;
                }
                _ => {}
            }
        }
        found
    }
}

/// The order of runs inserted at the same place: shared beginnings by content, since several
/// sites have them, then by site.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tie {
    Shared([u8; 16]),
    Site(Option<Site>),
}

fn tie(author: &Author) -> Tie {
    match author {
        Author::Stable => Tie::Site(None),
        Author::Typed(dots) => Tie::Site(Some(dots.site)),
        Author::Shared { key, .. } => Tie::Shared(*key),
    }
}
