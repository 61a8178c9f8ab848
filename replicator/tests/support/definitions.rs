//! Three nodes whose definitions go through the log, and what tests of that do again and again.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rusqlite::{Connection, Result};

use super::outcomes::{
    commit_sql, is_beaten, is_committed, is_refused, patient, read, set_level, unknown_id,
};
use super::{Nodes, open};

pub(crate) const NAMES: [&str; 3] = ["a", "b", "c"];

/// Three nodes with one table, whose definitions go through the log.
pub(crate) fn ordered() -> Nodes {
    let nodes = Nodes::with_page(&NAMES);
    for name in NAMES {
        let conn = nodes.open(name, "org");
        nodes.eventually("definitions go through the log", |_| {
            let level = "SELECT nuda_read_consistency('strong')";
            conn.query_row(level, [], |_| Ok(())).ok()?;
            conn.execute_batch("SELECT nuda_read_consistency('eventual')")
                .ok()?;
            (number(&conn, "SELECT ordered FROM nuda_state") == 1).then_some(())
        });
    }
    nodes
}

pub(crate) fn number(conn: &Connection, sql: &str) -> i64 {
    conn.query_row(sql, [], |row| row.get(0)).unwrap()
}

pub(crate) fn text(conn: &Connection, sql: &str) -> Result<String> {
    conn.query_row(sql, [], |row| row.get(0))
}

/// Runs a definition, again if another one was first, or for want of a leader; and if nobody knew what became
/// of it, until it is here.
pub(crate) fn define(nodes: &Nodes, conn: &Connection, sql: &str) -> String {
    patient(conn);
    nodes.eventually(sql, |nodes| match text(conn, sql) {
        Ok(done) => Some(done),
        Err(e) if is_beaten(&e) || is_refused(&e) => None,
        Err(e) => match unknown_id(&e) {
            Some(id) => {
                is_committed(nodes, conn, &id);
                None
            }
            None => panic!("{sql}: {e}\n{}", nodes.logs()),
        },
    })
}

/// Makes tables and what is in them: from the moment at which definitions go through the log, each statement
/// may find no leader.
pub(crate) fn make_tables(nodes: &Nodes, conn: &Connection, sql: &str) {
    patient(conn);
    for statement in sql.split(';').filter(|text| !text.trim().is_empty()) {
        if statement.contains("nuda_track(") {
            define(nodes, conn, statement.trim());
        } else {
            commit_sql(nodes, conn, statement);
        }
    }
}

/// Waits until a statement can be prepared on every node.
pub(crate) fn everywhere(nodes: &Nodes, sql: &str) {
    for name in NAMES {
        let conn = nodes.open(name, "org");
        nodes.eventually(&format!("{sql} on {name}"), |_| {
            conn.prepare(sql).ok().map(drop)
        });
    }
}

/// Runs a change of tables at the leader, again while there is none.
pub(crate) fn alter(nodes: &Nodes, conn: &Connection, sql: &str) {
    nodes.eventually(sql, |nodes| {
        let done = conn.query_row("SELECT nuda_exec(?)", [sql], |_| Ok(()));
        match done {
            Ok(()) => Some(()),
            Err(e) if is_refused(&e) || is_beaten(&e) => None,
            Err(e) => match unknown_id(&e) {
                Some(id) => is_committed(nodes, conn, &id).then(|| caught_up(nodes, conn)),
                None => panic!("{sql}: {e}\n{}", nodes.logs()),
            },
        }
    });
}

/// Waits until a file has what was committed anywhere before now.
fn caught_up(nodes: &Nodes, conn: &Connection) {
    let reader = open(Path::new(conn.path().unwrap()));
    set_level(nodes, &reader, "read", "strong");
    patient(&reader);
    read(nodes, || {
        reader.query_row("SELECT count(*) FROM nuda_tables", [], |_| Ok(()))
    });
}

/// An application that writes rows of its own to `page` until it is told to end.
pub(crate) struct Writer {
    ends: Arc<AtomicBool>,
    thread: JoinHandle<i64>,
}

impl Writer {
    pub(crate) fn start(nodes: &Nodes, name: &str) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let (path, name) = (nodes.file(name, "org"), name.to_owned());
        let told = Arc::clone(&ends);
        let thread = std::thread::spawn(move || {
            let conn = open(&path);
            let mut count = 0;
            while !told.load(Ordering::Relaxed) {
                let id = format!("{name}{count}");
                conn.execute("INSERT INTO page(id, hits) VALUES (?, 1)", [&id])
                    .unwrap();
                conn.execute("UPDATE page SET hits = hits + 1 WHERE id = ?", [&id])
                    .unwrap();
                count += 1;
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            count
        });
        Self { ends, thread }
    }

    /// How many rows it has written.
    pub(crate) fn end(self) -> i64 {
        self.ends.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}
