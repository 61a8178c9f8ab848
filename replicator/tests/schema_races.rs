//! Definitions that meet something: another definition of the same name, transactions that are open,
//! rows that nobody shows, and the death of the founder while it hands over to the log.

// A test fails by panicking, in its helpers too.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use support::definitions::{NAMES, alter, define, everywhere, number, ordered, text};
use support::outcomes::{Outcome, outcome, patient, set_level};
use support::{Nodes, open};

/// The nodes that do not lead, once there is a leader.
fn followers(nodes: &Nodes) -> Vec<&'static str> {
    let leader = nodes.eventually("a leader", |nodes| {
        let status = nodes.status("a");
        let leader = status["partitions"][0]["log"]["leader"].as_str();
        leader.map(str::to_owned)
    });
    NAMES.into_iter().filter(|name| *name != leader).collect()
}

#[test]
fn one_name_is_tracked_on_two_nodes_at_once() {
    let nodes = ordered();
    let start = Arc::new(Barrier::new(2));
    let tracking = ["b", "c"].map(|name| {
        let (path, start) = (nodes.file(name, "org"), Arc::clone(&start));
        std::thread::spawn(move || {
            let conn = open(&path);
            conn.execute_batch("CREATE TABLE note(id TEXT PRIMARY KEY, body TEXT)")
                .unwrap();
            conn.execute("INSERT INTO note VALUES (?, 'mine')", [name])
                .unwrap();
            start.wait();
            let waits = "SELECT count(*) FROM nuda_waiting WHERE reason LIKE 'note exists here%'";
            let until = Instant::now() + Duration::from_secs(60);
            patient(&conn);
            loop {
                match text(&conn, "SELECT nuda_track('note')") {
                    Ok(_) => return Ok(name),
                    // Who waits is told so, and what else is said of it is of the moment: a leader may
                    // just be elected, the other's be on its way, the file be locked.
                    Err(e) => {
                        let why = e.to_string();
                        let is_final =
                            why.contains("strong write not committed") && number(&conn, waits) > 0;
                        if is_final || Instant::now() > until {
                            return Err((name, why));
                        }
                    }
                }
            }
        })
    });
    let ended = tracking.map(|thread| thread.join().unwrap());
    let won = ended.iter().filter(|end| end.is_ok()).count();
    assert_eq!(won, 1, "{ended:?}");
    for end in &ended {
        let Err((name, why)) = end else { continue };
        assert!(why.contains("strong write not committed"), "{why}");
        // The loser's rows are its own; what comes waits beside them, and says what to do.
        let conn = nodes.open(name, "org");
        nodes.eventually("it says what is in the way", |_| {
            let sql = "SELECT reason FROM nuda_waiting WHERE reason LIKE 'note exists here%'";
            text(&conn, sql).ok()
        });
        conn.execute_batch("ALTER TABLE note RENAME TO note_of_mine")
            .unwrap();
        nodes.eventually("the other's comes", |_| {
            let sql = "INSERT INTO note SELECT * FROM note_of_mine";
            conn.execute(sql, []).ok()
        });
    }
    everywhere(&nodes, "SELECT * FROM note");
    nodes.verify("a", "org");
    for name in NAMES {
        let conn = nodes.open(name, "org");
        let ids = "SELECT group_concat(id) FROM (SELECT id FROM note ORDER BY id)";
        assert_eq!(text(&conn, ids).as_deref(), Ok("b,c"), "on {name}");
    }
}

