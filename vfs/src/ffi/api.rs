//! The pointer through which every call to the host's SQLite goes.
//!
//! A loadable extension links no SQLite: the host hands over a table of functions, and the bindings
//! keep it in one global. This is the only place that sets it. The invariant: once set it never
//! changes; a second SQLite library in the process is refused, not mixed up with the first.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use sqlite3_ext::ffi as sqlite;

use crate::host::{InitError, check_version};

/// Address of the installed table, 0 before.
static INSTALLED: Mutex<usize> = Mutex::new(0);

/// Set after the table is installed, so that it can be asked for cheaply.
static READY: AtomicBool = AtomicBool::new(false);

/// Installs the API pointer that SQLite passes to an extension's entry point, or refuses this host. To be
/// called first in every entry point, loaded or registered by `sqlite3_auto_extension`. Repeating it with
/// the same pointer does nothing.
///
/// # Safety
/// `api` is NULL or the pointer SQLite passed, and that SQLite stays in the process for good.
pub unsafe fn init_api(api: *mut sqlite::sqlite3_api_routines) -> Result<(), InitError> {
    if api.is_null() {
        return Err(InitError::NoApi);
    }
    let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    if *installed == api as usize {
        return Ok(());
    }
    if *installed != 0 {
        return Err(InitError::OtherLibrary);
    }
    // SAFETY: the caller vouches for the table, and this member is in it in every version of SQLite 3.
    let version = match unsafe { (*api).libversion_number } {
        // SAFETY: it is SQLite's own function, without arguments.
        Some(libversion_number) => unsafe { libversion_number() },
        None => return Err(InitError::NoApi),
    };
    check_version(version)?;
    // SAFETY: the lock is held, so nobody sets it at the same time; nobody reads it before READY.
    unsafe { sqlite::init_api_routines(api) }.map_err(|_| InitError::NoApi)?;
    *installed = api as usize;
    READY.store(true, Ordering::Release);
    Ok(())
}

/// Whether SQLite may be called.
pub(crate) fn ready() -> bool {
    READY.load(Ordering::Acquire)
}
