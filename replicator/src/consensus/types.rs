//! What the Raft engine is told about our types.
//!
//! An entry is the bytes of `nuda_core::certify::Entry`; an answer is the bytes of a
//! `nuda_core::control::Reply`. A voter's id is its log file's incarnation, its node the name
//! under which its daemon is known.

use std::fmt;

use openraft::{BasicNode, Config, TokioRuntime};
use serde::{Deserialize, Serialize};

/// The bytes of one entry of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Data(#[serde(with = "whole")] pub(crate) Vec<u8>);

/// The bytes of one answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verdict(#[serde(with = "whole")] pub(crate) Vec<u8>);

/// Bytes as a whole: left to itself, serde goes through a vector byte by byte. On the wire and
/// on disk both are the same.
pub(crate) mod whole {
    use std::fmt;

    use serde::de::{Error, Visitor};
    use serde::{Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Vec<u8>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
        }
        from.deserialize_bytes(Bytes)
    }
}

openraft::declare_raft_types!(
    /// The engine's types.
    pub(crate) Types:
        D = Data,
        R = Verdict,
        NodeId = u64,
        Node = BasicNode,
        SnapshotData = Vec<u8>,
        AsyncRuntime = TokioRuntime,
);

/// The engine.
pub(crate) type Raft = openraft::Raft<Types>;
/// A place in a log.
pub(crate) type LogId = openraft::LogId<u64>;
/// One entry of a log.
pub(crate) type LogEntry = openraft::Entry<Types>;
/// Failures of the store, which stop the engine.
pub(crate) type StorageError = openraft::StorageError<u64>;

/// A group's name: 128 random bits, made by its home.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct GroupId(pub(crate) [u8; 16]);

impl fmt::Debug for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// Intervals of the engine. An election follows 0.8 to 1.3 s after the leader's last word (for
/// the greatest timeout nobody votes for another one; then each waits for its own); a group costs
/// each follower's node five small messages a second. A message counts as lost after one heartbeat's
/// interval, so that this is also the longest way there and back between voters. Tests take
/// snapshots after fewer entries, and keep none of them.
pub(crate) fn config(snapshot_after: Option<u64>) -> Config {
    Config {
        cluster_name: "nuda".to_owned(),
        heartbeat_interval: 200,
        election_timeout_min: 300,
        election_timeout_max: 500,
        max_payload_entries: 256,
        replication_lag_threshold: snapshot_after.unwrap_or(16_384),
        snapshot_policy: openraft::SnapshotPolicy::LogsSinceLast(snapshot_after.unwrap_or(8_192)),
        max_in_snapshot_log_to_keep: snapshot_after.map_or(256, |_| 0),
        ..Config::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_as_a_whole_are_what_they_were_one_by_one() {
        for length in [0, 1, 127, 128, 300] {
            let bytes: Vec<u8> = (0..length).map(|n| n as u8).collect();
            let encoded = postcard::to_stdvec(&Data(bytes.clone())).unwrap();
            assert_eq!(encoded, postcard::to_stdvec(&bytes).unwrap());
            assert_eq!(postcard::from_bytes::<Data>(&encoded).unwrap().0, bytes);
        }
    }
}
