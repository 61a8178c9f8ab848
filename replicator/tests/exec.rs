//! `nuda_exec` across real daemons: it runs once, at the leader, wherever it is called; what fails
//! disturbs nobody; what was acknowledged is there.

// A test fails by panicking, in its helpers too.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ToSql, ffi};
use serde_json::Value;

use support::Nodes;
use support::definitions::make_tables;
use support::outcomes::{code, is_committed, is_refused, patient, refusal, unknown_id};

const NAMES: [&str; 3] = ["a", "b", "c"];

/// Three nodes with a strong and an eventual table.
fn shop() -> Nodes {
    let nodes = Nodes::start(&NAMES);
    nodes.nuda_ok("a", &["create", "org", "--on", "a,b,c"]);
    make_tables(
        &nodes,
        &nodes.open("a", "org"),
        "CREATE TABLE stock(id INTEGER PRIMARY KEY, name TEXT UNIQUE, n INT CHECK (n >= 0));
         CREATE TABLE note(id TEXT PRIMARY KEY, body TEXT);
         SELECT nuda_track('stock', 'strong');
         SELECT nuda_track('note');",
    );
    for name in NAMES {
        let conn = nodes.open(name, "org");
        nodes.eventually("the tables are everywhere and ordered", |_| {
            conn.prepare("SELECT * FROM stock, note").ok()?;
            let level = "SELECT nuda_read_consistency('strong')";
            conn.query_row(level, [], |_| Ok(())).ok()?;
            let ordered = "SELECT ordered FROM nuda_state";
            let is_ordered: bool = conn.query_row(ordered, [], |row| row.get(0)).ok()?;
            is_ordered.then_some(())
        });
    }
    nodes
}

fn exec(conn: &Connection, sql: &str, values: &[&dyn ToSql]) -> rusqlite::Result<Value> {
    let marks = ", ?".repeat(values.len());
    let mut all: Vec<&dyn ToSql> = vec![&sql];
    all.extend(values);
    let call = format!("SELECT nuda_exec(?{marks})");
    let text: String = conn.query_row(&call, all.as_slice(), |row| row.get(0))?;
    Ok(serde_json::from_str(&text).unwrap())
}

/// A call that succeeds, on a connection that waits long. What nobody knows of is settled and called again: it
/// must come to the same.
fn runs(nodes: &Nodes, conn: &Connection, sql: &str, values: &[&dyn ToSql]) -> Value {
    patient(conn);
    nodes.eventually("a call", |nodes| match exec(conn, sql, values) {
        Ok(answer) => Some(answer),
        Err(e) => {
            match unknown_id(&e) {
                Some(id) => drop(is_committed(nodes, conn, &id)),
                None => assert!(is_refused(&e), "{e}\n{}", nodes.logs()),
            }
            None
        }
    })
}

/// Why a call fails.
fn fails(nodes: &Nodes, conn: &Connection, sql: &str, values: &[&dyn ToSql]) -> rusqlite::Error {
    patient(conn);
    refusal(nodes, || exec(conn, sql, values).map(drop))
}

fn leader(nodes: &Nodes) -> String {
    nodes.eventually("a leader", |nodes| {
        let status = nodes.status("a");
        let log = &status["partitions"][0]["log"];
        log["leader"].as_str().map(str::to_owned)
    })
}

#[test]
fn it_answers_from_any_node_and_its_rows_are_there() {
    let nodes = shop();
    for (n, name) in NAMES.into_iter().enumerate() {
        let conn = nodes.open(name, "org");
        let sql = "INSERT INTO stock(name, n) VALUES (?, ?)
                   ON CONFLICT(name) DO UPDATE SET n = excluded.n
                   RETURNING id, name, n * 2 AS twice";
        let answer = runs(&nodes, &conn, sql, &[&name, &7]);
        assert_eq!(answer["changes"], 1);
        let id = i64::try_from(n).unwrap() + 1;
        let expected = serde_json::json!([{ "id": id, "name": name, "twice": 14 }]);
        assert_eq!(answer["rows"], expected);
        assert_eq!(answer.get("note"), None);
        // A plain read of the local file.
        let seen: i64 = conn
            .query_row("SELECT count(*) FROM stock", [], |row| row.get(0))
            .unwrap();
        assert_eq!(seen, id, "on {name}");
        let id = answer["id"].as_str().unwrap();
        assert!(is_committed(&nodes, &conn, id));
        let last: String = conn
            .query_row("SELECT nuda_last_commit() ->> 'position'", [], |r| {
                r.get::<_, i64>(0).map(|p| p.to_string())
            })
            .unwrap();
        assert_eq!(last, answer["position"].to_string());
    }
    // Reading only, and values of every kind there and back.
    let conn = nodes.open("b", "org");
    let answer = runs(
        &nodes,
        &conn,
        "SELECT ? AS a, ? AS b, ? AS c, ? AS d, count(*) AS n FROM stock",
        &[&None::<i64>, &1.5, &"é\"", &vec![0_u8, 255]],
    );
    let expected = serde_json::json!([{ "a": null, "b": 1.5, "c": "é\"", "d": "00ff", "n": 3 }]);
    assert_eq!(
        (&answer["rows"], &answer["changes"]),
        (&expected, &0.into())
    );
    nodes.verify("a", "org");
}

