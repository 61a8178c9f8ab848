//! The SQLite VFS of NUDA: one wrapper of a database file's methods, used twice.
//!
//! `.load nuda` happens after the file is open, so [`attach`] *adopts* the file of the connection that
//! loads the extension; later connections of the process go through the default VFS `nuda`
//! ([`register_default`]), which lets the former default open the file and adopts it at once.
//! Either way the wrapper answers `PRAGMA nuda_...`, runs the read barrier where a read transaction
//! begins, and notices commits; everything else goes straight to the inner VFS.
//!
//! Reading order: `hooks` (what a connection plugs in, and what it gets back), `host` (which SQLite is
//! accepted), `pragma`, `barrier` and `commits` (the decisions, all safe and without SQLite), then `ffi`
//! (all `unsafe` code: the API pointer, the method table, its trampolines, the VFS).
//!
//! Not here: capture, SQL functions, the meaning of any pragma or level, and the replicator. This crate
//! never opens, closes or locks a file on its own account.
//!
//! Invariant: with no hooks attached, a wrapped file behaves exactly as the unwrapped one, save that a
//! `PRAGMA nuda_...` nobody can honour is an error instead of silence.

mod barrier;
mod commits;
mod ffi;
mod hooks;
mod host;
mod pragma;

pub use ffi::{attach, init_api, register_default};
pub use hooks::{AttachError, Attached, BarrierRefused, ConnectionHooks, Mode, Origin};
pub use host::{InitError, MINIMUM_VERSION, RegisterError, Registered, VFS_NAME, wal_reset_bug};
