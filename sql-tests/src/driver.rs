//! The ways to reach SQLite that the cases are run through, and which of them are here.
//!
//! Drivers of other languages are installed under `target/drivers` (by `.ci/run`, or by hand as
//! the reason for a skip says). One that is missing is reported, never silently passed.

use std::path::PathBuf;
use std::process::Command;

use crate::place;
use crate::session::{Open, Session};
use crate::{linked, pipe, shell};

/// A driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// The `sqlite3` shell of this machine.
    Shell,
    /// Python's `sqlite3` module.
    Python,
    /// Python's `apsw`, which brings a SQLite of its own.
    Apsw,
    /// Node's `better-sqlite3`, which brings a SQLite of its own.
    BetterSqlite3,
    /// rusqlite with SQLite and the extension linked into the program.
    Rusqlite,
    /// Python's `sqlite3` on the oldest SQLite that the extension takes.
    Oldest,
    /// The same on those between that and Debian's.
    Older,
    /// See `Older`.
    Old,
}

impl Driver {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Shell,
        Self::Python,
        Self::Apsw,
        Self::BetterSqlite3,
        Self::Rusqlite,
        Self::Oldest,
        Self::Older,
        Self::Old,
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Shell => "sqlite3 shell",
            Self::Python => "Python sqlite3",
            Self::Apsw => "apsw",
            Self::BetterSqlite3 => "better-sqlite3",
            Self::Rusqlite => "rusqlite",
            Self::Oldest => "Python with SQLite 3.37",
            Self::Older => "Python with SQLite 3.38",
            Self::Old => "Python with SQLite 3.39",
        }
    }

    fn command(self) -> Vec<PathBuf> {
        let script = |name: &str| place::here().join("drivers").join(name);
        let installed = place::target().join("drivers");
        match self {
            Self::Shell | Self::Rusqlite => Vec::new(),
            Self::Python => vec!["/usr/bin/python3".into(), script("dbapi.py")],
            Self::Oldest | Self::Older | Self::Old => {
                let library = format!("LD_LIBRARY_PATH={}", self.library().display());
                let python = "/usr/bin/python3".into();
                vec!["env".into(), library.into(), python, script("dbapi.py")]
            }
            Self::Apsw => vec![installed.join("venv/bin/python"), script("apsw_driver.py")],
            Self::BetterSqlite3 => vec![
                "node".into(),
                script("better_sqlite3.cjs"),
                installed.join("node/node_modules/better-sqlite3"),
            ],
        }
    }

    /// Where the SQLite of the old ones is.
    fn library(self) -> PathBuf {
        let version = match self {
            Self::Oldest => "3.37.0",
            Self::Older => "3.38.2",
            _ => "3.39.2",
        };
        place::target()
            .join("drivers")
            .join(format!("sqlite-{version}"))
    }

    /// The version of its SQLite, or why it cannot be used here.
    ///
    /// # Errors
    /// The reason for skipping it.
    pub fn version(self) -> Result<String, String> {
        match self {
            Self::Shell => return shell::version(),
            Self::Rusqlite => return Ok(rusqlite::version().to_owned()),
            // Python would silently take this machine's SQLite instead.
            Self::Oldest | Self::Older | Self::Old
                if !self.library().join("libsqlite3.so.0").exists() =>
            {
                return Err(format!("it is not built{}", self.advice()));
            }
            _ => {}
        }
        let command = self.command();
        let (program, args) = command.split_first().ok_or("no program")?;
        let out = Command::new(program)
            .args(args)
            .arg("--version")
            .output()
            .map_err(|e| format!("{}: {e}{}", program.display(), self.advice()))?;
        if out.status.success() {
            return Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned());
        }
        let text = String::from_utf8_lossy(&out.stderr).into_owned();
        let line = text
            .lines()
            .rfind(|line| line.contains("Error"))
            .unwrap_or("it does not start");
        Err(format!("{}{}", line.trim(), self.advice()))
    }

    fn advice(self) -> &'static str {
        match self {
            Self::Apsw => {
                "; python3 -m venv target/drivers/venv && target/drivers/venv/bin/pip install apsw"
            }
            Self::Oldest | Self::Older | Self::Old => "; sql-tests/scripts/old-sqlite.sh builds it",
            Self::BetterSqlite3 => "; npm install --prefix target/drivers/node better-sqlite3",
            _ => "",
        }
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// The text of what failed, be it opening or loading.
    pub fn open(self, open: &Open<'_>) -> Result<Box<dyn Session>, String> {
        match self {
            Self::Shell => shell::open(open),
            Self::Rusqlite => linked::open(open),
            _ => {
                let command = self.command();
                let command: Vec<_> = command.iter().map(PathBuf::as_path).collect();
                pipe::open(&command, open)
            }
        }
    }
}
