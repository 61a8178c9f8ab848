//! Nothing grows with the number of connections that come and go.
//!
//! A process of its own, because every live byte of it is counted: Rust's heap by the allocator below,
//! SQLite's by its own account.
#![allow(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a failed step of a test fails the test")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::{c_char, c_int};
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, Ordering};

use nuda_vfs::{BarrierRefused, ConnectionHooks};
use rusqlite::{Connection, OpenFlags, ffi};

static LIVE: AtomicIsize = AtomicIsize::new(0);

struct Counting;

// SAFETY: all work is the system allocator's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Hooks;

impl ConnectionHooks for Hooks {
    fn pragma(&self, _name: &str, _arg: Option<&str>) -> Option<Result<String, String>> {
        Some(Ok(String::from(
            "a text of some length, in SQLite's memory",
        )))
    }

    fn read_barrier(&self) -> Result<(), BarrierRefused> {
        Ok(())
    }

    fn committed(&self) {}
}

unsafe extern "C" fn entry(
    _db: *mut ffi::sqlite3,
    _message: *mut *mut c_char,
    api: *const ffi::sqlite3_api_routines,
) -> c_int {
    // SAFETY: this is what SQLite passed, and it is linked into the program.
    let initialised = unsafe { nuda_vfs::init_api(api.cast_mut().cast()) };
    if initialised.is_ok() {
        ffi::SQLITE_OK
    } else {
        ffi::SQLITE_ERROR
    }
}

fn cycle(path: &std::path::Path, adopt: bool, handle_first: bool) {
    let conn = if adopt {
        Connection::open_with_flags_and_vfs(path, OpenFlags::default(), "unix").unwrap()
    } else {
        Connection::open(path).unwrap()
    };
    // SAFETY: a live connection of the SQLite that was initialised.
    let attached = unsafe { nuda_vfs::attach(conn.handle().cast(), Arc::new(Hooks)) }.unwrap();
    attached.arm_barrier(true);
    conn.execute_batch("CREATE TABLE IF NOT EXISTS t(a); DELETE FROM t; INSERT INTO t VALUES (1)")
        .unwrap();
    conn.query_row("PRAGMA nuda_x", [], |_| Ok(())).unwrap();
    if handle_first {
        drop(attached);
        conn.close().unwrap();
    } else {
        conn.close().unwrap();
        drop(attached);
    }
}

#[test]
fn two_hundred_connections_leave_nothing_behind() {
    // SAFETY: `entry` has the signature of an extension's entry point.
    let registered = unsafe { ffi::sqlite3_auto_extension(Some(entry)) };
    assert_eq!(registered, ffi::SQLITE_OK);
    drop(Connection::open_in_memory().unwrap());
    nuda_vfs::register_default().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let paths = [dir.path().join("wal.db"), dir.path().join("delete.db")];
    let conn = Connection::open(&paths[0]).unwrap();
    conn.query_row("PRAGMA journal_mode=wal", [], |_| Ok(()))
        .unwrap();
    conn.close().unwrap();
    let round = || {
        for path in &paths {
            for adopt in [true, false] {
                for handle_first in [true, false] {
                    cycle(path, adopt, handle_first);
                }
            }
        }
    };
    round();
    let sqlite_bytes = || {
        // SAFETY: it takes nothing and may be called at any time.
        unsafe { ffi::sqlite3_memory_used() }
    };
    let before = (LIVE.load(Ordering::Relaxed), sqlite_bytes());
    for _ in 0..25 {
        round();
    }
    assert_eq!((LIVE.load(Ordering::Relaxed), sqlite_bytes()), before);
}
