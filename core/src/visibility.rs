//! Which rows of a table are shown where several hold one unique value.
//!
//! Two nodes may write the same unique value at the same time. Both rows are merged and kept, and
//! the table shows those that UNIQUE allows. Whether a row is shown is a function of the set of
//! living rows: taken in the order of their births, a row is *held back* while an older row that is
//! not held back has one of its *claims* (the value of one constraint; a NULL in it claims
//! nothing). So the oldest row with a value always has it, a younger one returns when that one is
//! gone or has another value, and a row that is held back keeps nothing from a third.
//!
//! [`all`] is that definition. [`settle`] makes the step from one such state to the next and looks
//! only at rows that may be concerned: those that are out of the table, those that share a claim
//! with one of them, and those that were held back by one that changed. The tests compare the two
//! over random histories.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::merge::Rank;

/// When a row's life began. Of rows born by one transaction the key decides.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Birth {
    /// The transaction that inserted it. Of concurrent ones the first.
    pub rank: Rank,
    /// The row's key in its canonical form.
    pub key: Vec<u8>,
}

/// A row that is not deleted, shown or held back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Living {
    /// Its place in the order.
    pub birth: Birth,
    /// The unique values that it has: equal bytes are equal values.
    pub claims: Vec<Vec<u8>>,
}

/// What becomes of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// No older row has its values.
    Free,
    /// This one has.
    HeldBack {
        /// The row that has it.
        by: Birth,
        /// Which claim of the row that is held back.
        claim: usize,
    },
}

/// What [`settle`] asks of the rows as they are.
pub trait Present {
    /// Why it could not be told.
    type Error;

    /// The rows in the table that share a claim with `row`.
    ///
    /// # Errors
    /// If it cannot be told.
    fn rivals(&mut self, row: &Living) -> Result<Vec<Living>, Self::Error>;

    /// The rows that are held back by the one of this key.
    ///
    /// # Errors
    /// If it cannot be told.
    fn held_back_by(&mut self, key: &[u8]) -> Result<Vec<Living>, Self::Error>;
}

/// The fate of every row: the definition.
#[must_use]
pub fn all(living: &[Living]) -> BTreeMap<Birth, Fate> {
    let mut rows: Vec<&Living> = living.iter().collect();
    rows.sort_by(|a, b| a.birth.cmp(&b.birth));
    let mut taken = Taken::default();
    rows.into_iter()
        .map(|row| (row.birth.clone(), taken.judge(row)))
        .collect()
}

/// Who has which value, of the rows judged so far.
#[derive(Debug, Default)]
struct Taken(HashMap<Vec<u8>, Birth>);

impl Taken {
    /// The next row in the order of births.
    fn judge(&mut self, row: &Living) -> Fate {
        let holders = row.claims.iter().enumerate();
        let first = holders
            .filter_map(|(n, claim)| Some((self.0.get(claim)?, n)))
            .min();
        if let Some((by, claim)) = first {
            return Fate::HeldBack {
                by: by.clone(),
                claim,
            };
        }
        for claim in &row.claims {
            self.0.insert(claim.clone(), row.birth.clone());
        }
        Fate::Free
    }
}

/// The fates of `out`, the rows that are out of the table and may have to be shown, and of all whose
/// fate changes with theirs. `changed` are the keys of all rows that were written, deleted or born
/// since the last time, in the table or not. What is in the table is free of collisions.
///
/// # Errors
/// If `present` cannot tell.
pub fn settle<P: Present>(
    out: Vec<Living>,
    changed: &[Vec<u8>],
    present: &mut P,
) -> Result<BTreeMap<Birth, Fate>, P::Error> {
    let mut waiting: BTreeMap<Birth, Living> = BTreeMap::new();
    let mut queued = BTreeSet::new();
    let mut queue = |waiting: &mut BTreeMap<Birth, Living>, row: Living| {
        if queued.insert(row.birth.key.clone()) {
            waiting.insert(row.birth.clone(), row);
        }
    };
    for row in out {
        queue(&mut waiting, row);
    }
    for key in changed {
        for row in present.held_back_by(key)? {
            queue(&mut waiting, row);
        }
    }
    let mut taken = Taken::default();
    let mut fates = BTreeMap::new();
    while let Some((birth, row)) = waiting.pop_first() {
        let rivals = present.rivals(&row)?;
        // One that was judged here has left the table, or will.
        let rivals = rivals.into_iter().filter(|r| !fates.contains_key(&r.birth));
        let (older, younger): (Vec<_>, Vec<_>) = rivals.partition(|r| r.birth < birth);
        for rival in &older {
            // It stays: whatever could take its place would be older still, and judged by now.
            taken.judge(rival);
        }
        let fate = taken.judge(&row);
        let concerned = match &fate {
            Fate::Free => younger,
            // It holds nobody back any longer.
            Fate::HeldBack { .. } => present.held_back_by(&birth.key)?,
        };
        for other in concerned {
            queue(&mut waiting, other);
        }
        fates.insert(birth, fate);
    }
    Ok(fates)
}
