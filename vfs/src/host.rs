//! The host SQLite: which versions are accepted, and which carry the WAL-reset bug.
//!
//! Pure functions and the errors of initialisation live here. Reading the version from the host and
//! storing its API pointer is `ffi::api`. The invariant: a host that is refused here has not been
//! touched, so refusing never leaves a half-initialised extension behind.

use std::fmt;

/// Oldest SQLite that is accepted: 3.37.0 brought STRICT tables, and nothing older is tested.
pub const MINIMUM_VERSION: i32 = 3_037_000;

/// Name under which the default VFS is registered.
pub const VFS_NAME: &str = "nuda";

/// Why the host SQLite was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum InitError {
    /// The host passed no API pointer (a build with `SQLITE_OMIT_LOAD_EXTENSION`).
    NoApi,
    /// Another SQLite library of this process already uses this copy of nuda.
    OtherLibrary,
    /// The host is older than [`MINIMUM_VERSION`].
    TooOld {
        /// What `sqlite3_libversion_number()` says.
        version: i32,
    },
}

impl fmt::Display for InitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoApi => f.write_str(
                "nuda: SQLite passed no extension interface; it was built without extension loading; \
                 use a SQLite built with it",
            ),
            Self::OtherLibrary => f.write_str(
                "nuda: this process holds two SQLite libraries and the other one already loaded nuda; \
                 mixing them corrupts memory; load nuda through one of them only",
            ),
            Self::TooOld { version } => write!(
                f,
                "nuda: SQLite {} is too old; nuda needs {} or later; upgrade SQLite or the driver that bundles it",
                Dotted(*version),
                Dotted(MINIMUM_VERSION),
            ),
        }
    }
}

impl std::error::Error for InitError {}

/// Why the default VFS could not be registered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegisterError {
    /// [`crate::init_api`] has not succeeded in this process.
    NotInitialised,
    /// The host has no default VFS to wrap.
    NoDefaultVfs,
    /// `sqlite3_vfs_register` answered with this code.
    Refused(i32),
}

impl fmt::Display for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotInitialised => {
                f.write_str("nuda: the VFS was asked for before the extension was initialised")
            }
            Self::NoDefaultVfs => f.write_str(
                "nuda: SQLite has no default VFS to wrap; register one before loading nuda",
            ),
            Self::Refused(code) => {
                write!(f, "nuda: SQLite refused to register the VFS (code {code})")
            }
        }
    }
}

impl std::error::Error for RegisterError {}

/// What [`crate::register_default`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registered {
    /// The VFS is now the default one of the process.
    Now,
    /// A VFS of that name existed already, of this copy of nuda or of another one. Nothing was changed,
    /// not even the default: the application may have chosen another one since.
    Before,
}

/// Refuses versions older than [`MINIMUM_VERSION`].
pub(crate) fn check_version(version: i32) -> Result<(), InitError> {
    if version < MINIMUM_VERSION {
        return Err(InitError::TooOld { version });
    }
    Ok(())
}

/// Whether this SQLite can lose a committed transaction when two connections write and checkpoint a WAL
/// file at the same moment: 3.7.0 to 3.51.2, save the patched 3.50.7 and 3.44.6 and what follows them in
/// their lines. A process whose host answers `true` must not share a file with a foreign checkpointer.
pub fn wal_reset_bug(version_number: i32) -> bool {
    match version_number {
        3_044_006..=3_044_999 | 3_050_007..=3_050_999 => false,
        3_007_000..=3_051_002 => true,
        _ => false,
    }
}

/// Writes 3037000 as 3.37.0.
struct Dotted(i32);

impl fmt::Display for Dotted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.0;
        write!(f, "{}.{}.{}", n / 1_000_000, n / 1_000 % 1_000, n % 1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bug_is_known_by_version() {
        for bad in [
            3_007_000, 3_040_001, 3_044_005, 3_045_000, 3_050_006, 3_051_000, 3_051_002,
        ] {
            assert!(wal_reset_bug(bad), "{bad}");
        }
        for good in [
            3_006_023, 3_044_006, 3_044_012, 3_050_007, 3_051_003, 3_052_000, 3_054_001,
        ] {
            assert!(!wal_reset_bug(good), "{good}");
        }
    }

    #[test]
    fn old_hosts_are_refused_in_words() {
        assert_eq!(check_version(MINIMUM_VERSION), Ok(()));
        let refusal = check_version(3_036_000).unwrap_err().to_string();
        assert!(
            refusal.contains("3.36.0") && refusal.contains("3.37.0"),
            "{refusal}"
        );
    }
}
