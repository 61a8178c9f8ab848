//! A read that waits for what its own process keeps from being applied: it gives up at its deadline,
//! and says who is in the way.

// A test fails by panicking, in its helpers too.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::time::{Duration, Instant};

use rusqlite::Connection;
use support::definitions::{number, ordered, text};
use support::outcomes::{insist, set_level};
use support::{Nodes, insert};

/// A connection whose reads are strong, and which does not wait long.
fn reader(nodes: &Nodes) -> Connection {
    let conn = nodes.open("b", "org");
    set_level(nodes, &conn, "read", "strong");
    conn.execute_batch("SELECT nuda_timeout(600)").unwrap();
    conn
}

/// A read that fails, each time, and in its time; in the end because of the lock, and not because
/// there is no leader just now.
fn refused(nodes: &Nodes, conn: &Connection) -> String {
    nodes.eventually("a read that names the lock", |_| {
        let began = Instant::now();
        let sql = "SELECT count(*) FROM page";
        let read = conn.query_row(sql, [], |row| row.get::<_, i64>(0));
        assert!(read.is_err(), "a read in spite of the lock");
        let took = began.elapsed();
        assert!(took < Duration::from_secs(15), "{took:?}");
        let why = text(conn, "SELECT nuda_debug() ->> 'refused_read'").unwrap();
        why.contains("thread").then_some(why)
    })
}

#[test]
fn a_strong_read_names_the_connection_that_keeps_the_file_from_being_written() {
    let nodes = ordered();
    let a = nodes.open("a", "org");
    let (writes, reads) = (nodes.open("b", "org"), reader(&nodes));
    set_level(&nodes, &a, "write", "strong");
    writes.execute_batch("BEGIN IMMEDIATE").unwrap();
    let strong = "INSERT INTO page(id, hits) VALUES ('strong', 0)";
    insist(&nodes, &a, strong);
    let why = refused(&nodes, &reads);
    assert!(why.contains("this thread itself holds"), "{why}");
    let why = std::thread::scope(|scope| {
        let other = scope.spawn(|| refused(&nodes, &reader(&nodes)));
        other.join().unwrap()
    });
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
