//! Strong transactions and sessions across real daemons: what is acknowledged is seen by every strong read,
//! overlapping ones exclude each other, and what cannot be kept is refused in time.

// A test fails by panicking, in its helpers too.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::time::{Duration, Instant};

use rusqlite::{Connection, ffi};
use serde_json::Value;

use support::Nodes;
use support::definitions::make_tables;
use support::outcomes::{
    Outcome, code, commit, commit_sql, is_committed, outcome, overtaken, patient, read, refusal,
    set_level, unknown_id,
};

const NAMES: [&str; 3] = ["a", "b", "c"];

/// Three nodes with a strong table of two accounts.
fn bank() -> Nodes {
    let nodes = Nodes::start(&NAMES);
    nodes.nuda_ok("a", &["create", "org", "--on", "a,b,c"]);
    let founder = nodes.open("a", "org");
    make_tables(
        &nodes,
        &founder,
        "CREATE TABLE account(id TEXT PRIMARY KEY, balance INTEGER);
         SELECT nuda_track('account', 'strong');",
    );
    for name in NAMES {
        let conn = nodes.open(name, "org");
        nodes.eventually("the table is everywhere and ordered", |_| {
            conn.prepare("SELECT * FROM account").ok()?;
            level(&conn, "read", "strong").ok()
        });
    }
    let insert = "INSERT INTO account VALUES ('x', 100), ('y', 100)";
    commit_sql(&nodes, &founder, insert);
    nodes
}

