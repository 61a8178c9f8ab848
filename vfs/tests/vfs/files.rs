//! Names, flags and neighbours of the wrapped file: URI parameters, ATTACH, several connections, locks.

use std::process::Command;

use rusqlite::{Connection, OpenFlags};

use crate::{BOTH_WAYS, Place, Way, attach, count, ffi, insert, integrity, open};

#[test]
fn uri_parameters_reach_the_inner_vfs() {
    let place = Place::new();
    let subject = place.attached(Way::ThroughVfs, "delete");
    insert(&subject.conn);
    let path = place.path("t.db");
    for parameters in ["mode=ro", "immutable=1", "mode=rw", "nolock=1"] {
        let uri = format!("file:{}?{parameters}", path.display());
        let conn = Connection::open(&uri).unwrap();
        assert_eq!(count(&conn).unwrap(), 1, "{parameters}");
        let (attached, recorder) = attach(&conn);
        attached.arm_barrier(true);
        assert_eq!(count(&conn).unwrap(), 1, "{parameters}");
        let locked = parameters.starts_with("mode");
        assert_eq!(
            recorder.barriers(),
            u32::from(locked),
            "{parameters}: no lock, no read event"
        );
        let written = conn.execute("INSERT INTO t(b) VALUES (1)", []).is_ok();
        assert_eq!(
            written,
            parameters == "mode=rw" || parameters == "nolock=1",
            "{parameters}"
        );
        if written {
            conn.execute("DELETE FROM t WHERE b=1", []).unwrap();
        }
    }
    // A VFS named in the URI is respected, and adopted all the same.
    let conn = Connection::open(format!("file:{}?vfs=unix", path.display())).unwrap();
    assert_eq!(ffi::vfs_name(&conn), "unix");
    let (_attached, _) = attach(&conn);
    assert_eq!(ffi::vfs_name(&conn), "nuda/unix");
}

#[test]
fn names_with_odd_characters_work() {
    let place = Place::new();
    for name in ["with space.db", "quote'.db", "ü-ß.db", "percent%20.db"] {
        let conn = open(&place.path(name), Way::ThroughVfs);
        let (_attached, recorder) = attach(&conn);
        conn.execute_batch("CREATE TABLE t(a, b)").unwrap();
        assert_eq!(recorder.commits(), 1);
        assert!(place.path(name).exists(), "{name}");
    }
    let missing = place.path("no/such/folder.db");
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
    assert!(Connection::open_with_flags(missing, flags).is_err());
}

#[test]
fn attached_databases_are_not_watched() {
    for way in BOTH_WAYS {
        let place = Place::new();
        let subject = place.attached(way, "wal");
        let (conn, recorder) = (&subject.conn, &subject.recorder);
        conn.execute(
            "ATTACH ? AS side",
            [place.path("side.db").to_str().unwrap()],
        )
        .unwrap();
        conn.execute_batch("CREATE TABLE side.u(a); INSERT INTO side.u VALUES (1)")
            .unwrap();
        recorder.commits();
        subject.attached.arm_barrier(true);
        conn.execute_batch("INSERT INTO side.u VALUES (2)").unwrap();
        conn.query_row("SELECT count(*) FROM side.u", [], |_| Ok(()))
            .unwrap();
        assert_eq!((recorder.barriers(), recorder.commits()), (0, 0), "{way:?}");
        conn.execute_batch(
            "BEGIN; INSERT INTO t(b) SELECT a FROM side.u; INSERT INTO side.u VALUES (3); COMMIT",
        )
        .unwrap();
        assert_eq!((recorder.barriers(), recorder.commits()), (1, 1), "{way:?}");
        conn.execute_batch("DETACH side").unwrap();
        assert_eq!(count(conn).unwrap(), 2);
    }
}

/// Whether another process may begin to write the file.
fn writable_elsewhere(path: &std::path::Path) -> bool {
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "files::probe_of_another_process",
            "--ignored",
            "--nocapture",
        ])
        .env("NUDA_VFS_PROBE", path)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("probe says"), "{text}");
    text.contains("probe says free")
}

