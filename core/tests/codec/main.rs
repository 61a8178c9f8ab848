//! The change format, from both ends: what is written is read back, what can't have been
//! written is refused, and every byte of format version 1 is pinned.
//!
//! [`samples`] makes random content, [`round_trip`] sends it there and back, [`hostile`]
//! damages it, [`golden`] compares with bytes kept in the repository, and [`document`] with
//! the example in `docs/format.md`. Memory is counted in a test program of its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod document;
mod golden;
mod hex;
mod hostile;
mod round_trip;
mod samples;
