//! The record of the running transaction: who writes, when, after what.
//!
//! Fixed when the record's first part is written, while the transaction holds the write lock:
//! an eventual one is numbered by the file's own site, a strong one by the replicated log, after
//! the position that the transaction sees, a quorum one in the lane of the file's site.

use std::rc::Rc;

use nuda_core::changeset::{ChainHash, ChainHasher, Header, Level};
use nuda_core::hlc::Stamp;
use nuda_core::site::{Dot, Seq, Site};
use nuda_core::value::Value;
use nuda_core::version_vector::VersionVector;
use sqlite3_ext::ffi;

use crate::connection::Connection;
use crate::error::{Error, Result};
use crate::ffi::db::Db;
use crate::identity;
use crate::log;
use crate::noticed;
use crate::shadow::{self, Sites, State, damaged, to_i64};
use crate::strong::commit;
use crate::told;

/// The header of the changeset being written.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) site_id: i64,
    pub(crate) seq: Seq,
    pub(crate) stamp: Stamp,
    pub(crate) previous: ChainHash,
    /// Whether the record with that hash is in the log, and the hash is not repeated.
    pub(crate) follows_in_log: bool,
    /// What of its site was collected, and how far before its predecessor lies what that is told by.
    pub(crate) collected: Seq,
    pub(crate) last_told_by: Seq,
    /// Whether it may be told by an earlier record (see [`crate::told`]).
    pub(crate) may_be_told: bool,
    pub(crate) header: Vec<u8>,
    pub(crate) seen: Vec<u8>,
    pub(crate) level: Level,
    /// Of a transaction that the log numbers.
    pub(crate) begun: Option<Rc<Begun>>,
}

/// The file as a transaction found it that the log numbers.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) state: State,
    /// All that was applied, and the transaction itself.
    pub(crate) seen: VersionVector,
    pub(crate) dot: Dot,
    /// By which it is stamped.
    pub(crate) clock_ms: u64,
}

/// Who writes, when, after what: fixed when the first part is written, while the transaction
/// holds the write lock.
pub(crate) fn begin(connection: &Connection) -> Result<Record> {
    let db = connection.db();
    let remembered = connection.remembered();
    let (state, sites, head) = match remembered.take(db, connection.signal().locked()) {
        Some(known) => (known.state, known.sites, known.head),
        None => {
            let (state, sites) = present_state(connection)?;
            let end = connection.bases()?.end();
            let mut statements = connection.statements()?;
            let last_record = statements.last_record(db)?;
            let head = log::head_after(db, last_record, state.site_id, end)?;
            (state, sites, head)
        }
    };
    if state.identity != connection.identity() {
        renew_site(connection, &state)?;
        return begin(connection);
    }
    if connection.is_first_record() && noticed::heed(connection, &state, &sites, head.seq)? {
        return begin(connection);
    }
    let own = sites
        .by_id(state.site_id)
        .ok_or_else(|| damaged("nuda_site"))?;
    let (seen, rose) = sites.risen(&head.seen, state.site_id)?;
    let latest = state.stamp.max(sites.latest()).max(head.stamp);
    let stamp = Stamp::next(latest, identity::now_ms())
        .ok_or_else(|| Error::refused("the logical clock is exhausted; check this node's clock"))?;
    let seq = log::next_seq(head.seq)?;
    let header = Header {
        dot: Dot {
            site: own.site,
            seq,
        },
        stamp,
        level: Level::Eventual,
        author: String::new(),
        rose,
    };
    let record = Record {
        site_id: state.site_id,
        seq,
        stamp,
        previous: head.hash,
        follows_in_log: head.is_in_log,
        collected: own.applied,
        last_told_by: head.told_by,
        may_be_told: head.is_in_log,
        header: header.encode(),
        seen: seen.0,
        level: Level::Eventual,
        begun: None,
    };
    remembered.found(state, sites);
    Ok(record)
}

