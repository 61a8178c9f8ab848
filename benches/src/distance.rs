//! Eventual reads and writes of a partition that is written strongly over a distance, and while
//! nobody can be reached at all.
//!
//! A strong COMMIT holds the file's write lock for a round trip to a majority: an eventual write
//! to the same file on the same node waits for it, a read does not. Every node stands behind a
//! proxy that gives the way its length, or cuts it.

use std::path::Path;
use std::time::Duration;

use crate::Result;
use crate::cluster::{Cluster, NAMES};
use crate::finding::{Finding, percentile};
use crate::probe::{self, Felt};
use crate::proxy::Proxy;

const NAME: &str = "distance";

/// Round trips between any two nodes.
const ROUND_TRIPS: [u64; 3] = [0, 50, 150];

const WHILE: Duration = Duration::from_secs(6);

/// Measures with nodes of its own.
pub(crate) fn run(program: &Path) -> Result<Vec<Finding>> {
    let proxies = NAMES
        .iter()
        .map(|_| Proxy::start())
        .collect::<Result<Vec<_>>>()?;
    let cluster = Cluster::start_behind(program, &proxies)?;
    cluster.create_strong("p0")?;
    probe::prepare(&cluster.open("a", "p0")?)?;
    let leader = cluster.eventually("a leader", || cluster.leader("a"))?;
    let db = cluster.open(leader, "p0")?;
    cluster.eventually("the table", || {
        let row = "SELECT n FROM note WHERE id = 1";
        db.query_row(row, [], |_| Ok(())).ok()
    })?;
    let mut alone = Felt::default();
    probe::feel(&db, &mut alone, WHILE)?;
    let alone = alone.medians();
    let mut findings = vec![
        Finding::new(NAME, "nobody commits: eventual write, p50", "ms", alone.0),
        Finding::new(NAME, "nobody commits: eventual read, p50", "ms", alone.1),
    ];
    let mut measure = |what: &str| -> Result<()> {
        let mut felt = Felt::default();
        let ((), mut commits) = probe::while_committing(&cluster, (leader, "p0", 1), || {
            probe::feel(&db, &mut felt, WHILE)
        })?;
        let (_, read) = felt.medians();
        if !commits.is_empty() {
            let strong = percentile(&mut commits, 50);
            let commit = format!("{what}: strong commit, p50");
            findings.push(Finding::new(NAME, &commit, "ms", strong));
        }
        for percent in [50, 100] {
            let write = format!("{what}: eventual write, p{percent}");
            let value = percentile(&mut felt.writes, percent);
            findings.push(Finding::new(NAME, &write, "ms", value));
        }
        let reads = format!("{what}: eventual read, p50, times without");
        findings.push(Finding::new(NAME, &reads, "", read / alone.1));
        Ok(())
    };
    for round_trip in ROUND_TRIPS {
        let way = Duration::from_millis(round_trip);
        proxies.iter().for_each(|proxy| proxy.set_round_trip(way));
        measure(&format!("round trip {round_trip} ms"))?;
    }
    proxies
        .iter()
        .for_each(|proxy| proxy.set_round_trip(Duration::ZERO));
    proxies.iter().for_each(|proxy| proxy.set_cut(true));
    measure("cut off")?;
    Ok(findings)
}
