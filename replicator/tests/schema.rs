//! Definitions through the log, across real daemons: any node tracks, untracks and changes tables,
//! and whoever was away, behind or second catches up.

// A test fails by panicking, in its helpers too.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use support::definitions::{NAMES, Writer, alter, define, everywhere, number, ordered, text};
use support::open;
use support::outcomes::{insist, is_refused, patient, read, refusal, set_level, unknown_id};

#[test]
fn any_node_tracks_and_untracks() {
    let nodes = ordered();
    let (a, b, c) = (
        nodes.open("a", "org"),
        nodes.open("b", "org"),
        nodes.open("c", "org"),
    );
    b.execute_batch(
        "CREATE TABLE note(id TEXT PRIMARY KEY, body TEXT);
         INSERT INTO note VALUES ('1', 'there before');",
    )
    .unwrap();
    let said = define(&nodes, &b, "SELECT nuda_track('note')");
    // If nobody knew for a while, it was done already.
    let is_told = said.starts_with("tracking note (1 rows)") || said.contains("already");
    assert!(is_told, "{said}");
    // As a strong transaction of b's.
    let level = text(&b, "SELECT nuda_last_commit() ->> 'level'").unwrap();
    assert_eq!(level, "strong");
    everywhere(&nodes, "SELECT * FROM note");
    c.execute("INSERT INTO note VALUES ('2', 'from c')", [])
        .unwrap();
    c.execute_batch("CREATE TABLE account(id TEXT PRIMARY KEY, balance INT)")
        .unwrap();
    define(&nodes, &c, "SELECT nuda_track('account', 'strong')");
    everywhere(&nodes, "SELECT * FROM account");
    nodes.verify("a", "org");
    assert_eq!(number(&a, "SELECT count(*) FROM note"), 2);
    define(&nodes, &c, "SELECT nuda_untrack('note')");
    for conn in [&a, &b] {
        nodes.eventually("note is untracked", |_| {
            let sql = "SELECT count(*) FROM nuda_tables WHERE name = 'note'";
            (number(conn, sql) == 0).then_some(())
        });
        assert_eq!(number(conn, "SELECT count(*) FROM note"), 2);
    }
    nodes.verify("a", "org");
}

#[test]
fn a_definition_needs_a_majority_and_nothing_is_left_of_one_that_has_none() {
    let mut nodes = ordered();
    nodes.stop("b");
    nodes.stop("c");
    let a = nodes.open("a", "org");
    a.execute_batch("SELECT nuda_timeout(300); CREATE TABLE note(id TEXT PRIMARY KEY)")
        .unwrap();
    let refused = text(&a, "SELECT nuda_track('note')").unwrap_err();
    assert!(
        is_refused(&refused) || unknown_id(&refused).is_some(),
        "{refused}"
    );
    assert_eq!(
        number(&a, "SELECT count(*) FROM nuda_tables WHERE name = 'note'"),
        0
    );
    // Plain writes go on, and so does the founder's rule's end: nothing is defined alone.
    a.execute("INSERT INTO page VALUES ('x', 'y', 1)", [])
        .unwrap();
    nodes.run("b");
    nodes.eventually("the definition is accepted", |_| {
        text(&a, "SELECT nuda_track('note')").ok()
    });
    nodes.run("c");
    everywhere(&nodes, "SELECT * FROM note");
    nodes.verify("a", "org");
}

#[test]
fn a_column_added_at_one_node_while_others_write() {
    let nodes = ordered();
    let writers = ["a", "c"].map(|name| Writer::start(&nodes, name));
    let b = nodes.open("b", "org");
    b.execute_batch(
        "INSERT INTO page VALUES ('b', 'by b', 1);
         ALTER TABLE page ADD COLUMN lang TEXT NOT NULL DEFAULT 'en' COLLATE NOCASE;
         UPDATE page SET lang = 'de' WHERE id = 'b';
         CREATE INDEX page_lang ON page(lang);",
    )
    .unwrap();
    everywhere(
        &nodes,
        "SELECT lang FROM page INDEXED BY page_lang WHERE lang = 'x'",
    );
    b.execute(
        "UPDATE page SET title = 'later', lang = 'fr' WHERE id = 'b'",
        [],
    )
    .unwrap();
    let written: i64 = writers.into_iter().map(Writer::end).sum();
    nodes.verify("a", "org");
    for name in NAMES {
        let conn = nodes.open(name, "org");
        assert_eq!(number(&conn, "SELECT count(*) FROM page"), written + 1);
        let lang = text(&conn, "SELECT lang FROM page WHERE lang = 'FR'");
        assert_eq!(lang.as_deref(), Ok("fr"), "on {name}");
        let hits = "SELECT sum(hits) FROM page";
        assert_eq!(number(&conn, hits), 2 * written + 1);
    }
}

