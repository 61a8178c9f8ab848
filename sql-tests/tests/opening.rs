//! Opening a connection with the extension, while others hold the file.

use rusqlite::Connection;

#[test]
fn a_file_that_cannot_be_read_now_opens_as_ever() -> Result<(), Box<dyn std::error::Error>> {
    nuda::register_static(rusqlite::ffi::sqlite3_auto_extension)?;
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("a.db");
    let holder = Connection::open(&file)?;
    holder.execute_batch("CREATE TABLE t(id TEXT PRIMARY KEY); BEGIN EXCLUSIVE")?;
    let other = Connection::open(&file)?;
    other.busy_timeout(std::time::Duration::ZERO)?;
    let read = "SELECT count(*) FROM t";
    let busy = other.query_row(read, [], |row| row.get::<_, i64>(0));
    assert!(busy.is_err(), "the lock is held, or nothing was tested");
    holder.execute_batch("COMMIT")?;
    assert_eq!(other.query_row(read, [], |row| row.get::<_, i64>(0))?, 0);
    let facts: String = other.query_row("SELECT nuda_debug()", [], |row| row.get(0))?;
    assert!(
        facts.contains("\"commits\":"),
        "the file is not watched: {facts}"
    );
    Ok(())
}
