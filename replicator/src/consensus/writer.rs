//! The thread that brings what is queued to the disk, in the order in which it was queued.
//!
//! All that waits is written together. Entries go into the journal: those who wait are told when
//! it is synced, and the log file gets them a moment later, without a sync of its own. Everything
//! else (votes, snapshots, what is cut off) is a transaction of the log file that is fsynced
//! (`synchronous = FULL`), with the entries before it; then the journal begins anew. The file says
//! how far the journal is in it, in the same transactions: nothing comes back that was cut off.
//!
//! A write that fails (a full disk) is tried again until it succeeds: nobody is told that it is
//! there before it is, and nothing that was queued after it overtakes it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::journal::{Journal, Rows};
use super::store::place;
use crate::broken::{Rule, is};
use crate::error::{Error, Result};

/// Writes that are brought to the disk together.
const BATCH: usize = 256;

/// Bytes that wait for the file in memory and in the journal.
const WAITING_BYTES: usize = 256 << 10;

/// How long entries wait for further ones before the file gets them.
const LINGER: Duration = Duration::from_millis(20);

/// A write that failed is tried again after this long.
const RETRY: Duration = Duration::from_millis(200);

/// How often a stalled writer looks whether it still is.
const STALLED: Duration = Duration::from_millis(1);

/// A change of the file, which may be tried more than once.
pub(super) type Work = Box<dyn Fn(&Connection) -> rusqlite::Result<()> + Send>;

/// Tells whoever waits.
pub(super) type Done = Box<dyn FnOnce() + Send>;

/// What is to be written.
pub(super) enum Order {
    Work(Work),
    Append(Rows),
}

/// What is queued, and who is told.
pub(super) struct Queued {
    pub(super) order: Order,
    /// The disk has it.
    pub(super) done: Done,
    /// The file has it.
    pub(super) filed: Option<Done>,
}

/// The writer of a log file.
pub(super) struct Writer {
    conn: Connection,
    journal: Journal,
    /// In the journal and not in the file.
    ahead: Vec<Queued>,
    ahead_bytes: usize,
    /// Whether the connection's commits are fsynced.
    is_synced: bool,
    stalled: Arc<AtomicBool>,
}

impl Writer {
    /// Opens the journal of `conn`, and brings what it holds into the file.
    pub(super) fn open(
        conn: Connection,
        path: &Path,
        incarnation: u64,
        stalled: Arc<AtomicBool>,
    ) -> Result<Self> {
        let filed: Option<String> = conn
            .query_row("SELECT value FROM fact WHERE key = 'filed'", [], |row| {
                row.get(0)
            })
            .optional()?;
        let upto = filed.and_then(|n| n.parse().ok()).unwrap_or(0);
        let (journal, found) = Journal::open(path, incarnation, upto)
            .map_err(|e| Error::from(e).during(path.display()))?;
        let mut writer = Self {
            conn,
            journal,
            ahead: Vec::new(),
            ahead_bytes: 0,
            is_synced: true,
            stalled,
        };
        let place = place(path)?;
        writer.transact(true, |conn| {
            conn.execute("REPLACE INTO fact VALUES ('journal', ?)", [&place])?;
            found.iter().try_for_each(|rows| insert(conn, rows))
        })?;
        writer.journal.begin_anew();
        Ok(writer)
    }

    /// Its life.
    pub(super) fn run(mut self, waiting: &Receiver<Queued>) {
        loop {
            let first = if self.ahead.is_empty() {
                waiting.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                waiting.recv_timeout(LINGER)
            };
            match first {
                Ok(first) => {
                    // On a busy machine others have more for the same sync, and run first.
                    std::thread::yield_now();
                    let mut batch = vec![first];
                    while batch.len() < BATCH
                        && let Ok(next) = waiting.try_recv()
                    {
                        batch.push(next);
                    }
                    self.write(batch);
                }
                Err(RecvTimeoutError::Timeout) => self.file(),
                Err(RecvTimeoutError::Disconnected) => return self.file(),
            }
        }
    }

