//! Named connections on copies of one file, shipping changesets by hand: the directives.
//!
//! A case begins on connection `a`, open on `a.db` with the extension.
//!
//! | directive | does |
//! |---|---|
//! | `open NAME [FILE] [bare] [read-only]` | opens FILE (NAME.db), `bare` without the extension, and goes on there |
//! | `on NAME`, `close NAME` | goes on there; closes it |
//! | `copy FROM TO` | copies a database file as it lies on the disk |
//! | `replica NAME of A` | a member NAME on a copy of A's file |
//! | `twin NAME of A` | the same in no cluster: whoever writes strongly there is a majority alone |
//! | `ship A B [twice, reversed, truncated, flipped]` | applies on B what A has and B lacks |
//! | `dump A B` | applies on B the changes of A's own site only, whatever they depend on |
//! | `acknowledge A B` | B is told what A has applied |
//! | `continue A B` | B's session joins the token of A's |
//! | `load [copy]` | loads the extension once more, or a copy of the library (shell only) |
//! | `sync` | ships everything to everybody until nothing is missing, and compares digests |
//! | `later` | waits until the clock has moved on, so that the next write is the later one |
//! | `repeat N SQL` | runs SQL N times, `{n}` being 1 to N, and says how many failed |
//! | `wide TABLE N` | creates a table of N columns |

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::driver::Driver;
use crate::place;
use crate::session::{Answer, Open, Session, value};

/// The connections of a case.
pub struct Cluster {
    driver: Driver,
    // Declared before the folder: connections close before it goes.
    sessions: BTreeMap<String, Box<dyn Session>>,
    current: String,
    folder: tempfile::TempDir,
}

impl Cluster {
    /// A folder of its own, and connection `a` in it.
    ///
    /// # Panics
    /// If neither can be made.
    #[must_use]
    pub fn new(driver: Driver) -> Self {
        let Ok(folder) = tempfile::tempdir() else {
            panic_with("no temporary folder")
        };
        let mut cluster = Self {
            driver,
            sessions: BTreeMap::new(),
            current: String::new(),
            folder,
        };
        let answer = cluster.open("a", &[]);
        assert!(answer.is_empty(), "{answer:?}");
        cluster
    }

