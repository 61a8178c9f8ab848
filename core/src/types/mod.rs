//! Column types whose edits are more than assignments: the pure parts.
//!
//! [`sequence`] merges concurrent edits by position; [`text`] is a text's edit, and needs the
//! former only while edits are concurrent; [`doc`] are edits of documents.

pub mod doc;
pub mod sequence;
pub mod text;
