//! What a connection plugs into its file, the handle it gets back, and the state both sides share.
//!
//! The file's side holds [`Shared`] from the moment it is wrapped until `xClose`; the connection's side
//! holds it through [`Attached`]. Either may go first: closing the file drops the hooks and marks the
//! state closed, dropping the handle takes the hooks out and leaves the file plainly wrapped. So the
//! hooks may own their `Attached`: the cycle ends when the file is closed.
//!
//! Calls for one file come one at a time, from whichever thread holds the connection's mutex. A
//! connection may change threads, and with a shared cache two connections use one file, so hooks are
//! `Send + Sync`: soundness then rests on no promise about threads. The invariant: no lock of this
//! module is held while a hook runs, so hooks may detach, arm and ask for facts.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::barrier::Refused;

/// What a connection plugs into its main database file.
///
/// `read_barrier` and `committed` run inside SQLite's locking code: they must not use the connection they
/// belong to. They may use other connections; `pragma` may use its own as well. A hook that panics is
/// treated as a refusal (pragma, barrier) or ignored (committed).
pub trait ConnectionHooks: Send + Sync {
    /// `PRAGMA name[=arg]`, where `name` starts with `nuda_` and is in lower case. `None`: not ours, as
    /// SQLite ignores an unknown pragma. It runs while the statement is prepared, also under EXPLAIN and
    /// perhaps repeatedly, so it must be idempotent. `Ok` is answered as one row, `Err` fails the PRAGMA.
    fn pragma(&self, name: &str, arg: Option<&str>) -> Option<Result<String, String>>;

    /// A read transaction begins; runs only while armed, and before any lock is held, so it may block
    /// until another connection has written what must be seen. Refusing makes the statement fail with
    /// `SQLITE_INTERRUPT`. It may run more than once for a transaction whose locks are contended.
    fn read_barrier(&self) -> Result<(), BarrierRefused>;

    /// A commit of this connection became visible to others.
    fn committed(&self);

    /// This connection took the write lock of a WAL database, or is about to release it. It runs inside
    /// SQLite's locking code as well, for every write transaction: it must be quick.
    fn write_lock(&self, _is_held: bool) {}
}

/// A refused read barrier, in words for the user: what; why; next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BarrierRefused {
    /// SQLite itself can only say "interrupted"; see [`Attached::take_refusal`].
    pub message: String,
}

/// How a file came to be wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It was open when the extension was loaded.
    Adopted,
    /// The default VFS `nuda` opened it.
    OpenedByVfs,
}

/// Facts about an attached file, for `nuda_debug()`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mode {
    /// Adopted, or opened by the VFS.
    pub origin: Origin,
    /// The VFS below, as it calls itself (`unix`).
    pub inner_vfs: String,
    /// False once SQLite has closed the file (also when `sqlite3_deserialize` replaced it).
    pub open: bool,
    /// Whether the read barrier is armed.
    pub barrier_armed: bool,
    /// How often the barrier ran.
    pub barriers_run: u64,
    /// Commits noticed on this file since it was wrapped.
    pub commits_seen: u64,
}

/// Why a connection could not be attached. None of these leaves anything changed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AttachError {
    /// [`crate::init_api`] has not succeeded in this process.
    NotInitialised,
    /// The main database is in memory or temporary.
    NoFile,
    /// This connection is attached already (the extension was loaded twice).
    AlreadyAttached,
    /// Another connection of this process is attached to the same open file: shared cache.
    SharedCache,
    /// The VFS below answered with this code, or its methods are unusable.
    Unsupported(i32),
}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotInitialised => f.write_str("nuda: attaching before the extension was initialised"),
            Self::NoFile => f.write_str(
                "nuda: the main database is in memory or temporary and can't be replicated; open a file",
            ),
            Self::AlreadyAttached => f.write_str("nuda: this connection is attached already"),
            Self::SharedCache => f.write_str(
                "nuda: another connection uses this file through a shared cache; open it without cache=shared",
            ),
            Self::Unsupported(code) => {
                write!(f, "nuda: the VFS of the main database can't be wrapped (code {code}); use the default VFS")
            }
        }
    }
}

impl std::error::Error for AttachError {}

/// The connection's end of its file. Dropping it detaches.
pub struct Attached {
    shared: Arc<Shared>,
}

impl Attached {
    /// Runs the read barrier at each beginning read transaction from now on, or no longer. A transaction
    /// that has begun is not affected.
    pub fn arm_barrier(&self, on: bool) {
        if on {
            self.shared.arming.fetch_add(1, Ordering::Relaxed);
        }
        self.shared.armed.store(on, Ordering::Relaxed);
    }

    /// Takes the hooks out and disarms. The file stays wrapped until SQLite closes it.
    pub fn detach(self) {
        drop(self);
    }

