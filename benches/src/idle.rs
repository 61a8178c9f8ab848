//! What a daemon costs while nobody writes: its CPU time over a while, as the kernel counts it.
//!
//! Each partition holds a table and is on two nodes; the third node only knows the others. The
//! number is the busiest daemon's.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::Result;
use crate::cluster::Cluster;
use crate::finding::Finding;

const NAME: &str = "idle";

/// How long nothing happens.
const WINDOW: Duration = Duration::from_secs(20);

/// How long the daemons get to come to rest after the partitions were made: at least, and as
/// long as one of them takes more than [`BUSY`] percent, at most.
const REST: Duration = Duration::from_secs(30);
const SETTLING: Duration = Duration::from_secs(120);
const BUSY: f64 = 2.0;

/// Processes that make partitions at the same time.
const MAKERS: usize = 4;

/// Clock ticks a second in `/proc`, which is 100 on every architecture that Rust's Linux
/// targets have.
const TICKS: f64 = 100.0;

/// Measures with nodes of its own.
pub(crate) fn run(program: &Path, quick: bool) -> Result<Vec<Finding>> {
    let partitions = if quick { 100 } else { 1_000 };
    let cluster = Cluster::start(program)?;
    let content = cluster.home().join("content.db");
    Connection::open(&content)?.execute_batch(
        "CREATE TABLE note(id TEXT PRIMARY KEY, text TEXT); INSERT INTO note VALUES ('1', 'one')",
    )?;
    make(&cluster, partitions, &content)?;
    for name in ["a", "b"] {
        cluster.within(SETTLING, "all partitions on two nodes", || {
            let status = cluster.status(name).ok()?;
            let all = status.get("partitions")?.as_array()?;
            let ready = all
                .iter()
                .filter(|p| p.get("state").is_some_and(|state| state == "ready"))
                .count();
            (ready == partitions).then_some(())
        })?;
    }
    let pids = cluster.pids();
    // Founding, the first reports and collections are not idleness.
    let began = Instant::now();
    while began.elapsed() < SETTLING {
        let share = busiest(&pids, Duration::from_secs(5))?;
        if share <= BUSY && began.elapsed() >= REST {
            break;
        }
    }
    let settled = began.elapsed().as_secs();
    eprintln!("idle: {partitions} partitions; at rest after {settled} s");
    let percent = busiest(&pids, WINDOW)?;
    let less = if quick {
        " (--quick; not the 1,000 of the bound)"
    } else {
        ""
    };
    let what = format!(
        "CPU of an idle daemon with {partitions} partitions{less}, over {} s",
        WINDOW.as_secs()
    );
    Ok(vec![
        Finding::new(NAME, &what, "% of a core", percent).must(1.0),
    ])
}

/// Makes so many partitions on two nodes, several at a time.
fn make(cluster: &Cluster, partitions: usize, content: &Path) -> Result<()> {
    let content = content.to_string_lossy();
    let failures: Vec<String> = std::thread::scope(|scope| {
        let makers: Vec<_> = (0..MAKERS)
            .map(|maker| {
                let content = &content;
                scope.spawn(move || {
                    (maker..partitions).step_by(MAKERS).try_for_each(|n| {
                        let name = format!("p{n}");
                        let args = ["create", &name, "--on", "a,b", "--from", content];
                        cluster
                            .nuda("a", &args)
                            .map(drop)
                            .map_err(|e| e.to_string())
                    })
                })
            })
            .collect();
        let ended = makers.into_iter().map(|maker| match maker.join() {
            Ok(done) => done,
            Err(_) => Err("a thread that makes partitions failed".to_owned()),
        });
        ended.filter_map(std::result::Result::err).collect()
    });
    match failures.into_iter().next() {
        Some(failure) => Err(failure.into()),
        None => Ok(()),
    }
}

/// The greatest share of a core that one of these processes takes over a while, in percent.
fn busiest(pids: &[u32], window: Duration) -> Result<f64> {
    let read = || {
        pids.iter()
            .map(|pid| ticks(*pid))
            .collect::<Result<Vec<f64>>>()
    };
    let (before, began) = (read()?, Instant::now());
    std::thread::sleep(window);
    let (after, seconds) = (read()?, began.elapsed().as_secs_f64());
    let shares = before
        .iter()
        .zip(&after)
        .map(|(b, a)| (a - b) / TICKS / seconds * 100.0);
    Ok(shares.fold(0.0, f64::max))
}

/// User and system time of a process in ticks.
fn ticks(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is the program's name in parentheses, which may hold anything.
    let (_, rest) = stat.rsplit_once(')').ok_or("/proc/PID/stat has no name")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let field = |at: usize| -> Result<f64> {
        Ok(fields.get(at).ok_or("/proc/PID/stat is short")?.parse()?)
    };
    Ok(field(11)? + field(12)?)
}
