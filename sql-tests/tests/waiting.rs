//! Changesets that wait in the log: large ones in parts, early ones, damaged ones.

use std::error::Error;

use nuda_core::codec::put_sized;
use rusqlite::{Connection, params};
use tempfile::TempDir;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A writer, a replica made from its file, and where they lie.
struct Pair {
    writer: Connection,
    replica: Connection,
    _directory: TempDir,
}

fn pair() -> Result<Pair> {
    nuda::register_static(rusqlite::ffi::sqlite3_auto_extension)?;
    let directory = tempfile::tempdir()?;
    let (from, to) = (directory.path().join("a.db"), directory.path().join("b.db"));
    let writer = Connection::open(&from)?;
    text(&writer, "PRAGMA journal_mode = WAL")?;
    writer.execute_batch("CREATE TABLE t(id TEXT PRIMARY KEY, v TEXT, n COUNTER)")?;
    for sql in [
        "SELECT nuda_init('p')",
        "SELECT nuda_join('a')",
        "SELECT nuda_track('t')",
    ] {
        writer.query_row(sql, [], |_| Ok(()))?;
    }
    writer.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    std::fs::copy(&from, &to)?;
    let replica = Connection::open(&to)?;
    replica.query_row("SELECT nuda_join('b')", [], |_| Ok(()))?;
    Ok(Pair {
        writer,
        replica,
        _directory: directory,
    })
}

fn text(db: &Connection, sql: &str) -> Result<String> {
    Ok(db.query_row(sql, [], |row| row.get(0))?)
}

fn int(db: &Connection, sql: &str) -> Result<i64> {
    Ok(db.query_row(sql, [], |row| row.get(0))?)
}

/// The encoded parts that `replica` lacks, in order.
fn lacking(pair: &Pair) -> Result<Vec<Vec<u8>>> {
    let vector = text(&pair.replica, "SELECT nuda_version_vector()")?;
    changes_since(&pair.writer, &vector)
}

fn changes_since(db: &Connection, vector: &str) -> Result<Vec<Vec<u8>>> {
    let mut query = db.prepare("SELECT changeset FROM nuda_changes_since(?)")?;
    Ok(query
        .query_map([vector], |row| row.get(0))?
        .collect::<std::result::Result<_, _>>()?)
}

/// Delivers a part; answers the status.
fn apply(db: &Connection, part: &[u8]) -> Result<String> {
    Ok(
        db.query_row("SELECT nuda_apply(?) ->> 'status'", params![part], |row| {
            row.get(0)
        })?,
    )
}

/// One transaction of several parts: a part ends between two statements.
fn write_large(db: &Connection) -> Result<()> {
    db.execute_batch("BEGIN")?;
    for n in 0..30 {
        db.execute_batch(&format!(
            "WITH RECURSIVE c(value) AS (VALUES({n}00) UNION ALL SELECT value + 1 FROM c LIMIT 100) \
             INSERT INTO t SELECT 'k' || value, hex(randomblob(500)), 1 FROM c"
        ))?;
    }
    Ok(db.execute_batch("COMMIT")?)
}

fn assert_equal(pair: &Pair) -> Result<()> {
    assert_eq!(
        text(&pair.writer, "SELECT nuda_digest()")?,
        text(&pair.replica, "SELECT nuda_digest()")?
    );
    assert_eq!(int(&pair.replica, "SELECT count(*) FROM nuda_waiting")?, 0);
    assert_eq!(
        int(
            &pair.replica,
            "SELECT count(*) FROM nuda_log WHERE header IS NOT NULL AND seen IS NULL"
        )?,
        0
    );
    Ok(())
}

#[test]
fn a_large_changeset_is_invisible_until_its_last_part() -> Result<()> {
    let pair = pair()?;
    write_large(&pair.writer)?;
    let parts = lacking(&pair)?;
    assert!(parts.len() >= 3, "{} parts", parts.len());
    let (last, rest) = parts.split_last().ok_or("no parts")?;
    for part in rest {
        assert_eq!(apply(&pair.replica, part)?, "waiting");
    }
    assert_eq!(int(&pair.replica, "SELECT count(*) FROM t")?, 0);
    assert_eq!(int(&pair.replica, "SELECT waiting FROM nuda_status")?, 1);
    let own = "SELECT count(*) FROM nuda_changes_since('') WHERE site <> nuda_site()";
    let before = int(&pair.replica, own)?;
    assert_eq!(apply(&pair.replica, last)?, "applied");
    assert_eq!(int(&pair.replica, "SELECT count(*) FROM t")?, 3000);
    assert_eq!(
        int(&pair.replica, own)?,
        before + i64::try_from(parts.len())?
    );
    assert_equal(&pair)
}

