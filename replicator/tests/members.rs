//! Who holds a partition: nodes that are waited for, and lists that change at two nodes at once.

// A test fails by panicking, in its helpers too.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::time::Duration;

use support::{Nodes, count, insert};

#[test]
fn create_waits_for_the_daemon_and_for_the_nodes() {
    let mut nodes = Nodes::start(&["b"]);
    std::thread::scope(|scope| {
        let made = {
            let nodes = &nodes;
            scope.spawn(move || nodes.nuda("a", &["create", "org", "--on", "a,b,c"]))
        };
        // Nothing of a or c is there while the command waits already.
        let late: Vec<_> = ["a", "c"].map(|name| nodes.command(name)).into();
        let late: Vec<_> = late.into_iter().map(|mut c| c.spawn().unwrap()).collect();
        let made = made.join().unwrap();
        let said = String::from_utf8_lossy(&made.stderr).into_owned();
        assert!(made.status.success(), "{said}");
        for mut child in late {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    });
    nodes.run("a");
    let missing = ["create", "two", "--on", "a,b,x,y", "--timeout-s", "1"];
    let refused = nodes.nuda("a", &missing);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success());
    assert!(said.contains("there is no node x, y "), "{said}");
    assert!(said.contains("nuda serve --dir x --peer"), "{said}");
}

#[test]
fn two_nodes_change_the_list_at_the_same_moment() {
    let nodes = Nodes::with_page(&["a", "b"]);
    let mut nodes = nodes;
    for name in ["c", "d", "e"] {
        nodes.run(name);
    }
    for round in 0..3 {
        let name = format!("p{round}");
        nodes.nuda_ok("a", &["create", &name, "--on", "a,b"]);
        let list = |on: &'static str, from: &'static str| {
            let (nodes, name) = (&nodes, &name);
            move || nodes.nuda_ok(from, &["create", name, "--on", on])
        };
        std::thread::scope(|scope| {
            scope.spawn(list("a,b,c,d", "a"));
            scope.spawn(list("a,b,e", "b"));
        });
        for node in ["a", "b", "c", "d", "e"] {
            nodes.eventually("all know of all", |nodes| {
                let status = nodes.nuda(node, &["status", &name, "--json"]);
                let status: serde_json::Value = serde_json::from_slice(&status.stdout).ok()?;
                let members = status["partitions"][0]["members"].as_array()?;
                (members.len() == 5).then_some(())
            });
        }
        nodes.verify("e", &name);
    }
    let a = nodes.open("a", "org");
    insert(&a, "still works");
    nodes.verify("b", "org");
    assert_eq!(count(&nodes.open("b", "org")), 1);
}

/// A node that has heard that it was removed is added again, and what only it has comes along.
#[test]
fn a_removed_member_is_added_again() {
    let nodes = Nodes::with_page(&["a", "b", "c"]);
    let names = ["a", "b", "c"].map(|name| nodes.open(name, "org"));
    insert(&names[2], "before");
    nodes.verify("a", "org");
    nodes.nuda_ok("a", &["members", "org", "--remove", "c"]);
    nodes.eventually("it knows", |nodes| {
        let problems = nodes.nuda("c", &["status", "org"]).stdout;
        let problems = String::from_utf8_lossy(&problems).into_owned();
        problems
            .contains("was removed from the member list")
            .then_some(())
    });
    insert(&names[0], "meanwhile");
    insert(&names[2], "alone");
    nodes.nuda_ok("a", &["create", "org", "--on", "a,b,c"]);
    nodes.eventually("all have it all", |_| {
        names.iter().all(|conn| count(conn) == 3).then_some(())
    });
    nodes.verify("a", "org");
}

