//! Whether three nodes that write one partition strongly at the same time all get their share.
//!
//! One client on each node changes the same row as often as it can and tries again whenever it
//! was overtaken. The number is what the least successful has of a third of all.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::ffi::SQLITE_BUSY_SNAPSHOT;

use crate::cluster::{Cluster, NAMES};
use crate::finding::Finding;
use crate::{Result, strong};

const NAME: &str = "fair";

/// How long they contend.
const BUSY: Duration = Duration::from_secs(10);

/// Measures with nodes of its own.
#[allow(clippy::cast_precision_loss)]
pub(crate) fn run(program: &Path) -> Result<Vec<Finding>> {
    let cluster = Cluster::start(program)?;
    cluster.create_strong("p0")?;
    let done: Vec<std::result::Result<usize, String>> = std::thread::scope(|scope| {
        let cluster = &cluster;
        let clients = NAMES
            .map(|name| scope.spawn(move || contend(cluster, name).map_err(|e| e.to_string())));
        let ended = clients.map(std::thread::ScopedJoinHandle::join);
        ended
            .into_iter()
            .map(|done| done.unwrap_or_else(|_| Err("a client's thread failed".to_owned())))
            .collect()
    });
    let done: Vec<usize> = done.into_iter().collect::<std::result::Result<_, _>>()?;
    let all: usize = done.iter().sum();
    let least = done.iter().min().copied().unwrap_or(0);
    let share = least as f64 / (all as f64 / NAMES.len() as f64);
    let rate = all as f64 / BUSY.as_secs_f64();
    Ok(vec![
        Finding::new(
            NAME,
            "three nodes at once on one row: the least one's part of a fair share",
            "",
            share,
        )
        .at_least(0.25),
        Finding::new(NAME, "commits of all three together", "/s", rate),
    ])
}

/// Commits as often as it can; answers how often that was.
fn contend(cluster: &Cluster, name: &str) -> Result<usize> {
    let db = cluster.open(name, "p0")?;
    let (mut done, until) = (0, Instant::now() + BUSY);
    while Instant::now() < until {
        match strong::try_update(&db) {
            Ok(()) => done += 1,
            Err(rusqlite::Error::SqliteFailure(e, _))
                if e.extended_code == SQLITE_BUSY_SNAPSHOT => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(done)
}
