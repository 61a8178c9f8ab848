//! Why a call failed, in the user's words: what; why; the next step, in one line.
//!
//! An error carries the SQLite result code that the host sees and the text that the user
//! reads. Texts begin with `nuda: ` once, when they leave the extension.

use std::fmt;
use std::ops::Deref;
use std::os::raw::c_int;

use nuda_core::error::DecodeError;
use sqlite3_ext::ffi;

/// Result of anything that can fail in the extension.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// A failed call; one pointer wide, since every function that can fail hands it on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(Box<Failure>);

/// What an [`Error`] says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// SQLite's (extended) result code.
    pub code: c_int,
    /// What happened, why, and what to do.
    pub message: String,
}

impl Deref for Error {
    type Target = Failure;

    fn deref(&self) -> &Failure {
        &self.0
    }
}

impl Error {
    /// A failure with a result code of its own.
    #[cold]
    #[inline(never)]
    pub fn new(code: c_int, message: impl Into<String>) -> Self {
        let message = message.into();
        Self(Box::new(Failure { code, message }))
    }

    /// The caller asked for something that cannot be done.
    #[cold]
    #[inline(never)]
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(ffi::SQLITE_ERROR, message)
    }

    /// A row breaks a rule of its table.
    ///
    /// Not one of the constraint codes: for those SQLite applies the statement's conflict
    /// policy, and an `INSERT OR IGNORE` would keep the row and drop its capture.
    #[cold]
    #[inline(never)]
    pub fn constraint(message: impl Into<String>) -> Self {
        Self::new(ffi::SQLITE_MISMATCH, message)
    }

    /// Bytes that are not a sound changeset, or a file that contradicts itself.
    #[cold]
    #[inline(never)]
    pub fn corrupt(message: impl Into<String>) -> Self {
        Self::new(ffi::SQLITE_CORRUPT_VTAB, message)
    }

    /// Something that should not be possible.
    #[cold]
    #[inline(never)]
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ffi::SQLITE_INTERNAL, message)
    }

    /// The text alone.
    #[must_use]
    pub fn into_message(self) -> String {
        self.0.message
    }

    /// Whether bytes are at fault.
    #[must_use]
    pub fn is_corrupt(&self) -> bool {
        self.code == ffi::SQLITE_CORRUPT_VTAB
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
    #[cold]
    #[inline(never)]
    fn from(error: DecodeError) -> Self {
        Self::corrupt(error.to_string())
    }
}
