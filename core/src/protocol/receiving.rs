//! What happens with what arrives: apply, acknowledge, refuse.
//!
//! Batches are applied one at a time, in the order in which they came; each is acknowledged by
//! this replica's standing after it. Messages of nodes that do not count are answered with the
//! member list and otherwise ignored. Invariant: nothing of a peer is applied before its answer to a
//! question of ours was looked at: its own changes must cover the floor, so its sites are to be
//! known, and what it saw of our sites must be what is here, so the chains are to be compared.

use super::event::{Blocked, Command, Head};
use super::message::{Message, PartBytes, Partial, Refusal, Standing, Stop};
use super::status::PeerState;
use super::{Batch, NodeId, Replication};
use crate::site::{Dot, Site};

impl Replication {
    pub(super) fn on_message(&mut self, now_ms: u64, from: NodeId, message: Message) {
        if self.halted.is_some() {
            self.on_message_halted(now_ms, from, &message);
            return;
        }
        if let Message::Refused(refusal) = message {
            self.on_refused(now_ms, from, &refusal);
            return;
        }
        if !self.members.counts(from) {
            // Whoever is away may still bring a newer list; its exclusion outlives that.
            if let (Some(standing), Some(_)) = (message.standing(), self.members.get(from)) {
                self.learn_members(now_ms, from, &standing.members);
            }
            let list = self.members.clone();
            self.send(from, Message::Refused(Refusal::NotMember(list)));
            return;
        }
        if let Some(standing) = message.standing() {
            let joined = self.members.get(from).map_or(0, |m| m.joined);
            if standing.members.version < joined {
                // Sent before it was re-seeded, or by a backup from then: void. What we asked is asked
                // again when it has the list.
                let list = self.members.clone();
                self.send(from, Message::Refused(Refusal::NotMember(list)));
                if let Some(peer) = self.peers.get_mut(&from) {
                    peer.asked = None;
                    peer.exchange_at_ms = now_ms + self.config.backoff_ms.0.max(1);
                }
                return;
            }
            let list = standing.members.clone();
            self.learn_members(now_ms, from, &list);
        }
        if self.halted.is_some() || !self.heard(now_ms, from) {
            return;
        }
        match message {
            Message::Vector {
                ask,
                answer,
                own_sites,
                heads,
                standing,
            } => {
                self.on_vector(now_ms, from, (ask, answer), own_sites, &heads, &standing);
            }
            Message::Push {
                batch,
                standing,
                parts,
            } => {
                self.learn(now_ms, from, &standing, false);
                self.on_push(now_ms, from, batch, parts);
            }
            Message::Ack {
                batch,
                standing,
                partial,
                stop,
            } => {
                self.on_ack(now_ms, from, batch, &standing, partial, stop);
            }
            Message::Pull { standing, partial } => {
                self.learn(now_ms, from, &standing, false);
                self.on_pull(now_ms, from, &standing, partial);
            }
            Message::ChainRequest { site, upto } => self.on_chain_request(from, site, upto),
            Message::Chain { site, links } => self.on_chain(from, site, links),
            Message::Refused(_) => {}
        }
    }

    /// Nothing is shipped or applied, but the others learn that this node knows their list.
    fn on_message_halted(&mut self, now_ms: u64, from: NodeId, message: &Message) {
        if let (Some(standing), Some(_)) = (message.standing(), self.members.get(from)) {
            let list = standing.members.clone();
            self.learn_members(now_ms, from, &list);
        }
        // Who was removed and is a member again is told so, and is not heard before it begins anew.
        if let (Message::Refused(Refusal::NotMember(list)), Some(_)) =
            (message, self.members.get(from))
        {
            let list = list.clone();
            self.learn_members(now_ms, from, &list);
        }
        if let Message::Vector { ask: Some(ask), .. } = message
            && self.members.counts(from)
        {
            let answer = self.vector_message(None, Some(*ask));
            self.send(from, answer);
        }
    }

    /// Notes the contact; false if the sender is no peer.
    fn heard(&mut self, now_ms: u64, from: NodeId) -> bool {
        let Some(peer) = self.peers.get_mut(&from) else {
            return false;
        };
        self.refused_by.remove(&from);
        peer.last_contact_ms = Some(now_ms);
        if peer.failures > 0 {
            peer.failures = 0;
            peer.exchange_at_ms = now_ms;
        }
        if matches!(
            peer.problem,
            Some((
                PeerState::Unreachable | PeerState::Incompatible | PeerState::NotMember,
                _
            ))
        ) {
            peer.problem = None;
        }
        true
    }

