//! What a proposal brings: its own changeset, and those that it saw and the log lacks.
//!
//! Read and checked here, before [`crate::certify`] decides on it: the parts of a changeset are
//! all there and in order, belong to the partition, and match its hash; its level is the one
//! that its number says. Nothing here knows what was decided before.

use crate::changeset::{ChainHash, ChainHasher, Header, Level, Part};
use crate::error::DecodeError;
use crate::site::{Dot, PartitionId, Site};

/// The changeset of a strong or quorum transaction, checked against its own hash.
pub(crate) struct Candidate {
    pub(crate) header: Header,
    pub(crate) previous: ChainHash,
    pub(crate) hash: ChainHash,
}

impl Candidate {
    /// Reads its parts, all of them.
    pub(crate) fn read(partition: PartitionId, parts: &[Vec<u8>]) -> Result<Self, DecodeError> {
        const FLAWED: DecodeError = DecodeError::Invalid("a proposed changeset");
        let mut begun: Option<(Header, ChainHash, ChainHasher)> = None;
        let mut ended = None;
        for (number, bytes) in parts.iter().enumerate() {
            let part = Part::decode(bytes)?;
            let in_order = u32::try_from(number) == Ok(part.part) && ended.is_none();
            if part.partition != partition || !in_order {
                return Err(FLAWED);
            }
            if let (Some((previous, encoded)), Some(header)) = (part.first, part.header()?) {
                begun = Some((header, previous, ChainHasher::new(previous, encoded)));
            }
            let (header, _, hasher) = begun.as_mut().ok_or(FLAWED)?;
            if header.dot != part.dot || Some(header.level) != level_of(part.dot.site) {
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

/// The log numbers strong transactions itself, and quorum transactions in lanes.
fn level_of(site: Site) -> Option<Level> {
    match site {
        Site::LOG_STRONG => Some(Level::Strong),
        lane => (!lane.is_log()).then_some(Level::Quorum),
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