#[test]
fn a_definition_meets_transactions_that_are_open() {
    let nodes = ordered();
    let rest = followers(&nodes);
    let (conn, other) = (nodes.open(rest[0], "org"), nodes.open(rest[1], "org"));
    conn.execute_batch("INSERT INTO page VALUES ('x', 'old', 0), ('y', 'old', 0)")
        .unwrap();
    nodes.verify("a", "org");
    // A strong one saw the older table: it fails, whatever it wrote.
    set_level(&nodes, &conn, "write", "strong");
    patient(&conn);
    conn.execute_batch("BEGIN IMMEDIATE; UPDATE page SET title = 'strong' WHERE id = 'x'")
        .unwrap();
    alter(
        &nodes,
        &other,
        "ALTER TABLE page RENAME COLUMN title TO heading",
    );
    // Nobody may lead at this very moment.
    let ended = outcome(&nodes, &conn, conn.execute_batch("COMMIT"));
    assert_ne!(ended, Outcome::Committed);
    nodes.eventually("it works under the new name", |_| {
        let sql = "UPDATE page SET heading = 'strong' WHERE id = 'x'";
        conn.execute(sql, []).ok()
    });
    // The others are ordered after nothing: what they wrote arrives by column.
    let mut hits = 0;
    for (level, sql, change) in [
        (
            "eventual",
            "UPDATE page SET heading = 'eventual', hits = hits + 1 WHERE id = 'y'",
            "ALTER TABLE page RENAME COLUMN heading TO title",
        ),
        (
            "quorum",
            "UPDATE page SET title = 'quorum', hits = hits + 1 WHERE id = 'y'",
            "ALTER TABLE page DROP COLUMN title",
        ),
    ] {
        set_level(&nodes, &conn, "write", level);
        conn.execute_batch(&format!("BEGIN IMMEDIATE; {sql}"))
            .unwrap();
        alter(&nodes, &other, change);
        match outcome(&nodes, &conn, conn.execute_batch("COMMIT")) {
            Outcome::Committed => hits += 1,
            Outcome::NotCommitted => assert_eq!(level, "quorum", "an eventual one needs nobody"),
            Outcome::Beaten => panic!("it is ordered after nothing"),
        }
        nodes.verify("a", "org");
    }
    for name in NAMES {
        let conn = nodes.open(name, "org");
        let found = "SELECT group_concat(id || hits) FROM (SELECT * FROM page ORDER BY id)";
        let expected = format!("x0,y{hits}");
        assert_eq!(text(&conn, found), Ok(expected), "on {name}");
    }
}

#[test]
fn a_unique_index_meets_rows_that_were_written_meanwhile() {
    let nodes = ordered();
    let away = followers(&nodes)[1];
    let (here, there) = (
        nodes.open(followers(&nodes)[0], "org"),
        nodes.open(away, "org"),
    );
    here.execute_batch("CREATE TABLE person(id TEXT PRIMARY KEY, mail TEXT UNIQUE, nick TEXT)")
        .unwrap();
    define(
        &nodes,
        &here,
        "SELECT nuda_track('person', 'eventual', 'unique=keep_first')",
    );
    everywhere(&nodes, "SELECT * FROM person");
    here.execute_batch("INSERT INTO person VALUES ('1', 'm1', 'n1'), ('2', 'm2', 'n2')")
        .unwrap();
    nodes.verify("a", "org");
    nodes.freeze(away, "org");
    there
        .execute_batch(
            "INSERT INTO person VALUES ('3', 'm3', 'n1'), ('4', 'm4', 'n4'), ('5', 'm5', 'n4');",
        )
        .unwrap();
    alter(
        &nodes,
        &here,
        "CREATE UNIQUE INDEX person_nick ON person(nick)",
    );
    alter(
        &nodes,
        &here,
        "ALTER TABLE person ADD COLUMN born INT NOT NULL DEFAULT 1900",
    );
    nodes.signal(away, "-CONT");
    let shown = "SELECT group_concat(id) FROM (SELECT id FROM person ORDER BY id)";
    let all_show = |ids: &str| {
        for name in NAMES {
            let conn = nodes.open(name, "org");
            nodes.eventually(&format!("{name} shows {ids}"), |_| {
                (text(&conn, shown).as_deref() == Ok(ids)).then_some(())
            });
        }
        nodes.verify("a", "org");
    };
    all_show("1,2,4");
    alter(
        &nodes,
        &here,
        "ALTER TABLE person RENAME COLUMN nick TO alias",
    );
    here.execute_batch("DELETE FROM person WHERE id = '1'")
        .unwrap();
    all_show("2,3,4");
    alter(&nodes, &here, "DROP INDEX person_nick");
    alter(&nodes, &here, "ALTER TABLE person DROP COLUMN alias");
    all_show("2,3,4,5");
    let born = "SELECT count(*) FROM person WHERE born = 1900";
    assert_eq!(number(&there, born), 4);
}

