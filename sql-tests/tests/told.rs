//! Records that are told by an earlier one: what is read, shipped and kept is the whole of them,
//! whatever becomes of the one by which they are told.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite::types::Value;

const TOLD: &str = "SELECT count(*) FROM nuda_log WHERE typeof(previous) = 'integer'";

struct File {
    db: Connection,
    path: PathBuf,
    folder: tempfile::TempDir,
}

fn open(path: &Path) -> Connection {
    nuda::register_static(rusqlite::ffi::sqlite3_auto_extension).unwrap();
    Connection::open(path).unwrap()
}

/// Two tables, and a row in each.
fn opened() -> File {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let db = open(&path);
    db.execute_batch(
        "SELECT nuda_init('p'); \
         CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, n COUNTER); \
         CREATE TABLE u(a TEXT, b INTEGER, note TEXT, PRIMARY KEY (b, a)); \
         SELECT nuda_track('t'); SELECT nuda_track('u');",
    )
    .unwrap();
    let file = File { db, path, folder };
    write(&file.db, 0..1);
    file
}

/// Transactions of one row and of few, of both tables.
fn write(db: &Connection, numbers: std::ops::Range<i64>) {
    for n in numbers {
        let sql = match n % 5 {
            0 => format!("INSERT INTO u VALUES ('key {n}', {n}, 'a note that says {n}')"),
            1 | 2 => format!("INSERT INTO t VALUES ({n}, 'item number {n} of many items', {n})"),
            3 => format!(
                "BEGIN; UPDATE t SET n = n + 1; \
                 INSERT INTO t VALUES ({n}, 'item number {n} of many items', 0); COMMIT"
            ),
            _ => format!("DELETE FROM t WHERE id = {n} - 7"),
        };
        db.execute_batch(&sql).unwrap();
    }
}

impl File {
    fn ask<T: rusqlite::types::FromSql>(&self, sql: &str) -> T {
        self.db.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// A file with the same content, which becomes another replica when it writes.
    fn copy(&self, name: &str) -> Connection {
        let path = self.folder.path().join(name);
        self.db
            .execute("VACUUM INTO ?", [path.to_str().unwrap()])
            .unwrap();
        let db = open(&path);
        db.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))
            .unwrap();
        db
    }

    fn vector(&self) -> String {
        self.ask("SELECT nuda_version_vector()")
    }

    /// What is shipped to whoever has seen that much.
    fn since(&self, vector: &str) -> Vec<Vec<u8>> {
        let mut query = self
            .db
            .prepare("SELECT changeset FROM nuda_changes_since(?)")
            .unwrap();
        let rows = query.query_map([vector], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    }

    /// Delivers it, which checks the chain of hashes, and compares.
    fn deliver(&self, to: &Connection) {
        let vector: String = to
            .query_row("SELECT nuda_version_vector()", [], |row| row.get(0))
            .unwrap();
        for changeset in self.since(&vector) {
            let answer: Value = to
                .query_row("SELECT nuda_apply(?)", [changeset], |row| row.get(0))
                .unwrap();
            assert!(format!("{answer:?}").contains("applied"), "{answer:?}");
        }
        let digest: String = to
            .query_row("SELECT nuda_digest()", [], |row| row.get(0))
            .unwrap();
        assert_eq!(digest, self.ask::<String>("SELECT nuda_digest()"));
    }
}

#[test]
fn small_transactions_are_told_and_travel_whole() {
    let file = opened();
    let replica = file.copy("b.db");
    let second = open(&file.path);
    for n in 0..40 {
        // Each of two connections finds a log that ends with the other's record.
        let db = if n % 3 == 0 { &second } else { &file.db };
        write(db, n * 3 + 1..n * 3 + 4);
    }
    assert!(file.ask::<i64>(TOLD) > 80, "{}", file.ask::<i64>(TOLD));
    file.deliver(&replica);
    let rows: i64 = file.ask("SELECT count(*) FROM nuda_changes");
    assert!(rows > 120, "{rows}");
}

#[test]
fn a_record_that_is_rolled_back_tells_nothing() {
    let mut file = opened();
    let replica = file.copy("b.db");
    write(&file.db, 1..20);
    for n in 20..30 {
        file.db.execute_batch("BEGIN").unwrap();
        file.db.commit_hook(Some(|| true)).unwrap();
        // Too much of its own to be told: others would be told by it.
        let sql = format!("INSERT INTO t VALUES ({n}, hex(randomblob(200)), 1)");
        file.db.execute_batch(&sql).unwrap();
        // The hook vetoes after the record was written.
        assert!(file.db.execute_batch("COMMIT").is_err());
        file.db.commit_hook(None::<fn() -> bool>).unwrap();
        // Nor is it one that others are told by after a record that is too long to be told.
        let long = format!("INSERT INTO u VALUES ('{n}', {n}, hex(zeroblob(3000)))");
        for sql in [
            long.as_str(),
            &format!("INSERT INTO t VALUES ({n}, 'x', 1)"),
        ] {
            if n % 2 == 0 {
                file.db.execute_batch(sql).unwrap();
            }
        }
        write(&file.db, n + 100..n + 101);
    }
    file.deliver(&replica);
}

#[test]
fn what_is_collected_takes_nothing_along() {
    let file = opened();
    let replica = file.copy("b.db");
    let mut vectors = Vec::new();
    for n in 0..60 {
        write(&file.db, n * 3 + 1..n * 3 + 4);
        vectors.push(file.vector());
    }
    let all = file.since(&vectors[0]).len();
    file.deliver(&replica);
    for vector in &vectors {
        let before = file.since(vector);
        let _: String = file.ask(&format!("SELECT nuda_collect('{vector}')"));
        assert_eq!(file.since(vector), before);
    }
    assert!(all > 150, "{all}");
    // The next one follows what is not there any more, and those after it follow that.
    let end = file.vector();
    write(&file.db, 201..240);
    assert!(file.ask::<i64>(TOLD) > 20);
    file.deliver(&replica);
    let before = file.since(&end);
    write(&file.db, 241..250);
    assert_eq!(file.since(&end)[..before.len()], before);
}

#[test]
fn what_is_renumbered_or_restamped_is_whole() {
    for sql in [
        "SELECT nuda_new_site(30)",
        "SELECT nuda_restamp(30, 1600000000000)",
    ] {
        let file = opened();
        write(&file.db, 1..28);
        let replica = file.copy("b.db");
        write(&file.db, 28..80);
        // What the copy has, stays.
        let kept: i64 = replica
            .query_row(
                "SELECT max(id) >> 14 & 0x3ffffffff FROM nuda_log",
                [],
                |row| row.get(0),
            )
            .unwrap();
        let sql = sql.replace("(30", &format!("({kept}"));
        let _: Value = file.ask(&sql);
        write(&file.db, 80..120);
        file.deliver(&replica);
    }
}

#[test]
fn a_base_that_is_missing_is_said() {
    let file = opened();
    write(&file.db, 1..20);
    file.db
        .execute_batch("DELETE FROM nuda_log WHERE typeof(previous) <> 'integer'")
        .unwrap();
    let told = "SELECT nuda_told(body, NULL) FROM nuda_log";
    let error = file
        .db
        .query_row(told, [], |row| row.get::<_, Value>(0))
        .unwrap_err();
    assert!(error.to_string().contains("told by one that is not there"));
}
