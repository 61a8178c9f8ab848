//! Strong transactions, the connection's half: what is in force, and the daemon's answers.
//!
//! In reading order: `client` (the daemon's socket), `levels` (setting and showing), `barrier`
//! (before a read transaction begins), `seen` (what a session has seen, and the second connection
//! that looks whether the file has it), `decide` (at which level a transaction commits), `commit`
//! (the proposal, inside the commit), `holders` (who keeps the file from being written), `exec` (what runs at the leader). The state is shared between
//! the connection and its file, whose barrier must not use the connection; all of it is behind one
//! lock that is never held while SQL runs on the connection itself.
//!
//! The invariant: a level that is shown is honoured by every later transaction, or that
//! transaction fails and says why.

mod barrier;
mod client;
pub(crate) mod commit;
pub(crate) mod decide;
pub(crate) mod exec;
mod holders;
pub(crate) mod levels;
mod seen;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use nuda_core::certify::Statement;
use nuda_core::changeset::Level;
use nuda_core::control::{SOCKET, Standing};
use nuda_core::site::{Dot, PartitionId};
use nuda_core::token::Token;
use nuda_core::version_vector::VersionVector;

use client::Client;
use levels::Read;
use seen::Watcher;

/// How long a strong call waits unless told otherwise, in milliseconds.
const TIMEOUT_MS: u64 = 2_000;

/// How old a bounded read may be unless told otherwise, in milliseconds.
const MAX_STALENESS_MS: u64 = 1_000;

/// What one connection has in force and has been told.
#[derive(Debug)]
pub(crate) struct Session {
    file: Arc<str>,
    socket: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    client: Client,
    write: Level,
    read: Read,
    timeout_ms: u64,
    max_staleness_ms: u64,
    /// The file has what a majority of the voters had when asked then; while the read level is
    /// bounded.
    asked: Option<Instant>,
    /// The partition, once a strong level was set or a strong transaction was made. `None`
    /// also for a file that is in no cluster.
    partition: Option<PartitionId>,
    /// What the daemon said last.
    standing: Option<Standing>,
    /// The next transaction must begin after these of the log.
    after: VersionVector,
    /// The file has these of the log: this connection has committed them here.
    here: VersionVector,
    /// A quorum transaction may be in the log and not here: the next one waits for it, if it is.
    in_doubt: bool,
    /// The log does not continue the lane of this file's site: the next quorum transaction begins
    /// under a new site.
    leaves_lane: bool,
    /// What was seen and written here, or was handed over; once anybody asked.
    seen: Option<Token>,
    /// There while the read level is session.
    watcher: Option<Watcher>,
    /// Random, so that no other connection makes the same ids.
    boot: u64,
    counter: u64,
    last: Option<Last>,
    /// For whom the daemon runs the transaction, as far as that is known; `None` if it is no
    /// transaction of calls.
    ran_for: Option<Vec<Statement>>,
    /// Whether the running transaction is accepted and not yet committed here.
    accepted: Option<Last>,
}

/// The connection's last commit.
#[derive(Debug, Clone)]
struct Last {
    id: String,
    level: Level,
    /// Its number in the log; `None` if it is not in the log.
    dot: Option<Dot>,
    acks: u64,
    of: u64,
    micros: u128,
    note: &'static str,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.write_lock(false);
    }
}

impl Session {
    pub(crate) fn new(file: &str, boot: u64) -> Arc<Self> {
        let directory = Path::new(file).parent().unwrap_or(Path::new("."));
        let socket = directory.join(".nuda").join(SOCKET);
        Arc::new(Self {
            file: Arc::from(file),
            socket: socket.clone(),
            state: Mutex::new(State {
                client: Client::new(socket),
                write: Level::Eventual,
                read: Read::Eventual,
                timeout_ms: TIMEOUT_MS,
                max_staleness_ms: MAX_STALENESS_MS,
                asked: None,
                partition: None,
                standing: None,
                after: VersionVector::new(),
                here: VersionVector::new(),
                in_doubt: false,
                leaves_lane: false,
                seen: None,
                watcher: None,
                boot,
                counter: 0,
                last: None,
                ran_for: None,
                accepted: None,
            }),
        })
    }

    /// The connection has taken its file's write lock, or released it.
    pub(crate) fn write_lock(&self, is_held: bool) {
        let session = std::ptr::from_ref(self).addr();
        if is_held {
            holders::taken(&self.file, session);
        } else {
            holders::released(session);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether transactions of this connection must pass the barrier.
    pub(crate) fn wants_barrier(&self) -> bool {
        let state = self.state();
        state.read != Read::Eventual
            || state.write == Level::Strong
            || state.in_doubt
            || !state.after.is_empty()
    }

    /// The write level in force. Calls that run at the leader are strong.
    pub(crate) fn write_level(&self) -> Level {
        let state = self.state();
        match state.ran_for {
            Some(_) => Level::Strong,
            None => state.write,
        }
    }

    /// Whether the transaction that begins must do so under a new site. Asked once: if it fails,
    /// the log says so again.
    pub(crate) fn leaves_lane(&self, level: Level) -> bool {
        level == Level::Quorum && std::mem::take(&mut self.state().leaves_lane)
    }

    /// The running transaction was committed here.
    pub(crate) fn committed(&self, wrote: bool) {
        let mut state = self.state();
        state.ran_for = None;
        if let Some(accepted) = state.accepted.take() {
            if let Some(dot) = accepted.dot {
                state.here.raise(dot.site, dot.seq);
            }
            state.last = Some(accepted);
        } else if wrote {
            state.last = Some(Last {
                id: String::new(),
                level: Level::Eventual,
                dot: None,
                acks: 1,
                of: 1,
                micros: 0,
                note: "",
            });
        }
    }

    /// The running transaction was rolled back here, perhaps after it was accepted.
    pub(crate) fn rolled_back(&self) {
        let mut state = self.state();
        state.ran_for = None;
        if let Some(mut accepted) = state.accepted.take() {
            accepted.note = "committed, will be applied";
            if let Some(dot) = accepted.dot {
                state.after.raise(dot.site, dot.seq);
            }
            state.last = Some(accepted);
        }
    }

    /// `nuda_last_commit()`.
    pub(crate) fn last_commit(&self) -> Option<String> {
        let last = self.state().last.clone()?;
        let level = last.level.word();
        if last.level == Level::Eventual {
            return Some(format!("{{\"level\":\"{level}\"}}"));
        }
        let position = match (last.level, last.dot) {
            (Level::Strong, Some(dot)) => format!(",\"position\":{}", dot.seq),
            _ => String::new(),
        };
        let note = if last.note.is_empty() {
            String::new()
        } else {
            format!(",\"note\":\"{}\"", last.note)
        };
        Some(format!(
            "{{\"id\":\"{}\",\"level\":\"{level}\"{position},\"acks\":{},\"of\":{},\"ms\":{:.1}{note}}}",
            last.id,
            last.acks,
            last.of,
            last.micros as f64 / 1_000.0
        ))
    }
}
