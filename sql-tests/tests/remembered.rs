//! What a connection remembers of its file between transactions never shows: whoever else writes
//! the bookkeeping or the schema in between, or the transaction itself does, is heeded by the next record.
//!
//! The bookkeeping's greatest stamp stands for all of it: a record's stamp is greater.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::PathBuf;

use rusqlite::Connection;
use rusqlite::types::FromSql;

struct File {
    db: Connection,
    path: PathBuf,
    folder: tempfile::TempDir,
}

fn open(path: &PathBuf) -> Connection {
    Connection::open(path).unwrap()
}

fn ask<T: FromSql>(db: &Connection, sql: &str) -> T {
    db.query_row(sql, [], |row| row.get(0)).unwrap()
}

fn opened() -> File {
    nuda::register_static(rusqlite::ffi::sqlite3_auto_extension).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let db = open(&path);
    db.execute_batch(
        "SELECT nuda_init('p'); CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT); \
         CREATE TABLE u(id TEXT PRIMARY KEY, v TEXT); CREATE TABLE mine(a); \
         SELECT nuda_track('t'); SELECT nuda_track('u'); \
         INSERT INTO t VALUES (1, 'a'), (2, 'b');",
    )
    .unwrap();
    let file = File { db, path, folder };
    // It remembers from here on.
    file.db
        .execute_batch("UPDATE t SET v = 'c' WHERE id = 1; UPDATE t SET v = 'd' WHERE id = 1")
        .unwrap();
    file
}

/// What raises the greatest stamp by an hour.
const RAISE: &str = "UPDATE nuda_state SET stamp = \
     (SELECT max(s, stamp) FROM (SELECT max(nuda_stamp_ms(), stamp >> 16) + 3600000 << 16 AS s))";

impl File {
    fn raised_ms(&self) -> i64 {
        ask(&self.db, "SELECT stamp >> 16 FROM nuda_state")
    }

    /// The newest own record came after what the bookkeeping has.
    fn assert_heeded(&self, what: &str) {
        let stamp: i64 = ask(&self.db, "SELECT nuda_stamp_ms()");
        assert!(stamp >= self.raised_ms(), "{what}");
    }
}

#[test]
fn what_the_transaction_itself_wrote_is_heeded() {
    let write = "INSERT INTO u VALUES (hex(randomblob(8)), 'x')";
    let update = "UPDATE t SET v = v || 'x'";
    let all = [
        format!("BEGIN; {RAISE}; {write}; COMMIT"),
        format!("BEGIN; {write}; {RAISE}; COMMIT"),
        format!("BEGIN; {update}; {RAISE}; {write}; COMMIT"),
        format!("SAVEPOINT s; {RAISE}; {update}; RELEASE s"),
        format!("BEGIN; SAVEPOINT s; {write}; ROLLBACK TO s; RELEASE s; {RAISE}; {write}; COMMIT"),
        // Counted, and its row captured, and then undone.
        format!(
            "BEGIN; INSERT OR FAIL INTO t VALUES (77, 'x'), (1, 'y'); {RAISE}; {write}; COMMIT"
        ),
        format!("BEGIN; REPLACE INTO t VALUES (1, 'y'); {RAISE}; {write}; COMMIT"),
        // A row is captured that is not counted, and what is counted makes up for it.
        format!("BEGIN; INSERT INTO t VALUES (77, 'x'), (1, 'y'); {RAISE}; {write}; COMMIT"),
        format!("PRAGMA recursive_triggers = ON; BEGIN; REPLACE INTO t VALUES (1, 'y'); {RAISE}; COMMIT"),
        format!("BEGIN; DELETE FROM t WHERE id = 2; {RAISE}; COMMIT; INSERT INTO t VALUES (2, 'b')"),
        "CREATE TEMP TRIGGER raise AFTER INSERT ON mine BEGIN INSERT INTO u VALUES (NEW.a, 'y'); END; \
         INSERT INTO mine VALUES (hex(randomblob(8)))"
            .to_owned(),
    ];
    for sql in &all {
        let file = opened();
        if let Err(why) = file.db.execute_batch(sql) {
            assert!(why.to_string().contains("UNIQUE"), "{sql}: {why}");
            let rest = sql.split_once("(1, 'y');").unwrap().1;
            file.db.execute_batch(rest).unwrap();
        }
        file.assert_heeded(sql);
        file.db.execute_batch(update).unwrap();
        file.assert_heeded(sql);
    }
}

