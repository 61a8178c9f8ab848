//! Voters that change while strong transactions go on: members that join, nodes that are gone for
//! ever, a leader that dies in the middle of a move. What was acknowledged is there afterwards.

// A test fails by panicking, in its helpers too.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rusqlite::Connection;
use serde_json::Value;

use support::Nodes;
use support::definitions::make_tables;
use support::outcomes::{Outcome, commit, outcome, read};

/// A partition with a strong table of two accounts, on these nodes.
fn bank(nodes: &Nodes, names: &[&str]) {
    nodes.nuda_ok("a", &["create", "org", "--on", &names.join(",")]);
    make_tables(
        nodes,
        &nodes.open("a", "org"),
        "CREATE TABLE account(id TEXT PRIMARY KEY, balance INTEGER);
         SELECT nuda_track('account', 'strong');
         INSERT INTO account VALUES ('x', 100), ('y', 100);",
    );
}

fn level(conn: &Connection, which: &str, to: &str) -> rusqlite::Result<String> {
    let sql = format!("SELECT nuda_{which}_consistency(?)");
    conn.query_row(&sql, [to], |row| row.get(0))
}

/// A connection whose reads and writes are strong, as soon as that can be.
fn strong(nodes: &Nodes, name: &str) -> Connection {
    nodes.eventually(&format!("{name} is strong"), |_| {
        let conn = nodes.open(name, "org");
        conn.prepare("SELECT * FROM account").ok()?;
        level(&conn, "write", "strong").ok()?;
        level(&conn, "read", "strong").ok()?;
        Some(conn)
    })
}

fn transfer(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute_batch(
        "BEGIN IMMEDIATE;
         UPDATE account SET balance = balance - 1 WHERE id = 'x';
         UPDATE account SET balance = balance + 1 WHERE id = 'y';
         COMMIT;",
    )
}

fn balances(nodes: &Nodes, conn: &Connection) -> (i64, i64) {
    let sql = "SELECT (SELECT balance FROM account WHERE id = 'x'),
                      (SELECT balance FROM account WHERE id = 'y')";
    read(nodes, || {
        conn.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))
    })
}

/// What a node says about the partition's log.
fn log_of(nodes: &Nodes, name: &str) -> Option<Value> {
    let output = nodes.nuda(name, &["status", "org", "--json"]);
    let status: Value = serde_json::from_slice(&output.stdout).ok()?;
    let log = &status["partitions"][0]["log"];
    log.is_object().then(|| log.clone())
}

/// Waits until a node knows these voters, and votes or follows as it should.
fn settled(nodes: &Nodes, name: &str, voters: &[&str]) -> Value {
    nodes.eventually(&format!("{name} knows {voters:?}"), |_| {
        let log = log_of(nodes, name)?;
        let votes = log["votes"].as_bool()? == voters.contains(&name);
        let known = log["voters"] == serde_json::json!(voters) && log["leader"].is_string();
        (votes && known).then_some(log)
    })
}

/// Transfers until it is told to stop; how many were committed, those settled later included.
fn teller(nodes: &Nodes, name: &str, stop: &AtomicBool) -> i64 {
    let mut conn = strong(nodes, name);
    let mut committed = 0;
    while !stop.load(Ordering::Relaxed) {
        match outcome(nodes, &conn, transfer(&conn)) {
            Outcome::Committed => committed += 1,
            Outcome::Beaten => {}
            Outcome::NotCommitted => {
                std::thread::sleep(Duration::from_millis(20));
                conn = strong(nodes, name);
            }
        }
        // Room for the others.
        std::thread::sleep(Duration::from_millis(5));
    }
    committed
}

/// Runs `change` while tellers work on these nodes; what they committed.
fn under_tellers(nodes: &Nodes, names: &[&str], change: impl FnOnce()) -> i64 {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let tellers: Vec<_> = names
            .iter()
            .map(|name| scope.spawn(|| teller(nodes, name, &stop)))
            .collect();
        // Also if it fails: the tellers would go on for ever.
        let changed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(change));
        std::thread::sleep(Duration::from_millis(300));
        stop.store(true, Ordering::Relaxed);
        let committed = tellers.into_iter().map(|t| t.join().unwrap()).sum();
        if let Err(why) = changed {
            std::panic::resume_unwind(why);
        }
        committed
    })
}