#[test]
fn a_partition_that_was_just_made_takes_strong_writes_at_once() {
    let nodes = Nodes::start(&NAMES);
    nodes.nuda_ok("a", &["create", "org", "--on", "a,b,c"]);
    let conn = nodes.open("a", "org");
    make_tables(
        &nodes,
        &conn,
        "CREATE TABLE account(id TEXT PRIMARY KEY, balance INTEGER);
         SELECT nuda_track('account', 'strong');
         INSERT INTO account VALUES ('x', 100)",
    );
    let last: String = conn
        .query_row("SELECT nuda_last_commit() ->> 'level'", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(last, "strong");
}

fn level(conn: &Connection, which: &str, to: &str) -> rusqlite::Result<String> {
    let sql = format!("SELECT nuda_{which}_consistency(?)");
    conn.query_row(&sql, [to], |row| row.get(0))
}

/// A connection whose reads and writes are strong, and which waits long.
fn strong(nodes: &Nodes, name: &str) -> Connection {
    let conn = nodes.open(name, "org");
    set_level(nodes, &conn, "read", "strong");
    set_level(nodes, &conn, "write", "strong");
    patient(&conn);
    conn
}

fn transfer(conn: &Connection, amount: i64) -> rusqlite::Result<()> {
    conn.execute_batch(&format!(
        "BEGIN IMMEDIATE;
         UPDATE account SET balance = balance - {amount} WHERE id = 'x';
         UPDATE account SET balance = balance + {amount} WHERE id = 'y';
         COMMIT;"
    ))
}

fn balance(conn: &Connection, id: &str) -> rusqlite::Result<i64> {
    let sql = "SELECT balance FROM account WHERE id = ?";
    conn.query_row(sql, [id], |row| row.get(0))
}

/// Who leads.
fn leader(nodes: &Nodes) -> String {
    nodes.eventually("a leader", |nodes| {
        let status = nodes.status("a");
        let log = &status["partitions"][0]["log"];
        log["leader"].as_str().map(str::to_owned)
    })
}

#[test]
fn a_strong_write_is_seen_by_the_next_strong_read_anywhere() {
    let nodes = bank();
    let conns = NAMES.map(|name| strong(&nodes, name));
    // Nothing but the level makes these wait.
    let readers = NAMES.map(|name| {
        let conn = nodes.open(name, "org");
        set_level(&nodes, &conn, "read", "strong");
        patient(&conn);
        conn
    });
    for round in 0..30 {
        commit(&nodes, &conns[round % 3], |conn| transfer(conn, 1));
        for reader in &readers {
            let seen = read(&nodes, || balance(reader, "y"));
            assert_eq!(seen, 101 + i64::try_from(round).unwrap());
        }
    }
    let last: String = conns[2]
        .query_row("SELECT nuda_last_commit()", [], |row| row.get(0))
        .unwrap();
    let last: Value = serde_json::from_str(&last).unwrap();
    assert_eq!(last["level"], "strong");
    assert_eq!((&last["position"], &last["of"]), (&31.into(), &3.into()));
    let id = last["id"].as_str().unwrap();
    assert!(is_committed(&nodes, &conns[0], id));
    nodes.verify("a", "org");
}

#[test]
fn of_two_overlapping_transactions_one_fails_and_leaves_nothing() {
    let nodes = bank();
    let (a, b) = (strong(&nodes, "a"), strong(&nodes, "b"));
    let error = overtaken(
        &nodes,
        (&a, "UPDATE account SET balance = 1 WHERE id = 'x'"),
        || b.execute_batch("UPDATE account SET balance = 2 WHERE id = 'x'"),
        &b,
    );
    assert!(error.to_string().contains("was first"), "{error}");
    assert_eq!(read(&nodes, || balance(&a, "x")), 2);
    // At once: the next transaction begins after the winner.
    commit(&nodes, &a, |conn| transfer(conn, 1));
    assert_eq!(read(&nodes, || balance(&b, "x")), 1);
    nodes.verify("c", "org");
}

#[test]
fn nothing_is_lost_or_invented_under_contention() {
    let nodes = bank();
    let deadline = Instant::now() + Duration::from_secs(5);
    let won: i64 = std::thread::scope(|scope| {
        let workers = NAMES.map(|name| {
            let nodes = &nodes;
            scope.spawn(move || {
                let conn = strong(nodes, name);
                let mut won = 0;
                while Instant::now() < deadline {
                    let done = outcome(nodes, &conn, transfer(&conn, 1));
                    won += i64::from(done == Outcome::Committed);
                }
                won
            })
        });
        workers.into_iter().map(|w| w.join().unwrap()).sum()
    });
    println!("{won} strong commits by three contending nodes in 5 s");
    assert!(won > 0);
    for name in NAMES {
        let conn = strong(&nodes, name);
        assert_eq!(read(&nodes, || balance(&conn, "y")), 100 + won, "{name}");
        assert_eq!(read(&nodes, || balance(&conn, "x")), 100 - won, "{name}");
    }
    nodes.verify("b", "org");
}

#[test]
fn without_a_majority_it_fails_in_time_and_says_who_is_away() {
    let mut nodes = bank();
    let reader = strong(&nodes, "a");
    reader.execute_batch("SELECT nuda_timeout(2000)").unwrap();
    let a = nodes.open("a", "org");
    commit(&nodes, &a, |conn| transfer(conn, 1));
    nodes.kill("b");
    nodes.kill("c");
    // Within the first second the leader may not know that it is alone, nor that both are gone: then the
    // outcome is unknown, and says so.
    let refused = nodes.eventually("a definite refusal", |_| {
        let began = Instant::now();
        let error = transfer(&a, 1).unwrap_err();
        // Two seconds are asked for; the machine may have other work.
        assert!(began.elapsed() < Duration::from_secs(15), "{error}");
        let text = error.to_string();
        assert!(
            text.contains("strong write not committed") || text.contains("unknown"),
            "{text}"
        );
        let definite = text.contains("not committed") && text.contains("1 of 3");
        definite.then_some(text)
    });
    assert!(refused.contains("1 of 3 members reachable"), "{refused}");
    assert!(refused.contains("b: no route"), "{refused}");
    assert!(refused.contains("nothing was changed"), "{refused}");
    assert!(
        balance(&reader, "x").is_err(),
        "a strong read needs a majority too"
    );
    let facts: String = reader
        .query_row("SELECT nuda_debug()", [], |row| row.get(0))
        .unwrap();
    assert!(facts.contains("strong read refused"), "{facts}");
    assert_eq!(balance(&a, "x").unwrap(), 99);
    nodes.run("b");
    nodes.eventually("b is back", |_| transfer(&a, 1).ok());
}

/// No clock of the others is known then, and that is not what has to be said.
#[test]
fn alone_after_a_restart_it_says_who_is_away() {
    let mut nodes = bank();
    let a = nodes.open("a", "org");
    nodes.eventually("a commit", |_| transfer(&a, 1).ok());
    NAMES.iter().for_each(|name| nodes.kill(name));
    nodes.run("a");
    let said = transfer(&a, 1).unwrap_err().to_string();
    assert!(said.contains("1 of 3 members reachable"), "{said}");
}

/// Who has time for it sees a longer COMMIT, and nothing else.
#[test]
fn a_commit_waits_for_the_next_leader() {
    let mut nodes = bank();
    for asked in NAMES {
        let leader = nodes.eventually("a leader", |nodes| {
            let status = nodes.status(asked);
            let leader = status["partitions"][0]["log"]["leader"].as_str();
            leader.map(str::to_owned)
        });
        let other = NAMES.into_iter().find(|name| *name != leader).unwrap();
        let conn = nodes.open(other, "org");
        // What the others wrote is here now.
        nodes.eventually("a commit", |_| transfer(&conn, 1).ok());
        patient(&conn);
        nodes.kill(&leader);
        transfer(&conn, 1).unwrap();
        nodes.run(&leader);
    }
    nodes.verify("a", "org");
}

/// The same for a connection that is new: what it asks first does not fail while a leader is elected.
#[test]
fn a_level_is_granted_through_an_election() {
    let mut nodes = bank();
    for _ in 0..3 {
        let leader = leader(&nodes);
        let other = NAMES.into_iter().find(|name| *name != leader).unwrap();
        let conn = nodes.open(other, "org");
        patient(&conn);
        nodes.kill(&leader);
        let until = std::time::Instant::now() + Duration::from_secs(2);
        while std::time::Instant::now() < until {
            level(&conn, "write", "strong").unwrap();
            level(&conn, "write", "eventual").unwrap();
        }
        nodes.run(&leader);
    }
}

/// Connections to a process that stands still stay open, and nothing comes back.
#[test]
fn who_does_not_answer_is_not_called_reachable() {
    let nodes = bank();
    let leader = nodes.eventually("a leader", |nodes| {
        let status = nodes.status("a");
        let leader = status["partitions"][0]["log"]["leader"].as_str();
        leader.map(str::to_owned)
    });
    let conn = nodes.open(&leader, "org");
    let others = NAMES.into_iter().filter(|name| *name != leader);
    let others: Vec<&str> = others.collect();
    for name in &others {
        nodes.signal(name, "-STOP");
        support::stands_still(nodes.pid(name));
    }
    let silent = format!("{}: no", others[0]);
    nodes.eventually("it is told who does not answer", |_| {
        let said = transfer(&conn, 1).unwrap_err().to_string();
        (said.contains("1 of 3 members reachable") && said.contains(&silent)).then_some(())
    });
    for name in &others {
        nodes.signal(name, "-CONT");
    }
    nodes.eventually("it goes on", |_| transfer(&conn, 1).ok());
}

#[test]
fn a_level_can_be_left_where_it_cannot_be_kept() {
    let mut nodes = bank();
    let conns = [
        strong(&nodes, "a"),
        strong(&nodes, "a"),
        strong(&nodes, "a"),
    ];
    nodes.kill("b");
    nodes.kill("c");
    let [a, by_pragma, other] = &conns;
    nodes.eventually("a is alone", |_| balance(a, "x").err());
    // These need nobody.
    assert_eq!(level(a, "read", "session").unwrap(), "session");
    assert_eq!(balance(a, "x").unwrap(), 100);
    assert_eq!(level(a, "read", "eventual").unwrap(), "eventual");
    let session = "PRAGMA nuda_read_consistency = session";
    let answer: String = by_pragma.query_row(session, [], |row| row.get(0)).unwrap();
    assert_eq!(answer, "session");
    // These need a leader that is known: if there is none, the answer says so, and what is in force.
    for (which, to) in [("read", "bounded"), ("write", "quorum")] {
        match level(other, which, to) {
            Ok(now) => assert_eq!(now, to),
            Err(e) => {
                let error = e.to_string();
                assert!(
                    error.contains(&format!("{to} cannot be kept now")),
                    "{error}"
                );
                assert!(error.contains("consistency stays strong"), "{error}");
            }
        }
    }
    // Whichever is in force is kept: nobody can be asked.
    nodes.eventually("no read that needs a majority", |_| {
        balance(other, "x").err()
    });
}

#[test]
fn the_leader_killed_in_mid_work_loses_nothing_acknowledged() {
    let mut nodes = bank();
    let leader = leader(&nodes);
    let other = NAMES.into_iter().find(|n| *n != leader).unwrap();
    let conn = strong(&nodes, other);
    for _ in 0..5 {
        commit(&nodes, &conn, |conn| transfer(conn, 1));
    }
    conn.execute_batch("SELECT nuda_timeout(2000)").unwrap();
    nodes.kill(&leader);
    let began = Instant::now();
    let mut acknowledged = 5;
    let mut open: Vec<String> = Vec::new();
    nodes.eventually("a new leader", |_| match transfer(&conn, 1) {
        Ok(()) => {
            acknowledged += 1;
            Some(())
        }
        Err(e) => {
            open.extend(unknown_id(&e));
            None
        }
    });
    println!(
        "next strong commit {:?} after kill -9 of the leader",
        began.elapsed()
    );
    for id in open {
        acknowledged += i64::from(is_committed(&nodes, &conn, &id));
    }
    nodes.run(&leader);
    for name in NAMES {
        let conn = strong(&nodes, name);
        let seen = read(&nodes, || balance(&conn, "y"));
        assert_eq!(seen, 100 + acknowledged, "{name}");
    }
    nodes.verify(&leader, "org");
}

/// The files of a node's consensus log.
fn log_files(nodes: &Nodes, name: &str) -> Vec<std::path::PathBuf> {
    let private = nodes.dir(name).join(".nuda");
    std::fs::read_dir(private)
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            name.starts_with("consensus.db")
        })
        .collect()
}

