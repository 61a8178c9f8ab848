//! Which rows are shown where rows refer to others: no shown row refers to one that is not.
//!
//! A row *wants* what its FOREIGN KEYs name and *offers* what others may name; equal bytes are equal
//! values, and of the rows that may be shown no two offer the same. Concurrent writes may leave a
//! row without what it wants: its parent was deleted where nobody had seen the child, and deletes
//! win; or it is hidden itself. Such a row is *held back* until what it wants is offered again.
//! What is shown is the greatest set of living rows in which every want is offered, so that rows
//! which refer to each other, or to themselves, are shown together.
//!
//! [`all`] is that definition. [`settle`] makes the step from one such state to the next and looks
//! only at rows that may be concerned. It relies on one thing: each row that is held back is
//! *named* for a want that was missing when it was held back, so that a chain of names ends at a
//! row that is not there at all. Then every row that may be shown again is found by following the
//! names from what is new. The tests compare the two over random histories.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use crate::sorted;

/// What a row wants or offers: a table, columns of it, and their values.
pub type Want = Vec<u8>;

/// A row by its table's number and its key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// The table's number.
    pub table: u32,
    /// The key in its canonical form.
    pub key: Vec<u8>,
}

/// A living row as far as references go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The row.
    pub name: Name,
    /// What it refers to; a reference with a NULL in it wants nothing.
    pub wants: Vec<Want>,
    /// What can be referred to in it.
    pub offers: Vec<Want>,
}

/// What becomes of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Everything it wants is offered by rows that are shown.
    Shown,
    /// This one of its wants is not.
    HeldBack(usize),
}

/// What happened since the last time.
#[derive(Debug, Default)]
pub struct News {
    /// Rows that are out of their tables and may be shown.
    pub out: Vec<Node>,
    /// Rows in their tables that may want something else than before.
    pub written: Vec<Node>,
    /// What may be offered for the first time.
    pub come: Vec<Want>,
    /// What may be offered no longer.
    pub gone: Vec<Want>,
}

/// What [`settle`] asks of the rows as they are.
pub trait Present {
    /// Why it could not be told.
    type Error;

    /// Whether a row in its table offers this.
    ///
    /// # Errors
    /// If it cannot be told.
    fn is_offered(&mut self, want: &[u8]) -> Result<bool, Self::Error>;

    /// The rows in their tables that want this.
    ///
    /// # Errors
    /// If it cannot be told.
    fn wanting(&mut self, offer: &[u8]) -> Result<Vec<Node>, Self::Error>;

    /// The rows that are held back and named for this.
    ///
    /// # Errors
    /// If it cannot be told.
    fn named_for(&mut self, offer: &[u8]) -> Result<Vec<Node>, Self::Error>;
}

/// The rows that are shown, of all that live: the definition.
#[must_use]
pub fn all(living: &[Node]) -> BTreeSet<Name> {
    let mut shown: Vec<&Node> = living.iter().collect();
    loop {
        let offered: HashSet<&Want> = shown.iter().flat_map(|node| &node.offers).collect();
        let before = shown.len();
        shown.retain(|node| node.wants.iter().all(|want| offered.contains(want)));
        if shown.len() == before {
            return shown.into_iter().map(|node| node.name.clone()).collect();
        }
    }
}

/// The fates of the rows that are out, of those that what is new concerns, and of those that
/// leave their tables for it. What is in its table and is not in the answer stays.
///
/// # Errors
/// If `present` cannot tell.
pub fn settle<P: Present>(news: News, present: &mut P) -> Result<BTreeMap<Name, Fate>, P::Error> {
    let mut step = Step::default();
    step.gather(news.out, news.come, present)?;
    step.queue.extend(news.written);
    for want in news.gone {
        step.queue.extend(present.wanting(&want)?);
    }
    while let Some(node) = step.queue.pop_front() {
        step.judge(node, present)?;
    }
    let shown = step.candidates.into_keys().map(|name| (name, Fate::Shown));
    let held = step.held_back.into_iter();
    let held = held.map(|(name, want)| (name, Fate::HeldBack(want)));
    Ok(sorted::map(held.chain(shown)))
}

/// One step on its way: first everything that may be shown is taken for shown, then what lacks
/// something goes, and what lacks that.
#[derive(Debug, Default)]
struct Step {
    /// Rows out of their tables that are taken for shown.
    candidates: BTreeMap<Name, Node>,
    /// Which of them offers what.
    offered: HashMap<Want, Name>,
    /// Which of them want something.
    wanted: HashMap<Want, Vec<Name>>,
    /// Rows that go, or stay out; and for which of their wants.
    held_back: BTreeMap<Name, usize>,
    /// What rows in their tables offered that go.
    gone: HashSet<Want>,
    /// Rows to be judged.
    queue: VecDeque<Node>,
}

impl Step {
    fn gather<P: Present>(
        &mut self,
        out: Vec<Node>,
        mut come: Vec<Want>,
        present: &mut P,
    ) -> Result<(), P::Error> {
        let mut asked = HashSet::new();
        let mut found = out;
        loop {
            for node in found.drain(..) {
                self.take(node, &mut come);
            }
            let Some(offer) = come.pop() else {
                return Ok(());
            };
            if asked.insert(offer.clone()) {
                found = present.named_for(&offer)?;
            }
        }
    }

    fn take(&mut self, node: Node, come: &mut Vec<Want>) {
        if self.candidates.contains_key(&node.name) {
            return;
        }
        for offer in &node.offers {
            self.offered.insert(offer.clone(), node.name.clone());
            come.push(offer.clone());
        }
        for want in &node.wants {
            let wanted = self.wanted.entry(want.clone()).or_default();
            wanted.push(node.name.clone());
        }
        self.queue.push_back(node.clone());
        self.candidates.insert(node.name.clone(), node);
    }

    fn judge<P: Present>(&mut self, node: Node, present: &mut P) -> Result<(), P::Error> {
        if self.held_back.contains_key(&node.name) {
            return Ok(());
        }
        let mut missing = None;
        for (n, want) in node.wants.iter().enumerate() {
            let is_offered = self.offered.contains_key(want)
                || (!self.gone.contains(want) && present.is_offered(want)?);
            if !is_offered {
                missing = Some(n);
                break;
            }
        }
        let Some(missing) = missing else {
            return Ok(());
        };
        self.held_back.insert(node.name.clone(), missing);
        let was_out = self.candidates.remove(&node.name).is_some();
        for offer in node.offers {
            if was_out {
                self.offered.remove(&offer);
            } else {
                self.gone.insert(offer.clone());
            }
            let names = self.wanted.get(&offer).into_iter().flatten();
            let out = names.filter_map(|name| self.candidates.get(name));
            self.queue.extend(out.cloned());
            self.queue.extend(present.wanting(&offer)?);
        }
        Ok(())
    }
}
