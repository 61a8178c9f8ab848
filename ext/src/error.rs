//! Why a call failed, in the user's words: what; why; the next step, in one line.
//!
//! An error carries the SQLite result code that the host sees and the text that the user
//! reads. Texts begin with `nuda: ` once, when they leave the extension.

use std::fmt;
use std::os::raw::c_int;

use nuda_core::error::DecodeError;
use sqlite3_ext::ffi;

/// Result of anything that can fail in the extension.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// A failed call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// SQLite's (extended) result code.
    pub code: c_int,
    /// What happened, why, and what to do.
    pub message: String,
}

impl Error {
    /// The caller asked for something that cannot be done.
    pub fn refused(message: impl Into<String>) -> Self {
        Self {
            code: ffi::SQLITE_ERROR,
            message: message.into(),
        }
    }

    /// A row breaks a rule of its table.
    ///
    /// Not one of the constraint codes: for those SQLite applies the statement's conflict
    /// policy, and an `INSERT OR IGNORE` would keep the row and drop its capture.
    pub fn constraint(message: impl Into<String>) -> Self {
        Self {
            code: ffi::SQLITE_MISMATCH,
            message: message.into(),
        }
    }

    /// Bytes that are not a sound changeset, or a file that contradicts itself.
    pub fn corrupt(message: impl Into<String>) -> Self {
        Self {
            code: ffi::SQLITE_CORRUPT_VTAB,
            message: message.into(),
        }
    }

    /// Something that should not be possible.
    pub fn internal(message: impl Into<String>) -> Self {
        Self {
            code: ffi::SQLITE_INTERNAL,
            message: message.into(),
        }
    }

    /// Whether trying again later may help: a lock, a full disk, memory.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(
            self.code & 0xff,
            ffi::SQLITE_BUSY
                | ffi::SQLITE_LOCKED
                | ffi::SQLITE_FULL
                | ffi::SQLITE_NOMEM
                | ffi::SQLITE_IOERR
                | ffi::SQLITE_INTERRUPT
        )
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.message.starts_with("nuda: ") {
            f.write_str(&self.message)
        } else {
            write!(f, "nuda: {}", self.message)
        }
    }
}

impl std::error::Error for Error {}

impl From<DecodeError> for Error {
    fn from(error: DecodeError) -> Self {
        Self::corrupt(error.to_string())
    }
}
