//! Runs of elements with one fate, and how an author sees them.
//!
//! Elements stand together as long as nothing tells them apart. Who typed or deleted them is a
//! [`Dots`]: one changeset for all, or one changeset for each in ascending or descending
//! order, as typing and erasing character by character make them. A [`View`] that saw some of
//! these changesets and not the others cuts the run.

use std::cell::Cell;

use crate::site::{Dot, Seq, Site};
use crate::sorted;
use crate::version_vector::VersionVector;

/// The number of an element, or `None` for the beginning (left) or the end (right).
pub(super) type Origin = Option<u64>;

/// One changeset of `site` for each element: the first is `seq`, the next `seq + step`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Dots {
    pub(super) site: Site,
    pub(super) seq: Seq,
    /// -1, 0 or 1; 0 for a single element.
    pub(super) step: i8,
}

impl Dots {
    /// One changeset for all elements.
    pub(super) fn one(dot: Dot) -> Self {
        Self {
            site: dot.site,
            seq: dot.seq,
            step: 0,
        }
    }

    pub(super) fn at(self, offset: u64) -> Seq {
        match self.step {
            0 => self.seq,
            1 => self.seq.saturating_add(offset),
            _ => self.seq.saturating_sub(offset),
        }
    }

    /// The dots from `offset` on, of `rest` elements.
    pub(super) fn from(self, offset: u64, rest: u64) -> Self {
        Self {
            seq: self.at(offset),
            step: if rest > 1 { self.step } else { 0 },
            ..self
        }
    }

    /// How many elements from the first on share its answer to "has `last` been reached".
    fn uniform(self, len: u64, last: Seq) -> u64 {
        match self.step {
            1 if self.seq <= last => len.min(last.saturating_sub(self.seq).saturating_add(1)),
            -1 if self.seq > last => len.min(self.seq.saturating_sub(last)),
            _ => len,
        }
    }

    /// These of `len` elements followed by `next` of `next_len`, if that is one run.
    fn joined(self, len: u64, next: Self, next_len: u64) -> Option<Self> {
        if self.site != next.site {
            return None;
        }
        let step = if len > 1 {
            self.step
        } else if next_len > 1 {
            next.step
        } else if next.seq == self.seq {
            0
        } else if next.seq > self.seq {
            1
        } else {
            -1
        };
        let joined = Self { step, ..self };
        let fits = (next_len == 1 || next.step == step) && joined.at(len) == next.seq;
        fits.then_some(joined)
    }
}

/// Who inserted a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Author {
    /// Everybody has it.
    Stable,
    /// Typed.
    Typed(Dots),
    /// The identical beginnings of a row, inserted by several; they count once.
    Shared {
        /// Names the content.
        key: [u8; 16],
        /// Those who inserted it.
        dots: Vec<Dot>,
    },
}

/// Elements with one fate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Run {
    /// The number of the first; the others follow.
    pub(super) id: u64,
    /// How many, never 0.
    pub(super) len: u64,
    /// Who inserted them.
    pub(super) author: Author,
    /// What stood left of the first when it was inserted; meaningless if stable.
    pub(super) left: Origin,
    /// What stood right of all when they were inserted; meaningless if stable.
    pub(super) right: Origin,
    /// Deleted, and everybody knows.
    pub(super) gone: bool,
    /// Those who deleted them, sorted; empty if `gone`.
    pub(super) deletes: Vec<Dots>,
}

impl Run {
    pub(super) fn stable(id: u64, len: u64) -> Self {
        Self {
            id,
            len,
            author: Author::Stable,
            left: None,
            right: None,
            gone: false,
            deletes: Vec::new(),
        }
    }

    /// Whether the current value shows it.
    pub(super) fn is_visible(&self) -> bool {
        !self.gone && self.deletes.is_empty()
    }

    pub(super) fn is_stable(&self) -> bool {
        self.author == Author::Stable
    }

    pub(super) fn last_id(&self) -> u64 {
        self.id.saturating_add(self.len).saturating_sub(1)
    }

    pub(super) fn delete(&mut self, dot: Dot) {
        if !self.gone {
            self.deletes.push(Dots::one(dot));
            self.order_deletes();
        }
    }

    /// One changeset may delete twice: a part of it what an earlier part did.
    fn order_deletes(&mut self) {
        sorted::ascending(&mut self.deletes);
        self.deletes.dedup();
    }

