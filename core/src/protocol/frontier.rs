//! What may be collected: reports, the floor, the frontier, exclusion.
//!
//! Collection takes two rounds, so that the refusal of a late change is unanimous:
//!
//! 1. *Floor.* The pointwise minimum of all members' accepted durable vectors. A node stores it
//!    durably and from then on refuses changes that do not cover it from their author's node.
//!    Whoever wrote such a change has forgotten its own report (a restored backup).
//! 2. *Frontier.* The pointwise minimum of all members' stored floors. Records in it may go:
//!    no member accepts a change any more that had not seen them, and what a member accepted
//!    before it raised its floor is in its report, which counts only once it is applied here.
//!
//! A report also names the member list it was made under and counts only if that list says all
//! that ours says: whom we exclude, its sender refuses too. Invariant: `collected` never
//! exceeds any counting member's stored floor, nor any floor its stored durable vector.

use super::event::Command;
use super::message::Standing;
use super::status::PeerState;
use super::{NodeId, Replication};
use crate::version_vector::VersionVector;

impl Replication {
    /// Where this replica stands, for messages.
    pub(super) fn standing(&self) -> Standing {
        Standing {
            applied: self.applied.clone(),
            waiting: self.waiting.clone(),
            durable: self.secured.durable.clone(),
            floor: self.secured.floor.clone(),
            members: self.secured.members.clone(),
        }
    }

    /// The minimum over all counting members of what `field` takes from their reports; `None`
    /// while someone has not reported under our member list.
    fn minimum(&self, field: impl Fn(&Standing) -> &VersionVector) -> Option<VersionVector> {
        if !self.members.counts(self.me) {
            return None;
        }
        let own = self.standing();
        let mut minimum = field(&own).clone();
        for member in self
            .members
            .iter()
            .filter(|m| !m.excluded && m.node != self.me)
        {
            let report = self.peers.get(&member.node)?.accepted.as_ref()?;
            if !report.members.covers(&self.members) {
                return None;
            }
            minimum.meet(field(report));
        }
        own.members.covers(&self.members).then_some(minimum)
    }

    /// Stores a member list that was learnt after this replica had halted: its report is what
    /// other members that begin anew wait for.
    pub(super) fn store_members(&mut self, now_ms: u64) {
        let paused = self.secure_retry_ms.is_some_and(|at| at > now_ms);
        if !paused && self.securing.is_none() && self.members != self.secured.members {
            self.securing = Some((self.floor.clone(), self.members.clone()));
            self.out.push(Command::Secure {
                floor: self.floor.clone(),
                members: self.members.clone(),
            });
        }
    }

    /// Accepts reports, raises the floor, collects: whatever is due.
    pub(super) fn advance_frontier(&mut self, now_ms: u64) {
        for peer in self.peers.values_mut() {
            peer.accept(&self.applied);
        }
        // What waits may not have seen what would be collected, and its author may be gone: nothing is,
        // anywhere, until it is applied here.
        let minimum = self.minimum(|s| &s.durable);
        let wanted = match minimum.filter(|_| self.waiting.is_empty()) {
            Some(mut minimum) => {
                minimum.join(&self.floor);
                minimum
            }
            None => self.floor.clone(),
        };
        let growth = wanted.total().saturating_sub(self.secured.floor.total());
        note(&mut self.floor_since_ms, now_ms, growth > 0);
        note(
            &mut self.dirty_since_ms,
            now_ms,
            self.applied != self.secured.durable,
        );
        self.floor_due_now = growth >= self.config.collect_changesets && growth > 0;
        if self.secure_due().is_some_and(|due| due <= now_ms) {
            self.floor = wanted;
            self.floor_since_ms = None;
            self.floor_due_now = false;
            self.secure_retry_ms = None;
            self.securing = Some((self.floor.clone(), self.members.clone()));
            self.out.push(Command::Secure {
                floor: self.floor.clone(),
                members: self.members.clone(),
            });
        }
        self.collect();
    }

