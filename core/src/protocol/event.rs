//! What goes into a [`Replication`](super::Replication) and what comes out.
//!
//! Every [`Event`] is a fact the host learned; every [`Command`] is something the host must do.
//! Commands that ask for work (`Read`, `Apply`, `Retry`, `Secure`, `Collect`, `NewSite`,
//! `ReadChain`, `CompareChain`) are answered by the event of the same name in the past tense; at most one
//! of each kind is under way (`Read` and the chain commands: one per peer). An answer that
//! never comes (the host failed) is survived: give the failure back as [`Event::Failed`].
//! Invariant: no type here knows SQLite, sockets, or a clock.

use super::member::{Members, NodeId};
use super::message::{Message, PartBytes, Partial};
use crate::changeset::ChainHash;
use crate::site::{Dot, Seq, Site};
use crate::version_vector::VersionVector;

/// The newest changeset of a site that a replica has applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Whose.
    pub site: Site,
    /// Its number.
    pub seq: Seq,
    /// Its link in the site's chain.
    pub hash: ChainHash,
}

/// Intervals and bounds of replication. All times in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// A batch is closed once it holds this many bytes (one part may exceed it).
    pub batch_bytes: usize,
    /// Foreign changes are relayed to a peer that has lacked them for this long.
    pub relay_after_ms: u64,
    /// Vectors are exchanged with each peer at least this often (jittered by a quarter).
    pub exchange_every_ms: u64,
    /// A push or a question without an answer for this long counts as lost.
    pub answer_within_ms: u64,
    /// First and greatest pause after a failure.
    pub backoff_ms: (u64, u64),
    /// Changes are made durable and reported this long after they were applied.
    pub secure_after_ms: u64,
    /// The log is collected this long after the frontier moved.
    pub collect_after_ms: u64,
    /// Collected at once when this many changesets became stable.
    pub collect_changesets: u64,
    /// A member silent for this long is excluded and must re-seed; 0 means never.
    pub exclude_after_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            batch_bytes: 4 << 20,
            relay_after_ms: 1_000,
            exchange_every_ms: 10_000,
            answer_within_ms: 15_000,
            backoff_ms: (200, 30_000),
            secure_after_ms: 1_000,
            collect_after_ms: 5_000,
            collect_changesets: 10_000,
            exclude_after_ms: 7 * 24 * 3_600_000,
        }
    }
}

/// What the host found in the partition's file when it opened it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The site under which this file writes now.
    pub site: Site,
    /// All sites under which this replica ever wrote; the present one is the last.
    pub own_sites: Vec<Site>,
    /// The newest applied changeset of each site.
    pub heads: Vec<Head>,
    /// Up to where whole changesets wait, of each site of which some do.
    pub waiting: VersionVector,
    /// The file's vector as last fsynced (empty if that is not known).
    pub durable: VersionVector,
    /// What [`Command::Secure`] last stored.
    pub floor: VersionVector,
    /// Up to where log records have been deleted.
    pub collected: VersionVector,
    /// The member list as last stored.
    pub members: Members,
    /// The list's version when this node joined with the content that the file has; `None` if that is not known,
    /// and then the list's. A later version there says that this content is of a life that is over.
    pub life: Option<u64>,
    /// Random bits: jitter and question numbers differ between nodes and starts.
    pub entropy: u64,
}

/// Why an [`Event::Applied`] stopped before the end of its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blocked {
    /// A changeset depends on some that are not here yet; it may be kept all the same.
    Dependencies,
    /// A changeset that needs what will not come by itself, and is not acknowledged as kept.
    Refused,
    /// This changeset does not cover `must_cover`: its author's node missed a collection.
    Stale(Dot),
    /// Its predecessor's hash differs from ours: two variants of the predecessor exist.
    Fork(Dot),
    /// Bytes that are not a changeset of this partition.
    Malformed(String),
    /// This node could not write (disk full, file locked for too long): try again later.
    Local(String),
}

/// Which changesets of a site to read: those after `after`, up to `upto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// Whose.
    pub site: Site,
    /// The peer has this one and all before.
    pub after: Seq,
    /// Not beyond this one.
    pub upto: Seq,
    /// Of changeset `after + 1`, the peer already stored this many parts.
    pub parts: u32,
}

