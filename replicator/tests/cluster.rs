//! Nodes that come, go, crash, freeze and are cut off: in the end all replicas are equal.

// A test fails by panicking, in its helpers too.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::time::{Duration, Instant};

use support::{Nodes, count, insert};

#[test]
fn three_nodes_converge() {
    let nodes = Nodes::with_page(&["a", "b", "c"]);
    let conns = ["a", "b", "c"].map(|n| nodes.open(n, "org"));
    for n in 0..50 {
        for (node, conn) in conns.iter().enumerate() {
            insert(conn, &format!("{node} {n}"));
            conn.execute("UPDATE page SET hits = hits + 1 WHERE id = '0 0'", [])
                .unwrap();
        }
    }
    nodes.verify("b", "org");
    for conn in &conns {
        assert_eq!(count(conn), 150);
    }
    let status = nodes.status("a");
    assert_eq!(status["partitions"][0]["name"], "org");
    assert_eq!(status["nodes"].as_array().unwrap().len(), 2);
}

/// Nobody looks for it: the commit itself tells the daemon, and that tells the other node. How soon is a
/// matter of the machine, and measured in `benches`.
#[test]
fn a_commit_is_visible_elsewhere_by_itself() {
    let rarely = ["--scan-ms", "3600000", "--compare-ms", "3600000"];
    let nodes = Nodes::with_page_and(&["a", "b"], &rarely);
    let (a, b) = (nodes.open("a", "org"), nodes.open("b", "org"));
    let mut times = Vec::new();
    for n in 0..100 {
        insert(&a, &n.to_string());
        let began = Instant::now();
        nodes.eventually("it is visible", |_| (count(&b) > n).then_some(()));
        times.push(began.elapsed());
    }
    times.sort_unstable();
    println!("visible after p50 {:?} p99 {:?}", times[50], times[99]);
}

#[test]
fn an_index_travels_by_itself() {
    let nodes = Nodes::with_page(&["a", "b"]);
    let (a, b) = (nodes.open("a", "org"), nodes.open("b", "org"));
    let indexes = |conn: &rusqlite::Connection| -> i64 {
        let sql = "SELECT count(*) FROM sqlite_schema WHERE name = 'page_hits'";
        conn.query_row(sql, [], |row| row.get(0)).unwrap()
    };
    a.execute_batch("CREATE INDEX page_hits ON page(hits)")
        .unwrap();
    nodes.eventually("the index arrives", |_| (indexes(&b) == 1).then_some(()));
    a.execute_batch("DROP INDEX page_hits").unwrap();
    nodes.eventually("the index goes", |_| (indexes(&b) == 0).then_some(()));
    nodes.verify("b", "org");
}

#[test]
fn a_stopped_node_catches_up() {
    let mut nodes = Nodes::with_page(&["a", "b"]);
    // It waits for nothing when it stops: of several times one is as short as that.
    let stops = |nodes: &mut Nodes| {
        let (well, took) = nodes.stop("b");
        assert!(well);
        took
    };
    let mut shortest = stops(&mut nodes);
    for _ in 0..2 {
        nodes.run("b");
        shortest = shortest.min(stops(&mut nodes));
    }
    assert!(shortest < Duration::from_secs(3), "{shortest:?}");
    let a = nodes.open("a", "org");
    let b = nodes.open("b", "org");
    for n in 0..300 {
        insert(&a, &format!("a {n}"));
    }
    // The application on b writes although its daemon is away: its changes wait.
    for n in 0..20 {
        insert(&b, &format!("b {n}"));
    }
    assert_eq!(count(&a), 300);
    nodes.run("b");
    nodes.verify("a", "org");
    assert_eq!((count(&a), count(&b)), (320, 320));
}

#[test]
fn killed_while_writing() {
    let mut nodes = Nodes::with_page(&["a", "b", "c"]);
    let conns = ["a", "b", "c"].map(|n| nodes.open(n, "org"));
    for round in 0..3 {
        for n in 0..60 {
            for (node, conn) in conns.iter().enumerate() {
                insert(conn, &format!("{round} {node} {n}"));
            }
            if n == 20 {
                nodes.kill(["a", "b", "c"][round]);
            }
        }
        nodes.run(["a", "b", "c"][round]);
    }
    nodes.verify("a", "org");
    assert!(conns.iter().all(|conn| count(conn) == 540));
    for node in ["a", "b", "c"] {
        let log = nodes.logs_of(node);
        assert!(!log.contains("lost its replica"), "{log}");
    }
}

#[test]
fn cut_and_healed() {
    let nodes = Nodes::with_page(&["a", "b", "c"]);
    let conns = ["a", "b", "c"].map(|n| nodes.open(n, "org"));
    nodes.nuda_ok("c", &["fault", "--cut", "a,b"]);
    for n in 0..50 {
        for (node, conn) in conns.iter().enumerate() {
            insert(conn, &format!("{node} {n}"));
        }
    }
    let proof = nodes.nuda("a", &["verify", "org", "--timeout-s", "1"]);
    assert_eq!(
        proof.status.code(),
        Some(2),
        "nobody can know while c is away"
    );
    assert_eq!(count(&conns[2]), 50);
    nodes.nuda_ok("c", &["fault"]);
    nodes.verify("c", "org");
    assert!(conns.iter().all(|conn| count(conn) == 150));
}

