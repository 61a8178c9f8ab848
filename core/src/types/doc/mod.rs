//! Documents: JSON whose edits travel and merge by path.
//!
//! [`column`] is what a column holds and ships, [`document`] the tree, [`edit`] what happened to
//! it, [`merge`] what concurrent edits amount to, [`loss`] what was overruled by that, [`rules`]
//! what a user may say about places in it, [`again`] makes edits once more on another document.
//! An edit is found by [`crate::diff::json`].

pub mod again;
pub mod column;
pub mod document;
pub mod edit;
mod encoding;
pub mod loss;
pub mod merge;
pub mod rules;
