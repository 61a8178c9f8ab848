//! Bounded reads across real daemons: what a majority had longer ago than `nuda_max_staleness` is
//! there, a read that finds an answer young enough asks nobody, and one that finds none fails.

// A test fails by panicking, in its helpers too.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::time::{Duration, Instant};

use rusqlite::Connection;

use support::Nodes;
use support::outcomes::{commit, patient, read, set_level};

const NAMES: [&str; 3] = ["a", "b", "c"];

fn set(conn: &Connection, pragma: &str) -> rusqlite::Result<String> {
    conn.query_row(&format!("PRAGMA nuda_{pragma}"), [], |row| row.get(0))
}

/// Three nodes with an eventual table of one row, which is everywhere.
fn page() -> Nodes {
    let nodes = Nodes::with_page(&NAMES);
    let conn = nodes.open("a", "org");
    nodes.eventually("the partition has a log", |_| {
        set(&conn, "write_consistency = quorum").ok()
    });
    conn.execute("INSERT INTO page VALUES ('home', 'first', 0)", [])
        .unwrap();
    nodes.verify("a", "org");
    nodes
}

/// A connection whose reads are bounded.
fn bounded(nodes: &Nodes, name: &str, ms: u64) -> Connection {
    let conn = nodes.open(name, "org");
    assert_eq!(
        set(&conn, &format!("max_staleness = {ms}")).unwrap(),
        ms.to_string()
    );
    let level = nodes.eventually("bounded reads", |_| {
        set(&conn, "read_consistency = bounded").ok()
    });
    assert_eq!(level, "bounded");
    conn
}

fn hit(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute("UPDATE page SET hits = hits + 1 WHERE id = 'home'", [])
        .map(|_| ())
}

fn hits(conn: &Connection) -> rusqlite::Result<i64> {
    let sql = "SELECT hits FROM page WHERE id = 'home'";
    conn.query_row(sql, [], |row| row.get(0))
}

fn refusal(conn: &Connection) -> String {
    conn.query_row("SELECT nuda_debug() ->> 'refused_read'", [], |row| {
        row.get::<_, Option<String>>(0)
    })
    .unwrap()
    .unwrap_or_default()
}

#[test]
fn a_node_that_slept_sees_what_the_others_had_before_its_read() {
    let nodes = page();
    let (writer, elsewhere) = (nodes.open("a", "org"), nodes.open("b", "org"));
    let reader = bounded(&nodes, "c", 200);
    patient(&reader);
    patient(&writer);
    for round in 1..=5 {
        let level = if round % 2 == 0 { "quorum" } else { "eventual" };
        set_level(&nodes, &writer, "write", level);
        nodes.signal("c", "-STOP");
        commit(&nodes, &writer, hit);
        nodes.eventually("a majority has it", |_| {
            (hits(&elsewhere).ok()? == round).then_some(())
        });
        std::thread::sleep(Duration::from_millis(250));
        nodes.signal("c", "-CONT");
        assert_eq!(read(&nodes, || hits(&reader)), round);
    }
    nodes.verify("a", "org");
}

#[test]
fn a_read_asks_nobody_while_the_answer_is_young() {
    let nodes = page();
    let reader = bounded(&nodes, "c", 600_000);
    patient(&reader);
    assert_eq!(read(&nodes, || hits(&reader)), 0);
    for name in NAMES {
        nodes.signal(name, "-STOP");
    }
    let began = Instant::now();
    for _ in 0..1_000 {
        assert_eq!(hits(&reader).unwrap(), 0);
    }
    println!("1000 bounded reads in {:?}", began.elapsed());
    for name in NAMES {
        nodes.signal(name, "-CONT");
    }
}

#[test]
fn without_a_majority_a_read_fails_once_the_answer_is_too_old() {
    let mut nodes = page();
    let reader = bounded(&nodes, "c", 300);
    assert_eq!(read(&nodes, || hits(&reader)), 0);
    nodes.kill("a");
    nodes.kill("b");
    nodes.eventually("a refusal", |_| hits(&reader).err());
    let why = refusal(&reader);
    assert!(why.contains("bounded read refused"), "{why}");
    // The level stays, and works again when the others are back.
    let level: String = set(&reader, "read_consistency").unwrap();
    assert_eq!(level, "bounded");
    nodes.run("a");
    nodes.eventually("a majority again", |_| hits(&reader).ok());
}
