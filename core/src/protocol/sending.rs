//! What is sent to whom and when: exchange, push, relay, pull.
//!
//! Own changes are pushed at once to every peer that lacks them; foreign ones only after the
//! peer has been seen without them for a while, each relayer in its turn, so that a full mesh
//! does not send everything twice. One batch per peer is in flight. Vectors are exchanged on
//! first contact, after failures and periodically. Invariant: whatever is lost, the next
//! exchange shows what is missing.

use super::event::{Command, Range};
use super::message::{Message, PartBytes, Partial, Refusal, Standing};
use super::peer::{Peer, Relay};
use super::status::PeerState;
use super::{NodeId, Replication};
use crate::version_vector::VersionVector;

impl Replication {
    /// This node's full vector message.
    pub(super) fn vector_message(&self, ask: Option<u64>, answer: Option<u64>) -> Message {
        let heads = self.heads.iter().map(|(site, (seq, hash))| super::Head {
            site: *site,
            seq: *seq,
            hash: *hash,
        });
        Message::Vector {
            ask,
            answer,
            own_sites: self.own_sites.clone(),
            heads: heads.collect(),
            standing: self.standing(),
        }
    }

    /// A question number, noted as under way.
    pub(super) fn new_question(&mut self, now_ms: u64, node: NodeId) -> Option<u64> {
        let number = self.roll();
        let peer = self.peers.get_mut(&node)?;
        peer.asked = Some((number, now_ms));
        Some(number)
    }

    pub(super) fn ask(&mut self, now_ms: u64, node: NodeId) {
        if self.peers.get(&node).is_some_and(|p| p.asked.is_none()) {
            let ask = self.new_question(now_ms, node);
            let message = self.vector_message(ask, None);
            self.send(node, message);
        }
    }

