//! A read that waits for what its own process keeps from being applied: it gives up at its deadline,
//! and says who is in the way.

// A test fails by panicking, in its helpers too.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::time::{Duration, Instant};

use rusqlite::Connection;
use support::definitions::{number, ordered, text};
use support::insert;

/// A read that fails; answers why, and how long it took.
fn refused(conn: &Connection) -> (String, Duration) {
    let began = Instant::now();
    let sql = "SELECT count(*) FROM page";
    assert!(text(conn, sql).is_err(), "a read in spite of the lock");
    let took = began.elapsed();
    (
        text(conn, "SELECT nuda_debug() ->> 'refused_read'").unwrap(),
        took,
    )
}

#[test]
fn a_strong_read_names_the_connection_that_keeps_the_file_from_being_written() {
    let nodes = ordered();
    let (a, path) = (nodes.open("a", "org"), nodes.file("b", "org"));
    let (writes, reads) = (nodes.open("b", "org"), nodes.open("b", "org"));
    reads
        .execute_batch("SELECT nuda_read_consistency('strong'); SELECT nuda_timeout(600)")
        .unwrap();
    a.execute_batch("SELECT nuda_write_consistency('strong')")
        .unwrap();
    writes.execute_batch("BEGIN IMMEDIATE").unwrap();
    nodes.eventually("a strong write of a's", |_| {
        let sql = "INSERT INTO page(id, hits) VALUES ('strong', 0)";
        a.execute(sql, []).ok()
    });
    let (why, took) = refused(&reads);
    assert!(why.contains("this thread itself holds"), "{why}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    let other = std::thread::spawn(move || {
        let conn = support::open(&path);
        conn.execute_batch("SELECT nuda_read_consistency('strong'); SELECT nuda_timeout(600)")
            .unwrap();
        refused(&conn).0
    });
    let why = other.join().unwrap();
    assert!(why.contains("another thread of this process"), "{why}");
    // What is in nobody's way is not blamed.
    insert(&writes, "eventual");
    writes.execute_batch("COMMIT").unwrap();
    nodes.eventually("the read sees both", |_| {
        let sql = "SELECT count(*) FROM page";
        let both = reads.query_row(sql, [], |row| row.get(0)) == Ok(2);
        both.then_some(())
    });
    assert_eq!(number(&writes, "SELECT count(*) FROM page"), 2);
}
