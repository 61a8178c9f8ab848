//! Every bound of the daemon, each with its reason.
//!
//! The bounds of the change format are `nuda_core::limits`; these are about messages, queues
//! and time. A message's size is checked before it is decompressed, while it is
//! decompressed, and before it is decoded.

use std::time::Duration;

/// A message's body as it travels. One part of a changeset (64 MiB) that does not compress
/// must fit, with room for its frame.
pub(crate) const COMPRESSED_BYTES: usize = 68 << 20;

/// A message's body after decompression: the same part, and what was batched before it.
pub(crate) const DECOMPRESSED_BYTES: usize = 96 << 20;

/// Small bodies (greetings, questions): nothing in them grows with the data.
pub(crate) const SMALL_BYTES: usize = 1 << 20;

/// Messages for one peer waiting to be sent. Beyond it the newest is dropped: anti-entropy
/// brings it again.
pub(crate) const OUTBOX_MESSAGES: usize = 4_096;

/// Bytes waiting for one peer, for the same reason.
pub(crate) const OUTBOX_BYTES: usize = 192 << 20;

/// Messages sent as one request while the previous request was under way.
pub(crate) const ENVELOPE_BYTES: usize = 8 << 20;

/// Events waiting at one partition. Beyond it a peer is told to come back.
pub(crate) const QUEUE_EVENTS: usize = 1_024;

/// Bytes waiting at one partition, for the same reason.
pub(crate) const QUEUE_BYTES: usize = 192 << 20;

/// Connections from peers at one time.
pub(crate) const CONNECTIONS: usize = 256;

/// Kept streams from peers at one time, and calls under way on one of them.
pub(crate) const STREAMS: usize = 256;
pub(crate) const STREAM_CALLS: usize = 256;

/// Command-line connections at one time.
pub(crate) const CONTROL_CONNECTIONS: usize = 32;

/// One line on the control socket.
pub(crate) const CONTROL_LINE_BYTES: usize = 1 << 20;

/// One piece of a snapshot.
pub(crate) const SNAPSHOT_PIECE_BYTES: usize = 4 << 20;

/// Snapshots a node prepares for others at one time: each is a copy of a file on disk.
pub(crate) const SNAPSHOTS: usize = 4;

/// A prepared snapshot that nobody reads is removed after this long.
pub(crate) const SNAPSHOT_IDLE: Duration = Duration::from_secs(60);

/// Nodes in the address list.
pub(crate) const NODES: usize = 256;

/// Connections a peer opens must deliver their request's head within this time.
pub(crate) const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a SQLite call waits for the file's lock. Long enough for an ordinary
/// transaction of an application, short enough to keep a worker's turn fair.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_millis(1_000);

/// How long an orderly stop waits for work in flight.
pub(crate) const SHUTDOWN: Duration = Duration::from_secs(5);

/// A wake-up is a file name.
pub(crate) const WAKE_BYTES: usize = 256;

/// Longest pause between two tries of anything.
pub(crate) const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// Changesets of the log go into a file in lists of about this size; a larger one goes alone. Whether the
/// transaction has lasted long enough is asked between them.
pub(crate) const APPLY_LIST_BYTES: usize = 16 << 10;

/// How long one transaction of the applier holds the file's write lock, about: what an
/// application may have to wait for.
pub(crate) const APPLY_TRANSACTION: Duration = Duration::from_millis(25);

/// The pause between two such transactions of one batch. SQLite's busy handler polls, so
/// without a gap a waiting application would hardly ever get its turn.
pub(crate) const APPLY_GAP: Duration = Duration::from_millis(10);

/// A message of the ordered log: the largest proposal, or the state of a group with all its
/// outcomes and partitions.
pub(crate) const CONSENSUS_BYTES: usize = 64 << 20;

/// Connections of applications that write or read strongly.
pub(crate) const STRONG_CONNECTIONS: usize = 1_024;
