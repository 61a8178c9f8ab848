//! Documents: JSON whose edits travel and merge by path.
//!
//! [`document`] is the tree, [`edit`] what happened to it, [`rules`] what a user may say about
//! places in it. An edit is found by [`crate::diff::json`].

pub mod document;
pub mod edit;
pub mod rules;