#[test]
fn parts_and_changesets_may_arrive_in_any_order() -> Result<()> {
    let pair = pair()?;
    write_large(&pair.writer)?;
    pair.writer
        .execute_batch("UPDATE t SET n = n + 1 WHERE id = 'k7'")?;
    pair.writer
        .execute_batch("DELETE FROM t WHERE id <> 'k7' AND id LIKE 'k1%'")?;
    let mut parts = lacking(&pair)?;
    parts.reverse();
    for part in &parts {
        // Twice: what waits already is replaced by itself.
        apply(&pair.replica, part)?;
        apply(&pair.replica, part)?;
    }
    assert_equal(&pair)
}

#[test]
fn local_writes_meanwhile_merge_with_what_waited() -> Result<()> {
    let pair = pair()?;
    pair.writer
        .execute_batch("INSERT INTO t VALUES ('x', 'old', 0)")?;
    for part in lacking(&pair)? {
        apply(&pair.replica, &part)?;
    }
    write_large(&pair.writer)?;
    pair.writer.execute_batch("UPDATE t SET n = n + 5")?;
    let parts = lacking(&pair)?;
    let (last, rest) = parts.split_last().ok_or("no parts")?;
    for part in rest {
        apply(&pair.replica, part)?;
    }
    // Concurrent with all that waits, and not to be taken for something it saw.
    pair.replica
        .execute_batch("UPDATE t SET n = n + 3 WHERE id = 'x'; DELETE FROM t WHERE id = 'k9'")?;
    apply(&pair.replica, last)?;
    let vector = text(&pair.writer, "SELECT nuda_version_vector()")?;
    let mut back = pair
        .replica
        .prepare("SELECT changeset FROM nuda_changes_since(?)")?;
    let back: Vec<Vec<u8>> = back
        .query_map([vector], |row| row.get(0))?
        .collect::<std::result::Result<_, _>>()?;
    for part in &back {
        apply(&pair.writer, part)?;
    }
    assert_eq!(int(&pair.writer, "SELECT n FROM t WHERE id = 'x'")?, 8);
    assert_equal(&pair)
}

#[test]
fn a_damaged_part_is_dropped_and_the_right_one_taken() -> Result<()> {
    let pair = pair()?;
    write_large(&pair.writer)?;
    let parts = lacking(&pair)?;
    let mut damaged = parts.clone();
    let byte = damaged
        .get_mut(1)
        .and_then(|part| part.last_mut())
        .ok_or("no second part")?;
    *byte ^= 1;
    let (last, rest) = damaged.split_last().ok_or("no parts")?;
    for part in rest {
        apply(&pair.replica, part)?;
    }
    let refused = apply(&pair.replica, last).err().ok_or("taken")?.to_string();
    assert!(refused.contains("does not match its hash"), "{refused}");
    assert_eq!(int(&pair.replica, "SELECT count(*) FROM nuda_waiting")?, 0);
    assert_eq!(
        int(
            &pair.replica,
            "SELECT count(*) FROM nuda_log WHERE seen IS NULL"
        )?,
        0
    );
    for part in &parts {
        apply(&pair.replica, part)?;
    }
    assert_equal(&pair)
}

#[test]
fn a_damaged_changeset_that_waits_does_not_block_the_ones_before_it() -> Result<()> {
    let pair = pair()?;
    for n in 0..3 {
        pair.writer
            .execute_batch(&format!("INSERT INTO t VALUES ('r{n}', 'v', {n})"))?;
    }
    let parts = lacking(&pair)?;
    let mut damaged = parts.last().ok_or("no parts")?.clone();
    *damaged.last_mut().ok_or("empty")? ^= 1;
    assert_eq!(apply(&pair.replica, &damaged)?, "waiting");
    for part in parts.iter().take(parts.len() - 1) {
        assert_eq!(apply(&pair.replica, part)?, "applied");
    }
    assert_eq!(int(&pair.replica, "SELECT count(*) FROM nuda_waiting")?, 0);
    assert_eq!(
        apply(&pair.replica, parts.last().ok_or("no parts")?)?,
        "applied"
    );
    assert_equal(&pair)
}