/// The same for a transaction that the log numbers: after the position that it sees, or after the
/// latest of its lane.
pub(crate) fn begin_in_log(connection: &Connection, level: Level) -> Result<Record> {
    let db = connection.db();
    let state = shadow::state(db)?;
    if state.identity != connection.identity() || connection.session().leaves_lane(level) {
        renew_site(connection, &state)?;
        return begin_in_log(connection, level);
    }
    let site = site_in_log(db, &state, level)?;
    let (site_id, sites) = commit::log_site(db, site)?;
    let mut query = db.prepare(log::LAST_RECORD)?;
    let own = log::head_after(db, &mut query, state.site_id, connection.own_stamp.get())?;
    connection.own_stamp.set(Some((own.hash, own.stamp)));
    if connection.is_first_record() && noticed::heed(connection, &state, &sites, own.seq)? {
        return begin_in_log(connection, level);
    }
    // What the log may hold beyond it waits, and is not seen by this transaction.
    let head = log::collected_head(db, site_id)?;
    let waits = db.int(
        "SELECT EXISTS (SELECT 1 FROM main.nuda_log WHERE id BETWEEN ? AND ?)",
        &[
            Value::Int(log::key(site_id, head.seq + 1, 0)),
            Value::Int(log::key(site_id + 1, 0, 0) - 1),
        ],
    )?;
    if waits != 0 {
        return Err(Error::new(
            ffi::SQLITE_BUSY_SNAPSHOT,
            format!(
                "{} write not committed: another transaction was first, and waits here for what it \
                 follows; nothing was changed; run the transaction again",
                level.word()
            ),
        ));
    }
    let mut seen = sites.vector((state.site_id, own.seq));
    seen.set(site, 0);
    let before = sites.decode_seen(&head.seen.0)?;
    let rose: VersionVector = seen
        .iter()
        .filter(|(site, seq)| *seq > before.get(*site))
        .collect();
    let latest = state.stamp.max(sites.latest()).max(own.stamp);
    let clock_ms = connection.session().time(&state, level)?;
    let stamp = Stamp::next(latest, clock_ms)
        .ok_or_else(|| Error::refused("the logical clock is exhausted; check this node's clock"))?;
    let seq = log::next_seq(head.seq)?;
    let dot = Dot { site, seq };
    let header = Header {
        dot,
        stamp,
        level,
        author: String::new(),
        rose,
    };
    let encoded = sites.encode_seen(&seen);
    seen.set(site, seq);
    Ok(Record {
        site_id,
        seq,
        stamp,
        previous: head.hash,
        // As for every site but the file's own.
        follows_in_log: false,
        collected: 0,
        last_told_by: 0,
        may_be_told: false,
        header: header.encode(),
        seen: encoded,
        level,
        begun: Some(Rc::new(Begun {
            state,
            seen,
            dot,
            clock_ms,
        })),
    })
}

/// Under which name the log numbers it.
fn site_in_log(db: Db, state: &shadow::State, level: Level) -> Result<Site> {
    if level == Level::Strong {
        return Ok(Site::LOG_STRONG);
    }
    let sites = Sites::load(db)?;
    let own = sites
        .by_id(state.site_id)
        .ok_or_else(|| damaged("nuda_site"))?;
    own.site
        .lane()
        .ok_or_else(|| Error::internal("this file's site has no lane"))
}

/// The chain hash over the parts before `part`, read back from the log.
pub(crate) fn hasher_at(db: Db, record: &Record, part: u32) -> Result<ChainHasher> {
    let mut hasher = ChainHasher::new(record.previous, &record.header);
    if part > 0 {
        let mut bodies = db.prepare(&told::bodies("ORDER BY id"))?;
        bodies.bind(&[
            Value::Int(log::key(record.site_id, record.seq, 0)),
            Value::Int(log::key(record.site_id, record.seq, part) - 1),
        ])?;
        while bodies.step()? {
            hasher.update(bodies.blob(0));
        }
    }
    Ok(hasher)
}

/// The state row and all sites, by statements that are kept prepared.
pub(crate) fn present_state(connection: &Connection) -> Result<(State, Sites)> {
    let db = connection.db();
    let mut statements = connection.statements()?;
    let state = State::read(statements.state(db)?)?;
    let sites = Sites::read(statements.sites(db)?)?;
    Ok((state, sites))
}

/// Takes a new site: the file is not the one that the present site was made for.
pub(crate) fn renew_site(connection: &Connection, state: &State) -> Result<()> {
    let db = connection.db();
    let head = {
        let mut statements = connection.statements()?;
        log::head(db, statements.last_record(db)?, state.site_id)?
    };
    // What the old site wrote counts as applied from now on, and its stamps as seen.
    db.run(
        "UPDATE main.nuda_site SET applied = ?, stamp = ?, seen = ?, hash = ? WHERE id = ?",
        &[
            Value::Int(to_i64(head.seq)),
            Value::Int(to_i64(head.stamp.get())),
            Value::Blob(&head.seen.0),
            Value::Blob(&head.hash.0),
            Value::Int(state.site_id),
        ],
    )?;
    shadow::note_own_site(db, state.site_id)?;
    let id = shadow::add_site(db, identity::new_site(db)?)?;
    db.run(
        "UPDATE main.nuda_state SET site = ?, identity = ?, stamp = max(stamp, ?)",
        &[
            Value::Int(id),
            Value::Text(connection.identity().as_bytes()),
            Value::Int(to_i64(head.stamp.get())),
        ],
    )
}
