//! The proposal: inside the commit, after everything local is written, before anything of it
//! is visible.
//!
//! A strong transaction's record is numbered by the log: one more than the position that its
//! snapshot holds. A quorum one's is numbered in the lane of the file's site: one more than the
//! latest there, which this file has, since only its own transactions are in it. It is written like
//! any record; then its encoded parts go to the daemon, with the eventual changes that the log
//! lacks. Accepted: SQLite commits rows, record and number together. Anything else: the
//! transaction is rolled back, and the error says what is known.
//!
//! A file that is in no cluster is its own majority: the write lock orders its transactions,
//! and SQLite's fsync keeps them.

use std::time::{Duration, Instant};

use nuda_core::certify::{Answer, Flaw, Outcome, Proposal, TxnId};
use nuda_core::changeset::Level;
use nuda_core::control::{Ask, Reply, Standing};
use nuda_core::limits;
use nuda_core::protocol::NodeId;
use nuda_core::site::{Dot, Site};
use nuda_core::value::Value;
use sqlite3_ext::ffi;

use super::{Last, Session, State};
use crate::apply::frontier;
use crate::changes::{Walk, encoded_part};
use crate::connection::Connection;
use crate::error::{Error, Result};
use crate::ffi::db::Db;
use crate::identity;
use crate::json;
use crate::record::Begun;
use crate::shadow::{self, Sites};

/// How often a proposal is completed or renamed before it is given up.
const TRIES: u32 = 4;

/// The pause before a proposal is made again as it was.
const PAUSE: Duration = Duration::from_millis(20);

/// The running transaction's place, as its record has it.
pub(crate) struct Candidate {
    pub(crate) site_id: i64,
    pub(crate) dot: Dot,
    pub(crate) level: Level,
}

/// Asks for the place of the record that was just written. An error means that nothing may
/// become visible here.
pub(crate) fn propose(connection: &Connection, candidate: &Candidate, begun: &Begun) -> Result<()> {
    let db = connection.db();
    let state = &begun.state;
    let session = connection.session();
    let level = candidate.level;
    let began = Instant::now();
    if state.node.is_empty() {
        if db.int("PRAGMA main.synchronous", &[])? < 2 {
            return Err(Error::refused(format!(
                "{} write not committed: this file is in no cluster, so only its own disk can keep \
                 the promise; set PRAGMA synchronous = FULL",
                level.word()
            )));
        }
        session.accept(candidate, String::new(), began, (1, 1));
        return Ok(());
    }
    let mut mine = session.state();
    let node = NodeId::of_name(&state.node);
    let mut id = mine.next_id(node);
    let mut carried = None;
    for _ in 0..TRIES {
        let standing = mine.standing.clone().unwrap_or_default();
        let mut proposal = proposal(db, begun, candidate, id, &standing)?;
        proposal.statements = mine.ran_for.clone().unwrap_or_default();
        // Nothing more to carry: it is the leader that has not caught up yet.
        if carried.replace(proposal.dependencies.len()) == Some(proposal.dependencies.len()) {
            std::thread::sleep(PAUSE);
        }
        let clock_ms = begun.clock_ms;
        match mine.ask(Ask::Propose { proposal, clock_ms }) {
            Some(Reply::Decided(answer, standing)) => match answer {
                Answer::Decided(Outcome::Accepted(number)) if number == candidate.dot.seq => {
                    let majority = standing.voters / 2 + 1;
                    drop(mine);
                    let acks = (majority, standing.voters);
                    session.accept(candidate, id.to_string(), began, acks);
                    return Ok(());
                }
                Answer::Decided(outcome) => return Err(mine.lost(candidate, outcome, id)),
                // The id was made too long ago. Nothing was proposed under it.
                Answer::Expired => id = mine.next_id(node),
                Answer::NotHere | Answer::Moved | Answer::Expected | Answer::Open => {
                    let why = "the partition's log is elsewhere now; try again";
                    return Err(not_committed(level, why));
                }
            },
            // The next try carries what the log lacks, by what it has just said.
            Some(Reply::Lacks(_)) => {}
            Some(Reply::NotCommitted(why)) => {
                // It may be for what was known of the clock.
                mine.standing = None;
                return Err(not_committed(level, &why));
            }
            Some(Reply::Unknown(why)) => {
                mine.in_doubt |= level == Level::Quorum;
                return Err(unknown(level, id, &why));
            }
            Some(
                Reply::Ready(_)
                | Reply::Recent { .. }
                | Reply::Executed { .. }
                | Reply::Failed { .. },
            )
            | None => {
                return Err(not_committed(level, "the daemon answers something else"));
            }
        }
    }
    Err(not_committed(
        level,
        "what it saw changes too quickly; try again",
    ))
}