#[test]
fn a_collected_log_goes_on_with_the_same_chain() -> Result<()> {
    let pair = pair()?;
    pair.writer
        .execute_batch("INSERT INTO t VALUES ('a', 'v', 0)")?;
    for part in lacking(&pair)? {
        apply(&pair.replica, &part)?;
    }
    let reached = text(&pair.replica, "SELECT nuda_version_vector()")?;
    pair.writer.execute_batch("UPDATE t SET v = 'w'")?;
    pair.writer.execute_batch("UPDATE t SET n = 2")?;
    pair.writer
        .query_row("SELECT nuda_collect(?)", [reached], |_| Ok(()))?;
    pair.writer.execute_batch("UPDATE t SET n = 3")?;
    for part in lacking(&pair)? {
        assert_eq!(apply(&pair.replica, &part)?, "applied");
    }
    assert_equal(&pair)
}

#[test]
fn a_connection_that_kept_statements_closes() -> Result<()> {
    let pair = pair()?;
    let insert = "INSERT INTO t VALUES ('a', 'x', 1)";
    pair.writer.execute_batch(insert)?;
    for part in lacking(&pair)? {
        apply(&pair.replica, &part)?;
    }
    assert_equal(&pair)?;
    // What is left of a connection's statements would keep it open.
    for connection in [pair.writer, pair.replica] {
        connection.close().map_err(|(_, error)| error)?;
    }
    Ok(())
}

/// What follows something that is not here may never be applied, and goes when members change.
#[test]
fn what_is_not_stored_can_be_dropped_and_comes_again() -> Result<()> {
    let pair = pair()?;
    pair.writer
        .execute_batch("INSERT INTO t VALUES ('x', 'v', 1); UPDATE t SET n = n + 1")?;
    let parts = lacking(&pair)?;
    let last = parts.last().ok_or("no parts")?;
    let before = int(&pair.replica, "SELECT count(*) FROM nuda_log")?;
    assert_eq!(apply(&pair.replica, last)?, "waiting");
    assert_eq!(text(&pair.replica, "SELECT nuda_waiting_vector()")?, "");
    pair.replica
        .query_row("SELECT nuda_drop_unstored()", [], |_| Ok(()))?;
    assert_eq!(int(&pair.replica, "SELECT count(*) FROM nuda_waiting")?, 0);
    assert_eq!(int(&pair.replica, "SELECT count(*) FROM nuda_log")?, before);
    for part in &parts {
        assert_eq!(apply(&pair.replica, part)?, "applied");
    }
    assert_equal(&pair)
}

/// What a node wrote in an earlier life may come back to it, and wait; it begins anew once more from
/// somebody who never got it.
#[test]
fn what_waits_of_an_earlier_life_is_made_again() -> Result<()> {
    let pair = pair()?;
    let folder = pair._directory.path();
    let (old, new) = (folder.join("b.db"), folder.join("c.db"));
    std::fs::copy(folder.join("a.db"), &new)?;
    pair.replica
        .execute_batch("CREATE TABLE later(without_a_key)")?;
    pair.writer.execute_batch(
        "CREATE TABLE later(id TEXT PRIMARY KEY); SELECT nuda_track('later');
         INSERT INTO t VALUES ('kept', 'v', 3); UPDATE t SET n = n + 1",
    )?;
    for part in lacking(&pair)? {
        assert_eq!(apply(&pair.replica, &part)?, "waiting");
    }
    let life = text(&pair.writer, "SELECT nuda_site()")?;
    let note = "INSERT INTO nuda_protocol VALUES ('earlier sites', ?)";
    pair.replica.execute(note, [life])?;
    let donor = Connection::open(&new)?;
    donor.query_row("SELECT nuda_join('b')", [], |_| Ok(()))?;
    let again = "SELECT nuda_reissue(?)";
    donor.query_row(again, [old.to_str()], |_| Ok(()))?;
    let found = "SELECT group_concat(id || n) FROM t";
    assert_eq!(text(&donor, found)?, "kept4");
    Ok(())
}