#[test]
fn a_voter_that_lost_its_log_votes_again_under_another_name() {
    let mut nodes = bank();
    let conn = nodes.open("a", "org");
    commit(&nodes, &conn, |conn| transfer(conn, 1));
    for lost in ["c", "a"] {
        nodes.kill(lost);
        for file in log_files(&nodes, lost) {
            std::fs::remove_file(file).unwrap();
        }
        nodes.run(lost);
        nodes.eventually("it votes again", |nodes| {
            let status = nodes.status(lost);
            let votes = status["partitions"][0]["log"]["votes"].as_bool()?;
            votes.then_some(())
        });
    }
    // Both are needed for a majority now.
    nodes.kill("b");
    let (a, c) = (strong(&nodes, "a"), strong(&nodes, "c"));
    // A majority of two new logs.
    commit(&nodes, &a, |conn| transfer(conn, 1));
    assert_eq!(read(&nodes, || balance(&c, "x")), 98);
}

#[test]
fn a_restored_log_does_not_vote_for_what_it_has_forgotten() {
    let mut nodes = bank();
    let a = strong(&nodes, "a");
    commit(&nodes, &a, |conn| transfer(conn, 1));
    // An old copy of c's log, taken while it does not run, put back in place byte by byte.
    nodes.stop("c");
    let copies: Vec<_> = log_files(&nodes, "c")
        .into_iter()
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect();
    nodes.run("c");
    nodes.eventually("c acknowledges to the leader again", |nodes| {
        transfer(&a, 1).ok()?;
        let status = nodes.status("c");
        let log = &status["partitions"][0]["log"];
        (log["position"].as_u64()? > 2).then_some(())
    });
    nodes.kill("c");
    for file in log_files(&nodes, "c") {
        if !copies.iter().any(|(path, _)| *path == file) {
            std::fs::write(&file, []).unwrap();
        }
    }
    for (path, bytes) in &copies {
        std::fs::write(path, bytes).unwrap();
    }
    nodes.run("c");
    nodes.eventually("it is told", |nodes| {
        transfer(&a, 1).ok();
        nodes
            .logs()
            .contains("ends before what this node acknowledged")
            .then_some(())
    });
    nodes.kill("c");
    nodes.run("c");
    // A new incarnation.
    let c = strong(&nodes, "c");
    nodes.eventually("both read the same", |_| {
        (balance(&c, "x").ok()? == balance(&a, "x").ok()?).then_some(())
    });
    nodes.verify("a", "org");
}

