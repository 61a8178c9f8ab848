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

/// Clients at the same time, each with a partition (or a key) of its own, and for how long.
const CLIENTS: usize = 16;
const BUSY: Duration = Duration::from_secs(5);

const UPDATE: &str = "UPDATE account SET balance = balance + 1 WHERE id = 'x'";
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
    let leader = prepare(&cluster)?;
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
    let our_rate = rate(|n| {
        let db = cluster.open(leader, &format!("p{n}"))?;
        Ok(move || update(&db))
    })?;
    let exec_rate = rate(|_| {
        let db = cluster.open(leader, "p0")?;
        Ok(move || exec(&db))
    })?;
    let mut findings = our_findings(&mut ours, (our_rate, exec_rate));
    match &etcd {
        Ok(etcd) => {
            let their_rate = rate(|n| {
                let mut client = etcd.connect()?;
                let key = format!("k{n}");
                Ok(move || client.put(&key))
            })?;
            let rates = (our_rate, exec_rate, their_rate);
            findings.extend(compared(&mut ours, &mut theirs, rates));
        }
        Err(why) => findings.push(Finding::skipped(NAME, "beside etcd", why)),
    }
    Ok(findings)
}

/// Makes the partitions, and answers who leads.
fn prepare(cluster: &Cluster) -> Result<&'static str> {
    for n in 0..CLIENTS {
        cluster.create_strong(&format!("p{n}"))?;
    }
    cluster.eventually("a leader", || cluster.leader("a"))
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

fn exec(db: &Connection) -> Result<()> {
    db.prepare_cached("SELECT nuda_exec(?)")?
        .query_row([UPDATE], |_| Ok(()))?;
    Ok(())
}

fn repeat(times: &mut Vec<Duration>, mut body: impl FnMut() -> Result<()>) -> Result<()> {
    for _ in 0..TIMES {
        let began = Instant::now();
        body()?;
        times.push(began.elapsed());
    }
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

fn our_findings(ours: &mut Times, (rate, exec_rate): (f64, f64)) -> Vec<Finding> {
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
        Finding::new(NAME, "16 clients on 16 partitions", "/s", rate),
        Finding::new(
            NAME,
            "16 clients of nuda_exec on one partition",
            "/s",
            exec_rate,
        ),
    ]
}

fn compared(
    ours: &mut Times,
    theirs: &mut Times,
    (rate, exec_rate, etcd_rate): (f64, f64, f64),
) -> Vec<Finding> {
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
        new("etcd: 16 clients on 16 keys", "/s", etcd_rate),
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
        new("rate of 16 clients, times etcd's", "", rate / etcd_rate).at_least(1.0),
        new(
            "rate of 16 clients of nuda_exec, times etcd's",
            "",
            exec_rate / etcd_rate,
        )
        .at_least(1.0)
        .aim(3.0),
    ]
}
