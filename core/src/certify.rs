//! Certification: the replicated state machine of a consensus group.
//!
//! A group's log holds [`Entry`]s of many partitions. Every member applies the same entries in
//! the same order to a [`Group`] and so reaches the same decisions: nothing here looks at
//! anything but the log's content. A strong transaction is valid if no other valid one of its
//! partition lies between its snapshot and itself; the changeset says so itself, because its
//! number in `log.strong` is its snapshot's position plus one, and its predecessor's hash is
//! the hash of what it saw. A decision is taken when the entry is applied and never earlier.
//!
//! A quorum transaction is not certified against those of others. It is numbered in the lane of
//! the site that wrote it ([`Site::lane`]), and is valid if it follows the lane's latest: so a
//! number is taken by the log's decision and by nothing else, and the one who proposes knows it
//! before. Only a file that lacks a transaction of its own lane, whose outcome it never heard,
//! can be told to catch up first.
//!
//! The first decision on a transaction id stands: a proposal that is sent again after a change
//! of leader gets the answer of the first one, and [`Entry::Abort`] settles what nobody
//! knows. Outcomes are kept for the latest [`limits::OUTCOMES`] decisions of the group. An id
//! carries how many decisions its author knew of when it was made ([`TxnId::born`]), so that an
//! id whose outcome may have been forgotten is told from one that was never seen: it is
//! [`Answer::Expired`], and a proposal under it is not accepted.
//!
//! A transaction may have been run for several clients (`nuda_exec`): a proposal then names the
//! ids of their statements, and what each answered. They share its outcome if it is accepted; if it
//! is not, nothing is decided on them, and they may be run again. A proposal with a statement that
//! has an outcome already comes too late.
//!
//! An effect never outlives its cause: what an accepted changeset had seen is in the log
//! before it, was on every member already (`base`), or travels in its proposal.
//!
//! And nothing is accepted too late to be merged. A proposal may reach the log long after its client
//! gave up, when its file has gone on and members have collected what it had not seen. So what is
//! collected is written here first ([`Entry::Collect`]): a proposal that comes after that entry and
//! has not seen it is refused, and one that came before it is in a member's file before that
//! member collects.
//!
//! Nor is anything accepted that would count twice. A replica that begins anew from a snapshot writes again,
//! under a new site, what of its own the snapshot lacks. So a fence is put into the log first
//! ([`Entry::Fence`]): what comes after it brings along nothing of the old sites beyond the snapshot,
//! and what came before it is in the snapshot.

use std::collections::BTreeMap;

use crate::changeset::{ChainHash, Part, put_vector, read_vector};
use crate::codec::{Reader, put_sized, put_varint};
pub use crate::decision::{Answer, Flaw, Outcome};
use crate::error::DecodeError;
use crate::hlc::Stamp;
use crate::limits;
use crate::moves::{Baggage, Departed, Destination, Moving, put_departed, read_departed};
pub use crate::ordered::{Fences, Ordered};
use crate::ordered::{put_fences, read_fences};
use crate::outcomes::Outcomes;
use crate::site::{Dot, PartitionId, Seq};
pub use crate::transaction_id::TxnId;
use crate::version_vector::VersionVector;

/// The version of entries and snapshots that this build writes. It reads version 1 too, in which
/// no statements were run for anybody, version 2, in which no partition moved, version 3, in
/// which there were no quorum transactions, version 4, in which nothing was collected through the
/// log, and version 5, in which there were no fences.
pub const ENTRIES: u8 = 6;

/// A transaction that asks for its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// Its name.
    pub id: TxnId,
    /// What every member of the partition has: needs not travel.
    pub base: VersionVector,
    /// What its file had beyond that: with `base`, all that it has seen. Older builds did not say.
    pub seen: Option<VersionVector>,
    /// Encoded parts of eventual changesets that it saw and the log lacks, in an order in
    /// which they can be applied.
    pub dependencies: Vec<Vec<u8>>,
    /// Encoded parts of its own changeset, which is numbered under [`Site::LOG_STRONG`], or in the
    /// lane of the site that wrote it.
    pub changeset: Vec<Vec<u8>>,
    /// The statements that were run in it for clients; none in a client's own transaction.
    pub statements: Vec<Statement>,
}

/// A statement that was run for a client, and what it answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Its name.
    pub id: TxnId,
    /// Its answer, at most [`limits::RESULT_BYTES`].
    pub result: Vec<u8>,
}

impl Statement {
    /// Appends several.
    pub fn encode_all(statements: &[Self], out: &mut Vec<u8>) {
        put_varint(out, statements.len() as u64);
        for statement in statements {
            statement.id.encode(out);
            put_sized(out, &statement.result);
        }
    }

