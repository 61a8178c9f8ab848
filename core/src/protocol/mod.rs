//! Replication of one partition on one node: events in, commands out.
//!
//! In reading order: [`event`] (what goes in and out), [`member`] (who takes part),
//! [`message`] (what nodes say), [`status`] (what humans see); then the decisions: `peer`
//! (what is known of a peer), `sending` (exchange, push, relay, pull), `receiving` (apply,
//! acknowledge, refuse), `fork` (numbers used twice), `frontier` (what may be collected).
//! No I/O and no clock in here: every event comes with the host's time in milliseconds (any
//! monotonic origin), and [`Replication::next_deadline`] says when the host must call again at
//! the latest.
//!
//! A host wraps it like this: open the file, [`Replication::new`]; feed every event to
//! [`Replication::handle`] and carry out the returned commands in order; sleep until
//! `next_deadline`; now and then compare [`Replication::digest`] of all partitions with each
//! peer by one [`Summary`], and feed [`Event::Compared`]: that postpones the partition's own
//! exchange, so that idle partitions cost nothing.

pub mod event;
mod fork;
mod frontier;
pub mod member;
pub mod message;
mod peer;
mod receiving;
mod sending;
pub mod status;
#[cfg(test)]
mod tests;
mod wire;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub use event::{Blocked, Command, Config, Event, Head, Opened, Range, Work};
pub use member::{Member, Members, NodeId};
pub use message::{
    Envelope, EnvelopeError, Message, PROTOCOL, PartBytes, Partial, Refusal, Standing, Stop,
    Summary,
};
pub use status::{PeerState, PeerStatus, Status};

use crate::changeset::{ChainHash, put_vector};
use crate::site::{Seq, Site};
use crate::version_vector::VersionVector;
use peer::{Peer, Peers};

/// What the file certainly holds after a power cut.
#[derive(Debug)]
struct Secured {
    durable: VersionVector,
    floor: VersionVector,
    members: Members,
}

/// A batch that waits to be applied.
#[derive(Debug)]
struct Batch {
    from: NodeId,
    number: u64,
    parts: Vec<PartBytes>,
}

/// Why this replica begins anew when the list says so.
const ENDED: &str = "the members expect this node to begin from a snapshot";

/// The state machine.
#[derive(Debug)]
pub struct Replication {
    me: NodeId,
    config: Config,
    /// The last one is the present one.
    own_sites: Vec<Site>,
    heads: BTreeMap<Site, (Seq, ChainHash)>,
    /// The heads' numbers.
    applied: VersionVector,
    /// Up to where whole changesets wait beyond that (R11). They are acknowledged as stored, handed on
    /// like others, and never reported as durable.
    waiting: VersionVector,
    secured: Secured,
    /// In force for refusals; stored with the next `Secure`.
    floor: VersionVector,
    /// In force; stored with the next `Secure`.
    members: Members,
    /// The list's version when this node joined with the content that it has.
    life: Option<u64>,
    collected: VersionVector,
    peers: Peers,
    /// Batches that arrived while another one was applied: at most one per peer.
    inbox: VecDeque<Batch>,
    applying: Option<(NodeId, u64)>,
    retrying: bool,
    /// When to try again to apply what waits.
    retry_at_ms: Option<u64>,
    /// Changesets that are stored in part.
    partial: Vec<Partial>,
    securing: Option<(VersionVector, Members)>,
    dirty_since_ms: Option<u64>,
    floor_since_ms: Option<u64>,
    floor_due_now: bool,
    secure_retry_ms: Option<u64>,
    collecting: bool,
    /// Nobody else is pulled from until then.
    pulling: Option<(NodeId, u64)>,
    fork: Option<fork::Check>,
    /// Sites with two shipped variants of a changeset.
    stopped: BTreeSet<Site>,
    /// Joining members that the host has been told to seed: list version.
    announced: BTreeMap<NodeId, u64>,
    /// Members whose list excludes this node.
    refused_by: BTreeSet<NodeId>,
    /// Why this replica neither ships nor applies.
    halted: Option<String>,
    /// It halted because it begins anew, and the host has been told.
    reseeding: bool,
    started_ms: Option<u64>,
    random: u64,
    out: Vec<Command>,
}

impl Replication {
    /// Replication of the partition whose file was found as `opened`, on the node `me`.
    #[must_use]
    pub fn new(me: NodeId, config: Config, opened: Opened) -> Self {
        let heads: BTreeMap<Site, (Seq, ChainHash)> = opened
            .heads
            .iter()
            .map(|h| (h.site, (h.seq, h.hash)))
            .collect();
        let mut own_sites = opened.own_sites;
        own_sites.retain(|site| *site != opened.site);
        own_sites.push(opened.site);
        Self {
            me,
            config,
            own_sites,
            applied: heads.iter().map(|(site, (seq, _))| (*site, *seq)).collect(),
            heads,
            waiting: opened.waiting,
            secured: Secured {
                durable: opened.durable,
                floor: opened.floor.clone(),
                members: opened.members.clone(),
            },
            floor: opened.floor,
            life: opened.life.or(opened.members.get(me).map(|m| m.joined)),
            members: opened.members,
            collected: opened.collected,
            peers: Peers::new(),
            inbox: VecDeque::new(),
            applying: None,
            retrying: false,
            retry_at_ms: None,
            partial: Vec::new(),
            securing: None,
            dirty_since_ms: None,
            floor_since_ms: None,
            floor_due_now: false,
            secure_retry_ms: None,
            collecting: false,
            pulling: None,
            fork: None,
            stopped: BTreeSet::new(),
            announced: BTreeMap::new(),
            refused_by: BTreeSet::new(),
            halted: None,
            reseeding: false,
            started_ms: None,
            random: opened.entropy,
            out: Vec::new(),
        }
    }

