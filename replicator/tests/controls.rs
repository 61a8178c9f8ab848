//! Negative controls: each scenario holds as things are, and must be seen to fail in daemons that
//! break one rule of the ordered log (`NUDA_BROKEN`, in builds for tests only).
//!
//! A scenario judges what applications were told and nothing else. The control of the fsyncs is
//! among the histories, where disks lose their power. `docs/testing.md` lists all of them.

// A test fails by panicking, in its helpers too.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Barrier, Mutex};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use support::Nodes;
use support::definitions::make_tables;
use support::outcomes::{commit, is_beaten, is_committed, is_refused, set_level, unknown_id};

const NAMES: [&str; 3] = ["a", "b", "c"];

/// What applications saw that must never be seen.
type Verdict = Result<(), String>;

/// How often a rule may be broken without harm, by chance: the machine was slow, or somebody else was elected.
const TRIES: usize = 3;

/// The scenario holds, and does not hold without the rule.
fn control(rule: &str, scenario: fn(&mut Nodes) -> Verdict) {
    control_of(rule, &[], scenario);
}

/// The same where daemons have further flags.
fn control_of(rule: &str, flags: &[&str], scenario: fn(&mut Nodes) -> Verdict) {
    scenario(&mut nodes("", flags))
        .unwrap_or_else(|why| panic!("nothing was broken, and yet: {why}"));
    if cfg!(not(debug_assertions)) {
        support::skipped("negative controls: a release build keeps every rule");
        return;
    }
    for left in (0..TRIES).rev() {
        let mut broken = nodes(rule, flags);
        match scenario(&mut broken) {
            Err(why) => return println!("without {rule}: {why}"),
            Ok(()) => assert!(left > 0, "nobody noticed it\n{}", broken.logs()),
        }
    }
}

/// Three nodes with a strong and an eventual table, led by `a`: others, if somebody else was elected.
fn nodes(rule: &str, flags: &[&str]) -> Nodes {
    loop {
        let nodes = shop(rule, flags);
        let leader = nodes.eventually("a leader", |nodes| {
            let leader = |name| {
                let leader = &nodes.status(name)["partitions"][0]["log"]["leader"];
                leader.as_str().map(str::to_owned)
            };
            let [a, b, c] = NAMES.map(leader);
            (a == b && b == c).then_some(a)?
        });
        if leader == "a" {
            return nodes;
        }
    }
}

fn shop(rule: &str, flags: &[&str]) -> Nodes {
    let mut nodes = Nodes::start(&[]);
    nodes.envs.push(("NUDA_BROKEN".to_owned(), rule.to_owned()));
    nodes
        .flags
        .extend(["--collect-after-ms", "200"].map(str::to_owned));
    nodes.flags.extend(flags.iter().map(ToString::to_string));
    NAMES.iter().for_each(|name| nodes.run(name));
    nodes.nuda_ok("a", &["create", "org", "--on", "a,b,c"]);
    make_tables(
        &nodes,
        &nodes.open("a", "org"),
        "CREATE TABLE account(id TEXT PRIMARY KEY, balance INTEGER);
         SELECT nuda_track('account', 'strong');
         CREATE TABLE note(id TEXT PRIMARY KEY);
         SELECT nuda_track('note');
         CREATE TABLE tally(id TEXT PRIMARY KEY, n COUNTER);
         SELECT nuda_track('tally');
         INSERT INTO tally VALUES ('x', 0);
         INSERT INTO account VALUES ('x', 0);",
    );
    for name in NAMES {
        let conn = nodes.open(name, "org");
        nodes.eventually("the tables are everywhere and ordered", |_| {
            set(&conn, "SELECT id FROM tally").ok()?;
            set(&conn, "SELECT nuda_read_consistency('strong')").ok()?;
            (balance(&conn).ok()? == 0).then_some(())
        });
    }
    nodes
}

fn set(conn: &Connection, sql: &str) -> rusqlite::Result<String> {
    conn.query_row(sql, [], |row| row.get(0))
}