    /// Where the files are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn session(&mut self, name: &str) -> &mut dyn Session {
        match self.sessions.get_mut(name) {
            Some(session) => session.as_mut(),
            None => panic_with(&format!("no connection {name}")),
        }
    }

    /// Runs a statement on the current connection.
    pub fn run(&mut self, sql: &str) -> Vec<String> {
        let current = self.current.clone();
        lines(self.session(&current).run(sql))
    }

    /// Follows a directive; answers what it has to say.
    ///
    /// # Panics
    /// If there is no such directive.
    pub fn direct(&mut self, directive: &str) -> Vec<String> {
        let words: Vec<&str> = directive.split_whitespace().collect();
        match words.as_slice() {
            ["open", name, rest @ ..] => self.open(name, rest),
            ["on", name] => {
                self.session(name);
                (*name).clone_into(&mut self.current);
                Vec::new()
            }
            ["close", name] => {
                self.sessions.remove(*name);
                Vec::new()
            }
            ["copy", from, to] => match std::fs::copy(self.file(from), self.file(to)) {
                Ok(_) => Vec::new(),
                Err(e) => vec![format!("Error: {e}")],
            },
            ["replica", name, "of", origin] => self.replica(name, origin),
            ["twin", name, "of", origin] => self.twin(name, origin),
            ["ship", from, to] => vec![self.ship(from, to, "")],
            ["ship", from, to, how] => vec![self.ship(from, to, how)],
            ["sync"] => vec![self.sync()],
            ["dump", from, to] => vec![self.dump(from, to)],
            ["acknowledge", from, to] => {
                let vector = value(self.session(from), "SELECT nuda_version_vector();");
                let sql = format!("SELECT nuda_acknowledge('{from}', '{vector}');");
                lines(self.session(to).run(&sql))
            }
            ["continue", from, to] => {
                let token = value(self.session(from), "SELECT nuda_session();");
                let sql = format!("SELECT nuda_session('{token}') = '{token}';");
                lines(self.session(to).run(&sql))
            }
            ["load"] => self.run(&format!(".load {}", place::extension().display())),
            ["load", "copy"] => {
                let copy = self.file("another.so");
                match std::fs::copy(place::extension(), &copy) {
                    Ok(_) => self.run(&format!(".load {} sqlite3_nuda_init", copy.display())),
                    Err(e) => vec![format!("Error: {e}")],
                }
            }
            ["later"] => {
                std::thread::sleep(Duration::from_millis(5));
                Vec::new()
            }
            ["repeat", count, ..] => {
                let sql = directive.splitn(3, ' ').nth(2).unwrap_or_default();
                self.repeat(count.parse().unwrap_or(0), sql)
            }
            ["wide", table, count] => {
                let count: usize = count.parse().unwrap_or(0);
                let columns = (1..count).fold(String::new(), |mut text, n| {
                    let written = write!(text, ", c{n}");
                    debug_assert!(written.is_ok());
                    text
                });
                self.run(&format!(
                    "CREATE TABLE {table}(id TEXT PRIMARY KEY{columns});"
                ))
            }
            _ => panic_with(&format!("no such directive: {directive}")),
        }
    }

    fn open(&mut self, name: &str, options: &[&str]) -> Vec<String> {
        let file = options
            .iter()
            .find(|word| !matches!(**word, "bare" | "read-only"))
            .map_or_else(|| format!("{name}.db"), |word| (*word).to_owned());
        let path = if file == ":memory:" {
            PathBuf::from(file)
        } else {
            self.file(&file)
        };
        let opened = self.driver.open(&Open {
            file: &path,
            extension: !options.contains(&"bare"),
            read_only: options.contains(&"read-only"),
        });
        match opened {
            Ok(session) => {
                self.sessions.insert(name.to_owned(), session);
                name.clone_into(&mut self.current);
                Vec::new()
            }
            Err(error) => vec![format!("Error: {error}")],
        }
    }

    fn replica(&mut self, name: &str, origin: &str) -> Vec<String> {
        let origin_session = self.session(origin);
        if value(origin_session, "SELECT node FROM nuda_status;").is_empty() {
            value(origin_session, &format!("SELECT nuda_join('{origin}');"));
        }
        let answer = self.twin(name, origin);
        if answer.is_empty() {
            value(self.session(name), &format!("SELECT nuda_join('{name}');"));
        }
        answer
    }

    fn twin(&mut self, name: &str, origin: &str) -> Vec<String> {
        value(self.session(origin), "PRAGMA wal_checkpoint(truncate);");
        let (from, to) = (
            self.file(&format!("{origin}.db")),
            self.file(&format!("{name}.db")),
        );
        if let Err(e) = std::fs::copy(from, to) {
            return vec![format!("Error: {e}")];
        }
        self.open(name, &[])
    }

    /// What `from` has and `to` lacks, as hexadecimal text.
    fn missing(&mut self, from: &str, to: &str) -> Answer {
        let vector = value(self.session(to), "SELECT nuda_version_vector();");
        self.session(from).run(&format!(
            "SELECT hex(changeset) FROM nuda_changes_since('{vector}');"
        ))
    }

    fn apply(&mut self, to: &str, hex: &str) -> String {
        let answer = self
            .session(to)
            .run(&format!("SELECT nuda_apply(x'{hex}');"));
        if let Some(error) = answer.error {
            return format!("Error: {error}");
        }
        let text = answer.rows.join("\n");
        let Ok(json) = serde_json::from_str::<serde_json::Value>(&text) else {
            return text;
        };
        let status = json["status"].as_str().unwrap_or_default().to_owned();
        match json["reason"].as_str() {
            Some(reason) => format!("{status} ({reason})"),
            None => status,
        }
    }

    fn ship(&mut self, from: &str, to: &str, how: &str) -> String {
        let answer = self.missing(from, to);
        if let Some(error) = answer.error {
            return format!("Error: {error}");
        }
        let mut changesets = answer.rows;
        match how {
            "reversed" => changesets.reverse(),
            "twice" => {
                changesets = changesets
                    .iter()
                    .flat_map(|c| [c.clone(), c.clone()])
                    .collect()
            }
            "truncated" | "flipped" => {
                let damaged = changesets
                    .first()
                    .map(|c| damage(c, how))
                    .unwrap_or_default();
                return self.ship_damaged(to, &damaged);
            }
            _ => {}
        }
        let answers: Vec<String> = changesets.iter().map(|c| self.apply(to, c)).collect();
        summary(&answers)
    }

    fn dump(&mut self, from: &str, to: &str) -> String {
        let sql = "SELECT hex(changeset) FROM nuda_changes_since('') WHERE site = nuda_site();";
        let answer = self.session(from).run(sql);
        let answers: Vec<String> = answer.rows.iter().map(|c| self.apply(to, c)).collect();
        summary(&answers)
    }

    fn ship_damaged(&mut self, to: &str, damaged: &[String]) -> String {
        let taken = damaged
            .iter()
            .filter(|changeset| self.apply(to, changeset).starts_with("applied"))
            .count();
        format!("{} damaged forms, {taken} taken", damaged.len())
    }

    fn sync(&mut self) -> String {
        let names: Vec<String> = self.sessions.keys().cloned().collect();
        let mut rounds = 0;
        loop {
            let mut shipped = 0;
            for from in &names {
                for to in names.iter().filter(|to| *to != from) {
                    let answer = self.missing(from, to);
                    if let Some(error) = answer.error {
                        return format!("{from} to {to}: Error: {error}");
                    }
                    for changeset in answer.rows {
                        let outcome = self.apply(to, &changeset);
                        if outcome.starts_with("Error") {
                            return format!("{from} to {to}: {outcome}");
                        }
                        shipped += 1;
                    }
                }
            }
            rounds += 1;
            if shipped == 0 || rounds > 5 {
                break;
            }
        }
        let digests: Vec<String> = names
            .iter()
            .map(|name| value(self.session(name), "SELECT nuda_digest();"))
            .collect();
        let all = names.join(", ");
        if digests.windows(2).all(|pair| pair[0] == pair[1]) {
            format!("{all} are equal")
        } else {
            format!("{all} DIFFER: {digests:?}")
        }
    }

    fn repeat(&mut self, count: usize, sql: &str) -> Vec<String> {
        let mut failed = Vec::new();
        for n in 1..=count {
            let answer = self.run(&sql.replace("{n}", &n.to_string()));
            failed.extend(answer.into_iter().filter(|line| line.starts_with("Error")));
        }
        let mut said = vec![format!("{count} times, {} failed", failed.len())];
        said.extend(failed.into_iter().take(1));
        said
    }
}