pub(super) fn not_committed(level: Level, why: &str) -> Error {
    let rest = if why.contains("nothing was changed") {
        ""
    } else {
        "; nothing was changed"
    };
    Error::refused(format!("{} write not committed: {why}{rest}", level.word()))
}

pub(super) fn unknown(level: Level, id: TxnId, why: &str) -> Error {
    Error::refused(format!(
        "the outcome of this {} write is unknown: {why}; it was rolled back here and may still be \
         committed; ask SELECT nuda_txn_status('{id}')",
        level.word()
    ))
}

impl State {
    /// Asks the daemon where the log stands, unless it has said so before.
    pub(super) fn learn_standing(&mut self, level: Level) -> Result<()> {
        if self.standing.is_some() {
            return Ok(());
        }
        match self.ask(Ask::Levels) {
            Some(Reply::Ready(_)) => Ok(()),
            Some(Reply::NotCommitted(why) | Reply::Unknown(why)) => Err(not_committed(level, &why)),
            _ => Err(not_committed(level, "the daemon answers something else")),
        }
    }

    pub(super) fn next_id(&mut self, node: NodeId) -> TxnId {
        self.counter += 1;
        if self.counter > u64::from(u32::MAX) {
            self.counter = 1;
            self.boot = self.boot.wrapping_add(1);
        }
        TxnId {
            node,
            boot: self.boot,
            counter: self.counter,
            born: self.standing.as_ref().map_or(0, |s| s.decided),
        }
    }

    /// The log decided against it.
    fn lost(&mut self, candidate: &Candidate, outcome: Outcome, id: TxnId) -> Error {
        let (level, site) = (candidate.level, candidate.dot.site);
        match outcome {
            Outcome::Stale(number) if level == Level::Quorum => {
                self.after.raise(site, number);
                Error::new(
                    ffi::SQLITE_BUSY_SNAPSHOT,
                    "quorum write not committed: an earlier one of this file, whose outcome \
                     was unknown, is committed and must be applied here first; nothing was \
                     changed; run the transaction again",
                )
            }
            Outcome::Refused(Flaw::Chain) if level == Level::Quorum => {
                self.leaves_lane = true;
                Error::new(
                    ffi::SQLITE_BUSY_SNAPSHOT,
                    "quorum write not committed: the partition's log is another one than at \
                     this file's last quorum write; nothing was changed; run the \
                     transaction again",
                )
            }
            Outcome::Stale(position) => {
                self.after.raise(site, position);
                Error::new(
                    ffi::SQLITE_BUSY_SNAPSHOT,
                    format!(
                        "strong write not committed: another strong transaction was first \
                         (position {position}); nothing was changed; run the transaction again"
                    ),
                )
            }
            Outcome::Accepted(position) => Error::internal(format!(
                "the log has {id} as number {position}, which is not where this file put it; \
                 restore this replica from another node"
            )),
            Outcome::Aborted => {
                not_committed(level, "nuda_txn_status was asked first and aborted it")
            }
            Outcome::Refused(Flaw::Dependencies) => not_committed(
                level,
                "it saw changes that did not travel with it; try again",
            ),
            Outcome::Refused(flaw @ (Flaw::Late | Flaw::Fenced)) => {
                not_committed(level, &format!("{flaw}; run the transaction again"))
            }
            Outcome::Refused(flaw) => not_committed(
                level,
                &format!("{flaw}; restore this replica from another node"),
            ),
        }
    }
}

impl Session {
    /// The wall time for the stamp of a transaction that the log numbers, milliseconds since 1970: this machine's,
    /// set back if the daemon says that it is too far ahead of the other nodes'. Nobody could stamp it again later.
    pub(crate) fn time(&self, file: &shadow::State, level: Level) -> Result<u64> {
        if file.node.is_empty() {
            return Ok(identity::now_ms());
        }
        let mut mine = self.state();
        mine.partition = Some(file.partition);
        mine.learn_standing(level)?;
        let ahead_ms = mine.standing.as_ref().map_or(0, |s| s.clock_ahead_ms);
        Ok(identity::now_ms().saturating_sub(ahead_ms))
    }

    fn accept(&self, candidate: &Candidate, id: String, began: Instant, (acks, of): (u64, u64)) {
        self.state().accepted = Some(Last {
            id,
            level: candidate.level,
            dot: Some(candidate.dot),
            acks,
            of,
            micros: began.elapsed().as_micros(),
            note: "",
        });
    }

    /// Whether the running transaction has its place already: its COMMIT is being repeated.
    pub(crate) fn is_accepted(&self) -> bool {
        self.state().accepted.is_some()
    }