/// Not a test of its own: what `writable_elsewhere` runs as another process.
#[test]
#[ignore = "run by writable_elsewhere"]
fn probe_of_another_process() {
    let Some(path) = std::env::var_os("NUDA_VFS_PROBE") else {
        return;
    };
    let conn = Connection::open(path).unwrap();
    conn.busy_timeout(std::time::Duration::ZERO).unwrap();
    let free = conn.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_ok();
    println!("probe says {}", if free { "free" } else { "locked" });
}

/// Closing one descriptor of a file drops all POSIX locks of the process on it, unless the VFS that
/// holds them knows of both.
#[test]
fn locks_survive_a_second_connection_that_closes() {
    for way in BOTH_WAYS {
        for other_way in BOTH_WAYS {
            for journal in ["delete", "wal"] {
                let what = format!("{way:?} {other_way:?} {journal}");
                let place = Place::new();
                let subject = place.attached(way, journal);
                let path = place.path("t.db");
                subject
                    .conn
                    .execute_batch("BEGIN IMMEDIATE; INSERT INTO t(b) VALUES (1)")
                    .unwrap();
                assert!(!writable_elsewhere(&path), "{what}: held");
                let second = place.attached_reader(other_way);
                assert_eq!(count(&second.conn).unwrap(), 0, "{what}");
                drop(second);
                assert!(
                    !writable_elsewhere(&path),
                    "{what}: still held after a close"
                );
                subject.conn.execute_batch("COMMIT").unwrap();
                assert!(writable_elsewhere(&path), "{what}: released");
                integrity(&subject.conn);
            }
        }
    }
}

#[test]
fn connections_on_many_threads_share_one_file() {
    let place = Place::new();
    let subject = place.attached(Way::Adopted, "wal");
    subject.attached.arm_barrier(true);
    let path = place.path("t.db");
    let threads: Vec<_> = (0..4)
        .map(|n| {
            let path = path.clone();
            std::thread::spawn(move || {
                let conn = open(&path, BOTH_WAYS[n % 2]);
                conn.busy_timeout(std::time::Duration::from_secs(30))
                    .unwrap();
                let (attached, recorder) = attach(&conn);
                attached.arm_barrier(n < 2);
                for _ in 0..100 {
                    insert(&conn);
                    count(&conn).unwrap();
                }
                recorder.commits()
            })
        })
        .collect();
    let commits: u32 = threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .sum();
    assert_eq!(commits, 400);
    assert_eq!(count(&subject.conn).unwrap(), 400);
    integrity(&subject.conn);
}

/// A connection may be opened on one thread and used on another.
#[test]
fn a_connection_may_change_threads() {
    let place = Place::new();
    let subject = place.attached(Way::Adopted, "wal");
    let seen = std::thread::spawn(move || {
        subject.attached.arm_barrier(true);
        insert(&subject.conn);
        (subject.recorder.barriers(), subject.recorder.commits())
    });
    assert_eq!(seen.join().unwrap(), (1, 1));
}

#[test]
fn memory_mapped_files_work() {
    for way in BOTH_WAYS {
        let place = Place::new();
        let subject = place.attached(way, "wal");
        subject
            .conn
            .execute_batch("PRAGMA mmap_size=1000000")
            .unwrap();
        for _ in 0..50 {
            insert(&subject.conn);
        }
        subject
            .conn
            .execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")
            .unwrap();
        assert_eq!(count(&subject.conn).unwrap(), 50);
        integrity(&subject.conn);
    }
}

impl Place {
    /// As `attached`, while another connection writes.
    fn attached_reader(&self, way: Way) -> crate::Subject {
        let conn = self.open(way);
        let (attached, recorder) = attach(&conn);
        crate::Subject {
            attached,
            recorder,
            conn,
        }
    }
}
