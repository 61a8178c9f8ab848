//! Files come to be wrapped, once, in either way, and only where there is a file.

use std::sync::Arc;

use nuda_vfs::{AttachError, InitError, Origin, Registered};
use rusqlite::{Connection, OpenFlags};

use crate::{BOTH_WAYS, Place, Recorder, Way, attach, count, ffi, insert, integrity, open};

#[test]
fn a_file_is_adopted_after_it_was_opened() {
    let place = Place::new();
    let conn = place.open(Way::Adopted);
    conn.execute_batch("CREATE TABLE t(a INTEGER PRIMARY KEY, b)")
        .unwrap();
    assert_eq!(ffi::vfs_name(&conn), "unix");
    let before = ffi::methods_of(&conn);
    let (attached, _) = attach(&conn);
    assert_ne!(ffi::methods_of(&conn), before);
    assert_eq!(ffi::vfs_name(&conn), "nuda/unix");
    let mode = attached.mode();
    assert_eq!(
        (mode.origin, mode.inner_vfs.as_str(), mode.open),
        (Origin::Adopted, "unix", true)
    );
    assert!(!mode.barrier_armed);
    insert(&conn);
    assert_eq!(count(&conn).unwrap(), 1);
}

#[test]
fn the_default_vfs_wraps_from_the_start() {
    let place = Place::new();
    assert_eq!(ffi::default_vfs(), "nuda");
    let conn = place.open(Way::ThroughVfs);
    assert_eq!(ffi::vfs_name(&conn), "nuda/unix");
    let before = ffi::methods_of(&conn);
    let (attached, _) = attach(&conn);
    assert_eq!(ffi::methods_of(&conn), before, "wrapped once, not twice");
    assert_eq!(attached.mode().origin, Origin::OpenedByVfs);
}

#[test]
fn an_auto_extension_attaches_while_the_connection_opens() {
    let place = Place::new();
    for way in BOTH_WAYS {
        let (conn, mut attached) = ffi::with_auto_attach(|| place.open(way));
        let (attached, recorder) = attached.pop().unwrap();
        conn.execute_batch("CREATE TABLE IF NOT EXISTS t(a INTEGER PRIMARY KEY, b)")
            .unwrap();
        insert(&conn);
        assert!(recorder.commits() >= 1, "{way:?}");
        drop(conn);
        assert!(!attached.mode().open);
    }
}

#[test]
fn registering_again_changes_nothing() {
    let _place = Place::new();
    assert_eq!(nuda_vfs::register_default(), Ok(Registered::Before));
    assert_eq!(ffi::default_vfs(), "nuda");
}

#[test]
fn another_sqlite_library_is_refused() {
    let _place = Place::new();
    assert_eq!(ffi::init_with_other_api(), Err(InitError::OtherLibrary));
    assert!(
        InitError::OtherLibrary
            .to_string()
            .contains("two SQLite libraries")
    );
}

#[test]
fn versions_and_absent_methods_are_those_of_the_inner_table() {
    let place = Place::new();
    for vfs in ["unix", "unix-none", "unix-dotfile"] {
        let conn =
            Connection::open_with_flags_and_vfs(place.path("t.db"), OpenFlags::default(), vfs)
                .unwrap();
        conn.execute_batch("CREATE TABLE IF NOT EXISTS t(a INTEGER PRIMARY KEY, b)")
            .unwrap();
        let before = ffi::shape_of(&conn);
        let (attached, recorder) = attach(&conn);
        assert_eq!(ffi::shape_of(&conn), before, "{vfs}");
        assert_eq!(attached.mode().inner_vfs, vfs);
        insert(&conn);
        assert_eq!(recorder.commits(), 1, "{vfs}");
    }
}

#[test]
fn system_calls_are_forwarded() {
    let _place = Place::new();
    let calls = ffi::system_calls("nuda");
    assert!(calls.iter().any(|call| call == "open"), "{calls:?}");
    assert_eq!(calls, ffi::system_calls("unix"));
}

#[test]
fn there_must_be_a_file() {
    let place = Place::new();
    let memory = [
        Connection::open_in_memory().unwrap(),
        Connection::open("").unwrap(),
        Connection::open("file:/shared?vfs=memdb").unwrap(),
        Connection::open("file:memory?mode=memory").unwrap(),
    ];
    for conn in memory {
        let refusal = ffi::attach(&conn, Arc::new(Recorder::default())).unwrap_err();
        assert_eq!(refusal, AttachError::NoFile);
        assert!(refusal.to_string().contains("in memory"));
        conn.execute_batch("CREATE TABLE t(a, b)").unwrap();
        insert(&conn);
        assert_eq!(count(&conn).unwrap(), 1);
        conn.close().unwrap();
    }
    drop(place);
}

#[test]
fn attaching_twice_is_refused_and_harmless() {
    let place = Place::new();
    for way in BOTH_WAYS {
        let subject = place.attached(way, "wal");
        let methods = ffi::methods_of(&subject.conn);
        let again = ffi::attach(&subject.conn, Arc::new(Recorder::default()));
        assert_eq!(again.unwrap_err(), AttachError::AlreadyAttached);
        assert_eq!(ffi::methods_of(&subject.conn), methods);
        insert(&subject.conn);
        assert_eq!(subject.recorder.commits(), 1);
        // After a detach there is room again.
        subject.attached.detach();
        let (_attached, recorder) = attach(&subject.conn);
        insert(&subject.conn);
        assert_eq!((subject.recorder.commits(), recorder.commits()), (0, 1));
    }
}

#[test]
fn a_shared_cache_has_room_for_one() {
    let place = Place::new();
    let uri = format!("file:{}?cache=shared", place.path("s.db").display());
    let first = Connection::open(&uri).unwrap();
    let second = Connection::open(&uri).unwrap();
    let (_attached, _) = attach(&first);
    let refusal = ffi::attach(&second, Arc::new(Recorder::default())).unwrap_err();
    assert_eq!(refusal, AttachError::SharedCache);
}

#[test]
fn a_foreign_table_on_top_does_not_hide_our_state() {
    for way in BOTH_WAYS {
        for own_close in [true, false] {
            let place = Place::new();
            let subject = place.attached(way, "wal");
            ffi::put_foreign_table(&subject.conn, own_close);
            insert(&subject.conn);
            assert_eq!(subject.recorder.commits(), 1, "{way:?}");
            subject.attached.arm_barrier(true);
            count(&subject.conn).unwrap();
            assert_eq!(subject.recorder.barriers(), 1, "{way:?}");
            // Attaching again finds the state below instead of wrapping once more.
            let again = ffi::attach(&subject.conn, Arc::new(Recorder::default()));
            assert_eq!(again.unwrap_err(), AttachError::AlreadyAttached);
            integrity(&subject.conn);
            subject.conn.close().unwrap();
            assert!(!subject.attached.mode().open);
            let again = open(&place.path("t.db"), way);
            assert_eq!(count(&again).unwrap(), 1);
        }
    }
}

#[test]
fn a_replaced_main_database_is_told() {
    let place = Place::new();
    let subject = place.attached(Way::ThroughVfs, "wal");
    ffi::deserialize(&subject.conn);
    assert!(!subject.attached.mode().open);
    subject.attached.arm_barrier(true);
    subject
        .conn
        .execute_batch("CREATE TABLE t(a INTEGER PRIMARY KEY, b)")
        .unwrap();
    insert(&subject.conn);
    assert_eq!(
        (subject.recorder.barriers(), subject.recorder.commits()),
        (0, 0)
    );
}
