//! What nodes say to each other about one partition, and its encoding.
//!
//! ```text
//! envelope  "NUDR", 1 byte protocol, 16 bytes partition, 8 bytes from, 8 bytes to, message
//! message   1 byte kind, fields in the order of their declaration below
//! standing  vector applied, vector waiting, vector durable, vector floor, members
//! head      8 bytes site, varint seq, 16 bytes hash
//! parts     varint n, n x (varint length, encoded changeset part)
//! option    1 byte 0, or 1 and the content
//! ```
//!
//! The envelope up to `to` stays the same in all protocol versions, so that a node can say who
//! speaks another one. Messages are one-way; a host may return those for the sender as the
//! response of a request. Every message carries the sender's [`Standing`], so that
//! acknowledgements and collection reports need no messages of their own. Parts of changesets
//! are opaque here apart from their dot and number. Invariant: decoding is bounded by the
//! bytes that are there, and what decodes encodes to the same bytes.

use super::event::Head;
use super::member::{Members, NodeId};
use super::wire::{
    put_all, put_link, put_option, put_partial, put_refusal, put_site, put_stop, read_all,
    read_link, read_node, read_option, read_partial, read_refusal, read_seq, read_site, read_stop,
};
use crate::changeset::{ChainHash, Part, put_vector, read_vector};
use crate::codec::{Reader, put_sized, put_varint};
use crate::error::DecodeError;
use crate::limits;
use crate::site::{Dot, PartitionId, Seq, Site};
use crate::version_vector::VersionVector;

/// The version of the protocol that this build speaks.
pub const PROTOCOL: u8 = 2;
/// Links in one [`Message::Chain`].
pub const CHAIN_LINKS: usize = 256;
/// Parts in one [`Message::Push`].
pub const BATCH_PARTS: usize = 1 << 16;
/// Bytes of one encoded envelope, before compression: one oversized part and company.
pub const MESSAGE_BYTES: usize = limits::PART_BYTES + (16 << 20);

const MAGIC: &[u8; 4] = b"NUDR";

/// Where a replica stands: part of every message it sends.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    /// What it has applied.
    pub applied: VersionVector,
    /// Up to where it has whole changesets beyond what is applied of their site. They wait for a
    /// table, an upgrade, or what they had seen; they need not be sent to it, and it hands them on.
    pub waiting: VersionVector,
    /// What an fsync has covered.
    pub durable: VersionVector,
    /// Authors that do not cover this are refused by it; stored durably with `durable`.
    pub floor: VersionVector,
    /// The member list it goes by; stored durably with `durable`.
    pub members: Members,
}

/// One part of a changeset, opaque.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartBytes {
    /// Which changeset.
    pub dot: Dot,
    /// Which part.
    pub part: u32,
    /// Whether it is the last one.
    pub last: bool,
    /// [`Part`], encoded.
    pub bytes: Vec<u8>,
}

impl PartBytes {
    /// Takes an encoded part; dot, number and `last` are read from it.
    ///
    /// # Errors
    /// Not an encoded part.
    pub fn new(bytes: Vec<u8>) -> Result<Self, DecodeError> {
        let part = Part::decode(&bytes)?;
        let (dot, number, last) = (part.dot, part.part, part.last.is_some());
        Ok(Self {
            dot,
            part: number,
            last,
            bytes,
        })
    }
}

/// A changeset of which only the first parts have arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partial {
    /// Which changeset.
    pub dot: Dot,
    /// How many parts are stored.
    pub parts: u32,
}

/// Why a batch was not applied to its end, as far as its sender must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Send what it depends on too.
    Dependencies,
    /// The receiver can't apply it now (schema, full disk): try again later.
    Later,
    /// The chains differ: compare them.
    Fork(Site),
}

/// Why a node will not talk to another. Each is a claim that the other side can check, so
/// that a late or repeated message harms nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Log records up to here are gone: who has not applied them must re-seed.
    Stale(VersionVector),
    /// Who has applied this changeset must re-seed: it came too late to be merged everywhere.
    StaleChange(Dot),
    /// Who does not count in this list is not talked to.
    NotMember(Members),
    /// The partition is not held here.
    UnknownPartition,
}

