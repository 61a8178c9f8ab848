//! Which connections of this process hold the write lock of a file, and since when.
//!
//! A read that must wait until something is applied waits for ever if the lock is held by whoever
//! reads: by another connection of the same thread, which cannot end its transaction meanwhile. The read
//! gives up at its deadline as any other; this is what lets it say who is in its way. Files' own locking
//! tells nothing of the kind, and other processes are not seen.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::Instant;

struct Holder {
    file: Arc<str>,
    /// Address of the connection's session, only ever compared.
    session: usize,
    thread: ThreadId,
    since: Instant,
}

/// One for each connection that writes: short.
static HOLDERS: Mutex<Vec<Holder>> = Mutex::new(Vec::new());

fn holders() -> MutexGuard<'static, Vec<Holder>> {
    HOLDERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection has taken its file's write lock.
pub(super) fn taken(file: &Arc<str>, session: usize) {
    let mut holders = holders();
    holders.retain(|holder| holder.session != session);
    holders.push(Holder {
        file: Arc::clone(file),
        session,
        thread: std::thread::current().id(),
        since: Instant::now(),
    });
}

/// It has released the lock, or is gone.
pub(super) fn released(session: usize) {
    holders().retain(|holder| holder.session != session);
}

/// Who in this process keeps a file from being written by others, in words; `None` if nobody does.
pub(super) fn in_the_way(file: &str) -> Option<String> {
    let holders = holders();
    let holder = holders.iter().find(|holder| *holder.file == *file)?;
    let held_ms = holder.since.elapsed().as_millis();
    Some(if holder.thread == std::thread::current().id() {
        format!(
            "this thread itself holds the file's write lock, by another connection, since {held_ms} ms, \
             and nothing can be applied here until that one ends its transaction; COMMIT or ROLLBACK \
             there first, or read on it"
        )
    } else {
        format!(
            "another thread of this process holds the file's write lock since {held_ms} ms, and nothing \
             can be applied here until it ends its transaction"
        )
    })
}
