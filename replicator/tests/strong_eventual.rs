//! Strong writes to eventual tables across real daemons: one order, whole on every node, and what had not
//! seen them loses on registers and is added up elsewhere.

// A test fails by panicking, in its helpers too.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::time::Duration;

use rusqlite::Connection;
use serde_json::Value;

use support::Nodes;
use support::definitions::{define, everywhere, make_tables};
use support::outcomes::{
    Outcome, commit_sql, insist, outcome, overtaken, patient, read, set_level,
};

const NAMES: [&str; 3] = ["a", "b", "c"];

/// Three nodes with an eventual table beside a strong one.
fn shop() -> Nodes {
    let nodes = Nodes::start(&NAMES);
    nodes.nuda_ok("a", &["create", "org", "--on", "a,b,c"]);
    let founder = nodes.open("a", "org");
    make_tables(
        &nodes,
        &founder,
        "CREATE TABLE page(id TEXT PRIMARY KEY, title TEXT, hits COUNTER);
         CREATE TABLE account(id TEXT PRIMARY KEY, balance INTEGER CHECK (balance >= 0), \
           mail TEXT UNIQUE);
         SELECT nuda_track('page');
         SELECT nuda_track('account', 'strong');
         INSERT INTO page VALUES ('home', 'old', 0), ('other', 'old', 0);",
    );
    for name in NAMES {
        let conn = nodes.open(name, "org");
        nodes.eventually("the tables are everywhere and ordered", |_| {
            let pages = one::<i64>(&conn, "SELECT count(*) FROM page").ok()?;
            conn.prepare("SELECT * FROM account").ok()?;
            level(&conn, "read", "strong").ok()?;
            (pages == 2).then_some(())
        });
    }
    commit_sql(
        &nodes,
        &founder,
        "INSERT INTO account VALUES ('x', 10, 'x@x')",
    );
    // Where the account is missing an UPDATE finds no row, writes no strong table, and is no strong transaction.
    for name in NAMES {
        let conn = nodes.open(name, "org");
        nodes.eventually("the account is everywhere", |_| {
            one::<i64>(&conn, "SELECT balance FROM account").ok()
        });
    }
    nodes
}

fn one<T: rusqlite::types::FromSql>(conn: &Connection, sql: &str) -> rusqlite::Result<T> {
    conn.query_row(sql, [], |row| row.get(0))
}

fn level(conn: &Connection, which: &str, to: &str) -> rusqlite::Result<String> {
    let sql = format!("SELECT nuda_{which}_consistency(?)");
    conn.query_row(&sql, [to], |row| row.get(0))
}

/// A connection whose reads and writes are strong.
fn strong(nodes: &Nodes, name: &str) -> Connection {
    let conn = nodes.open(name, "org");
    set_level(nodes, &conn, "read", "strong");
    set_level(nodes, &conn, "write", "strong");
    patient(&conn);
    conn
}

/// What a read finds, whatever its level.
fn found<T: rusqlite::types::FromSql>(nodes: &Nodes, conn: &Connection, sql: &str) -> T {
    read(nodes, || one(conn, sql))
}

fn last_commit(conn: &Connection) -> Value {
    let last: String = one(conn, "SELECT nuda_last_commit()").unwrap();
    serde_json::from_str(&last).unwrap()
}

#[test]
fn a_strong_title_stays_against_a_later_one_of_a_node_that_was_cut_off() {
    let nodes = shop();
    nodes.nuda_ok("c", &["fault", "--cut", "a,b"]);
    let a = strong(&nodes, "a");
    insist(
        &nodes,
        &a,
        "UPDATE page SET title = 'strong', hits = hits + 1 WHERE id = 'home'",
    );
    let last = last_commit(&a);
    assert_eq!((&last["level"], &last["of"]), (&"strong".into(), &3.into()));
    let b = strong(&nodes, "b");
    let title = "SELECT title FROM page WHERE id = 'home'";
    assert_eq!(found::<String>(&nodes, &b, title), "strong");
    // Later, by every clock; and then once more on top of it.
    std::thread::sleep(Duration::from_millis(50));
    let c = nodes.open("c", "org");
    for (n, write) in ["late", "later"].iter().enumerate() {
        c.execute(
            "UPDATE page SET title = ?, hits = hits + 10 WHERE id = 'home'",
            [write],
        )
        .unwrap();
        assert_eq!(one::<String>(&c, title).unwrap(), *write, "{n}");
    }
    assert_eq!(last_commit(&c)["level"], "eventual");
    nodes.nuda_ok("c", &["fault"]);
    nodes.verify("c", "org");
    for name in NAMES {
        let conn = nodes.open(name, "org");
        let row = "SELECT title || ' ' || hits FROM page WHERE id = 'home'";
        assert_eq!(one::<String>(&conn, row).unwrap(), "strong 21", "{name}");
        let why = "SELECT lost || ', ' || won_site || ': ' || reason FROM nuda_conflicts
                   WHERE \"column\" = 'title' ORDER BY id DESC LIMIT 1";
        assert_eq!(
            one::<String>(&conn, why).unwrap(),
            "later, log.strong: written without knowing a strong write, which won",
            "{name}"
        );
    }
    // Whoever has seen it overwrites it like anybody.
    c.execute("UPDATE page SET title = 'knows' WHERE id = 'home'", [])
        .unwrap();
    nodes.verify("c", "org");
    assert_eq!(found::<String>(&nodes, &b, title), "knows");
}

