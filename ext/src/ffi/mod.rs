//! Everything `unsafe` of the extension: thin, safe wrappers over SQLite's C interface.
//!
//! [`db`] runs SQL, [`kept`] keeps statements prepared, [`own`] opens further connections, [`function`] registers scalar functions, [`capture_table`] is the virtual
//! table behind the capture triggers, [`rows_table`] turns a function into a table. All calls
//! go through the routine table that the host handed to the entry point, so that the library
//! works with whatever SQLite loaded it. Every callback catches panics: none crosses into C.
#![allow(unsafe_code)]

pub(crate) mod capture_table;
pub(crate) mod db;
pub(crate) mod entry;
pub(crate) mod function;
mod kept;
pub(crate) mod own;
pub(crate) mod rows_table;
pub(crate) mod value;

use std::os::raw::c_char;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use sqlite3_ext::ffi;

use crate::error::{Error, Result};

/// Runs a callback's body; a panic becomes an error of the statement.
pub(crate) fn guarded<T>(body: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_| {
        Err(Error::internal(
            "a bug in the extension (panic); please report it",
        ))
    })
}

/// A message that SQLite owns.
fn owned_message(text: &str) -> *mut c_char {
    let bytes = text.as_bytes();
    // SAFETY: the allocation has room for the text and its NUL; null is allowed.
    unsafe {
        let copy = ffi::sqlite3_malloc64(bytes.len() as u64 + 1).cast::<u8>();
        if !copy.is_null() {
            ptr::copy_nonoverlapping(bytes.as_ptr(), copy, bytes.len());
            *copy.add(bytes.len()) = 0;
        }
        copy.cast()
    }
}

/// Leaves an error's text in a virtual table, where SQLite looks for it.
///
/// # Safety
/// `table` is connected, and its message is null or SQLite's own.
unsafe fn leave_message(table: *mut ffi::sqlite3_vtab, error: &Error) {
    // SAFETY: as promised by the caller; freeing null does nothing.
    unsafe {
        ffi::sqlite3_free((*table).zErrMsg.cast());
        (*table).zErrMsg = owned_message(&error.to_string());
    }
}
