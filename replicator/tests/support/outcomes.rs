//! How strong and quorum transactions of tests end, on machines of any speed.
//!
//! A machine that stands still for a second has an election, and what is asked meanwhile is *not
//! committed*, as it should be. A test of something else tries again then, and only then: who was beaten by
//! another transaction, or broke a constraint, is told so. What is unknown is settled before it counts.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rusqlite::{Connection, Error, Result, ffi};

use super::Nodes;

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Committed,
    /// Another one was first.
    Beaten,
    /// For want of a leader; nothing was changed.
    NotCommitted,
}

/// The transaction that an error leaves unknown.
pub(crate) fn unknown_id(error: &Error) -> Option<String> {
    let text = error.to_string();
    let (_, id) = text.split_once("nuda_txn_status('")?;
    Some(id.split('\'').next()?.to_owned())
}

/// Whether it came of a transaction that somebody else overtook.
pub(crate) fn is_beaten(error: &Error) -> bool {
    code(error) == ffi::SQLITE_BUSY_SNAPSHOT
}

/// Whether nothing was done because nobody led at that moment.
pub(crate) fn is_refused(error: &Error) -> bool {
    let text = error.to_string();
    let lacks_leader = text.contains("not committed") || text.contains("cannot be kept now");
    !is_beaten(error) && (lacks_leader || code(error) == ffi::SQLITE_INTERRUPT)
}

pub(crate) fn code(error: &Error) -> i32 {
    error.sqlite_error().map_or(0, |e| e.extended_code)
}

/// Waits until it is known what became of a transaction.
pub(crate) fn is_committed(nodes: &Nodes, conn: &Connection, id: &str) -> bool {
    nodes.doubted.store(true, Ordering::Relaxed);
    let sql = "SELECT nuda_txn_status(?)";
    let settled: String = nodes.eventually("the outcome", |_| {
        conn.query_row(sql, [id], |row| row.get(0)).ok()
    });
    settled == "committed"
}

/// What became of a transaction; what is no question of leaders and turns fails the test.
pub(crate) fn outcome(nodes: &Nodes, conn: &Connection, done: Result<()>) -> Outcome {
    let Err(error) = done else {
        return Outcome::Committed;
    };
    if !conn.is_autocommit() {
        conn.execute_batch("ROLLBACK").unwrap();
    }
    if is_beaten(&error) {
        return Outcome::Beaten;
    }
    if let Some(id) = unknown_id(&error) {
        return match is_committed(nodes, conn, &id) {
            true => Outcome::Committed,
            false => Outcome::NotCommitted,
        };
    }
    assert!(is_refused(&error), "{error}\n{}", nodes.logs());
    Outcome::NotCommitted
}

/// Does it once, however often it has to be tried for want of a leader. Nobody else may be in its way, but for
/// what nobody knew of for a while.
pub(crate) fn commit(nodes: &Nodes, conn: &Connection, what: impl Fn(&Connection) -> Result<()>) {
    nodes.eventually("a commit", |nodes| match outcome(nodes, conn, what(conn)) {
        Outcome::Committed => Some(()),
        Outcome::NotCommitted => None,
        Outcome::Beaten if nodes.doubted.load(Ordering::Relaxed) => None,
        Outcome::Beaten => panic!("nobody else was there\n{}", nodes.logs()),
    });
}

/// The same in SQL.
pub(crate) fn commit_sql(nodes: &Nodes, conn: &Connection, sql: &str) {
    commit(nodes, conn, |conn| conn.execute_batch(sql));
}

/// Does it once, however often it has to be tried, also because somebody else was first.
pub(crate) fn insist(nodes: &Nodes, conn: &Connection, sql: &str) {
    nodes.eventually("a strong commit", |nodes| {
        let done = conn.execute_batch(sql);
        (outcome(nodes, conn, done) == Outcome::Committed).then_some(())
    });
}

/// While `late` has a transaction open with these statements, `first` commits one on `by`: why the late one
/// fails. If there was no leader on the way, they begin again.
pub(crate) fn overtaken(
    nodes: &Nodes,
    (late, lost): (&Connection, &str),
    mut first: impl FnMut() -> Result<()>,
    by: &Connection,
) -> Error {
    nodes.eventually("one overtakes the other", |nodes| {
        late.execute_batch("BEGIN IMMEDIATE").ok()?;
        late.execute_batch(lost).unwrap();
        if outcome(nodes, by, first()) != Outcome::Committed {
            late.execute_batch("ROLLBACK").unwrap();
            return None;
        }
        let error = late.execute_batch("COMMIT").unwrap_err();
        assert!(late.is_autocommit(), "rolled back");
        is_beaten(&error).then_some(error)
    })
}

/// Why it fails, which is not for want of a leader.
pub(crate) fn refusal(nodes: &Nodes, what: impl Fn() -> Result<()>) -> Error {
    nodes.eventually("a refusal", |nodes| match what() {
        Ok(()) => panic!("it was not refused\n{}", nodes.logs()),
        Err(e) if is_refused(&e) || unknown_id(&e).is_some() => None,
        Err(e) => Some(e),
    })
}

/// Asks until there is an answer, for want of a leader or of time.
pub(crate) fn read<T>(nodes: &Nodes, mut ask: impl FnMut() -> Result<T>) -> T {
    nodes.eventually("an answer", |nodes| match ask() {
        Ok(found) => Some(found),
        Err(e) if is_refused(&e) => {
            std::thread::sleep(Duration::from_millis(5));
            None
        }
        Err(e) => panic!("{e}\n{}", nodes.logs()),
    })
}

/// Sets the level of writes or reads, as soon as there is a leader.
pub(crate) fn set_level(nodes: &Nodes, conn: &Connection, which: &str, to: &str) {
    let sql = format!("SELECT nuda_{which}_consistency(?)");
    let set: String = nodes.eventually("a level", |_| {
        conn.query_row(&sql, [to], |row| row.get(0)).ok()
    });
    assert_eq!(set, to);
}

/// Lets a connection wait long: for tests of what happens, and not of how soon.
pub(crate) fn patient(conn: &Connection) {
    conn.query_row("SELECT nuda_timeout(20000)", [], |_| Ok(()))
        .unwrap();
}
