//! `PRAGMA nuda_...` as an application sees it.

use std::sync::atomic::Ordering;

use rusqlite::Connection;

use crate::{BOTH_WAYS, Place, Way, ffi, insert, set_journal};

fn ask(conn: &Connection, sql: &str) -> rusqlite::Result<Option<String>> {
    let mut statement = conn.prepare(sql)?;
    let mut rows = statement.query([])?;
    rows.next()?.map(|row| row.get(0)).transpose()
}

fn failure(conn: &Connection, sql: &str) -> String {
    ask(conn, sql).unwrap_err().to_string()
}

#[test]
fn a_pragma_answers_one_row() {
    let place = Place::new();
    for way in BOTH_WAYS {
        let subject = place.attached(way, "wal");
        let conn = &subject.conn;
        assert_eq!(
            ask(conn, "PRAGMA nuda_echo").unwrap().as_deref(),
            Some("nothing")
        );
        assert_eq!(
            ask(conn, "PRAGMA nuda_echo=strong").unwrap().as_deref(),
            Some("strong")
        );
        assert_eq!(
            ask(conn, "PRAGMA main.NUDA_Echo('a b')")
                .unwrap()
                .as_deref(),
            Some("a b")
        );
        assert_eq!(
            ask(conn, "PRAGMA nuda_echo=-5").unwrap().as_deref(),
            Some("-5")
        );
        assert_eq!(ask(conn, "PRAGMA nuda_empty").unwrap().as_deref(), Some(""));
        let seen = subject.recorder.pragmas.lock().unwrap();
        assert!(
            seen.iter()
                .all(|(name, _)| name.chars().all(|c| !c.is_uppercase())),
            "{seen:?}"
        );
    }
}

#[test]
fn a_refused_pragma_fails_with_its_message() {
    let place = Place::new();
    let subject = place.attached(Way::Adopted, "wal");
    let message = failure(&subject.conn, "PRAGMA nuda_fail=strong");
    assert!(
        message.contains("this level can't be honoured"),
        "{message}"
    );
    assert_eq!(
        ask(&subject.conn, "PRAGMA nuda_echo").unwrap().as_deref(),
        Some("nothing")
    );
}

#[test]
fn a_pragma_runs_at_prepare_time_also_under_explain() {
    let place = Place::new();
    let subject = place.attached(Way::Adopted, "wal");
    subject.recorder.pragmas.lock().unwrap().clear();
    subject.conn.prepare("EXPLAIN PRAGMA nuda_echo=x").unwrap();
    let seen = subject.recorder.pragmas.lock().unwrap().clone();
    assert_eq!(seen, [("nuda_echo".to_owned(), Some("x".to_owned()))]);
}

#[test]
fn other_pragmas_are_not_ours() {
    let place = Place::new();
    let subject = place.attached(Way::Adopted, "wal");
    subject.recorder.pragmas.lock().unwrap().clear();
    assert_eq!(
        ask(&subject.conn, "PRAGMA nobody_knows_this=1").unwrap(),
        None
    );
    assert_eq!(
        ask(&subject.conn, "PRAGMA journal_mode")
            .unwrap()
            .as_deref(),
        Some("wal")
    );
    assert!(
        subject.recorder.pragmas.lock().unwrap().is_empty(),
        "hooks see nuda_ only"
    );
    // Ours by its prefix, unknown to the hooks: SQLite's way with unknown pragmas.
    assert_eq!(ask(&subject.conn, "PRAGMA nuda_unheard_of").unwrap(), None);
}

#[test]
fn without_hooks_a_pragma_of_ours_is_an_error() {
    let place = Place::new();
    let conn = place.open(Way::ThroughVfs);
    let message = failure(&conn, "PRAGMA nuda_write_consistency=strong");
    assert!(
        message.contains("no nuda connection is attached"),
        "{message}"
    );
    assert_eq!(ask(&conn, "PRAGMA nobody_knows_this=1").unwrap(), None);

    let subject = place.attached(Way::ThroughVfs, "wal");
    let other = place.path("other.db");
    subject
        .conn
        .execute("ATTACH ? AS other", [other.to_str().unwrap()])
        .unwrap();
    let message = failure(&subject.conn, "PRAGMA other.nuda_echo");
    assert!(message.contains("main database"), "{message}");
}

#[test]
fn a_panic_in_a_pragma_is_an_error() {
    let place = Place::new();
    let subject = place.attached(Way::Adopted, "wal");
    subject.recorder.panic.store(true, Ordering::Relaxed);
    let message = failure(&subject.conn, "PRAGMA nuda_echo");
    assert!(message.contains("internal error"), "{message}");
    subject.recorder.panic.store(false, Ordering::Relaxed);
    assert!(ask(&subject.conn, "PRAGMA nuda_echo").is_ok());
}

/// A level may live in the user's file: the hook of a pragma reads and writes there.
#[test]
fn a_pragma_may_use_its_own_connection() {
    let place = Place::new();
    for way in BOTH_WAYS {
        for journal in ["wal", "delete"] {
            let subject = place.attached(way, journal);
            let exec = ffi::own_connection(&subject.conn);
            *subject.recorder.on_pragma.lock().unwrap() = Some(Box::new(move || {
                exec("INSERT INTO t(b) VALUES (1); SELECT * FROM t")
            }));
            subject.attached.arm_barrier(true);
            let before = crate::count(&subject.conn).unwrap();
            ask(&subject.conn, "PRAGMA nuda_echo=x").unwrap();
            subject
                .conn
                .execute_batch("BEGIN; PRAGMA nuda_echo=y; COMMIT")
                .unwrap();
            assert_eq!(
                crate::count(&subject.conn).unwrap(),
                before + 2,
                "{way:?} {journal}"
            );
        }
    }
}

#[test]
fn journal_modes_switch_under_the_wrapper() {
    let place = Place::new();
    for way in BOTH_WAYS {
        let subject = place.attached(way, "wal");
        for mode in ["delete", "wal", "truncate", "wal", "persist", "delete"] {
            set_journal(&subject.conn, mode);
            subject.recorder.commits();
            insert(&subject.conn);
            assert_eq!(subject.recorder.commits(), 1, "{way:?} {mode}");
            subject.attached.arm_barrier(true);
            crate::count(&subject.conn).unwrap();
            assert_eq!(subject.recorder.barriers(), 1, "{way:?} {mode}");
            subject.attached.arm_barrier(false);
        }
    }
}