    /// When the file must be made durable next.
    pub(super) fn secure_due(&self) -> Option<u64> {
        if self.securing.is_some() {
            return None;
        }
        let config = &self.config;
        let must_now = self.members != self.secured.members || self.floor_due_now;
        let due = [
            must_now.then_some(0),
            self.dirty_since_ms
                .map(|since| since + config.secure_after_ms),
            self.floor_since_ms
                .map(|since| since + config.collect_after_ms),
        ];
        let due = due.into_iter().flatten().min()?;
        Some(due.max(self.secure_retry_ms.unwrap_or(0)))
    }

    fn collect(&mut self) {
        if self.collecting {
            return;
        }
        let Some(frontier) = self.minimum(|s| &s.floor) else {
            return;
        };
        if !self.collected.covers(&frontier) {
            let mut target = frontier;
            target.join(&self.collected);
            self.collecting = true;
            self.out.push(Command::Collect(target));
        }
    }

    pub(super) fn on_secured(&mut self, now_ms: u64, vector: VersionVector) {
        let Some((floor, members)) = self.securing.take() else {
            return;
        };
        let mut durable = vector;
        durable.meet(&self.applied);
        let before = self.standing();
        if members != self.secured.members {
            self.partial.clear();
        }
        self.secured = super::Secured {
            durable,
            floor,
            members,
        };
        if self.standing() == before {
            return;
        }
        if self.secured.members != before.members {
            // Whoever found our older list too old may hear us now.
            for peer in self.peers.values_mut().filter(|p| !p.heads_checked) {
                peer.asked = None;
                peer.exchange_at_ms = now_ms;
            }
        }
        // A lost report is repeated by the next exchange.
        let message = self.vector_message(None, None);
        let listening: Vec<NodeId> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.failures == 0 && peer.heads_checked)
            .map(|(node, _)| *node)
            .collect();
        for to in listening {
            self.send(to, message.clone());
        }
        self.announce_seeds(now_ms);
    }

    pub(super) fn on_collected(&mut self, frontier: &VersionVector) {
        self.collecting = false;
        self.collected.join(frontier);
    }

    /// Excludes members that were silent for too long.
    pub(super) fn exclude_silent(&mut self, now_ms: u64) {
        let silent: Vec<NodeId> = self
            .peers
            .iter()
            .filter(|(node, _)| self.exclusion_due(**node).is_some_and(|due| due <= now_ms))
            .map(|(node, _)| *node)
            .collect();
        for node in silent {
            if self.members.exclude(node) {
                self.mark_excluded(node);
            }
        }
    }

    /// When this peer will have been silent for too long, if it may be excluded at all: a
    /// strict majority, this node included, must have been heard of clearly later. (A node that
    /// is cut off from all would otherwise exclude the first minority that comes to its mind.)
    pub(super) fn exclusion_due(&self, node: NodeId) -> Option<u64> {
        let after = self.config.exclude_after_ms;
        let heard = |node: NodeId| {
            let peer = self.peers.get(&node)?;
            Some(peer.last_contact_ms.unwrap_or(peer.since_ms))
        };
        let since = heard(node)?;
        let later = |other: NodeId| heard(other).is_some_and(|at| at > since + after / 2);
        let in_touch = self
            .members
            .iter()
            .filter(|m| !m.excluded && (m.node == self.me || later(m.node)))
            .count();
        let possible = after > 0
            && self.halted.is_none()
            && self.members.counts(node)
            && self.members.counts(self.me)
            && in_touch * 2 > self.members.iter().count();
        possible.then_some(since + after)
    }

    fn mark_excluded(&mut self, node: NodeId) {
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.problem = Some((
                PeerState::MustReseed,
                "away for too long: nobody waits for it any more; it must take a snapshot".into(),
            ));
        }
    }

    /// Takes over a newer member list and draws the consequences for this node.
    pub(super) fn learn_members(&mut self, now_ms: u64, from: NodeId, list: &super::Members) {
        let before = self.members.clone();
        let joined = before.get(self.me).map(|m| m.joined);
        if !self.members.learn(list) {
            return;
        }
        // What was known of a member's earlier life is void.
        let lives_on = |node: NodeId| {
            let now = self.members.get(node).map(|m| m.joined);
            now.is_some() && now == before.get(node).map(|m| m.joined)
        };
        self.peers.retain(|node, _| lives_on(*node));
        self.inbox.retain(|batch| lives_on(batch.from));
        self.add_peers(now_ms);
        let excluded: Vec<NodeId> = self
            .members
            .iter()
            .filter(|m| m.excluded)
            .map(|m| m.node)
            .collect();
        for node in excluded {
            self.mark_excluded(node);
        }
        match self.members.get(self.me) {
            // A file that was copied here by hand never made this node a member.
            None if joined.is_none() => {}
            None => {
                self.halted = Some("this node was removed from the member list".into());
            }
            Some(me) if me.excluded => {
                self.reseed(from, "this node was away for too long and was excluded");
            }
            Some(_) if joined.is_none() && self.halted.is_some() => {
                // It knew already that it was removed.
                self.reseed(
                    from,
                    "this node was removed, and is a member again: it begins from a snapshot",
                );
            }
            Some(me) if self.is_over(&me) => self.reseed(from, super::ENDED),
            Some(me) if joined.is_none() => {
                self.life = Some(me.joined);
                // Until now nobody would talk to it.
                for peer in self.peers.values_mut() {
                    peer.asked = None;
                    peer.failures = 0;
                    peer.exchange_at_ms = now_ms;
                }
            }
            Some(_) => {}
        }
        self.announce_seeds(now_ms);
    }

    /// Whether all present members know that `node` joins, so that a snapshot of this replica
    /// can make it a member. From then on they refuse messages of its earlier life, and this
    /// replica has all that they had accepted of it: what a re-seeded node finds missing in
    /// the snapshot is nowhere else, and may be re-issued.
    #[must_use]
    pub fn may_seed(&self, node: NodeId) -> bool {
        let counted = |n: NodeId| n != node && n != self.me;
        let stored = self.stored();
        self.halted.is_none()
            && self.members.counts(node)
            && self.members.counts(self.me)
            && self.secured.members.covers(&self.members)
            && self
                .members
                .iter()
                .filter(|m| !m.excluded && counted(m.node) && !self.holds_nothing(m.node))
                .all(|m| {
                    let Some(peer) = self.peers.get(&m.node) else {
                        return false;
                    };
                    let told = peer.latest.as_ref().or(peer.pending.as_ref());
                    let told = told.or(peer.accepted.as_ref());
                    // What it wrote itself is not of the joiner's earlier life; it ships that,
                    // or, if it begins anew too, re-issues it.
                    let own = |site| peer.own_sites.contains(&site);
                    // Not what it is known to have: an answer to a question from before that report may
                    // have come after it, and counts for what is to be sent.
                    told.is_some_and(|standing| {
                        let mut had = standing.stored();
                        had.join(&peer.known);
                        standing.members.covers(&self.members)
                            && had
                                .iter()
                                .all(|(site, seq)| stored.get(site) >= seq || own(site))
                    })
                })
    }

    /// Whether the member said that it does not hold the partition (yet): it has accepted
    /// nothing of anybody, and its snapshot brings the member list. Members that join at the
    /// same time would wait for each other otherwise.
    fn holds_nothing(&self, node: NodeId) -> bool {
        let peer = self.peers.get(&node);
        peer.is_some_and(|p| matches!(p.problem, Some((PeerState::NotMember, _))))
    }

    /// Tells the host, once, whom it may give a snapshot.
    pub(super) fn announce_seeds(&mut self, _now_ms: u64) {
        let joining: Vec<(NodeId, u64)> = self
            .members
            .iter()
            .filter(|m| {
                let new = m.joined == self.members.version || self.holds_nothing(m.node);
                m.node != self.me && new
            })
            .map(|m| (m.node, m.joined))
            .collect();
        for (node, joined) in joining {
            if self.announced.get(&node) != Some(&joined) && self.may_seed(node) {
                self.announced.insert(node, joined);
                self.out.push(Command::Seed(node));
            }
        }
    }
}

/// Starts or clears a stopwatch.
fn note(since: &mut Option<u64>, now_ms: u64, running: bool) {
    *since = match (running, *since) {
        (false, _) => None,
        (true, None) => Some(now_ms),
        (true, started) => started,
    };
}
