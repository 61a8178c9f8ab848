//! How long nobody can commit strongly when the leader dies: from its kill -9 until a client of
//! another node has the next strong commit.
//!
//! The client tries again as soon as it is refused, as an application would, with the default
//! timeout. Whatever a try says, only a commit ends the time.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::cluster::{Cluster, NAMES};
use crate::finding::{Finding, percentile};
use crate::{Result, strong};

const NAME: &str = "failover";

const DEATHS: usize = 5;

/// Longer than this none may last.
const LOST: Duration = Duration::from_secs(30);

/// Between a refusal and the next try.
const PAUSE: Duration = Duration::from_millis(5);

/// Measures with nodes of its own.
pub(crate) fn run(program: &Path) -> Result<Vec<Finding>> {
    let mut cluster = Cluster::start(program)?;
    cluster.create_strong("p0")?;
    let mut times = Vec::new();
    for _ in 0..DEATHS {
        let leader = cluster.eventually("a leader that all know", || {
            let known = NAMES.map(|name| cluster.leader(name));
            let [first, ..] = known;
            first.filter(|_| known.iter().all(|leader| *leader == first))
        })?;
        let survivor = NAMES.into_iter().find(|name| *name != leader);
        let db = cluster.open(survivor.ok_or("one node")?, "p0")?;
        // It may be overtaken by what its file is only just getting.
        cluster.eventually("a strong commit", || strong::update(&db).ok())?;
        cluster.kill(leader)?;
        let died = Instant::now();
        while let Err(e) = strong::update(&db) {
            if died.elapsed() > LOST {
                return Err(format!("no strong commit within {LOST:?}: {e}").into());
            }
            std::thread::sleep(PAUSE);
        }
        times.push(died.elapsed());
        cluster.restart(leader)?;
    }
    let what = "kill -9 of the leader until the next strong commit";
    Ok(vec![
        Finding::new(NAME, what, "s", percentile(&mut times, 50) / 1e3)
            .must(3.0)
            .aim(1.2),
        Finding::new(
            NAME,
            &format!("the same, the longest of {DEATHS}"),
            "s",
            percentile(&mut times, 100) / 1e3,
        )
        .must(3.0),
    ])
}
