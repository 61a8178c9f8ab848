//! Everything `unsafe` of the extension: thin, safe wrappers over SQLite's C interface.
//!
//! [`db`] runs SQL, [`function`] registers scalar functions, [`capture_table`] is the virtual
//! table behind the capture triggers, [`rows_table`] turns a function into a table. All calls
//! go through the routine table that the host handed to the entry point, so that the library
//! works with whatever SQLite loaded it. Every callback catches panics: none crosses into C.
#![allow(unsafe_code)]

pub(crate) mod capture_table;
pub(crate) mod db;
pub(crate) mod entry;
pub(crate) mod function;
pub(crate) mod rows_table;
pub(crate) mod value;

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::{Error, Result};

/// Runs a callback's body; a panic becomes an error of the statement.
pub(crate) fn guarded<T>(body: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_| {
        Err(Error::internal(
            "a bug in the extension (panic); please report it",
        ))
    })
}
