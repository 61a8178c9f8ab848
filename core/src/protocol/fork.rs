//! Numbers used twice (R5): finding it out, and what follows.
//!
//! A restored backup that did not notice what it is writes numbers that its peers already
//! know. Whoever owns the site asks the peer for its links of the chain, finds the last one
//! that both share, keeps the site up to there and renumbers the rest under a new site; until
//! then nothing is pushed. If it has left that site meanwhile, for another boot or a copy, there is
//! nothing to renumber: it begins anew from the peer, and makes again what that lacks. A difference on
//! a site that neither side owns means that two variants were shipped: evidence, the site stops.
//! Invariant: a site is renumbered only from a link that a peer is known not to share.

use super::event::{Command, Head};
use super::message::{CHAIN_LINKS, Message};
use super::{NodeId, Replication};
use crate::changeset::ChainHash;
use crate::site::{Dot, Seq, Site};

/// Comparing our own chain with a peer's.
#[derive(Debug)]
pub(super) struct Check {
    peer: NodeId,
    /// Which of our sites.
    site: Site,
    /// The greatest number the peer knows of it.
    theirs: Seq,
    /// The lowest link asked for so far.
    asked: Seq,
    /// The greatest link asked for last.
    upto: Seq,
    /// The host is renumbering: wait for it however long it takes.
    renumbering: bool,
    /// Give up and wait for the next exchange.
    pub(super) until_ms: u64,
}

impl Replication {
    /// Compares the peer's heads with ours. False: nothing may be pushed now.
    pub(super) fn compare_heads(&mut self, now_ms: u64, peer: NodeId, heads: &[Head]) -> bool {
        let Some(own) = self.site() else { return true };
        for head in heads {
            let (seq, hash) = self.heads.get(&head.site).copied().unwrap_or_default();
            let differs = head.seq == seq && head.hash != hash;
            let is_ahead = head.site == own && head.seq > seq;
            if is_ahead || (differs && self.own_sites.contains(&head.site)) {
                self.check_own_chain(now_ms, peer, head.site, head.seq);
                return false;
            }
            if differs && !self.is_of_one_of_us(peer, head.site) {
                self.stop_site(
                    Dot {
                        site: head.site,
                        seq,
                    },
                    peer,
                );
            }
        }
        true
    }

    /// Whether the site's owner is this node or that peer, so that the owner sorts it out.
    fn is_of_one_of_us(&self, peer: NodeId, site: Site) -> bool {
        self.own_sites.contains(&site)
            || self
                .peers
                .get(&peer)
                .is_some_and(|p| p.own_sites.contains(&site))
    }

    /// The peer knows a site of ours differently: find where the chains part.
    pub(super) fn check_own_chain(&mut self, now_ms: u64, peer: NodeId, site: Site, theirs: Seq) {
        if self.fork.is_some() {
            return;
        }
        let ours = self.applied.get(site);
        let upto = ours.min(theirs);
        self.fork = Some(Check {
            peer,
            site,
            theirs,
            asked: upto,
            upto,
            renumbering: false,
            until_ms: now_ms + self.config.answer_within_ms,
        });
        if upto == 0 && self.site() == Some(site) {
            self.renumber(peer, 0);
        } else if upto == 0 {
            self.fork = None;
        } else {
            self.send(peer, Message::ChainRequest { site, upto });
        }
    }

    pub(super) fn on_chain_request(&mut self, peer: NodeId, site: Site, upto: Seq) {
        self.out.push(Command::ReadChain {
            peer,
            site,
            upto,
            limit: CHAIN_LINKS,
        });
    }

    pub(super) fn on_chain(&mut self, peer: NodeId, site: Site, links: Vec<(Seq, ChainHash)>) {
        let expected = self
            .fork
            .as_ref()
            .is_some_and(|f| f.peer == peer && f.site == site && !f.renumbering);
        if !expected {
            return;
        }
        let Some((lowest, _)) = links.last().copied() else {
            self.fork = None;
            self.reseed(
                peer,
                "changesets of this node's site were collected in another variant",
            );
            return;
        };
        let highest = links.first().map_or(0, |(seq, _)| *seq);
        match &mut self.fork {
            // It has lost since what it said it had: nothing says that the two differ.
            Some(check) if highest < check.upto => {
                self.fork = None;
                return;
            }
            Some(check) => check.asked = lowest,
            None => return,
        }
        self.out.push(Command::CompareChain { peer, site, links });
    }

    pub(super) fn on_compared_chain(&mut self, peer: NodeId, site: Site, agree: Option<Seq>) {
        let Some(check) = self
            .fork
            .as_ref()
            .filter(|f| f.peer == peer && f.site == site && !f.renumbering)
        else {
            return;
        };
        let (theirs, asked) = (check.theirs, check.asked);
        let ours = self.applied.get(site);
        let is_present = self.site() == Some(site);
        let keep = match agree {
            // The peer has only what we have.
            Some(seq) if seq == theirs && seq <= ours => None,
            // Of an earlier site it may have more: what this file lost.
            Some(seq) if seq == ours && !is_present => None,
            Some(seq) => Some(seq.min(ours)),
            None if asked <= 1 => Some(0),
            None => {
                let upto = asked - 1;
                if let Some(check) = &mut self.fork {
                    check.upto = upto;
                }
                self.send(peer, Message::ChainRequest { site, upto });
                return;
            }
        };
        match keep {
            None => self.fork = None,
            Some(keep) if is_present => self.renumber(peer, keep),
            Some(_) => {
                self.fork = None;
                self.reseed(
                    peer,
                    "an earlier site of this node went on in two ways (a restored backup?), and its \
                     peers have the other one",
                );
            }
        }
    }

    fn renumber(&mut self, peer: NodeId, keep: Seq) {
        let Some(site) = self.site() else { return };
        if let Some(check) = &mut self.fork {
            check.renumbering = true;
            check.until_ms = u64::MAX;
        }
        let reason = format!(
            "node {peer} knows other changesets of this site after number {keep}: this file is \
             older than what it once shipped (a restored backup?)"
        );
        self.out.push(Command::NewSite { site, keep, reason });
    }

    pub(super) fn on_new_site(&mut self, now_ms: u64, keep: Head, head: Head) {
        self.fork = None;
        self.set_head(keep);
        self.own_sites.retain(|site| *site != head.site);
        self.own_sites.push(head.site);
        self.set_head(head);
        let durable = self.secured.durable.get(keep.site).min(keep.seq);
        self.secured.durable.set(keep.site, durable);
        for peer in self.peers.values_mut() {
            peer.heads_checked = false;
            peer.exchange_at_ms = now_ms;
        }
    }

    /// Two variants of a changeset were shipped by others.
    pub(super) fn stop_site(&mut self, dot: Dot, peer: NodeId) {
        if self.stopped.insert(dot.site) {
            self.out.push(Command::StopSite { dot, peer });
        }
    }
}
