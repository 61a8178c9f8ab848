//! A case: a file of SQL, directives and comments, and its transcript.
//!
//! - `--# portable` anywhere: the case is run through every driver, not only the shell.
//! - `--> ...` is a directive; [`crate::cluster`] says which there are.
//! - a line that begins with `.` is a command of the shell.
//! - everything else is SQL; a statement ends with a line that ends with `;`, a CREATE TRIGGER
//!   with a line `END;`.
//!
//! The transcript repeats comments and statements, so that a `.expected` reads as a session.

use std::path::{Path, PathBuf};

use crate::cluster::Cluster;
use crate::driver::Driver;
use crate::mask::Mask;
use crate::place;

/// A file under `cases/`.
#[derive(Debug, Clone)]
pub struct Case {
    /// `topic/name`.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// Whether all drivers run it.
    pub portable: bool,
    steps: Vec<Step>,
}

#[derive(Debug, Clone)]
enum Step {
    Comment(String),
    Directive(String),
    Statement(String),
}

/// All cases, by name.
///
/// # Panics
/// If a folder or file cannot be read.
#[must_use]
pub fn all() -> Vec<Case> {
    let root = place::here().join("cases");
    let mut cases: Vec<Case> = folders(&root)
        .iter()
        .flat_map(|topic| folders(topic))
        .filter(|path| path.extension().is_some_and(|e| e == "sql"))
        .map(|path| Case::read(&root, &path))
        .collect();
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases
}

fn folders(path: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(path)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .collect()
}

impl Case {
    fn read(root: &Path, path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        assert!(!text.is_empty(), "{} cannot be read", path.display());
        let name = path.strip_prefix(root).unwrap_or(path).with_extension("");
        Self {
            path: path.to_path_buf(),
            ..Self::of(&name.display().to_string(), &text)
        }
    }

    /// A case that is no file of its own.
    #[must_use]
    pub fn of(name: &str, text: &str) -> Self {
        Self {
            name: name.to_owned(),
            path: PathBuf::new(),
            portable: text.lines().any(|line| line == "--# portable"),
            steps: steps(text),
        }
    }

    /// Runs the case with `driver` and answers its transcript.
    #[must_use]
    pub fn run(&self, driver: Driver) -> String {
        let mut cluster = Cluster::new(driver);
        let mut mask = Mask::new(cluster.folder());
        let mut transcript = String::new();
        for step in &self.steps {
            let (shown, lines) = match step {
                Step::Comment(text) => (text.clone(), Vec::new()),
                Step::Directive(text) => (format!("--> {text}"), cluster.direct(text)),
                Step::Statement(sql) => (sql.clone(), cluster.run(sql)),
            };
            transcript.push_str(&shown);
            transcript.push('\n');
            for line in lines {
                transcript.push_str("    ");
                transcript.push_str(&mask.apply(&line));
                transcript.push('\n');
            }
        }
        transcript
    }
}

fn steps(text: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut statement = String::new();
    for line in text.lines() {
        let bare = line.trim();
        if statement.is_empty() {
            if bare.is_empty() || bare.starts_with("--#") {
                continue;
            }
            if let Some(directive) = bare.strip_prefix("--> ") {
                steps.push(Step::Directive(directive.to_owned()));
                continue;
            }
            if bare.starts_with("--") {
                steps.push(Step::Comment(bare.to_owned()));
                continue;
            }
            if bare.starts_with('.') {
                steps.push(Step::Statement(bare.to_owned()));
                continue;
            }
        } else {
            statement.push('\n');
        }
        statement.push_str(line);
        let upper = statement.to_ascii_uppercase();
        let trigger =
            upper.starts_with("CREATE TRIGGER") || upper.starts_with("CREATE TEMP TRIGGER");
        let done = if trigger {
            bare.eq_ignore_ascii_case("END;") || upper.ends_with(" END;")
        } else {
            bare.ends_with(';')
        };
        if done {
            steps.push(Step::Statement(std::mem::take(&mut statement)));
        }
    }
    assert!(
        statement.is_empty(),
        "a statement does not end: {statement}"
    );
    steps
}
