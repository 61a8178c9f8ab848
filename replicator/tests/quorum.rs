//! Quorum writes across real daemons: what is acknowledged is in a majority's log, survives its
//! writer, and is seen by every strong read after it; concurrent ones are merged and none of them
//! fails for another.

// A test fails by panicking, in its helpers too.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::Value;

use support::definitions::make_tables;
use support::outcomes::{
    Outcome, commit, commit_sql, is_committed, is_refused, outcome, patient, read, unknown_id,
};
use support::{Nodes, http};

const NAMES: [&str; 3] = ["a", "b", "c"];

/// Three nodes with an eventual table of one row.
fn page() -> Nodes {
    let nodes = Nodes::with_page(&NAMES);
    let conn = quorum(&nodes, "a");
    commit_sql(
        &nodes,
        &conn,
        "INSERT INTO page VALUES ('home', 'first', 0)",
    );
    // Nobody shall update a row that is not there yet.
    nodes.verify("a", "org");
    nodes
}

fn level(conn: &Connection, which: &str, to: &str) -> rusqlite::Result<String> {
    let sql = format!("PRAGMA nuda_{which}_consistency = {to}");
    conn.query_row(&sql, [], |row| row.get(0))
}

/// A connection whose writes are quorum writes.
fn quorum(nodes: &Nodes, name: &str) -> Connection {
    let conn = nodes.open(name, "org");
    let set = nodes.eventually("the partition has a log", |_| {
        level(&conn, "write", "quorum").ok()
    });
    assert_eq!(set, "quorum");
    patient(&conn);
    conn
}

/// A connection whose reads are strong.
fn reader(nodes: &Nodes, name: &str) -> Connection {
    let conn = nodes.open(name, "org");
    nodes.eventually("strong reads", |_| level(&conn, "read", "strong").ok());
    // Here it matters what a read sees, and not how soon on a busy machine.
    patient(&conn);
    conn
}

fn hit(conn: &Connection) -> rusqlite::Result<()> {
    let rows = conn.execute("UPDATE page SET hits = hits + 1 WHERE id = 'home'", [])?;
    assert_eq!(rows, 1);
    Ok(())
}

fn hits(conn: &Connection) -> rusqlite::Result<i64> {
    let sql = "SELECT hits FROM page WHERE id = 'home'";
    conn.query_row(sql, [], |row| row.get(0))
}

fn last_commit(conn: &Connection) -> Value {
    let text: String = conn
        .query_row("SELECT nuda_last_commit()", [], |row| row.get(0))
        .unwrap();
    serde_json::from_str(&text).unwrap()
}

/// What a strong read on a node finds.
fn hits_at(nodes: &Nodes, name: &str) -> i64 {
    let conn = reader(nodes, name);
    read(nodes, || hits(&conn))
}

#[test]
fn a_quorum_write_is_seen_by_the_next_strong_read_anywhere() {
    let nodes = page();
    let writers = NAMES.map(|name| quorum(&nodes, name));
    let readers = NAMES.map(|name| reader(&nodes, name));
    for round in 0..30 {
        commit(&nodes, &writers[round % 3], hit);
        for reader in &readers {
            let seen = read(&nodes, || hits(reader));
            assert_eq!(seen, 1 + i64::try_from(round).unwrap());
        }
    }
    let last = last_commit(&writers[2]);
    assert_eq!(
        (&last["level"], &last["acks"], &last["of"]),
        (&"quorum".into(), &2.into(), &3.into())
    );
    let id = last["id"].as_str().unwrap();
    assert!(is_committed(&nodes, &writers[0], id));
    // What an eventual write saw of it is there before it is.
    let eventual = nodes.open("b", "org");
    eventual
        .execute("UPDATE page SET title = 'second'", [])
        .unwrap();
    commit(&nodes, &writers[1], hit);
    let sql = "SELECT title FROM page";
    let title: String = read(&nodes, || readers[2].query_row(sql, [], |row| row.get(0)));
    assert_eq!(title, "second", "an effect without its cause");
    nodes.verify("a", "org");
}

#[test]
fn concurrent_quorum_writes_on_one_row_all_count_and_none_is_rejected() {
    let nodes = page();
    let began = Instant::now();
    let made: i64 = std::thread::scope(|scope| {
        let workers = NAMES.map(|name| {
            let nodes = &nodes;
            scope.spawn(move || {
                let conn = quorum(nodes, name);
                let mut made = 0;
                // At least so long, and until each has done some.
                let goes_on =
                    |made| began.elapsed() < Duration::from_secs(if made > 2 { 4 } else { 60 });
                while goes_on(made) {
                    match hit(&conn) {
                        // The daemon applies what others wrote to the same file.
                        Err(e)
                            if e.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy)
                                && !e.to_string().contains("quorum") => {}
                        done => match outcome(nodes, &conn, done) {
                            Outcome::Committed => made += 1,
                            Outcome::NotCommitted => {}
                            Outcome::Beaten => panic!("one fails for another"),
                        },
                    }
                }
                made
            })
        });
        workers.into_iter().map(|w| w.join().unwrap()).sum()
    });
    println!(
        "{made} quorum commits of one row by three nodes in {:?}",
        began.elapsed()
    );
    assert!(made > 3);
    for name in NAMES {
        assert_eq!(hits_at(&nodes, name), made, "{name}");
    }
    nodes.verify("b", "org");
}