    /// Reads several.
    ///
    /// # Errors
    /// Malformed, or beyond the bounds.
    pub fn decode_all(r: &mut Reader<'_>) -> Result<Vec<Self>, DecodeError> {
        let count = r.length("statements", limits::GROUPED_STATEMENTS)?;
        (0..count)
            .map(|_| {
                Ok(Self {
                    id: TxnId::decode(r)?,
                    result: r.sized("a result", limits::RESULT_BYTES)?.to_vec(),
                })
            })
            .collect()
    }
}

impl Proposal {
    /// The name of its own changeset, if it can be read.
    #[must_use]
    pub fn dot(&self) -> Option<Dot> {
        Some(Part::decode(self.changeset.first()?).ok()?.dot)
    }

    /// Appends the encoded form.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.id.encode(out);
        put_vector(out, &self.base);
        out.push(u8::from(self.seen.is_some()));
        if let Some(seen) = &self.seen {
            put_vector(out, seen);
        }
        for parts in [&self.dependencies, &self.changeset] {
            put_varint(out, parts.len() as u64);
            for part in parts {
                put_sized(out, part);
            }
        }
        Statement::encode_all(&self.statements, out);
    }

    /// Reads a proposal of the present version. Parts are not looked into.
    ///
    /// # Errors
    /// Malformed or beyond [`limits::PROPOSAL_BYTES`].
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::decode_version(r, ENTRIES)
    }

    fn decode_version(r: &mut Reader<'_>, version: u8) -> Result<Self, DecodeError> {
        let id = TxnId::decode(r)?;
        let base = read_vector(r)?;
        let seen = match version >= 5 && r.bounded("what it has seen", 1)? == 1 {
            true => Some(read_vector(r)?),
            false => None,
        };
        let mut parts = || -> Result<Vec<Vec<u8>>, DecodeError> {
            let count = r.length("parts", limits::PROPOSAL_BYTES)?;
            (0..count)
                .map(|_| Ok(r.sized("a part", limits::PROPOSAL_BYTES)?.to_vec()))
                .collect()
        };
        Ok(Self {
            id,
            base,
            seen,
            dependencies: parts()?,
            changeset: parts()?,
            statements: match version {
                1 => Vec::new(),
                _ => Statement::decode_all(r)?,
            },
        })
    }
}

/// A link of the chain of `log.strong`, or of a lane: where the next transaction continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Link {
    /// The position, or the number in the lane.
    pub seq: Seq,
    /// The chain's hash there.
    pub hash: ChainHash,
    /// The stamp there.
    pub stamp: Stamp,
}

/// One entry of a group's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// The group orders this partition from here on. A partition that is open stays as it is.
    Open {
        /// Which.
        partition: PartitionId,
        /// Where its strong transactions continue.
        link: Link,
        /// What every member of the partition has.
        base: VersionVector,
    },
    /// A transaction asks for its place.
    Propose(PartitionId, Proposal),
    /// If this id is undecided, it is aborted.
    Abort(PartitionId, TxnId),
    /// This partition's move of that number: it goes there.
    Seal(PartitionId, u64, Destination),
    /// A partition comes from another group, with this.
    Arrive(PartitionId, Baggage),
    /// This partition's move of that number is over.
    Leave(PartitionId, u64),
    /// A partition will come, by its move of that number.
    Expect(PartitionId, u64),
    /// The group ends, if it has nothing to do.
    Retire,
    /// Members will collect this of the partition: what has not seen it is not accepted any more.
    Collect(PartitionId, VersionVector),
    /// A replica of the partition begins anew: of the sites under which it wrote, nothing beyond these numbers
    /// travels with a transaction any more.
    Fence(PartitionId, Fences),
}

