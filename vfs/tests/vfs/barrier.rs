//! The read barrier: once per read transaction, only while armed, and refusals that pass.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rusqlite::ErrorCode;

use crate::{BOTH_WAYS, Place, Subject, Way, attach, count, ffi, insert, integrity, set_journal};

const JOURNALS: [&str; 2] = ["wal", "delete"];

fn each(test: impl Fn(&Place, Subject, &str)) {
    for way in BOTH_WAYS {
        for journal in JOURNALS {
            let place = Place::new();
            let subject = place.attached(way, journal);
            insert(&subject.conn);
            test(&place, subject, &format!("{way:?} {journal}"));
        }
    }
}

#[test]
fn it_does_not_run_unarmed() {
    each(|_, subject, what| {
        count(&subject.conn).unwrap();
        insert(&subject.conn);
        assert_eq!(subject.recorder.barriers(), 0, "{what}");
        subject.attached.arm_barrier(true);
        count(&subject.conn).unwrap();
        subject.attached.arm_barrier(false);
        count(&subject.conn).unwrap();
        assert_eq!(subject.recorder.barriers(), 1, "{what}");
        assert_eq!(subject.attached.mode().barriers_run, 1);
    });
}

#[test]
fn it_runs_once_per_read_transaction() {
    each(|_, subject, what| {
        let (conn, recorder) = (&subject.conn, &subject.recorder);
        subject.attached.arm_barrier(true);
        for _ in 0..3 {
            count(conn).unwrap();
            assert_eq!(recorder.barriers(), 1, "{what}: autocommit");
        }
        conn.execute_batch("BEGIN").unwrap();
        assert_eq!(
            recorder.barriers(),
            0,
            "{what}: a deferred BEGIN reads nothing"
        );
        count(conn).unwrap();
        assert_eq!(recorder.barriers(), 1, "{what}: the first read of it does");
        count(conn).unwrap();
        insert(conn);
        conn.execute_batch("COMMIT").unwrap();
        assert_eq!(recorder.barriers(), 0, "{what}: the rest of it");
        conn.execute_batch("BEGIN IMMEDIATE").unwrap();
        assert_eq!(recorder.barriers(), 1, "{what}: BEGIN IMMEDIATE reads");
        insert(conn);
        conn.execute_batch("ROLLBACK").unwrap();
        insert(conn);
        assert_eq!(recorder.barriers(), 1, "{what}: a write reads first");
    });
}

#[test]
fn the_first_access_to_a_wal_database_is_one_beginning() {
    for way in BOTH_WAYS {
        let place = Place::new();
        // Keeps the wal-index alive and initialised.
        let keeper = place.attached(way, "wal");
        insert(&keeper.conn);
        let conn = place.open(way);
        let (attached, recorder) = attach(&conn);
        attached.arm_barrier(true);
        // The file is locked, found to be in WAL mode, and then a read mark is locked.
        conn.execute_batch("BEGIN").unwrap();
        count(&conn).unwrap();
        assert!(
            recorder.barriers() <= 2,
            "{way:?}: one to load the schema, one for the transaction"
        );
        conn.execute_batch("COMMIT").unwrap();
        count(&conn).unwrap();
        assert_eq!(recorder.barriers(), 1, "{way:?}");
    }
}

#[test]
fn a_refusal_fails_the_statement_and_passes() {
    each(|_, subject, what| {
        let (conn, recorder) = (&subject.conn, &subject.recorder);
        subject.attached.arm_barrier(true);
        recorder.refuse.store(true, Ordering::Relaxed);
        let started = std::time::Instant::now();
        for _ in 0..2 {
            let error = count(conn).unwrap_err();
            assert_eq!(
                error.sqlite_error_code(),
                Some(ErrorCode::OperationInterrupted),
                "{what}"
            );
        }
        assert!(
            started.elapsed().as_secs() < 2,
            "{what}: SQLite must not spin"
        );
        assert_eq!(
            subject.attached.take_refusal().as_deref(),
            Some("no leader known; retry later")
        );
        assert_eq!(subject.attached.take_refusal(), None);
        assert!(conn.execute_batch("BEGIN IMMEDIATE").is_err());
        assert!(conn.is_autocommit());
        recorder.refuse.store(false, Ordering::Relaxed);
        assert_eq!(count(conn).unwrap(), 1, "{what}");
        insert(conn);
        integrity(conn);
    });
}

