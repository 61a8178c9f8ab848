//! A member that was away for too long is re-seeded by itself and loses nothing.

// A test fails by panicking, in its helpers too.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use rusqlite::Connection;
use support::definitions::make_tables;
use support::{Nodes, count, insert};

const FLAGS: [&str; 6] = [
    "--exclude-after-ms",
    "3000",
    "--collect-after-ms",
    "100",
    "--compare-ms",
    "200",
];

/// What every replica must hold in the end: pages by name, and the tally of inserted ones.
const PAGES: &str = "SELECT id, title, hits FROM page WHERE id NOT LIKE 'far %' ORDER BY id";

/// Three nodes of which c has been excluded, while an application went on writing there.
struct Away {
    nodes: Nodes,
    /// The application's connection at c, open all the time.
    app: Connection,
    far: usize,
}

/// A user's trigger that writes a tracked table, which must not be made again, and a table
/// derived from the pages here. And a table of this node's own.
fn local_things(conn: &Connection, node: &str) {
    conn.execute_batch(&format!(
        "CREATE TABLE seen(id TEXT PRIMARY KEY);
         INSERT INTO seen SELECT id FROM page;
         CREATE TRIGGER counted AFTER INSERT ON page BEGIN
           UPDATE tally SET n = n + 1 WHERE id = 'pages';
           INSERT OR IGNORE INTO seen VALUES (NEW.id);
         END;
         CREATE TABLE settings(name TEXT PRIMARY KEY, value TEXT);
         INSERT INTO settings VALUES ('node', '{node}');
         CREATE TABLE only_{node}(x); CREATE INDEX x_{node} ON only_{node}(x);
         INSERT INTO only_{node} VALUES ('kept');"
    ))
    .unwrap();
}

fn away() -> Away {
    let mut nodes = Nodes::with_page_and(&["a", "b", "c"], &FLAGS);
    let (a, b) = (nodes.open("a", "org"), nodes.open("b", "org"));
    let app = nodes.open("c", "org");
    make_tables(
        &nodes,
        &a,
        "CREATE TABLE tally(id TEXT PRIMARY KEY, n COUNTER); SELECT nuda_track('tally');
         INSERT INTO tally VALUES ('pages', 0);",
    );
    nodes.verify("a", "org");
    for (conn, node) in [(&a, "a"), (&b, "b"), (&app, "c")] {
        local_things(conn, node);
    }
    for id in ["edited", "counted", "deleted", "gone", "both"] {
        insert(&a, id);
    }
    nodes.verify("a", "org");
    // What is collected is in the partition's log first, and that is founded while all are there.
    for node in ["a", "b", "c"] {
        nodes.eventually("the partition has a log", |nodes| {
            let status = nodes.status(node);
            let leader = &status["partitions"][0]["log"]["leader"];
            leader.as_str().map(str::to_owned)
        });
    }
    nodes.stop("c");

    app.execute_batch(
        "UPDATE page SET title = 'by c' WHERE id = 'edited';
         UPDATE page SET hits = hits + 1 WHERE id = 'counted';
         UPDATE page SET hits = hits + 2 WHERE id = 'counted';
         INSERT INTO page VALUES ('new at c', 'c', 5);
         UPDATE page SET hits = hits + 4 WHERE id = 'new at c';
         DELETE FROM page WHERE id = 'deleted';
         UPDATE page SET hits = hits + 10 WHERE id = 'gone';
         BEGIN; UPDATE page SET hits = hits + 1 WHERE id = 'both';
         INSERT INTO page VALUES ('second at c', 'c', 0); COMMIT;",
    )
    .unwrap();
    let far = 120;
    for n in 0..far {
        insert(if n % 2 == 0 { &a } else { &b }, &format!("far {n}"));
    }
    a.execute_batch(
        "UPDATE page SET hits = hits + 100 WHERE id = 'counted'; DELETE FROM page WHERE id = 'gone';",
    )
    .unwrap();
    b.execute("UPDATE page SET hits = hits + 1000 WHERE id = 'both'", [])
        .unwrap();
    for node in ["a", "b"] {
        nodes.eventually("the log is collected without c", |nodes| {
            let status = nodes.status(node);
            (status["partitions"][0]["counts"]["log_records"] == 0).then_some(())
        });
    }
    Away { nodes, app, far }
}

