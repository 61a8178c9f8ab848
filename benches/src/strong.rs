//! Strong transactions on three nodes, and etcd beside them: three members, the same disk, the
//! same machine, its own defaults, one client on the leader each.
//!
//! Both stand all the time and are asked in turns, so that what else the machine does meets
//! both alike. A time is that of the whole statement or the whole request.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::Result;
use crate::cluster::Cluster;
use crate::etcd::{self, Etcd};
use crate::finding::{Finding, percentile};

const NAME: &str = "strong";

/// In so many rounds each side is asked so often.
const ROUNDS: usize = 5;
const TIMES: usize = 100;

pub(crate) const UPDATE: &str = "UPDATE account SET balance = balance + 1 WHERE id = 'x'";
const SELECT: &str = "SELECT balance FROM account WHERE id = 'x'";

/// All times of one side.
#[derive(Default)]
struct Times {
    write: Vec<Duration>,
    /// With the read level strong; etcd has no such difference.
    serial: Vec<Duration>,
    read: Vec<Duration>,
}

/// Measures with nodes of its own.
pub(crate) fn run(program: &Path) -> Result<Vec<Finding>> {
    let cluster = Cluster::start(program)?;
    cluster.create_strong("p0")?;
    let leader = cluster.eventually("a leader", || cluster.leader("a"))?;
    let etcd = match etcd::program() {
        Ok(program) => Ok(Etcd::start(&program)?),
        Err(why) => Err(why),
    };
    let eventual = cluster.open(leader, "p0")?;
    let strong = cluster.open(leader, "p0")?;
    level(&strong)?;
    let mut client = match &etcd {
        Ok(etcd) => Some(etcd.connect()?),
        Err(_) => None,
    };
    let (mut ours, mut theirs) = (Times::default(), Times::default());
    for round in 0..=ROUNDS {
        if round == 1 {
            // The first one warms up.
            (ours, theirs) = (Times::default(), Times::default());
        }
        repeat(&mut ours.write, || update(&eventual))?;
        if let Some(client) = &mut client {
            repeat(&mut theirs.write, || client.put("x"))?;
        }
        repeat(&mut ours.serial, || update(&strong))?;
        repeat(&mut ours.read, || {
            Ok(strong.query_row(SELECT, [], |_| Ok(()))?)
        })?;
        if let Some(client) = &mut client {
            repeat(&mut theirs.read, || client.range("x"))?;
        }
    }
    let mut findings = our_findings(&mut ours);
    match &etcd {
        Ok(_) => findings.extend(compared(&mut ours, &mut theirs)),
        Err(why) => findings.push(Finding::skipped(NAME, "beside etcd", why)),
    }
    Ok(findings)
}

/// Reads are strong from now on.
fn level(db: &Connection) -> rusqlite::Result<()> {
    db.query_row("SELECT nuda_read_consistency('strong')", [], |_| Ok(()))
}

/// Commits once.
pub(crate) fn update(db: &Connection) -> Result<()> {
    Ok(try_update(db)?)
}

/// The same, for those who look at why it failed.
pub(crate) fn try_update(db: &Connection) -> rusqlite::Result<()> {
    db.prepare_cached(UPDATE)?.execute([]).map(drop)
}

fn repeat(times: &mut Vec<Duration>, mut body: impl FnMut() -> Result<()>) -> Result<()> {
    for _ in 0..TIMES {
        let began = Instant::now();
        body()?;
        times.push(began.elapsed());
    }
    Ok(())
}

fn our_findings(ours: &mut Times) -> Vec<Finding> {
    let ms = |what: &str, times: &mut [Duration], percent| {
        let what = format!("{what}, p{percent}");
        Finding::new(NAME, &what, "ms", percentile(times, percent))
    };
    let (write, serial) = (
        "strong update of one row, one client",
        "the same at read level strong",
    );
    vec![
        ms(write, &mut ours.write, 50),
        ms(write, &mut ours.write, 99),
        ms(serial, &mut ours.serial, 50),
        ms(serial, &mut ours.serial, 99),
        ms("strong read of one row", &mut ours.read, 50),
    ]
}

fn compared(ours: &mut Times, theirs: &mut Times) -> Vec<Finding> {
    let [write, serial, read] =
        [&mut ours.write, &mut ours.serial, &mut ours.read].map(|t| percentile(t, 50));
    let put = percentile(&mut theirs.write, 50);
    let range = percentile(&mut theirs.read, 50);
    let slow = percentile(&mut theirs.write, 99);
    let new = |what: &str, unit, value| Finding::new(NAME, what, unit, value);
    vec![
        new("etcd: put, p50", "ms", put),
        new("etcd: put, p99", "ms", slow),
        new("etcd: linearizable read, p50", "ms", range),
        new("strong update, times etcd's put, p50", "", write / put)
            .must(1.3)
            .aim(0.9),
        new("the same at read level strong", "", serial / put)
            .must(2.0)
            .aim(1.5),
        new(
            "strong read, times etcd's linearizable read, p50",
            "",
            read / range,
        )
        .must(1.0)
        .aim(0.6),
    ]
}
