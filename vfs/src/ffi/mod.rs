//! Everything that touches C: the host's API pointer, the wrapped method table, its trampolines, the VFS.
//!
//! All `unsafe` of the crate is below here; the decisions are made in the safe modules beside it.
//! Reading order: `api` (the one pointer all calls go through), `table` (a file's own method table with
//! our state behind it), `methods` (the trampolines in that table), `vfs` (the default VFS), and [`attach`].
//!
//! The invariant: no panic crosses into C. Every callback is a trampoline that runs its body under `guard`,
//! save a few lines of the hottest one that can't panic.
#![allow(unsafe_code)]

mod api;
mod methods;
mod table;
mod vfs;

use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::Arc;

use sqlite3_ext::ffi as sqlite;

use crate::hooks::{AttachError, Attached, ConnectionHooks, Origin};

pub use api::init_api;
pub use vfs::register_default;

/// Wraps the file of `db`'s main database, unless it is wrapped already, and plugs in `hooks`.
///
/// The hooks are dropped when the returned handle is dropped or the file is closed, whichever comes first.
///
/// In an entry point this goes last: if the load fails after it and the library is unmapped, the file's
/// methods are gone. (Answer `SQLITE_OK_LOAD_PERMANENTLY` in any case.)
///
/// # Safety
/// `db` is an open connection of the SQLite whose API pointer was given to [`init_api`], and no other
/// thread uses it during the call. This library stays mapped for the rest of the process.
pub unsafe fn attach(
    db: *mut sqlite::sqlite3,
    hooks: Arc<dyn ConnectionHooks>,
) -> Result<Attached, AttachError> {
    if !api::ready() {
        return Err(AttachError::NotInitialised);
    }
    if db.is_null() {
        return Err(AttachError::NoFile);
    }
    // SAFETY: the caller vouches for `db`; NULL names the main database, whatever it was renamed to. The
    // name is NULL or a string that lives as long as the connection.
    let in_memory = unsafe {
        let name = sqlite::sqlite3_db_filename(db, ptr::null());
        name.is_null() || *name == 0
    };
    // SAFETY: the caller vouches for `db`, which answers this request itself.
    let own_vfs = unsafe { control::<sqlite::sqlite3_vfs>(db, sqlite::SQLITE_FCNTL_VFS_POINTER) };
    // SAFETY: a VFS that a connection uses is registered, and its name is a string.
    if in_memory || unsafe { is_memory_vfs(own_vfs) } {
        return Err(AttachError::NoFile);
    }
    // SAFETY: as above.
    let file = unsafe { control::<sqlite::sqlite3_file>(db, sqlite::SQLITE_FCNTL_FILE_POINTER) };
    // SAFETY: SQLite answered with the file of an open connection, so it may be read.
    if file.is_null() || unsafe { (*file).pMethods.is_null() } {
        return Err(AttachError::NoFile);
    }
    // SAFETY: an open file that nobody uses during this call; the library stays mapped (caller).
    let shared = unsafe { table::wrap(file, Origin::Adopted) }.map_err(AttachError::Unsupported)?;
    shared.plug(db as usize, hooks)
}

/// The pointer that a file control of the main database answers with, or NULL.
///
/// # Safety
/// `db` is an open connection and `op` a file control that writes one `*mut T`.
unsafe fn control<T>(db: *mut sqlite::sqlite3, op: c_int) -> *mut T {
    let mut answer: *mut T = ptr::null_mut();
    // SAFETY: the caller vouches for both; `answer` is the place for the pointer.
    let rc = unsafe {
        sqlite::sqlite3_file_control(db, ptr::null(), op, (&raw mut answer).cast::<c_void>())
    };
    if rc == sqlite::SQLITE_OK {
        answer
    } else {
        ptr::null_mut()
    }
}

/// Whether this is SQLite's in-memory VFS. Its files have names in older versions (3.40 among them), and
/// `sqlite3_serialize` knows them by their methods pointer, so they must not be wrapped.
///
/// # Safety
/// `vfs` is NULL or a registered VFS.
unsafe fn is_memory_vfs(vfs: *const sqlite::sqlite3_vfs) -> bool {
    if vfs.is_null() {
        return false;
    }
    // SAFETY: a registered VFS has a name, a NUL-terminated string.
    unsafe {
        let name = (*vfs).zName;
        !name.is_null() && CStr::from_ptr(name) == c"memdb"
    }
}

/// Runs the body of a callback; a panic becomes `on_panic`.
#[inline]
fn guard<R>(on_panic: R, body: impl FnOnce() -> R) -> R {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(result) => result,
        Err(payload) => {
            // Dropping the payload could panic again.
            mem::forget(payload);
            on_panic
        }
    }
}

/// A copy of the text in SQLite's own memory, which SQLite frees; NULL when memory is short. Ends at a NUL
/// within the text.
fn sqlite_text(text: &str) -> *mut c_char {
    let text = text.split('\0').next().unwrap_or_default();
    // SAFETY: `init_api` succeeded, else no file would be wrapped. The new block has room for the text
    // and its terminator.
    unsafe {
        let copy = sqlite::sqlite3_malloc64(text.len() as u64 + 1).cast::<u8>();
        if !copy.is_null() {
            ptr::copy_nonoverlapping(text.as_ptr(), copy, text.len());
            *copy.add(text.len()) = 0;
        }
        copy.cast::<c_char>()
    }
}
