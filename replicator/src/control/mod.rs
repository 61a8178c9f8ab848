//! What the command line and the daemon say to each other: one JSON object per line.
//!
//! A connection carries one request; the answer is any number of progress lines and then one
//! result or failure. The socket is the daemon's owner's alone (mode 0600, and the caller's
//! uid is checked).

pub(crate) mod client;
pub(crate) mod server;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What the command line asks.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Request {
    /// `nuda create`; `from` is absolute.
    Create {
        name: String,
        on: Vec<String>,
        from: Option<PathBuf>,
        /// How long to wait until the nodes are known.
        timeout_ms: u64,
    },
    /// `nuda members`.
    Members {
        partition: String,
        remove: Vec<String>,
        /// How long to wait until the voters have changed.
        timeout_ms: u64,
    },
    /// `nuda status`.
    Status { partition: Option<String> },
    /// `nuda verify`.
    Verify { partition: String, timeout_ms: u64 },
    /// `nuda fault`: drop this traffic and no other.
    Fault(Faults),
}

/// Traffic to be dropped, by the names of nodes, and a disk that stands still.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Faults {
    /// In both directions.
    pub(crate) cut: Vec<String>,
    /// Calls to these.
    pub(crate) mute: Vec<String>,
    /// Calls from these.
    pub(crate) deaf: Vec<String>,
    /// Answers to these; what they asked is done.
    pub(crate) unanswered: Vec<String>,
    /// The disk of the consensus log takes nothing.
    pub(crate) stall_log: bool,
    /// Changes for these: they hear from this node by the ordered log only.
    pub(crate) withheld: Vec<String>,
}

/// One line of an answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Line {
    /// Something to show while it lasts.
    Progress(String),
    /// The result.
    Done(serde_json::Value),
    /// Why there is none.
    Failed { not_found: bool, text: String },
}

/// Where a long action says how far it is. Lines nobody reads in time are dropped.
pub(crate) struct Progress(tokio::sync::mpsc::Sender<String>);

impl Progress {
    /// Says one line.
    pub(crate) fn say(&self, text: impl Into<String>) {
        let _ = self.0.try_send(text.into());
    }
}
