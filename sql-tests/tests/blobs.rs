//! Incremental blob writes: they bypass triggers, so tracked tables do not take them, whoever tries.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;

use rusqlite::{Connection, MAIN_DB};

fn open(path: &Path) -> Connection {
    nuda::register_static(rusqlite::ffi::sqlite3_auto_extension).unwrap();
    Connection::open(path).unwrap()
}

fn ask(db: &Connection, sql: &str) -> Option<String> {
    db.query_row(sql, [], |row| row.get(0)).unwrap()
}

/// Why a value of `t` cannot be opened for writing, if so.
fn refusal(db: &Connection, column: &str) -> Option<String> {
    let opened = db.blob_open(MAIN_DB, "t", column, 1, false);
    opened.err().map(|error| error.to_string())
}

fn tracked(path: &Path) -> Connection {
    let db = open(path);
    db.execute_batch(
        "SELECT nuda_init('p');
         CREATE TABLE t(id INTEGER PRIMARY KEY, data BLOB, note TEXT);
         CREATE INDEX mine ON t(note);
         CREATE TABLE w(id TEXT PRIMARY KEY, data BLOB) WITHOUT ROWID;
         SELECT nuda_track('t'), nuda_track('w');
         INSERT INTO t VALUES (1, zeroblob(100), 'x');",
    )
    .unwrap();
    db
}

#[test]
fn a_tracked_table_takes_no_incremental_blob_writes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let db = tracked(&path);
    for column in ["data", "note"] {
        let why = refusal(&db, column).unwrap();
        assert!(why.contains("cannot open indexed column"), "{why}");
    }
    assert!(db.blob_open(MAIN_DB, "t", "data", 1, true).is_ok());
    // A replica that was only told of the table.
    let other = open(&folder.path().join("b.db"));
    db.execute("VACUUM INTO ?", [folder.path().join("c.db").to_str()])
        .unwrap();
    other.execute_batch("SELECT nuda_init('p')").unwrap();
    let partition: Vec<u8> = db
        .query_row("SELECT partition FROM nuda_state", [], |row| row.get(0))
        .unwrap();
    other
        .execute("UPDATE nuda_state SET partition = ?", [partition])
        .unwrap();
    let mut parts = db
        .prepare("SELECT changeset FROM nuda_changes_since('')")
        .unwrap();
    for part in parts.query_map([], |row| row.get::<_, Vec<u8>>(0)).unwrap() {
        other
            .query_row("SELECT nuda_apply(?)", [part.unwrap()], |_| Ok(()))
            .unwrap();
    }
    assert_eq!(
        ask(&other, "SELECT note FROM t").as_deref(),
        Some("x"),
        "the row has arrived"
    );
    assert!(refusal(&other, "data").is_some());
    // What replicas agree on does not name it.
    let agreed = "SELECT group_concat(CAST(indexes AS TEXT)) FROM nuda_table";
    let agreed = ask(&db, agreed).unwrap();
    assert!(
        agreed.contains("mine") && !agreed.contains("nuda"),
        "{agreed}"
    );
    assert_eq!(ask(&db, "SELECT problems FROM nuda_status"), None);
    assert_eq!(ask(&other, "SELECT problems FROM nuda_status"), None);
}

#[test]
fn a_table_of_an_older_version_is_reported_and_mended() {
    let folder = tempfile::tempdir().unwrap();
    let db = tracked(&folder.path().join("a.db"));
    db.execute_batch("DROP INDEX nuda_1_no_blob_writes")
        .unwrap();
    assert_eq!(refusal(&db, "data"), None);
    let problems = ask(&db, "SELECT problems FROM nuda_status").unwrap();
    assert!(
        problems.starts_with("t takes incremental blob writes") && !problems.contains("\nw "),
        "{problems}"
    );
    ask(&db, "SELECT hex(nuda_init())");
    assert!(refusal(&db, "data").is_some());
    assert_eq!(ask(&db, "SELECT problems FROM nuda_status"), None);
}

#[test]
fn an_ordinary_table_takes_them() {
    let folder = tempfile::tempdir().unwrap();
    let ours = "SELECT group_concat(name) FROM sqlite_schema WHERE name GLOB 'nuda_*blob*'";
    let db = tracked(&folder.path().join("a.db"));
    assert_eq!(ask(&db, ours).as_deref(), Some("nuda_1_no_blob_writes"));
    db.execute_batch("SELECT nuda_untrack('t')").unwrap();
    assert_eq!((refusal(&db, "data"), ask(&db, ours)), (None, None));
    db.execute_batch("SELECT nuda_track('t')").unwrap();
    assert!(refusal(&db, "data").is_some());
    db.execute_batch("SELECT nuda_eject()").unwrap();
    assert_eq!((refusal(&db, "data"), ask(&db, ours)), (None, None));
}
