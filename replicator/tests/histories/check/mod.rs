//! The checkers: pure functions from a history to a verdict, each tested on hand-made histories
//! that must be refused.
//!
//! `lists` (strict serializability, by the crate `adya`), `registers` (linearizability),
//! `bank` (a sum that never changes), `acknowledged` (nothing lost, invented or doubled),
//! `visible` (who must see a quorum write), `positions` (the one order that the log claims is the one that was seen).

pub(crate) mod acknowledged;
pub(crate) mod bank;
pub(crate) mod lists;
pub(crate) mod positions;
pub(crate) mod registers;
pub(crate) mod visible;

/// What a checker found: nothing, or what is wrong in words.
pub(crate) type Verdict = Result<(), String>;
