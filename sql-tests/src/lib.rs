//! SQL cases run through the real `sqlite3` shell and real drivers, and what they need.
//!
//! In reading order: `case` (a file of SQL and directives), `session` (one connection, however
//! it is reached), `shell`, `pipe` and `linked` (three ways to reach one), `driver` (which ways
//! this machine has), `cluster` (named connections on copies of one file, shipping changesets
//! by hand), `mask` (what differs from run to run), `golden` (comparing with `.expected`),
//! `place` (where things lie), `script` (runs the Python ones), `loud` (what is
//! printed also by tests that pass), `trace` and `friends` (what people really typed). The tests themselves are in `tests/`.
//!
//! `NUDA_BLESS=1` rewrites the expectations; look at the difference before keeping it.
#![allow(clippy::indexing_slicing, clippy::panic)] // All of this runs in tests.

pub mod case;
pub mod cluster;
pub mod driver;
pub mod friends;
pub mod golden;
mod linked;
pub mod loud;
pub mod mask;
mod pipe;
pub mod place;
pub mod script;
pub mod session;
mod shell;
pub mod trace;
