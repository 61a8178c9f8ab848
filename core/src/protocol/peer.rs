//! What this node knows about one peer, and what is under way with it.
//!
//! No decisions here beyond bookkeeping. Invariant: `known` is a lower bound of what the peer
//! has unless the peer was restored, which the next matched answer corrects; nothing is pushed
//! before `heads_checked`.

use super::event::Config;
use super::member::NodeId;
use super::message::{Partial, Standing};
use super::status::PeerState;
use crate::site::{Seq, Site};
use crate::version_vector::VersionVector;

/// Foreign changes that the peer seems to lack.
#[derive(Debug, Clone)]
pub(super) struct Relay {
    /// Since when.
    pub since_ms: u64,
    /// Which: those in here.
    pub upto: VersionVector,
}

/// A member other than this node.
#[derive(Debug, Default)]
pub(super) struct Peer {
    /// Since when it is a peer.
    pub since_ms: u64,
    /// What it has, as far as we know: what it need not be sent.
    pub known: VersionVector,
    /// What it has applied of that.
    pub applied: VersionVector,
    /// Its sites; the last one is the present one. Empty until it told us.
    pub own_sites: Vec<Site>,
    /// The newest heads it told: compared before anything is pushed.
    pub heads_checked: bool,
    /// A report that is not accepted yet because we have not applied what it covers. It is
    /// kept until accepted: always waiting for the newest one would starve under load.
    pub pending: Option<Standing>,
    /// The newest report behind `pending`.
    pub latest: Option<Standing>,
    /// The report that counts for the frontier.
    pub accepted: Option<Standing>,
    /// A [`super::Command::Read`] for it is under way.
    pub reading: bool,
    /// A batch is on its way: number, when it left.
    pub in_flight: Option<(u64, u64)>,
    /// Foreign changes are pushed without waiting: it asked, or lacks dependencies.
    pub send_all: bool,
    /// Changesets it has stored in part.
    pub partial: Vec<Partial>,
    /// See [`Relay`].
    pub relay: Option<Relay>,
    /// A question is on its way: number, when it left.
    pub asked: Option<(u64, u64)>,
    /// When to exchange vectors next.
    pub exchange_at_ms: u64,
    /// No push before this time.
    pub retry_at_ms: Option<u64>,
    /// When to pull what it has and we lack.
    pub pull_at_ms: Option<u64>,
    /// Failures in a row.
    pub failures: u32,
    /// Last message from it.
    pub last_contact_ms: Option<u64>,
    /// Last time it told where it stands.
    pub heard_ms: u64,
    /// What is wrong, for humans.
    pub problem: Option<(PeerState, String)>,
}

impl Peer {
    /// Its present site.
    pub(super) fn site(&self) -> Option<Site> {
        self.own_sites.last().copied()
    }

    /// How many parts of changeset `seq` of `site` it has stored.
    pub(super) fn stored_parts(&self, site: Site, seq: Seq) -> u32 {
        self.partial
            .iter()
            .find(|p| p.dot.site == site && p.dot.seq == seq)
            .map_or(0, |p| p.parts)
    }

    /// It does not answer: forget what was under way and wait longer each time.
    pub(super) fn fail(&mut self, now_ms: u64, config: &Config, jitter: u64, reason: &str) {
        let (first, cap) = config.backoff_ms;
        let pause = first
            .checked_shl(self.failures.min(30))
            .unwrap_or(cap)
            .clamp(1, cap.max(1));
        self.failures = self.failures.saturating_add(1);
        self.heads_checked = false;
        self.in_flight = None;
        self.asked = None;
        self.exchange_at_ms = now_ms + pause + jitter % (pause / 4 + 1);
        if !matches!(
            self.problem,
            Some((PeerState::Incompatible | PeerState::MustReseed, _))
        ) {
            self.problem = Some((PeerState::Unreachable, reason.to_owned()));
        }
    }

    /// Whether talking is pointless until one of us is upgraded.
    pub(super) fn is_incompatible(&self) -> bool {
        matches!(self.problem, Some((PeerState::Incompatible, _)))
    }

    /// It said where it stands. `fresh`: certainly after we last asked or sent, so it may also
    /// be less than what we believed.
    pub(super) fn learn(&mut self, now_ms: u64, standing: &Standing, fresh: bool) {
        self.heard_ms = now_ms;
        if fresh {
            self.applied = standing.applied.clone();
            self.known = standing.stored();
            let regressed = |old: &Option<Standing>| matches!(old, Some(o) if !standing.durable.covers(&o.durable));
            if regressed(&self.accepted) || regressed(&self.pending) {
                self.accepted = None;
                self.pending = None;
                self.latest = None;
            }
        } else {
            self.applied.join(&standing.applied);
            self.known.join(&standing.applied);
            self.known.join(&standing.waiting);
        }
        let newest = self
            .latest
            .as_ref()
            .or(self.pending.as_ref())
            .or(self.accepted.as_ref());
        let news = newest.is_none_or(|old| is_newer(standing, old));
        if news {
            let slot = if self.pending.is_none() {
                &mut self.pending
            } else {
                &mut self.latest
            };
            *slot = Some(standing.clone());
        }
    }

    /// Accepts its report once we have `applied` what it covers.
    pub(super) fn accept(&mut self, applied: &VersionVector) {
        while self
            .pending
            .as_ref()
            .is_some_and(|p| applied.covers(&p.durable))
        {
            self.accepted = self.pending.take();
            self.pending = self.latest.take();
        }
    }
}

/// Whether `new` was made after `old` and says something else; reports only grow.
fn is_newer(new: &Standing, old: &Standing) -> bool {
    let grew = new.durable.covers(&old.durable)
        && new.floor.covers(&old.floor)
        && new.members.version >= old.members.version
        && (new.members.version > old.members.version || new.members.covers(&old.members));
    grew && (new.durable != old.durable || new.floor != old.floor || new.members != old.members)
}

/// All peers.
pub(super) type Peers = std::collections::BTreeMap<NodeId, Peer>;