#[test]
fn levels_that_promise_a_majority_never_leave_a_new_column_behind() {
    let nodes = ordered();
    let (a, b) = (nodes.open("a", "org"), nodes.open("b", "org"));
    b.execute_batch("INSERT INTO page VALUES ('x', 'old', 0)")
        .unwrap();
    set_level(&nodes, &b, "write", "quorum");
    nodes.verify("a", "org");
    let both = "BEGIN IMMEDIATE; ALTER TABLE page ADD COLUMN n INT DEFAULT 1;
        UPDATE page SET title = 'new', n = 2; COMMIT;";
    let refused = b.execute_batch(both).unwrap_err().to_string();
    assert!(refused.contains("no place in the log yet"), "{refused}");
    let _ = b.execute_batch("ROLLBACK");
    // A strong transaction carries the definition with what it wrote.
    set_level(&nodes, &b, "write", "strong");
    insist(&nodes, &b, both);
    set_level(&nodes, &a, "read", "strong");
    patient(&a);
    let seen = read(&nodes, || {
        text(&a, "SELECT title || n FROM page WHERE id = 'x'")
    });
    assert_eq!(seen, "new2");
    nodes.verify("a", "org");
}

#[test]
fn two_nodes_add_the_same_column_at_once() {
    let nodes = ordered();
    let conns = NAMES.map(|name| nodes.open(name, "org"));
    for (name, conn) in NAMES.iter().zip(&conns) {
        conn.execute("INSERT INTO page(id, hits) VALUES (?, 0)", [name])
            .unwrap();
    }
    nodes.verify("a", "org");
    let [_, b, c] = &conns;
    // Each also writes to it before it hears of the other's.
    for name in ["b", "c"] {
        nodes.freeze(name, "org");
    }
    for (conn, name) in [(b, "b"), (c, "c")] {
        conn.execute_batch(&format!(
            "BEGIN IMMEDIATE;
             ALTER TABLE page ADD COLUMN score COUNTER DEFAULT 0;
             ALTER TABLE page ADD COLUMN lang TEXT;
             UPDATE page SET score = score + 10, lang = '{name}' WHERE id IN ('a', '{name}');
             COMMIT;"
        ))
        .unwrap();
    }
    for name in ["b", "c"] {
        nodes.signal(name, "-CONT");
    }
    everywhere(&nodes, "SELECT lang, score FROM page");
    for conn in &conns {
        nodes.eventually("both sides' values are there", |_| {
            let sql = "SELECT group_concat(id || score, ' ') FROM
                (SELECT * FROM page ORDER BY id)";
            (text(conn, sql).as_deref() == Ok("a20 b10 c10")).then_some(())
        });
        let own = "SELECT count(*) FROM page WHERE id IN ('b', 'c') AND lang = id";
        assert_eq!(number(conn, own), 2);
    }
    nodes.verify("a", "org");
}

