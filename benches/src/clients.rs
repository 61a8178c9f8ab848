//! Sixteen clients at the same time, on the leader's node: each with a partition of its own, or all
//! through `nuda_exec` on one; and sixteen clients of etcd beside them.
//!
//! Both stand all the time and are busy in turns. A rate is the median of the turns.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::cluster::Cluster;
use crate::etcd::{self, Etcd};
use crate::finding::Finding;
use crate::strong::{UPDATE, update};
use crate::{Result, median};

const NAME: &str = "clients";

/// Clients at the same time, and for how long in each turn.
const CLIENTS: usize = 16;
const TURNS: usize = 3;
const BUSY: Duration = Duration::from_secs(3);

/// Measures with nodes of its own.
pub(crate) fn run(program: &Path) -> Result<Vec<Finding>> {
    let cluster = Cluster::start(program)?;
    for n in 0..CLIENTS {
        cluster.create_strong(&format!("p{n}"))?;
    }
    let leader = cluster.eventually("a leader", || cluster.leader("a"))?;
    let etcd = match etcd::program() {
        Ok(program) => Ok(Etcd::start(&program)?),
        Err(why) => Err(why),
    };
    let (mut ours, mut execs, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..TURNS {
        ours.push(rate(|n| {
            let db = cluster.open(leader, &format!("p{n}"))?;
            Ok(move || update(&db))
        })?);
        execs.push(rate(|_| {
            let db = cluster.open(leader, "p0")?;
            Ok(move || exec(&db))
        })?);
        if let Ok(etcd) = &etcd {
            theirs.push(rate(|n| {
                let mut client = etcd.connect()?;
                let key = format!("k{n}");
                Ok(move || client.put(&key))
            })?);
        }
    }
    let (ours, execs) = (median(ours), median(execs));
    let new = |what: &str, unit, value| Finding::new(NAME, what, unit, value);
    let mut findings = vec![
        new("16 clients on 16 partitions", "/s", ours),
        new("16 clients of nuda_exec on one partition", "/s", execs),
    ];
    match etcd {
        Ok(_) => {
            let theirs = median(theirs);
            let ratio = |what: &str, rate: f64| new(what, "", rate / theirs).at_least(1.0);
            findings.extend([
                new("etcd: 16 clients on 16 keys", "/s", theirs),
                ratio("16 clients on 16 partitions, times etcd's", ours).aim(2.0),
                ratio("16 clients of nuda_exec, times etcd's", execs).aim(3.0),
            ]);
        }
        Err(why) => findings.push(Finding::skipped(NAME, "beside etcd", &why)),
    }
    Ok(findings)
}

fn exec(db: &Connection) -> Result<()> {
    db.prepare_cached("SELECT nuda_exec(?)")?
        .query_row([UPDATE], |_| Ok(()))?;
    Ok(())
}

/// How many times a second all clients together do what `client` makes for each.
#[allow(clippy::cast_precision_loss)]
fn rate<C: FnMut() -> Result<()>>(client: impl Fn(usize) -> Result<C> + Sync) -> Result<f64> {
    let done: Vec<std::result::Result<usize, String>> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|n| {
                let client = &client;
                scope.spawn(move || count(client(n)).map_err(|e| e.to_string()))
            })
            .collect();
        let ended = clients.into_iter().map(|client| match client.join() {
            Ok(done) => done,
            Err(_) => Err("a client's thread failed".to_owned()),
        });
        ended.collect()
    });
    let counts: Vec<usize> = done.into_iter().collect::<std::result::Result<_, _>>()?;
    Ok(counts.into_iter().sum::<usize>() as f64 / BUSY.as_secs_f64())
}

fn count(client: Result<impl FnMut() -> Result<()>>) -> Result<usize> {
    let mut client = client?;
    let (mut done, until) = (0, Instant::now() + BUSY);
    while Instant::now() < until {
        client()?;
        done += 1;
    }
    Ok(done)
}