impl Away {
    /// Everything is everywhere, once, and goes on.
    fn check(self) {
        let Self { nodes, app, far } = self;
        nodes.verify("a", "org");
        let expected = [
            ("both", "title", 1002),
            ("counted", "title", 104),
            ("edited", "by c", 1),
            // An edit that the delete had not seen keeps the row, as it would have been merged.
            ("gone", "title", 11),
            ("new at c", "c", 9),
            ("second at c", "c", 0),
        ];
        let expected = expected.map(|(id, title, hits)| (id.to_owned(), title.to_owned(), hits));
        let replicas = [nodes.open("a", "org"), nodes.open("b", "org"), app];
        for conn in &replicas {
            let mut query = conn.prepare(PAGES).unwrap();
            let rows = query.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)));
            let rows: Vec<(String, String, i64)> = rows.unwrap().map(Result::unwrap).collect();
            assert_eq!(rows, expected);
            assert_eq!(count(conn), i64::try_from(expected.len() + far).unwrap());
            let tally: i64 = conn
                .query_row("SELECT n FROM tally", [], |r| r.get(0))
                .unwrap();
            assert_eq!(tally, i64::try_from(5 + 2 + far).unwrap());
            let seen = conn.query_row("SELECT count(*) FROM seen", [], |r| r.get(0));
            assert_eq!(seen, Ok(tally));
        }
        // The connection that was open all the time goes on.
        let [.., app] = &replicas;
        let own = "SELECT (SELECT value FROM settings) || (SELECT x FROM only_c INDEXED BY x_c)";
        assert_eq!(
            app.query_row(own, [], |r| r.get(0)),
            Ok("ckept".to_owned()),
            "tables that are not replicated stay this node's"
        );
        insert(app, "after it");
        app.execute("UPDATE page SET hits = hits + 1 WHERE id = 'both'", [])
            .unwrap();
        nodes.verify("c", "org");
        for conn in &replicas {
            let hits = "SELECT hits FROM page WHERE id = 'both'";
            assert_eq!(conn.query_row(hits, [], |r| r.get::<_, i64>(0)), Ok(1003));
        }
        nodes.eventually("no alarm", |nodes| {
            let status = nodes.status("c");
            let alarms = status["partitions"][0]["alarms"].as_array()?.len();
            (alarms == 0).then_some(())
        });
        let left = std::fs::read_dir(nodes.dir("c").join(".nuda")).unwrap();
        let left: Vec<_> = left.flatten().map(|e| e.file_name()).collect();
        let aside = |name: &std::ffi::OsString| name.to_string_lossy().contains("aside");
        assert!(!left.iter().any(aside), "{left:?}");
    }
}

#[test]
fn a_member_that_was_away_for_too_long() {
    let mut away = away();
    away.nodes.run("c");
    away.nodes.eventually("c is re-seeded", |nodes| {
        nodes.logs_of("c").contains("re-seeded").then_some(())
    });
    away.check();
}

#[test]
fn it_dies_at_each_step_of_the_re_seed() {
    let mut away = away();
    for point in ["set aside", "copied", "re-issued"] {
        away.nodes
            .flags
            .extend(["--fault-point".to_owned(), point.to_owned()]);
        away.nodes.spawn("c");
        away.nodes.died("c");
        away.nodes.flags.truncate(FLAGS.len());
    }
    away.nodes.run("c");
    away.check();
}

#[test]
fn the_founder_alone_tracks_nothing_and_keeps_its_own_table() {
    let mut nodes = Nodes::with_page_and(&["a", "b", "c"], &FLAGS);
    let (a, b) = (nodes.open("a", "org"), nodes.open("b", "org"));
    nodes.eventually("definitions go through the log", |_| {
        let ordered = a.query_row("SELECT ordered FROM nuda_state", [], |r| r.get(0));
        (ordered == Ok(1)).then_some(())
    });
    nodes.stop("a");
    a.execute_batch(
        "CREATE TABLE later(id TEXT PRIMARY KEY, n COUNTER); INSERT INTO later VALUES ('x', 3);",
    )
    .unwrap();
    let track = "SELECT nuda_track('later')";
    let refused = a.query_row(track, [], |_| Ok(())).unwrap_err().to_string();
    assert!(refused.contains("not committed"), "{refused}");
    insert(&a, "by a");
    insert(&b, "by b");
    nodes.eventually("the log is collected without a", |nodes| {
        let status = nodes.status("b");
        (status["partitions"][0]["counts"]["log_records"] == 0).then_some(())
    });
    nodes.run("a");
    nodes.eventually("a is re-seeded", |nodes| {
        nodes.logs_of("a").contains("re-seeded").then_some(())
    });
    nodes.verify("b", "org");
    nodes.eventually("the table is tracked after all", |_| {
        a.query_row(track, [], |_| Ok(())).ok()
    });
    nodes.eventually("the table is everywhere", |_| {
        b.prepare("SELECT * FROM later").ok().map(|_| ())
    });
    nodes.verify("b", "org");
    for conn in [&a, &b] {
        assert_eq!(count(conn), 2);
        let n = conn.query_row("SELECT n FROM later", [], |r| r.get::<_, i64>(0));
        assert_eq!(n, Ok(3));
    }
}