/// A member that begins anew ships nothing of the life that is over, although its file is opened again meanwhile, and
/// is that of a machine that has just started: it is written again, and counts once.
#[test]
fn a_life_that_is_over_is_not_gone_on_with() {
    let nodes = Nodes::with_page(&["a", "b", "c"]);
    let names = ["a", "b", "c"].map(|name| nodes.open(name, "org"));
    insert(&names[0], "before");
    nodes.verify("a", "org");
    nodes.nuda_ok("a", &["members", "org", "--remove", "c"]);
    let c = &names[2];
    c.execute_batch("UPDATE page SET hits = hits + 1").unwrap();
    nodes.eventually("it knows", |nodes| {
        let said = nodes.nuda_ok("c", &["status", "org"]);
        said.contains("was removed from the member list")
            .then_some(())
    });
    c.execute_batch(
        "UPDATE nuda_state SET identity = 'of another boot';
         BEGIN IMMEDIATE; UPDATE page SET title = 'new'",
    )
    .unwrap();
    nodes.nuda_ok("a", &["create", "org", "--on", "a,b,c"]);
    nodes.eventually("the snapshot has waited in vain", |nodes| {
        let log = nodes.logs_of("c");
        log.contains("locked by a long transaction").then_some(())
    });
    // Now it is fetched again.
    std::thread::sleep(Duration::from_secs(1));
    c.execute_batch("COMMIT").unwrap();
    nodes.eventually("c is re-seeded", |nodes| {
        nodes.logs_of("c").contains("re-seeded").then_some(())
    });
    nodes.verify("a", "org");
    for conn in &names {
        let row = "SELECT title, hits FROM page";
        let row = conn.query_row(row, [], |row| Ok((row.get(0)?, row.get(1)?)));
        assert_eq!(row, Ok(("new".to_owned(), 2)));
    }
}

/// Without the founder nobody could change tables any more, until it has left them to the log.
#[test]
fn the_founder_stays_until_tables_are_left_to_the_log() {
    let mut nodes = Nodes::start(&["a", "b", "c"]);
    nodes.nuda_ok("a", &["create", "old", "--on", "a,b,c"]);
    nodes.kill("c");
    nodes.nuda_ok("a", &["create", "org", "--on", "a,b,c"]);
    // Whoever is not on b's list yet could not be taken off it.
    nodes.eventually("b knows of c", |nodes| {
        let said = nodes.nuda("b", &["members", "org", "--json"]);
        let said: serde_json::Value = serde_json::from_slice(&said.stdout).ok()?;
        let list = said["members"].as_array()?;
        list.contains(&"c".into()).then_some(())
    });
    let nobody = nodes.nuda("b", &["members", "org", "--remove", "nobody"]);
    let said = String::from_utf8_lossy(&nobody.stderr).into_owned();
    assert!(
        said.contains("nobody is no member of org as far as b knows"),
        "{said}"
    );
    let refused = nodes.eventually("a stays", |nodes| {
        let refused = nodes.nuda("b", &["members", "org", "--remove", "a"]);
        assert!(!refused.status.success());
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        // b may not have opened the file yet.
        said.contains("a founded org").then_some(said)
    });
    assert!(
        refused.contains("remove those first, and then a"),
        "{refused}"
    );
    // As it says.
    nodes.nuda_ok("b", &["members", "org", "--remove", "c"]);
    let b = nodes.open("b", "org");
    nodes.eventually("definitions go through the log", |_| {
        let ordered = b.query_row("SELECT ordered FROM nuda_state", [], |row| row.get(0));
        (ordered == Ok(1)).then_some(())
    });
    nodes.nuda_ok("b", &["members", "org", "--remove", "a"]);
    b.execute_batch("CREATE TABLE later(id TEXT PRIMARY KEY)")
        .unwrap();
    nodes.eventually("b changes tables", |_| {
        b.query_row("SELECT nuda_track('later')", [], |_| Ok(()))
            .ok()
    });
}

/// No other partition waits for a group that lacks a member to begin, or a majority.
#[test]
fn a_member_that_is_away_holds_up_its_own_partitions_only() {
    let mut nodes = Nodes::start(&["a", "b", "c"]);
    nodes.nuda_ok("a", &["create", "half", "--on", "a,c"]);
    has_its_log(&nodes, "half");
    nodes.kill("c");
    nodes.nuda_ok("a", &["create", "away", "--on", "a,b,c"]);
    nodes.eventually("the group of all three has not begun", |nodes| {
        let log = nodes.logs_of("a");
        log.contains("has no log yet partition=away").then_some(())
    });
    let why = nodes.nuda_ok("a", &["status", "away"]);
    assert!(
        why.contains("no log now: ") && why.contains("last tried: cannot reach"),
        "{why}"
    );
    nodes.nuda_ok("a", &["create", "org", "--on", "a,b"]);
    has_its_log(&nodes, "org");
}

/// Waits until definitions go through the log.
fn has_its_log(nodes: &Nodes, partition: &str) {
    let a = nodes.open("a", partition);
    nodes.eventually("definitions go through the log", |_| {
        let ordered = a.query_row("SELECT ordered FROM nuda_state", [], |row| row.get(0));
        (ordered == Ok(1)).then_some(())
    });
}
