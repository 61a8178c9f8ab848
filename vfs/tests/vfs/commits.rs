//! `committed` is called exactly once for each commit, in each journal mode, and for nothing else.

use std::sync::atomic::Ordering;

use crate::{
    BOTH_WAYS, Place, Subject, Way, attach, count, ffi, insert, integrity, open, set_journal,
};

const JOURNALS: [&str; 5] = ["wal", "delete", "truncate", "persist", "memory"];

fn each(test: impl Fn(&Place, &Subject, &str)) {
    for way in BOTH_WAYS {
        for journal in JOURNALS {
            let place = Place::new();
            let subject = place.attached(way, journal);
            insert(&subject.conn);
            subject.recorder.commits();
            test(&place, &subject, &format!("{way:?} {journal}"));
            integrity(&subject.conn);
        }
    }
}

fn after(subject: &Subject, sql: &str) -> u32 {
    subject.conn.execute_batch(sql).unwrap();
    subject.recorder.commits()
}

#[test]
fn each_commit_is_reported_once() {
    each(|_, subject, what| {
        let before = subject.attached.mode().commits_seen;
        for _ in 0..20 {
            assert_eq!(after(subject, "INSERT INTO t(b) VALUES (1)"), 1, "{what}");
        }
        assert_eq!(
            after(subject, "BEGIN; INSERT INTO t(b) VALUES (1); SAVEPOINT s"),
            0,
            "{what}"
        );
        assert_eq!(
            after(subject, "DELETE FROM t; ROLLBACK TO s; RELEASE s"),
            0,
            "{what}"
        );
        assert_eq!(after(subject, "COMMIT"), 1, "{what}");
        assert_eq!(after(subject, "CREATE INDEX i ON t(b)"), 1, "{what}");
        assert_eq!(after(subject, "PRAGMA user_version=5"), 1, "{what}");
        assert_eq!(after(subject, "DELETE FROM t"), 1, "{what}");
        assert_eq!(subject.attached.mode().commits_seen, before + 24, "{what}");
    });
}

#[test]
fn reads_and_rollbacks_are_not_commits() {
    each(|_, subject, what| {
        count(&subject.conn).unwrap();
        assert_eq!(
            after(subject, "BEGIN; INSERT INTO t(b) VALUES (1); ROLLBACK"),
            0,
            "{what}"
        );
        assert_eq!(
            after(subject, "BEGIN IMMEDIATE; COMMIT"),
            0,
            "{what}: nothing written"
        );
        assert_eq!(
            after(subject, "BEGIN EXCLUSIVE; COMMIT"),
            0,
            "{what}: nothing written"
        );
        assert_eq!(
            after(subject, "BEGIN; SELECT * FROM t; COMMIT"),
            0,
            "{what}"
        );
        assert_eq!(
            after(subject, "DELETE FROM t WHERE a=-1"),
            0,
            "{what}: no row touched"
        );
        assert_eq!(
            after(subject, "CREATE TEMP TABLE x(a); INSERT INTO x VALUES (1)"),
            0,
            "{what}"
        );
        assert!(
            subject
                .conn
                .execute_batch("INSERT INTO t(a) VALUES (9), (9)")
                .is_err()
        );
        assert_eq!(after(subject, "SELECT 1"), 0, "{what}: a failed statement");
    });
}

/// Pages that spill from a small cache reach the file or the log before anybody commits.
#[test]
fn a_rolled_back_spill_is_no_commit() {
    const FILL: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<500)
                        INSERT INTO t(b) SELECT randomblob(2000) FROM n";
    each(|_, subject, what| {
        after(subject, "PRAGMA cache_size=10; PRAGMA cache_spill=1");
        assert_eq!(
            after(subject, &format!("BEGIN; {FILL}; ROLLBACK")),
            0,
            "{what}"
        );
        assert_eq!(after(subject, "BEGIN IMMEDIATE; COMMIT"), 0, "{what}");
        assert_eq!(
            after(subject, &format!("BEGIN; {FILL}; COMMIT")),
            1,
            "{what}"
        );
    });
}

#[test]
fn checkpoints_and_restarts_are_not_commits() {
    for way in BOTH_WAYS {
        let place = Place::new();
        let subject = place.attached(way, "wal");
        for kind in ["PASSIVE", "FULL", "RESTART", "TRUNCATE"] {
            insert(&subject.conn);
            assert_eq!(subject.recorder.commits(), 1);
            assert_eq!(
                after(&subject, &format!("PRAGMA wal_checkpoint({kind})")),
                0,
                "{way:?} {kind}"
            );
            // This one restarts the log and comes after pages were written to the file.
            insert(&subject.conn);
            assert_eq!(subject.recorder.commits(), 1, "{way:?} {kind}");
        }
        after(&subject, "PRAGMA wal_autocheckpoint=1");
        for _ in 0..10 {
            insert(&subject.conn);
            assert_eq!(
                subject.recorder.commits(),
                1,
                "{way:?}: automatic checkpoint"
            );
        }
    }
}