#[test]
fn a_batch_is_one_transaction_and_an_error_comes_back_as_itself() {
    let nodes = shop();
    let conn = nodes.open("b", "org");
    let two = "INSERT INTO stock(name, n) VALUES (?, ?)
               ON CONFLICT(name) DO UPDATE SET n = excluded.n;
               UPDATE stock SET n = n + ? WHERE name = ?";
    let answer = runs(&nodes, &conn, two, &[&"x", &1, &5, &"x"]);
    assert_eq!(answer["changes"], 2);
    let left = |name: &str| -> i64 {
        let sql = "SELECT coalesce(max(n), -1) FROM stock WHERE name = ?";
        conn.query_row(sql, [name], |row| row.get(0)).unwrap()
    };
    assert_eq!(left("x"), 6);
    // The second statement fails: the first is gone.
    let error = fails(&nodes, &conn, two, &[&"y", &1, &-5, &"y"]);
    assert_eq!(code(&error), ffi::SQLITE_CONSTRAINT_CHECK, "{error}");
    assert_eq!(left("y"), -1);
    let insert = "INSERT INTO stock(name) VALUES (?)";
    let error = fails(&nodes, &conn, insert, &[&"x"]);
    assert_eq!(code(&error), ffi::SQLITE_CONSTRAINT_UNIQUE, "{error}");
    assert!(error.to_string().contains("stock.name"), "{error}");
    for (sql, values, why) in [
        (insert, &[] as &[&dyn ToSql], "1 values too few"),
        (insert, &[&"p", &"q"], "1 values too many"),
        ("INSERT INTO absent VALUES (1)", &[], "no such table"),
        ("DELETE FROM nuda_log", &[], "nuda_log is none"),
        (
            "CREATE TABLE t(a)",
            &[],
            "of statements that change a schema",
        ),
        ("DROP VIEW v", &[], "of statements that change a schema"),
        ("DROP TABLE stock", &[&1], "takes no values"),
        ("BEGIN; DELETE FROM stock", &[], "one transaction already"),
        ("DELETE FROM stock; COMMIT", &[], "one transaction already"),
        (
            "PRAGMA user_version = 3",
            &[],
            "nuda_exec changes rows of replicated tables",
        ),
        (
            "SELECT nuda_eject()",
            &[],
            "nuda_eject is not for nuda_exec",
        ),
        (
            "ATTACH 'x' AS y",
            &[],
            "nuda_exec changes rows of replicated tables",
        ),
    ] {
        let error = fails(&nodes, &conn, sql, values).to_string();
        assert!(error.contains(why), "{sql}: {error}");
    }
    conn.execute_batch("BEGIN").unwrap();
    let error = exec(&conn, insert, &[&"z"]).unwrap_err().to_string();
    assert!(error.contains("cannot be part of one"), "{error}");
    conn.execute_batch("ROLLBACK").unwrap();
    let sql = "INSERT INTO note SELECT 'n', nuda_exec('DELETE FROM stock')";
    let error = conn.execute_batch(sql).unwrap_err().to_string();
    assert!(error.contains("call it in a SELECT"), "{error}");
    // What runs for ever ends with its caller's patience, and the next one is served.
    let _: String = conn
        .query_row("SELECT nuda_timeout(500)", [], |row| row.get(0))
        .unwrap();
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)
                   INSERT INTO stock(n) SELECT i FROM n WHERE i < 0";
    exec(&conn, endless, &[]).unwrap_err();
    nodes.eventually("the next call", |_| {
        exec(&conn, "UPDATE stock SET n = 9 WHERE name = 'x'", &[]).ok()
    });
    assert_eq!(left("x"), 9);
    nodes.verify("a", "org");
}