fn session(conn: &Connection, token: Option<&str>) -> String {
    match token {
        None => conn.query_row("SELECT nuda_session()", [], |row| row.get(0)),
        Some(token) => conn.query_row("SELECT nuda_session(?)", [token], |row| row.get(0)),
    }
    .unwrap()
}

#[test]
fn a_session_reads_its_own_writes_on_whichever_node_it_goes_on() {
    let nodes = Nodes::with_page(&["a", "b"]);
    let conns = ["a", "b"].map(|name| nodes.open(name, "org"));
    let count = |conn: &Connection| -> rusqlite::Result<i64> {
        conn.query_row("SELECT count(*) FROM page", [], |row| row.get(0))
    };
    for conn in &conns {
        assert_eq!(level(conn, "read", "session").unwrap(), "session");
    }
    let timeout = |ms: i64| {
        for conn in &conns {
            let sql = "SELECT nuda_timeout(?)";
            let set: String = conn.query_row(sql, [ms], |row| row.get(0)).unwrap();
            assert_eq!(set, ms.to_string());
        }
    };
    timeout(15_000);
    // Written here, read there at once, in turns.
    for round in 0..40 {
        let (writer, reader) = (&conns[round % 2], &conns[(round + 1) % 2]);
        let insert = "INSERT INTO page VALUES (?, 'title', 1)";
        writer.execute(insert, [round.to_string()]).unwrap();
        session(reader, Some(&session(writer, None)));
        let seen = count(reader).unwrap_or_else(|e| panic!("{e}\n{}", nodes.logs()));
        assert_eq!(seen, i64::try_from(round).unwrap() + 1);
    }
    // A cut: refused in time, in words that say what is missing; healed: there.
    nodes.nuda_ok("a", &["fault", "--cut", "b"]);
    timeout(100);
    let insert = "INSERT INTO page VALUES ('cut', 'title', 1)";
    conns[0].execute(insert, []).unwrap();
    let site: String = conns[0]
        .query_row("SELECT nuda_site()", [], |row| row.get(0))
        .unwrap();
    session(&conns[1], Some(&session(&conns[0], None)));
    let began = Instant::now();
    let error = count(&conns[1]).unwrap_err();
    assert_eq!(code(&error), ffi::SQLITE_INTERRUPT, "{error}");
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "it waits for ever"
    );
    let facts: String = conns[1]
        .query_row("SELECT nuda_debug()", [], |row| row.get(0))
        .unwrap();
    assert!(facts.contains("session read refused"), "{facts}");
    assert!(facts.contains(&format!("of site {site}")), "{facts}");
    timeout(15_000);
    nodes.nuda_ok("a", &["fault"]);
    let seen = count(&conns[1]).unwrap_or_else(|e| panic!("{e}\n{}", nodes.logs()));
    assert_eq!(seen, 41);
}

