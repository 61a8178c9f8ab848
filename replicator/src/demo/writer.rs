//! The demonstration's load: one application per node, with a plain SQLite connection.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};

use crate::error::{Error, Result};
use crate::sql::Replica;

/// Rows that all writers change.
const SHARED: u64 = 10;

/// What a writer did.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Written {
    pub(super) transactions: u64,
    pub(super) increments: i64,
}

/// A running writer.
pub(super) struct Writer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Written>>,
}

/// Makes the table that the writers write, on the founder.
pub(super) fn make_table(replica: &Replica) -> Result<()> {
    replica.transaction(|replica| {
        replica.connection().execute_batch(
            "CREATE TABLE demo_page(id TEXT PRIMARY KEY, title TEXT, author TEXT, hits COUNTER);
             SELECT nuda_track('demo_page');",
        )?;
        for n in 0..SHARED {
            replica.connection().execute(
                "INSERT INTO demo_page VALUES ('shared ' || ?, 'title', '', 0)",
                [n],
            )?;
        }
        Ok(())
    })
}

/// Waits until the other nodes have the table.
pub(super) fn await_table(files: &[PathBuf]) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(10);
    for file in files {
        let conn = open(file)?;
        while conn
            .query_row("SELECT count(*) FROM demo_page", [], |r| r.get::<_, u64>(0))
            .is_err()
        {
            if Instant::now() > until {
                return Err(Error::retry("the table did not reach all nodes"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    Ok(())
}

/// The sum of all increments, as a node shows it.
pub(super) fn counter(file: &Path) -> Result<i64> {
    Ok(open(file)?.query_row("SELECT sum(hits) FROM demo_page", [], |r| r.get(0))?)
}

/// A connection as an application has it.
pub(super) fn open(file: &Path) -> Result<Connection> {
    let conn = Connection::open(file)?;
    conn.busy_timeout(Duration::from_secs(10))?;
    conn.pragma_update(None, "synchronous", "NORMAL")?;
    Ok(conn)
}

impl Writer {
    pub(super) fn start(node: &'static str, file: PathBuf) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let conn = open(&file)?;
        let thread = std::thread::spawn(move || {
            let mut written = Written::default();
            while !told.load(Ordering::Relaxed) {
                write(&conn, node, &mut written)
                    .map_err(|e| e.during(format!("the application on {node}")))?;
                std::thread::sleep(Duration::from_millis(2));
            }
            Ok(written)
        });
        Ok(Self { stop, thread })
    }

    pub(super) fn finish(self) -> Result<Written> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread
            .join()
            .map_err(|_| Error::internal("a writer failed"))?
    }
}

fn write(conn: &Connection, node: &str, written: &mut Written) -> Result<()> {
    let n = written.transactions;
    match n % 4 {
        0 => conn.execute(
            "INSERT INTO demo_page VALUES (?, 'new', ?, 0)",
            params![format!("{node} {n}"), node],
        )?,
        1 => conn.execute(
            "UPDATE demo_page SET title = ?, author = ? WHERE id = 'shared ' || ?",
            params![format!("{node} says {n}"), node, (n / 4) % SHARED],
        )?,
        _ => {
            written.increments += 1;
            conn.execute(
                "UPDATE demo_page SET hits = hits + 1 WHERE id = 'shared ' || ?",
                [n % SHARED],
            )?
        }
    };
    written.transactions += 1;
    Ok(())
}
