//! Clocks that are an hour off: replicas agree, a fast clock does not win for ever, people are told.
//!
//! Needs libfaketime (Debian package `faketime`).

// A test fails by panicking, in its helpers too.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use support::{Nodes, count, http, insert};

#[test]
#[ignore = "run by the other tests, as an application"]
fn writer() {
    match std::env::var("WRITE_LEVEL") {
        Ok(level) => write_in_log(&level),
        Err(_) => support::write_as_told(),
    }
}

/// The same in transactions that the log numbers, or in calls at its leader.
fn write_in_log(level: &str) {
    let told = |name: &str| std::env::var(name).unwrap();
    let conn = support::open(Path::new(&told("WRITE_TO")));
    // The test harness may have begun a line.
    println!();
    let until_done = |sql: &str| {
        let until = Instant::now() + Duration::from_secs(60);
        while let Err(error) = conn.execute_batch(sql) {
            assert!(Instant::now() < until, "{sql}: {error}");
            println!("refused: {error}");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    if level != CALL {
        until_done(&format!("SELECT nuda_write_consistency('{level}')"));
    }
    for n in 0..told("WRITE_COUNT").parse::<usize>().unwrap() {
        let id = format!("{} {n}", told("WRITE_PREFIX"));
        // Harmless if it was done after all.
        let write = format!("INSERT OR IGNORE INTO page VALUES ('{id}', '{level}', 0)");
        until_done(&match level {
            CALL => call(&write),
            _ => write,
        });
        println!("committed {id}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The level of what is run at the leader.
const CALL: &str = "call";

fn call(sql: &str) -> String {
    format!("SELECT nuda_exec('{}')", sql.replace('\'', "''"))
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
    nodes.envs = clock_of(&library, offset);
    Some(nodes)
}

/// The environment of processes whose clocks are off by so much.
fn clock_of(library: &str, offset: &str) -> Vec<(String, String)> {
    let set = [
        ("LD_PRELOAD", library),
        ("FAKETIME", offset),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    set.map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
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

/// What the log holds has its stamp for good, and all that comes after it follows that stamp.
#[test]
fn an_hour_ahead_puts_nothing_into_the_log_that_is() {
    let Some(mut nodes) = with_clock("+3600s") else {
        return;
    };
    nodes.run("c");
    let a = nodes.open("a", "org");
    nodes.eventually("there is a log", |_| {
        a.execute_batch("SELECT nuda_read_consistency('strong')")
            .ok()
    });
    for level in ["strong", "quorum", CALL] {
        // What it follows is re-stamped before it travels.
        write_at_c(&nodes, &format!("before {level}"));
        let told = ("WRITE_LEVEL".to_owned(), level.to_owned());
        nodes.envs.push(told);
        assert_eq!(nodes.writer("c", level, 3, "NORMAL").finish().len(), 3);
        nodes.envs.pop();
    }
    // Whoever runs the calls of others does so by the right time as well.
    nodes.eventually("c leads", |nodes| {
        let status = nodes.status("c");
        let leader = status["partitions"][0]["log"]["leader"].as_str()?;
        if leader == "c" {
            return Some(());
        }
        // For longer than an election takes.
        nodes.nuda_ok(leader, &["fault", "--cut", "a,b,c"]);
        std::thread::sleep(Duration::from_secs(3));
        nodes.nuda_ok(leader, &["fault"]);
        None
    });
    let b = nodes.open("b", "org");
    let hit = "UPDATE page SET hits = hits + 1 WHERE id = 'hits'";
    nodes.eventually("a call", |_| b.execute_batch(&call(hit)).ok());
    nodes.verify("a", "org");
    for node in ["a", "b", "c"] {
        assert!(stamp_ms(&nodes, node) < now_ms() + 60_000, "{node}");
    }
    for node in ["a", "b"] {
        set_title(&nodes, node, node);
        nodes.verify(node, "org");
        assert_eq!(nodes.status(node)["counters"]["clock_ahead"], 0, "{node}");
    }
}

/// What the daemon said of the clock may be old: it judges each proposal, and the next try has the right time. (At
/// level strong it is asked when a transaction begins.)
#[test]
fn a_clock_that_jumps_puts_nothing_into_the_log_that_is_ahead() {
    let Some(mut nodes) = with_clock("+0") else {
        return;
    };
    let file = nodes.home.path().join("clock");
    std::fs::write(&file, "+0\n").unwrap();
    nodes.envs.retain(|(name, _)| name != "FAKETIME");
    for (name, value) in [
        ("FAKETIME_TIMESTAMP_FILE", file.to_str().unwrap()),
        ("FAKETIME_NO_CACHE", "1"),
        ("WRITE_LEVEL", "quorum"),
    ] {
        nodes.envs.push((name.to_owned(), value.to_owned()));
    }
    nodes.run("c");
    let writer = nodes.writer("c", "jump", 50, "NORMAL");
    for hour in 1..=4 {
        let committed = writer.committed().len();
        nodes.eventually("it writes", |_| {
            (writer.committed().len() > committed + 5).then_some(())
        });
        std::fs::write(&file, format!("+{hour}h\n")).unwrap();
    }
    assert_eq!(writer.finish().len(), 50);
    nodes.verify("a", "org");
    for node in ["a", "b", "c"] {
        assert!(stamp_ms(&nodes, node) < now_ms() + 60_000, "{node}");
    }
    let said = std::fs::read_to_string(nodes.home.path().join("jump.said")).unwrap();
    let refused = said
        .lines()
        .filter(|line| line.contains("ahead of the other nodes'"));
    // None where the clock jumped in the middle of a COMMIT.
    assert!((1..=4).contains(&refused.count()), "{said}");
}

/// A founder that is alone is judged by nobody, and those who join follow what it wrote.
#[test]
fn who_follows_stamps_that_are_ahead_is_not_re_stamped_for_it() {
    let Some(library) = support::faketime() else {
        support::skipped("wrong clocks: no libfaketime; apt-get install faketime");
        return;
    };
    let mut nodes = Nodes::start(&[]);
    nodes.envs = clock_of(&library, "+3600s");
    nodes.run("a");
    nodes.nuda_ok("a", &["create", "org", "--on", "a"]);
    nodes.open("a", "org").execute_batch(support::PAGE).unwrap();
    insert(&nodes.open("a", "org"), "hits");
    assert_eq!(nodes.writer("a", "alone", 3, "NORMAL").finish().len(), 3);
    nodes.stop("a");
    nodes.envs.clear();
    nodes.seed = None;
    nodes.run("a");
    nodes.run("b");
    nodes.nuda_ok("a", &["create", "org", "--on", "a,b"]);
    nodes.eventually("b holds it", |nodes| {
        nodes.file("b", "org").exists().then_some(())
    });
    nodes.verify("a", "org");
    assert!(stamp_ms(&nodes, "b") > now_ms() + 3_000_000);
    for node in ["a", "b"] {
        for n in 0..3 {
            insert(&nodes.open(node, "org"), &format!("{node} {n}"));
            nodes.verify(node, "org");
        }
        assert_eq!(nodes.status(node)["counters"]["clock_ahead"], 0, "{node}");
    }
}
