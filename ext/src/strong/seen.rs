//! Read level session: what this connection has seen and written, or was handed as a token,
//! and waiting until the file has all of it.
//!
//! The barrier must not use the host's connection, so a second one looks at the file. The file
//! itself says what it has, whoever brought it: the daemon, or `nuda_apply` elsewhere. What a
//! read saw is noted as of its barrier, a write by its own name, and a token adds what its own
//! snapshot shows.

use std::time::{Duration, Instant};

use nuda_core::site::{Dot, PartitionId};
use nuda_core::token::Token;
use nuda_core::version_vector::VersionVector;

use super::levels::Read;
use super::{Session, State};
use crate::changes;
use crate::error::{Error, Result};
use crate::ffi::db::Db;
use crate::ffi::own::OwnConnection;
use crate::shadow::{self, Sites};

/// How soon the file is looked at again: first, and at most.
const LOOK: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(20));

/// A second connection to the file.
#[derive(Debug)]
pub(super) struct Watcher(OwnConnection);

/// What a file has at one moment.
struct Sight {
    partition: PartitionId,
    sites: Sites,
    vector: VersionVector,
}

fn look(db: Db) -> Result<Sight> {
    let state = shadow::state(db)?;
    let sites = Sites::load(db)?;
    let vector = changes::applied(db, &state, &sites)?;
    Ok(Sight {
        partition: state.partition,
        sites,
        vector,
    })
}

impl Watcher {
    pub(super) fn open(path: &str) -> Result<Self> {
        Ok(Self(OwnConnection::to_file(path)?))
    }

    /// Looks, in one snapshot.
    fn look(&mut self) -> Result<Sight> {
        let db = self.0.db();
        db.exec("BEGIN")?;
        let sight = look(db);
        db.exec("ROLLBACK")?;
        sight
    }
}

impl Session {
    /// The running transaction wrote this, and is committed.
    pub(crate) fn wrote(&self, what: impl FnOnce() -> Option<Dot>) {
        let mut state = self.state();
        if state.read == Read::Session
            && let Some(token) = &mut state.seen
            && let Some(dot) = what()
        {
            token.seen.raise(dot.site, dot.seq);
        }
    }

    /// `nuda_session([token])`.
    pub(crate) fn token(&self, db: Db, text: Option<&str>) -> Result<String> {
        let given = text.map(|text| {
            Token::parse(text.trim()).ok_or_else(|| {
                Error::refused(
                    "this is no session token, or a part of one; pass on what nuda_session() answered",
                )
            })
        });
        let given = given.transpose()?;
        if given.is_some() && !db.is_autocommit() {
            return Err(Error::refused(
                "a token cannot be joined inside a transaction, which has its state already; end \
                 it first",
            ));
        }
        let sight = look(db)?;
        let mut state = self.state();
        let mut mine = state.of(sight.partition).clone();
        mine.seen.join(&sight.vector);
        if let Some(given) = given {
            if given.partition != mine.partition {
                return Err(Error::refused(format!(
                    "this token is of partition {}, the file is partition {}",
                    given.partition, mine.partition
                )));
            }
            if let Some(why) = sight.lost(&given.seen) {
                return Err(Error::refused(why));
            }
            mine.seen.join(&given.seen);
        }
        let text = mine.to_string();
        // What an open transaction shows may yet be rolled back.
        if db.is_autocommit() {
            state.seen = Some(mine);
        }
        Ok(text)
    }
}

impl Sight {
    /// What is wanted and will never come: the members take nothing more of its site.
    fn lost(&self, wanted: &VersionVector) -> Option<String> {
        let (site, seq) = wanted.iter().find(|(site, seq)| {
            *seq > self.vector.get(*site)
                && self.sites.by_site(*site).is_some_and(|row| row.stopped)
        })?;
        Some(format!(
            "change {seq} of site {site} is lost: nothing more of that site is taken (see \
             nuda_site.stopped), and {} is its last here; begin a new session",
            self.vector.get(site)
        ))
    }

    /// What is wanted and not here.
    fn missing(&self, wanted: &VersionVector) -> Option<String> {
        let mut missing = wanted
            .iter()
            .filter(|(site, seq)| *seq > self.vector.get(*site));
        let (site, seq) = missing.next()?;
        let more = match missing.count() {
            0 => String::new(),
            n => format!(", and changes of {n} more sites"),
        };
        Some(format!(
            "this file lacks change {seq} of site {site} (its last here is {}){more}",
            self.vector.get(site)
        ))
    }
}

impl State {
    /// What was seen of this partition; a session of another one is over.
    fn of(&mut self, partition: PartitionId) -> &mut Token {
        let empty = || Token {
            partition,
            seen: VersionVector::new(),
        };
        let token = self.seen.get_or_insert_with(empty);
        if token.partition != partition {
            *token = empty();
        }
        token
    }

    /// Waits until the file has everything that was seen.
    pub(super) fn reach_seen(&mut self) -> std::result::Result<(), String> {
        let until = Instant::now() + Duration::from_millis(self.timeout_ms);
        let mut pause = LOOK.0;
        loop {
            let why = match self.look() {
                Ok(None) => return Ok(()),
                Ok(Some(missing)) => missing,
                Err(error) if error.is_transient() => error.to_string(),
                Err(error) => return Err(error.to_string()),
            };
            if Instant::now() >= until {
                return Err(format!(
                    "{why}, after {} ms; it arrives when its node can be reached (`nuda status`): \
                     try again, or raise nuda_timeout",
                    self.timeout_ms
                ));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(LOOK.1);
        }
    }

    /// Looks at the file; answers what it lacks, or remembers what it has.
    fn look(&mut self) -> Result<Option<String>> {
        let watcher = self
            .watcher
            .as_mut()
            .ok_or_else(|| Error::internal("level session without a second connection"))?;
        let sight = watcher.look()?;
        let token = self.of(sight.partition);
        if let Some(why) = sight.lost(&token.seen) {
            return Err(Error::refused(why));
        }
        let missing = sight.missing(&token.seen);
        if missing.is_none() {
            token.seen.join(&sight.vector);
        }
        Ok(missing)
    }
}