#[test]
fn a_panic_is_a_refusal() {
    each(|_, subject, what| {
        subject.attached.arm_barrier(true);
        subject.recorder.panic.store(true, Ordering::Relaxed);
        assert!(count(&subject.conn).is_err(), "{what}");
        assert!(subject.attached.take_refusal().unwrap().contains("panic"));
        subject.recorder.panic.store(false, Ordering::Relaxed);
        assert_eq!(count(&subject.conn).unwrap(), 1, "{what}");
    });
}

/// A build of SQLite with `SQLITE_ENABLE_SETLK_TIMEOUT` locks in this order; the bundled one does not.
#[test]
fn it_runs_before_the_lock_of_a_writer_that_reads_later() {
    const LOCK: i32 = 2 | 8;
    const UNLOCK: i32 = 1 | 8;
    const LOCK_SHARED: i32 = 2 | 4;
    const UNLOCK_SHARED: i32 = 1 | 4;
    const WRITER: i32 = 0;
    const CHECKPOINTER: i32 = 1;
    const MARK: i32 = 4;
    for way in BOTH_WAYS {
        let place = Place::new();
        let Subject {
            conn,
            attached,
            recorder,
            ..
        } = place.attached(way, "wal");
        insert(&conn);
        let ask = |slot, request| ffi::shm_lock(&conn, slot, request);
        let both = |first: (i32, i32), second: (i32, i32)| {
            assert_eq!(ask(first.0, first.1), 0, "{way:?}");
            let ran = recorder.barriers();
            assert_eq!(ask(second.0, second.1), 0, "{way:?}");
            (ran, recorder.barriers())
        };
        attached.arm_barrier(true);

        let writer_first = both((WRITER, LOCK), (MARK, LOCK_SHARED));
        assert_eq!(writer_first, (1, 0), "{way:?}: once, before it reads");
        both((MARK, UNLOCK_SHARED), (WRITER, UNLOCK));

        let reader_first = both((MARK, LOCK_SHARED), (WRITER, LOCK));
        assert_eq!(reader_first, (1, 0), "{way:?}: it reads already");
        both((WRITER, UNLOCK), (MARK, UNLOCK_SHARED));

        let checkpoint = both((CHECKPOINTER, LOCK), (WRITER, LOCK));
        assert_eq!(checkpoint, (0, 0), "{way:?}: a checkpoint reads nothing");
        both((WRITER, UNLOCK), (CHECKPOINTER, UNLOCK));

        let other = place.open(way);
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        assert_eq!(ask(WRITER, LOCK), 5, "{way:?}: busy");
        assert_eq!(ask(MARK, LOCK_SHARED), 0);
        assert_eq!(recorder.barriers(), 1, "{way:?}: one beginning");
        ask(MARK, UNLOCK_SHARED);
        other.execute_batch("ROLLBACK").unwrap();

        recorder.refuse.store(true, Ordering::Relaxed);
        assert_eq!(ask(WRITER, LOCK), 9, "{way:?}: interrupted");
        other.execute_batch("BEGIN IMMEDIATE; ROLLBACK").unwrap();
        recorder.refuse.store(false, Ordering::Relaxed);

        attached.arm_barrier(false);
        ask(MARK, LOCK_SHARED);
        attached.arm_barrier(true);
        recorder.barriers();
        ask(WRITER, LOCK);
        assert_eq!(recorder.barriers(), 0, "{way:?}: it read before the arming");
        both((WRITER, UNLOCK), (MARK, UNLOCK_SHARED));
        attached.arm_barrier(false);
        insert(&conn);
        integrity(&conn);
    }
}

