//! What a connection remembers of its file between two transactions: the state row, the sites, and
//! the latest record of its own site, which every commit needs.
//!
//! Reading them again costs more than writing the record. They are right unless somebody wrote
//! since, and SQLite knows: a file's data version changes with each commit, also of this
//! connection, and its page cache relies on that as much. What this transaction itself may have
//! written is found by counting: since it took the file's write lock, the connection has changed no
//! row but those that were captured, and the capture tables' own. Whenever that does not add up, all
//! is read as if nothing were remembered. So a connection whose write lock is not seen remembers
//! nothing, and nobody has to say what he changes.

use std::cell::{Cell, RefCell};

use crate::ffi::db::Db;
use crate::log::Head;
use crate::shadow::{Sites, State};

/// As a transaction found it, or left it.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) state: State,
    pub(crate) sites: Sites,
    pub(crate) head: Head,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Remembered {
    /// As of a data version; none while its transaction is not committed.
    known: RefCell<Option<(Option<u32>, Known)>>,
    /// What the running transaction's record was begun with.
    found: RefCell<Option<(State, Sites)>>,
    /// The connection's count of changes when the running transaction's record was begun.
    begun: Cell<i32>,
    counted: Counted,
}

/// What the running transaction was seen to change.
#[derive(Debug, Default)]
struct Counted {
    /// Calls of triggers: each is a change of a capture table.
    calls: Cell<i32>,
    /// Rows whose change was captured.
    rows: Cell<i32>,
    /// Whether statements end before the transaction does, so that their rows are counted.
    in_steps: Cell<bool>,
    /// Whether changes were undone, or a row went that is not counted: nothing adds up.
    unsure: Cell<bool>,
}

impl Counted {
    /// How many changes SQLite has counted by now if captured rows are all that changed; `None` if
    /// that cannot be told.
    fn expected(&self) -> Option<i32> {
        let rows = if self.in_steps.get() {
            self.rows.get()
        } else {
            0
        };
        (!self.unsure.get()).then(|| self.calls.get().wrapping_add(rows))
    }
}

impl Remembered {
    /// A trigger called, for a row's change or (false) ahead of one; `replaces` if the statement
    /// may remove rows uncounted.
    pub(crate) fn called(&self, db: Db, is_change: bool, replaces: bool) {
        let Counted {
            calls,
            rows,
            in_steps,
            unsure,
        } = &self.counted;
        calls.set(calls.get().wrapping_add(1));
        rows.set(rows.get().wrapping_add(i32::from(is_change)));
        unsure.set(unsure.get() || replaces);
        in_steps.set(!db.is_autocommit());
    }

    /// A savepoint was rolled back: its changes stay counted, or do not.
    pub(crate) fn undone(&self) {
        self.counted.unsure.set(true);
    }

    /// The transaction ended without a commit of this connection's own record.
    pub(crate) fn forget(&self) {
        self.known.replace(None);
        self.ended();
    }

    fn ended(&self) {
        self.found.replace(None);
        self.counted.calls.set(0);
        self.counted.rows.set(0);
        self.counted.unsure.set(false);
    }

    /// Whether the file is as it is remembered, and the running transaction has changed captured
    /// rows only; `locked` is the connection's count of changes when it took the write lock.
    fn is_right(&self, db: Db, locked: Option<i32>) -> bool {
        let (Some(locked), Some(expected)) = (locked, self.counted.expected()) else {
            return false;
        };
        if db.total_changes().wrapping_sub(locked) != expected {
            return false;
        }
        let known = self.known.borrow();
        let version = known.as_ref().and_then(|(version, _)| *version);
        version.is_some() && version == db.data_version()
    }

    /// Whether the running statement is a transaction of its own, and before it nothing was changed
    /// since this connection's last commit: then the schema is what that commit found.
    pub(crate) fn is_same_schema(&self, db: Db, locked: Option<i32>) -> bool {
        !self.counted.in_steps.get() && db.is_autocommit() && self.is_right(db, locked)
    }

    /// Takes what is remembered, if it is right: the running transaction's record is begun.
    pub(crate) fn take(&self, db: Db, locked: Option<i32>) -> Option<Known> {
        let is_right = self.is_right(db, locked);
        self.begun.set(db.total_changes());
        let known = self.known.replace(None);
        known.filter(|_| is_right).map(|(_, known)| known)
    }

    /// What the record was begun with.
    pub(crate) fn found(&self, state: State, sites: Sites) {
        self.found.replace(Some((state, sites)));
    }

    /// The whole record is written, and is the site's latest if the transaction is committed.
    pub(crate) fn written(&self, head: Head) {
        if let Some((state, sites)) = self.found.take() {
            self.known
                .replace(Some((None, Known { state, sites, head })));
        }
    }

    /// The transaction was committed. If it wrote more than the record after that was begun, what was
    /// found then may be otherwise now. Every capture table that took part tells.
    pub(crate) fn committed(&self, db: Db) {
        self.ended();
        let mut known = self.known.borrow_mut();
        if let Some((version @ None, _)) = &mut *known {
            *version = db.data_version();
            if db.total_changes().wrapping_sub(self.begun.get()) != 1 {
                *known = None;
            }
        }
    }
}