    /// Whether the running transaction has its place in the daemon's log.
    pub(crate) fn is_in_log(&self) -> bool {
        let state = self.state();
        let accepted = state.accepted.as_ref();
        accepted.is_some_and(|accepted| !accepted.id.is_empty())
    }

    /// `nuda_txn_status(id)`.
    pub(crate) fn txn_status(&self, db: Db, text: &str) -> Result<&'static str> {
        let id = TxnId::parse(text)
            .ok_or_else(|| Error::refused(format!("{} is no transaction id", json::text(text))))?;
        let file = shadow::state(db)?;
        let mut mine = self.state();
        mine.partition = Some(file.partition);
        match mine.ask(Ask::Settle(id)) {
            Some(Reply::Decided(answer, _)) => match answer {
                Answer::Decided(Outcome::Accepted(_)) => Ok("committed"),
                Answer::Decided(_) => Ok("aborted"),
                Answer::Expired => Ok("expired"),
                Answer::NotHere | Answer::Moved | Answer::Expected | Answer::Open => Err(
                    Error::refused("the partition's log is elsewhere now; ask again"),
                ),
            },
            Some(Reply::NotCommitted(why) | Reply::Unknown(why)) => Err(Error::refused(format!(
                "the transaction's outcome cannot be told now: {why}"
            ))),
            _ => Err(Error::refused("the daemon answers something else")),
        }
    }
}

/// Everything that has to travel.
fn proposal(
    db: Db,
    Begun { state, seen, .. }: &Begun,
    candidate: &Candidate,
    id: TxnId,
    standing: &Standing,
) -> Result<Proposal> {
    let base = frontier(db)?;
    let beyond = seen.iter().filter(|(site, seq)| *seq > base.get(*site));
    let mut size = 0;
    let mut proposal = Proposal {
        id,
        base: base.clone(),
        seen: Some(beyond.collect()),
        dependencies: Vec::new(),
        changeset: parts(
            db,
            state,
            candidate.level,
            (candidate.dot, candidate.site_id),
            &mut size,
        )?,
        statements: Vec::new(),
    };
    let mut since = standing.covered.clone();
    since.join(&base);
    since.set(Site::LOG_STRONG, limits::SEQ - 1);
    if since.covers(seen) {
        return Ok(proposal);
    }
    let mut walk = Walk::new(db, &since)?;
    while let Some((header, site_id)) = walk.next()? {
        // It is here because it is in the log.
        if header.level == Level::Quorum {
            continue;
        }
        let of = (header.dot, site_id);
        let parts = parts(db, state, candidate.level, of, &mut size)?;
        proposal.dependencies.extend(parts);
    }
    Ok(proposal)
}

/// The encoded parts of one changeset.
fn parts(
    db: Db,
    state: &shadow::State,
    level: Level,
    (dot, site_id): (Dot, i64),
    size: &mut usize,
) -> Result<Vec<Vec<u8>>> {
    let mut parts = Vec::new();
    loop {
        let number = u32::try_from(parts.len()).unwrap_or(u32::MAX);
        let (bytes, is_last) = encoded_part(db, state.partition, dot, site_id, number)?;
        *size += bytes.len() + 16;
        if *size > limits::PROPOSAL_BYTES {
            let why = format!(
                "it and the changes it saw exceed {} bytes; split it, or wait until the other \
                 members have those changes",
                limits::PROPOSAL_BYTES
            );
            return Err(not_committed(level, &why));
        }
        parts.push(bytes);
        if is_last {
            return Ok(parts);
        }
    }
}

/// The row of `log.strong`, or of a lane, in the site table, made if it is missing.
pub(crate) fn log_site(db: Db, site: Site) -> Result<(i64, Sites)> {
    let sites = Sites::load(db)?;
    if let Some(row) = sites.by_site(site) {
        return Ok((row.id, sites));
    }
    let id = shadow::add_site(db, site)?;
    Ok((id, Sites::load(db)?))
}

/// The file has this transaction from here on: part of the transaction itself.
pub(crate) fn advance(
    db: Db,
    candidate: &Candidate,
    hash: &[u8],
    seen: &[u8],
    stamp: i64,
) -> Result<()> {
    db.run(
        "UPDATE main.nuda_site SET applied = ?, hash = ?, seen = ?, stamp = ? WHERE id = ?",
        &[
            Value::Int(shadow::to_i64(candidate.dot.seq)),
            Value::Blob(hash),
            Value::Blob(seen),
            Value::Int(stamp),
            Value::Int(candidate.site_id),
        ],
    )
}
