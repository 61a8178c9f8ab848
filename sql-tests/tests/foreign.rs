//! Changesets that no node of this version writes: from a newer version, or forged.
//!
//! What is newer is kept, whole, and does not stop others; what does not fit its column is refused,
//! and leaves nothing behind.
#![allow(clippy::unwrap_used, clippy::panic)]

use nuda_core::changeset::{ChainHash, ChainHasher, Header, Level, Part};
use nuda_core::codec::{put_sized, put_varint};
use nuda_core::hlc::Stamp;
use nuda_core::row::{Cell, TableRef, begin_insert, begin_update, put_schema, put_table};
use nuda_core::site::{Dot, PartitionId, Site};
use nuda_core::types::orset;
use nuda_core::value::Value;
use nuda_core::version_vector::VersionVector;
use rusqlite::Connection;

struct File {
    db: Connection,
    partition: PartitionId,
    table: TableRef,
    sites: u64,
    _folder: tempfile::TempDir,
}

/// Columns: id, tags ORSET, hi MAXREG, n COUNTER, d DOC.
fn opened() -> File {
    nuda::register_static(rusqlite::ffi::sqlite3_auto_extension).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let db = Connection::open(folder.path().join("a.db")).unwrap();
    db.execute_batch(
        "SELECT nuda_init('p'); \
         CREATE TABLE t(id TEXT PRIMARY KEY, tags ORSET, hi MAXREG INTEGER, n COUNTER, d DOC); \
         SELECT nuda_track('t'); \
         INSERT INTO t VALUES ('x', '[1,2]', 5, 7, '{\"a\":1}');",
    )
    .unwrap();
    let read = "SELECT s.partition, t.number, t.version, t.definition \
                FROM nuda_state s, nuda_table t";
    let (partition, table) = db
        .query_row(read, [], |row| {
            let definition: i64 = row.get(3)?;
            let at = TableRef {
                number: row.get(1)?,
                version: row.get(2)?,
                definition: definition.cast_unsigned(),
                key_columns: 1,
                columns: 5,
            };
            Ok((PartitionId(row.get(0)?), at))
        })
        .unwrap();
    File {
        db,
        partition,
        table,
        sites: 1000,
        _folder: folder,
    }
}

