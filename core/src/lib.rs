//! The pure parts of NUDA: no SQLite, no async, no clock, no I/O, no `unsafe`.
//!
//! What two parts of the system must agree on is defined here once. In reading order:
//!
//! 1. [`limits`]: every bound, with its reason.
//! 2. [`site`], [`hlc`], [`version_vector`], [`token`]: who writes, when, and what has been seen.
//! 3. [`value`], [`row`], [`changeset`]: the change format; [`codec`] is the only reader of
//!    untrusted bytes.
//! 4. [`merge`]: what concurrent changes of one row amount to; [`types`]: what those of one
//!    column do; [`diff`]: how an edit is read off two values; [`json`] and [`canonical`]: the
//!    form that some of them compare (`plain` reads its strings); [`visibility`] and [`references`]: which rows UNIQUE constraints
//!    and FOREIGN KEYs let be shown; [`sorted`]: sorting, compiled once.
//! 5. [`schema`]: the shadow tables that both the extension and the daemon know.
//! 6. [`protocol`]: replication as events in, commands out.
#![forbid(unsafe_code)]

mod candidate;
pub mod canonical;
pub mod certify;
pub mod changeset;
pub mod codec;
pub mod control;
mod decision;
pub mod diff;
pub mod error;
pub mod hlc;
pub mod json;
pub mod limits;
pub mod merge;
pub mod moves;
mod ordered;
mod outcomes;
mod plain;
pub mod protocol;
pub mod references;
pub mod row;
pub mod site;
pub mod sorted;
pub mod token;
pub mod told;
mod transaction_id;
pub mod turns;
pub mod types;
pub mod value;
pub mod version_vector;
pub mod visibility;