#[test]
fn a_transaction_over_both_kinds_is_whole_on_every_node_or_nowhere() {
    let nodes = shop();
    // The level is eventual: the strong table decides.
    let (a, b) = (nodes.open("a", "org"), nodes.open("b", "org"));
    let sell = "BEGIN IMMEDIATE;
                UPDATE page SET hits = hits + 1 WHERE id = 'home';
                UPDATE account SET balance = balance - 1;
                COMMIT;";
    for _ in 0..4 {
        insist(&nodes, &a, sell);
        assert_eq!(last_commit(&a)["level"], "strong");
        insist(&nodes, &b, sell);
        assert_eq!(last_commit(&b)["level"], "strong");
    }
    // No moment at which a node has one without the other, once it has both tables' rows.
    let sum = "SELECT (SELECT sum(hits) FROM page) + (SELECT sum(balance) FROM account)";
    assert_eq!(found::<i64>(&nodes, &strong(&nodes, "c"), sum), 10);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let c = nodes.open("c", "org");
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                assert_eq!(one::<i64>(&c, sum).unwrap(), 10);
            }
        });
        for conn in [&a, &b] {
            insist(&nodes, conn, sell);
        }
        let waits = strong(&nodes, "c");
        assert_eq!(found::<i64>(&nodes, &waits, sum), 10);
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        watcher.join().unwrap();
    });
    // The strong table's constraint ends all of it.
    let error = b
        .execute_batch(
            "BEGIN IMMEDIATE;
             UPDATE page SET title = 'sold out', hits = hits + 1;
             UPDATE account SET balance = balance - 1000;",
        )
        .unwrap_err();
    assert!(error.to_string().contains("CHECK"), "{error}");
    b.execute_batch("ROLLBACK").unwrap();
    let error = b
        .execute_batch("BEGIN; DELETE FROM page; INSERT INTO account VALUES ('y', 1, 'x@x')")
        .unwrap_err();
    assert!(error.to_string().contains("UNIQUE"), "{error}");
    b.execute_batch("ROLLBACK").unwrap();
    nodes.verify("b", "org");
    let c = strong(&nodes, "c");
    assert_eq!(found::<i64>(&nodes, &c, "SELECT balance FROM account"), 0);
    assert_eq!(found::<i64>(&nodes, &c, "SELECT sum(hits) FROM page"), 10);
    let titles = "SELECT count(*) FROM page WHERE title = 'old'";
    assert_eq!(found::<i64>(&nodes, &c, titles), 2);
}

#[test]
fn of_two_overlapping_strong_transactions_on_an_eventual_table_one_fails() {
    let nodes = shop();
    let (a, b) = (strong(&nodes, "a"), strong(&nodes, "b"));
    insist(&nodes, &b, "UPDATE page SET title = 'b' WHERE id = 'other'");
    // Both have seen it.
    for conn in [&a, &b] {
        let title = "SELECT title FROM page WHERE id = 'other'";
        assert_eq!(found::<String>(&nodes, conn, title), "b");
    }
    // An eventual write overtakes nobody.
    let c = nodes.open("c", "org");
    let mut hits = 0;
    let first = || {
        c.execute("UPDATE page SET hits = hits + 5 WHERE id = 'home'", [])?;
        hits += 5;
        b.execute_batch("UPDATE page SET title = 'b' WHERE id = 'home'")
    };
    let lost = "UPDATE page SET title = 'a' WHERE id = 'home'";
    overtaken(&nodes, (&a, lost), first, &b);
    insist(
        &nodes,
        &a,
        "UPDATE page SET title = title || 'a' WHERE id = 'home'",
    );
    nodes.verify("c", "org");
    let row = "SELECT title || ' ' || hits FROM page WHERE id = 'home'";
    assert_eq!(found::<String>(&nodes, &b, row), format!("ba {hits}"));
}

