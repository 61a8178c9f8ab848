//! Notices the commits of one connection from what its file is asked to do.
//!
//! WAL mode: the wal-index header as it was when the write lock was taken is compared with the one at
//! its release; its change counter moves only with a commit (not with a rollback, a checkpoint or a
//! restart of the log). Rollback journals: SQLite announces the end of a commit with
//! `SQLITE_FCNTL_COMMIT_PHASETWO`, and it counts if the file was written since it was locked; it is
//! reported once the lock is released, when others can read it. Under EXCLUSIVE locking there is
//! neither a WAL lock nor a release, so there the announcement itself counts, and an empty write transaction
//! in WAL mode is reported too.
//!
//! Each method returns how many commits to report now. The invariant: every commit is reported exactly
//! once. State is in cells because all calls for one file come from the thread that holds its connection.

use std::cell::Cell;

/// Rank of `SQLITE_LOCK_RESERVED`: below it a connection does not write.
const LOCK_RESERVED: i32 = 2;
/// Rank of `SQLITE_LOCK_EXCLUSIVE`.
const LOCK_EXCLUSIVE: i32 = 4;

/// Number of 32-bit words of one copy of the wal-index header.
pub(crate) const WAL_HEADER_WORDS: usize = 12;

/// One copy of the header at the start of the wal-index, as words in host byte order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WalHeader(pub(crate) [u32; WAL_HEADER_WORDS]);

impl WalHeader {
    /// `iChange`: one more with every commit.
    fn change(&self) -> u32 {
        let [_, _, change, ..] = self.0;
        change
    }

    /// `isInit`: zero until a first recovery has filled the header.
    fn initialised(&self) -> bool {
        let [_, _, _, flags, ..] = self.0;
        let [initialised, ..] = flags.to_ne_bytes();
        initialised != 0
    }
}

/// The WAL write lock as this connection holds it.
#[derive(Debug, Clone, Copy)]
enum WalWrite {
    /// Not held, as far as was seen.
    Released,
    /// Held since the header looked like this. `None`: there was no header yet, or it is being rebuilt,
    /// so that no change of it can be a commit.
    Held(Option<WalHeader>),
}

/// What was seen of one file.
#[derive(Debug)]
pub(crate) struct CommitWatch {
    /// Lock level of the database file.
    db_lock: Cell<i32>,
    /// The database file itself was written since its write lock was taken.
    db_written: Cell<bool>,
    /// A rollback-journal commit is done, its lock not yet released.
    pending: Cell<bool>,
    /// Commits follow each other without a release: EXCLUSIVE locking.
    never_released: Cell<bool>,
    wal_write: Cell<WalWrite>,
    /// The WAL write lock was released, and whether that was a commit could not be told.
    wal_unsure: Cell<bool>,
}

impl CommitWatch {
    /// `db_lock`: the level the connection held when the file was wrapped.
    pub(crate) fn new(db_lock: i32) -> Self {
        Self {
            db_lock: Cell::new(db_lock),
            db_written: Cell::new(false),
            pending: Cell::new(false),
            never_released: Cell::new(false),
            wal_write: Cell::new(WalWrite::Released),
            wal_unsure: Cell::new(false),
        }
    }

    /// Whether this connection was seen to hold the WAL write lock.
    pub(crate) fn holds_wal_write(&self) -> bool {
        matches!(self.wal_write.get(), WalWrite::Held(_))
    }

    /// The WAL write lock was taken.
    pub(crate) fn wal_write_locked(&self, header: Option<WalHeader>) {
        let header = header.filter(WalHeader::initialised);
        self.wal_write.set(WalWrite::Held(header));
        // Checkpoints write the database file too; those writes belong to no commit.
        self.db_written.set(false);
        self.wal_unsure.set(false);
    }

    /// The recovery lock was taken: the header is about to be rebuilt from the log.
    pub(crate) fn wal_recovery_locked(&self) {
        if self.holds_wal_write() {
            self.wal_write.set(WalWrite::Held(None));
        }
    }

    /// The WAL write lock was released.
    pub(crate) fn wal_write_unlocked(&self, now: Option<WalHeader>) -> u32 {
        match (self.wal_write.replace(WalWrite::Released), now) {
            (WalWrite::Held(Some(before)), Some(now)) => {
                u32::from(now.initialised() && now.change() != before.change())
            }
            (WalWrite::Held(None), Some(_)) => 0,
            // Locked before the file was adopted, or a header out of reach: the announcement decides.
            (WalWrite::Released, _) | (WalWrite::Held(_), None) => {
                self.wal_unsure.set(true);
                0
            }
        }
    }