#[test]
fn of_two_different_definitions_the_later_one_is_told_how_to_go_on() {
    let nodes = ordered();
    let (b, c) = (nodes.open("b", "org"), nodes.open("c", "org"));
    // c does not hear of b's in time.
    nodes.freeze("c", "org");
    c.execute_batch(
        "ALTER TABLE page ADD COLUMN size INTEGER DEFAULT 0;
         INSERT INTO page VALUES ('c', 'by c', 0, 7);",
    )
    .unwrap();
    b.execute_batch("ALTER TABLE page ADD COLUMN size TEXT")
        .unwrap();
    let a = nodes.open("a", "org");
    nodes.eventually("b's is accepted", |_| {
        a.prepare("SELECT size FROM page").ok().map(drop)
    });
    nodes.signal("c", "-CONT");
    nodes.eventually("c says what is in the way", |_| {
        let sql = "SELECT reason FROM nuda_waiting WHERE reason LIKE '%RENAME COLUMN%'";
        text(&c, sql).ok()
    });
    // Writes of c go on meanwhile, and reach the others.
    c.execute("INSERT INTO page(id, hits) VALUES ('d', 1)", [])
        .unwrap();
    nodes.eventually("a has them", |_| {
        (number(&a, "SELECT count(*) FROM page") == 2).then_some(())
    });
    c.execute_batch("ALTER TABLE page RENAME COLUMN size TO size_here")
        .unwrap();
    everywhere(&nodes, "SELECT size, size_here FROM page");
    nodes.eventually("c's value is everywhere", |_| {
        let sql = "SELECT count(*) FROM page WHERE size_here = 7 AND size IS NULL";
        (number(&a, sql) == 1).then_some(())
    });
    nodes.verify("a", "org");
}

#[test]
fn renamed_and_dropped_while_all_write_and_one_is_down() {
    let mut nodes = ordered();
    let b = nodes.open("b", "org");
    b.execute_batch("INSERT INTO page VALUES ('x', 'old title', 0), ('y', 'y', 0)")
        .unwrap();
    nodes.verify("a", "org");
    nodes.stop("c");
    // c's application goes on under the definition that it knows.
    let c = nodes.open("c", "org");
    c.execute_batch(
        "UPDATE page SET title = 'by c', hits = hits + 5 WHERE id = 'x';
         INSERT INTO page VALUES ('c', 'new at c', 7);",
    )
    .unwrap();
    let writers = ["a", "b"].map(|name| Writer::start(&nodes, name));
    alter(
        &nodes,
        &b,
        "ALTER TABLE page ADD COLUMN extra TEXT DEFAULT 'e'",
    );
    alter(&nodes, &b, "CREATE INDEX page_title ON page(title)");
    alter(
        &nodes,
        &b,
        "ALTER TABLE page RENAME COLUMN title TO heading",
    );
    b.execute_batch("UPDATE page SET heading = 'y from b', extra = 'f' WHERE id = 'y'")
        .unwrap();
    alter(&nodes, &b, "ALTER TABLE page DROP COLUMN extra");
    nodes.run("c");
    everywhere(
        &nodes,
        "SELECT heading FROM page INDEXED BY page_title WHERE heading = ''",
    );
    let written: i64 = writers.into_iter().map(Writer::end).sum();
    nodes.verify("a", "org");
    for name in NAMES {
        let conn = nodes.open(name, "org");
        let found = text(
            &conn,
            "SELECT group_concat(heading || hits, ' ') FROM
               (SELECT * FROM page WHERE id IN ('c', 'x', 'y') ORDER BY id)",
        );
        assert_eq!(
            found.as_deref(),
            Ok("new at c7 by c5 y from b0"),
            "on {name}"
        );
        assert_eq!(number(&conn, "SELECT count(*) FROM page"), written + 3);
        let extra = text(&conn, "SELECT extra FROM page").unwrap_err();
        assert!(extra.to_string().contains("no such column"), "{extra}");
    }
    // Another name for the table, and its end.
    alter(&nodes, &c, "ALTER TABLE page RENAME TO leaf");
    everywhere(&nodes, "SELECT heading, hits FROM leaf");
    c.execute("UPDATE leaf SET hits = hits + 1 WHERE id = 'x'", [])
        .unwrap();
    nodes.verify("a", "org");
    alter(&nodes, &c, "DROP TABLE leaf");
    for name in NAMES {
        let conn = nodes.open(name, "org");
        nodes.eventually("the table is gone", |_| {
            text(&conn, "SELECT count(*) || '' FROM leaf").err()
        });
    }
    nodes.verify("a", "org");
}

