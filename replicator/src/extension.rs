//! The extension, linked into this program: every connection opened after this has it.

use crate::error::{Error, Result};

/// Registers the extension for all connections of this process.
pub(crate) fn register() -> Result<()> {
    nuda::without_memory_statistics(rusqlite::ffi::sqlite3_config);
    nuda::register_static(rusqlite::ffi::sqlite3_auto_extension)
        .map_err(|e| Error::internal(format!("cannot register the extension; {e}")))
}
