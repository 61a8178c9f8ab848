//! A program that uses SQLite on many threads may switch its memory statistics off, before it uses it. In a
//! process of its own, for that holds for all of it.

#![allow(unsafe_code)]

use rusqlite::{Connection, ffi};

#[test]
fn they_are_off_if_that_is_said_before_the_first_use() -> Result<(), Box<dyn std::error::Error>> {
    assert!(nuda::without_memory_statistics(ffi::sqlite3_config));
    nuda::register_static(ffi::sqlite3_auto_extension)?;
    let db = Connection::open_in_memory()?;
    db.execute_batch("CREATE TABLE t(id TEXT PRIMARY KEY)")?;
    // SAFETY: it only reads a counter.
    let used = unsafe { ffi::sqlite3_memory_used() };
    assert_eq!(used, 0);
    assert!(
        !nuda::without_memory_statistics(ffi::sqlite3_config),
        "too late"
    );
    Ok(())
}