impl Entry {
    /// The encoded form.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![ENTRIES];
        match self {
            Self::Open {
                partition,
                link,
                base,
            } => {
                out.push(0);
                out.extend_from_slice(&partition.0);
                put_link(&mut out, link);
                put_vector(&mut out, base);
            }
            Self::Propose(partition, proposal) => {
                out.push(1);
                out.extend_from_slice(&partition.0);
                proposal.encode(&mut out);
            }
            Self::Abort(partition, id) => {
                out.push(2);
                out.extend_from_slice(&partition.0);
                id.encode(&mut out);
            }
            Self::Seal(partition, moves, to) => {
                out.push(3);
                out.extend_from_slice(&partition.0);
                put_varint(&mut out, *moves);
                to.encode(&mut out);
            }
            Self::Arrive(partition, baggage) => {
                out.push(4);
                out.extend_from_slice(&partition.0);
                baggage.encode(&mut out);
            }
            Self::Leave(partition, moves) => {
                out.push(5);
                out.extend_from_slice(&partition.0);
                put_varint(&mut out, *moves);
            }
            Self::Expect(partition, moves) => {
                out.push(6);
                out.extend_from_slice(&partition.0);
                put_varint(&mut out, *moves);
            }
            Self::Retire => {
                out.push(7);
                out.extend_from_slice(&[0; 16]);
            }
            Self::Collect(partition, collected) => {
                out.push(8);
                out.extend_from_slice(&partition.0);
                put_vector(&mut out, collected);
            }
            Self::Fence(partition, fences) => {
                out.push(9);
                out.extend_from_slice(&partition.0);
                put_fences(&mut out, fences);
            }
        }
        out
    }

    /// Which partition it is about, if it is about one.
    #[must_use]
    pub fn partition(&self) -> Option<PartitionId> {
        match self {
            Self::Retire => None,
            Self::Open { partition, .. }
            | Self::Propose(partition, _)
            | Self::Abort(partition, _)
            | Self::Seal(partition, ..)
            | Self::Arrive(partition, _)
            | Self::Leave(partition, _)
            | Self::Expect(partition, _)
            | Self::Collect(partition, _)
            | Self::Fence(partition, _) => Some(*partition),
        }
    }

    /// Reads an encoded entry.
    ///
    /// # Errors
    /// Of another version, malformed, or beyond the bounds.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let version = read_version(&mut r)?;
        let kind = r.byte("an entry")?;
        let partition = PartitionId(r.array("a partition id")?);
        let entry = match kind {
            0 => Self::Open {
                partition,
                link: read_link(&mut r)?,
                base: read_vector(&mut r)?,
            },
            1 => Self::Propose(partition, Proposal::decode_version(&mut r, version)?),
            2 => Self::Abort(partition, TxnId::decode(&mut r)?),
            3 => Self::Seal(
                partition,
                r.varint("a number of moves")?,
                Destination::decode(&mut r)?,
            ),
            4 => Self::Arrive(partition, Baggage::decode(&mut r, version)?),
            5 => Self::Leave(partition, r.varint("a number of moves")?),
            6 => Self::Expect(partition, r.varint("a number of moves")?),
            7 if partition.0 == [0; 16] => Self::Retire,
            8 => Self::Collect(partition, read_vector(&mut r)?),
            9 => Self::Fence(partition, read_fences(&mut r)?),
            _ => return Err(DecodeError::Unknown("an entry of this kind")),
        };
        r.end("an entry")?;
        Ok(entry)
    }
}

/// What can be said of a proposal before it is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foreseen {
    /// The log could only say this, now or later.
    Answer(Answer),
    /// It saw changes that would have to travel with it.
    Lacks,
}

/// The state machine of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    partitions: BTreeMap<PartitionId, Ordered>,
    departed: BTreeMap<PartitionId, Departed>,
    /// Partitions that will come, and by which move.
    expected: BTreeMap<PartitionId, u64>,
    /// It has ended: nothing is ordered here any more, and nothing will be.
    retired: bool,
    outcomes: Outcomes,
}

impl Default for Group {
    fn default() -> Self {
        Self::keeping(limits::OUTCOMES)
    }
}

impl Group {
    /// A group without partitions that keeps this many outcomes. All members say the same.
    #[must_use]
    pub fn keeping(window: usize) -> Self {
        Self {
            partitions: BTreeMap::new(),
            departed: BTreeMap::new(),
            expected: BTreeMap::new(),
            retired: false,
            outcomes: Outcomes::keeping(window),
        }
    }

    /// What is known of a partition; `None` if it is not ordered here.
    #[must_use]
    pub fn partition(&self, id: PartitionId) -> Option<&Ordered> {
        self.partitions.get(&id)
    }

    /// The partitions that are ordered here.
    pub fn partitions(&self) -> impl Iterator<Item = (PartitionId, &Ordered)> {
        self.partitions.iter().map(|(id, ordered)| (*id, ordered))
    }

    /// Where a partition went that was ordered here; `None` if it was not, or is.
    #[must_use]
    pub fn departed(&self, id: PartitionId) -> Option<&Departed> {
        self.departed.get(&id)
    }

    /// The partitions that were ordered here.
    pub fn all_departed(&self) -> impl Iterator<Item = (PartitionId, &Departed)> {
        self.departed.iter().map(|(id, departed)| (*id, departed))
    }

