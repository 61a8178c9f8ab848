//! Statements on our own tables, kept prepared between uses: a commit runs a dozen of them, and
//! parsing them would cost more than running them.
//!
//! Who needs one takes it out and gives it back, so that a statement is never used inside itself.
//! Only statements on the shadow tables, and a few that name no table, are kept. One that names a virtual table of ours would
//! keep that table from being disconnected, and the disconnection is what empties this: SQLite
//! disconnects all virtual tables before it looks for statements that keep a connection from
//! closing. A connection that has none connected keeps nothing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustc_hash::FxHashMap;
use sqlite3_ext::ffi;

use super::db::Db;

/// Texts for which one connection keeps statements. Beyond it all are dropped.
const TEXTS: usize = 128;

/// A statement that is not in use.
struct Idle(*mut ffi::sqlite3_stmt);

// SAFETY: an idle statement is used by whoever takes it out, under its connection's mutex.
unsafe impl Send for Idle {}

impl Drop for Idle {
    fn drop(&mut self) {
        // SAFETY: it was given here by its only owner, and its connection is open.
        unsafe {
            ffi::sqlite3_finalize(self.0);
        }
    }
}

/// What one connection keeps. The texts are our own, so a quick hash will do.
#[derive(Default)]
struct Kept {
    /// Virtual tables of ours that are connected.
    connected: usize,
    idle: FxHashMap<Arc<str>, (Arc<str>, Vec<Idle>)>,
}

/// By the connection's address. An entry is gone before its connection is.
static ALL: Mutex<Option<FxHashMap<usize, Kept>>> = Mutex::new(None);

fn all() -> MutexGuard<'static, Option<FxHashMap<usize, Kept>>> {
    ALL.lock().unwrap_or_else(PoisonError::into_inner)
}

fn key(db: Db) -> usize {
    db.raw() as usize
}

/// Whether a statement of this text may be kept.
pub(super) fn is_keepable(sql: &str) -> bool {
    // What surrounds each changeset that is applied, and what every look at the schema asks.
    const SHORT: [&str; 5] = [
        "SAVEPOINT nuda",
        "RELEASE nuda",
        "SAVEPOINT nuda_changeset",
        "RELEASE nuda_changeset",
        "PRAGMA main.schema_version",
    ];
    if SHORT.contains(&sql) {
        return true;
    }
    let first = sql.split_whitespace().next().unwrap_or_default();
    ["SELECT", "INSERT", "UPDATE", "DELETE", "REPLACE"].contains(&first)
        && sql.contains("main.nuda_")
        && !sql.contains("nuda_capture")
        && !sql.contains("nuda_changes")
}

/// A virtual table of ours was connected.
pub(super) fn connected(db: Db) {
    let mut all = all();
    let all = all.get_or_insert_default();
    all.entry(key(db)).or_default().connected += 1;
}

/// One was disconnected: perhaps the connection closes.
pub(super) fn disconnected(db: Db) {
    let mut all = all();
    let all = all.get_or_insert_default();
    let Some(kept) = all.get_mut(&key(db)) else {
        return;
    };
    kept.connected = kept.connected.saturating_sub(1);
    let idle = std::mem::take(&mut kept.idle);
    if kept.connected == 0 {
        all.remove(&key(db));
    }
    drop(idle);
}

/// Takes out a statement of this text, and the text.
pub(super) fn take(db: Db, sql: &str) -> Option<(*mut ffi::sqlite3_stmt, Arc<str>)> {
    let mut all = all();
    let kept = all.as_mut()?.get_mut(&key(db))?;
    let (text, idle) = kept.idle.get_mut(sql)?;
    let idle = idle.pop()?;
    let raw = idle.0;
    // It belongs to the caller from here on.
    std::mem::forget(idle);
    Some((raw, Arc::clone(text)))
}

/// Gives a statement back; finalizes it if it is not kept.
pub(super) fn give(db: Db, sql: Arc<str>, raw: *mut ffi::sqlite3_stmt) {
    let idle = Idle(raw);
    // SAFETY: the caller owned the statement, whose connection is open.
    unsafe {
        ffi::sqlite3_reset(raw);
        ffi::sqlite3_clear_bindings(raw);
    }
    let mut all = all();
    if let Some(kept) = all.as_mut().and_then(|all| all.get_mut(&key(db))) {
        if kept.idle.len() >= TEXTS {
            kept.idle.clear();
        }
        let of_text = kept.idle.entry(Arc::clone(&sql));
        of_text.or_insert_with(|| (sql, Vec::new())).1.push(idle);
    }
}
