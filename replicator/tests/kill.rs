//! Applications and daemons that are killed at any moment, and power that fails: what was
//! acknowledged is everywhere, once.

// A test fails by panicking, in its helpers too.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use support::power::{Disk, boots_of_their_own};
use support::{Nodes, Writer, insert};

#[test]
#[ignore = "run by the other tests, as an application"]
fn writer() {
    support::write_as_told();
}

/// Every transaction is there whole (its page and its hit), and all that was acknowledged is.
fn exactly(nodes: &Nodes, acknowledged: &BTreeSet<String>) {
    nodes.verify("a", "org");
    for node in ["a", "b", "c"] {
        let conn = nodes.open(node, "org");
        let mut query = conn
            .prepare("SELECT id FROM page WHERE id <> 'hits'")
            .unwrap();
        let rows = query.query_map([], |r| r.get(0)).unwrap();
        let here: BTreeSet<String> = rows.map(Result::unwrap).collect();
        let lost: Vec<_> = acknowledged.difference(&here).collect();
        assert!(
            lost.is_empty(),
            "lost at {node}: {lost:?}\n{}",
            nodes.logs()
        );
        let hits: usize = conn
            .query_row("SELECT hits FROM page WHERE id = 'hits'", [], |r| r.get(0))
            .unwrap();
        assert_eq!(hits, 1 + here.len(), "{node}");
        let status = nodes.status(node);
        assert_eq!(
            status["partitions"][0]["stopped_sites"]
                .as_array()
                .unwrap()
                .len(),
            0
        );
    }
}

/// Rounds of a second with a writer per node: now an application dies, now a daemon.
fn kill_rounds(rounds: usize) {
    let mut nodes = Nodes::with_page(&["a", "b", "c"]);
    insert(&nodes.open("a", "org"), "hits");
    nodes.verify("a", "org");
    let names = ["a", "b", "c"];
    let mut all = BTreeSet::new();
    let start = |nodes: &Nodes, name: &str, round: usize| {
        nodes.writer(name, &format!("{name}{round}"), 1_000_000, "NORMAL")
    };
    let mut writers: Vec<Writer> = names.iter().map(|n| start(&nodes, n, 0)).collect();
    for round in 1..=rounds {
        // Different moments each time, none of them chosen.
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let pause = 200 + u64::from(now.unwrap().subsec_micros() % 400);
        std::thread::sleep(Duration::from_millis(pause));
        let (dying, restarted) = (round % 3, names[(round + 1) % 3]);
        nodes.eventually("the application has begun", |_| {
            (!writers[dying].committed().is_empty()).then_some(())
        });
        nodes.kill(restarted);
        let fresh = start(&nodes, names[dying], round);
        all.extend(std::mem::replace(&mut writers[dying], fresh).kill());
        nodes.run(restarted);
    }
    for writer in writers {
        all.extend(writer.kill());
    }
    assert!(all.len() >= rounds, "{} commits", all.len());
    exactly(&nodes, &all);
}

#[test]
fn applications_and_daemons_are_killed() {
    kill_rounds(6);
}

/// `cargo test -p nuda-replicator --test kill soak -- --ignored`: five minutes of the same.
#[test]
#[ignore = "a soak of five minutes"]
fn soak() {
    kill_rounds(400);
}

fn power_cuts(sync: &str, cuts: usize) {
    let _alone = support::power::alone();
    let mut nodes = Nodes::with_page(&["a", "b"]);
    insert(&nodes.open("a", "org"), "hits");
    let Some(disk) = Disk::new(&nodes, "c", 64) else {
        return;
    };
    if !boots_of_their_own(&mut nodes, &["c"]) {
        return;
    }
    nodes.run("c");
    nodes.nuda_ok("a", &["create", "org", "--on", "a,b,c"]);
    nodes.verify("a", "org");
    let mut all = BTreeSet::new();
    for round in 1..=cuts {
        let writer = nodes.writer("c", &format!("c{round}"), 1_000_000, sync);
        std::thread::sleep(Duration::from_millis(400));
        // Whatever returns after the cut would not be heard by anybody.
        let committed = writer.committed();
        let was_cut = Disk::cut(&[&disk]);
        nodes.kill("c");
        writer.kill();
        if !was_cut {
            return;
        }
        disk.back(round);
        if sync == "FULL" {
            all.extend(committed);
        }
        // The application is faster than the daemon.
        let early = nodes.writer("c", &format!("early{round}"), 5, "FULL");
        all.extend(early.finish());
        nodes.run("c");
    }
    nodes.verify("c", "org");
    assert!(all.len() >= 5 * cuts);
    exactly(&nodes, &all);
}

#[test]
fn the_power_fails_with_synchronous_full() {
    power_cuts("FULL", 3);
}

#[test]
fn the_power_fails_with_synchronous_normal() {
    power_cuts("NORMAL", 3);
}
