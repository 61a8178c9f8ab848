//! Consistency levels: a level that cannot be kept on this file is an error, never silently a
//! weaker one. Every way of setting one answers the level in force.

use nuda_core::changeset::Level;
use nuda_core::control::{Ask, Reply};

use super::Session;
use super::seen::Watcher;
use crate::error::{Error, Result};
use crate::ffi::db::Db;
use crate::shadow;

/// The names of the settings.
pub(crate) const WRITE: &str = "nuda_write_consistency";
/// See [`WRITE`].
pub(crate) const READ: &str = "nuda_read_consistency";
/// See [`WRITE`].
pub(crate) const TIMEOUT: &str = "nuda_timeout";

/// See [`WRITE`].
pub(crate) const STALENESS: &str = "nuda_max_staleness";

/// The longest staleness that can be asked for: an hour, in milliseconds.
const STALENESS_MAX_MS: u64 = 3_600_000;

/// What a read transaction begins from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    Eventual,
    Session,
    Bounded,
    Strong,
}

impl Session {
    /// Shows or sets; `None` if it is none of ours.
    pub(crate) fn setting(
        &self,
        db: Db,
        name: &str,
        value: Option<&str>,
    ) -> Option<Result<String>> {
        if ![WRITE, READ, TIMEOUT, STALENESS].contains(&name) {
            return None;
        }
        let value = value.map(|v| v.trim().to_ascii_lowercase());
        Some(match value {
            None => Ok(self.in_force(name)),
            Some(value) => self.set(db, name, &value).map(|()| self.in_force(name)),
        })
    }

    fn in_force(&self, name: &str) -> String {
        let state = self.state();
        match name {
            WRITE => state.write.word().to_owned(),
            READ if state.read == Read::Strong => "strong".to_owned(),
            READ if state.read == Read::Session => "session".to_owned(),
            READ if state.read == Read::Bounded => "bounded".to_owned(),
            STALENESS => state.max_staleness_ms.to_string(),
            TIMEOUT => state.timeout_ms.to_string(),
            _ => "eventual".to_owned(),
        }
    }

    fn set(&self, db: Db, name: &str, value: &str) -> Result<()> {
        if value == self.in_force(name) {
            return Ok(());
        }
        if !db.is_autocommit() {
            return Err(Error::refused(format!(
                "{name} cannot change inside a transaction; end it first"
            )));
        }
        match (name, value) {
            (TIMEOUT, ms) => {
                let ms = ms.parse().ok().filter(|ms| (1..=60_000).contains(ms));
                self.state().timeout_ms = ms.ok_or_else(|| {
                    Error::refused(format!(
                        "'{value}' is no timeout; it is 1 to 60000 milliseconds"
                    ))
                })?;
            }
            (STALENESS, ms) => {
                let ms = ms
                    .parse()
                    .ok()
                    .filter(|ms| (1..=STALENESS_MAX_MS).contains(ms));
                self.state().max_staleness_ms = ms.ok_or_else(|| {
                    Error::refused(format!(
                        "'{value}' is no staleness; it is 1 to {STALENESS_MAX_MS} milliseconds"
                    ))
                })?;
            }
            (WRITE, "eventual") => self.state().write = Level::Eventual,
            (READ, "eventual") => self.read(Read::Eventual, None),
            (WRITE, "strong") => {
                self.can_ask_a_majority(db, name, value)?;
                self.state().write = Level::Strong;
            }
            (WRITE, "quorum") => {
                self.can_ask_a_majority(db, name, value)?;
                self.state().write = Level::Quorum;
            }
            (READ, "strong") => {
                self.can_ask_a_majority(db, name, value)?;
                self.read(Read::Strong, None);
            }
            (READ, "session") => {
                self.can_wait(db, name)?;
                let watcher = Watcher::open(&self.file)?;
                self.read(Read::Session, Some(watcher));
            }
            (READ, "bounded") => {
                self.can_ask_a_majority(db, name, value)?;
                self.read(Read::Bounded, None);
            }
            _ => {
                let all = if name == WRITE {
                    "eventual, quorum or strong"
                } else {
                    "eventual, session, bounded or strong"
                };
                return Err(Error::refused(format!(
                    "'{value}' is no level; {name} is {all}"
                )));
            }
        }
        Ok(())
    }

    fn read(&self, level: Read, watcher: Option<Watcher>) {
        let mut state = self.state();
        state.read = level;
        state.watcher = watcher;
        state.asked = None;
    }

    /// Whether others can bring what a read waits for.
    fn can_wait(&self, db: Db, name: &str) -> Result<shadow::State> {
        let state = shadow::state(db)?;
        let locking = db.text("PRAGMA main.locking_mode", &[])?;
        if locking.as_deref() != Some("normal") {
            return Err(Error::refused(format!(
                "this level sees nothing of others under PRAGMA locking_mode = exclusive; {name} \
                 stays {}",
                self.in_force(name)
            )));
        }
        Ok(state)
    }

    /// Whether a level that needs a majority can be kept on this file as things stand.
    fn can_ask_a_majority(&self, db: Db, name: &str, level: &str) -> Result<()> {
        let stays = self.in_force(name);
        let refuse = |why: &str| Error::refused(format!("{why}; {name} stays {stays}"));
        let state = self.can_wait(db, name)?;
        if state.node.is_empty() {
            self.state().partition = None;
            return Ok(());
        }
        let mut mine = self.state();
        mine.partition = Some(state.partition);
        match mine.ask(Ask::Levels) {
            Some(Reply::Ready(_)) => Ok(()),
            Some(Reply::NotCommitted(why) | Reply::Unknown(why)) => {
                drop(mine);
                Err(refuse(&format!("{level} cannot be kept now: {why}")))
            }
            _ => {
                drop(mine);
                Err(refuse(
                    "the daemon answers something else; upgrade the older of the two",
                ))
            }
        }
    }
}