    /// The database file was locked.
    pub(crate) fn db_locked(&self, level: i32) {
        if level >= LOCK_RESERVED && self.db_lock.get() < LOCK_RESERVED {
            self.db_written.set(false);
        }
        self.db_lock.set(self.db_lock.get().max(level));
    }

    /// The database file was unlocked down to a level.
    pub(crate) fn db_unlocked(&self, level: i32) -> u32 {
        self.db_lock.set(self.db_lock.get().min(level));
        if level >= LOCK_RESERVED {
            return 0;
        }
        self.never_released.set(false);
        u32::from(self.pending.replace(false))
    }

    /// The database file is about to be written.
    pub(crate) fn db_written(&self) {
        self.db_written.set(true);
    }

    /// SQLite announces that a write transaction was committed (it may have been empty). `in_wal_mode`
    /// reads the file's own word for it and is asked only under EXCLUSIVE locking.
    pub(crate) fn commit_announced(&self, in_wal_mode: impl FnOnce() -> bool) -> u32 {
        if self.db_written.replace(false) {
            if self.never_released.get() {
                return 1;
            }
            if self.pending.replace(true) {
                // The one before was not released either: report both, and from now on at once.
                self.pending.set(false);
                self.never_released.set(true);
                return 2;
            }
            return 0;
        }
        if self.wal_unsure.replace(false) {
            return 1;
        }
        u32::from(self.db_lock.get() >= LOCK_EXCLUSIVE && in_wal_mode())
    }

    /// The file is being closed: a commit whose release was never seen is visible from now on.
    pub(crate) fn closed(&self) -> u32 {
        u32::from(self.pending.replace(false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(change: u32) -> Option<WalHeader> {
        let flags = u32::from_ne_bytes([1, 0, 0, 16]);
        Some(WalHeader([
            3_007_000, 0, change, flags, 0, 0, 0, 0, 0, 0, 0, 0,
        ]))
    }

    #[test]
    fn a_commit_moves_the_change_counter() {
        let watch = CommitWatch::new(1);
        watch.wal_write_locked(header(7));
        assert!(watch.holds_wal_write());
        assert_eq!(watch.wal_write_unlocked(header(8)), 1);
        watch.wal_write_locked(header(8));
        assert_eq!(watch.wal_write_unlocked(header(8)), 0);
        assert_eq!(watch.commit_announced(|| true), 0);
    }

    #[test]
    fn recovery_is_no_commit() {
        let watch = CommitWatch::new(1);
        watch.wal_write_locked(None);
        assert_eq!(watch.wal_write_unlocked(header(0)), 0);
        watch.wal_write_locked(header(9));
        watch.wal_recovery_locked();
        assert_eq!(watch.wal_write_unlocked(header(4)), 0);
    }

    #[test]
    fn checkpointed_pages_are_no_commit() {
        let watch = CommitWatch::new(1);
        watch.db_written();
        watch.wal_write_locked(header(1));
        assert_eq!(watch.wal_write_unlocked(header(2)), 1);
        assert_eq!(watch.commit_announced(|| true), 0);
    }

    #[test]
    fn a_journal_commit_is_reported_at_its_release() {
        let watch = CommitWatch::new(0);
        for level in [1, 2, 4] {
            watch.db_locked(level);
        }
        watch.db_written();
        assert_eq!(watch.commit_announced(|| false), 0);
        assert_eq!(watch.db_unlocked(1), 1);
        assert_eq!(watch.db_unlocked(0), 0);
        // A rollback after a spill writes and is not announced.
        watch.db_locked(1);
        watch.db_locked(4);
        watch.db_written();
        assert_eq!(watch.db_unlocked(0), 0);
        // An empty transaction is announced and wrote nothing.
        watch.db_locked(4);
        assert_eq!(watch.commit_announced(|| false), 0);
        assert_eq!(watch.db_unlocked(0), 0);
    }

    #[test]
    fn exclusive_locking_never_releases() {
        let watch = CommitWatch::new(0);
        watch.db_locked(4);
        let mut reported = 0;
        for _ in 0..5 {
            watch.db_written();
            reported += watch.commit_announced(|| false);
        }
        assert_eq!(reported, 5);
        assert_eq!(watch.closed(), 0);
        // A WAL without shared memory: only the announcement is left.
        assert_eq!(watch.commit_announced(|| true), 1);
    }

    #[test]
    fn a_lock_older_than_the_adoption_is_decided_by_the_announcement() {
        let watch = CommitWatch::new(1);
        assert_eq!(watch.wal_write_unlocked(header(3)), 0);
        assert_eq!(watch.commit_announced(|| false), 1);
        assert_eq!(watch.commit_announced(|| false), 0);
    }
}