/// Until when what does not answer counts as broken: where a rule is broken, it may never answer again.
fn patience(nodes: &Nodes) -> Instant {
    let is_broken = nodes.envs.iter().any(|(_, rule)| !rule.is_empty());
    Instant::now() + Duration::from_secs(if is_broken { 20 } else { 60 })
}

/// A connection whose reads are strong, and which waits so many milliseconds.
fn strong(nodes: &Nodes, name: &str, timeout_ms: u64) -> Connection {
    let conn = nodes.open(name, "org");
    set_level(nodes, &conn, "read", "strong");
    set(&conn, &format!("SELECT nuda_timeout({timeout_ms})")).unwrap();
    conn
}

fn balance(conn: &Connection) -> rusqlite::Result<i64> {
    let sql = "SELECT balance FROM account WHERE id = 'x'";
    conn.query_row(sql, [], |row| row.get(0))
}

/// Adds one, in a transaction that looked first.
fn add(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute_batch("BEGIN IMMEDIATE")?;
    let done = balance(conn)
        .and_then(|n| conn.execute("UPDATE account SET balance = ?", [n + 1]))
        .and_then(|_| conn.execute_batch("COMMIT"));
    if done.is_err() && !conn.is_autocommit() {
        conn.execute_batch("ROLLBACK")?;
    }
    done
}

/// What a strong read on a node finds, once nodes have found each other again.
fn found(nodes: &Nodes, name: &str) -> i64 {
    let conn = strong(nodes, name, 2_000);
    nodes.eventually("a strong read is answered", |_| balance(&conn).ok())
}

/// The leader is alone and takes a write; the others go on.
#[test]
fn a_leader_without_the_others_acknowledges_nothing() {
    control("majority", |nodes| {
        let alone = strong(nodes, "a", 1_500);
        set(&alone, "SELECT nuda_read_consistency('eventual')").unwrap();
        nodes.nuda_ok("a", &["fault", "--cut", "b,c"]);
        let write = || alone.execute("UPDATE account SET balance = 7", []);
        let told = (0..3).map(|_| write()).find(Result::is_ok);
        let seen = found(nodes, "b");
        match (told, seen) {
            (Some(_), 0) => Err("acknowledged, and the majority has never heard of it".to_owned()),
            _ => Ok(()),
        }
    });
}

/// An answer is lost on its way, and the question is asked again.
#[test]
fn who_is_told_that_nothing_happened_is_told_the_truth() {
    control("deduplication", |nodes| {
        let far = strong(nodes, "b", 15_000);
        nodes.nuda_ok("a", &["fault", "--unanswered", "b"]);
        set(&far, "SELECT nuda_read_consistency('eventual')").unwrap();
        let asking = std::thread::spawn(move || {
            far.execute_batch("UPDATE account SET balance = balance + 1")
        });
        let seen = nodes.eventually("the leader carries it out", |nodes| {
            let n = found(nodes, "c");
            (n > 0).then_some(n)
        });
        nodes.nuda_ok("a", &["fault"]);
        match asking.join().unwrap() {
            Ok(()) if seen == 1 && found(nodes, "c") == 1 => Ok(()),
            Err(e) if is_beaten(&e) => Err("refused, and it is there".to_owned()),
            told => {
                let there = found(nodes, "c");
                // On a machine that stood still for so long, nobody knew; then that is what it was told.
                let id = told.as_ref().err().and_then(unknown_id);
                let conn = nodes.open("c", "org");
                if there == 1 && id.is_some_and(|id| is_committed(nodes, &conn, &id)) {
                    return Ok(());
                }
                Err(format!("told {told:?}, and there is {there}"))
            }
        }
    });
}