#[test]
fn frozen_and_thawed() {
    let nodes = Nodes::with_page(&["a", "b", "c"]);
    let (a, c) = (nodes.open("a", "org"), nodes.open("c", "org"));
    nodes.signal("b", "-STOP");
    for n in 0..50 {
        insert(&a, &n.to_string());
    }
    // The others do not wait for it.
    nodes.eventually("c has everything", |_| (count(&c) == 50).then_some(()));
    nodes.signal("b", "-CONT");
    nodes.verify("a", "org");
}

#[test]
fn a_fourth_node_joins_from_a_snapshot() {
    let mut nodes = Nodes::with_page(&["a", "b"]);
    let a = nodes.open("a", "org");
    for n in 0..200 {
        insert(&a, &n.to_string());
    }
    nodes.verify("a", "org");
    nodes.run("d");
    nodes.nuda_ok("a", &["create", "org", "--on", "a,b,d"]);
    let d = nodes.open("d", "org");
    assert_eq!(count(&d), 200);
    insert(&d, "from d");
    nodes.verify("b", "org");
    assert_eq!(count(&a), 201);
    // Again: nothing changes.
    let again = nodes.nuda_ok("a", &["create", "org", "--on", "a,b,d"]);
    assert!(again.contains("org is on a, b, d"), "{again}");
}

#[test]
fn an_existing_file_becomes_a_partition() {
    let nodes = Nodes::start(&["a", "b"]);
    let old = nodes.home.path().join("old.db");
    let conn = support::open(&old);
    conn.execute_batch(
        "CREATE TABLE page(id TEXT PRIMARY KEY, title TEXT, hits COUNTER);
         INSERT INTO page VALUES ('x', 'y', 3), ('z', 'w', 4);
         CREATE VIEW titles AS SELECT title FROM page;
         CREATE TABLE comment(id TEXT PRIMARY KEY, page TEXT REFERENCES page(id),
           reply TEXT REFERENCES comment(id));
         INSERT INTO comment VALUES ('a', 'x', 'b'), ('b', 'x', NULL);
         CREATE TABLE advice(id TEXT PRIMARY KEY, page TEXT REFERENCES page(id));
         PRAGMA foreign_keys = off;
         INSERT INTO advice VALUES ('lost', 'nowhere');",
    )
    .unwrap();
    drop(conn);
    let made = nodes.nuda_ok(
        "a",
        &[
            "create",
            "org",
            "--on",
            "a,b",
            "--from",
            old.to_str().unwrap(),
        ],
    );
    assert!(
        made.contains("replicated tables: page, comment, advice"),
        "{made}"
    );
    // One has rows that break its FOREIGN KEY, and is replicated without.
    assert!(
        made.contains("replicated without its FOREIGN KEYs: advice"),
        "{made}"
    );
    let b = nodes.open("b", "org");
    nodes.verify("a", "org");
    assert_eq!(count(&b), 2);
    insert(&b, "new");
    nodes.verify("a", "org");
    let a = nodes.open("a", "org");
    assert_eq!(count(&a), 3);
    // A child on one node and the delete of its parent on another: the parent stays.
    nodes.nuda_ok("a", &["fault", "--cut", "b"]);
    a.execute("DELETE FROM page WHERE id = 'new'", []).unwrap();
    b.execute("INSERT INTO comment VALUES ('c', 'new', 'a')", [])
        .unwrap();
    nodes.nuda_ok("a", &["fault"]);
    nodes.verify("a", "org");
    assert_eq!(count(&a), 3);
    let broken: i64 = a
        .query_row(
            "SELECT count(*) FROM pragma_foreign_key_check('comment')",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(broken, 0);
}

/// A conflict, in words that a person can follow, and for programs.
#[test]
fn a_conflict_is_explained() {
    let nodes = Nodes::with_page(&["a", "b"]);
    let (a, b) = (nodes.open("a", "org"), nodes.open("b", "org"));
    insert(&a, "home");
    nodes.verify("a", "org");
    nodes.nuda_ok("a", &["fault", "--cut", "b"]);
    a.execute("UPDATE page SET title = 'early', hits = hits + 1", [])
        .unwrap();
    std::thread::sleep(Duration::from_millis(20));
    b.execute("UPDATE page SET title = 'late', hits = hits + 10", [])
        .unwrap();
    // As long as somebody lacks it, it is in the log.
    let told = nodes.nuda_ok("a", &["explain-conflict", "org", "page", "home"]);
    for words in ["title (LWW): early; stands", "hits (COUNTER): +1; added"] {
        assert!(told.contains(words), "{words} is not in\n{told}");
    }
    nodes.nuda_ok("a", &["fault"]);
    nodes.verify("a", "org");
    let told = nodes.nuda_ok("a", &["explain-conflict", "org", "page", "home"]);
    for words in [
        "page home in org",
        "now: id = \"home\", title = \"late\", hits = 12",
        "nuda_conflicts",
        "title: \"early\" of ",
        " lost to \"late\" of ",
        "the later write won",
    ] {
        assert!(told.contains(words), "{words} is not in\n{told}");
    }
    let json = nodes.nuda_ok("b", &["explain-conflict", "org", "page", "home", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["conflicts"][0]["lost"], "early", "{json}");
    assert_eq!(json["conflicts"][0]["column"], "title", "{json}");
    // What is not there is said, with an exit code.
    let missing = nodes.nuda("a", &["explain-conflict", "org", "nothing", "home"]);
    assert_eq!(missing.status.code(), Some(1));
    let none = nodes.nuda_ok("a", &["explain-conflict", "org", "page", "other"]);
    assert!(none.contains("there is no such row"), "{none}");
}
