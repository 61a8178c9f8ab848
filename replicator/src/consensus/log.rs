//! One group's log in the store, as the engine wants it.
//!
//! Entries are readable as soon as they are appended, from memory, and the engine goes on at
//! once: it would otherwise stand still for every fsync, and followers would get an entry only
//! after the leader's disk had it. What the engine concludes from an entry stays inside until
//! [`Log::flushed`] says that this node's disk has it: a follower's acknowledgement, the leader's
//! word to others that something is committed, and every decision wait for that. So a crash
//! takes nothing that anybody outside the process has heard of. A change of members is the
//! exception: the engine itself acts on it, so it is told when the disk has it.
//!
//! The price: others may have entries of a leader that it loses in a crash. So a leader never goes
//! on in its term when it comes back, as the engine would have it: what it appended then could
//! take places in the log that others have filled. It stands for a new term instead.
//!
//! Memory holds the tail, up to a bound, and what the file does not have yet: older entries are
//! read from the file.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use openraft::storage::{LogFlushed, LogState, RaftLogReader, RaftLogStorage};
use openraft::{EntryPayload, OptionalSend, RaftLogId, StorageIOError, Vote};
use rusqlite::{OptionalExtension, params};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::store::Store;
use super::types::{LogEntry, LogId, StorageError, Types};
use crate::error::{Error, Result};

/// Bits of an entry's index in the file's key.
const INDEX_BITS: u32 = 40;

/// Bytes of entries that memory holds.
const TAIL_BYTES: usize = 8 << 20;

/// Bytes of entries that one message between nodes carries, about.
const MESSAGE_BYTES: usize = 4 << 20;

/// A group's log.
#[derive(Clone)]
pub(crate) struct Log {
    store: Arc<Store>,
    number: i64,
    state: Arc<Mutex<State>>,
    /// Entries up to this index are on disk.
    flushed: Arc<watch::Sender<u64>>,
    /// This node led when it was last open.
    led: bool,
}

struct State {
    vote: Option<Vote<u64>>,
    purged: Option<LogId>,
    last: Option<LogId>,
    /// The greatest that this process has held. What was acknowledged may be cut off by a later
    /// leader, and for a moment nothing is in its place.
    greatest: Option<LogId>,
    tail: BTreeMap<u64, Arc<[u8]>>,
    tail_bytes: usize,
    /// Entries up to this index can be read from the file, and may leave memory.
    filed: u64,
    /// How often the end was cut off: what was queued before says nothing about what follows.
    cuts: u64,
}

impl Log {
    /// The log of group `number`.
    pub(crate) fn open(store: Arc<Store>, number: i64) -> Result<Self> {
        let (vote, purged, last) = {
            let reader = store.reader();
            let (vote, purged): (Option<Vec<u8>>, Option<Vec<u8>>) = reader.query_row(
                "SELECT vote, purged FROM consensus_group WHERE number = ?",
                [number],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )?;
            let last: Option<Vec<u8>> = reader
                .query_row(
                    "SELECT body FROM entry WHERE id BETWEEN ? AND ? ORDER BY id DESC LIMIT 1",
                    [key(number, 0), key(number + 1, 0) - 1],
                    |row| row.get(0),
                )
                .optional()?;
            (vote, purged, last)
        };
        let purged: Option<LogId> = purged.as_deref().map(read).transpose()?;
        let last: Option<LogEntry> = last.as_deref().map(read).transpose()?;
        let last = last.map(|entry| *entry.get_log_id()).or(purged);
        let flushed = last.map_or(0, |id| id.index);
        let mut vote: Option<Vote<u64>> = vote.as_deref().map(read).transpose()?;
        let led = vote.as_mut().is_some_and(|vote| {
            let own = vote.leader_id().voted_for() == Some(store.incarnation());
            // As a candidate that was not elected: the term is spent.
            own && std::mem::replace(&mut vote.committed, false)
        });
        let state = State {
            vote,
            purged,
            last,
            greatest: last,
            tail: BTreeMap::new(),
            tail_bytes: 0,
            filed: flushed,
            cuts: 0,
        };
        Ok(Self {
            store,
            number,
            state: Arc::new(Mutex::new(state)),
            flushed: Arc::new(watch::Sender::new(flushed)),
            led,
        })
    }

    /// Whether this node led when the log was last open.
    pub(crate) fn led(&self) -> bool {
        self.led
    }

