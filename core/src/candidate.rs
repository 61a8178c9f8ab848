//! What a proposal carries, checked before anything is decided on it.
//!
//! A strong transaction's own changeset must be whole, of this partition, numbered by the log, and
//! what its hash says; dependencies are eventual changesets, whole ones only, each part after the
//! other. Nothing here knows what the log holds.

use crate::changeset::{ChainHash, ChainHasher, Header, Level, Part};
use crate::error::DecodeError;
use crate::site::{Dot, PartitionId, Site};

/// A strong transaction's changeset, checked against its own hash.
pub(crate) struct Candidate {
    pub(crate) header: Header,
    pub(crate) previous: ChainHash,
    pub(crate) hash: ChainHash,
}

impl Candidate {
    pub(crate) fn read(partition: PartitionId, parts: &[Vec<u8>]) -> Result<Self, DecodeError> {
        const FLAWED: DecodeError = DecodeError::Invalid("a strong transaction's changeset");
        let mut begun: Option<(Header, ChainHash, ChainHasher)> = None;
        let mut ended = None;
        for (number, bytes) in parts.iter().enumerate() {
            let part = Part::decode(bytes)?;
            let in_order = u32::try_from(number) == Ok(part.part) && ended.is_none();
            if part.partition != partition || part.dot.site != Site::LOG_STRONG || !in_order {
                return Err(FLAWED);
            }
            if let (Some((previous, encoded)), Some(header)) = (part.first, part.header()?) {
                begun = Some((header, previous, ChainHasher::new(previous, encoded)));
            }
            let (header, _, hasher) = begun.as_mut().ok_or(FLAWED)?;
            if header.dot != part.dot || header.level != Level::Strong {
                return Err(FLAWED);
            }
            hasher.update(part.body);
            ended = part.last;
        }
        match (begun, ended) {
            (Some((header, previous, hasher)), Some(hash)) if hasher.finish() == hash => Ok(Self {
                header,
                previous,
                hash,
            }),
            _ => Err(FLAWED),
        }
    }
}

/// The changesets that travel as dependencies, whole ones only.
pub(crate) fn carried(partition: PartitionId, parts: &[Vec<u8>]) -> Result<Vec<Dot>, DecodeError> {
    let mut whole = Vec::new();
    let mut next: Option<(Dot, u32)> = None;
    for bytes in parts {
        let part = Part::decode(bytes)?;
        let expected = next.map_or((part.dot, 0), |(dot, part)| (dot, part));
        if part.partition != partition
            || part.dot.site.is_log()
            || (part.dot, part.part) != expected
        {
            return Err(DecodeError::Invalid("dependencies that are not whole"));
        }
        next = if part.last.is_some() {
            whole.push(part.dot);
            None
        } else {
            Some((part.dot, part.part + 1))
        };
    }
    match next {
        None => Ok(whole),
        Some(_) => Err(DecodeError::Invalid("dependencies that are not whole")),
    }
}
