//! NUDA as a loadable SQLite extension: what `.load ./libnuda` opens.
//!
//! Everything is in the library `nuda`, which Rust programs link too. This package only makes a
//! shared library of it, alone, because only then does Cargo optimise the whole of it at once.
//! Invariant: it exports the entry point and nothing else.

pub use ::nuda::sqlite3_nuda_init;
