//! From node to node: how long after a COMMIT on one node has returned another node's file
//! shows the row.
//!
//! The application reads its own file and asks nobody, so the time is all of it: the wake-up of
//! the daemon, the way, and the apply. It is time on the clock, with nothing else going on.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::OptionalExtension;

use crate::Result;
use crate::cluster::Cluster;
use crate::finding::{Finding, percentile};

const NAME: &str = "latency";

/// Transactions that are counted, and those before them that are not.
const COMMITS: usize = 300;
const WARM_UP: usize = 20;

/// Longer than this no row may take.
const LOST: Duration = Duration::from_secs(10);

/// Measures with nodes of its own.
pub(crate) fn run(program: &Path) -> Result<Vec<Finding>> {
    let cluster = Cluster::start(program)?;
    cluster.create("latency")?;
    let (writer, reader) = (cluster.open("a", "latency")?, cluster.open("b", "latency")?);
    writer.execute_batch(
        "CREATE TABLE tick(id INTEGER PRIMARY KEY, word TEXT); SELECT nuda_track('tick');",
    )?;
    cluster.eventually("the table", || {
        reader.prepare("SELECT 1 FROM tick").ok().map(drop)
    })?;
    let mut insert = writer.prepare("INSERT INTO tick VALUES (?, 'a word or two')")?;
    let mut select = reader.prepare("SELECT 1 FROM tick WHERE id = ?")?;
    let mut times = Vec::with_capacity(COMMITS);
    for n in 0..WARM_UP + COMMITS {
        // Not in step with anything that happens every so many milliseconds.
        std::thread::sleep(Duration::from_millis(4 + u64::try_from(n * 7 % 11)?));
        let id = i64::try_from(n)?;
        insert.execute([id])?;
        let committed = Instant::now();
        while select.query_row([id], |_| Ok(())).optional()?.is_none() {
            if committed.elapsed() > LOST {
                return Err(format!("row {n} did not arrive within {LOST:?}").into());
            }
            std::thread::sleep(Duration::from_micros(30));
        }
        if n >= WARM_UP {
            times.push(committed.elapsed());
        }
    }
    let what = "committed on one node to visible on another";
    Ok(vec![
        Finding::new(
            NAME,
            &format!("{what}, p50"),
            "ms",
            percentile(&mut times, 50),
        )
        .must(5.0),
        Finding::new(
            NAME,
            &format!("{what}, p99"),
            "ms",
            percentile(&mut times, 99),
        )
        .must(25.0),
    ])
}
