//! Handle, hooks and file may go in any order.

use std::sync::{Arc, Mutex, Weak};

use nuda_vfs::{Attached, BarrierRefused, ConnectionHooks};

use crate::{BOTH_WAYS, Place, Recorder, Subject, attach, count, ffi, insert};

#[test]
fn the_handle_goes_first() {
    for way in BOTH_WAYS {
        let place = Place::new();
        let Subject {
            attached,
            recorder,
            conn,
        } = place.attached(way, "wal");
        let hooks = Arc::downgrade(&recorder);
        attached.arm_barrier(true);
        drop((attached, recorder));
        assert!(
            hooks.upgrade().is_none(),
            "{way:?}: detaching drops the hooks"
        );
        insert(&conn);
        assert_eq!(count(&conn).unwrap(), 1);
        conn.close().unwrap();
    }
}

#[test]
fn the_file_goes_first() {
    for way in BOTH_WAYS {
        let place = Place::new();
        let Subject {
            attached,
            recorder,
            conn,
        } = place.attached(way, "wal");
        let hooks = Arc::downgrade(&recorder);
        drop(recorder);
        attached.arm_barrier(true);
        insert(&conn);
        conn.close().unwrap();
        assert!(
            hooks.upgrade().is_none(),
            "{way:?}: closing drops the hooks"
        );
        let mode = attached.mode();
        assert!(
            !mode.open && !mode.barrier_armed && mode.commits_seen >= 1,
            "{mode:?}"
        );
        attached.arm_barrier(true);
        drop(attached);
    }
}

/// Hooks that own their handle, and let go of it in the middle of a callback.
#[derive(Default)]
struct Own {
    attached: Mutex<Option<Attached>>,
    detach_in_callback: bool,
}

impl Own {
    fn called(&self) {
        if self.detach_in_callback {
            self.attached.lock().unwrap().take();
        }
    }
}

impl ConnectionHooks for Own {
    fn pragma(&self, _name: &str, _arg: Option<&str>) -> Option<Result<String, String>> {
        self.called();
        Some(Ok(String::from("done")))
    }

    fn read_barrier(&self) -> Result<(), BarrierRefused> {
        self.called();
        Ok(())
    }

    fn committed(&self) {
        self.called();
    }
}

#[test]
fn hooks_may_own_their_handle() {
    for way in BOTH_WAYS {
        let place = Place::new();
        let conn = place.open(way);
        let hooks = Arc::new(Own::default());
        let attached = ffi::attach(&conn, hooks.clone()).unwrap();
        *hooks.attached.lock().unwrap() = Some(attached);
        let weak: Weak<Own> = Arc::downgrade(&hooks);
        drop(hooks);
        conn.execute_batch("CREATE TABLE t(a, b)").unwrap();
        assert!(weak.upgrade().is_some(), "the file keeps them");
        conn.close().unwrap();
        assert!(weak.upgrade().is_none(), "{way:?}: closing ends the cycle");
    }
}

#[test]
fn hooks_may_detach_in_a_callback() {
    for sql in [
        "PRAGMA nuda_x",
        "SELECT * FROM t",
        "INSERT INTO t VALUES (1, 2)",
    ] {
        for way in BOTH_WAYS {
            let place = Place::new();
            let conn = place.open(way);
            conn.execute_batch("CREATE TABLE t(a, b)").unwrap();
            let hooks = Arc::new(Own {
                detach_in_callback: true,
                ..Own::default()
            });
            let attached = ffi::attach(&conn, hooks.clone()).unwrap();
            attached.arm_barrier(sql.starts_with("SELECT"));
            *hooks.attached.lock().unwrap() = Some(attached);
            let weak = Arc::downgrade(&hooks);
            drop(hooks);
            conn.execute_batch(sql).unwrap();
            assert!(weak.upgrade().is_none(), "{way:?} {sql}");
            assert_eq!(
                conn.query_row("SELECT 7", [], |row| row.get::<_, i64>(0))
                    .unwrap(),
                7
            );
        }
    }
}

#[test]
fn a_file_that_was_closed_is_wrapped_anew() {
    for way in BOTH_WAYS {
        let place = Place::new();
        for n in 0..3 {
            let subject = place.attached(way, "wal");
            subject.attached.arm_barrier(true);
            insert(&subject.conn);
            assert_eq!(subject.recorder.commits(), 1);
            assert_eq!(count(&subject.conn).unwrap(), n + 1);
        }
    }
}

#[test]
fn an_open_transaction_at_close_is_rolled_back() {
    for way in BOTH_WAYS {
        for journal in ["wal", "delete"] {
            let place = Place::new();
            let Subject {
                attached,
                recorder,
                conn,
            } = place.attached(way, journal);
            insert(&conn);
            recorder.commits();
            conn.execute_batch("BEGIN; INSERT INTO t(b) VALUES (1)")
                .unwrap();
            conn.close().unwrap();
            assert_eq!(recorder.commits(), 0, "{way:?} {journal}");
            drop(attached);
            let again = place.open(way);
            assert_eq!(count(&again).unwrap(), 1);
            let _ = attach(&again);
        }
    }
}

#[test]
fn detaching_leaves_others_alone() {
    let place = Place::new();
    let first = place.attached(BOTH_WAYS[0], "wal");
    let second = place.attached(BOTH_WAYS[1], "wal");
    first.attached.detach();
    insert(&second.conn);
    assert_eq!(second.recorder.commits(), 1);
    let hooks: Arc<dyn ConnectionHooks> = Arc::new(Recorder::default());
    assert!(ffi::attach(&first.conn, hooks).is_ok());
}
