//! How bytes get from node to node: one small trait, so that tests can put a wire of their
//! own in place of HTTP.
//!
//! A call is one request and its answer. What the bytes mean is [`wire`]'s business, what to
//! do with them `server`'s and the tasks'. Nothing here retries: the callers know whether a
//! lost call matters.

pub(crate) mod answers;
pub(crate) mod body;
pub(crate) mod http;
pub(crate) mod outbox;
pub(crate) mod server;
pub(crate) mod stream;
mod stream_server;
pub(crate) mod wire;

use std::future::Future;
use std::pin::Pin;

use crate::error::Result;
use crate::limits;

/// Version of everything that travels between nodes. A node answers any other version with a
/// refusal that says which one it speaks.
pub(crate) const PROTOCOL: u32 = 2;

/// The protocol version of a request.
pub(crate) const HEADER_PROTOCOL: &str = "nuda-protocol";
/// The name of the calling node.
pub(crate) const HEADER_NODE: &str = "nuda-node";
/// The calling node's wall clock, in milliseconds since 1970.
pub(crate) const HEADER_CLOCK: &str = "nuda-clock";
/// The random id of the calling node.
pub(crate) const HEADER_NODE_ID: &str = "nuda-node-id";

/// What a call is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// Greeting and address list.
    Hello,
    /// Replication messages, fire and forget.
    Messages,
    /// A question with an answer.
    Ask,
    /// A piece of a snapshot.
    Piece,
    /// The ordered log: calls on a kept stream.
    Consensus,
}

impl Route {
    /// Those that are posted, one by one.
    pub(crate) const POSTED: [Self; 4] = [Self::Hello, Self::Messages, Self::Ask, Self::Piece];

    /// Its path.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Hello => "/v1/hello",
            Self::Messages => "/v1/messages",
            Self::Ask => "/v1/ask",
            Self::Piece => "/v1/piece",
            Self::Consensus => "/v1/consensus",
        }
    }

    /// How large a request's or an answer's body may be: as it travels, and decompressed.
    pub(crate) fn bounds(self) -> (usize, usize) {
        match self {
            Self::Messages => (limits::COMPRESSED_BYTES, limits::DECOMPRESSED_BYTES),
            Self::Piece => (
                2 * limits::SNAPSHOT_PIECE_BYTES,
                limits::SNAPSHOT_PIECE_BYTES,
            ),
            Self::Consensus => (limits::CONSENSUS_BYTES, limits::CONSENSUS_BYTES),
            Self::Hello | Self::Ask => (limits::SMALL_BYTES, 4 * limits::SMALL_BYTES),
        }
    }
}

/// The answer to a call, some time later.
pub(crate) type Answer = Pin<Box<dyn Future<Output = Result<Vec<u8>>> + Send>>;

/// The wire.
pub(crate) trait Transport: Send + Sync {
    /// Sends `body` to the node at `address` and brings its answer.
    fn call(&self, address: String, route: Route, body: Vec<u8>) -> Answer;
}