/// Three nodes with strong tables that have every kind of constraint.
fn shop() -> Nodes {
    let nodes = Nodes::start(&NAMES);
    nodes.nuda_ok("a", &["create", "org", "--on", "a,b,c"]);
    make_tables(
        &nodes,
        &nodes.open("a", "org"),
        "CREATE TABLE buyer(id INTEGER PRIMARY KEY AUTOINCREMENT, mail TEXT UNIQUE);
         CREATE TABLE sale(id TEXT PRIMARY KEY, buyer INT REFERENCES buyer(id));
         SELECT nuda_track('buyer', 'strong');
         SELECT nuda_track('sale', 'strong');",
    );
    for name in NAMES {
        let conn = nodes.open(name, "org");
        nodes.eventually("the tables are everywhere and ordered", |_| {
            conn.prepare("SELECT * FROM sale").ok()?;
            level(&conn, "read", "strong").ok()
        });
    }
    nodes
}

#[test]
fn a_unique_value_is_had_by_one_and_changes_hands() {
    let nodes = shop();
    let (a, b) = (strong(&nodes, "a"), strong(&nodes, "b"));
    let insert = "INSERT INTO buyer(mail) VALUES ('x')";
    let anew = format!("DELETE FROM buyer; {insert}");
    let first = || b.execute_batch(&format!("BEGIN IMMEDIATE; {anew}; COMMIT"));
    overtaken(&nodes, (&a, &anew), first, &b);
    let error = refusal(&nodes, || a.execute_batch(insert));
    assert_eq!(code(&error), ffi::SQLITE_CONSTRAINT_UNIQUE, "{error}");

    commit_sql(&nodes, &b, "INSERT INTO buyer(mail) VALUES ('y')");
    commit_sql(
        &nodes,
        &b,
        "BEGIN IMMEDIATE;
         UPDATE buyer SET mail = '' WHERE mail = 'x';
         UPDATE buyer SET mail = 'x' WHERE mail = 'y';
         UPDATE buyer SET mail = 'y' WHERE mail = '';
         COMMIT;",
    );
    for name in NAMES {
        let sql = "SELECT group_concat(mail) FROM (SELECT mail FROM buyer ORDER BY id)";
        let conn = strong(&nodes, name);
        let mails: String = read(&nodes, || conn.query_row(sql, [], |row| row.get(0)));
        assert_eq!(mails, "y,x", "on {name}");
    }
    nodes.verify("a", "org");
}