#[test]
fn an_acknowledged_quorum_write_outlives_its_node() {
    let mut nodes = page();
    let conn = quorum(&nodes, "c");
    commit(&nodes, &conn, hit);
    nodes.kill("c");
    // Its file is gone, too.
    drop(conn);
    let file = nodes.file("c", "org");
    std::fs::remove_file(&file).unwrap();
    for name in ["a", "b"] {
        assert_eq!(hits_at(&nodes, name), 1, "{name}");
    }
}

#[test]
fn without_a_majority_nothing_is_changed() {
    let mut nodes = page();
    let conn = quorum(&nodes, "a");
    conn.execute_batch("SELECT nuda_timeout(2000)").unwrap();
    nodes.kill("b");
    nodes.kill("c");
    let mut open = Vec::new();
    let refused = nodes.eventually("a definite refusal", |_| {
        let error = hit(&conn).unwrap_err();
        open.extend(unknown_id(&error));
        let text = error.to_string();
        // It may not have heard yet that both are gone.
        let definite = text.contains("quorum write not committed") && text.contains("1 of 3");
        definite.then_some(text)
    });
    assert!(refused.contains("1 of 3 members reachable"), "{refused}");
    assert!(refused.contains("nothing was changed"), "{refused}");
    assert_eq!(hits(&conn).unwrap(), 0);
    let eventual = nodes.open("a", "org");
    hit(&eventual).unwrap();
    nodes.run("b");
    // What was unknown is settled, and the lane of this file goes on.
    let mut made = 1;
    for id in open {
        made += i64::from(is_committed(&nodes, &conn, &id));
    }
    patient(&conn);
    nodes.eventually("b is back", |nodes| {
        (outcome(nodes, &conn, hit(&conn)) == Outcome::Committed).then_some(())
    });
    assert_eq!(hits_at(&nodes, "b"), made + 1);
    nodes.run("c");
    nodes.verify("a", "org");
}

#[test]
fn operators_see_what_came_of_commits() {
    let nodes = page();
    let conn = quorum(&nodes, "b");
    let commits = |level: &str, outcome: &str| {
        let counted = nodes.status("b")["commits"][level][outcome].clone();
        counted.as_u64().unwrap()
    };
    let unknown = || nodes.status("b")["partitions"][0]["log"]["unknown"].clone();
    let told = || (commits("quorum", "committed"), commits("quorum", "unknown"));
    // As it is where nobody is elected meanwhile.
    let counted = nodes.eventually("a commit that is told", |nodes| {
        let before = told();
        commit(nodes, &conn, hit);
        let nothing_open = unknown() == Value::Array(vec![]);
        (nothing_open && told() == (before.0 + 1, before.1)).then(told)
    });
    // Nobody's disk takes it: the proposal has left, and no answer comes.
    NAMES.iter().for_each(|name| {
        nodes.nuda_ok(name, &["fault", "--stall-log"]);
    });
    conn.query_row("SELECT nuda_timeout(300)", [], |_| Ok(()))
        .unwrap();
    let id = nodes.eventually("an unknown outcome", |_| {
        let error = hit(&conn).unwrap_err();
        assert!(
            unknown_id(&error).is_some() || is_refused(&error),
            "{error}"
        );
        unknown_id(&error)
    });
    // An application that has waited in vain may know it a moment earlier than its node.
    nodes.eventually("it is counted", |_| {
        (told() == (counted.0, counted.1 + 1)).then_some(())
    });
    assert_eq!(unknown()[0]["id"], id.as_str());
    let people = nodes.nuda_ok("b", &["status", "org"]);
    assert!(
        people.contains(&format!("nuda_txn_status('{id}')")),
        "{people}"
    );
    NAMES.iter().for_each(|name| {
        nodes.nuda_ok(name, &["fault"]);
    });
    is_committed(&nodes, &conn, &id);
    nodes.eventually("nothing unknown", |_| {
        (unknown() == Value::Array(vec![])).then_some(())
    });
    let eventual = nodes.open("b", "org");
    let before = commits("eventual", "committed");
    eventual.execute("UPDATE page SET title = 'x'", []).unwrap();
    nodes.eventually("the eventual commit", |_| {
        (commits("eventual", "committed") == before + 1).then_some(())
    });
    let (_, metrics) = http(&nodes.address("b"), "GET /metrics HTTP/1.1", b"");
    let line = format!(
        "nuda_commits_total{{level=\"quorum\",outcome=\"unknown\"}} {}\n",
        counted.1 + 1
    );
    assert!(metrics.contains(&line), "{metrics}");
}

#[test]
fn without_a_daemon_the_level_is_refused() {
    let mut nodes = page();
    nodes.kill("a");
    let conn = nodes.open("a", "org");
    let refused = level(&conn, "write", "quorum").unwrap_err().to_string();
    assert!(refused.contains("quorum cannot be kept now"), "{refused}");
    let shown: String = conn
        .query_row("SELECT nuda_write_consistency()", [], |row| row.get(0))
        .unwrap();
    assert_eq!(shown, "eventual");
}

