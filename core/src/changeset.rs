//! A changeset is one transaction: a header, and a body in one or more parts.
//!
//! The *header* says who, when, and what the transaction had seen; the *body* (see
//! [`crate::row`]) says what changed. Changesets of a site form a hash chain: each hash covers
//! its predecessor's. What travels is a [`Part`]: part 0 carries the header and the
//! predecessor's hash, the last part carries the changeset's own hash, and both may be one.
//!
//! ```text
//! header  1 byte level, 8 bytes site, varint seq, varint stamp,
//!         varint length and author, varint n, n x (8 bytes site, varint seq)
//! part    "NUDA", 1 byte format, 16 bytes partition, 8 bytes site, varint seq, varint part,
//!         1 byte flags (1: last part),
//!         part 0: 16 bytes predecessor's hash, varint length and header;
//!         last part: 16 bytes hash;
//!         body, to the end
//! hash    first 16 bytes of BLAKE3(predecessor's hash, varint length and header, body)
//! ```
//!
//! A newer format number, or an unknown level or flag, is refused as a whole; the sender keeps the
//! changeset and tries again. An unknown tag in the body waits here. Both are told apart from damage
//! by [`DecodeError::is_newer`].
//!
//! Dependencies are a delta: the entries of the version vector that rose since the site's
//! previous changeset (all of them in the first). The site's own entry is never listed: it is
//! seq - 1.

use crate::codec::{Reader, put_sized, put_varint};
use crate::error::DecodeError;
use crate::hlc::Stamp;
use crate::limits;
use crate::site::{Dot, PartitionId, Seq, Site};
use crate::version_vector::VersionVector;

/// The version of the change format that this build writes and reads.
pub const FORMAT: u8 = 1;

const MAGIC: &[u8; 4] = b"NUDA";
const LAST: u8 = 1;

/// Link of a site's hash chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ChainHash(pub [u8; 16]);

impl ChainHash {
    /// The predecessor of a site's first changeset.
    pub const START: Self = Self([0; 16]);
}

impl std::fmt::Display for ChainHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// Computes a [`ChainHash`] while the body is written or read.
#[derive(Debug, Clone)]
pub struct ChainHasher(blake3::Hasher);

impl ChainHasher {
    /// Begins with the predecessor's hash and the encoded header.
    #[must_use]
    pub fn new(previous: ChainHash, header: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        let mut prefix = Vec::with_capacity(26);
        prefix.extend_from_slice(&previous.0);
        put_varint(&mut prefix, header.len() as u64);
        hasher.update(&prefix).update(header);
        Self(hasher)
    }

    /// Adds a piece of the body.
    pub fn update(&mut self, body: &[u8]) {
        self.0.update(body);
    }

    /// The hash of everything so far.
    #[must_use]
    pub fn finish(&self) -> ChainHash {
        let mut short = [0; 16];
        for (to, from) in short.iter_mut().zip(self.0.finalize().as_bytes()) {
            *to = *from;
        }
        ChainHash(short)
    }
}

/// How a transaction was committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// Committed in the writer's file, merged everywhere else.
    Eventual,
    /// In the partition's replicated log.
    Quorum,
    /// In the replicated log, and certified.
    Strong,
}

impl Level {
    /// The word that users know it by.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Eventual => "eventual",
            Self::Quorum => "quorum",
            Self::Strong => "strong",
        }
    }

    fn from_byte(byte: u8) -> Result<Self, DecodeError> {
        match byte {
            0 => Ok(Self::Eventual),
            1 => Ok(Self::Quorum),
            2 => Ok(Self::Strong),
            _ => Err(DecodeError::Unknown("a level of this number")),
        }
    }
}

/// Who, when, and after what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The changeset's name.
    pub dot: Dot,
    /// Its place in hybrid logical time.
    pub stamp: Stamp,
    /// How it was committed.
    pub level: Level,
    /// On whose behalf, as vouched for by the writing node; empty if nobody said.
    pub author: String,
    /// What rose in the writer's version vector since its previous changeset.
    pub rose: VersionVector,
}

impl Header {
    /// The encoded form. The caller has checked [`limits::AUTHOR_BYTES`] and
    /// [`limits::SEQ`]; beyond them nobody reads it.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32);
        out.push(match self.level {
            Level::Eventual => 0,
            Level::Quorum => 1,
            Level::Strong => 2,
        });
        out.extend_from_slice(&self.dot.site.get().to_be_bytes());
        put_varint(&mut out, self.dot.seq);
        put_varint(&mut out, self.stamp.get());
        put_sized(&mut out, self.author.as_bytes());
        put_vector(&mut out, &self.rose);
        out
    }

    /// Reads an encoded header.
    ///
    /// # Errors
    /// Malformed or beyond the bounds.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let level = Level::from_byte(r.byte("a level")?)?;
        let dot = Dot {
            site: read_site(&mut r)?,
            seq: read_seq(&mut r)?,
        };
        let stamp = Stamp::from_u64(r.varint("a stamp")?)
            .ok_or(DecodeError::Invalid("a stamp beyond the clock"))?;
        let author = r.text("an author", limits::AUTHOR_BYTES)?.to_owned();
        let rose = read_vector(&mut r)?;
        if rose.get(dot.site) != 0 {
            return Err(DecodeError::Invalid(
                "a changeset that depends on its own site",
            ));
        }
        r.end("a header")?;
        Ok(Self {
            dot,
            stamp,
            level,
            author,
            rose,
        })
    }
}

