//! A replica that works as the extension's applier does, in memory: a plain text, a log, and a
//! state only while there is something to tell apart.

use std::collections::BTreeMap;

use nuda_core::site::{Dot, Site};
use nuda_core::types::sequence::Sequence;
use nuda_core::types::text::{TextDelta, count};
use nuda_core::version_vector::VersionVector;

use crate::world::Tally;

/// What an edit does.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Edit(TextDelta),
    Assign(String),
}

/// An edit as it travels.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) dot: Dot,
    pub(crate) seen: VersionVector,
    pub(crate) change: Change,
    /// For the model.
    pub(crate) number: usize,
}

/// One member.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) site: Site,
    pub(crate) vector: VersionVector,
    pub(crate) text: String,
    /// For the model.
    pub(crate) applied: u128,
    log: Vec<Sent>,
    state: Option<Sequence>,
    // Local edits, still to be integrated into the state.
    late: Vec<Sent>,
    reports: BTreeMap<Site, Vec<VersionVector>>,
}

fn key(text: &str) -> [u8; 16] {
    let mut key = [0; 16];
    key[..text.len()].copy_from_slice(text.as_bytes());
    key
}

/// Takes an edit into a state: what it amounts to there.
fn integrate(state: &mut Sequence, sent: &Sent) -> TextDelta {
    match &sent.change {
        Change::Edit(delta) => {
            let answer = state
                .integrate(sent.dot, &sent.seen, &delta.delta)
                .expect("an edit that fits");
            delta.clone().placed(answer)
        }
        Change::Assign(text) => {
            let length = count(text.as_bytes());
            let answer = state.assign(sent.dot, &sent.seen, length, key(text));
            TextDelta {
                delta: answer.clone(),
                inserted: text.clone(),
            }
            .placed(answer)
        }
    }
}

impl Replica {
    pub(crate) fn new(site: Site) -> Self {
        Self {
            site,
            vector: VersionVector::new(),
            text: String::new(),
            applied: 0,
            log: Vec::new(),
            state: None,
            late: Vec::new(),
            reports: BTreeMap::new(),
        }
    }

    pub(crate) fn seen_of_others(&self) -> VersionVector {
        let mut seen = self.vector.clone();
        seen.set(self.site, 0);
        seen
    }

    pub(crate) fn next_dot(&self) -> Dot {
        Dot {
            site: self.site,
            seq: self.vector.get(self.site) + 1,
        }
    }

    /// What a user's statement did.
    pub(crate) fn write(&mut self, sent: &Sent) {
        match &sent.change {
            Change::Edit(delta) => self.text = delta.apply(&self.text).expect("it fits"),
            Change::Assign(text) => self.text.clone_from(text),
        }
        if self.state.is_some() {
            self.late.push(sent.clone());
        }
        self.wrote(sent);
    }

    fn wrote(&mut self, sent: &Sent) {
        self.vector.set(sent.dot.site, sent.dot.seq);
        self.applied |= 1 << sent.number;
        self.log.push(sent.clone());
    }

    pub(crate) fn is_ready_for(&self, sent: &Sent) -> bool {
        sent.dot.seq == self.vector.get(sent.dot.site) + 1 && self.vector.covers(&sent.seen)
    }

    /// Applies another's edit.
    pub(crate) fn apply(&mut self, sent: &Sent, tally: &mut Tally) {
        let saw = |other: &Sent| other.dot.site == sent.dot.site || sent.seen.contains(other.dot);
        if self.state.is_none() && self.log.iter().all(saw) {
            tally.note("plain");
            match &sent.change {
                Change::Edit(delta) => self.text = delta.apply(&self.text).expect("it fits"),
                Change::Assign(text) => self.text.clone_from(text),
            }
            self.wrote(sent);
            return;
        }
        if self.state.is_none() {
            tally.note("built");
            self.state = Some(self.build());
        }
        self.catch_up(tally);
        let state = self.state.as_mut().unwrap();
        assert_eq!(state.visible(), count(self.text.as_bytes()), "before");
        let delta = integrate(state, sent);
        tally.note("integrated");
        if matches!(sent.change, Change::Assign(_)) {
            tally.note("assigned");
        }
        self.text = delta.apply(&self.text).expect("an answer fits");
        self.wrote(sent);
    }

    /// A state of the edits in the log, which are a chain.
    fn build(&self) -> Sequence {
        let mut length = i128::from(count(self.text.as_bytes()));
        let mut known = true;
        for sent in &self.log {
            match &sent.change {
                Change::Edit(delta) => {
                    length += i128::from(delta.delta.deleted());
                    length -= i128::from(delta.delta.inserted());
                }
                Change::Assign(_) => known = false,
            }
        }
        let mut state = if known {
            Sequence::new(u64::try_from(length).unwrap())
        } else {
            Sequence::unknown()
        };
        for sent in &self.log {
            integrate(&mut state, sent);
        }
        state
    }

    fn catch_up(&mut self, tally: &mut Tally) {
        let Some(state) = self.state.as_mut() else {
            return;
        };
        for sent in self.late.drain(..) {
            tally.note("integrated late");
            let answer = integrate(state, &sent);
            if let Change::Edit(delta) = &sent.change {
                assert_eq!(answer.delta, delta.delta, "a local edit is its own answer");
            }
        }
    }

    pub(crate) fn hear(&mut self, from: Site, report: VersionVector) {
        self.reports.entry(from).or_default().push(report);
    }

    /// Forgets what nothing still to come can be concurrent with.
    pub(crate) fn collect(&mut self, members: &[Site], tally: &mut Tally) {
        let mut stable = self.vector.clone();
        for member in members.iter().filter(|m| **m != self.site) {
            let mut known = VersionVector::new();
            for report in self.reports.get(member).into_iter().flatten() {
                // Only if all that the member wrote before it reported is applied here.
                if self.vector.get(*member) >= report.get(*member) {
                    known.join(report);
                }
            }
            stable.meet(&known);
        }
        self.catch_up(tally);
        self.log.retain(|sent| !stable.contains(sent.dot));
        let Some(state) = self.state.as_mut() else {
            return;
        };
        state.collapse(&stable);
        tally.note("collapsed");
        if state.is_trivial() {
            tally.note("dropped as trivial");
            self.state = None;
        }
    }

    /// Keeps the state as bytes for a moment, as a file does.
    pub(crate) fn store(&mut self, tally: &mut Tally) {
        let Some(state) = self.state.as_ref() else {
            return;
        };
        let mut bytes = Vec::new();
        state.encode(&mut bytes);
        let read = Sequence::decode(&bytes).expect("what was encoded");
        let mut again = Vec::new();
        read.encode(&mut again);
        assert_eq!(bytes, again);
        self.state = Some(read);
        tally.note("state read back");
    }
}
