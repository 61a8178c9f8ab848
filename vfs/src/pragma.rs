//! `PRAGMA nuda_...` and a few more: which pragmas are offered to a connection's hooks, and what is answered.
//!
//! The meaning of each pragma belongs to the hooks; here is only the dispatch. Two of SQLite's own that
//! would take the file away from its other users are offered too, for the hooks to refuse. Reading SQLite's argument
//! array and allocating the answer is `ffi::methods`. SQLite sends a pragma while it *prepares* the
//! statement, also under EXPLAIN and possibly several times, so hooks must be idempotent.
//! The invariant: whatever is answered carries a text, because drivers crash on a pragma that succeeds
//! or fails without one.

use crate::hooks::Shared;

/// Every pragma of NUDA starts with this, in any case.
const PREFIX: &str = "nuda_";

/// Pragmas of SQLite's own that hooks may refuse, when they set something.
const GUARDED: [&str; 2] = ["journal_mode", "locking_mode"];

/// What the file control gives back to SQLite.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// One row with this text.
    Row(String),
    /// The PRAGMA fails with this message.
    Failure(String),
    /// Not ours: the inner VFS, and then SQLite itself, may know it.
    NotOurs,
    /// Starts with our prefix, but nobody is attached who could honour it.
    Nobody,
}

/// The answer to `PRAGMA name[=arg]`. `arg` is raw, because SQLite passes on any bytes.
pub(crate) fn answer(shared: &Shared, name: &str, arg: Option<&[u8]>) -> Answer {
    let name = name.to_ascii_lowercase();
    let is_guarded = arg.is_some() && GUARDED.contains(&name.as_str());
    if !name.starts_with(PREFIX) && !is_guarded {
        return Answer::NotOurs;
    }
    let Some(hooks) = shared.hooks() else {
        return if is_guarded {
            Answer::NotOurs
        } else {
            Answer::Nobody
        };
    };
    let arg = match arg.map(std::str::from_utf8).transpose() {
        Ok(arg) => arg,
        Err(_) => return Answer::Failure(format!("PRAGMA {name}: the argument is not UTF-8")),
    };
    match hooks.pragma(&name, arg) {
        None => Answer::NotOurs,
        Some(Ok(text)) => Answer::Row(text),
        Some(Err(message)) => Answer::Failure(message),
    }
}

/// The message for a pragma of ours that reached a file nobody is attached to: silence would let an
/// application believe in a level that is not in force.
pub(crate) fn nobody_message(name: &str) -> String {
    format!(
        "PRAGMA {name}: no nuda connection is attached to this database file; \
         it works on the main database of a connection that loaded nuda; load it, or drop the schema name"
    )
}