/// Appends a version vector: a count and (site, seq) pairs, ascending by site.
pub fn put_vector(out: &mut Vec<u8>, vector: &VersionVector) {
    put_varint(out, vector.len() as u64);
    for (site, seq) in vector.iter() {
        out.extend_from_slice(&site.get().to_be_bytes());
        put_varint(out, seq);
    }
}

/// Reads what [`put_vector`] wrote.
///
/// # Errors
/// Malformed, unordered, or beyond the bounds.
pub fn read_vector(r: &mut Reader<'_>) -> Result<VersionVector, DecodeError> {
    let count = r.length("a version vector", limits::VECTOR_ENTRIES)?;
    let mut vector = VersionVector::new();
    let mut previous = None;
    for _ in 0..count {
        let site = read_site(r)?;
        if previous >= Some(site) {
            return Err(DecodeError::Invalid(
                "a version vector that is not in order",
            ));
        }
        previous = Some(site);
        vector.set(site, read_seq(r)?);
    }
    Ok(vector)
}

fn read_site(r: &mut Reader<'_>) -> Result<Site, DecodeError> {
    Site::from_u64(u64::from_be_bytes(r.array::<8>("a site")?))
        .ok_or(DecodeError::Invalid("a site that nobody can have"))
}

fn read_seq(r: &mut Reader<'_>) -> Result<Seq, DecodeError> {
    match r.bounded("a sequence number", limits::SEQ - 1)? {
        0 => Err(DecodeError::Invalid("sequence number 0")),
        seq => Ok(seq),
    }
}

/// What a part carries besides body: the first part's and the last part's extras.
#[derive(Debug, Clone, PartialEq)]
pub struct Part<'a> {
    /// Which partition the changeset belongs to.
    pub partition: PartitionId,
    /// Which changeset.
    pub dot: Dot,
    /// Which part of it, from 0.
    pub part: u32,
    /// Part 0, and no other: the predecessor's hash and the encoded header.
    pub first: Option<(ChainHash, &'a [u8])>,
    /// The last part only: the changeset's hash.
    pub last: Option<ChainHash>,
    /// This part of the body.
    pub body: &'a [u8],
}

impl<'a> Part<'a> {
    /// The decoded header, if this is part 0.
    ///
    /// # Errors
    /// As [`Header::decode`], or it names another changeset than the part does.
    pub fn header(&self) -> Result<Option<Header>, DecodeError> {
        let Some((_, bytes)) = self.first else {
            return Ok(None);
        };
        let header = Header::decode(bytes)?;
        if header.dot != self.dot {
            return Err(DecodeError::Invalid(
                "a part with another changeset's header",
            ));
        }
        Ok(Some(header))
    }

    /// The encoded form: what `nuda_changes_since` answers and `nuda_apply` takes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(96 + self.body.len());
        out.extend_from_slice(MAGIC);
        out.push(FORMAT);
        out.extend_from_slice(&self.partition.0);
        out.extend_from_slice(&self.dot.site.get().to_be_bytes());
        put_varint(&mut out, self.dot.seq);
        put_varint(&mut out, u64::from(self.part));
        out.push(if self.last.is_some() { LAST } else { 0 });
        if let Some((previous, header)) = &self.first {
            out.extend_from_slice(&previous.0);
            put_sized(&mut out, header);
        }
        if let Some(hash) = &self.last {
            out.extend_from_slice(&hash.0);
        }
        out.extend_from_slice(self.body);
        out
    }

    /// Reads an encoded part. The body is not looked into.
    ///
    /// # Errors
    /// Malformed, of another format, or beyond the bounds.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        if r.take(4, "the magic").map_err(|_| DecodeError::BadMagic)? != MAGIC {
            return Err(DecodeError::BadMagic);
        }
        match r.byte("the format")? {
            FORMAT => {}
            other => return Err(DecodeError::Version(other)),
        }
        let partition = PartitionId(r.array("a partition id")?);
        let dot = Dot {
            site: read_site(&mut r)?,
            seq: read_seq(&mut r)?,
        };
        let part = r.bounded("a part number", u64::from(limits::PARTS - 1))?;
        let part = u32::try_from(part).unwrap_or(u32::MAX);
        let flags = r.byte("flags")?;
        if flags & !LAST != 0 {
            return Err(DecodeError::Unknown("a part with these flags"));
        }
        let first = if part == 0 {
            let previous = ChainHash(r.array("a hash")?);
            Some((previous, r.sized("a header", limits::HEADER_BYTES)?))
        } else {
            None
        };
        let last = if flags & LAST == 0 {
            None
        } else {
            Some(ChainHash(r.array("a hash")?))
        };
        let body = r.rest();
        if body.len() > limits::PART_BYTES {
            return Err(DecodeError::TooLarge {
                what: "a body",
                claimed: body.len() as u64,
                limit: limits::PART_BYTES as u64,
            });
        }
        Ok(Self {
            partition,
            dot,
            part,
            first,
            last,
            body,
        })
    }
}