fn lines(answer: Answer) -> Vec<String> {
    let mut lines = answer.rows;
    lines.extend(answer.error.map(|error| format!("Error: {error}")));
    lines
}

/// `applied, applied, waiting (x)` is `2 applied, waiting (x)`.
fn summary(answers: &[String]) -> String {
    let mut groups: Vec<(usize, &str)> = Vec::new();
    for answer in answers {
        match groups.last_mut() {
            Some((count, last)) if *last == answer => *count += 1,
            _ => groups.push((1, answer)),
        }
    }
    if groups.is_empty() {
        return "nothing is missing".to_owned();
    }
    let texts: Vec<String> = groups
        .iter()
        .map(|(n, text)| format!("{n} {text}"))
        .collect();
    texts.join(", ")
}

/// Damaged forms of a changeset given in hexadecimal: cut at, or with one bit flipped in,
/// some sixty places.
fn damage(hex: &str, how: &str) -> Vec<String> {
    let bytes = hex.len() / 2;
    let step = (bytes / 60).max(1);
    (0..bytes)
        .step_by(step)
        .map(|at| {
            if how == "truncated" {
                return hex[..at * 2].to_owned();
            }
            let digit = u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).unwrap_or(0);
            let bit = 1 << (at % 8);
            format!(
                "{}{:02x}{}",
                &hex[..at * 2],
                digit ^ bit,
                &hex[at * 2 + 2..]
            )
        })
        .collect()
}

fn panic_with(text: &str) -> ! {
    panic!("{text}")
}