/// Two nodes add one at the same moment, many times.
#[test]
fn no_acknowledged_addition_is_lost() {
    control("certification", |nodes| {
        let (barrier, over) = (Barrier::new(2), AtomicBool::new(false));
        let (began, open) = (Instant::now(), Mutex::new(Vec::new()));
        let mut acknowledged: i64 = std::thread::scope(|scope| {
            let work = |name: &'static str| {
                let conn = strong(nodes, name, 2_000);
                // Both begin on what they have: overlapping is the point.
                set(&conn, "SELECT nuda_read_consistency('eventual')").unwrap();
                let (barrier, over, open) = (&barrier, &over, &open);
                scope.spawn(move || {
                    let once = |_| {
                        // Where a rule is broken, each may wait in vain from some time on.
                        if barrier.wait().is_leader() {
                            over.store(began.elapsed().as_secs() > 20, Ordering::Relaxed);
                        }
                        barrier.wait();
                        if over.load(Ordering::Relaxed) {
                            return 0;
                        }
                        let done = add(&conn);
                        let id = done.as_ref().err().and_then(unknown_id);
                        open.lock().unwrap().extend(id);
                        i64::from(done.is_ok())
                    };
                    (0..60).map(once).sum::<i64>()
                })
            };
            let both = [work("a"), work("b")];
            both.into_iter().map(|done| done.join().unwrap()).sum()
        });
        // Files that took two transactions at one position may never be read again.
        let reader = strong(nodes, "c", 2_000);
        let until = patience(nodes);
        for id in open.into_inner().unwrap() {
            let status = format!("SELECT nuda_txn_status('{id}')");
            let mut settled = set(&reader, &status);
            while settled.is_err() && Instant::now() < until {
                settled = set(&reader, &status);
            }
            acknowledged += i64::from(settled.is_ok_and(|answer| answer == "committed"));
        }
        loop {
            match balance(&reader) {
                Ok(n) if n == acknowledged && n > 0 => break Ok(()),
                Ok(n) => break Err(format!("{acknowledged} acknowledged, and {n} are there")),
                Err(e) if Instant::now() > until => {
                    break Err(format!("{acknowledged} acknowledged, no strong read: {e}"));
                }
                Err(_) => {}
            }
        }
    });
}

/// A strong write saw an eventual one that nobody else has, and its node dies.
#[test]
fn what_a_strong_write_saw_is_there_with_it() {
    control("dependencies", |nodes| {
        let conn = strong(nodes, "a", 5_000);
        nodes.nuda_ok("a", &["fault", "--withheld", "b,c"]);
        conn.execute("INSERT INTO note VALUES ('seen')", [])
            .unwrap();
        commit(nodes, &conn, add);
        drop(conn);
        nodes.kill("a");
        let reader = strong(nodes, "b", 2_000);
        let until = patience(nodes);
        loop {
            match balance(&reader) {
                Ok(1) => break,
                Ok(n) => return Err(format!("acknowledged, and a strong read finds {n}")),
                Err(e) if Instant::now() > until => {
                    return Err(format!("acknowledged, and no strong read succeeds: {e}"));
                }
                Err(_) => {}
            }
        }
        let sql = "SELECT count(*) FROM note";
        let notes: i64 = reader.query_row(sql, [], |row| row.get(0)).unwrap();
        match notes {
            1 => Ok(()),
            _ => Err("an effect without its cause".to_owned()),
        }
    });
}

/// Writes what no majority has on disk, and is told that nobody knows what becomes of it.
fn gives_up(nodes: &Nodes, conn: &Connection) -> String {
    nodes.eventually("an unknown outcome", |nodes| {
        let told = conn.execute("INSERT INTO note VALUES ('late')", []);
        let error = told.expect_err("no majority has it on disk");
        let id = unknown_id(&error);
        assert!(
            id.is_some() || is_refused(&error),
            "{error}\n{}",
            nodes.logs()
        );
        id
    })
}