    /// Takes a fact, answers with what to do, in order.
    pub fn handle(&mut self, now_ms: u64, event: Event) -> Vec<Command> {
        if self.started_ms.is_none() {
            self.started_ms = Some(now_ms);
            self.add_peers(now_ms);
            self.recall();
        }
        self.take(now_ms, event);
        if self.halted.is_none() {
            self.expire(now_ms);
            self.exclude_silent(now_ms);
            self.advance_frontier(now_ms);
            self.start_apply();
            self.retry_due(now_ms);
            self.exchange_due(now_ms);
            self.push_all(now_ms);
            self.pull_due(now_ms);
        } else {
            self.store_members(now_ms);
        }
        std::mem::take(&mut self.out)
    }

    fn take(&mut self, now_ms: u64, event: Event) {
        match event {
            Event::Tick => {}
            Event::Committed(head) => self.on_committed(head),
            Event::Advanced(heads) => heads.into_iter().for_each(|head| self.set_head(head)),
            Event::Received { from, message } => self.on_message(now_ms, from, message),
            Event::Reachable(node) => self.on_reachable(now_ms, node),
            Event::Unreachable { peer, reason } => self.fail(now_ms, peer, &reason),
            Event::Incompatible { peer, reason } => {
                self.fail(now_ms, peer, &reason);
                if let Some(peer) = self.peers.get_mut(&peer) {
                    peer.problem = Some((PeerState::Incompatible, reason));
                }
            }
            Event::Compared { peer, equal } => self.on_compared(now_ms, peer, equal),
            Event::Read { peer, parts } => self.on_read(now_ms, peer, parts),
            Event::Applied {
                from,
                heads,
                waiting,
                partial,
                blocked,
            } => {
                self.note_stored(&heads, waiting);
                self.on_applied(now_ms, from, partial, blocked);
            }
            Event::Retried { heads, waiting } => {
                self.retrying = false;
                self.note_stored(&heads, waiting);
            }
            Event::Secured(vector) => self.on_secured(now_ms, vector),
            Event::Collected(frontier) => self.on_collected(&frontier),
            Event::NewSite { keep, head } => self.on_new_site(now_ms, keep, head),
            Event::ReadChain { peer, site, links } => {
                self.send(peer, Message::Chain { site, links });
            }
            Event::CompareChain { peer, site, agree } => self.on_compared_chain(peer, site, agree),
            Event::Members(list) => self.learn_members(now_ms, self.me, &list),
            Event::Failed(work) => self.on_failed(now_ms, work),
        }
    }

    fn on_committed(&mut self, head: Head) {
        if self.own_sites.last() != Some(&head.site) {
            // The file took a new site by itself (a new boot, a copied file).
            self.own_sites.retain(|site| *site != head.site);
            self.own_sites.push(head.site);
        }
        self.set_head(head);
    }

    fn set_head(&mut self, head: Head) {
        self.applied.set(head.site, head.seq);
        if head.seq == 0 {
            self.heads.remove(&head.site);
        } else {
            self.heads.insert(head.site, (head.seq, head.hash));
        }
    }

    /// What came into the file.
    fn note_stored(&mut self, heads: &[Head], waiting: VersionVector) {
        for head in heads {
            self.set_head(*head);
        }
        self.waiting = waiting;
    }