#[test]
fn only_the_own_commits_count() {
    for way in BOTH_WAYS {
        let place = Place::new();
        let subject = place.attached(way, "wal");
        let other = place.attached(way, "wal");
        insert(&other.conn);
        count(&subject.conn).unwrap();
        assert_eq!(
            (subject.recorder.commits(), other.recorder.commits()),
            (0, 1),
            "{way:?}"
        );
        insert(&subject.conn);
        assert_eq!(
            (subject.recorder.commits(), other.recorder.commits()),
            (1, 0),
            "{way:?}"
        );
    }
}

#[test]
fn vacuum_is_one_commit() {
    each(|place, subject, what| {
        for _ in 0..50 {
            insert(&subject.conn);
        }
        after(subject, "DELETE FROM t WHERE a % 2");
        assert_eq!(after(subject, "VACUUM"), 1, "{what}");
        let copy = place.path("copy.db");
        assert_eq!(
            after(subject, &format!("VACUUM INTO '{}'", copy.display())),
            0,
            "{what}"
        );
        assert_eq!(
            count(&open(&copy, Way::ThroughVfs)).unwrap(),
            count(&subject.conn).unwrap()
        );
    });
}

#[test]
fn exclusive_locking_hides_no_commit() {
    each(|_, subject, what| {
        after(subject, "PRAGMA locking_mode=EXCLUSIVE");
        let mut seen = 0;
        for _ in 0..5 {
            seen += after(subject, "INSERT INTO t(b) VALUES (1)");
        }
        after(subject, "PRAGMA locking_mode=NORMAL");
        count(&subject.conn).unwrap();
        seen += subject.recorder.commits();
        assert_eq!(seen, 5, "{what}");
        assert_eq!(
            after(subject, "INSERT INTO t(b) VALUES (1)"),
            1,
            "{what}: and normal again"
        );
    });
}

/// A WAL database whose first access is under EXCLUSIVE locking has no shared memory at all.
#[test]
fn a_wal_without_shared_memory_is_watched() {
    for way in BOTH_WAYS {
        let place = Place::new();
        drop(place.attached(way, "wal"));
        let conn = place.open(way);
        let (_attached, recorder) = attach(&conn);
        conn.execute_batch("PRAGMA locking_mode=EXCLUSIVE").unwrap();
        insert(&conn);
        insert(&conn);
        assert!(!place.path("t.db-shm").exists());
        assert_eq!(recorder.commits(), 2, "{way:?}");
    }
}

#[test]
fn a_file_adopted_in_mid_transaction_reports_its_commit() {
    for journal in JOURNALS {
        let place = Place::new();
        let conn = place.open(Way::Adopted);
        set_journal(&conn, journal);
        conn.execute_batch("CREATE TABLE t(a INTEGER PRIMARY KEY, b)")
            .unwrap();
        conn.execute_batch("BEGIN IMMEDIATE; INSERT INTO t(b) VALUES (1)")
            .unwrap();
        let (_attached, recorder) = attach(&conn);
        conn.execute_batch("COMMIT").unwrap();
        assert_eq!(recorder.commits(), 1, "{journal}");
        insert(&conn);
        assert_eq!(recorder.commits(), 1, "{journal}");
    }
}

#[test]
fn changing_the_journal_mode_is_at_most_the_commit_it_is() {
    for way in BOTH_WAYS {
        let place = Place::new();
        let subject = place.attached(way, "delete");
        for mode in ["wal", "delete", "wal", "delete"] {
            set_journal(&subject.conn, mode);
            // SQLite writes the file's header for it, in a transaction of its own.
            assert_eq!(subject.recorder.commits(), 1, "{way:?} to {mode}");
        }
    }
}

#[test]
fn a_panic_does_not_fail_the_commit() {
    each(|_, subject, what| {
        subject.recorder.panic.store(true, Ordering::Relaxed);
        insert(&subject.conn);
        subject.recorder.panic.store(false, Ordering::Relaxed);
        assert_eq!(subject.recorder.commits(), 1, "{what}");
        assert_eq!(count(&subject.conn).unwrap(), 2, "{what}");
        assert!(!ffi::has_write_lock(&subject.conn));
    });
}
