//! What an eventual reader and writer feel while something else goes on.
//!
//! One client writes a row and reads a row in turns, with a pause after each, and notes how long
//! each took. Another may commit strongly all the while, to the same file or another.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode};

use crate::cluster::Cluster;
use crate::finding::percentile;
use crate::{Result, strong};

/// So that what is measured is one statement and not a flood of them.
const PAUSE: Duration = Duration::from_millis(2);

/// What those who commit strongly do between two commits. Without it a writer of the same file
/// would find its lock taken whenever it looks: SQLite's locks know no turns.
const THOUGHT: Duration = Duration::from_millis(50);

/// All times.
#[derive(Default)]
pub(crate) struct Felt {
    pub(crate) writes: Vec<Duration>,
    pub(crate) reads: Vec<Duration>,
}

impl Felt {
    /// Medians of writes and reads, in milliseconds.
    pub(crate) fn medians(&mut self) -> (f64, f64) {
        (
            percentile(&mut self.writes, 50),
            percentile(&mut self.reads, 50),
        )
    }
}

/// Makes the table of an eventual reader and writer in a partition that is there.
pub(crate) fn prepare(db: &Connection) -> Result<()> {
    db.execute_batch(
        "CREATE TABLE note(id INTEGER PRIMARY KEY, word TEXT, n INTEGER);
         SELECT nuda_track('note');
         INSERT INTO note VALUES (1, 'a word or two', 0);",
    )?;
    Ok(())
}

/// Writes and reads for a while.
pub(crate) fn feel(db: &Connection, felt: &mut Felt, during: Duration) -> Result<()> {
    let mut update = db.prepare_cached("UPDATE note SET n = n + 1 WHERE id = 1")?;
    let mut select = db.prepare_cached("SELECT n FROM note WHERE id = 1")?;
    let until = Instant::now() + during;
    while Instant::now() < until {
        let began = Instant::now();
        match update.execute([]) {
            Ok(_) => {}
            // As long as the connection's patience lasts: that is its time.
            Err(e) if e.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {}
            Err(e) => return Err(e.into()),
        }
        felt.writes.push(began.elapsed());
        std::thread::sleep(PAUSE);
        let began = Instant::now();
        select.query_row([], |_| Ok(()))?;
        felt.reads.push(began.elapsed());
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// Runs `body` while clients commit strongly to a partition of a node, again and again; answers
/// the times of their commits, too. What fails is counted as nothing.
pub(crate) fn while_committing<T>(
    cluster: &Cluster,
    (node, partition, clients): (&str, &str, usize),
    body: impl FnOnce() -> Result<T>,
) -> Result<(T, Vec<Duration>)> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let busy: Vec<_> = (0..clients)
            .map(|_| scope.spawn(|| commit(cluster, node, partition, &stop)))
            .collect();
        let done = body();
        stop.store(true, Ordering::Relaxed);
        let mut times = Vec::new();
        for client in busy {
            let theirs = client.join().map_err(|_| "a client's thread failed")?;
            times.extend(theirs?);
        }
        Ok((done?, times))
    })
}

fn commit(
    cluster: &Cluster,
    node: &str,
    partition: &str,
    stop: &AtomicBool,
) -> std::result::Result<Vec<Duration>, String> {
    let db = cluster.open(node, partition).map_err(|e| e.to_string())?;
    let mut times = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        if strong::try_update(&db).is_ok() {
            times.push(began.elapsed());
        }
        std::thread::sleep(THOUGHT);
    }
    Ok(times)
}
