//! What lost inside a document: a report for people, with the path.
//!
//! A scalar, an addition or an element that a concurrent write of greater rank overruled, at
//! its place or at one above it. Nothing is decided by it. The path is the one in the document at
//! that moment, as SQLite's JSON functions write it.

use std::fmt::Write as _;

use crate::merge::{Rank, Reason};

use super::document::Json;

/// A write inside a document that lost against a concurrent one of another value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// Where: `$.size.w`, `$.lines[2]`.
    pub path: String,
    /// What it had written, as JSON.
    pub value: String,
    /// What is there instead, as JSON; `None` if nothing is.
    pub kept: Option<String>,
    /// The rank of the write that won.
    pub winner: Rank,
    /// The rank of the write that lost.
    pub loser: Rank,
    /// Why it lost.
    pub reason: Reason,
}

/// The place that an edit is at, and what lost so far; nobody wants to know of an edit that the
/// value shows already.
#[derive(Debug)]
pub(super) struct Losses<'l> {
    found: Option<&'l mut Vec<Loss>>,
    path: String,
}

impl<'l> Losses<'l> {
    pub(super) fn new(found: Option<&'l mut Vec<Loss>>) -> Self {
        Self {
            found,
            path: "$".to_owned(),
        }
    }

    /// Goes to a member, whose key is given as it is written; answers where from.
    pub(super) fn enter_member(&mut self, key: &str) -> usize {
        let outer = self.path.len();
        if self.found.is_some() {
            put_key(&mut self.path, key);
        }
        outer
    }

    /// Goes to an element; answers where from.
    pub(super) fn enter_element(&mut self, index: u64) -> usize {
        let outer = self.path.len();
        if self.found.is_some() {
            // A String takes all that is written to it.
            let _ = write!(self.path, "[{index}]");
        }
        outer
    }

    pub(super) fn leave(&mut self, outer: usize) {
        self.path.truncate(outer);
    }

    pub(super) fn note(
        &mut self,
        (value, kept): (&Json, Option<&Json>),
        (winner, loser): (Rank, Rank),
        reason: Reason,
    ) {
        if let Some(found) = &mut self.found {
            found.push(Loss {
                path: self.path.clone(),
                value: value.to_string(),
                kept: kept.map(Json::to_string),
                winner,
                loser,
                reason,
            });
        }
    }
}

/// Appends a step to a path: bare where SQLite takes it so.
pub(super) fn put_key(path: &mut String, key: &str) {
    let bare = key.strip_prefix('"').and_then(|k| k.strip_suffix('"'));
    let is_word = |k: &&str| {
        let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
        !k.is_empty() && k.chars().all(plain)
    };
    path.push('.');
    path.push_str(bare.filter(is_word).unwrap_or(key));
}