/// A fact.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Nothing but time has passed; due when [`super::Replication::next_deadline`] says so.
    Tick,
    /// Local transactions were committed: the own site's new head.
    Committed(Head),
    /// Changesets came into the file by another way than through the peers: those of the
    /// replicated log, and what travelled with them.
    Advanced(Vec<Head>),
    /// A message arrived (decoded by [`super::Envelope::decode`], partition already matched).
    Received {
        /// Who sent it.
        from: NodeId,
        /// What it says.
        message: Message,
    },
    /// The peer can be reached (again): a connection was made after failures.
    Reachable(NodeId),
    /// A message to this peer could not be delivered.
    Unreachable {
        /// Which peer.
        peer: NodeId,
        /// For humans.
        reason: String,
    },
    /// The peer cannot talk to us: other protocol version or other partition.
    Incompatible {
        /// Which peer.
        peer: NodeId,
        /// For humans.
        reason: String,
    },
    /// A [`super::Summary`] showed the peer in the same state as ours (false: another one).
    Compared {
        /// Which peer.
        peer: NodeId,
        /// Whether the summaries agree.
        equal: bool,
    },
    /// Answer to [`Command::Read`]; `parts` is empty if there is nothing (left) to read.
    Read {
        /// For which peer.
        peer: NodeId,
        /// Parts in the order in which this replica applied them (which is causal).
        parts: Vec<PartBytes>,
    },
    /// Answer to [`Command::Apply`]: all heads after it, and what stopped it, if anything.
    Applied {
        /// Who sent the batch.
        from: NodeId,
        /// The heads that moved.
        heads: Vec<Head>,
        /// Up to where whole changesets wait now, of each site of which some do.
        waiting: VersionVector,
        /// Incomplete changesets whose first parts are now stored.
        partial: Vec<Partial>,
        /// Why it stopped early.
        blocked: Option<Blocked>,
    },
    /// Answer to [`Command::Retry`].
    Retried {
        /// The heads that moved.
        heads: Vec<Head>,
        /// Up to where whole changesets wait still.
        waiting: VersionVector,
    },
    /// Answer to [`Command::Secure`]: an fsync covered this vector, `floor` and the members.
    Secured(VersionVector),
    /// Answer to [`Command::Collect`].
    Collected(VersionVector),
    /// Answer to [`Command::NewSite`]: the old site now ends at `keep`, later changesets were
    /// renumbered under `head.site`. `head.seq` may be 0.
    NewSite {
        /// The old site's last changeset that stays.
        keep: Head,
        /// The new site's head.
        head: Head,
    },
    /// Answer to [`Command::ReadChain`]: descending links, as far as the log still has them.
    ReadChain {
        /// For which peer.
        peer: NodeId,
        /// Whose chain.
        site: Site,
        /// The links.
        links: Vec<(Seq, ChainHash)>,
    },
    /// Answer to [`Command::CompareChain`]: the greatest of the given links that is also ours
    /// (a link at or below our collected frontier counts as ours).
    CompareChain {
        /// Whose links they were.
        peer: NodeId,
        /// Whose chain.
        site: Site,
        /// Where both agree; `None` if nowhere.
        agree: Option<Seq>,
    },
    /// A new member list was decided (by an operator, later by the catalog).
    Members(Members),
    /// The host could not carry out a command of this kind; it will be asked again.
    Failed(Work),
}

/// The kinds of work that can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Work {
    /// [`Command::Read`] or a chain command for this peer.
    Read(NodeId),
    /// [`Command::Apply`].
    Apply,
    /// [`Command::Retry`].
    Retry,
    /// [`Command::Secure`].
    Secure,
    /// [`Command::Collect`].
    Collect,
    /// [`Command::NewSite`].
    NewSite,
}

/// Something the host must do.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Send this message (wrapped by [`super::Envelope`]). Those addressed to the sender of a
    /// request may travel as its response.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        message: Message,
    },
    /// Read parts of these ranges from the log, in the order in which they were applied here,
    /// until `limit_bytes` is reached (at least one part).
    Read {
        /// For whom.
        peer: NodeId,
        /// What it lacks.
        ranges: Vec<Range>,
        /// When to stop.
        limit_bytes: usize,
    },
    /// Apply these parts in order. Skip what is already applied; keep what cannot be applied yet,
    /// and go on; stop at the first changeset that must not be applied. A changeset whose full dependencies (own predecessor included)
    /// do not cover `must_cover` is [`Blocked::Stale`]; use `direct_floor` in addition for
    /// changesets of the sites in `direct`.
    Apply {
        /// Who sent it.
        from: NodeId,
        /// What.
        parts: Vec<PartBytes>,
        /// The collected frontier.
        must_cover: VersionVector,
        /// The sender's own sites.
        direct: Vec<Site>,
        /// What the sender's own changesets must cover.
        direct_floor: VersionVector,
    },
    /// Apply what waits and can be applied now: the schema may have changed, or the program.
    Retry,
    /// Store `floor` in the file, then fsync it. If the members are others than before, first drop what
    /// came of changesets that are not stored (see [`Opened::waiting`]): it may be of a member's earlier
    /// life, which makes it again. Then answer with the applied vector that the fsync
    /// covers (not older than when this was asked).
    Secure {
        /// From now on this node refuses authors that do not cover it.
        floor: VersionVector,
        /// The member list to store with it.
        members: Members,
    },
    /// Delete the log records with dots in this frontier.
    Collect(VersionVector),
    /// Our site's numbers were used twice: keep its changesets up to `keep`, renumber the rest
    /// under a new site whose id lies next to the old one (no third site may lie between), so
    /// that ties between equal stamps stay decided as they were. If `site` is no longer the
    /// present one, renumber nothing and answer with the heads as they are.
    NewSite {
        /// Which site.
        site: Site,
        /// The last changeset that stays.
        keep: Seq,
        /// For humans.
        reason: String,
    },
    /// Two shipped variants of one changeset exist: nothing of this site is shipped or
    /// accepted any more. Report it.
    StopSite {
        /// Which variant was seen here.
        dot: Dot,
        /// Who has the other one.
        peer: NodeId,
    },
    /// Read up to `limit` links of a site's chain, from `upto` downwards.
    ReadChain {
        /// For whom.
        peer: NodeId,
        /// Whose chain.
        site: Site,
        /// Where to begin.
        upto: Seq,
        /// How many.
        limit: usize,
    },
    /// Find the greatest of these links that is also ours.
    CompareChain {
        /// Whose links these are.
        peer: NodeId,
        /// Whose chain.
        site: Site,
        /// The links, descending.
        links: Vec<(Seq, ChainHash)>,
    },
    /// This replica missed a collection: replace it by a snapshot of `donor` (R7), re-issuing
    /// its own unshipped work. Until then it neither ships nor applies anything.
    Reseed {
        /// Whose snapshot.
        donor: NodeId,
        /// For humans.
        reason: String,
    },
    /// All present members know that this one joins: it may now get its snapshot.
    Seed(NodeId),
}
