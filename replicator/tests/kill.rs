//! Applications and daemons that are killed at any moment, and power that fails: what was
//! acknowledged is everywhere, once.

// A test fails by panicking, in its helpers too.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use support::{Mounted, Nodes, Writer, insert, succeeds};

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
        nodes.kill(restarted);
        let fresh = start(&nodes, names[dying], round);
        all.extend(std::mem::replace(&mut writers[dying], fresh).kill());
        nodes.run(restarted);
    }
    for writer in writers {
        all.extend(writer.kill());
    }
    assert!(all.len() > rounds, "{} commits", all.len());
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

/// An ext4 file system in a file, whose power can be cut.
struct Disk {
    image: PathBuf,
    mounted: Mounted,
}

impl Disk {
    fn new(nodes: &Nodes, name: &str) -> Option<Self> {
        let image = nodes.home.path().join("disk.img");
        std::fs::File::create(&image).ok()?.set_len(64 << 20).ok()?;
        std::fs::create_dir(nodes.dir(name)).ok()?;
        let made = succeeds("mkfs.ext4", &["-q", "-F", image.to_str()?]);
        let disk = Self {
            image,
            mounted: Mounted(nodes.dir(name)),
        };
        (made && disk.mount()).then_some(disk)
    }

    fn mount(&self) -> bool {
        let (image, at) = (self.image.to_str(), self.mounted.0.to_str());
        succeeds("mount", &["-o", "loop", image.unwrap(), at.unwrap()])
    }

    /// Nothing that was not synced survives: the EXT4_IOC_SHUTDOWN ioctl without a log flush.
    fn cut(&self) -> bool {
        let script = "import fcntl, os, struct, sys\n\
                      fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))";
        succeeds(
            "/usr/bin/python3",
            &["-c", script, self.mounted.0.to_str().unwrap()],
        )
    }

    fn unmount(&self) -> bool {
        succeeds("umount", &[self.mounted.0.to_str().unwrap()])
    }
}

/// Runs what follows in a boot of its own: SQLite files know a boot by its id.
fn another_boot(nodes: &Nodes, number: usize) -> Vec<String> {
    let id = nodes.home.path().join(format!("boot{number}"));
    std::fs::write(&id, format!("00000000-0000-4000-8000-{number:012}\n")).unwrap();
    let script = "mount --bind \"$0\" /proc/sys/kernel/random/boot_id && exec \"$@\"";
    let under = ["unshare", "-m", "sh", "-c", script, id.to_str().unwrap()];
    under.map(str::to_owned).to_vec()
}

fn power_cuts(sync: &str, cuts: usize) {
    let mut nodes = Nodes::with_page(&["a", "b"]);
    insert(&nodes.open("a", "org"), "hits");
    let Some(disk) = Disk::new(&nodes, "c") else {
        support::skipped("power cuts: no ext4 on a loop device here (not root?)");
        return;
    };
    nodes.under = another_boot(&nodes, 0);
    let (outer, inner) = nodes.under.split_first().unwrap();
    let inner: Vec<&str> = inner.iter().map(String::as_str).chain(["true"]).collect();
    if !succeeds(outer, &inner) {
        support::skipped("power cuts: no mount namespace here");
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
        let was_cut = disk.cut();
        nodes.kill("c");
        writer.kill();
        if !was_cut {
            support::skipped("power cuts: this kernel has no EXT4_IOC_SHUTDOWN");
            return;
        }
        assert!(disk.unmount() && disk.mount(), "the disk comes back");
        if sync == "FULL" {
            all.extend(committed);
        }
        nodes.under = another_boot(&nodes, round);
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
