//! Forgetting what everybody has seen.
//!
//! The module doc of [`super`] says why this changes no answer. Elements are numbered anew in
//! the order of the list, so that neighbours can become one run.

use crate::sorted;
use crate::version_vector::VersionVector;

use super::Sequence;
use super::run::{Author, Run, View};

impl Sequence {
    /// Forgets authors and origins of what is inserted up to `stable`, who deleted what is
    /// deleted up to it, and deleted elements that nothing can stand beside any more.
    pub fn collapse(&mut self, stable: &VersionVector) {
        self.collapse_numbered(stable);
    }

    /// As [`Sequence::collapse`]; answers what the elements are called now.
    pub(crate) fn collapse_numbered(&mut self, stable: &VersionVector) -> Numbers {
        let view = View::of_all(stable);
        let mut at = 0;
        while at < self.runs.len() {
            self.settle(at, &view);
            if let Some(run) = self.runs.get_mut(at) {
                forget(run, &view);
            }
            at += 1;
        }
        self.edits = self
            .edits
            .iter()
            .filter(|(site, seq)| *seq > stable.get(*site))
            .collect();
        self.drop_gone();
        let numbers = self.renumber_elements();
        self.compact();
        numbers
    }

    /// Drops the deleted stable elements whose neighbours are stable too; of a run of them at
    /// most its two ends stay.
    fn drop_gone(&mut self) {
        let runs = std::mem::take(&mut self.runs);
        let mut kept: Vec<Run> = Vec::with_capacity(runs.len());
        let mut rest = runs.into_iter().peekable();
        // Nothing is ever placed before the beginning or after the end.
        let mut stable_before = true;
        while let Some(run) = rest.next() {
            let stable_after = rest.peek().is_none_or(Run::is_stable);
            let stable = run.is_stable();
            if stable && run.gone {
                let end = |id| Run {
                    gone: true,
                    ..Run::stable(id, 1)
                };
                if !stable_before {
                    kept.push(end(run.id));
                }
                if !stable_after && (stable_before || run.len > 1) {
                    kept.push(end(run.last_id()));
                }
            } else {
                kept.push(run);
            }
            stable_before = stable;
        }
        self.runs = kept;
    }

    /// Numbers all elements in the order of the list. An origin that was dropped becomes the
    /// beginning or the end: like them it is outside of every gap to come.
    pub(crate) fn renumber_elements(&mut self) -> Numbers {
        let mut spans = Vec::with_capacity(self.runs.len());
        let mut next = 0u64;
        for run in &self.runs {
            spans.push((run.id, run.len, next));
            next = next.saturating_add(run.len);
        }
        sorted::ascending(&mut spans);
        let numbers = Numbers { spans };
        let mut next = 0u64;
        for run in &mut self.runs {
            run.id = next;
            run.left = run.left.and_then(|id| numbers.of(id));
            run.right = run.right.and_then(|id| numbers.of(id));
            next = next.saturating_add(run.len);
        }
        self.next_id = next;
        numbers
    }
}

/// What the elements were called before they were numbered anew.
#[derive(Debug)]
pub(crate) struct Numbers {
    // First, length, first now; ascending.
    spans: Vec<(u64, u64, u64)>,
}

impl Numbers {
    /// The number of an element now, if it is still there.
    pub(crate) fn of(&self, id: u64) -> Option<u64> {
        let after = self.spans.partition_point(|(first, _, _)| *first <= id);
        let (first, len, now) = self.spans.get(after.checked_sub(1)?)?;
        let offset = id - first;
        (offset < *len).then(|| now + offset)
    }
}

/// The run is uniform in the view.
fn forget(run: &mut Run, view: &View<'_>) {
    if view.knows(run) {
        run.author = Author::Stable;
        run.left = None;
        run.right = None;
    }
    if run.is_stable() && view.misses(run) {
        run.gone = true;
        run.deletes.clear();
    }
}
