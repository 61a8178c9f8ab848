//! Work that happens whole or not at all, in its own transaction or inside the application's.

use crate::error::Result;
use crate::ffi::db::Db;

/// Runs `body`, which writes to a replica: whole or not at all, inside or outside a transaction.
///
/// Outside one the write lock comes first. Who reads before it has a snapshot, and is told at once
/// that the database is locked if somebody commits in between: no busy timeout waits for that
/// (<https://sqlite.org/rescode.html#busy_snapshot>).
pub(crate) fn atomically<T>(db: Db, body: impl FnOnce() -> Result<T>) -> Result<T> {
    let begins = db.is_autocommit();
    in_savepoint(db, || {
        if begins {
            db.run("UPDATE main.nuda_state SET id = id WHERE 0", &[])?;
        }
        body()
    })
}

/// The same for what is asked again and again and rarely has anything to do: only then it waits for the write
/// lock. Whoever has that may itself be waiting for the one that asks.
pub(crate) fn if_asked(
    db: Db,
    is_asked: impl FnOnce() -> Result<bool>,
    body: impl FnOnce() -> Result<bool>,
) -> Result<bool> {
    Ok(in_savepoint(db, is_asked)? && atomically(db, body)?)
}

/// Runs `body` in a savepoint: of one snapshot, and whole or not at all.
pub(crate) fn in_savepoint<T>(db: Db, body: impl FnOnce() -> Result<T>) -> Result<T> {
    let begins = db.is_autocommit();
    db.run("SAVEPOINT nuda", &[])?;
    match body().and_then(|value| db.run("RELEASE nuda", &[]).map(|()| value)) {
        Ok(value) => Ok(value),
        Err(error) => {
            // The first error is the one to report; after a full disk or a lost lock SQLite
            // may have rolled back already.
            let _ = db.exec("ROLLBACK TO nuda");
            let _ = db.exec("RELEASE nuda");
            if begins && !db.is_autocommit() {
                // The release was a commit that had to wait for readers, which leaves the transaction open.
                db.exec("ROLLBACK")?;
            }
            Err(error)
        }
    }
}