    /// Whether it orders nothing, and no move needs it.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let on_its_way = |departed: &Departed| departed.baggage.is_some();
        self.partitions.is_empty()
            && self.expected.is_empty()
            && !self.departed.values().any(on_its_way)
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_retired(&self) -> bool {
        self.retired
    }

    /// The number of the latest decision: what a new id is born with.
    #[must_use]
    pub fn decided(&self) -> u64 {
        self.outcomes.decided()
    }

    /// What is known of an id, without the log being asked: `None` if it is undecided.
    #[must_use]
    pub fn outcome(&self, id: TxnId) -> Option<Answer> {
        self.outcomes.of(id)
    }

    /// What an accepted statement answered, if that is still kept.
    #[must_use]
    pub fn result(&self, id: TxnId) -> Option<&[u8]> {
        self.outcomes.result(id)
    }

    /// The same for a transaction of this partition: it may have come from another group.
    fn known(&self, partition: PartitionId, id: TxnId) -> Option<Answer> {
        let before = self.partitions.get(&partition).map_or(0, |o| o.forgotten);
        let expired = (id.born < before).then_some(Answer::Expired);
        self.outcome(id).or(expired)
    }

    /// Applies the next entry of the log.
    pub fn apply(&mut self, entry: &Entry) -> Answer {
        match entry {
            Entry::Open {
                partition,
                link,
                base,
            } => self.open(*partition, link, base),
            Entry::Propose(partition, proposal) => self.propose(*partition, proposal),
            Entry::Abort(partition, id) => match self.known(*partition, *id) {
                Some(known) => self.or_moved(*partition, known),
                None if !self.partitions.contains_key(partition) => {
                    self.or_moved(*partition, Answer::NotHere)
                }
                None => self.decide(*partition, *id, Outcome::Aborted),
            },
            Entry::Seal(partition, moves, to) => self.moving().seal(*partition, *moves, to),
            Entry::Arrive(partition, baggage) => self.moving().arrive(*partition, baggage),
            Entry::Leave(partition, moves) => self.moving().leave(*partition, *moves),
            Entry::Expect(partition, moves) => self.moving().expect(*partition, *moves),
            Entry::Retire => {
                self.retired |= self.is_idle();
                Answer::NotHere
            }
            Entry::Collect(partition, collected) => {
                self.note(*partition, |ordered| ordered.collect(collected))
            }
            Entry::Fence(partition, fences) => {
                self.note(*partition, |ordered| ordered.fence(fences))
            }
        }
    }

