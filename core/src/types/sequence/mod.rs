//! Concurrent edits of one sequence (a text, a list), merged by position alone.
//!
//! An edit travels as a [`Delta`] against its author's version. While the edits of a cell form
//! a causal chain, each is applied to the plain value and nothing is kept. A [`Sequence`] is
//! needed from the first edit that did not see another one, until all of them are stable. It
//! knows lengths and who did what, never contents: elements are *runs*, the text before the
//! first edit is one run of which only the length is known. Every run in it has a place among
//! all others, by the rule of FugueMax (runs typed at the same place by two authors do not
//! interleave, whichever way they typed), ties by site. What an edit amounts to here is found by
//! walking the runs as its author saw them; the answer is a [`Delta`] against the current value.
//!
//! # How an applier uses it
//!
//! 1. An edit whose author saw every logged edit of this cell, and no state is kept:
//!    apply its delta to the value.
//! 2. Otherwise, and no state is kept: the logged edits of the cell that are not stable form a
//!    chain. Build `Sequence::new(length of the value - what they inserted + what they deleted)`,
//!    then [`Sequence::integrate`] them in the order of the chain, discarding the answers; the
//!    value shows them already. If one of the chain is an assignment ([`Sequence::assign`]: a row's
//!    INSERT), the length before it is not known and does not matter: begin with
//!    [`Sequence::unknown`].
//! 3. `integrate` the edit, and apply the answer to the value. Keep the state, encoded.
//! 4. While a state is kept, *every* edit of the cell goes through it, the local ones too (their
//!    answer is the delta itself). They may be integrated late, but in causal order, before
//!    the next foreign edit, and before their log record is collected.
//! 5. When the log is collected up to `stable`: [`Sequence::collapse`] with the same vector, in
//!    the same transaction; if the state [is trivial](Sequence::is_trivial) then, drop it. `stable`
//!    must be what may be collected: every member has applied it, and all that those members
//!    wrote before is applied here. It must be causally closed, and records up to it must go
//!    together, so that what the log still holds is what the state still tells apart.
//! 6. A site that is renumbered has its states rewritten ([`Sequence::renumber`]).
//!
//! `seen` is what the changeset's header says: its own site is not in it, for an author has seen
//! all earlier edits of his site. Where that does not hold (one numbering for several writers),
//! edits must be brought to the numbered order before they are shipped.
//!
//! An edit that does not fit its author's version (`None`) is damage or forgery: it counts as
//! no edit, on every member alike.
//!
//! # Why forgetting changes nothing
//!
//! Placing an edit looks only at the gap between two neighbours that its author knew, and in the
//! gap only at runs that he did not see. No stable run is among these, so stable runs need neither
//! author nor origins. A stable run that is deleted by a stable edit is deleted for all edits to
//! come; it may still bound a gap, so it goes only where both its neighbours are stable. Then the
//! gap on its right stays empty for ever (no edit to come can have a left neighbour that is
//! invisible to it), the one on its left is empty now, and for what will be placed there "before
//! the deleted run" and "before its right neighbour" are the same place. Runs elsewhere that
//! name it as an origin only ever need to know that it is outside of the gap.

mod collapse;
mod delta;
mod encoding;
mod integrate;
mod run;

pub use delta::{Delta, Edit};

use crate::site::{Seq, Site};
use crate::version_vector::VersionVector;
use run::Run;

/// Stands for the length of a text that is not known and wholly deleted.
const UNKNOWN: u64 = 1 << 40;

/// The runs of one sequence, those deleted included, in the order all members agree on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequence {
    runs: Vec<Run>,
    // Elements are numbered as they come; numbers are local and name origins.
    next_id: u64,
    // The latest edit of each site taken in, while it is not stable. It may have left no trace
    // in the runs, and the state is needed all the same: the log's edits are no chain.
    edits: VersionVector,
    // Runs after the last compaction: the next one is due at twice as many.
    compacted: usize,
}

impl Sequence {
    /// A sequence of `length` elements that everybody has seen.
    #[must_use]
    pub fn new(length: u64) -> Self {
        let length = length.min(UNKNOWN);
        let mut runs = Vec::new();
        if length > 0 {
            runs.push(Run::stable(0, length));
        }
        Self {
            runs,
            next_id: length,
            edits: VersionVector::new(),
            compacted: 1,
        }
    }

    /// A sequence that is about to be overwritten ([`Sequence::assign`]): its length is not
    /// known, and nothing of it will be visible.
    #[must_use]
    pub fn unknown() -> Self {
        Self::new(UNKNOWN)
    }

    /// Elements of the current value.
    #[must_use]
    pub fn visible(&self) -> u64 {
        self.runs
            .iter()
            .filter(|run| run.is_visible())
            .fold(0, |sum, run| sum.saturating_add(run.len))
    }

    /// Whether every edit in it is stable: the state may be dropped.
    #[must_use]
    pub fn is_trivial(&self) -> bool {
        self.edits.is_empty()
    }

    /// Whether there is an element of this number, deleted or not.
    pub(crate) fn contains(&self, id: u64) -> bool {
        id < self.next_id
    }

    /// How many runs it has: what its cost is measured in.
    #[must_use]
    pub fn runs(&self) -> usize {
        self.runs.len()
    }

    /// Gives the edits of `from` after `last` to `to`, numbered from 1: what becomes of a
    /// site whose unshipped tail is renumbered.
    pub fn renumber(&mut self, from: Site, last: Seq, to: Site) {
        let mut seen = VersionVector::new();
        seen.set(from, last);
        let view = run::View::of_all(&seen);
        let mut at = 0;
        while at < self.runs.len() {
            self.settle(at, &view);
            if let Some(run) = self.runs.get_mut(at) {
                run.renumber(from, last, to);
            }
            at += 1;
        }
        let latest = self.edits.get(from);
        if latest > last {
            self.edits.set(from, last);
            self.edits.raise(to, latest - last);
        }
    }
}