/// What is said.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// Where I stand, in full; asked for, or as an answer.
    Vector {
        /// A number to be returned, if an answer is wanted.
        ask: Option<u64>,
        /// The number of the question that this answers.
        answer: Option<u64>,
        /// The sites under which the sender ever wrote; the last one is the present one.
        own_sites: Vec<Site>,
        /// The sender's newest changeset of each site.
        heads: Vec<Head>,
        /// Where it stands.
        standing: Standing,
    },
    /// Changesets that the receiver seems to lack.
    Push {
        /// To be returned in the acknowledgement.
        batch: u64,
        /// Where the sender stands.
        standing: Standing,
        /// In causal order.
        parts: Vec<PartBytes>,
    },
    /// What became of a push.
    Ack {
        /// Which push.
        batch: u64,
        /// Where the receiver stands now: what it covers needs no resending.
        standing: Standing,
        /// Incomplete changesets to be continued.
        partial: Vec<Partial>,
        /// Why it stopped early.
        stop: Option<Stop>,
    },
    /// Send what I lack, foreign changes too, without waiting.
    Pull {
        /// Where the sender stands.
        standing: Standing,
        /// Incomplete changesets to be continued.
        partial: Vec<Partial>,
    },
    /// Show me your links of this chain, downwards from `upto`.
    ChainRequest {
        /// Whose chain.
        site: Site,
        /// Where to begin.
        upto: Seq,
    },
    /// Links of a chain, descending; empty if the log no longer has any.
    Chain {
        /// Whose chain.
        site: Site,
        /// The links.
        links: Vec<(Seq, ChainHash)>,
    },
    /// I will not talk to you about this partition.
    Refused(Refusal),
}

/// A message with its addresses.
#[derive(Debug, Clone, PartialEq)]
pub struct Envelope {
    /// About which partition.
    pub partition: PartitionId,
    /// Who says it.
    pub from: NodeId,
    /// To whom.
    pub to: NodeId,
    /// What.
    pub message: Message,
}

/// Why an envelope could not be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvelopeError {
    /// The sender speaks another version: give [`super::Event::Incompatible`] to the partition.
    Version {
        /// About which partition.
        partition: PartitionId,
        /// Who speaks it.
        from: NodeId,
        /// Which version.
        version: u8,
    },
    /// Not an envelope.
    Malformed(DecodeError),
}

impl std::fmt::Display for EnvelopeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Version { from, version, .. } => write!(
                f,
                "node {from} speaks replication protocol {version}, this build speaks {PROTOCOL}; \
                 upgrade the older of the two"
            ),
            Self::Malformed(error) => write!(f, "not a replication message: {error}"),
        }
    }
}

impl std::error::Error for EnvelopeError {}

impl From<DecodeError> for EnvelopeError {
    fn from(error: DecodeError) -> Self {
        Self::Malformed(error)
    }
}

impl Envelope {
    /// The encoded form.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        out.extend_from_slice(MAGIC);
        out.push(PROTOCOL);
        out.extend_from_slice(&self.partition.0);
        out.extend_from_slice(&self.from.0.to_be_bytes());
        out.extend_from_slice(&self.to.0.to_be_bytes());
        self.message.encode(&mut out);
        out
    }

    /// Reads an encoded envelope.
    ///
    /// # Errors
    /// Of another protocol version, malformed, or beyond the bounds.
    pub fn decode(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let mut r = Reader::new(bytes);
        if r.take(4, "the magic").map_err(|_| DecodeError::BadMagic)? != MAGIC {
            return Err(DecodeError::BadMagic.into());
        }
        let version = r.byte("the protocol version")?;
        let partition = PartitionId(r.array("a partition id")?);
        let from = read_node(&mut r)?;
        let to = read_node(&mut r)?;
        if version != PROTOCOL {
            return Err(EnvelopeError::Version {
                partition,
                from,
                version,
            });
        }
        let message = Message::decode(&mut r)?;
        r.end("a message")?;
        Ok(Self {
            partition,
            from,
            to,
            message,
        })
    }
}

impl Standing {
    /// All that it has: applied, and whole but waiting.
    #[must_use]
    pub fn stored(&self) -> VersionVector {
        let mut stored = self.applied.clone();
        stored.join(&self.waiting);
        stored
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_vector(out, &self.applied);
        put_vector(out, &self.waiting);
        put_vector(out, &self.durable);
        put_vector(out, &self.floor);
        self.members.encode(out);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            applied: read_vector(r)?,
            waiting: read_vector(r)?,
            durable: read_vector(r)?,
            floor: read_vector(r)?,
            members: Members::decode(r)?,
        })
    }
}