    /// Facts as of now.
    pub fn mode(&self) -> Mode {
        let shared = &*self.shared;
        Mode {
            origin: shared.origin,
            inner_vfs: shared.inner_vfs.clone(),
            open: shared.open.load(Ordering::Relaxed),
            barrier_armed: shared.armed(),
            barriers_run: shared.barriers.load(Ordering::Relaxed),
            commits_seen: shared.commits.load(Ordering::Relaxed),
        }
    }

    /// The message of the last refused barrier, given once: SQLite's own error is a bare "interrupted".
    pub fn take_refusal(&self) -> Option<String> {
        lock(&self.shared.refusal).take()
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.shared.unplug();
    }
}

impl fmt::Debug for Attached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Attached").field(&self.mode()).finish()
    }
}

/// What the file's methods and the connection's handle share.
pub(crate) struct Shared {
    /// Read on every beginning read transaction; the only cost of an unarmed barrier.
    armed: AtomicBool,
    /// How often the barrier was armed, so that nothing is carried over from an earlier arming.
    arming: AtomicU32,
    open: AtomicBool,
    commits: AtomicU64,
    barriers: AtomicU64,
    origin: Origin,
    inner_vfs: String,
    /// Locked only to take a copy or to change it, never while a hook runs.
    plugged: Mutex<Option<Plugged>>,
    refusal: Mutex<Option<String>>,
}

/// Hooks, and the connection they belong to.
struct Plugged {
    /// Address of the connection, only ever compared.
    connection: usize,
    hooks: Arc<dyn ConnectionHooks>,
}

impl Shared {
    pub(crate) fn new(origin: Origin, inner_vfs: String) -> Self {
        Self {
            armed: AtomicBool::new(false),
            arming: AtomicU32::new(0),
            open: AtomicBool::new(true),
            commits: AtomicU64::new(0),
            barriers: AtomicU64::new(0),
            origin,
            inner_vfs,
            plugged: Mutex::new(None),
            refusal: Mutex::new(None),
        }
    }

    /// Installs the hooks of one connection; there is room for one.
    pub(crate) fn plug(
        self: &Arc<Self>,
        connection: usize,
        hooks: Arc<dyn ConnectionHooks>,
    ) -> Result<Attached, AttachError> {
        let mut plugged = lock(&self.plugged);
        match &*plugged {
            Some(there) if there.connection == connection => {
                return Err(AttachError::AlreadyAttached);
            }
            Some(_) => return Err(AttachError::SharedCache),
            None => *plugged = Some(Plugged { connection, hooks }),
        }
        Ok(Attached {
            shared: Arc::clone(self),
        })
    }

    #[inline]
    pub(crate) fn armed(&self) -> bool {
        self.armed.load(Ordering::Relaxed)
    }

    pub(crate) fn arming(&self) -> u32 {
        self.arming.load(Ordering::Relaxed)
    }

    /// A copy of the hooks, so that they stay alive while they run whatever they do.
    pub(crate) fn hooks(&self) -> Option<Arc<dyn ConnectionHooks>> {
        lock(&self.plugged)
            .as_ref()
            .map(|plugged| Arc::clone(&plugged.hooks))
    }

    /// Runs the barrier; with the hooks gone there is nothing to refuse.
    pub(crate) fn run_barrier(&self) -> Result<(), Refused> {
        let Some(hooks) = self.hooks() else {
            return Ok(());
        };
        self.barriers.fetch_add(1, Ordering::Relaxed);
        hooks.read_barrier().map_err(|refused| {
            self.refuse(refused.message);
            Refused
        })
    }

    /// Keeps the reason for [`Attached::take_refusal`].
    pub(crate) fn refuse(&self, message: String) {
        *lock(&self.refusal) = Some(message);
    }

    /// Tells the hooks of commits. Does nothing for none, which is the usual number.
    #[inline]
    pub(crate) fn report_commits(&self, number: u32) {
        for _ in 0..number {
            self.commits.fetch_add(1, Ordering::Relaxed);
            if let Some(hooks) = self.hooks() {
                hooks.committed();
            }
        }
    }

    /// Tells the hooks of the write lock.
    pub(crate) fn report_write_lock(&self, is_held: bool) {
        if let Some(hooks) = self.hooks() {
            hooks.write_lock(is_held);
        }
    }

    /// The file is closed: nothing will call the hooks again.
    pub(crate) fn close(&self) {
        self.open.store(false, Ordering::Relaxed);
        self.unplug();
    }

    fn unplug(&self) {
        self.armed.store(false, Ordering::Relaxed);
        let plugged = lock(&self.plugged).take();
        // Dropped with the lock released: the hooks may own the handle that is being dropped.
        drop(plugged);
    }
}

/// A panicking hook never leaves this module's data half written, so poison means nothing here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
