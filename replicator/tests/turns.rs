//! Fair turns across real daemons: whoever loses against the others' transactions is next.

// A test fails by panicking, in its helpers too.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use support::Nodes;
use support::definitions::make_tables;
use support::outcomes::unknown_id;
use support::outcomes::{Outcome, commit_sql, is_committed, is_refused, outcome, patient, read};

const NAMES: [&str; 3] = ["a", "b", "c"];

/// Three nodes with one number in a strong table.
fn counter() -> Nodes {
    let nodes = Nodes::start(&NAMES);
    nodes.nuda_ok("a", &["create", "org", "--on", "a,b,c"]);
    let founder = nodes.open("a", "org");
    make_tables(
        &nodes,
        &founder,
        "CREATE TABLE counter(id INTEGER PRIMARY KEY, n INT);
         SELECT nuda_track('counter', 'strong');",
    );
    for name in NAMES {
        let conn = nodes.open(name, "org");
        nodes.eventually("the table is everywhere and ordered", |_| {
            conn.prepare("SELECT * FROM counter").ok()?;
            let level = "SELECT nuda_read_consistency('strong')";
            conn.query_row(level, [], |_| Ok(())).ok()
        });
    }
    let insert = "INSERT INTO counter VALUES (1, 0), (2, 0)";
    commit_sql(&nodes, &founder, insert);
    nodes
}

fn leader(nodes: &Nodes) -> String {
    nodes.eventually("a leader", |nodes| {
        let status = nodes.status("a");
        let log = &status["partitions"][0]["log"];
        log["leader"].as_str().map(str::to_owned)
    })
}

/// Whether to stop, and what everybody has done so far.
#[derive(Default)]
struct Phase {
    stop: AtomicBool,
    done: AtomicU64,
}

/// Commits as often as it can; answers how often that was. The transaction takes as long as an
/// application's with some work in it.
fn contend(nodes: &Nodes, name: &str, work: Duration, phase: &Phase) -> u64 {
    let conn = nodes.open(name, "org");
    patient(&conn);
    let mut won = 0;
    while !phase.stop.load(Ordering::Relaxed) {
        let begun = conn
            .execute_batch("BEGIN IMMEDIATE; UPDATE counter SET n = n + 1 WHERE id = 1")
            .map(|()| std::thread::sleep(work));
        let done = begun.and_then(|()| conn.execute_batch("COMMIT"));
        if outcome(nodes, &conn, done) == Outcome::Committed {
            won += 1;
            phase.done.fetch_add(1, Ordering::Relaxed);
        }
    }
    won
}

/// Calls as often as it can; answers how often that was.
fn call(nodes: &Nodes, name: &str, phase: &Phase) -> u64 {
    let conn = nodes.open(name, "org");
    patient(&conn);
    let mut calls = 0;
    while !phase.stop.load(Ordering::Relaxed) {
        let sql = "SELECT nuda_exec('UPDATE counter SET n = n + 1 WHERE id = 2')";
        let done = match conn.query_row(sql, [], |_| Ok(())) {
            Ok(()) => true,
            Err(e) => match unknown_id(&e) {
                Some(id) => is_committed(nodes, &conn, &id),
                None if is_refused(&e) => false,
                None => panic!("{e}\n{}", nodes.logs()),
            },
        };
        calls += u64::from(done);
        phase.done.fetch_add(u64::from(done), Ordering::Relaxed);
    }
    calls
}

type Busy<'a> = Box<dyn Fn(&Phase) -> u64 + Send + Sync + 'a>;

/// Runs all at once for two seconds, and until they have done enough together for shares to be
/// told, however slow the machine is; answers how often each was done.
fn together(busy: &[&Busy<'_>]) -> Vec<u64> {
    let (phase, enough) = (Phase::default(), 40);
    std::thread::scope(|scope| {
        let threads: Vec<_> = busy.iter().map(|run| scope.spawn(|| run(&phase))).collect();
        let began = Instant::now();
        std::thread::sleep(Duration::from_secs(2));
        while phase.done.load(Ordering::Relaxed) < enough && began.elapsed().as_secs() < 60 {
            std::thread::sleep(Duration::from_millis(20));
        }
        phase.stop.store(true, Ordering::Relaxed);
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    })
}

/// Each has, beside the others, at least a quarter of its share: of all that was done, or, if it
/// could not do so much, of what it can do alone.
fn shares(busy: &[Busy<'_>]) -> Vec<u64> {
    let alone: Vec<u64> = busy.iter().map(|run| together(&[run])[0]).collect();
    let all: Vec<&Busy<'_>> = busy.iter().collect();
    let done = together(&all);
    println!("alone {alone:?}, together {done:?}");
    let count = u64::try_from(busy.len()).unwrap();
    let most: u64 = done.iter().sum();
    for (alone, done) in alone.iter().zip(&done) {
        let share = most.min(*alone) / count;
        assert!(done * 4 >= share, "less than a quarter of a share");
    }
    alone.iter().zip(&done).map(|(a, b)| a + b).collect()
}

/// What the file of `name` has counted.
fn counted(nodes: &Nodes, name: &str) -> (u64, u64) {
    let conn = nodes.open(name, "org");
    patient(&conn);
    let level = "SELECT nuda_read_consistency('strong')";
    nodes.eventually("strong reads", |_| {
        conn.query_row(level, [], |_| Ok(())).ok()
    });
    let sql = "SELECT max(n) FILTER (WHERE id = 1), max(n) FILTER (WHERE id = 2) FROM counter";
    read(nodes, || {
        conn.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))
    })
}

#[test]
fn three_nodes_at_once_get_their_shares_the_slow_ones_too() {
    let nodes = counter();
    let leader = leader(&nodes);
    let contenders = NAMES.map(|name| {
        // The leader's neighbour is always first.
        let work = Duration::from_millis(if name == leader { 0 } else { 8 });
        let nodes = &nodes;
        let run: Busy<'_> = Box::new(move |phase| contend(nodes, name, work, phase));
        run
    });
    let done = shares(&contenders);
    assert_eq!(counted(&nodes, "c"), (done.iter().sum(), 0));
    nodes.verify("a", "org");
}

#[test]
fn a_stream_of_calls_starves_no_transaction_and_is_not_starved() {
    let nodes = counter();
    let leader = leader(&nodes);
    let far = NAMES.into_iter().find(|name| *name != leader).unwrap();
    let (at, leader) = (&nodes, &leader);
    let calls: Busy<'_> = Box::new(move |phase| {
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| call(at, leader, phase)))
                .collect();
            clients.into_iter().map(|c| c.join().unwrap()).sum()
        })
    });
    let work = Duration::from_millis(5);
    let transactions: Busy<'_> = Box::new(move |phase| contend(at, far, work, phase));
    let done = shares(&[transactions, calls]);
    assert_eq!(counted(&nodes, far), (done[0], done[1]));
    nodes.verify(leader, "org");
}