impl Message {
    /// Where its sender stands, if it says so.
    #[must_use]
    pub fn standing(&self) -> Option<&Standing> {
        match self {
            Self::Vector { standing, .. }
            | Self::Push { standing, .. }
            | Self::Ack { standing, .. }
            | Self::Pull { standing, .. } => Some(standing),
            _ => None,
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Vector {
                ask,
                answer,
                own_sites,
                heads,
                standing,
            } => {
                out.push(0);
                put_option(out, *ask);
                put_option(out, *answer);
                put_all(out, own_sites, |out, site| put_site(out, *site));
                put_all(out, heads, |out, head| {
                    put_site(out, head.site);
                    put_link(out, &(head.seq, head.hash));
                });
                standing.encode(out);
            }
            Self::Push {
                batch,
                standing,
                parts,
            } => {
                out.push(1);
                put_varint(out, *batch);
                standing.encode(out);
                put_all(out, parts, |out, part| put_sized(out, &part.bytes));
            }
            Self::Ack {
                batch,
                standing,
                partial,
                stop,
            } => {
                out.push(2);
                put_varint(out, *batch);
                standing.encode(out);
                put_all(out, partial, put_partial);
                put_stop(out, *stop);
            }
            Self::Pull { standing, partial } => {
                out.push(3);
                standing.encode(out);
                put_all(out, partial, put_partial);
            }
            Self::ChainRequest { site, upto } => {
                out.push(4);
                put_site(out, *site);
                put_varint(out, *upto);
            }
            Self::Chain { site, links } => {
                out.push(5);
                put_site(out, *site);
                put_all(out, links, put_link);
            }
            Self::Refused(refusal) => {
                out.push(6);
                put_refusal(out, refusal);
            }
        }
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match r.byte("a message")? {
            0 => Self::Vector {
                ask: read_option(r)?,
                answer: read_option(r)?,
                own_sites: read_all(r, limits::VECTOR_ENTRIES, read_site)?,
                heads: read_all(r, limits::VECTOR_ENTRIES, |r| {
                    let site = read_site(r)?;
                    let (seq, hash) = read_link(r)?;
                    Ok(Head { site, seq, hash })
                })?,
                standing: Standing::decode(r)?,
            },
            1 => Self::Push {
                batch: r.varint("a batch")?,
                standing: Standing::decode(r)?,
                parts: read_all(r, BATCH_PARTS, |r| {
                    PartBytes::new(r.sized("a part", MESSAGE_BYTES)?.to_vec())
                })?,
            },
            2 => Self::Ack {
                batch: r.varint("a batch")?,
                standing: Standing::decode(r)?,
                partial: read_all(r, limits::VECTOR_ENTRIES, read_partial)?,
                stop: read_stop(r)?,
            },
            3 => Self::Pull {
                standing: Standing::decode(r)?,
                partial: read_all(r, limits::VECTOR_ENTRIES, read_partial)?,
            },
            4 => Self::ChainRequest {
                site: read_site(r)?,
                upto: read_seq(r)?,
            },
            5 => Self::Chain {
                site: read_site(r)?,
                links: read_all(r, CHAIN_LINKS, read_link)?,
            },
            6 => Self::Refused(read_refusal(r)?),
            _ => return Err(DecodeError::Invalid("a message of unknown kind")),
        })
    }
}

/// Many partitions compared with one peer in one small message: idle anti-entropy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Who says it.
    pub from: NodeId,
    /// Partition and [`super::Replication::digest`] of each.
    pub digests: Vec<(PartitionId, u64)>,
}

impl Summary {
    /// Partitions in one summary; a host with more sends several.
    pub const ENTRIES: usize = 1 << 16;

    /// The encoded form.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![PROTOCOL];
        out.extend_from_slice(&self.from.0.to_be_bytes());
        put_all(&mut out, &self.digests, |out, (partition, digest)| {
            out.extend_from_slice(&partition.0);
            out.extend_from_slice(&digest.to_be_bytes());
        });
        out
    }

    /// Reads an encoded summary.
    ///
    /// # Errors
    /// Of another version, malformed, or beyond [`Summary::ENTRIES`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        match r.byte("the protocol version")? {
            PROTOCOL => {}
            other => return Err(DecodeError::Version(other)),
        }
        let from = read_node(&mut r)?;
        let digests = read_all(&mut r, Self::ENTRIES, |r| {
            let partition = PartitionId(r.array("a partition id")?);
            Ok((partition, u64::from_be_bytes(r.array("a digest")?)))
        })?;
        r.end("a summary")?;
        Ok(Self { from, digests })
    }
}
