//! Why a changeset, vector or message was refused.
//!
//! One line each, in the reader's words: what is wrong and, where there is one, what bound it
//! broke. Nothing here is about SQLite or the network; those wrap these errors in their own.
//! Damage and news are told apart: what a newer version may have written is kept until this
//! node is upgraded ([`DecodeError::is_newer`]), anything else is refused.

use std::fmt;

/// Bytes that are not what they claim to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecodeError {
    /// The bytes end in the middle of something.
    Truncated(&'static str),
    /// A length or count exceeds its bound in [`crate::limits`].
    TooLarge {
        /// What was being read.
        what: &'static str,
        /// The claimed size.
        claimed: u64,
        /// The bound.
        limit: u64,
    },
    /// Not NUDA's bytes, or of another kind.
    BadMagic,
    /// Written by a newer version; this one reads [`crate::changeset::FORMAT`].
    Version(u8),
    /// A tag, flag or level that this version gives no meaning, but a later one may.
    Unknown(&'static str),
    /// What no version writes.
    Invalid(&'static str),
    /// Something followed where the end should be.
    Trailing(&'static str),
}

impl DecodeError {
    /// Whether a newer version may have written these bytes in good faith: the changeset is
    /// to be kept as a whole, and tried again after an upgrade.
    #[must_use]
    pub fn is_newer(&self) -> bool {
        matches!(self, Self::Version(_) | Self::Unknown(_))
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated(what) => write!(f, "truncated: the bytes end inside {what}"),
            Self::TooLarge {
                what,
                claimed,
                limit,
            } => {
                write!(
                    f,
                    "too large: {what} claims {claimed}, the limit is {limit}"
                )
            }
            Self::BadMagic => f.write_str("not a NUDA changeset"),
            Self::Version(v) => write!(
                f,
                "format version {v} is not known here (this build reads {}); upgrade this node",
                crate::changeset::FORMAT
            ),
            Self::Unknown(what) => {
                write!(f, "{what} is not known here; upgrade this node")
            }
            Self::Invalid(what) => write!(f, "malformed: {what}"),
            Self::Trailing(what) => write!(f, "malformed: bytes left over after {what}"),
        }
    }
}

impl std::error::Error for DecodeError {}