/// A client gives up, its file goes on, everybody reports that; then its write is accepted.
#[test]
fn what_is_accepted_late_is_merged_everywhere() {
    control("collection", |nodes| {
        let late = strong(nodes, "b", 1_000);
        set(&late, "SELECT nuda_read_consistency('eventual')").unwrap();
        set_level(nodes, &late, "write", "quorum");
        for name in ["b", "c"] {
            nodes.nuda_ok(name, &["fault", "--stall-log"]);
        }
        let id = gives_up(nodes, &late);
        let other = nodes.open("c", "org");
        let collected = |name: &str| {
            let conn = nodes.open(name, "org");
            let sql = "SELECT frontier FROM nuda_state";
            conn.query_row(sql, [], |row| row.get::<_, String>(0))
                .unwrap()
        };
        let before = NAMES.map(collected);
        for n in 0..30 {
            other
                .execute("INSERT INTO note VALUES (?)", [format!("meanwhile {n}")])
                .unwrap();
            std::thread::sleep(Duration::from_millis(100));
        }
        let early = NAMES.map(collected) != before;
        for name in ["b", "c"] {
            nodes.nuda_ok(name, &["fault"]);
        }
        let until = patience(nodes);
        for name in NAMES {
            let reader = strong(nodes, name, 2_000);
            while let Err(e) = balance(&reader) {
                if Instant::now() > until {
                    return Err(format!("collected: {early}; no strong read at {name}: {e}"));
                }
            }
            let status = format!("SELECT nuda_txn_status('{id}')");
            let answer = nodes.eventually("it is settled", |_| set(&reader, &status).ok());
            let sql = "SELECT count(*) FROM note WHERE id = 'late'";
            let there = nodes.eventually("a strong read is answered", |_| {
                reader.query_row(sql, [], |row| row.get::<_, i64>(0)).ok()
            });
            match (answer.as_str(), there) {
                ("committed", 1) | ("aborted", 0) => {}
                (answer, there) => return Err(format!("{answer}, and {there} at {name}")),
            }
        }
        nodes.eventually("what everybody has is collected", |_| {
            (NAMES.map(collected) != before).then_some(())
        });
        Ok(())
    });
}

/// A client gives up, and its replica begins anew before its write is accepted: what only that replica had
/// travels with the write, and is written again.
#[test]
fn what_is_written_again_does_not_come_back_with_what_is_accepted_late() {
    let flags = ["--exclude-after-ms", "3000"];
    control_of("fence", &flags, |nodes| {
        let late = strong(nodes, "b", 1_000);
        set(&late, "SELECT nuda_read_consistency('eventual')").unwrap();
        set_level(nodes, &late, "write", "quorum");
        nodes.nuda_ok("b", &["fault", "--stall-log", "--withheld", "a,c"]);
        nodes.nuda_ok("c", &["fault", "--stall-log"]);
        let other = nodes.open("b", "org");
        other.execute_batch("UPDATE tally SET n = n + 1").unwrap();
        let id = gives_up(nodes, &late);
        nodes.eventually("b is away for too long", |nodes| {
            let status = nodes.nuda_ok("a", &["status"]);
            status.contains("must re-seed").then_some(())
        });
        nodes.nuda_ok("b", &["fault", "--stall-log"]);
        nodes.eventually("b begins anew", |nodes| {
            nodes.logs_of("b").contains("re-seeding").then_some(())
        });
        // If nothing holds it up it is done soon.
        std::thread::sleep(Duration::from_secs(3));
        for name in ["b", "c"] {
            nodes.nuda_ok(name, &["fault"]);
        }
        nodes.eventually("b has begun anew", |nodes| {
            nodes.logs_of("b").contains("re-seeded").then_some(())
        });
        let status = format!("SELECT nuda_txn_status('{id}')");
        let reader = strong(nodes, "b", 2_000);
        let answer = nodes.eventually("it is settled", |_| set(&reader, &status).ok());
        nodes.verify("a", "org");
        for name in NAMES {
            let conn = nodes.open(name, "org");
            let look = |sql| conn.query_row(sql, [], |row| row.get::<_, i64>(0));
            let there = look("SELECT count(*) FROM note WHERE id = 'late'").unwrap();
            let counted = look("SELECT n FROM tally").unwrap();
            match (answer.as_str(), there, counted) {
                ("committed", 1, 1) | ("aborted", 0, 1) => {}
                found => return Err(format!("{name}: {found:?}")),
            }
        }
        Ok(())
    });
}
