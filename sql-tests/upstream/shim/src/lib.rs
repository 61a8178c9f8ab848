//! What SQLite's test program calls to run on the VFS `nuda`.
//!
//! `nuda_upstream_entry` is an extension's entry point, registered by `extra_init.c`. It initialises
//! the VFS crate and, in the mode with hooks, attaches to each connection hooks that accept everything,
//! with the read barrier armed, so that every trampoline is on the path. The handle is forgotten on
//! purpose: closing the file drops the hooks. Nothing here is shipped.

use std::ffi::{c_char, c_int};
use std::sync::Arc;

use nuda_vfs::{BarrierRefused, ConnectionHooks};
use sqlite3_ext::ffi::{sqlite3, sqlite3_api_routines};

struct Accept;

impl ConnectionHooks for Accept {
    fn pragma(&self, _name: &str, _arg: Option<&str>) -> Option<Result<String, String>> {
        None
    }

    fn read_barrier(&self) -> Result<(), BarrierRefused> {
        Ok(())
    }

    fn committed(&self) {}
}

/// Hands the API over. It returns success on every path, as an auto-extension must.
///
/// # Safety
/// Called by SQLite with the pointers of an extension's entry point.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nuda_upstream_entry(
    db: *mut sqlite3,
    _message: *mut *mut c_char,
    api: *mut sqlite3_api_routines,
) -> c_int {
    // SAFETY: these are SQLite's own pointers, and it is linked into the program.
    unsafe {
        if let Err(refusal) = nuda_vfs::init_api(api) {
            eprintln!("{refusal}");
            return 0;
        }
        if std::env::var_os("NUDA_UPSTREAM").is_some_and(|mode| mode == "hooks")
            && let Ok(attached) = nuda_vfs::attach(db, Arc::new(Accept))
        {
            attached.arm_barrier(true);
            std::mem::forget(attached);
        }
    }
    0
}

/// Registers the VFS; nonzero if that failed.
#[unsafe(no_mangle)]
pub extern "C" fn nuda_upstream_register() -> c_int {
    match nuda_vfs::register_default() {
        Ok(_) => 0,
        Err(refusal) => {
            eprintln!("{refusal}");
            1
        }
    }
}
