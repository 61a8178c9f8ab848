//! Documents: JSON whose edits travel and merge by path.
//!
//! [`document`] is the tree, [`edit`] what happened to it, [`merge`] what concurrent edits
//! amount to, [`rules`] what a user may say about
//! places in it. An edit is found by [`crate::diff::json`].

pub mod document;
pub mod edit;
mod encoding;
pub mod merge;
pub mod rules;