#[test]
fn a_strong_table_gets_a_unique_index_that_holds_everywhere() {
    let nodes = ordered();
    let (a, b) = (nodes.open("a", "org"), nodes.open("b", "org"));
    b.execute_batch("CREATE TABLE account(id TEXT PRIMARY KEY, iban TEXT)")
        .unwrap();
    define(&nodes, &b, "SELECT nuda_track('account', 'strong')");
    everywhere(&nodes, "SELECT * FROM account");
    insist(&nodes, &b, "INSERT INTO account VALUES ('a', '1')");
    alter(
        &nodes,
        &b,
        "CREATE UNIQUE INDEX account_iban ON account(iban)",
    );
    alter(
        &nodes,
        &a,
        "ALTER TABLE account ADD COLUMN balance INT NOT NULL DEFAULT 0 CHECK (balance >= 0)",
    );
    for (name, refused) in [
        ("a", "INSERT INTO account VALUES ('b', '1', 0)"),
        ("c", "UPDATE account SET balance = -1"),
    ] {
        let conn = nodes.open(name, "org");
        nodes.eventually("it is refused by the constraint", |_| {
            let error = conn.execute_batch(refused).unwrap_err();
            error
                .to_string()
                .contains("constraint failed")
                .then_some(())
        });
    }
    for (sql, why) in [
        (
            "ALTER TABLE account ADD COLUMN iban",
            "duplicate column name",
        ),
        (
            "ALTER TABLE account ADD COLUMN x; DELETE FROM account",
            "of statements that change a schema",
        ),
    ] {
        let call = || b.query_row("SELECT nuda_exec(?)", [sql], |_| Ok(()));
        let error = refusal(&nodes, call);
        assert!(error.to_string().contains(why), "{error}");
    }
    // The leader's own function is no way round the order.
    b.execute_batch("BEGIN; INSERT INTO page VALUES ('x', 'before it', 0)")
        .unwrap();
    let error = text(&b, "SELECT nuda_alter('ALTER TABLE page ADD COLUMN y')").unwrap_err();
    assert!(
        error.to_string().contains("a transaction of its own"),
        "{error}"
    );
    b.execute_batch("ROLLBACK").unwrap();
    nodes.verify("a", "org");
}

#[test]
fn the_leader_dies_in_the_middle() {
    let mut nodes = ordered();
    let leader = nodes.eventually("a leader", |nodes| {
        let status = nodes.status("a");
        status["partitions"][0]["log"]["leader"]
            .as_str()
            .map(str::to_owned)
    });
    let rest: Vec<&str> = NAMES.into_iter().filter(|name| *name != leader).collect();
    let conn = nodes.open(rest[0], "org");
    conn.execute_batch("SELECT nuda_timeout(10000); INSERT INTO page VALUES ('x', 'title', 1);")
        .unwrap();
    let writer = Writer::start(&nodes, rest[1]);
    let path = nodes.file(rest[0], "org");
    let altering = std::thread::spawn(move || {
        let conn = open(&path);
        conn.execute_batch("SELECT nuda_timeout(10000)").unwrap();
        (0..6)
            .map(|n| {
                let sql = format!("SELECT nuda_exec('ALTER TABLE page ADD COLUMN c{n}')");
                text(&conn, &sql).is_ok()
            })
            .collect::<Vec<bool>>()
    });
    std::thread::sleep(std::time::Duration::from_millis(30));
    nodes.kill(&leader);
    let done = altering.join().unwrap();
    nodes.run(&leader);
    alter(
        &nodes,
        &conn,
        "ALTER TABLE page RENAME COLUMN title TO heading",
    );
    everywhere(&nodes, "SELECT heading FROM page");
    writer.end();
    nodes.verify(rest[0], "org");
    // What was acknowledged is there, on every node.
    for name in NAMES {
        let conn = nodes.open(name, "org");
        for (n, done) in done.iter().enumerate() {
            let there = conn.prepare(&format!("SELECT c{n} FROM page")).is_ok();
            assert!(there || !done, "c{n} on {name}");
        }
        assert_eq!(
            text(&conn, "SELECT heading FROM page WHERE id = 'x'").as_deref(),
            Ok("title")
        );
    }
}
