//! NUDA as a SQLite extension: `.load ./libnuda`, and the same as a Rust library.
//!
//! An ordinary SQLite file becomes a replica; ordinary statements are captured, shipped by the
//! `nuda` daemon (or by anybody, see `nuda_changes_since`), and merged elsewhere. In the order
//! in which an UPDATE travels:
//!
//! - `triggers` hand rows to `ffi::capture_table`, `capture` buffers them (`event`, `buffer`), and at the
//!   commit writes the `net` effect as one `record` of the `log`, `told` by an earlier one if they are alike; `keys` sees to it that two
//!   sites never invent the same key, `canonical` that sets have one form (`forms`: what is known to be in it), `blob_writes` that nothing gets past the triggers in pieces, and `undo` that several edits of
//!   one text become one;
//! - `changes` reads records, `apply` delivers them elsewhere, in order and whole (`waiting`: what cannot be applied yet; `stored`: what
//!   of that is handed on); `arrive`
//!   brings tables (`replaced`: those that come again), `fits` says whether a change is one of theirs, `rows` changes rows, asking `concurrent` what the change had not seen and
//!   `nuda_core::merge` what that amounts to (`states` and `placed`: to a text or document); `images` keeps what deletes hid, `conflicts`
//!   reports what lost, `history` tells what happened to one row, `guard` keeps user triggers from writing twice;
//! - `visible` shows and hides rows that hold one unique value (`births` says which is the oldest, `hidden` keeps those that are
//!   not shown, `hidden_rows` tells of them, `beside` those that are changed in another way than by applying);
//! - `collect` drops what nobody needs (`kept_states`: all but what edits that stay have not seen), `renumber`, `mend` and `reissue` repair what was
//!   written under a wrong site or stamp or before a re-seed (`local`: what is not
//!   replicated, `texts_again`), `digest` proves equality;
//! - `identity` and `noticed` find out that a file was copied or put back;
//! - `strong` asks the replicated log for a place before a strong transaction commits, and waits
//!   before a strong read begins;
//! - `track`, `alter`, `inspect`, `definition`, `evolve`, `drift` and `shadow` hold what is replicated and as what;
//!   `rebuilt` closes a table that plain SQL made anew;
//!   `authority` says who may change that, `early` what becomes of columns that have no definition yet;
//!   `functions` is the SQL surface; `connection` is what is remembered between calls (`remembered`: of the file).
//!
//! All `unsafe` is in `ffi`.

mod alter;
mod ancestors;
mod apply;
mod arrive;
mod attached;
mod authority;
mod beside;
mod births;
mod blob_writes;
mod buffer;
mod canonical;
mod capture;
mod changes;
mod collect;
mod concurrent;
mod conflicts;
mod connection;
mod constraints;
mod definition;
mod digest;
mod drift;
mod early;
mod error;
mod event;
mod evolve;
mod excess;
mod ffi;
mod fits;
mod foreign_keys;
mod forms;
mod functions;
mod guard;
mod hidden;
mod hidden_rows;
mod history;
mod identity;
mod images;
mod index;
mod inspect;
mod json;
mod kept_states;
mod keys;
mod local;
mod log;
mod mend;
mod net;
mod noticed;
mod parked;
mod placed;
mod rebuilt;
mod record;
mod references;
mod reissue;
mod remembered;
mod renumber;
mod replaced;
mod rows;
mod savepoint;
mod shadow;
mod signal;
mod sql;
mod states;
mod stored;
mod strong;
mod texts_again;
mod told;
mod track;
mod tracked;
mod triggers;
mod undo;
mod visible;
mod waiting;

pub use error::{Error, Failure};
pub use ffi::entry::{AutoExtension, Configure, sqlite3_nuda_init};

/// Makes every connection that this program opens from here on load the extension.
///
/// For programs that link SQLite statically; pass its `sqlite3_auto_extension` (with rusqlite:
/// `nuda::register_static(rusqlite::ffi::sqlite3_auto_extension)`).
///
/// # Errors
/// If SQLite refuses.
pub fn register_static<D, R>(auto_extension: AutoExtension<D, R>) -> Result<(), Error> {
    ffi::entry::register_static(auto_extension)
}

/// Makes SQLite count no more how much memory it uses, for which all threads of a program take one lock at
/// every allocation (<https://sqlite.org/c3ref/c_config_covering_index_scan.html#sqliteconfigmemstatus>).
/// False: this program has used SQLite before, and nothing has changed.
///
/// For programs that link SQLite statically and use it on many threads; pass its `sqlite3_config`.
pub fn without_memory_statistics(configure: Configure) -> bool {
    ffi::entry::without_memory_statistics(configure)
}
