//! A node that begins anew from another one's file, and writes again what of its own that lacks.
//!
//! What must be true: nothing that was written again comes back with a transaction that somebody had
//! proposed before, whenever it is accepted, and whichever group orders the partition then.

use nuda_core::certify::{Entry, Fences};
use nuda_core::site::Dot;

use super::file::{File, is_logged};
use super::{Broken, NODES, PARTITION, World};

/// What a node that is on its way needs.
pub(super) struct Anew {
    snapshot: File,
    fences: Fences,
}

impl World {
    /// A node begins anew, or goes on with it.
    pub(super) fn anew(&mut self, at: usize) {
        if self.nodes[at].anew.is_some() {
            self.go_on(at);
        // Rarely, as collections need everybody.
        } else if self.nodes.iter().all(|node| node.anew.is_none()) && self.rng.chance(10) {
            self.take_snapshot(at);
        }
    }

    /// From here on nobody takes anything of its earlier life but from the log; and its donor has all
    /// that others took of it before.
    fn take_snapshot(&mut self, at: usize) {
        let donor = (at + 1 + self.pick(NODES - 1)) % NODES;
        let has = &self.nodes[donor].file.seen;
        let others = self.nodes.iter().enumerate().filter(|(n, _)| *n != donor);
        for (n, node) in others {
            let needed = |site: &_| match n == at {
                true => is_logged(*site) && node.anew.is_none(),
                false => !node.sites.contains(site),
            };
            let mut seen = node.file.seen.iter();
            if seen.any(|(site, seq)| needed(&site) && has.get(site) < seq) {
                return;
            }
        }
        let snapshot = self.nodes[donor].file.clone();
        self.reports[at].meet(&snapshot.seen);
        let node = &mut self.nodes[at];
        let upto = |site: &_| (*site, snapshot.seen.get(*site));
        let fences = node.sites.iter().map(upto).collect();
        node.wish = None;
        node.anew = Some(Anew { snapshot, fences });
    }

    fn go_on(&mut self, at: usize) {
        let node = &self.nodes[at];
        let Some(Anew { snapshot, fences }) = &node.anew else {
            return;
        };
        let ordered = node.ordered();
        let stands = |(site, upto)| {
            let fence = ordered.and_then(|ordered| ordered.fences.get(site));
            fence.is_some_and(|fence| fence <= upto)
        };
        if !fences.iter().all(stands) && self.broken != Broken::BeginsAnewWithoutFence {
            let fence = Entry::Fence(PARTITION, fences.clone());
            self.logs[node.at].receive(&fence);
            return;
        }
        if node.waiting.is_some() {
            return;
        }
        match ordered.is_none_or(|ordered| snapshot.seen.covers(&ordered.accepted())) {
            true => self.replace(at),
            false => self.take_snapshot(at),
        }
    }

    /// The snapshot is its file from here on.
    fn replace(&mut self, at: usize) {
        let Some(anew) = self.nodes[at].anew.take() else {
            return;
        };
        let node = &mut self.nodes[at];
        let before = std::mem::replace(&mut node.file, anew.snapshot);
        let mut lacks = 0;
        for site in &node.sites {
            for seq in node.file.seen.get(*site) + 1..=before.seen.get(*site) {
                self.again.insert(Dot { site: *site, seq });
                lacks += 1;
            }
        }
        // What was accepted comes again from the log.
        for (replica, log) in node.replicas.iter().zip(&self.logs) {
            for bytes in &log.committed[..replica.applied] {
                if let Ok(Entry::Propose(_, proposal)) = Entry::decode(bytes)
                    && self.accepted.get(&proposal.dot().unwrap()) == Some(&proposal.id)
                {
                    node.queue.push(proposal);
                }
            }
        }
        node.life += 1;
        self.reports[at] = node.file.seen.clone();
        let site = self.site(at);
        self.nodes[at].sites.push(site);
        for _ in 0..lacks {
            self.write_eventually(at);
        }
        self.begun += u64::from(lacks > 0);
    }

    /// Nothing is there twice.
    pub(super) fn check_again(&self) {
        for node in &self.nodes {
            for dot in &self.again {
                assert!(!node.file.seen.contains(*dot), "{dot} is there again");
            }
        }
    }
}