/// Every node has what was acknowledged, and no more.
fn check(nodes: &Nodes, names: &[&str], committed: i64) {
    for name in names {
        let conn = strong(nodes, name);
        let found = balances(nodes, &conn);
        assert_eq!(found, (100 - committed, 100 + committed), "{name}");
    }
    nodes.verify(names[0], "org");
}

/// The groups that a node keeps.
fn groups(nodes: &Nodes, name: &str) -> u64 {
    let log = Connection::open(nodes.dir(name).join(".nuda/consensus.db")).unwrap();
    let sql = "SELECT count(*) FROM consensus_group";
    log.query_row(sql, [], |row| row.get(0)).unwrap()
}

#[test]
fn members_that_join_under_writers_vote() {
    let mut nodes = Nodes::start(&["a", "b", "c", "d", "e"]);
    bank(&nodes, &["a", "b", "c"]);
    settled(&nodes, "c", &["a", "b", "c"]);
    let committed = under_tellers(&nodes, &["a", "b", "c"], || {
        nodes.nuda_ok("a", &["create", "org", "--on", "a,b,c,d"]);
        settled(&nodes, "d", &["a", "b", "c", "d"]);
        nodes.nuda_ok("b", &["create", "org", "--on", "e"]);
        settled(&nodes, "e", &["a", "b", "c", "d", "e"]);
    });
    println!("{committed} strong commits while two members joined");
    assert!(committed > 0);
    let all = ["a", "b", "c", "d", "e"];
    check(&nodes, &all, committed);
    // The groups that it was in before have ended.
    for name in all {
        nodes.eventually("one group is left", |_| {
            (groups(&nodes, name) == 1).then_some(())
        });
    }
    // Those that joined count: with two of the first three gone there is a majority.
    nodes.kill("a");
    nodes.kill("b");
    let e = strong(&nodes, "e");
    commit(&nodes, &e, transfer);
    let moved = log_of(&nodes, "e").unwrap()["moves"].as_u64();
    assert!(moved >= Some(2), "{moved:?}");
    nodes.run("a");
    nodes.run("b");
    check(&nodes, &all, committed + 1);
}

#[test]
fn a_node_that_is_gone_for_ever_is_removed_and_the_rest_votes() {
    let mut nodes = Nodes::start(&["a", "b", "c"]);
    bank(&nodes, &["a", "b", "c"]);
    settled(&nodes, "b", &["a", "b", "c"]);
    let own = nodes.nuda("c", &["members", "org", "--remove", "c"]);
    let said = String::from_utf8_lossy(&own.stderr).into_owned();
    assert!(said.contains("cannot remove itself"), "{said}");
    nodes.kill("b");
    nodes.kill("c");
    // Alone it cannot decide who votes.
    let refused = nodes.nuda("a", &["members", "org", "--remove", "c"]);
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("1 of the 3 voters"), "{said}");
    assert!(said.contains("it takes a majority"), "{said}");
    nodes.run("b");
    let a = strong(&nodes, "a");
    let committed = under_tellers(&nodes, &["a", "b"], || {
        let said = nodes.nuda_ok(
            "a",
            &["members", "org", "--remove", "c", "--timeout-s", "60"],
        );
        assert!(said.contains("org is on a, b\nvoters: a, b\n"), "{said}");
        settled(&nodes, "b", &["a", "b"]);
    });
    check(&nodes, &["a", "b"], committed);
    // What comes back is no member any more, and says so.
    nodes.run("c");
    let c = nodes.open("c", "org");
    let refused = nodes.eventually("c is told", |_| {
        let error = level(&c, "write", "strong").err()?.to_string();
        error.contains("no member").then_some(error)
    });
    assert!(refused.contains("its members are a, b"), "{refused}");
    commit(&nodes, &a, transfer);
}

#[test]
fn the_leader_dies_between_the_seal_and_the_arrival() {
    // Others, if somebody else led at that moment.
    while !dies_in_between() {}
}