impl File {
    fn ask(&self, sql: &str) -> String {
        self.db.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// Applies a body as the first changeset of a new site that has seen everything here.
    fn apply(&mut self, body: &[u8]) -> Result<String, String> {
        self.sites += 1;
        let dot = Dot {
            site: Site::from_u64(self.sites).unwrap(),
            seq: 1,
        };
        let vector = self.ask("SELECT nuda_version_vector()");
        let header = Header {
            dot,
            stamp: Stamp::from_u64((1 << 60) + self.sites).unwrap(),
            level: Level::Eventual,
            author: String::new(),
            rose: VersionVector::parse(&vector).unwrap(),
        }
        .encode();
        let mut hasher = ChainHasher::new(ChainHash::START, &header);
        hasher.update(body);
        let part = Part {
            partition: self.partition,
            dot,
            part: 0,
            first: Some((ChainHash::START, &header)),
            last: Some(hasher.finish()),
            body,
        }
        .encode();
        self.db
            .query_row("SELECT nuda_apply(?)", [part], |row| row.get(0))
            .map_err(|error| error.to_string())
    }

    /// An UPDATE of one column of row x; the cell is given encoded.
    fn update(&self, column: u64, cell: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        put_table(&mut body, &self.table);
        begin_update(&mut body);
        Value::Text(b"x").encode(&mut body);
        put_varint(&mut body, 1);
        put_varint(&mut body, column);
        body.extend_from_slice(cell);
        body
    }

    fn insert(&self, tags: &str) -> Vec<u8> {
        self.insert_with(tags, "{}")
    }

    fn insert_with(&self, tags: &str, document: &str) -> Vec<u8> {
        let mut body = Vec::new();
        put_table(&mut body, &self.table);
        begin_insert(&mut body);
        Value::Text(b"y").encode(&mut body);
        Value::Text(tags.as_bytes()).encode(&mut body);
        Value::Int(1).encode(&mut body);
        Cell::Add(1).encode(&mut body);
        Value::Text(document.as_bytes()).encode(&mut body);
        body
    }

    fn row(&self) -> String {
        self.ask("SELECT tags || '|' || hi || '|' || n FROM t WHERE id = 'x'")
    }
}

fn encoded(cell: Cell<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    cell.encode(&mut out);
    out
}

fn edit(added: &[&str], removed: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    orset::encode(
        false,
        &added.iter().map(|e| e.as_bytes()).collect::<Vec<_>>(),
        &removed.iter().map(|e| e.as_bytes()).collect::<Vec<_>>(),
        &mut out,
    );
    out
}

#[test]
fn what_is_newer_waits_and_others_go_on() {
    let mut file = opened();
    let unknown_cell = file.update(1, &[0x2f, 1, 2, 3]);
    assert!(file.apply(&unknown_cell).unwrap().contains("\"waiting\""));
    let mut fancy = vec![1];
    put_varint(&mut fancy, 2);
    put_varint(&mut fancy, 1);
    fancy.extend_from_slice(&[0; 8]);
    put_sized(&mut fancy, b"u");
    put_sized(&mut fancy, b"CREATE TABLE u(id TEXT PRIMARY KEY, v FANCY)");
    put_varint(&mut fancy, 1);
    put_sized(&mut fancy, b"id");
    put_sized(&mut fancy, b"FANCY");
    fancy.push(1);
    put_varint(&mut fancy, 0);
    let mut body = Vec::new();
    put_schema(&mut body, &fancy);
    assert!(file.apply(&body).unwrap().contains("\"waiting\""));
    // An edit of a document of a kind that is not known, wherever it is in it.
    for edit in [b"\x09".as_slice(), b"\x03\x01\x01a\x09\x01"] {
        let unknown_change = file.update(4, &encoded(Cell::Doc(edit)));
        assert!(file.apply(&unknown_change).unwrap().contains("\"waiting\""));
    }
    let kept = "SELECT count(*) || ' ' || min(reason LIKE '%upgrade%') FROM nuda_waiting";
    assert_eq!(file.ask(kept), "4 1");
    // Another node may know what it is.
    let handed_on = "SELECT count(*) || '' FROM nuda_changes_since(nuda_version_vector())";
    assert_eq!(file.ask(handed_on), "4");
    let good = file.update(1, &edit(&["3"], &["1"]));
    assert!(file.apply(&good).unwrap().contains("\"applied\""));
    assert_eq!(file.row(), "[2,3]|5|7");
}

#[test]
fn what_does_not_fit_its_column_is_refused() {
    let mut file = opened();
    let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
    let bodies = [
        file.insert("[2,1]"),
        file.insert("[1,1]"),
        file.insert("{}"),
        file.insert("[1"),
        file.insert(&deep),
        file.update(1, &edit(&["{\"b\":1,\"a\":1}"], &[])),
        file.update(1, &edit(&[], &["not JSON"])),
        file.update(1, &edit(&[&deep], &[])),
        file.update(1, &encoded(Cell::Value(Value::Text(b"[1]")))),
        file.update(1, &encoded(Cell::Add(1))),
        file.update(2, &edit(&["1"], &[])),
        file.update(2, &encoded(Cell::Add(1))),
        file.update(3, &encoded(Cell::Value(Value::Real(1.5)))),
        file.update(3, &edit(&["1"], &[])),
        file.insert_with("[]", "{\"b\":1,\"a\":1}"),
        file.insert_with("[]", "1"),
        file.insert_with("[]", &deep),
        file.update(4, &encoded(Cell::Value(Value::Text(b"{ }")))),
        file.update(4, &encoded(Cell::Value(Value::Int(1)))),
        file.update(4, &encoded(Cell::Text(b"\x00\x00\x01a"))),
        // SET to a scalar, REMOVE and ADD of the whole.
        file.update(4, &encoded(Cell::Doc(b"\x00\x011"))),
        file.update(4, &encoded(Cell::Doc(b"\x02\x02"))),
        file.update(1, &encoded(Cell::Doc(b"\x00\x02{}"))),
    ];
    let before = file.ask("SELECT nuda_digest()");
    for (n, body) in bodies.iter().enumerate() {
        let error = file.apply(body).unwrap_err();
        assert!(
            error.contains("does not fit its column types"),
            "{n}: {error}"
        );
    }
    assert_eq!(file.ask("SELECT nuda_digest()"), before);
    let good = file.insert("[1,2]");
    assert!(file.apply(&good).unwrap().contains("\"applied\""));
}

#[test]
fn a_definition_that_forgets_columns_is_refused() {
    let mut file = opened();
    // Version 2 of a table of that number, with two columns only: as another file has it.
    let folder = tempfile::tempdir().unwrap();
    let other = Connection::open(folder.path().join("other.db")).unwrap();
    other
        .execute_batch(
            "SELECT nuda_init('p'); CREATE TABLE t(id TEXT PRIMARY KEY, tags ORSET); \
             SELECT nuda_track('t'); SELECT nuda_exec('CREATE INDEX i ON t(tags)');",
        )
        .unwrap();
    let changeset: Vec<u8> = other
        .query_row(
            "SELECT changeset FROM nuda_changes_since('') ORDER BY seq DESC LIMIT 1",
            [],
            |row| row.get(0),
        )
        .unwrap();
    let body = Part::decode(&changeset).unwrap().body;
    let error = file.apply(body).unwrap_err();
    assert!(
        error.contains("a definition that forgets columns"),
        "{error}"
    );
    assert_eq!(file.row(), "[1,2]|5|7");
}

#[test]
fn a_change_of_a_later_version_of_its_table_waits_for_that() {
    let mut file = opened();
    file.table.version += 1;
    let body = file.update(3, &encoded(Cell::Add(1)));
    let answer = file.apply(&body).unwrap();
    assert!(answer.contains("\"waiting\""), "{answer}");
    assert!(
        answer.contains("is version 1 here, the changeset needs 2"),
        "{answer}"
    );
    assert_eq!(file.row(), "[1,2]|5|7");
}
