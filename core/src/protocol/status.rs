//! What humans see of a partition's replication.
//!
//! A snapshot of facts, made on demand; nothing decides by it. Times are the host's
//! milliseconds, as given with events.

use super::member::NodeId;

/// How a peer is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerState {
    /// It has everything that we have, as far as we know.
    InSync,
    /// It lacks changesets; they are on their way.
    CatchingUp,
    /// It can't be reached or does not answer.
    Unreachable,
    /// It received changesets but can't apply them now.
    Waiting,
    /// It speaks another protocol version, or about another partition.
    Incompatible,
    /// It missed a collection, or was away for too long: it must take a snapshot.
    MustReseed,
    /// It is not a member (any more).
    NotMember,
}

/// One peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerStatus {
    /// Which one.
    pub node: NodeId,
    /// In one word.
    pub state: PeerState,
    /// In one sentence; empty if there is nothing to say.
    pub reason: String,
    /// Changesets that we have and it lacks, as far as we know.
    pub lacks: u64,
    /// Changesets that it has and we lack, as far as we know.
    pub ahead: u64,
    /// When it was last heard of; `None` if never since the start.
    pub last_contact_ms: Option<u64>,
    /// Its last accepted report covers this many changesets.
    pub reported: u64,
}

/// The partition on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// All other members.
    pub peers: Vec<PeerStatus>,
    /// Changesets applied here.
    pub applied: u64,
    /// Of those, covered by an fsync.
    pub durable: u64,
    /// Of those, deleted from the log.
    pub collected: u64,
    /// Why this replica neither ships nor applies: it must re-seed.
    pub must_reseed: Option<String>,
    /// Sites with two shipped variants of a changeset.
    pub stopped_sites: Vec<crate::site::Site>,
}