#[test]
fn many_clients_share_transactions_and_none_suffers_from_another() {
    let nodes = shop();
    let conn = nodes.open(&leader(&nodes), "org");
    let insert = "INSERT OR REPLACE INTO stock(id, n) VALUES (1, 0), (2, 0)";
    runs(&nodes, &conn, insert, &[]);
    // At least so long, and until enough is done to be told, however slow this machine is.
    let (began, calls) = (Instant::now(), AtomicUsize::new(0));
    let goes_on = || {
        let enough = calls.load(Ordering::Relaxed) >= 200;
        began.elapsed() < Duration::from_secs(if enough { 3 } else { 60 })
    };
    let done: Vec<(i64, i64)> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..12)
            .map(|n| {
                let (nodes, calls, goes_on) = (&nodes, &calls, &goes_on);
                scope.spawn(move || {
                    let conn = nodes.open(NAMES[n % 3], "org");
                    patient(&conn);
                    let (mut ran, mut failed) = (0, 0);
                    while goes_on() {
                        calls.fetch_add(1, Ordering::Relaxed);
                        // Every third client breaks a CHECK with its second statement.
                        let sql = if n % 3 == 2 {
                            "UPDATE stock SET n = n + 1 WHERE id = 2; UPDATE stock SET n = -1"
                        } else {
                            "UPDATE stock SET n = n + 1 WHERE id = 1"
                        };
                        match exec(&conn, sql, &[]) {
                            Ok(_) => ran += 1,
                            Err(e) if code(&e) == ffi::SQLITE_CONSTRAINT_CHECK => failed += 1,
                            Err(e) => match unknown_id(&e) {
                                Some(id) => ran += i64::from(is_committed(nodes, &conn, &id)),
                                None => assert!(is_refused(&e), "{e}\n{}", nodes.logs()),
                            },
                        }
                    }
                    (ran, failed)
                })
            })
            .collect();
        clients.into_iter().map(|c| c.join().unwrap()).collect()
    });
    let ran: i64 = done.iter().map(|(ran, _)| ran).sum();
    let failed: i64 = done.iter().map(|(_, failed)| failed).sum();
    assert!(ran > 0 && failed > 0, "{done:?}");
    // Somebody else may lead by now: after a call of its own this file has them all.
    let last = runs(&nodes, &conn, "UPDATE stock SET n = n WHERE id = 1", &[]);
    let (one, two): (i64, i64) = conn
        .query_row(
            "SELECT sum(n) FILTER (WHERE id = 1), sum(n) FILTER (WHERE id = 2) FROM stock",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .unwrap();
    assert_eq!((one, two), (ran, 0));
    let position = last["position"].as_i64().unwrap();
    println!(
        "{ran} ran and {failed} failed in {:?}, in {position} transactions",
        began.elapsed()
    );
    assert!(position < ran, "they share transactions");
    nodes.verify("c", "org");
}

#[test]
fn the_leader_killed_in_mid_work_runs_nothing_twice_and_loses_nothing() {
    let mut nodes = shop();
    let leader = leader(&nodes);
    let others: Vec<&str> = NAMES.into_iter().filter(|n| *n != leader).collect();
    let insert = "INSERT INTO stock(name) VALUES (?) RETURNING name";
    let (stop, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    // So many more, however fast this machine is.
    let some_more = |nodes: &Nodes| {
        let until = done.load(Ordering::Relaxed) + 20;
        nodes.eventually("calls are done", |_| {
            (done.load(Ordering::Relaxed) >= until).then_some(())
        });
    };
    // Each client tells what was acknowledged, and what nobody knows.
    let (acknowledged, open) = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..6)
            .map(|n| {
                let conn = nodes.open(others[n % 2], "org");
                let (stop, done) = (&stop, &done);
                scope.spawn(move || {
                    let (mut known, mut open) = (Vec::new(), Vec::new());
                    for round in 0.. {
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                        let name = format!("{n}-{round}");
                        match exec(&conn, insert, &[&name]) {
                            Ok(answer) => {
                                let row = answer["rows"][0]["name"].as_str();
                                assert_eq!(row, Some(name.as_str()), "{answer}");
                                known.push(name);
                                done.fetch_add(1, Ordering::Relaxed);
                            }
                            Err(e) => {
                                let text = e.to_string();
                                // Run twice, its second time would find its name taken.
                                assert!(!text.contains("UNIQUE"), "{text}");
                                open.extend(unknown_id(&e).map(|id| (name, id)));
                            }
                        }
                    }
                    (known, open)
                })
            })
            .collect();
        some_more(&nodes);
        nodes.kill(&leader);
        let probe = nodes.open(others[0], "org");
        nodes.eventually("a new leader runs calls", |_| {
            exec(&probe, "UPDATE stock SET n = 1 WHERE id = -1", &[]).ok()
        });
        some_more(&nodes);
        stop.store(true, Ordering::Relaxed);
        let ended = clients.into_iter().map(|c| c.join().unwrap());
        let (known, open): (Vec<_>, Vec<_>) = ended.unzip();
        (known.concat(), open.concat())
    });
    nodes.run(&leader);
    let conn = nodes.open(others[0], "org");
    let mut expected = acknowledged;
    for (name, id) in open {
        if is_committed(&nodes, &conn, &id) {
            expected.push(name);
        }
    }
    expected.sort();
    let read = nodes.eventually("a strong read", |nodes| {
        let conn = nodes.open(&leader, "org");
        let level = "SELECT nuda_read_consistency('strong')";
        conn.query_row(level, [], |_| Ok(())).ok()?;
        let mut query = conn
            .prepare("SELECT name FROM stock WHERE name IS NOT NULL ORDER BY name")
            .ok()?;
        let names = query.query_map([], |row| row.get::<_, String>(0)).ok()?;
        names.collect::<rusqlite::Result<Vec<_>>>().ok()
    });
    println!("{} rows through the death of the leader", read.len());
    assert_eq!(read, expected);
    nodes.verify(&leader, "org");
}
