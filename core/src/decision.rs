//! What a consensus group decides on a transaction, and what it answers to an entry of its log.
//!
//! The first decision on an id stands. An answer is no decision if the id has been forgotten, or if
//! the partition is not ordered by this group: then another group decides, or nobody has been
//! told anything. `certify` and `moves` say when which of them is given.

use std::fmt;

use crate::codec::{Reader, put_varint};
use crate::error::DecodeError;
use crate::limits;
use crate::site::Seq;

/// What was decided on a transaction. The first decision stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It has this place in the order: its position, or its number in its lane.
    Accepted(Seq),
    /// Another one took its place: this position's.
    Stale(Seq),
    /// It was undecided when somebody asked.
    Aborted,
    /// It can never be accepted as it is.
    Refused(Flaw),
}

/// What is wrong with a proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// Its changeset cannot be read, or is none of a strong or quorum transaction of this
    /// partition.
    Malformed,
    /// It continues a history that is not this log's.
    Chain,
    /// It saw changes that are neither in the log nor in the proposal.
    Dependencies,
    /// It has not seen what members have collected since.
    Late,
    /// What travels with it was written again by a replica that began anew.
    Fenced,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "its changeset is malformed",
            Self::Chain => "its file holds a history that the partition's log does not have",
            Self::Dependencies => "it saw changes that did not travel with it",
            Self::Late => "it came too late to be merged: what its file had not seen is collected",
            Self::Fenced => "its replica begins anew from a snapshot, and writes again what it saw",
        })
    }
}

impl Outcome {
    pub(crate) fn encode(self, out: &mut Vec<u8>) {
        let (kind, number) = match self {
            Self::Accepted(seq) => (0, seq),
            Self::Stale(seq) => (1, seq),
            Self::Aborted => (2, 0),
            Self::Refused(Flaw::Malformed) => (3, 0),
            Self::Refused(Flaw::Chain) => (3, 1),
            Self::Refused(Flaw::Dependencies) => (3, 2),
            Self::Refused(Flaw::Late) => (3, 3),
            Self::Refused(Flaw::Fenced) => (3, 4),
        };
        out.push(kind);
        put_varint(out, number);
    }

    pub(crate) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let kind = r.byte("an outcome")?;
        let number = r.bounded("an outcome", limits::SEQ - 1)?;
        Ok(match (kind, number) {
            (0, seq) => Self::Accepted(seq),
            (1, seq) => Self::Stale(seq),
            (2, 0) => Self::Aborted,
            (3, 0) => Self::Refused(Flaw::Malformed),
            (3, 1) => Self::Refused(Flaw::Chain),
            (3, 2) => Self::Refused(Flaw::Dependencies),
            (3, 3) => Self::Refused(Flaw::Late),
            (3, 4) => Self::Refused(Flaw::Fenced),
            _ => return Err(DecodeError::Unknown("an outcome of this kind")),
        })
    }
}

/// What applying an entry says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The partition is open.
    Open,
    /// The outcome of the id, decided now or before.
    Decided(Outcome),
    /// The id is older than the outcomes that are kept.
    Expired,
    /// This group does not order that partition.
    NotHere,
    /// This group has ordered that partition, and another one does now.
    Moved,
    /// This group will order that partition, and lasts until then.
    Expected,
}

impl Answer {
    /// Appends the encoded form.
    pub fn encode(self, out: &mut Vec<u8>) {
        match self {
            Self::Open => out.push(0),
            Self::Decided(outcome) => {
                out.push(1);
                outcome.encode(out);
            }
            Self::Expired => out.push(2),
            Self::NotHere => out.push(3),
            Self::Moved => out.push(4),
            Self::Expected => out.push(5),
        }
    }

    /// Reads an encoded answer.
    ///
    /// # Errors
    /// Malformed.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match r.byte("an answer")? {
            0 => Self::Open,
            1 => Self::Decided(Outcome::decode(r)?),
            2 => Self::Expired,
            3 => Self::NotHere,
            4 => Self::Moved,
            5 => Self::Expected,
            _ => return Err(DecodeError::Unknown("an answer of this kind")),
        })
    }
}
