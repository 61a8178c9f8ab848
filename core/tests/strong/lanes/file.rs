//! A partition's file in the simulation: what it has seen, the records that it keeps, and what it
//! has collected.
//!
//! Invariant: a transaction of the log is taken once, after what it had seen, and never when what it had
//! not seen is collected.

use std::collections::{BTreeMap, BTreeSet};

use nuda_core::certify::{Link, Proposal, TxnId};
use nuda_core::changeset::Part;
use nuda_core::site::{Dot, Site};
use nuda_core::version_vector::VersionVector;

/// Whether the log numbers under this name.
pub(super) fn is_logged(name: Site) -> bool {
    name.is_log() || name.get() >> 63 == 1
}

/// A partition's file.
#[derive(Debug, Clone, Default)]
pub(super) struct File {
    pub(super) seen: VersionVector,
    /// Of each name in the log: its latest transaction, and what that had seen.
    pub(super) chains: BTreeMap<Site, (Link, VersionVector)>,
    pub(super) ids: BTreeSet<TxnId>,
    /// Transactions of the log that others may still need.
    records: BTreeMap<Dot, (Vec<u8>, TxnId)>,
    pub(super) collected: VersionVector,
}

impl File {
    /// Takes a transaction of the log whose turn it is.
    pub(super) fn take(&mut self, bytes: &[u8], id: TxnId) {
        let part = Part::decode(bytes).unwrap();
        let header = part.header().unwrap().unwrap();
        let chain = self.chains.entry(part.dot.site).or_default();
        assert_eq!(
            part.first.unwrap().0,
            chain.0.hash,
            "a chain that does not fit"
        );
        chain.1.join(&header.rose);
        chain.1.raise(part.dot.site, part.dot.seq - 1);
        assert!(chain.1.covers(&self.collected), "too late to be merged");
        chain.0 = Link {
            seq: part.dot.seq,
            hash: part.last.unwrap(),
            stamp: header.stamp,
        };
        self.seen.raise(part.dot.site, part.dot.seq);
        self.records.insert(part.dot, (bytes.to_vec(), id));
        assert!(self.ids.insert(id), "applied twice");
    }

    /// Whether it is the turn of a transaction of the log.
    fn is_next(&self, bytes: &[u8]) -> bool {
        let part = Part::decode(bytes).unwrap();
        let header = part.header().unwrap().unwrap();
        self.seen.get(part.dot.site) + 1 == part.dot.seq && self.seen.covers(&header.rose)
    }

    /// Takes an accepted transaction with what travelled with it, if it is its turn.
    fn deliver(&mut self, proposal: &Proposal) -> bool {
        let mut after = self.seen.clone();
        for bytes in &proposal.dependencies {
            let dot = Part::decode(bytes).unwrap().dot;
            if after.get(dot.site) + 1 < dot.seq {
                return false;
            }
            after.raise(dot.site, dot.seq);
        }
        let before = std::mem::replace(&mut self.seen, after);
        let is_next = self.is_next(&proposal.changeset[0]);
        if is_next {
            self.take(&proposal.changeset[0], proposal.id);
        } else {
            self.seen = before;
        }
        is_next
    }

    /// Takes what it can of what was accepted; the rest waits for what comes before it.
    pub(super) fn deliver_all(&mut self, queue: &mut Vec<Proposal>) {
        loop {
            queue.retain(|p| !self.seen.contains(p.dot().unwrap()));
            let Some(at) = (0..queue.len()).find(|at| self.deliver(&queue[*at])) else {
                return;
            };
            queue.remove(at);
        }
    }

    /// Takes what another file has, in the background.
    pub(super) fn receive(&mut self, from: &Self) {
        assert!(
            self.seen.covers(&from.collected),
            "collected what a member lacks"
        );
        for (site, seq) in from.seen.iter().filter(|(site, _)| !is_logged(*site)) {
            self.seen.raise(site, seq);
        }
        loop {
            let mut records = from.records.iter();
            let next = records.find(|(_, (bytes, _))| self.is_next(bytes));
            let Some((_, (bytes, id))) = next else {
                break;
            };
            self.take(bytes, *id);
        }
        assert!(self.seen.covers(&from.seen), "something cannot be shipped");
    }

    /// Forgets what every member has.
    pub(super) fn collect(&mut self, frontier: &VersionVector) {
        assert!(self.seen.covers(frontier), "collected what is not here");
        self.collected.join(frontier);
        let collected = &self.collected;
        self.records.retain(|dot, _| !collected.contains(*dot));
    }
}
