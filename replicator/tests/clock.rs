//! Clocks that are an hour off: replicas agree, a fast clock does not win for ever, people are told.
//!
//! Needs libfaketime (Debian package `faketime`).

// A test fails by panicking, in its helpers too.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::time::{SystemTime, UNIX_EPOCH};

use support::{Nodes, count, http, insert};

#[test]
#[ignore = "run by the other tests, as an application"]
fn writer() {
    support::write_as_told();
}

/// Three nodes; the clocks of c's daemon and applications are off by so much.
fn with_clock(offset: &str) -> Option<Nodes> {
    with_clock_of("c", offset)
}

/// The same with another node. It is stopped, and whatever is started next has that clock.
fn with_clock_of(node: &str, offset: &str) -> Option<Nodes> {
    let Some(library) = support::faketime() else {
        support::skipped("wrong clocks: no libfaketime; apt-get install faketime");
        return None;
    };
    let mut nodes = Nodes::with_page(&["a", "b", "c"]);
    for id in ["hits", "shared"] {
        insert(&nodes.open("a", "org"), id);
    }
    nodes.verify("a", "org");
    nodes.stop(node);
    for (name, value) in [
        ("LD_PRELOAD", library.as_str()),
        ("FAKETIME", offset),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ] {
        nodes.envs.push((name.to_owned(), value.to_owned()));
    }
    Some(nodes)
}

fn set_title(nodes: &Nodes, node: &str, title: &str) {
    let conn = nodes.open(node, "org");
    conn.execute("UPDATE page SET title = ? WHERE id = 'shared'", [title])
        .unwrap();
}

fn titles(nodes: &Nodes) -> Vec<String> {
    let title = "SELECT title FROM page WHERE id = 'shared'";
    let of = |n: &&str| {
        nodes
            .open(n, "org")
            .query_row(title, [], |r| r.get(0))
            .unwrap()
    };
    ["a", "b", "c"].iter().map(of).collect()
}

/// The latest stamp in a node's file.
fn stamp_ms(nodes: &Nodes, node: &str) -> i64 {
    let conn = nodes.open(node, "org");
    conn.query_row("SELECT stamp_ms FROM nuda_status", [], |r| r.get(0))
        .unwrap()
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_millis()).unwrap()
}

/// A write of c's application, whose clock is off: `shared` is edited through a page's name.
fn write_at_c(nodes: &Nodes, what: &str) {
    let c = nodes.open("c", "org");
    c.execute_batch(
        "CREATE TEMP TABLE unused(x); CREATE TRIGGER IF NOT EXISTS shared AFTER INSERT ON page
         BEGIN UPDATE page SET title = NEW.id WHERE id = 'shared'; END;",
    )
    .unwrap();
    drop(c);
    assert_eq!(nodes.writer("c", what, 3, "NORMAL").finish().len(), 3);
    let c = nodes.open("c", "org");
    c.execute_batch("DROP TRIGGER shared").unwrap();
}

#[test]
fn an_hour_ahead() {
    let Some(mut nodes) = with_clock("+3600s") else {
        return;
    };
    // Written while c's daemon is away, and concurrently, later, at b.
    write_at_c(&nodes, "while away");
    set_title(&nodes, "b", "later at b");
    nodes.run("c");
    nodes.verify("a", "org");
    assert_eq!(
        titles(&nodes),
        ["while away 2"; 3],
        "the first to be judged late was written last"
    );
    // Written while c is cut off, and concurrently, later, at b.
    nodes.nuda_ok("c", &["fault", "--cut", "a,b"]);
    write_at_c(&nodes, "while cut off");
    nodes.eventually("c has judged it, all of it", |nodes| {
        // What is written at b from then on is later, however well c knows the time.
        let counted = nodes.status("c")["counters"]["clock_ahead"].as_u64()?;
        let latest = stamp_ms(nodes, "c");
        (counted >= 2 && latest < now_ms()).then_some(())
    });
    set_title(&nodes, "b", "later than cut off");
    nodes.nuda_ok("c", &["fault"]);
    nodes.verify("a", "org");
    assert_eq!(titles(&nodes), ["later than cut off"; 3]);

    for node in ["a", "b", "c"] {
        assert_eq!(count(&nodes.open(node, "org")), 2 + 6);
        assert!(stamp_ms(&nodes, node) < now_ms() + 120_000, "{node}");
    }
    let status = nodes.status("c");
    let alarm = status["alarms"][0].as_str().unwrap_or_default();
    assert!(alarm.contains("ahead of the other nodes'"), "{status}");
    assert_eq!(nodes.status("a")["alarms"].as_array().unwrap().len(), 0);
    let (_, metrics) = http(&nodes.address("c"), "GET /metrics HTTP/1.1", b"");
    assert!(!metrics.contains("nuda_clock_ahead_ms 0\n"), "{metrics}");
    assert!(nodes.logs_of("c").contains("re-stamped"));
}

#[test]
fn an_hour_behind() {
    let Some(mut nodes) = with_clock("-3600s") else {
        return;
    };
    nodes.run("c");
    write_at_c(&nodes, "behind");
    nodes.verify("a", "org");
    // It had seen what it edited: that is later, whatever the clock says.
    assert_eq!(titles(&nodes), ["behind 2"; 3]);
    let status = nodes.status("c");
    let alarm = status["alarms"][0].as_str().unwrap_or_default();
    assert!(alarm.contains("behind the other nodes'"), "{status}");
    for node in ["a", "b"] {
        assert_eq!(nodes.status(node)["alarms"].as_array().unwrap().len(), 0);
        assert_eq!(count(&nodes.open(node, "org")), 5);
    }
}

/// What is about to be re-stamped is in no snapshot that others get.
#[test]
fn a_member_joins_from_one_that_is_an_hour_ahead_while_that_writes() {
    let Some(mut nodes) = with_clock_of("a", "+3600s") else {
        return;
    };
    // It has another address now.
    nodes.seed = None;
    nodes.run("a");
    let writer = nodes.writer("a", "ahead", 3_000, "NORMAL");
    nodes.envs.clear();
    for _ in 0..5 {
        nodes.kill("b");
        std::fs::remove_dir_all(nodes.dir("b")).unwrap();
        nodes.run("b");
        nodes.eventually("b holds it again", |nodes| {
            nodes.file("b", "org").exists().then_some(())
        });
    }
    assert_eq!(writer.finish().len(), 3_000);
    nodes.verify("a", "org");
    for node in ["a", "b", "c"] {
        assert!(!nodes.logs_of(node).contains("two variants"), "{node}");
    }
}
