//! What consensus says between nodes: one call, one answer, in a body of the transport.
//!
//! The engine's messages are encoded by serde (postcard), inside bodies whose size the
//! transport has bounded. A call names the incarnation that it is for: a node whose log file is
//! a new one does not answer for the old one.

use nuda_core::site::PartitionId;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest, VoteResponse};
use openraft::{BasicNode, SnapshotMeta, Vote};
use serde::{Deserialize, Serialize};

use super::charter::Charter;
use super::types::{GroupId, LogId, Types, whole};
use crate::error::{Error, Result};

/// A call from node to node.
#[derive(Serialize, Deserialize)]
pub(crate) enum Call {
    /// The engine's.
    Engine {
        group: GroupId,
        /// The incarnation that is meant.
        to: u64,
        /// What the caller has seen it acknowledge.
        acknowledged: Option<LogId>,
        call: EngineCall,
    },
    /// Which group orders this partition?
    Describe { partition: [u8; 16] },
    /// For the leader: this voter has a new log; put it in the place of the one it lost.
    Replace {
        group: GroupId,
        name: String,
        incarnation: u64,
    },
    /// Take part in a group.
    TakePart { id: GroupId, charter: Charter },
    /// For the leader: append this entry, answer what became of it within so many
    /// milliseconds. Answered by the bytes of a `nuda_core::control::Reply`.
    Append {
        group: GroupId,
        #[serde(with = "whole")]
        entry: Vec<u8>,
        within_ms: u64,
    },
    /// For the leader: everything acknowledged so far is at or before which position?
    /// Answered as `Append`.
    Position { group: GroupId, partition: [u8; 16] },
    /// For a home: which group is of this charter? It is founded if need be.
    Provide { charter: Charter },
    /// Answer when the partition's file has this vector on disk.
    OnDisk {
        partition: [u8; 16],
        #[serde(with = "whole")]
        vector: Vec<u8>,
    },
    /// What do your file and log have of this partition?
    Holds { partition: [u8; 16] },
    /// For the leader: run this, a `nuda_core::control::Execution`. Answered as `Append`.
    Execute {
        group: GroupId,
        partition: [u8; 16],
        #[serde(with = "whole")]
        execution: Vec<u8>,
        within_ms: u64,
    },
}

impl Call {
    /// Asks for a partition's position.
    pub(crate) fn position(group: GroupId, partition: PartitionId) -> Self {
        Self::Position {
            group,
            partition: partition.0,
        }
    }
}

/// A message of the engine.
#[derive(Serialize, Deserialize)]
pub(crate) enum EngineCall {
    Append(AppendEntriesRequest<Types>),
    Vote(VoteRequest<u64>),
    Snapshot {
        vote: Vote<u64>,
        meta: SnapshotMeta<u64, BasicNode>,
        data: Vec<u8>,
    },
}

/// The answer to a call.
#[derive(Serialize, Deserialize)]
pub(crate) enum Response {
    Append(AppendEntriesResponse<u64>),
    Vote(VoteResponse<u64>),
    Snapshot(Vote<u64>),
    /// This node takes part, under this incarnation. It holds these groups of the same charter.
    TakesPart {
        incarnation: u64,
        groups: Vec<GroupId>,
    },
    /// What was asked for is so.
    Done,
    /// A group, and by which move the partition came to it that was asked about.
    Group(GroupId, Charter, u64),
    /// Bytes of a `nuda_core::control::Reply`.
    Reply(#[serde(with = "whole")] Vec<u8>),
    /// A version vector, as text.
    Holds(String),
    /// This node leads the group no longer, and has done nothing.
    NotLeader,
    /// The group has ended.
    Retired,
    /// This node's groups have just begun: it cannot say yet.
    Unsure,
}

/// The body of a call or an answer.
pub(crate) fn encode(value: &impl Serialize) -> Result<Vec<u8>> {
    postcard::to_stdvec(value).map_err(|e| Error::internal(format!("cannot encode; {e}")))
}

/// Reads a body.
pub(crate) fn decode<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T> {
    postcard::from_bytes(body)
        .map_err(|e| Error::refused(format!("malformed: a consensus message; {e}")))
}
