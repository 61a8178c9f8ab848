//! Telling the daemon that there is something to ship, and what the file's VFS tells us.
//!
//! Losing a wake-up is harmless, the daemon also looks by itself; so nothing here waits.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use nuda_vfs::{BarrierRefused, ConnectionHooks};

use crate::ffi::db::{Db, SharedDb};
use crate::rebuilt::{self, Lookout};
use crate::sql::same_name;
use crate::strong::Session;

/// Shared between a connection and its file.
#[derive(Debug)]
pub(crate) struct Signal {
    path: PathBuf,
    /// A record was written by the transaction that is being committed.
    pending: AtomicBool,
    /// The daemon knows of that transaction: it went through its log.
    known: AtomicBool,
    /// Commits of this connection that carried a log record, or were the applier's.
    captured: AtomicU64,
    /// Whether the file is known to be a replica.
    replica: AtomicBool,
    socket: Mutex<Socket>,
    /// The connection only applies, and defines tables in NUDA's own way only.
    dedicated: AtomicBool,
    /// The running transaction was found to leave no table that is written without being captured.
    checked: AtomicBool,
    /// The connection's count of changes when it took the file's write lock, while it holds it.
    locked: Mutex<Option<i32>>,
    /// Looks for such tables after the commits that did not look themselves.
    lookout: Mutex<Option<Lookout>>,
    /// The connection, for pragmas and its count of changes only.
    db: SharedDb,
    session: Arc<Session>,
}

/// The daemon's wake-up socket, found beside the file.
#[derive(Debug, Default)]
struct Socket {
    connected: Option<UnixDatagram>,
    failed_at: Option<Instant>,
}

impl Signal {
    pub(crate) fn new(db: Db, session: Arc<Session>) -> Self {
        Self {
            path: PathBuf::from(db.path()),
            pending: AtomicBool::new(false),
            known: AtomicBool::new(false),
            captured: AtomicU64::new(0),
            replica: AtomicBool::new(false),
            socket: Mutex::default(),
            dedicated: AtomicBool::new(false),
            checked: AtomicBool::new(false),
            locked: Mutex::new(None),
            lookout: Mutex::new(None),
            db: SharedDb::new(db),
            session,
        }
    }

    /// The running transaction wrote a record, or (false) it was rolled back. Of one that is
    /// `known` the daemon need not be told.
    pub(crate) fn set_pending(&self, pending: bool, known: bool) {
        self.pending.store(pending, Ordering::Relaxed);
        self.known.store(known, Ordering::Relaxed);
    }

    /// The file is a replica, or no longer one.
    pub(crate) fn set_replica(&self, is_replica: bool) {
        self.replica.store(is_replica, Ordering::Relaxed);
        if !is_replica {
            // An open file would stay in others' way.
            drop(self.lookout().take());
        }
    }

    /// See [`Self::dedicated`].
    pub(crate) fn set_dedicated(&self, on: bool) {
        self.dedicated.store(on, Ordering::Relaxed);
    }

    /// The running transaction, which captured something, leaves no table open that was rebuilt.
    pub(crate) fn schema_is_checked(&self) {
        self.checked.store(true, Ordering::Relaxed);
    }

    /// The running transaction is gone.
    pub(crate) fn rolled_back(&self) {
        self.checked.store(false, Ordering::Relaxed);
    }

    fn lookout(&self) -> MutexGuard<'_, Option<Lookout>> {
        self.lookout.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// After a commit that may have rebuilt a table, or written to one.
    fn look(&self) {
        let is_checked = self.checked.swap(false, Ordering::Relaxed);
        let looks = self.replica.load(Ordering::Relaxed) && !self.dedicated.load(Ordering::Relaxed);
        if looks && !is_checked {
            rebuilt::look(&mut self.lookout(), &self.path);
        }
    }

    /// See [`Self::locked`]; none also if nobody tells of the lock.
    pub(crate) fn locked(&self) -> Option<i32> {
        *self.locked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits that carried a record.
    pub(crate) fn captured(&self) -> u64 {
        self.captured.load(Ordering::Relaxed)
    }

    /// A commit became visible: wakes the daemon if there is something to ship.
    pub(crate) fn commit(&self) {
        if self.pending.swap(false, Ordering::Relaxed) {
            self.captured.fetch_add(1, Ordering::Relaxed);
            if self.known.swap(false, Ordering::Relaxed) {
                return;
            }
            self.socket
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .send(&self.path);
        }
    }
}

impl Socket {
    /// Sends the file's name. An absent daemon is not asked again for a second.
    fn send(&mut self, path: &Path) {
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
            return;
        };
        if self.failed_at.is_some_and(|at| at.elapsed().as_secs() < 1) {
            return;
        }
        if self.connected.is_none() {
            self.connected = connect(&directory.join(".nuda/wake.sock"));
        }
        let sent = self.connected.as_ref().is_some_and(|socket| {
            match socket.send(name.as_encoded_bytes()) {
                Ok(_) => true,
                // A full queue means that the daemon is already awake.
                Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
            }
        });
        if sent {
            self.failed_at = None;
        } else {
            self.connected = None;
            self.failed_at = Some(Instant::now());
        }
    }
}

fn connect(path: &Path) -> Option<UnixDatagram> {
    let socket = UnixDatagram::unbound().ok()?;
    socket.set_nonblocking(true).ok()?;
    socket.connect(path).ok()?;
    Some(socket)
}

/// Why a replica's file stays open to all.
fn refused(pragma: &str, keeps: &str) -> String {
    format!(
        "nuda: this file is a replica, and stays in {pragma} {keeps}: the daemon reads and writes \
         it beside the application; SELECT nuda_eject() first if it shall be none"
    )
}

impl ConnectionHooks for Signal {
    fn pragma(&self, name: &str, arg: Option<&str>) -> Option<Result<String, String>> {
        let keeps = match name {
            "journal_mode" => "wal",
            "locking_mode" => "normal",
            // Answered by the function of that name, which knows the connection.
            _ => return self.db.pragma(name, arg),
        };
        let arg = arg.unwrap_or_default();
        let is_kept = same_name(arg, keeps) || !self.replica.load(Ordering::Relaxed);
        (!is_kept).then(|| Err(refused(name, keeps)))
    }

    fn read_barrier(&self) -> Result<(), BarrierRefused> {
        self.session.barrier()
    }

    fn committed(&self) {
        self.look();
        self.commit();
    }

    fn write_lock(&self, is_held: bool) {
        let count = is_held.then(|| self.db.total_changes());
        *self.locked.lock().unwrap_or_else(PoisonError::into_inner) = count;
        self.session.write_lock(is_held);
    }
}
