//! One connection, however it is reached: SQL goes in, rows or an error come out as text.

use std::path::Path;

/// How to open a file.
#[derive(Debug, Clone, Copy)]
pub struct Open<'a> {
    /// The database file, or `:memory:`.
    pub file: &'a Path,
    /// Whether to load the extension.
    pub extension: bool,
    /// Whether to open it read-only.
    pub read_only: bool,
}

/// What a statement answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// The rows, values joined by `|`, NULL as `NULL`.
    pub rows: Vec<String>,
    /// The error's text, without what a driver wraps around it.
    pub error: Option<String>,
}

/// An open connection. Dropping it closes it.
pub trait Session {
    /// Runs one statement.
    fn run(&mut self, statement: &str) -> Answer;
}

/// The first value that `statement` answers; panics on an error, which no caller expects.
///
/// # Panics
/// If the statement fails.
pub fn value(session: &mut dyn Session, statement: &str) -> String {
    let answer = session.run(statement);
    assert!(
        answer.error.is_none(),
        "{statement}: {}",
        answer.error.unwrap_or_default()
    );
    answer.rows.into_iter().next().unwrap_or_default()
}
