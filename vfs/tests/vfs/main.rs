//! The wrapped file as SQLite uses it: real connections of the bundled SQLite on real files.
//!
//! One test program, since linking SQLite is what takes time. Most tests run twice, on a file that was
//! adopted after it was opened and on one that the default VFS opened. What must be tested in a process
//! of its own (nothing initialised, no leak) is in the files beside this folder.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed step of a test fails the test"
)]

mod adoption;
mod barrier;
mod commits;
mod ffi;
mod files;
mod lifetime;
mod pragma;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use nuda_vfs::{Attached, BarrierRefused, ConnectionHooks};
use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;

/// How a connection's file came to be wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Adopted,
    ThroughVfs,
}

pub(crate) const BOTH_WAYS: [Way; 2] = [Way::Adopted, Way::ThroughVfs];

/// What an auto-extension attached while a connection opened.
pub(crate) type AutoAttached = Vec<(Attached, Arc<Recorder>)>;

type Action = Box<dyn Fn() + Send>;

/// Hooks that count, and do what the test asks for.
#[derive(Default)]
pub(crate) struct Recorder {
    pub(crate) pragmas: Mutex<Vec<(String, Option<String>)>>,
    barriers: AtomicU32,
    commits: AtomicU32,
    pub(crate) refuse: AtomicBool,
    pub(crate) panic: AtomicBool,
    pub(crate) on_barrier: Mutex<Option<Action>>,
    pub(crate) on_pragma: Mutex<Option<Action>>,
}

impl Recorder {
    /// Barriers since the last call.
    pub(crate) fn barriers(&self) -> u32 {
        self.barriers.swap(0, Ordering::Relaxed)
    }

    /// Commits since the last call.
    pub(crate) fn commits(&self) -> u32 {
        self.commits.swap(0, Ordering::Relaxed)
    }
}

impl ConnectionHooks for Recorder {
    fn pragma(&self, name: &str, arg: Option<&str>) -> Option<Result<String, String>> {
        assert!(!self.panic.load(Ordering::Relaxed), "asked to panic");
        self.pragmas
            .lock()
            .unwrap()
            .push((name.to_owned(), arg.map(str::to_owned)));
        if let Some(action) = &*self.on_pragma.lock().unwrap() {
            action();
        }
        match name {
            "nuda_echo" => Some(Ok(arg.unwrap_or("nothing").to_owned())),
            "nuda_empty" => Some(Ok(String::new())),
            "nuda_fail" => Some(Err(String::from("this level can't be honoured"))),
            _ => None,
        }
    }

    fn read_barrier(&self) -> Result<(), BarrierRefused> {
        assert!(!self.panic.load(Ordering::Relaxed), "asked to panic");
        self.barriers.fetch_add(1, Ordering::Relaxed);
        if let Some(action) = &*self.on_barrier.lock().unwrap() {
            action();
        }
        if self.refuse.load(Ordering::Relaxed) {
            return Err(BarrierRefused {
                message: String::from("no leader known; retry later"),
            });
        }
        Ok(())
    }

    fn committed(&self) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        assert!(!self.panic.load(Ordering::Relaxed), "asked to panic");
    }
}

/// A folder with a database in it, and connections to that.
pub(crate) struct Place {
    dir: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        ffi::initialise();
        nuda_vfs::register_default().unwrap();
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    /// A connection to `t.db`, not attached.
    pub(crate) fn open(&self, way: Way) -> Connection {
        open(&self.path("t.db"), way)
    }

    /// An attached connection to `t.db` in the given journal mode, with a table and warm.
    pub(crate) fn attached(&self, way: Way, journal: &str) -> Subject {
        let conn = self.open(way);
        set_journal(&conn, journal);
        conn.execute_batch("CREATE TABLE IF NOT EXISTS t(a INTEGER PRIMARY KEY, b)")
            .unwrap();
        let (attached, recorder) = attach(&conn);
        count(&conn).unwrap();
        Subject {
            attached,
            recorder,
            conn,
        }
    }
}

/// An attached connection. The handle goes before the connection, as fields are dropped in order.
pub(crate) struct Subject {
    pub(crate) attached: Attached,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) conn: Connection,
}

pub(crate) fn open(path: &Path, way: Way) -> Connection {
    match way {
        Way::Adopted => {
            Connection::open_with_flags_and_vfs(path, OpenFlags::default(), "unix").unwrap()
        }
        Way::ThroughVfs => Connection::open(path).unwrap(),
    }
}

pub(crate) fn attach(conn: &Connection) -> (Attached, Arc<Recorder>) {
    let recorder = Arc::new(Recorder::default());
    let attached = ffi::attach(conn, recorder.clone()).unwrap();
    (attached, recorder)
}

pub(crate) fn set_journal(conn: &Connection, mode: &str) {
    let now: String = conn
        .query_row(&format!("PRAGMA journal_mode={mode}"), [], |row| row.get(0))
        .unwrap();
    assert_eq!(now, mode);
}

pub(crate) fn count(conn: &Connection) -> rusqlite::Result<i64> {
    conn.query_row("SELECT count(*) FROM t", [], |row| row.get(0))
}

pub(crate) fn insert(conn: &Connection) {
    conn.execute("INSERT INTO t(b) VALUES (zeroblob(100))", [])
        .unwrap();
}

pub(crate) fn integrity(conn: &Connection) {
    let verdict: String = conn
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(verdict, "ok");
}