#[test]
fn calls_at_the_leader_write_eventual_tables_too() {
    let nodes = shop();
    let mut last = 0;
    for (calls, name) in (0..6).zip(NAMES.iter().cycle()) {
        let conn = nodes.open(name, "org");
        patient(&conn);
        let page = "UPDATE page SET title = ?, hits = hits + 1 WHERE id = ''home''";
        let account = "UPDATE account SET balance = balance - 1 RETURNING balance";
        let (sql, changes) = if calls < 3 {
            (page.to_owned(), 1)
        } else {
            (format!("{page}; {account}"), 2)
        };
        let exec = format!("SELECT nuda_exec('{sql}', ?)");
        let text: String = read(&nodes, || conn.query_row(&exec, [name], |row| row.get(0)));
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(answer["changes"], changes, "{text}");
        // It has its place in the order, whatever it wrote.
        let position = answer["position"].as_u64().unwrap();
        assert!(position > last, "{text} after {last}");
        last = position;
    }
    nodes.verify("c", "org");
    let b = strong(&nodes, "b");
    let row = "SELECT title || ' ' || hits FROM page WHERE id = 'home'";
    assert_eq!(found::<String>(&nodes, &b, row), "c 6");
    assert_eq!(found::<i64>(&nodes, &b, "SELECT balance FROM account"), 7);
}

/// A strong transaction waits until its node has noticed what it follows, and has the write lock meanwhile. The
/// node needs that for the rows that were set free, and may not wait for it first.
#[test]
fn rows_that_were_set_free_hold_up_no_strong_transaction() {
    let nodes = shop();
    let (a, b) = (nodes.open("a", "org"), nodes.open("b", "org"));
    a.execute_batch("CREATE TABLE person(id TEXT PRIMARY KEY, mail TEXT UNIQUE)")
        .unwrap();
    let track = "SELECT nuda_track('person', 'eventual', 'unique=keep_first')";
    define(&nodes, &a, track);
    everywhere(&nodes, "SELECT * FROM person");
    patient(&a);
    let put_off = |nodes: &Nodes| nodes.logs_of("a").matches("put off").count();
    let mut round = 0;
    nodes.eventually("a strong commit for which a put nothing off", |nodes| {
        round += 1;
        // Of two rows with one address the later one is hidden.
        nodes.freeze("b", "org");
        for (conn, name) in [(&a, "a"), (&b, "b")] {
            let sql = "INSERT INTO person VALUES (? || ?2, ?2)";
            conn.execute(sql, rusqlite::params![name, round]).unwrap();
        }
        nodes.signal("b", "-CONT");
        nodes.verify("a", "org");
        let shown = format!("SELECT group_concat(id) FROM person WHERE mail = '{round}'");
        let first: String = one(&a, &shown).unwrap();
        nodes.freeze("a", "org");
        a.execute("DELETE FROM person WHERE mail = ?", [round.to_string()])
            .unwrap();
        a.execute_batch("BEGIN IMMEDIATE; UPDATE account SET balance = balance - 1")
            .unwrap();
        let before = put_off(nodes);
        nodes.signal("a", "-CONT");
        let done = outcome(nodes, &a, a.execute_batch("COMMIT"));
        nodes.eventually("the row that was set free", |_| {
            (one::<String>(&a, &shown).ok()? != first).then_some(())
        });
        (done == Outcome::Committed && put_off(nodes) == before).then_some(())
    });
    nodes.verify("c", "org");
}

/// What travelled with a strong transaction is not written again by a node that begins anew meanwhile.
#[test]
fn what_is_in_the_log_is_not_written_again_by_a_re_seed() {
    let nodes = shop();
    nodes.eventually("b is removed", |nodes| {
        let removed = nodes.nuda("a", &["members", "org", "--remove", "b"]);
        removed.status.success().then_some(())
    });
    let b = nodes.open("b", "org");
    patient(&b);
    // Nobody else has this; and the snapshot waits for what is open.
    b.execute_batch(
        "UPDATE page SET hits = hits + 1 WHERE id = 'home';
         BEGIN IMMEDIATE;
         UPDATE account SET balance = balance - 1;",
    )
    .unwrap();
    nodes.nuda_ok("a", &["create", "org", "--on", "a,b,c"]);
    nodes.eventually("the snapshot has waited in vain once", |nodes| {
        let log = nodes.logs_of("b");
        log.contains("locked by a long transaction").then_some(())
    });
    // Now it is fetched again.
    std::thread::sleep(Duration::from_secs(1));
    let committed = outcome(&nodes, &b, b.execute_batch("COMMIT")) == Outcome::Committed;
    nodes.eventually("b is re-seeded", |nodes| {
        nodes.logs_of("b").contains("re-seeded").then_some(())
    });
    nodes.verify("a", "org");
    for name in NAMES {
        let conn = nodes.open(name, "org");
        let hits = "SELECT hits FROM page WHERE id = 'home'";
        assert_eq!(one::<i64>(&conn, hits).unwrap(), 1, "{name}");
        let balance: i64 = one(&conn, "SELECT balance FROM account").unwrap();
        assert_eq!(balance, 10 - i64::from(committed), "{name}");
    }
}