#[test]
fn no_number_is_given_twice_and_a_parent_stays() {
    let nodes = shop();
    let conns = NAMES.map(|name| strong(&nodes, name));
    for conn in &conns {
        conn.execute_batch("PRAGMA foreign_keys = on").unwrap();
    }
    let mut given = Vec::new();
    for round in 0..9 {
        let conn = &conns[round % 3];
        commit_sql(&nodes, conn, "INSERT INTO buyer(mail) VALUES (NULL)");
        let id = conn.last_insert_rowid();
        assert!(!given.contains(&id), "{id} was given before: {given:?}");
        given.push(id);
        if round % 2 == 0 {
            commit_sql(&nodes, conn, &format!("DELETE FROM buyer WHERE id = {id}"));
        }
    }
    let (parent, gone) = (given[7], given[8]);
    let child = format!("INSERT INTO sale VALUES ('s', {parent})");
    commit_sql(&nodes, &conns[1], &child);
    for (conn, sql) in [
        (&conns[2], format!("DELETE FROM buyer WHERE id = {parent}")),
        (&conns[0], format!("INSERT INTO sale VALUES ('t', {gone})")),
    ] {
        let error = refusal(&nodes, || conn.execute_batch(&sql));
        assert_eq!(code(&error), ffi::SQLITE_CONSTRAINT_FOREIGNKEY, "{error}");
    }
    nodes.verify("a", "org");
}

/// Transfers while the logs of these stand still: it is not acknowledged, and nobody knows what becomes of
/// it. An election on the way makes it another question, and it is asked again.
fn is_unknown_while_stalled(nodes: &Nodes, stalled: impl Fn(&str) -> Vec<&'static str>) {
    let term = |name: &str| nodes.status(name)["partitions"][0]["log"]["term"].as_u64();
    nodes.eventually("an unknown outcome", |nodes| {
        let leader = leader(nodes);
        let (before, conn) = (term(&leader), strong(nodes, &leader));
        conn.execute_batch("SELECT nuda_timeout(300)").unwrap();
        for name in stalled(&leader) {
            nodes.nuda_ok(name, &["fault", "--stall-log"]);
        }
        let done = transfer(&conn, 1);
        let after = term(&leader);
        for name in stalled(&leader) {
            nodes.nuda_ok(name, &["fault"]);
        }
        match done {
            Ok(()) => assert_ne!(before, after, "acknowledged\n{}", nodes.logs()),
            Err(e) => return unknown_id(&e),
        }
        None
    });
}

#[test]
fn nothing_is_acknowledged_before_the_disks_of_a_majority_have_it() {
    let nodes = bank();
    let others = |leader: &str| NAMES.into_iter().filter(|n| *n != leader).collect();
    let itself = |leader: &str| NAMES.into_iter().filter(|n| *n == leader).collect();
    let conn = strong(&nodes, "a");
    // Both followers take it into memory, and the leader has it on disk: no majority.
    is_unknown_while_stalled(&nodes, others);
    nodes.eventually("it goes on", |_| transfer(&conn, 1).ok());
    is_unknown_while_stalled(&nodes, itself);
    nodes.eventually("it goes on", |_| transfer(&conn, 1).ok());
    whole(&nodes);
}

/// No money came or went.
fn whole(nodes: &Nodes) {
    for name in NAMES {
        let conn = strong(nodes, name);
        let sql = "SELECT sum(balance) FROM account";
        let sum: i64 = read(nodes, || conn.query_row(sql, [], |row| row.get(0)));
        assert_eq!(sum, 200, "{name}");
    }
    nodes.verify("a", "org");
}

/// A leader sends entries on before its own disk has them. One that comes back without them must not give
/// their places to others: the followers would keep what they have.
#[test]
fn a_leader_that_comes_back_gives_no_place_of_its_log_twice() {
    let mut nodes = bank();
    let leader = leader(&nodes);
    let conn = strong(&nodes, &leader);
    commit(&nodes, &conn, |conn| transfer(conn, 1));
    nodes.nuda_ok(&leader, &["fault", "--stall-log"]);
    conn.execute_batch("SELECT nuda_timeout(300)").unwrap();
    // Whatever is said of it: nobody's disk but the followers' may have it.
    let _ = transfer(&conn, 1);
    // Before the others hold an election.
    nodes.kill(&leader);
    nodes.run(&leader);
    nodes.eventually("it goes on", |_| transfer(&conn, 3).ok());
    whole(&nodes);
}
