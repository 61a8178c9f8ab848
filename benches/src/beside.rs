//! Eventual reads and writes while others commit strongly to another partition of the same node:
//! they share the daemon and the processors, and no lock.
//!
//! With and without take turns, so that what else the machine does meets both alike.

use std::path::Path;
use std::time::Duration;

use crate::Result;
use crate::cluster::Cluster;
use crate::finding::Finding;
use crate::probe::{self, Felt};

const NAME: &str = "beside";

const ROUNDS: usize = 6;
const ROUND: Duration = Duration::from_millis(1_500);

/// Measures with nodes of its own.
pub(crate) fn run(program: &Path) -> Result<Vec<Finding>> {
    let cluster = Cluster::start(program)?;
    cluster.create_strong("p0")?;
    cluster.create("notes")?;
    let leader = cluster.eventually("a leader", || cluster.leader("a"))?;
    probe::prepare(&cluster.open("a", "notes")?)?;
    let db = cluster.open(leader, "notes")?;
    cluster.eventually("the table", || {
        let row = "SELECT n FROM note WHERE id = 1";
        db.query_row(row, [], |_| Ok(())).ok()
    })?;
    let (mut alone, mut beside) = (Felt::default(), Felt::default());
    for _ in 0..ROUNDS {
        probe::feel(&db, &mut alone, ROUND)?;
        probe::while_committing(&cluster, (leader, "p0", 1), || {
            probe::feel(&db, &mut beside, ROUND)
        })?;
    }
    let (alone, beside) = (alone.medians(), beside.medians());
    let new = |what: &str, unit, value| Finding::new(NAME, what, unit, value);
    Ok(vec![
        new("eventual write, p50", "ms", alone.0),
        new("eventual read, p50", "ms", alone.1),
        new(
            "eventual write while another partition is written strongly, times without",
            "",
            beside.0 / alone.0,
        ),
        new("eventual read, the same", "", beside.1 / alone.1),
    ])
}