/// Answers whether `a` did, which is the only one that can.
fn dies_in_between() -> bool {
    let mut nodes = Nodes::start_with(&["a"], &["--fault-point", "sealed"]);
    nodes.flags.clear();
    for name in ["b", "c", "d"] {
        nodes.run(name);
    }
    bank(&nodes, &["a", "b", "c"]);
    let committed = under_tellers(&nodes, &["b", "c"], || {
        // It is done by whoever is asked, or by nobody if that one dies.
        nodes.nuda("b", &["create", "org", "--on", "a,b,c,d"]);
        for name in ["b", "c"] {
            settled(&nodes, name, &["a", "b", "c", "d"]);
        }
    });
    assert!(committed > 0);
    let died = !nodes.is_running("a");
    if died {
        nodes.died("a");
        nodes.run("a");
    }
    check(&nodes, &["a", "b", "c", "d"], committed);
    died
}

#[test]
fn a_sixth_member_follows_and_writes_like_the_others() {
    let names = ["a", "b", "c", "d", "e", "f"];
    let nodes = Nodes::start(&names);
    bank(&nodes, &names);
    let voters = ["a", "b", "c", "d", "e"];
    let log = settled(&nodes, "f", &voters);
    assert_eq!(log["followers"], serde_json::json!(["f"]));
    let f = strong(&nodes, "f");
    for _ in 0..5 {
        commit(&nodes, &f, transfer);
    }
    check(&nodes, &["a", "f"], 5);
}

/// Commits enough for two snapshots.
fn write(nodes: &Nodes, conn: &Connection) {
    for _ in 0..25 {
        commit(nodes, conn, transfer);
    }
}

#[test]
fn members_change_where_the_log_is_a_snapshot_already() {
    let mut nodes = Nodes::start_with(&["a", "b", "c", "d"], &["--snapshot-after", "10"]);
    bank(&nodes, &["a", "b", "c"]);
    settled(&nodes, "c", &["a", "b", "c"]);
    let a = strong(&nodes, "a");
    write(&nodes, &a);
    // A voter without a log is given a snapshot, which names who votes.
    nodes.kill("c");
    for suffix in ["", "-wal", "-shm"] {
        let file = nodes.dir("c").join(format!(".nuda/consensus.db{suffix}"));
        let _ = std::fs::remove_file(file);
    }
    nodes.run("c");
    settled(&nodes, "c", &["a", "b", "c"]);
    write(&nodes, &a);
    // All begin again from snapshots that were taken since.
    for name in ["a", "b", "c"] {
        nodes.kill(name);
    }
    for name in ["a", "b", "c"] {
        nodes.run(name);
    }
    nodes.kill("b");
    settled(&nodes, "c", &["a", "b", "c"]);
    let a = strong(&nodes, "a");
    write(&nodes, &a);
    nodes.run("b");
    nodes.nuda_ok("a", &["create", "org", "--on", "d"]);
    settled(&nodes, "d", &["a", "b", "c", "d"]);
    write(&nodes, &a);
    check(&nodes, &["a", "b", "c", "d"], 100);
}