    fn moving(&mut self) -> Moving<'_> {
        Moving {
            partitions: &mut self.partitions,
            departed: &mut self.departed,
            expected: &mut self.expected,
            retired: self.retired,
            outcomes: &mut self.outcomes,
        }
    }

    fn open(&mut self, partition: PartitionId, link: &Link, base: &VersionVector) -> Answer {
        if self.departed.contains_key(&partition) {
            return Answer::Moved;
        }
        if self.retired {
            return Answer::NotHere;
        }
        self.partitions.entry(partition).or_insert_with(|| Ordered {
            link: *link,
            covered: base.clone(),
            collected: base.clone(),
            ..Ordered::default()
        });
        Answer::Open
    }

    /// Changes what is known of a partition, where it is ordered here.
    fn note(&mut self, partition: PartitionId, change: impl FnOnce(&mut Ordered)) -> Answer {
        let Some(ordered) = self.partitions.get_mut(&partition) else {
            return self.or_moved(partition, Answer::NotHere);
        };
        change(ordered);
        Answer::Open
    }

    fn propose(&mut self, partition: PartitionId, proposal: &Proposal) -> Answer {
        if let Some(known) = self.known(partition, proposal.id) {
            return self.or_moved(partition, known);
        }
        let late = self.is_late(partition, proposal);
        let Some(ordered) = self.partitions.get_mut(&partition) else {
            return self.or_moved(partition, Answer::NotHere);
        };
        let outcome = match late {
            true => Outcome::Stale(ordered.link.seq),
            false => ordered.certify(partition, proposal),
        };
        if let Outcome::Accepted(_) = outcome {
            for statement in &proposal.statements {
                let result = Some(statement.result.clone());
                self.outcomes
                    .decide(partition, statement.id, outcome, result);
            }
        }
        self.decide(partition, proposal.id, outcome)
    }

    /// A decision stands wherever its partition is. Anything else is for the group to say that
    /// orders the partition now.
    fn or_moved(&self, partition: PartitionId, answer: Answer) -> Answer {
        match answer {
            Answer::Decided(_) => answer,
            _ if self.departed.contains_key(&partition) => Answer::Moved,
            _ => answer,
        }
    }

    /// What needs no entry in the log because no later entry can change it. A member that lags
    /// behind may say it too. Nothing is remembered under an id that is told so here: it can
    /// never be accepted.
    #[must_use]
    pub fn foresee(&self, partition: PartitionId, proposal: &Proposal) -> Option<Foreseen> {
        if let Some(known) = self.known(partition, proposal.id) {
            return Some(Foreseen::Answer(self.or_moved(partition, known)));
        }
        if self.departed.contains_key(&partition) {
            // It may come back; nothing is said about the transaction.
            return Some(Foreseen::Answer(Answer::Moved));
        }
        let ordered = self.partitions.get(&partition)?;
        if self.is_late(partition, proposal) {
            let stale = Outcome::Stale(ordered.link.seq);
            return Some(Foreseen::Answer(Answer::Decided(stale)));
        }
        match ordered.clone().certify(partition, proposal) {
            stale @ Outcome::Stale(_) => Some(Foreseen::Answer(Answer::Decided(stale))),
            Outcome::Refused(Flaw::Dependencies) => Some(Foreseen::Lacks),
            _ => None,
        }
    }

    /// Whether a statement in it has its outcome, or may have had one.
    fn is_late(&self, partition: PartitionId, proposal: &Proposal) -> bool {
        let mut ids = proposal.statements.iter().map(|statement| statement.id);
        ids.any(|id| self.known(partition, id).is_some())
    }

    fn decide(&mut self, partition: PartitionId, id: TxnId, outcome: Outcome) -> Answer {
        self.outcomes.decide(partition, id, outcome, None);
        Answer::Decided(outcome)
    }

    /// The encoded form: equal states have equal bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![ENTRIES];
        put_varint(&mut out, self.outcomes.window() as u64);
        put_varint(&mut out, self.decided());
        put_varint(&mut out, self.partitions.len() as u64);
        for (id, ordered) in &self.partitions {
            out.extend_from_slice(&id.0);
            ordered.encode(&mut out);
        }
        put_departed(&mut out, &self.departed);
        put_varint(&mut out, self.expected.len() as u64);
        for (id, moves) in &self.expected {
            out.extend_from_slice(&id.0);
            put_varint(&mut out, *moves);
        }
        out.push(u8::from(self.retired));
        self.outcomes.encode(&mut out);
        out
    }

    /// Reads an encoded state.
    ///
    /// # Errors
    /// Of another version, malformed, or beyond the bounds.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let version = read_version(&mut r)?;
        let window = r.bounded("a window", limits::OUTCOMES as u64)?;
        let window = usize::try_from(window).unwrap_or(limits::OUTCOMES);
        let decided = r.varint("a count of decisions")?;
        let mut partitions = BTreeMap::new();
        for _ in 0..r.length("partitions", limits::GROUP_PARTITIONS)? {
            let id = PartitionId(r.array("a partition id")?);
            partitions.insert(id, Ordered::decode(&mut r, version)?);
        }
        let departed = read_departed(&mut r, version)?;
        let (mut expected, mut retired) = (BTreeMap::new(), false);
        if version >= 3 {
            for _ in 0..r.length("partitions", limits::GROUP_PARTITIONS)? {
                let id = PartitionId(r.array("a partition id")?);
                expected.insert(id, r.varint("a number of moves")?);
            }
            retired = r.bounded("a group's end", 1)? == 1;
        }
        let outcomes = Outcomes::decode(&mut r, version, (window, decided))?;
        r.end("a group's state")?;
        Ok(Self {
            partitions,
            departed,
            expected,
            retired,
            outcomes,
        })
    }
}

fn read_version(r: &mut Reader<'_>) -> Result<u8, DecodeError> {
    match r.byte("a version")? {
        version @ 1..=ENTRIES => Ok(version),
        other => Err(DecodeError::Version(other)),
    }
}

pub(crate) fn put_link(out: &mut Vec<u8>, link: &Link) {
    put_varint(out, link.seq);
    out.extend_from_slice(&link.hash.0);
    put_varint(out, link.stamp.get());
}

pub(crate) fn read_link(r: &mut Reader<'_>) -> Result<Link, DecodeError> {
    Ok(Link {
        seq: r.bounded("a position", limits::SEQ - 1)?,
        hash: ChainHash(r.array("a hash")?),
        stamp: Stamp::from_u64(r.varint("a stamp")?)
            .ok_or(DecodeError::Invalid("a stamp beyond the clock"))?,
    })
}