    fn write(&mut self, batch: Vec<Queued>) {
        while self.stalled.load(Ordering::Relaxed) {
            std::thread::sleep(STALLED);
        }
        if !self.put_ahead(&batch) {
            return self.write_through(batch);
        }
        for queued in batch {
            if let Order::Append(rows) = &queued.order {
                self.ahead_bytes += rows.iter().map(|(_, body)| body.len()).sum::<usize>();
            }
            (queued.done)();
            self.ahead.push(Queued {
                done: Box::new(|| {}),
                ..queued
            });
        }
        if self.ahead_bytes > WAITING_BYTES {
            self.file();
        }
    }

    /// Writes a batch into the journal, if that takes it.
    fn put_ahead(&mut self, batch: &[Queued]) -> bool {
        let rows: Option<Vec<&Rows>> = batch
            .iter()
            .map(|queued| match &queued.order {
                Order::Append(rows) => Some(rows),
                Order::Work(_) => None,
            })
            .collect();
        let Some(rows) = rows else {
            return false;
        };
        match self.journal.append(rows.into_iter().flatten()) {
            Ok(taken) => taken,
            Err(e) => {
                tracing::error!(error = %e, "cannot write the journal of the consensus log; writing through");
                false
            }
        }
    }

    /// Brings a batch to the disk in the file itself, with all that is ahead of it.
    fn write_through(&mut self, batch: Vec<Queued>) {
        self.transact_at_last(true, &batch);
        self.journal.begin_anew();
        for queued in batch {
            (queued.done)();
            if let Some(filed) = queued.filed {
                filed();
            }
        }
    }

    /// Brings what is ahead of the file into it.
    fn file(&mut self) {
        if !self.ahead.is_empty() {
            self.transact_at_last(false, &[]);
        }
    }

    fn transact_at_last(&mut self, synced: bool, batch: &[Queued]) {
        let ahead = std::mem::take(&mut self.ahead);
        let put = |conn: &Connection| {
            let mut all = ahead.iter().chain(batch);
            all.try_for_each(|queued| match &queued.order {
                Order::Append(rows) => insert(conn, rows),
                Order::Work(work) => work(conn),
            })
        };
        while let Err(e) = self.transact(synced, put) {
            tracing::error!(error = %e, "cannot write the consensus log; trying again");
            std::thread::sleep(RETRY);
        }
        self.ahead_bytes = 0;
        for filed in ahead.into_iter().filter_map(|queued| queued.filed) {
            filed();
        }
    }

    /// One transaction of the file, which then has everything up to the journal's latest record.
    fn transact(
        &mut self,
        synced: bool,
        put: impl Fn(&Connection) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()> {
        if self.is_synced != synced && !is(Rule::Fsync) {
            let level = if synced { "FULL" } else { "NORMAL" };
            self.conn.pragma_update(None, "synchronous", level)?;
            self.is_synced = synced;
        }
        let conn = &self.conn;
        conn.execute_batch("BEGIN IMMEDIATE")?;
        let latest = self.journal.latest().to_string();
        let written = put(conn)
            .and_then(|()| {
                conn.prepare_cached("REPLACE INTO fact VALUES ('filed', ?)")?
                    .execute([&latest])
            })
            .and_then(|_| conn.execute_batch("COMMIT"));
        if written.is_err() && !conn.is_autocommit() {
            let _ = conn.execute_batch("ROLLBACK");
        }
        written
    }
}

fn insert(conn: &Connection, rows: &Rows) -> rusqlite::Result<()> {
    let mut insert = conn.prepare_cached("REPLACE INTO entry(id, body) VALUES (?, ?)")?;
    rows.iter()
        .try_for_each(|(id, body)| insert.execute(params![id, &**body]).map(drop))
}