/// What is told to, and by, whoever tracks tables.
#[derive(Default)]
struct Tracking {
    ends: AtomicBool,
    tracked: AtomicUsize,
}

/// Tracks table after table at the founder until it is told to end; answers those that it may
/// count on.
fn track_on(nodes: &Nodes, tracking: &Arc<Tracking>) -> std::thread::JoinHandle<Vec<String>> {
    let (path, tracking) = (nodes.file("a", "org"), Arc::clone(tracking));
    std::thread::spawn(move || {
        let conn = open(&path);
        conn.execute_batch("SELECT nuda_timeout(500)").unwrap();
        let mut tracked = Vec::new();
        for n in 0.. {
            if tracking.ends.load(Ordering::Relaxed) {
                break;
            }
            let name = format!("t{n}");
            conn.execute_batch(&format!(
                "CREATE TABLE {name}(id TEXT PRIMARY KEY); INSERT INTO {name} VALUES ('{n}')"
            ))
            .unwrap();
            if text(&conn, &format!("SELECT nuda_track('{name}')")).is_ok() {
                tracked.push(name);
                tracking.tracked.fetch_add(1, Ordering::Relaxed);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        tracked
    })
}

#[test]
fn the_founder_dies_around_the_hand_over() {
    for pause_ms in [20, 150, 400, 700, 1_000] {
        let mut nodes = Nodes::start(&NAMES);
        nodes.nuda_ok("a", &["create", "org", "--on", &NAMES.join(",")]);
        let told = Arc::new(Tracking::default());
        let tracking = track_on(&nodes, &told);
        std::thread::sleep(Duration::from_millis(pause_ms));
        nodes.kill("a");
        std::thread::sleep(Duration::from_millis(100));
        nodes.run("a");
        nodes.eventually("definitions go through the log everywhere", |nodes| {
            let ordered = NAMES.iter().all(|name| {
                let path = nodes.file(name, "org");
                path.exists() && {
                    let conn = open(&path);
                    let sql = "SELECT ordered FROM nuda_state";
                    conn.query_row(sql, [], |row| row.get(0)) == Ok(1)
                }
            });
            ordered.then_some(())
        });
        let b = nodes.open("b", "org");
        b.execute_batch("CREATE TABLE of_b(id TEXT PRIMARY KEY); INSERT INTO of_b VALUES ('b')")
            .unwrap();
        nodes.eventually("b tracks one among them", |_| {
            text(&b, "SELECT nuda_track('of_b')").ok()
        });
        nodes.eventually("a tracks some, too", |_| {
            (told.tracked.load(Ordering::Relaxed) > 0).then_some(())
        });
        told.ends.store(true, Ordering::Relaxed);
        let mut tracked = tracking.join().unwrap();
        tracked.push("of_b".to_owned());
        nodes.verify("a", "org");
        for name in NAMES {
            let conn = nodes.open(name, "org");
            for table in &tracked {
                let sql = format!("SELECT count(*) FROM nuda_tables WHERE name = '{table}'");
                assert_eq!(number(&conn, &sql), 1, "{table} on {name}, {pause_ms} ms");
                let sql = format!("SELECT count(*) FROM {table}");
                assert_eq!(number(&conn, &sql), 1, "{table} on {name}, {pause_ms} ms");
            }
        }
    }
}
