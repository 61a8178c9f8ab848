//! What went wrong, in one line a user can act on: *what; why; next step*.
//!
//! One type for the whole program. The [`Kind`] says what the machine does about it (try
//! again, answer with a status, choose an exit code); the text is for people. Nothing here
//! decides anything.

use std::fmt;

/// What the program does about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The same call may succeed later: a lock, a full disk, an unreachable peer.
    Retry,
    /// The same, and the other side has certainly not heard of it.
    Unsent,
    /// The request is wrong as it stands.
    Refused,
    /// The thing asked for is not here.
    NotFound,
    /// The other side speaks another version of the protocol.
    Incompatible,
    /// Something inside failed that should not have.
    Internal,
}

/// One line for a person, and a [`Kind`] for the program.
#[derive(Debug, Clone)]
pub(crate) struct Error {
    /// What to do about it.
    pub(crate) kind: Kind,
    text: String,
}

/// The result of nearly everything here.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self {
            kind,
            text: text.into(),
        }
    }

    pub(crate) fn retry(text: impl Into<String>) -> Self {
        Self::new(Kind::Retry, text)
    }

    pub(crate) fn unsent(text: impl Into<String>) -> Self {
        Self::new(Kind::Unsent, text)
    }

    pub(crate) fn refused(text: impl Into<String>) -> Self {
        Self::new(Kind::Refused, text)
    }

    pub(crate) fn not_found(text: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, text)
    }

    pub(crate) fn internal(text: impl Into<String>) -> Self {
        Self::new(Kind::Internal, text)
    }

    /// The same error, said to have happened while doing `what`.
    pub(crate) fn during(self, what: impl fmt::Display) -> Self {
        Self {
            kind: self.kind,
            text: format!("{what}: {}", self.text),
        }
    }

    /// Whether trying again later can help.
    pub(crate) fn is_retry(&self) -> bool {
        matches!(self.kind, Kind::Retry | Kind::Unsent)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Error {}

impl From<std::io::Error> for Error {
    fn from(e: std::io::Error) -> Self {
        Self::retry(e.to_string())
    }
}

impl From<serde_json::Error> for Error {
    fn from(e: serde_json::Error) -> Self {
        Self::refused(format!("malformed JSON: {e}"))
    }
}

impl From<tokio::task::JoinError> for Error {
    fn from(e: tokio::task::JoinError) -> Self {
        Self::internal(format!("a worker failed: {e}"))
    }
}

impl From<rusqlite::Error> for Error {
    fn from(e: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode as C;
        let text = match &e {
            rusqlite::Error::SqliteFailure(code, None) => code.to_string(),
            rusqlite::Error::SqliteFailure(_, Some(message)) => message.clone(),
            other => other.to_string(),
        };
        let kind = match e.sqlite_error_code() {
            Some(
                C::DatabaseBusy
                | C::DatabaseLocked
                | C::DiskFull
                | C::SystemIoFailure
                | C::OutOfMemory
                | C::CannotOpen
                | C::FileLockingProtocolFailed
                | C::SchemaChanged,
            ) => Kind::Retry,
            Some(C::OperationInterrupted) => Kind::Retry,
            _ => Kind::Refused,
        };
        Self::new(kind, text)
    }
}