/// A group that a partition has left knows where it went then, and no later move.
#[test]
fn a_node_that_lost_its_log_finds_a_partition_that_has_moved_on() {
    const ALL: [&str; 3] = ["a", "b", "c"];
    let mut nodes = Nodes::start(&ALL);
    // They stay in the group that the last one leaves. Which of them is looked for first is chance.
    for other in ["p", "q", "r", "s", "t"] {
        nodes.nuda_ok("a", &["create", other, "--on", "a,b,c"]);
    }
    bank(&nodes, &ALL);
    let log = settled(&nodes, "a", &ALL);
    nodes.eventually("its home leaves", |nodes| {
        let removed = nodes.nuda("b", &["members", "org", "--remove", "a"]);
        removed.status.success().then_some(())
    });
    let left = settled(&nodes, "b", &["b", "c"])["group"].clone();
    nodes.nuda_ok("b", &["create", "org", "--on", "a,b,c"]);
    assert_ne!(settled(&nodes, "a", &ALL)["group"], log["group"]);
    nodes.eventually("the group of the two has ended", |nodes| {
        let ended = format!("no partition any more group={}", left.as_str()?);
        let logs = [nodes.logs_of("b"), nodes.logs_of("c")];
        logs.iter().all(|log| log.contains(&ended)).then_some(())
    });
    // The one was not in the group that the partition went to first; the other one was.
    for (lost, other) in [("a", "b"), ("b", "c")] {
        nodes.seed = Some(nodes.address(other));
        // Others lead, and take it in at once.
        nodes.kill(lost);
        nodes.run(lost);
        for name in ALL {
            settled(&nodes, name, &ALL);
        }
        nodes.kill(lost);
        std::fs::remove_dir_all(nodes.dir(lost)).unwrap();
        nodes.run(lost);
        for name in ALL {
            settled(&nodes, name, &ALL);
        }
        let conn = strong(&nodes, lost);
        commit(&nodes, &conn, transfer);
    }
    // The two form a group once more.
    nodes.nuda_ok("b", &["members", "org", "--remove", "a"]);
    assert_ne!(settled(&nodes, "b", &["b", "c"])["group"], left);
    assert_eq!(balances(&nodes, &strong(&nodes, "c")), (98, 102));
}

/// Its new log is known already, and nobody who leads has given it the vote of the old one: one who was
/// about to may have died.
#[test]
fn a_node_that_lost_its_log_asks_until_it_votes() {
    const ALL: [&str; 3] = ["a", "b", "c"];
    let mut nodes = Nodes::start(&ALL);
    bank(&nodes, &ALL);
    let leader = settled(&nodes, "a", &ALL)["leader"].clone();
    let leader = leader.as_str().unwrap();
    let others: Vec<&str> = ALL.into_iter().filter(|name| *name != leader).collect();
    let [stays, lost] = *others else {
        panic!("{others:?}")
    };
    nodes.seed = Some(nodes.address(leader));
    nodes.kill(lost);
    for file in [
        "consensus.db",
        "consensus.db-wal",
        "consensus.db-shm",
        "consensus.db.ahead",
    ] {
        let _ = std::fs::remove_file(nodes.dir(lost).join(".nuda").join(file));
    }
    // What the leader begins cannot be finished,
    nodes.nuda_ok(stays, &["fault", "--stall-log"]);
    nodes.run(lost);
    nodes.eventually("all were asked, and the leader has tried", |nodes| {
        let log = nodes.logs_of(lost);
        log.rsplit("a new consensus log")
            .next()?
            .contains("has put this node's new log in the place")
            .then_some(())
    });
    // and is not asked for again, until it has been given up.
    nodes.nuda_ok(lost, &["fault", "--mute", &[leader, stays].join(",")]);
    std::thread::sleep(Duration::from_secs(4));
    nodes.nuda_ok(stays, &["fault"]);
    nodes.eventually("it is known, and does not vote", |nodes| {
        let log = log_of(nodes, lost)?;
        (log["votes"] == false && log["leader"] == leader).then_some(())
    });
    nodes.nuda_ok(lost, &["fault"]);
    for name in ALL {
        settled(&nodes, name, &ALL);
    }
}

/// Of two members one is removed, and begins anew. It is in no group before its file is there, and what it
/// writes again is fenced off by the other one.
#[test]
fn of_two_members_one_begins_anew() {
    const BOTH: [&str; 2] = ["a", "b"];
    let nodes = Nodes::start(&BOTH);
    bank(&nodes, &BOTH);
    settled(&nodes, "a", &BOTH);
    nodes.eventually("b is removed", |nodes| {
        let removed = nodes.nuda("a", &["members", "org", "--remove", "b"]);
        removed.status.success().then_some(())
    });
    settled(&nodes, "a", &["a"]);
    let conn = strong(&nodes, "a");
    commit(&nodes, &conn, transfer);
    nodes.nuda_ok("a", &["create", "org", "--on", "a,b"]);
    for name in BOTH {
        settled(&nodes, name, &BOTH);
    }
    assert_eq!(balances(&nodes, &strong(&nodes, "b")), (99, 101));
}