/// A write that is accepted and then refused by the commit hook. One that does not get that far
/// (a lock, no leader) has changed nothing and is made again. Answers how many were committed on the way, of
/// which nobody knew at first.
fn is_vetoed(nodes: &Nodes, conn: &Connection) -> i64 {
    let mut besides = 0;
    nodes.eventually("a veto", |_| {
        let error = hit(conn).unwrap_err();
        if let Some(id) = unknown_id(&error) {
            besides += i64::from(is_committed(nodes, conn, &id));
            return None;
        }
        let note = "SELECT coalesce(nuda_last_commit() ->> 'note', '')";
        let note: String = conn.query_row(note, [], |row| row.get(0)).unwrap();
        (note == "committed, will be applied").then_some(())
    });
    besides
}

#[test]
fn what_was_vetoed_after_it_was_accepted_is_applied_and_the_lane_goes_on() {
    let nodes = page();
    let mut conn = quorum(&nodes, "b");
    conn.commit_hook(Some(|| true)).unwrap();
    let besides = is_vetoed(&nodes, &conn);
    conn.commit_hook(None::<fn() -> bool>).unwrap();
    // The next one begins after it.
    nodes.eventually("the next write", |nodes| {
        (outcome(nodes, &conn, hit(&conn)) == Outcome::Committed).then_some(())
    });
    for name in NAMES {
        assert_eq!(hits_at(&nodes, name), 2 + besides, "{name}");
    }
    nodes.verify("b", "org");
}

#[test]
fn another_connection_learns_that_the_lane_has_gone_on() {
    let nodes = page();
    let (mut vetoed, other) = (quorum(&nodes, "b"), quorum(&nodes, "b"));
    // The daemon cannot apply while this holds the file's write lock.
    vetoed.commit_hook(Some(|| true)).unwrap();
    let besides = is_vetoed(&nodes, &vetoed);
    nodes.eventually("the other goes on", |nodes| {
        let done = hit(&other);
        let text = done.as_ref().err().map(ToString::to_string);
        match outcome(nodes, &other, done) {
            Outcome::Committed => Some(()),
            Outcome::NotCommitted => None,
            Outcome::Beaten => {
                let text = text.unwrap_or_default();
                assert!(text.contains("must be applied here first"), "{text}");
                None
            }
        }
    });
    assert_eq!(hits_at(&nodes, "a"), 2 + besides);
}

#[test]
fn the_leader_killed_in_mid_work_loses_nothing_acknowledged() {
    let mut nodes = page();
    let leader = nodes.eventually("a leader", |nodes| {
        let status = nodes.status("a");
        let leader = status["partitions"][0]["log"]["leader"].as_str()?;
        Some(leader.to_owned())
    });
    let other = NAMES.into_iter().find(|n| *n != leader).unwrap();
    let conn = quorum(&nodes, other);
    for _ in 0..5 {
        commit(&nodes, &conn, hit);
    }
    conn.execute_batch("SELECT nuda_timeout(2000)").unwrap();
    nodes.kill(&leader);
    let (mut made, mut open) = (5, Vec::new());
    nodes.eventually("a new leader", |_| match hit(&conn) {
        Ok(()) => {
            made += 1;
            Some(())
        }
        Err(e) => {
            open.extend(unknown_id(&e));
            None
        }
    });
    for id in open {
        made += i64::from(is_committed(&nodes, &conn, &id));
    }
    nodes.run(&leader);
    for name in NAMES {
        assert_eq!(hits_at(&nodes, name), made, "{name}");
    }
    nodes.verify(&leader, "org");
}

#[test]
fn quorum_and_strong_transactions_see_each_other() {
    let nodes = page();
    make_tables(
        &nodes,
        &nodes.open("a", "org"),
        "CREATE TABLE account(id TEXT PRIMARY KEY, balance INTEGER);
         SELECT nuda_track('account', 'strong');
         INSERT INTO account VALUES ('x', 100);",
    );
    let (b, c) = (quorum(&nodes, "b"), quorum(&nodes, "c"));
    for conn in [&b, &c] {
        nodes.eventually("strong reads", |_| level(conn, "read", "strong").ok());
    }
    for round in 1..=10 {
        // A strong table makes it a strong one, whatever the level.
        let writer = if round % 2 == 0 { &b } else { &c };
        nodes.eventually("a strong write", |nodes| {
            let done = writer.execute_batch("UPDATE account SET balance = balance - 1");
            (outcome(nodes, writer, done) == Outcome::Committed).then_some(())
        });
        assert_eq!(last_commit(writer)["level"], "strong");
        commit(&nodes, writer, hit);
        assert_eq!(last_commit(writer)["level"], "quorum");
        for conn in [&b, &c] {
            let sql = "SELECT balance, hits FROM account, page";
            let both: (i64, i64) = read(&nodes, || {
                conn.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))
            });
            assert_eq!(both, (100 - round, round));
        }
    }
    nodes.verify("a", "org");
}