    /// Cuts off everything from `offset` on.
    pub(super) fn split_off(&mut self, offset: u64) -> Self {
        let rest = self.len.saturating_sub(offset);
        let id = self.id.saturating_add(offset);
        let typed = !self.is_stable();
        let mut tail = Self {
            id,
            len: rest,
            author: match &self.author {
                Author::Typed(dots) => Author::Typed(dots.from(offset, rest)),
                other => other.clone(),
            },
            left: if typed { id.checked_sub(1) } else { None },
            right: self.right,
            gone: self.gone,
            deletes: self.deletes.iter().map(|d| d.from(offset, rest)).collect(),
        };
        self.len = offset;
        if let Author::Typed(dots) = &mut self.author {
            *dots = dots.from(0, offset);
        }
        for dots in &mut self.deletes {
            *dots = dots.from(0, offset);
        }
        self.order_deletes();
        tail.order_deletes();
        tail
    }

    /// Takes in the run that follows, if nothing tells the two apart.
    pub(super) fn absorb(&mut self, next: &Self) -> bool {
        if self.id.saturating_add(self.len) != next.id
            || self.gone != next.gone
            || self.deletes.len() != next.deletes.len()
        {
            return false;
        }
        let author = match (&self.author, &next.author) {
            (Author::Stable, Author::Stable) => None,
            (Author::Typed(mine), Author::Typed(theirs))
                if next.left == Some(self.last_id()) && next.right == self.right =>
            {
                match mine.joined(self.len, *theirs, next.len) {
                    Some(dots) => Some(dots),
                    None => return false,
                }
            }
            (mine @ Author::Shared { .. }, theirs)
                if mine == theirs
                    && next.left == Some(self.last_id())
                    && next.right == self.right =>
            {
                None
            }
            _ => return false,
        };
        let deletes: Option<Vec<Dots>> = self
            .deletes
            .iter()
            .zip(&next.deletes)
            .map(|(mine, theirs)| mine.joined(self.len, *theirs, next.len))
            .collect();
        let Some(deletes) = deletes else { return false };
        if let Some(dots) = author {
            self.author = Author::Typed(dots);
        }
        self.deletes = deletes;
        self.len = self.len.saturating_add(next.len);
        true
    }

    /// See [`super::Sequence::renumber`]; the run is uniform in the view up to `last`.
    pub(super) fn renumber(&mut self, from: Site, last: Seq, to: Site) {
        let moved = |site: &mut Site, seq: &mut Seq| {
            if *site == from && *seq > last {
                *site = to;
                *seq -= last;
            }
        };
        match &mut self.author {
            Author::Stable => {}
            Author::Typed(dots) => moved(&mut dots.site, &mut dots.seq),
            Author::Shared { dots, .. } => {
                for dot in dots.iter_mut() {
                    moved(&mut dot.site, &mut dot.seq);
                }
                sorted::ascending(dots);
            }
        }
        for dots in &mut self.deletes {
            moved(&mut dots.site, &mut dots.seq);
        }
        self.order_deletes();
    }
}

/// What somebody had seen.
#[derive(Debug)]
pub(super) struct View<'a> {
    // Everything of this site that is here was seen: delivery is in order.
    own: Option<Site>,
    seen: &'a VersionVector,
    // The site asked for last: runs of one author stand together.
    latest: Cell<Option<(Site, Seq)>>,
}

impl<'a> View<'a> {
    /// What the author of a changeset of `site` had seen.
    pub(super) fn of(site: Site, seen: &'a VersionVector) -> Self {
        Self {
            own: Some(site),
            seen,
            latest: Cell::new(None),
        }
    }

    /// Exactly `seen`.
    pub(super) fn of_all(seen: &'a VersionVector) -> Self {
        Self {
            own: None,
            seen,
            latest: Cell::new(None),
        }
    }

    fn last(&self, site: Site) -> Seq {
        if self.own == Some(site) {
            return Seq::MAX;
        }
        if let Some((latest, last)) = self.latest.get()
            && latest == site
        {
            return last;
        }
        let last = self.seen.get(site);
        self.latest.set(Some((site, last)));
        last
    }

    /// How many elements from the first on look alike.
    pub(super) fn uniform(&self, run: &Run) -> u64 {
        let mut len = run.len;
        if let Author::Typed(dots) = &run.author {
            len = dots.uniform(len, self.last(dots.site));
        }
        for dots in &run.deletes {
            len = dots.uniform(len, self.last(dots.site));
        }
        len
    }

    /// Whether it was there, deleted or not. The run is uniform.
    pub(super) fn knows(&self, run: &Run) -> bool {
        match &run.author {
            Author::Stable => true,
            Author::Typed(dots) => dots.seq <= self.last(dots.site),
            Author::Shared { dots, .. } => dots.iter().any(|d| d.seq <= self.last(d.site)),
        }
    }

    /// Whether it had been deleted. The run is uniform.
    pub(super) fn misses(&self, run: &Run) -> bool {
        run.gone || run.deletes.iter().any(|d| d.seq <= self.last(d.site))
    }

    /// Whether it was visible. The run is uniform.
    pub(super) fn shows(&self, run: &Run) -> bool {
        self.knows(run) && !self.misses(run)
    }
}