/// What the barrier lets in is seen by the transaction it ran for, and running it once is enough although
/// SQLite starts over when the log has grown meanwhile.
#[test]
fn what_it_waited_for_is_read_without_running_again() {
    each(|place, subject, what| {
        let (conn, recorder) = (&subject.conn, &subject.recorder);
        let applier = place.open(Way::ThroughVfs);
        let written = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&written);
        *recorder.on_barrier.lock().unwrap() = Some(Box::new(move || {
            insert(&applier);
            counter.fetch_add(1, Ordering::Relaxed);
        }));
        subject.attached.arm_barrier(true);
        for n in 1..=20 {
            assert_eq!(count(conn).unwrap(), 1 + n, "{what}");
            assert_eq!(recorder.barriers(), 1, "{what}");
        }
        assert_eq!(written.load(Ordering::Relaxed), 20);
        *recorder.on_barrier.lock().unwrap() = None;
    });
}

/// A pass carried over within one beginning must not serve the next transaction.
#[test]
fn a_pass_is_not_kept_for_the_next_transaction() {
    let place = Place::new();
    let subject = place.attached(Way::Adopted, "wal");
    let applier = place.open(Way::ThroughVfs);
    subject.attached.arm_barrier(true);
    *subject.recorder.on_barrier.lock().unwrap() = Some(Box::new(move || insert(&applier)));
    count(&subject.conn).unwrap();
    subject.attached.arm_barrier(false);
    subject.attached.arm_barrier(true);
    *subject.recorder.on_barrier.lock().unwrap() = None;
    subject.recorder.barriers();
    for _ in 0..5 {
        count(&subject.conn).unwrap();
        assert_eq!(subject.recorder.barriers(), 1);
    }
}

/// A writer that finds the log checkpointed restarts it and takes its read mark anew, holding the write
/// lock: waiting there would wait for itself.
#[test]
fn restarting_the_log_is_no_beginning() {
    for way in BOTH_WAYS {
        let place = Place::new();
        let subject = place.attached(way, "wal");
        let (conn, recorder) = (&subject.conn, &subject.recorder);
        subject.attached.arm_barrier(true);
        for _ in 0..5 {
            insert(conn);
            conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
                .unwrap();
            recorder.barriers();
            recorder.commits();
            conn.execute_batch("BEGIN").unwrap();
            count(conn).unwrap();
            assert_eq!(recorder.barriers(), 1, "{way:?}");
            recorder.refuse.store(true, Ordering::Relaxed);
            insert(conn);
            assert!(ffi::has_write_lock(conn));
            conn.execute_batch("COMMIT").unwrap();
            recorder.refuse.store(false, Ordering::Relaxed);
            assert_eq!((recorder.barriers(), recorder.commits()), (0, 1), "{way:?}");
        }
        integrity(conn);
    }
}

#[test]
fn under_exclusive_locking_it_runs_no_more() {
    let place = Place::new();
    let subject = place.attached(Way::Adopted, "wal");
    subject
        .conn
        .query_row("PRAGMA locking_mode=EXCLUSIVE", [], |_| Ok(()))
        .unwrap();
    insert(&subject.conn);
    subject.attached.arm_barrier(true);
    count(&subject.conn).unwrap();
    assert_eq!(
        subject.recorder.barriers(),
        0,
        "documented: no read events there"
    );
    subject
        .conn
        .query_row("PRAGMA locking_mode=NORMAL", [], |_| Ok(()))
        .unwrap();
    count(&subject.conn).unwrap();
    set_journal(&subject.conn, "wal");
    subject.recorder.barriers();
    count(&subject.conn).unwrap();
    assert_eq!(subject.recorder.barriers(), 1);
}
