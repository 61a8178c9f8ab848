//! Connections that the extension opens for itself: to try a definition in, or to look at the
//! file from where the host's connection must not be used.
//!
//! Nothing else has their handles, and they are closed with their owner.

use std::ffi::CString;
use std::os::raw::c_int;
use std::ptr;

use sqlite3_ext::ffi;

use super::db::Db;
use crate::error::{Error, Result};

/// A connection of the extension's own.
#[derive(Debug)]
pub(crate) struct OwnConnection(*mut ffi::sqlite3);

// SAFETY: SQLite lets a connection be used by any thread as long as one at a time does; the
// owner has it for itself (`&mut`, or a lock around it).
unsafe impl Send for OwnConnection {}

impl OwnConnection {
    /// An empty in-memory database of the same library.
    pub(crate) fn in_memory() -> Result<Self> {
        let flags = ffi::SQLITE_OPEN_READWRITE | ffi::SQLITE_OPEN_CREATE | ffi::SQLITE_OPEN_MEMORY;
        Self::open(":memory:", flags)
    }

    /// Another connection to a file that exists.
    pub(crate) fn to_file(path: &str) -> Result<Self> {
        Self::open(
            path,
            ffi::SQLITE_OPEN_READWRITE | ffi::SQLITE_OPEN_PRIVATECACHE,
        )
    }

    fn open(name: &str, flags: c_int) -> Result<Self> {
        let name = CString::new(name).map_err(|_| Error::refused("a path with a NUL byte"))?;
        let mut raw = ptr::null_mut();
        // SAFETY: the name ends in NUL; the handle is closed on drop, also after a failure.
        let code = unsafe { ffi::sqlite3_open_v2(name.as_ptr(), &raw mut raw, flags, ptr::null()) };
        let own = Self(raw);
        if code == ffi::SQLITE_OK {
            Ok(own)
        } else {
            Err(own.db().error(code))
        }
    }

    pub(crate) fn db(&self) -> Db {
        // SAFETY: the handle is open as long as this is, and whoever asks holds this.
        unsafe { Db::from_raw(self.0) }
    }
}

impl Drop for OwnConnection {
    fn drop(&mut self) {
        // SAFETY: opened by `open`, closed once.
        unsafe {
            ffi::sqlite3_close_v2(self.0);
        }
    }
}