    /// What is here and may be handed on: applied, and whole but waiting.
    fn stored(&self) -> Cow<'_, VersionVector> {
        if self.waiting.is_empty() {
            return Cow::Borrowed(&self.applied);
        }
        let mut stored = self.applied.clone();
        stored.join(&self.waiting);
        Cow::Owned(stored)
    }

    /// The site under which this file writes now.
    fn site(&self) -> Option<Site> {
        self.own_sites.last().copied()
    }

    fn add_peers(&mut self, now_ms: u64) {
        for member in self.members.iter().filter(|m| m.node != self.me) {
            self.peers.entry(member.node).or_insert_with(|| Peer {
                since_ms: now_ms,
                exchange_at_ms: now_ms,
                ..Peer::default()
            });
        }
    }

    fn on_failed(&mut self, now_ms: u64, work: Work) {
        match work {
            Work::Read(node) => {
                if let Some(peer) = self.peers.get_mut(&node) {
                    peer.reading = false;
                    peer.retry_at_ms = Some(now_ms + self.config.backoff_ms.0.max(1));
                }
                self.fork = None;
            }
            Work::Apply => {
                if let Some((from, number)) = self.applying.take() {
                    self.acknowledge(from, number, Some(Stop::Later));
                }
            }
            Work::Retry => self.retrying = false,
            Work::Secure => {
                self.securing = None;
                self.secure_retry_ms = Some(now_ms + self.config.secure_after_ms.max(1));
            }
            Work::Collect => self.collecting = false,
            Work::NewSite => self.fork = None,
        }
    }

    /// This replica can't go on with what it has.
    fn reseed(&mut self, donor: NodeId, reason: &str) {
        // Who was removed and is a member again has not been told where to begin yet.
        let removed = self.halted.is_some() && !self.reseeding;
        if self.halted.is_none() || removed {
            self.halted = Some(reason.to_owned());
            self.reseeding = true;
            self.out.push(Command::Reseed {
                donor,
                reason: reason.to_owned(),
            });
        }
    }

    /// It may have stored that it must begin anew, and have been opened again before it did.
    fn recall(&mut self) {
        if self.members.get(self.me).is_some_and(|m| self.is_over(&m)) {
            let me = self.me;
            let donor = self.members.iter().find(|m| m.node != me && !m.excluded);
            self.reseed(donor.map_or(me, |m| m.node), ENDED);
        }
    }

    /// Whether this content is of a life that ended when this member, which is this node, joined again.
    fn is_over(&self, me: &Member) -> bool {
        self.life.is_some_and(|life| me.joined > life)
    }

    fn send(&mut self, to: NodeId, message: Message) {
        self.out.push(Command::Send { to, message });
    }

    /// Random bits (splitmix64).
    fn roll(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The member list in force.
    #[must_use]
    pub fn members(&self) -> &Members {
        &self.members
    }

    /// When to give [`Event::Tick`] if nothing else happens; `None`: not at all.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        if self.halted.is_some() {
            return None;
        }
        if self.started_ms.is_none() {
            return Some(0);
        }
        let of_peers = self
            .peers
            .keys()
            .filter_map(|node| self.peer_deadline(*node));
        let retry = self.retry_at_ms.filter(|_| !self.retrying);
        let own = [
            self.secure_due(),
            self.fork.as_ref().map(|f| f.until_ms),
            retry,
        ];
        of_peers.chain(own.into_iter().flatten()).min()
    }

    /// Equal on two nodes whose replicas have and apply the same changesets and reported the same.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let mut bytes = Vec::with_capacity(64 * self.heads.len());
        for (site, (seq, hash)) in &self.heads {
            bytes.extend_from_slice(&site.get().to_be_bytes());
            bytes.extend_from_slice(&seq.to_be_bytes());
            bytes.extend_from_slice(&hash.0);
        }
        put_vector(&mut bytes, &self.waiting);
        put_vector(&mut bytes, &self.secured.durable);
        put_vector(&mut bytes, &self.secured.floor);
        self.secured.members.encode(&mut bytes);
        let hash = blake3::hash(&bytes);
        hash.as_bytes()
            .iter()
            .take(8)
            .fold(0, |n, byte| (n << 8) | u64::from(*byte))
    }

    /// For humans.
    #[must_use]
    pub fn status(&self) -> Status {
        let peers = self
            .peers
            .iter()
            .map(|(node, peer)| self.peer_status(*node, peer));
        let mut durable = self.secured.durable.clone();
        durable.meet(&self.applied);
        Status {
            peers: peers.collect(),
            applied: self.applied.total(),
            durable: durable.total(),
            collected: self.collected.total(),
            must_reseed: self.halted.clone(),
            stopped_sites: self.stopped.iter().copied().collect(),
        }
    }

    fn peer_status(&self, node: NodeId, peer: &Peer) -> PeerStatus {
        let lacks = missing(&peer.applied, &self.applied);
        let waits = missing(&peer.applied, &peer.known);
        let (state, reason) = match &peer.problem {
            Some((state, reason)) => (*state, reason.clone()),
            None if peer.last_contact_ms.is_none() => {
                (PeerState::Unreachable, "no contact yet".to_owned())
            }
            None if waits > 0 => {
                let why = format!(
                    "it keeps {waits} changesets until a table or a version that they need is there"
                );
                (PeerState::Waiting, why)
            }
            None if lacks > 0 => (PeerState::CatchingUp, String::new()),
            None => (PeerState::InSync, String::new()),
        };
        PeerStatus {
            node,
            state,
            reason,
            lacks,
            ahead: missing(&self.applied, &peer.applied),
            last_contact_ms: peer.last_contact_ms,
            reported: peer
                .accepted
                .as_ref()
                .map_or(0, |report| report.durable.total()),
        }
    }
}

/// How many changesets of `there` are missing `here`.
fn missing(here: &VersionVector, there: &VersionVector) -> u64 {
    there
        .iter()
        .map(|(site, seq)| seq.saturating_sub(here.get(site)))
        .fold(0, u64::saturating_add)
}
