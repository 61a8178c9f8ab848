//! What travels in a body: greetings and questions as JSON, replication messages as frames.
//!
//! A frame is a kind byte, a length (4 bytes, big-endian) and an encoded `Envelope` or
//! `Summary` of `nuda_core::protocol`. Reading is bounded by the body, which the transport
//! has bounded already.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A node as others know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodeEntry {
    /// Its name in member lists.
    pub(crate) name: String,
    /// Its random id.
    pub(crate) id: String,
    /// Where it is reached.
    pub(crate) address: String,
    /// When it started there, by its clock: of two addresses the later one holds.
    pub(crate) boot_ms: u64,
}

/// A greeting, and the answer to one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// Who speaks.
    pub(crate) me: NodeEntry,
    /// Its clock.
    pub(crate) now_ms: u64,
    /// Its build.
    pub(crate) version: String,
    /// Whom it knows.
    pub(crate) nodes: Vec<NodeEntry>,
}

/// A question between daemons.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "ask")]
pub(crate) enum Ask {
    /// What do you hold? Answered by [`crate::sql::Digest`].
    Digest { name: String, id: String },
    /// You are a member: take a snapshot from me. Answered by `{}`.
    Invite { name: String, id: String },
    /// Prepare a snapshot for me. Answered by [`SnapshotOffer`]. `joined` is the list version
    /// under which I held the partition until now: I need a newer one to begin anew.
    Snapshot {
        name: String,
        id: String,
        joined: Option<u64>,
    },
    /// I have the snapshot. Answered by `{}`.
    SnapshotDone { token: String },
    /// I begin anew from it, and wrote under these sites: your snapshot has this of each. Put that as a fence
    /// into the partition's log. Answered by [`Fenced`].
    Fence {
        name: String,
        id: String,
        sites: Vec<(String, u64)>,
    },
}

/// A prepared snapshot.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SnapshotOffer {
    /// Its name for [`Piece`].
    pub(crate) token: String,
    /// Its size.
    pub(crate) bytes: u64,
    /// BLAKE3 of it.
    pub(crate) hash: String,
}

/// A fence is in the log.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Fenced {
    /// All that was accepted before it, as a version vector.
    pub(crate) accepted: String,
}

/// Asks for a piece of a snapshot.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Piece {
    pub(crate) token: String,
    pub(crate) offset: u64,
}

/// Why a message was not taken.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Refused {
    /// About which partition.
    pub(crate) partition: String,
    /// For people.
    pub(crate) reason: String,
    /// What to make of it.
    pub(crate) kind: RefusedKind,
}

/// What the sender makes of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RefusedKind {
    /// Not held here; the sender may know that it should be.
    Unknown,
    /// Come back later.
    Later,
    /// This build cannot read it.
    Incompatible,
}

/// The answer to a body of messages: only what was not taken.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Receipt {
    pub(crate) refused: Vec<Refused>,
}

/// The answer where nothing needs saying.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Done {}

/// One replication message in a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    /// An encoded `nuda_core::protocol::Envelope`.
    Envelope(Vec<u8>),
    /// An encoded `nuda_core::protocol::Summary`.
    Summary(Vec<u8>),
}

impl Frame {
    /// The encoded message.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Envelope(bytes) | Self::Summary(bytes) => bytes,
        }
    }

    /// Appends the frame.
    pub(crate) fn put(&self, out: &mut Vec<u8>) -> Result<()> {
        let kind = match self {
            Self::Envelope(_) => 0,
            Self::Summary(_) => 1,
        };
        let bytes = self.bytes();
        let len =
            u32::try_from(bytes.len()).map_err(|_| Error::internal("a message beyond 4 GiB"))?;
        out.push(kind);
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(bytes);
        Ok(())
    }

    /// Reads all frames of a body.
    pub(crate) fn read_all(mut rest: &[u8]) -> Result<Vec<Self>> {
        let malformed = || Error::refused("malformed: the body ends inside a frame");
        let mut frames = Vec::new();
        while let Some((kind, after)) = rest.split_first() {
            let (len, after) = after.split_first_chunk::<4>().ok_or_else(malformed)?;
            let len = usize::try_from(u32::from_be_bytes(*len)).map_err(|_| malformed())?;
            let (bytes, after) = after.split_at_checked(len).ok_or_else(malformed)?;
            frames.push(match kind {
                0 => Self::Envelope(bytes.to_vec()),
                1 => Self::Summary(bytes.to_vec()),
                _ => return Err(Error::refused("malformed: a frame of unknown kind")),
            });
            rest = after;
        }
        Ok(frames)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_round_trip_and_cut_ones_are_refused() {
        let frames = [Frame::Envelope(vec![1, 2, 3]), Frame::Summary(vec![])];
        let mut body = Vec::new();
        for frame in &frames {
            frame.put(&mut body).unwrap();
        }
        assert_eq!(Frame::read_all(&body).unwrap(), frames);
        for cut in 1..body.len() {
            // Exactly between two frames is a shorter body, not a broken one.
            assert_eq!(Frame::read_all(&body[..cut]).is_ok(), cut == 8, "{cut}");
        }
        assert!(Frame::read_all(&[9, 0, 0, 0, 0]).is_err());
        assert!(Frame::read_all(&[0, 255, 255, 255, 255, 1]).is_err());
    }
}