/// Delivers parts as the daemon delivers what the log of strong transactions has.
fn apply_all<'a>(db: &Connection, parts: impl Iterator<Item = &'a Vec<u8>>) -> Result<()> {
    let mut list = Vec::new();
    parts.for_each(|part| put_sized(&mut list, part));
    let all = "SELECT nuda_apply_all(?)";
    let blocked: Option<String> = db.query_row(all, [list], |row| row.get(0))?;
    Ok(blocked.map_or(Ok(()), Err)?)
}

#[test]
fn a_list_does_what_its_changesets_do_one_after_the_other() -> Result<()> {
    let pair = pair()?;
    pair.replica
        .execute_batch("INSERT INTO t VALUES ('k7', 'of the replica', 1)")?;
    write_large(&pair.writer)?;
    pair.writer.execute_batch(
        "UPDATE t SET n = n + 1 WHERE id = 'k7'; DELETE FROM t WHERE id <> 'k7' AND id LIKE 'k1%'; \
         CREATE TABLE later(id TEXT PRIMARY KEY); SELECT nuda_track('later'); \
         INSERT INTO later VALUES ('x')",
    )?;
    let parts = lacking(&pair)?;
    let (early, rest) = parts.split_last().ok_or("no parts")?;
    apply_all(&pair.replica, std::iter::once(early))?;
    assert_eq!(int(&pair.replica, "SELECT waiting FROM nuda_status")?, 1);
    let twice = rest.iter().chain(rest);
    apply_all(&pair.replica, twice)?;
    let vector = text(&pair.writer, "SELECT nuda_version_vector()")?;
    apply_all(&pair.writer, changes_since(&pair.replica, &vector)?.iter())?;
    assert_equal(&pair)
}

#[test]
fn a_list_may_have_what_the_file_itself_has_lost() -> Result<()> {
    let mut pair = pair()?;
    let folder = pair._directory.path();
    let (path, backup) = (folder.join("b.db"), folder.join("backup.db"));
    pair.replica.execute("VACUUM INTO ?", [backup.to_str()])?;
    pair.replica.execute_batch(
        "INSERT INTO t VALUES ('lost', 'v', 1); UPDATE t SET n = n + 1; UPDATE t SET v = 'w'",
    )?;
    let vector = text(&pair.writer, "SELECT nuda_version_vector()")?;
    apply_all(&pair.writer, changes_since(&pair.replica, &vector)?.iter())?;
    pair.writer
        .execute_batch("UPDATE t SET n = n + 1; INSERT INTO t VALUES ('other', 'v', 1)")?;
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(folder.join(format!("b.db{suffix}")));
    }
    std::fs::copy(&backup, &path)?;
    pair.replica = Connection::open(&path)?;
    let site = text(&pair.replica, "SELECT nuda_site()")?;
    let parts = lacking(&pair)?;
    assert!(parts.len() >= 5, "{} parts", parts.len());
    apply_all(&pair.replica, parts.iter())?;
    assert_ne!(text(&pair.replica, "SELECT nuda_site()")?, site);
    assert_equal(&pair)
}

#[test]
fn a_list_with_something_damaged_is_refused() -> Result<()> {
    let pair = pair()?;
    pair.writer
        .execute_batch("INSERT INTO t VALUES ('x', 'v', 1); UPDATE t SET n = n + 1")?;
    let parts = lacking(&pair)?;
    let mut damaged = parts.clone();
    let byte = damaged.last_mut().and_then(|part| part.last_mut());
    *byte.ok_or("no part")? ^= 1;
    pair.replica.execute_batch("BEGIN IMMEDIATE")?;
    let refused = apply_all(&pair.replica, damaged.iter())
        .err()
        .ok_or("taken")?;
    assert!(
        refused.to_string().contains("does not match its hash"),
        "{refused}"
    );
    pair.replica.execute_batch("ROLLBACK")?;
    assert_eq!(int(&pair.replica, "SELECT count(*) FROM t")?, 0);
    let cut = pair
        .replica
        .query_row("SELECT nuda_apply_all(x'05ff')", [], |_| Ok(()));
    let cut = cut.err().ok_or("taken")?.to_string();
    assert!(cut.contains("a changeset"), "{cut}");
    apply_all(&pair.replica, parts.iter())?;
    assert_equal(&pair)
}
