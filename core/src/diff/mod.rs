//! What an UPDATE did, read off the old and the new value.
//!
//! A user writes whole values; what travels is an edit. No edit is right or wrong, for the old
//! value and the edit always make the new one; a good one is small and touches only what
//! its author touched. The work is bounded in steps, not in time, so that it is the same
//! everywhere: what exceeds the bound is shipped as one replacement.

pub mod ends;
pub mod json;
mod longest;
mod narrow;
pub mod text;
