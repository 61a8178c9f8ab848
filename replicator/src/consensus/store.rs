//! The log file of all groups: one SQLite database with one writer ([`super::writer`]).
//!
//! Writes are queued; the writer brings all that waits to the disk together, and only then tells
//! those who wait. So one sync serves all groups, partitions and clients of that moment.
//!
//! The file has an incarnation, random bits that are a node's name in all groups. It holds for
//! this file in this place: after a copy or a restore the place differs (device and inode), the
//! incarnation is a new one and the groups are forgotten, so that nobody votes twice.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::charter::Charter;
use super::journal::Rows;
use super::types::GroupId;
use super::writer::{Done, Order, Queued, Work, Writer};
use crate::broken::{Rule, is};
use crate::error::{Error, Result};

/// Writes that may wait. Beyond it the engine waits with them.
const QUEUE: usize = 1_024;

/// Layout of the file.
const LAYOUT: &str = "
CREATE TABLE IF NOT EXISTS fact(key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS consensus_group(
  number INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE,
  home TEXT NOT NULL, voters TEXT NOT NULL,
  vote BLOB, purged BLOB, meta BLOB, snapshot BLOB,
  followers TEXT NOT NULL DEFAULT ''
);
CREATE TABLE IF NOT EXISTS retired(id BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS entry(
  id INTEGER PRIMARY KEY, -- group number << 40 | index
  body BLOB NOT NULL
);";

/// A group as the file keeps it.
pub(crate) struct Kept {
    pub(crate) number: i64,
    pub(crate) id: GroupId,
    pub(crate) charter: Charter,
}

/// The log file.
pub(crate) struct Store {
    queue: SyncSender<Queued>,
    reader: Mutex<Connection>,
    incarnation: u64,
    /// The file is behind what this node acknowledged: nobody votes on it any more.
    disowned: AtomicBool,
    /// For tests: the disk takes nothing.
    stalled: Arc<AtomicBool>,
}

impl Store {
    /// Opens the file, or makes it, and brings into it what its journal holds beyond it.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let conn = connect(path)?;
        conn.execute_batch(LAYOUT)?;
        add_followers(&conn)?;
        let mut beside = path.as_os_str().to_owned();
        beside.push(".ahead");
        let beside = PathBuf::from(beside);
        let incarnation = incarnation(&conn, path, &beside)?;
        let stalled = Arc::new(AtomicBool::new(false));
        let writer = Writer::open(conn, &beside, incarnation, Arc::clone(&stalled))?;
        let (queue, waiting) = sync_channel(QUEUE);
        std::thread::Builder::new()
            .name("consensus log".to_owned())
            .spawn(move || writer.run(&waiting))?;
        Ok(Self {
            queue,
            reader: Mutex::new(connect(path)?),
            incarnation,
            disowned: AtomicBool::new(false),
            stalled,
        })
    }

    /// For tests: from now on the disk takes nothing, or everything again.
    pub(crate) fn set_stalled(&self, stalled: bool) {
        self.stalled.store(stalled, Ordering::Relaxed);
    }

    /// Whether the file was found to have lost its end.
    pub(crate) fn is_disowned(&self) -> bool {
        self.disowned.load(Ordering::Relaxed)
    }

    /// The file has lost its end: the next start takes a new incarnation.
    pub(crate) async fn disown(&self) -> Result<()> {
        self.disowned.store(true, Ordering::Relaxed);
        let forget = |conn: &Connection| {
            conn.execute("DELETE FROM fact WHERE key = 'place'", [])
                .map(|_| ())
        };
        Ok(self.written(forget).await?)
    }

    pub(crate) fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// Queues a write; `done` is called once it is on disk. Writes happen in the order in
    /// which they are queued.
    pub(crate) fn write(
        &self,
        work: impl Fn(&Connection) -> rusqlite::Result<()> + Send + 'static,
        done: impl FnOnce() + Send + 'static,
    ) {
        let work: Work = Box::new(work);
        self.queue(Order::Work(work), Box::new(done), None);
    }

    /// Queues entries: `done` is called once the disk has them, `filed` once they can be read
    /// from the file, too.
    pub(crate) fn append(
        &self,
        rows: Rows,
        done: impl FnOnce() + Send + 'static,
        filed: impl FnOnce() + Send + 'static,
    ) {
        self.queue(Order::Append(rows), Box::new(done), Some(Box::new(filed)));
    }

    fn queue(&self, order: Order, done: Done, filed: Option<Done>) {
        let queued = self.queue.send(Queued { order, done, filed });
        if queued.is_err() {
            tracing::error!("the writer of the consensus log is gone");
        }
    }

    /// The same for those who wait on an async thread.
    pub(crate) async fn written(
        &self,
        work: impl Fn(&Connection) -> rusqlite::Result<()> + Send + 'static,
    ) -> std::io::Result<()> {
        let (tell, told) = tokio::sync::oneshot::channel();
        self.write(work, move || {
            let _ = tell.send(());
        });
        told.await
            .map_err(|_| std::io::Error::other("the writer of the consensus log is gone"))
    }

    /// A connection for reading.
    pub(crate) fn reader(&self) -> MutexGuard<'_, Connection> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The groups of this incarnation.
    pub(crate) fn groups(&self) -> Result<Vec<Kept>> {
        let reader = self.reader();
        let mut query = reader.prepare(
            "SELECT number, id, home, voters, followers FROM consensus_group ORDER BY number",
        )?;
        let rows = query.query_map([], |row| {
            Ok(Kept {
                number: row.get(0)?,
                id: GroupId(row.get(1)?),
                charter: Charter {
                    home: row.get(2)?,
                    voters: names(&row.get::<_, String>(3)?),
                    followers: names(&row.get::<_, String>(4)?),
                },
            })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Keeps a group, on disk when this returns. A group that has ended does not begin again: its
    /// log is gone. Blocks.
    pub(crate) fn keep_group(&self, id: GroupId, charter: &Charter) -> Result<Kept> {
        let home = charter.home.clone();
        let (voters, followers) = (charter.voters.join(","), charter.followers.join(","));
        self.written_now(move |conn| {
            conn.execute(
                "INSERT OR IGNORE INTO consensus_group(id, home, voters, followers)
                 SELECT ?1, ?2, ?3, ?4 WHERE NOT EXISTS (SELECT 1 FROM retired WHERE id = ?1)",
                params![id.0, home, voters, followers],
            )
            .map(|_| ())
        })?;
        self.groups()?
            .into_iter()
            .find(|kept| kept.id == id)
            .ok_or_else(|| Error::refused(format!("the group {id} has ended")))
    }

    /// Forgets a group, but not that it was there. Blocks.
    pub(crate) fn retire_group(&self, id: GroupId) -> Result<()> {
        self.written_now(move |conn| {
            conn.execute("INSERT OR IGNORE INTO retired VALUES (?)", [id.0])?;
            conn.execute(
                "DELETE FROM entry WHERE id IN (
                   SELECT e.id FROM consensus_group g, entry e
                   WHERE g.id = ? AND e.id BETWEEN g.number << 40 AND ((g.number + 1) << 40) - 1)",
                [id.0],
            )?;
            conn.execute("DELETE FROM consensus_group WHERE id = ?", [id.0])
                .map(|_| ())
        })
    }

    /// Whether a group was here and has ended.
    pub(crate) fn is_retired(&self, id: GroupId) -> Result<bool> {
        let reader = self.reader();
        let mut query = reader.prepare_cached("SELECT 1 FROM retired WHERE id = ?")?;
        Ok(query.exists([id.0])?)
    }

    fn written_now(
        &self,
        work: impl Fn(&Connection) -> rusqlite::Result<()> + Send + 'static,
    ) -> Result<()> {
        let (tell, told) = sync_channel(1);
        self.write(work, move || {
            let _ = tell.send(());
        });
        told.recv()
            .map_err(|_| Error::internal("the writer of the consensus log is gone"))
    }
}

/// Files from before there were followers get their column.
fn add_followers(conn: &Connection) -> Result<()> {
    let known = "SELECT 1 FROM pragma_table_info('consensus_group') WHERE name = 'followers'";
    if !conn.prepare(known)?.exists([])? {
        conn.execute_batch(
            "ALTER TABLE consensus_group ADD COLUMN followers TEXT NOT NULL DEFAULT ''",
        )?;
    }
    Ok(())
}

fn names(list: &str) -> Vec<String> {
    list.split(',')
        .filter(|n| !n.is_empty())
        .map(str::to_owned)
        .collect()
}

fn connect(path: &Path) -> Result<Connection> {
    let conn = Connection::open(path).map_err(|e| Error::from(e).during(path.display()))?;
    conn.busy_timeout(Duration::from_secs(10))?;
    conn.pragma_update(None, "journal_mode", "WAL")?;
    // The whole of the promise: a commit is on disk when it returns. The writer lifts it where the
    // journal has kept it already.
    let synchronous = if is(Rule::Fsync) { "OFF" } else { "FULL" };
    conn.pragma_update(None, "synchronous", synchronous)?;
    // Fewer, longer turns at the file itself: what is purged meanwhile never gets there.
    conn.pragma_update(None, "wal_autocheckpoint", 4_096)?;
    conn.set_prepared_statement_cache_capacity(16);
    Ok(conn)
}

/// The incarnation that the file holds for its place, and its journal beside it; a new one if
/// either is elsewhere.
fn incarnation(conn: &Connection, path: &Path, beside: &Path) -> Result<u64> {
    let here = place(path)?;
    let fact = |key: &str| {
        conn.query_row("SELECT value FROM fact WHERE key = ?", [key], |row| {
            row.get::<_, String>(0)
        })
        .optional()
    };
    // One from before there was a journal names none.
    let is_beside = match fact("journal")? {
        Some(known) => beside.exists() && place(beside)? == known,
        None => true,
    };
    if is_beside
        && fact("place")?.as_ref() == Some(&here)
        && let Some(text) = fact("incarnation")?
        && let Ok(known) = u64::from_str_radix(&text, 16)
    {
        return Ok(known);
    }
    let new = crate::random::bits().max(1);
    conn.execute_batch(
        "BEGIN IMMEDIATE; DELETE FROM entry; DELETE FROM consensus_group; DELETE FROM retired;
         DELETE FROM fact WHERE key IN ('journal', 'filed');",
    )?;
    for (key, value) in [("place", here), ("incarnation", format!("{new:016x}"))] {
        conn.execute("REPLACE INTO fact VALUES (?, ?)", [key, &value])?;
    }
    conn.execute_batch("COMMIT")?;
    tracing::info!(incarnation = format!("{new:016x}"), "a new consensus log");
    Ok(new)
}

/// What changes when a file is copied or restored. `stat` only: SQLite has it open.
pub(super) fn place(path: &Path) -> Result<String> {
    let path: PathBuf = path.canonicalize()?;
    let meta = std::fs::metadata(path)?;
    Ok(format!("{}:{}", meta.dev(), meta.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn charter() -> Charter {
        let members = ["a".to_owned(), "b".to_owned()];
        Charter::of("a", &[], &members)
    }

    #[test]
    fn a_group_that_has_ended_does_not_begin_again() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(&home.path().join("consensus.db")).unwrap();
        let ids = [GroupId([1; 16]), GroupId([2; 16])];
        for (id, index) in ids.into_iter().zip(5..) {
            let kept = store.keep_group(id, &charter()).unwrap();
            assert_eq!(kept.charter, charter());
            let key = (kept.number << 40) + index;
            store
                .written_now(move |conn| {
                    conn.execute("INSERT INTO entry VALUES (?, x'00')", [key])
                        .map(|_| ())
                })
                .unwrap();
        }
        store.retire_group(ids[0]).unwrap();
        assert!(store.keep_group(ids[0], &charter()).is_err());
        assert!(store.is_retired(ids[0]).unwrap());
        assert!(!store.is_retired(ids[1]).unwrap());
        assert_eq!(store.groups().unwrap().len(), 1);
        let left: u64 = store
            .reader()
            .query_row("SELECT count(*) FROM entry", [], |row| row.get(0))
            .unwrap();
        assert_eq!(left, 1, "the other group's log stays");
    }

    #[test]
    fn a_file_from_before_there_were_followers_is_read() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("consensus.db");
        let old = Connection::open(&path).unwrap();
        old.execute_batch(
            "CREATE TABLE consensus_group(
               number INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE,
               home TEXT NOT NULL, voters TEXT NOT NULL,
               vote BLOB, purged BLOB, meta BLOB, snapshot BLOB)",
        )
        .unwrap();
        drop(old);
        let store = Store::open(&path).unwrap();
        store.keep_group(GroupId([1; 16]), &charter()).unwrap();
        assert_eq!(store.groups().unwrap()[0].charter, charter());
    }

    #[test]
    fn a_copied_file_is_another_incarnation_without_groups() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("consensus.db");
        let store = Store::open(&path).unwrap();
        let first = store.incarnation();
        store.keep_group(GroupId([7; 16]), &charter()).unwrap();
        drop(store);
        let again = Store::open(&path).unwrap();
        assert_eq!(again.incarnation(), first);
        assert_eq!(again.groups().unwrap().len(), 1);
        again
            .reader()
            .execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")
            .unwrap();
        drop(again);
        let copy = home.path().join("copy.db");
        std::fs::copy(&path, &copy).unwrap();
        let restored = Store::open(&copy).unwrap();
        assert_ne!(restored.incarnation(), first);
        assert!(restored.groups().unwrap().is_empty());
    }

    /// Appends, and returns when the disk has it.
    fn append(store: &Store, key: i64) {
        let (tell, told) = sync_channel(1);
        let rows = vec![(key, vec![1, 2, 3].into())];
        store.append(rows, move || tell.send(()).unwrap_or_default(), || {});
        told.recv().unwrap();
    }

    fn entries(store: &Store) -> Vec<i64> {
        let reader = store.reader();
        let mut query = reader.prepare("SELECT id FROM entry ORDER BY id").unwrap();
        let rows = query.query_map([], |row| row.get(0)).unwrap();
        rows.collect::<rusqlite::Result<_>>().unwrap()
    }

    /// The files as they are now, as a crash would leave them: with the same names elsewhere.
    fn crash(path: &Path) -> tempfile::TempDir {
        let home = tempfile::tempdir().unwrap();
        for file in ["consensus.db", "consensus.db-wal", "consensus.db.ahead"] {
            let from = path.with_file_name(file);
            if from.exists() {
                std::fs::copy(from, home.path().join(file)).unwrap();
            }
        }
        // These copies stand for the files themselves.
        let conn = connect(&home.path().join("consensus.db")).unwrap();
        for (key, file) in [("place", "consensus.db"), ("journal", "consensus.db.ahead")] {
            let at = place(&home.path().join(file)).unwrap();
            conn.execute("UPDATE fact SET value = ? WHERE key = ?", [&at, key])
                .unwrap();
        }
        home
    }

    #[test]
    fn what_only_the_journal_has_is_in_the_file_after_a_crash() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("consensus.db");
        let store = Store::open(&path).unwrap();
        for key in 1..=3 {
            append(&store, key);
        }
        // At once: what the writer does later, it has not done for all of them.
        let crashed = crash(&path);
        let again = Store::open(&crashed.path().join("consensus.db")).unwrap();
        assert_eq!(again.incarnation(), store.incarnation());
        assert_eq!(entries(&again), [1, 2, 3]);
    }

    #[tokio::test]
    async fn what_was_cut_off_does_not_come_back_from_the_journal() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("consensus.db");
        let store = Store::open(&path).unwrap();
        for key in 1..=3 {
            append(&store, key);
        }
        let cut = |conn: &Connection| conn.execute("DELETE FROM entry WHERE id > 1", []).map(drop);
        store.written(cut).await.unwrap();
        let crashed = crash(&path);
        let again = Store::open(&crashed.path().join("consensus.db")).unwrap();
        assert_eq!(entries(&again), [1]);
        append(&store, 2);
        let crashed = crash(&path);
        let again = Store::open(&crashed.path().join("consensus.db")).unwrap();
        assert_eq!(entries(&again), [1, 2]);
    }

    #[test]
    fn a_file_whose_journal_is_gone_is_another_incarnation() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("consensus.db");
        let first = Store::open(&path).unwrap().incarnation();
        let ahead = home.path().join("consensus.db.ahead");
        assert_eq!(Store::open(&path).unwrap().incarnation(), first);
        std::fs::remove_file(ahead).unwrap();
        assert_ne!(Store::open(&path).unwrap().incarnation(), first);
    }
}