    /// Whether this node's disk has all entries up to `index`.
    pub(crate) fn has_flushed(&self, index: u64) -> bool {
        *self.flushed.borrow() >= index
    }

    /// Waits until this node's disk has all entries up to `index`.
    pub(crate) async fn flushed(&self, index: u64) {
        let mut flushed = self.flushed.subscribe();
        // It cannot end: this log holds the other side.
        let _ = flushed.wait_for(|upto| *upto >= index).await;
    }

    /// One entry, if the log has it.
    pub(crate) fn entry(&self, index: u64) -> Result<Option<LogEntry>> {
        Ok(self.read_range(index, index + 1, usize::MAX)?.pop())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Entries from `start` to before `end`, as many as there are; fewer if they exceed `bytes`.
    fn read_range(&self, start: u64, end: u64, bytes: usize) -> Result<Vec<LogEntry>> {
        let mut entries = Vec::new();
        let mut size = 0usize;
        for index in start..end {
            let held = self.state().tail.get(&index).map(Arc::clone);
            let body: Arc<[u8]> = match held {
                Some(body) => body,
                None => {
                    let reader = self.store.reader();
                    let mut query = reader.prepare_cached("SELECT body FROM entry WHERE id = ?")?;
                    let found: Option<Vec<u8>> = query
                        .query_row([key(self.number, index)], |row| row.get(0))
                        .optional()?;
                    match found {
                        Some(body) => body.into(),
                        None => break,
                    }
                }
            };
            size = size.saturating_add(body.len());
            if size > bytes && !entries.is_empty() {
                break;
            }
            entries.push(read(&body)?);
        }
        Ok(entries)
    }

    /// The greatest place that it has held since this process began.
    pub(crate) fn greatest(&self) -> Option<LogId> {
        self.state().greatest
    }

    /// Where the entries begin and end.
    fn bounds(&self) -> (u64, u64) {
        let state = self.state();
        let after = |id: Option<LogId>| id.map_or(0, |id| id.index + 1);
        (after(state.purged), after(state.last))
    }

    fn remember(
        &self,
        entries: impl IntoIterator<Item = LogEntry>,
    ) -> Result<Vec<(i64, Arc<[u8]>)>> {
        let mut rows = Vec::new();
        let mut state = self.state();
        for entry in entries {
            let id = *entry.get_log_id();
            let body: Arc<[u8]> = bytes(&entry)?.into();
            state.tail_bytes += body.len();
            state.tail.insert(id.index, Arc::clone(&body));
            state.last = Some(id);
            state.greatest = state.greatest.max(state.last);
            rows.push((key(self.number, id.index), body));
        }
        while state.tail_bytes > TAIL_BYTES
            && let Some(first) = state.tail.first_key_value().map(|(index, _)| *index)
            && first <= state.filed
        {
            state.forget(first);
        }
        Ok(rows)
    }
}

impl State {
    fn forget(&mut self, index: u64) {
        if let Some(body) = self.tail.remove(&index) {
            self.tail_bytes = self.tail_bytes.saturating_sub(body.len());
        }
    }
}

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<LogEntry>, StorageError> {
        let (first, after) = self.bounds();
        let start = match range.start_bound() {
            Bound::Included(n) => *n,
            Bound::Excluded(n) => n + 1,
            Bound::Unbounded => first,
        };
        let end = match range.end_bound() {
            Bound::Included(n) => n + 1,
            Bound::Excluded(n) => *n,
            Bound::Unbounded => after,
        };
        self.read_range(start, end.min(after), usize::MAX)
            .map_err(failed_read)
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<LogEntry>, StorageError> {
        self.read_range(start, end, MESSAGE_BYTES)
            .map_err(failed_read)
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, StorageError> {
        let state = self.state();
        Ok(LogState {
            last_purged_log_id: state.purged,
            last_log_id: state.last,
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote<u64>) -> Result<(), StorageError> {
        let (number, body) = (self.number, bytes(vote).map_err(failed_write)?);
        self.state().vote = Some(*vote);
        let written = self.store.written(move |conn| {
            conn.execute(
                "UPDATE consensus_group SET vote = ? WHERE number = ?",
                params![body, number],
            )
            .map(|_| ())
        });
        written.await.map_err(failed_write)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote<u64>>, StorageError> {
        Ok(self.state().vote)
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: LogFlushed<Types>,
    ) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = LogEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<LogEntry> = entries.into_iter().collect();
        let members = |entry: &LogEntry| matches!(entry.payload, EntryPayload::Membership(_));
        let told_later = entries.iter().any(members);
        let rows = self.remember(entries).map_err(failed_write)?;
        let (last, cuts) = {
            let state = self.state();
            (state.last.map_or(0, |id| id.index), state.cuts)
        };
        let (state, flushed) = (Arc::clone(&self.state), Arc::clone(&self.flushed));
        let (at_once, later) = if told_later {
            (None, Some(callback))
        } else {
            (Some(callback), None)
        };
        let of_file = Arc::clone(&self.state);
        self.store.append(
            rows,
            move || {
                let state = state.lock().unwrap_or_else(PoisonError::into_inner);
                if state.cuts == cuts {
                    flushed.send_modify(|upto| *upto = last.max(*upto));
                }
                drop(state);
                if let Some(callback) = later {
                    callback.log_io_completed(Ok(()));
                }
            },
            move || {
                let mut state = of_file.lock().unwrap_or_else(PoisonError::into_inner);
                if state.cuts == cuts {
                    state.filed = last.max(state.filed);
                }
            },
        );
        if let Some(callback) = at_once {
            callback.log_io_completed(Ok(()));
        }
        Ok(())
    }

    async fn truncate(&mut self, from: LogId) -> Result<(), StorageError> {
        let before = from.index.checked_sub(1);
        let last = match before {
            Some(index) => self.entry(index).map_err(failed_read)?,
            None => None,
        };
        {
            let mut state = self.state();
            let gone: Vec<u64> = state.tail.range(from.index..).map(|(n, _)| *n).collect();
            gone.into_iter().for_each(|index| state.forget(index));
            state.last = last.map(|entry| *entry.get_log_id()).or(state.purged);
            state.cuts += 1;
            let before = before.unwrap_or(0);
            state.filed = before.min(state.filed);
            self.flushed.send_modify(|upto| *upto = before.min(*upto));
        }
        let (first, end) = (key(self.number, from.index), key(self.number + 1, 0) - 1);
        let written = self.store.written(move |conn| {
            conn.execute("DELETE FROM entry WHERE id BETWEEN ? AND ?", [first, end])
                .map(|_| ())
        });
        written.await.map_err(failed_write)
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), StorageError> {
        {
            let mut state = self.state();
            let gone: Vec<u64> = state.tail.range(..=upto.index).map(|(n, _)| *n).collect();
            gone.into_iter().for_each(|index| state.forget(index));
            state.purged = state.purged.max(Some(upto));
            state.last = state.last.max(Some(upto));
            state.greatest = state.greatest.max(state.last);
            // What a snapshot stands for is on disk with it.
            self.flushed
                .send_modify(|flushed| *flushed = upto.index.max(*flushed));
        }
        let (first, end) = (key(self.number, 0), key(self.number, upto.index));
        let (number, body) = (self.number, bytes(&upto).map_err(failed_write)?);
        let written = self.store.written(move |conn| {
            conn.execute(
                "UPDATE consensus_group SET purged = ? WHERE number = ?",
                params![body, number],
            )?;
            conn.execute("DELETE FROM entry WHERE id BETWEEN ? AND ?", [first, end])
                .map(|_| ())
        });
        written.await.map_err(failed_write)
    }
}

fn key(number: i64, index: u64) -> i64 {
    (number << INDEX_BITS) | i64::try_from(index).unwrap_or(0)
}

/// Our own bytes, read again.
pub(crate) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    postcard::from_bytes(bytes).map_err(|e| {
        Error::internal(format!(
            "the consensus log is damaged; {e}; remove this node from its groups and add it again"
        ))
    })
}

/// What [`read`] reads.
pub(crate) fn bytes<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    postcard::to_stdvec(value).map_err(|e| Error::internal(format!("cannot encode; {e}")))
}

pub(crate) fn failed_read(e: impl std::error::Error + Send + Sync + 'static) -> StorageError {
    StorageIOError::read(&io::Error::other(e.to_string())).into()
}

pub(crate) fn failed_write(e: impl std::error::Error + Send + Sync + 'static) -> StorageError {
    StorageIOError::write(&io::Error::other(e.to_string())).into()
}
