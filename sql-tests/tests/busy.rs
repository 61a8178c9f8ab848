//! What this extension writes by itself waits for another writer's lock as long as the application
//! said, as any statement does, and does not fail because that writer then commits.

use std::error::Error;
use std::time::Duration;

use rusqlite::Connection;

/// A daemon looks at its file while an application has the write lock, and waits for that very look.
#[test]
fn looks_that_find_nothing_to_do_wait_for_nobody() -> Result<(), Box<dyn Error>> {
    nuda::register_static(rusqlite::ffi::sqlite3_auto_extension)?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("a.db");
    let mut holder = Connection::open(&path)?;
    holder.execute_batch(
        "SELECT nuda_init('p'); CREATE TABLE t(id TEXT PRIMARY KEY, mail TEXT UNIQUE); \
         SELECT nuda_track('t', 'eventual', 'unique=keep_first'); INSERT INTO t VALUES ('a', 'x')",
    )?;
    let looks = Connection::open(&path)?;
    looks.busy_timeout(Duration::ZERO)?;
    looks.query_row("SELECT nuda_settle()", [], |_| Ok(()))?;
    let writing = holder.transaction()?;
    writing.execute_batch("INSERT INTO t VALUES ('b', 'y')")?;
    for sql in [
        "SELECT nuda_altered()",
        "SELECT nuda_propose()",
        "SELECT nuda_settle()",
        "SELECT nuda_heed_note()",
        "SELECT nuda_version_vector()",
        "SELECT nuda_stamp_ms()",
        "SELECT nuda_digest()",
        "SELECT nuda_track('t', 'eventual', 'unique=keep_first')",
    ] {
        let done = looks.query_row(sql, [], |_| Ok(()));
        done.map_err(|error| format!("{sql}: {error}"))?;
    }
    Ok(())
}

#[test]
fn functions_that_write_wait_for_who_writes() -> Result<(), Box<dyn Error>> {
    nuda::register_static(rusqlite::ffi::sqlite3_auto_extension)?;
    let folder = tempfile::tempdir()?;
    let (path, copy) = (folder.path().join("a.db"), folder.path().join("b.db"));
    let mut holder = Connection::open(&path)?;
    holder.execute_batch(
        "SELECT nuda_init('p'); CREATE TABLE held(id TEXT PRIMARY KEY); SELECT nuda_track('held'); \
         CREATE TABLE t(id TEXT PRIMARY KEY); PRAGMA wal_checkpoint(truncate)",
    )?;
    std::fs::copy(&path, &copy)?;
    let peer = Connection::open(&copy)?;
    peer.execute_batch("INSERT INTO held VALUES ('of the peer')")?;
    let changeset: Vec<u8> = peer.query_row(
        "SELECT changeset FROM nuda_changes_since('') ORDER BY seq DESC LIMIT 1",
        [],
        |row| row.get(0),
    )?;
    for (n, sql) in [
        "SELECT nuda_track('t')",
        "SELECT nuda_exec('ALTER TABLE t ADD COLUMN v')",
        "SELECT nuda_apply(?)",
        "SELECT nuda_untrack('t')",
    ]
    .into_iter()
    .enumerate()
    {
        let waits = Connection::open(&path)?;
        waits.busy_timeout(Duration::from_secs(60))?;
        let writing = holder.transaction()?;
        writing.execute("INSERT INTO held VALUES (?)", [n])?;
        std::thread::scope(|scope| {
            let changeset = &changeset;
            let waiting = scope.spawn(move || {
                let mut statement = waits.prepare(sql)?;
                let values = vec![changeset; statement.parameter_count()];
                statement.query_row(rusqlite::params_from_iter(values), |row| {
                    row.get::<_, String>(0)
                })
            });
            std::thread::sleep(Duration::from_millis(300));
            assert!(!waiting.is_finished(), "{sql}: nothing was waited for");
            writing.commit()?;
            match waiting.join() {
                Ok(answer) => Ok(answer.map(drop)?),
                Err(_) => Err("it panicked".into()),
            }
        })
        .map_err(|error: Box<dyn Error>| format!("{sql}: {error}"))?;
    }
    Ok(())
}