    fn learn(&mut self, now_ms: u64, from: NodeId, standing: &Standing, fresh: bool) {
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.learn(now_ms, standing, fresh);
        }
        self.announce_seeds(now_ms);
    }

    fn on_vector(
        &mut self,
        now_ms: u64,
        from: NodeId,
        (ask, answer): (Option<u64>, Option<u64>),
        own_sites: Vec<Site>,
        heads: &[Head],
        standing: &Standing,
    ) {
        let Some(peer) = self.peers.get_mut(&from) else {
            return;
        };
        let fresh = answer.is_some() && answer == peer.asked.map(|(number, _)| number);
        if fresh {
            peer.asked = None;
            peer.own_sites = own_sites;
            if matches!(peer.problem, Some((PeerState::MustReseed, _))) {
                peer.problem = None;
            }
        } else {
            let news = own_sites.iter().any(|site| !peer.own_sites.contains(site));
            if news {
                peer.own_sites.retain(|site| !own_sites.contains(site));
                peer.own_sites.extend(own_sites);
            }
        }
        self.learn(now_ms, from, standing, fresh);
        let agreed = self.compare_heads(now_ms, from, heads);
        if let Some(peer) = self.peers.get_mut(&from).filter(|_| fresh) {
            peer.heads_checked = agreed;
        }
        if let Some(number) = ask {
            let unchecked = self
                .peers
                .get(&from)
                .is_some_and(|p| !p.heads_checked && p.asked.is_none());
            let back = if unchecked {
                self.new_question(now_ms, from)
            } else {
                None
            };
            let message = self.vector_message(back, Some(number));
            self.send(from, message);
        }
    }

    fn on_push(&mut self, now_ms: u64, from: NodeId, number: u64, mut parts: Vec<PartBytes>) {
        self.drop_needless(&mut parts);
        if parts.is_empty() {
            self.acknowledge(from, number, None);
            return;
        }
        self.inbox.retain(|batch| batch.from != from);
        self.inbox.push_back(Batch {
            from,
            number,
            parts,
        });
        if !self.may_apply_of(from) {
            self.ask(now_ms, from);
        }
    }

    /// Whether our chains were compared with this peer's, so that no change of it has seen another
    /// variant of ours than the one that is here.
    fn may_apply_of(&self, peer: NodeId) -> bool {
        self.fork.is_none() && self.peers.get(&peer).is_some_and(|p| p.heads_checked)
    }

    /// Drops parts that are here already or must not be.
    fn drop_needless(&self, parts: &mut Vec<PartBytes>) {
        let own = self.site();
        parts.retain(|part| {
            !self.applied.contains(part.dot)
                && !self.waiting.contains(part.dot)
                && !self.stopped.contains(&part.dot.site)
                && Some(part.dot.site) != own
        });
    }

    pub(super) fn start_apply(&mut self) {
        while self.applying.is_none() {
            let next = (self.inbox.iter()).position(|batch| self.may_apply_of(batch.from));
            let Some(mut batch) = next.and_then(|n| self.inbox.remove(n)) else {
                return;
            };
            let Some(peer) = self.peers.get(&batch.from) else {
                continue;
            };
            if !self.members.counts(batch.from) {
                continue;
            }
            let direct = peer.own_sites.clone();
            self.drop_needless(&mut batch.parts);
            if batch.parts.is_empty() {
                self.acknowledge(batch.from, batch.number, None);
                continue;
            }
            self.applying = Some((batch.from, batch.number));
            self.out.push(Command::Apply {
                from: batch.from,
                parts: batch.parts,
                must_cover: self.collected.clone(),
                direct,
                direct_floor: self.floor.clone(),
            });
        }
    }

    /// Tries now and then to apply what waits: what it lacks comes without a message of a peer.
    pub(super) fn retry_due(&mut self, now_ms: u64) {
        if !self.waiting.is_empty() {
            self.waiting = self.waiting.beyond(&self.applied);
        }
        if self.waiting.is_empty() {
            self.retry_at_ms = None;
        } else if !self.retrying && self.retry_at_ms.unwrap_or(0) <= now_ms {
            self.retrying = true;
            self.retry_at_ms = Some(now_ms + self.config.backoff_ms.1.max(1) / 4 + 1);
            self.out.push(Command::Retry);
        }
    }

    pub(super) fn acknowledge(&mut self, to: NodeId, batch: u64, stop: Option<Stop>) {
        let message = Message::Ack {
            batch,
            standing: self.standing(),
            partial: self.partial.clone(),
            stop,
        };
        self.send(to, message);
    }

    pub(super) fn on_applied(
        &mut self,
        now_ms: u64,
        from: NodeId,
        partial: Vec<Partial>,
        blocked: Option<Blocked>,
    ) {
        self.partial = partial;
        let number = self.applying.take().map_or(0, |(_, number)| number);
        if self.pulling.is_some_and(|(node, _)| node == from) {
            self.pulling = None;
        }
        let stop = match blocked {
            None => None,
            Some(Blocked::Dependencies) => Some(Stop::Dependencies),
            Some(Blocked::Refused | Blocked::Local(_)) => Some(Stop::Later),
            Some(Blocked::Malformed(reason)) => {
                self.note_problem(from, format!("it sent what can't be read: {reason}"));
                Some(Stop::Later)
            }
            Some(Blocked::Fork(dot)) => {
                self.on_fork(now_ms, from, dot);
                Some(Stop::Fork(dot.site))
            }
            Some(Blocked::Stale(dot)) => {
                let refusal = Refusal::StaleChange(dot);
                self.refuse(from, refusal, "it has changes that missed a collection");
                Some(Stop::Later)
            }
        };
        self.acknowledge(from, number, stop);
    }

    /// A pushed changeset does not continue our chain of its site.
    fn on_fork(&mut self, now_ms: u64, from: NodeId, dot: Dot) {
        let owner = self
            .peers
            .get(&from)
            .is_some_and(|p| p.own_sites.contains(&dot.site));
        if self.own_sites.contains(&dot.site) {
            self.check_own_chain(now_ms, from, dot.site, dot.seq);
        } else if !owner {
            self.stop_site(dot, from);
        }
    }

    fn note_problem(&mut self, node: NodeId, reason: String) {
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.problem = Some((PeerState::Waiting, reason));
        }
    }

    fn on_ack(
        &mut self,
        now_ms: u64,
        from: NodeId,
        batch: u64,
        standing: &Standing,
        partial: Vec<Partial>,
        stop: Option<Stop>,
    ) {
        let Some(peer) = self.peers.get_mut(&from) else {
            return;
        };
        if peer.in_flight.is_none_or(|(number, _)| number != batch) {
            self.learn(now_ms, from, standing, false);
            return;
        }
        peer.in_flight = None;
        let progress = peer.known != standing.stored() || peer.partial != partial;
        peer.partial = partial;
        if matches!(peer.problem, Some((PeerState::Waiting, _))) {
            peer.problem = None;
        }
        let pause = self.config.backoff_ms.0.max(1);
        match stop {
            // It was sent all that is here already.
            Some(Stop::Dependencies) if peer.send_all && !progress => {
                peer.retry_at_ms = Some(now_ms + self.config.backoff_ms.1.max(1) / 4);
            }
            Some(Stop::Dependencies) => peer.send_all = true,
            Some(Stop::Later) => {
                let reason = "it can't apply what it was sent now and will be asked again";
                peer.retry_at_ms = Some(now_ms + self.config.backoff_ms.1.max(1) / 4);
                peer.problem = Some((PeerState::Waiting, reason.to_owned()));
            }
            Some(Stop::Fork(_)) | None => {}
        }
        if !progress && peer.retry_at_ms.is_none() {
            peer.retry_at_ms = Some(now_ms + pause);
        }
        self.learn(now_ms, from, standing, true);
        if let Some(Stop::Fork(site)) = stop {
            self.on_fork_at_peer(now_ms, from, site);
        }
    }

    /// The peer has another predecessor of what we pushed.
    fn on_fork_at_peer(&mut self, now_ms: u64, from: NodeId, site: Site) {
        let theirs = self.peers.get(&from).map_or(0, |p| p.known.get(site));
        if self.own_sites.contains(&site) {
            self.check_own_chain(now_ms, from, site, theirs);
        } else {
            self.stop_site(Dot { site, seq: theirs }, from);
        }
    }

    /// Views that exclude each other cannot be united; the one of a majority stands.
    fn on_excluded(&mut self, from: NodeId) {
        if self.members.get(self.me).is_none() {
            // It never was one: there is nobody to begin anew with.
            return;
        }
        self.refused_by.insert(from);
        let refusing = self
            .members
            .iter()
            .filter(|m| self.refused_by.contains(&m.node));
        if refusing.count() * 2 > self.members.iter().count() {
            self.reseed(from, "a majority of the members excluded this node");
            return;
        }
        // Those whom we exclude have not been asked for their view.
        let silent: Vec<NodeId> = self
            .members
            .iter()
            .filter(|m| m.excluded && m.node != self.me && !self.refused_by.contains(&m.node))
            .map(|m| m.node)
            .collect();
        for node in silent {
            let message = self.vector_message(None, None);
            self.send(node, message);
        }
    }

    fn on_refused(&mut self, now_ms: u64, from: NodeId, refusal: &Refusal) {
        match refusal {
            Refusal::Stale(collected) => {
                if !self.applied.covers(collected) && self.members.counts(from) {
                    self.reseed(
                        from,
                        "changesets that this node lacks are gone from its peers' logs",
                    );
                }
            }
            Refusal::StaleChange(dot) => {
                if self.stored().contains(*dot) && self.members.counts(from) {
                    self.reseed(
                        from,
                        "changes of this node came too late to be merged everywhere",
                    );
                }
            }
            Refusal::NotMember(list) => {
                self.learn_members(now_ms, from, list);
                if !list.counts(self.me) && list.version >= self.members.version {
                    self.on_excluded(from);
                }
            }
            Refusal::UnknownPartition => {
                let jitter = self.roll();
                if let Some(peer) = self.peers.get_mut(&from) {
                    peer.fail(now_ms, &self.config, jitter, "");
                    let reason = "it does not hold this partition".to_owned();
                    peer.problem = Some((PeerState::NotMember, reason));
                }
            }
        }
    }
}