#[test]
fn what_one_statement_wrote_besides_is_heeded() {
    let file = opened();
    file.db
        .execute_batch(
            "CREATE TEMP TRIGGER besides AFTER UPDATE OF v ON main.t BEGIN \
             UPDATE nuda_state SET stamp = max(stamp, 4000000000000 << 16) + 65536; END",
        )
        .unwrap();
    for _ in 0..3 {
        file.db
            .execute_batch("UPDATE t SET v = v || 'x' WHERE id = 1")
            .unwrap();
        file.assert_heeded("a trigger");
    }
}

#[test]
fn what_others_wrote_is_heeded() {
    let file = opened();
    let other = open(&file.path);
    for n in 10..20 {
        if n % 3 == 0 {
            other.execute_batch(RAISE).unwrap();
        } else if n % 3 == 1 {
            file.db.execute_batch(RAISE).unwrap();
        }
        let db = if n % 4 == 0 { &other } else { &file.db };
        db.execute_batch(&format!("INSERT INTO t VALUES ({n}, 'x')"))
            .unwrap();
        file.assert_heeded("another transaction");
    }
    let vector: String = ask(&other, "SELECT nuda_version_vector()");
    let _: String = ask(&other, &format!("SELECT nuda_collect('{vector}')"));
    file.db
        .execute_batch("INSERT INTO t VALUES (30, 'x'); INSERT INTO t VALUES (31, 'x')")
        .unwrap();
    assert_eq!(
        ask::<i64>(
            &file.db,
            &format!("SELECT count(*) FROM nuda_changes_since('{vector}')")
        ),
        ask::<i64>(&other, "SELECT count(*) FROM nuda_log"),
    );
}

#[test]
fn a_schema_that_changed_is_heeded() {
    let file = opened();
    let other = open(&file.path);
    let columns = "SELECT columns FROM nuda_changes ORDER BY seq DESC LIMIT 1";
    for (n, by_other) in [(1, false), (2, true), (3, false)] {
        let db = if by_other { &other } else { &file.db };
        db.execute_batch(&format!("ALTER TABLE t ADD COLUMN c{n}"))
            .unwrap();
        file.db
            .execute_batch(&format!("UPDATE t SET c{n} = 'y' WHERE id = 1"))
            .unwrap();
        let named: String = ask(&file.db, columns);
        assert!(named.contains(&format!("c{n}")), "{named}");
    }
    file.db
        .execute_batch(
            "BEGIN; UPDATE t SET v = 'z'; ALTER TABLE t ADD COLUMN c4; \
             UPDATE t SET c4 = 'z' WHERE id = 2; COMMIT",
        )
        .unwrap();
    let named: String = ask(&file.db, "SELECT group_concat(columns) FROM nuda_changes");
    assert!(named.contains("c4"), "{named}");
    let newest = |db| -> i64 { ask(db, "SELECT max(id) >> 14 & 0x3ffffffff FROM nuda_log") };
    let before = newest(&file.db);
    // Refused, since no other node has the column's new name.
    let renamed = "BEGIN; ALTER TABLE u RENAME COLUMN v TO w; INSERT INTO u VALUES (1, 'x')";
    let why = file.db.execute_batch(renamed).unwrap_err().to_string();
    assert!(why.contains("replicated"), "{why}");
    file.db.execute_batch("ROLLBACK").unwrap();
    assert_eq!(newest(&file.db), before);
}

#[test]
fn what_did_not_come_about_is_forgotten() {
    let mut file = opened();
    let replica = file.folder.path().join("b.db");
    file.db
        .execute("VACUUM INTO ?", [replica.to_str().unwrap()])
        .unwrap();
    for n in 10..20 {
        file.db.commit_hook(Some(move || n % 2 == 0)).unwrap();
        for sql in [
            format!("INSERT INTO t VALUES ({n}, 'x')"),
            format!("BEGIN; INSERT INTO u VALUES ({n}, 'x'); COMMIT"),
        ] {
            assert_eq!(file.db.execute_batch(&sql).is_err(), n % 2 == 0);
            let _ = file.db.execute_batch("ROLLBACK");
        }
    }
    file.db.commit_hook(None::<fn() -> bool>).unwrap();
    let replica = open(&replica);
    let _: String = ask(&replica, "PRAGMA journal_mode = WAL");
    let vector: String = ask(&replica, "SELECT nuda_version_vector()");
    let mut query = file
        .db
        .prepare("SELECT changeset FROM nuda_changes_since(?)")
        .unwrap();
    let rows = query.query_map([vector], |row| row.get::<_, Vec<u8>>(0));
    for changeset in rows.unwrap() {
        let _: rusqlite::types::Value = replica
            .query_row("SELECT nuda_apply(?)", [changeset.unwrap()], |row| {
                row.get(0)
            })
            .unwrap();
    }
    let digest = "SELECT nuda_digest()";
    assert_eq!(
        ask::<String>(&replica, digest),
        ask::<String>(&file.db, digest)
    );
}
