//! What this extension writes by itself waits for another writer's lock as long as the application
//! said, as any statement does, and does not fail because that writer then commits.

use std::error::Error;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode};

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

/// Without WAL a commit waits for whoever reads.
#[test]
fn a_function_whose_commit_must_wait_for_readers_leaves_no_transaction_open()
-> Result<(), Box<dyn Error>> {
    let (_folder, path) = without_wal()?;
    let writes = Connection::open(&path)?;
    writes.busy_timeout(Duration::ZERO)?;
    let reads = Connection::open(&path)?;
    reads.execute_batch("BEGIN; SELECT count(*) FROM t")?;
    let track = "SELECT nuda_track('t')";
    let refused = writes.query_row(track, [], |_| Ok(()));
    assert_eq!(code(refused), Some(ErrorCode::DatabaseBusy));
    assert!(writes.is_autocommit(), "a transaction was left open");
    reads.execute_batch("COMMIT")?;
    writes.query_row(track, [], |_| Ok(()))?;
    Ok(())
}

#[test]
fn a_commit_that_waited_for_readers_and_is_tried_again_is_one_change() -> Result<(), Box<dyn Error>>
{
    let (folder, path) = without_wal()?;
    let copy = folder.path().join("b.db");
    let writes = Connection::open(&path)?;
    writes.busy_timeout(Duration::ZERO)?;
    writes.query_row("SELECT nuda_track('t')", [], |_| Ok(()))?;
    std::fs::copy(&path, &copy)?;
    let mut before = count_of_changesets(&writes)?;
    for retry in [true, false] {
        let reads = Connection::open(&path)?;
        reads.execute_batch("BEGIN; SELECT count(*) FROM t")?;
        writes.execute_batch(
            "BEGIN; INSERT INTO t VALUES ('a', 0) ON CONFLICT DO NOTHING; UPDATE t SET n = n + 1",
        )?;
        for _ in 0..2 {
            let refused = writes.execute_batch("COMMIT");
            assert_eq!(code(refused), Some(ErrorCode::DatabaseBusy));
        }
        writes.execute_batch("UPDATE t SET n = n + 1")?;
        if !retry {
            writes.execute_batch("ROLLBACK")?;
        }
        reads.execute_batch("COMMIT")?;
        if retry {
            writes.execute_batch("COMMIT")?;
            before += 1;
        }
        assert_eq!(count_of_changesets(&writes)?, before);
    }
    let peer = Connection::open(&copy)?;
    let mut changes = writes.prepare("SELECT changeset FROM nuda_changes_since('')")?;
    for changeset in changes.query_map([], |row| row.get::<_, Vec<u8>>(0))? {
        peer.query_row("SELECT nuda_apply(?)", [changeset?], |_| Ok(()))?;
    }
    for at in [&writes, &peer] {
        let n: i64 = at.query_row("SELECT n FROM t", [], |row| row.get(0))?;
        assert_eq!(n, 2);
    }
    let digests = [&writes, &peer]
        .map(|at| at.query_row("SELECT nuda_digest()", [], |row| row.get::<_, String>(0)));
    let [here, there] = digests;
    assert_eq!(here?, there?);
    Ok(())
}

/// A replica in journal mode DELETE with the table `t`.
fn without_wal() -> Result<(tempfile::TempDir, std::path::PathBuf), Box<dyn Error>> {
    nuda::register_static(rusqlite::ffi::sqlite3_auto_extension)?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("copy.db");
    let made = Connection::open(folder.path().join("made.db"))?;
    made.execute_batch(
        "SELECT nuda_init('p'); CREATE TABLE t(id TEXT PRIMARY KEY, n COUNTER NOT NULL DEFAULT 0)",
    )?;
    made.execute("VACUUM INTO ?", [path.to_str()])?;
    Ok((folder, path))
}

fn code<T>(done: rusqlite::Result<T>) -> Option<ErrorCode> {
    done.err().and_then(|error| error.sqlite_error_code())
}

/// How many changesets are in the log.
fn count_of_changesets(at: &Connection) -> rusqlite::Result<u64> {
    let sql = "SELECT count(DISTINCT seq) FROM nuda_changes_since('')";
    at.query_row(sql, [], |row| row.get(0))
}