    pub(super) fn fail(&mut self, now_ms: u64, node: NodeId, reason: &str) {
        let jitter = self.roll();
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.fail(now_ms, &self.config, jitter, reason);
        }
        if self.pulling.is_some_and(|(from, _)| from == node) {
            self.pulling = None;
        }
    }

    pub(super) fn on_reachable(&mut self, now_ms: u64, node: NodeId) {
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.failures = 0;
            peer.asked = None;
            peer.exchange_at_ms = now_ms;
            if peer.is_incompatible() {
                peer.problem = None;
            }
        }
    }

    pub(super) fn on_compared(&mut self, now_ms: u64, node: NodeId, equal: bool) {
        let next = self.next_exchange(now_ms);
        let Some(peer) = self.peers.get_mut(&node) else {
            return;
        };
        peer.last_contact_ms = Some(now_ms);
        if equal && peer.heads_checked {
            peer.exchange_at_ms = next;
        } else if !equal {
            peer.exchange_at_ms = now_ms;
        }
    }

    /// The time of the next periodical exchange.
    pub(super) fn next_exchange(&mut self, now_ms: u64) -> u64 {
        let every = self.config.exchange_every_ms;
        now_ms + every + self.roll() % (every / 4 + 1)
    }

    /// Whether it makes sense to talk to this peer.
    pub(super) fn talks_to(&self, node: NodeId) -> bool {
        self.members.counts(node) && self.peers.get(&node).is_some_and(|p| !p.is_incompatible())
    }

    /// What was under way for too long counts as lost.
    pub(super) fn expire(&mut self, now_ms: u64) {
        let within = self.config.answer_within_ms;
        let late: Vec<NodeId> = self
            .peers
            .iter()
            .filter(|(_, p)| {
                let since = |sent: Option<(u64, u64)>| sent.map(|(_, at)| at + within);
                let due = [since(p.asked), since(p.in_flight)]
                    .into_iter()
                    .flatten()
                    .min();
                due.is_some_and(|due| due <= now_ms)
            })
            .map(|(node, _)| *node)
            .collect();
        for node in late {
            self.fail(now_ms, node, "no answer in time");
        }
        if self.fork.as_ref().is_some_and(|f| f.until_ms <= now_ms) {
            self.fork = None;
        }
        for peer in self.peers.values_mut() {
            if peer.retry_at_ms.is_some_and(|at| at <= now_ms) {
                peer.retry_at_ms = None;
            }
        }
    }

    pub(super) fn exchange_due(&mut self, now_ms: u64) {
        let due: Vec<NodeId> = self
            .peers
            .iter()
            .filter(|(node, p)| {
                p.exchange_at_ms <= now_ms && p.asked.is_none() && self.talks_to(**node)
            })
            .map(|(node, _)| *node)
            .collect();
        for node in due {
            let next = self.next_exchange(now_ms);
            if let Some(peer) = self.peers.get_mut(&node) {
                peer.exchange_at_ms = next;
            }
            self.ask(now_ms, node);
        }
    }

    pub(super) fn push_all(&mut self, now_ms: u64) {
        if self.fork.is_some() {
            return;
        }
        let nodes: Vec<NodeId> = self.peers.keys().copied().collect();
        for node in nodes {
            if self.talks_to(node) {
                self.note_foreign(now_ms, node);
                self.push(now_ms, node);
            }
        }
    }

    fn push(&mut self, now_ms: u64, node: NodeId) {
        let Some(peer) = self.peers.get(&node) else {
            return;
        };
        if !peer.heads_checked || peer.reading || peer.in_flight.is_some() {
            return;
        }
        if !peer.known.covers(&self.collected) {
            let refusal = Refusal::Stale(self.collected.clone());
            self.refuse(
                node,
                refusal,
                "it lacks changesets that are no longer in the log",
            );
            return;
        }
        if peer.retry_at_ms.is_some() {
            return;
        }
        let ripe = self.relay_ripe(now_ms, node);
        let ranges = self.ranges(peer, ripe);
        if ranges.is_empty() {
            let fresh = peer.is_fresh_for_relay(&self.config);
            if ripe && fresh {
                // What it lacked is not ours to relay any more.
                if let Some(peer) = self.peers.get_mut(&node) {
                    peer.relay = None;
                }
            } else if ripe {
                self.ask(now_ms, node);
            }
            return;
        }
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.reading = true;
        }
        let limit_bytes = self.config.batch_bytes;
        self.out.push(Command::Read {
            peer: node,
            ranges,
            limit_bytes,
        });
    }

    /// Tells a peer why it gets nothing; it is asked again at the next exchange.
    pub(super) fn refuse(&mut self, node: NodeId, refusal: Refusal, reason: &str) {
        self.send(node, Message::Refused(refusal));
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.heads_checked = false;
            let reason = format!("{reason}; it must take a snapshot");
            peer.problem = Some((PeerState::MustReseed, reason));
        }
    }

    /// What to read for this peer now.
    fn ranges(&self, peer: &Peer, ripe: bool) -> Vec<Range> {
        let fresh = ripe && peer.is_fresh_for_relay(&self.config);
        let mut ranges = Vec::new();
        for (site, have) in self.stored().iter() {
            let after = peer.known.get(site);
            if have <= after || self.stopped.contains(&site) || peer.site() == Some(site) {
                continue;
            }
            let upto = if peer.send_all || self.own_sites.contains(&site) {
                have
            } else {
                let seen = peer.relay.as_ref().map_or(0, |relay| relay.upto.get(site));
                if fresh { seen.min(have) } else { 0 }
            };
            if upto > after {
                let parts = peer.stored_parts(site, after + 1);
                ranges.push(Range {
                    site,
                    after,
                    upto,
                    parts,
                });
            }
        }
        ranges
    }

    /// The foreign changes that this peer lacks, as far as we may relay them.
    fn foreign(&self, peer: &Peer) -> VersionVector {
        self.stored()
            .iter()
            .filter(|(site, seq)| {
                *seq > peer.known.get(*site)
                    && !self.own_sites.contains(site)
                    && !self.stopped.contains(site)
                    && peer.site() != Some(*site)
            })
            .collect()
    }

    fn note_foreign(&mut self, now_ms: u64, node: NodeId) {
        let Some(peer) = self.peers.get(&node) else {
            return;
        };
        let done = peer
            .relay
            .as_ref()
            .is_none_or(|relay| peer.known.covers(&relay.upto));
        if !done {
            return;
        }
        let upto = self.foreign(peer);
        let relay = (!upto.is_empty()).then_some(Relay {
            since_ms: now_ms,
            upto,
        });
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.send_all &= relay.is_some();
            peer.relay = relay;
        }
    }

    /// When this node may relay to that one: relayers take turns.
    fn relay_due(&self, node: NodeId) -> Option<u64> {
        let since = self.peers.get(&node)?.relay.as_ref()?.since_ms;
        let count = self.members.iter().count().max(1);
        let place = |n: NodeId| self.members.iter().position(|m| m.node == n).unwrap_or(0);
        let turn = (place(self.me) + count - place(node) - 1) % count;
        let step = self.config.relay_after_ms / 2;
        Some(since + self.config.relay_after_ms + step * turn as u64)
    }

    fn relay_ripe(&self, now_ms: u64, node: NodeId) -> bool {
        self.relay_due(node).is_some_and(|due| due <= now_ms)
    }

    pub(super) fn on_read(&mut self, now_ms: u64, node: NodeId, parts: Vec<PartBytes>) {
        let batch = self.roll();
        let standing = self.standing();
        let talks = self.talks_to(node) && self.fork.is_none();
        let pause = self.config.backoff_ms.0.max(1);
        let Some(peer) = self.peers.get_mut(&node) else {
            return;
        };
        peer.reading = false;
        if parts.is_empty() {
            // The log changed meanwhile (renumbered, collected); look again soon.
            peer.retry_at_ms = Some(now_ms + pause);
        } else if talks && peer.heads_checked {
            peer.in_flight = Some((batch, now_ms));
            self.send(
                node,
                Message::Push {
                    batch,
                    standing,
                    parts,
                },
            );
        }
    }

    pub(super) fn on_pull(
        &mut self,
        now_ms: u64,
        node: NodeId,
        pull: &Standing,
        partial: Vec<Partial>,
    ) {
        let Some(peer) = self.peers.get_mut(&node) else {
            return;
        };
        // A late pull makes us send something twice, nothing worse: refusing needs an answer.
        if !pull.applied.covers(&self.collected) {
            peer.heads_checked = false;
            peer.exchange_at_ms = now_ms;
            return;
        }
        peer.applied = pull.applied.clone();
        peer.known = pull.stored();
        peer.partial = partial;
        peer.send_all = true;
        peer.relay = None;
    }

    /// Pulls what one peer has and we still lack, from one peer at a time.
    pub(super) fn pull_due(&mut self, now_ms: u64) {
        let config = &self.config;
        let wait = config.relay_after_ms * 3;
        let (applied, waiting) = (&self.applied, &self.waiting);
        let own = self.own_sites.last().copied();
        for peer in self.peers.values_mut() {
            let ahead = peer.known.iter().any(|(site, seq)| {
                seq > applied.get(site).max(waiting.get(site))
                    && Some(site) != own
                    && !self.stopped.contains(&site)
            });
            peer.pull_at_ms = match (ahead && peer.heads_checked, peer.pull_at_ms) {
                (false, _) => None,
                (true, None) => Some(now_ms + wait),
                (true, at) => at,
            };
        }
        if self.pulling.is_some_and(|(_, until)| until <= now_ms) {
            self.pulling = None;
        }
        let due = self
            .peers
            .iter()
            .find(|(node, p)| p.pull_at_ms.is_some_and(|at| at <= now_ms) && self.talks_to(**node))
            .map(|(node, _)| *node);
        let Some(node) = due else { return };
        let pause = config.answer_within_ms;
        let busy = self.pulling.map(|(_, until)| until);
        let standing = self.standing();
        let partial = self.partial.clone();
        if busy.is_none() {
            self.pulling = Some((node, now_ms + pause));
            self.send(node, Message::Pull { standing, partial });
        }
        let later = busy.unwrap_or(now_ms + pause).max(now_ms + 1);
        for peer in self.peers.values_mut() {
            if peer.pull_at_ms.is_some_and(|at| at <= now_ms) {
                peer.pull_at_ms = Some(later);
            }
        }
    }

    /// When something must be done about this peer.
    pub(super) fn peer_deadline(&self, node: NodeId) -> Option<u64> {
        let peer = self.peers.get(&node)?;
        let mut due: Vec<u64> = self.exclusion_due(node).into_iter().collect();
        if self.talks_to(node) {
            let within = self.config.answer_within_ms;
            due.extend(peer.asked.or(peer.in_flight).map(|(_, at)| at + within));
            due.extend(peer.in_flight.map(|(_, at)| at + within));
            due.extend(peer.asked.is_none().then_some(peer.exchange_at_ms));
            due.extend(peer.retry_at_ms);
            due.extend(peer.pull_at_ms);
            let may_relay = peer.heads_checked
                && peer.in_flight.is_none()
                && peer.asked.is_none()
                && !peer.reading
                && peer.retry_at_ms.is_none()
                && self.fork.is_none();
            due.extend(self.relay_due(node).filter(|_| may_relay));
        }
        due.into_iter().min()
    }
}

impl Peer {
    /// Whether it was heard late enough after it began to lack something to relay on that.
    fn is_fresh_for_relay(&self, config: &super::Config) -> bool {
        self.relay
            .as_ref()
            .is_some_and(|relay| self.heard_ms >= relay.since_ms + config.relay_after_ms / 2)
    }
}
