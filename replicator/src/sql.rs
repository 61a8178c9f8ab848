//! The SQL contract with the extension: every statement the daemon runs on a partition.
//!
//! Capture and apply live in the extension; this file only calls them, as any application
//! could, and turns answers into types. It opens files under the daemon's rules: never
//! checkpoint by accident (`wal_autocheckpoint=0`, no checkpoint on close), never wait longer
//! than the bound for a lock, never create a file that is not asked for. What the protocol
//! wants kept in the partition's file beside the data (its floor, the full member list, own
//! earlier sites) is in `nuda_protocol`; `applied` brings others' changes in, `stored` is about what waits
//! and about those sites, `inspected` is what people see.

mod applied;
mod inspected;
mod stored;

pub(crate) use applied::{Need, Outcome};
pub(crate) use inspected::{Counts, Waiting};

use std::cell::Cell;
use std::path::Path;
use std::time::Duration;

use nuda_core::certify::Link;
use nuda_core::changeset::ChainHash;
use nuda_core::codec::Reader;
use nuda_core::hlc::Stamp;
use nuda_core::protocol::{Head, Members, NodeId, PartBytes, Range};
use nuda_core::site::{PartitionId, Seq, Site};
use nuda_core::version_vector::VersionVector;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::limits;

const FLOOR: &str = "floor";
const MEMBERS: &str = "members";
const OWN_SITES: &str = "own sites";
/// Under which this replica wrote before it was re-seeded: what is of them is made again by it alone.
const EARLIER_SITES: &str = "earlier sites";
/// The name that `nuda_reissue` forgets when it has done its work.
const REISSUE: &str = "reissue";
const REISSUE_FAILED: &str = "reissue failed";

/// A connection to one partition's file.
pub(crate) struct Replica {
    conn: Connection,
    /// As of when tables were last found to be as they are defined.
    unaltered: Cell<Option<Definitions>>,
}

/// What tables and their definitions depend on: the schema's version, the definitions' versions,
/// whether the log orders them, and whether values wait for one.
type Definitions = (i64, i64, bool, bool);

/// The row of `nuda_status`, as far as it is cheap.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) partition: PartitionId,
    pub(crate) name: String,
    pub(crate) node: String,
    pub(crate) site: Site,
    pub(crate) vector: VersionVector,
    pub(crate) collected: VersionVector,
    pub(crate) members: String,
    pub(crate) members_version: u64,
}

/// What `nuda_digest` says: equal on two replicas if their rows are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Digest {
    pub(crate) vector: String,
    pub(crate) digest: String,
    #[serde(default)]
    pub(crate) tables: Vec<TableDigest>,
}

/// One table of a [`Digest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TableDigest {
    pub(crate) name: String,
    pub(crate) rows: u64,
    pub(crate) digest: String,
}

/// What the protocol keeps in the file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Kept {
    pub(crate) floor: VersionVector,
    pub(crate) members: Members,
    pub(crate) own_sites: Vec<Site>,
    /// What a re-seed could not bring back, for people.
    pub(crate) lost: Option<String>,
}

impl Replica {
    /// Opens an existing file.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        Self::connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
    }

    /// Makes a new file; an existing one is refused by the caller's choice of path.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        Self::connect(
            path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
        )
    }

    fn connect(path: &Path, flags: OpenFlags) -> Result<Self> {
        let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_EXRESCODE;
        let conn = Connection::open_with_flags(path, flags)
            .map_err(|e| Error::from(e).during(path.display()))?;
        conn.busy_timeout(limits::BUSY_TIMEOUT)?;
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        // This build of SQLite enforces foreign keys by default; between nodes nobody can.
        conn.pragma_update(None, "foreign_keys", false)?;
        conn.pragma_update(None, "wal_autocheckpoint", 0)?;
        // NORMAL: a batch is not fsynced by itself. What is reported is (see `Replica::fsync`).
        conn.pragma_update(None, "synchronous", "NORMAL")?;
        Ok(Self {
            conn,
            unaltered: Cell::default(),
        })
    }

    /// The plain connection, for what is not part of the contract.
    pub(crate) fn connection(&self) -> &Connection {
        &self.conn
    }

    /// The plain connection, for backups into it.
    pub(crate) fn connection_mut(&mut self) -> &mut Connection {
        &mut self.conn
    }

    /// Makes the open file a replica and its founder's.
    pub(crate) fn init(&self, name: &str) -> Result<()> {
        Ok(self
            .conn
            .query_row("SELECT nuda_init(?)", [name], |_| Ok(()))?)
    }

    /// Marks this file as the replica of `node`. What the protocol kept of floor and members
    /// goes on; the extension forgets it with everything else its donor knew of peers.
    pub(crate) fn join(&self, node: &str) -> Result<()> {
        self.transaction(|replica| {
            let floor = replica.kept_text(FLOOR)?;
            let members = replica.kept_text(MEMBERS)?;
            replica
                .conn
                .query_row("SELECT nuda_join(?)", [node], |_| Ok(()))?;
            replica.keep(FLOOR, &floor)?;
            replica.keep(MEMBERS, &members)?;
            // A snapshot carries its donor's.
            replica.keep(OWN_SITES, "")?;
            let joined = replica
                .kept()?
                .members
                .get(NodeId::of_name(node))
                .map(|m| m.joined);
            joined.map_or(Ok(()), |joined| replica.keep_life(node, joined))
        })
    }

    /// Whether the file is a replica at all.
    pub(crate) fn is_replica(&self) -> Result<bool> {
        let found: i64 = self.conn.query_row(
            "SELECT count(*) FROM sqlite_schema WHERE name = 'nuda_status'",
            [],
            |row| row.get(0),
        )?;
        Ok(found == 1)
    }

    /// Who this replica is and what it holds.
    pub(crate) fn identity(&self) -> Result<Identity> {
        let mut statement = self.conn.prepare_cached(
            "SELECT partition, name, node, site, vector, collected, members, members_version
             FROM nuda_status",
        )?;
        let row = statement.query_row([], |row| {
            Ok((
                row.get::<_, String>(0)?,
                row.get::<_, String>(1)?,
                row.get::<_, String>(2)?,
                row.get::<_, String>(3)?,
                row.get::<_, String>(4)?,
                row.get::<_, String>(5)?,
                row.get::<_, String>(6)?,
                row.get::<_, u64>(7)?,
            ))
        })?;
        Ok(Identity {
            partition: PartitionId::parse(&row.0).ok_or_else(|| damaged("partition id"))?,
            name: row.1,
            node: row.2,
            site: Site::parse(&row.3).ok_or_else(|| damaged("site"))?,
            vector: vector(&row.4)?,
            collected: vector(&row.5)?,
            members: row.6,
            members_version: row.7,
        })
    }

    /// Whether plain DDL altered tables in a way that is to be proposed from here; and the schema.
    /// Comparing all tables with their definitions is left out while neither has changed.
    pub(crate) fn altered(&self) -> Result<Option<i64>> {
        let sql = "SELECT schema_version, (SELECT coalesce(sum(version), 0) FROM nuda_table),
                          (SELECT ordered FROM nuda_state), EXISTS (SELECT 1 FROM nuda_early)
                   FROM pragma_schema_version";
        let mut statement = self.conn.prepare_cached(sql)?;
        let now: Definitions = statement.query_row([], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })?;
        if self.unaltered.get() == Some(now) {
            return Ok(None);
        }
        let mut statement = self.conn.prepare_cached("SELECT nuda_altered()")?;
        let is_altered: bool = statement.query_row([], |row| row.get(0))?;
        self.unaltered.set((!is_altered).then_some(now));
        Ok(is_altered.then_some(now.0))
    }

    /// How long a strong transaction of this connection waits for its place.
    pub(crate) fn wait_at_most(&self, ms: u32) -> Result<()> {
        let sql = "SELECT nuda_timeout(?)";
        Ok(self.conn.query_row(sql, [ms], |_| Ok(()))?)
    }

    /// Whether definitions go through the log.
    pub(crate) fn is_ordered(&self) -> Result<bool> {
        let mut statement = self.conn.prepare_cached("SELECT ordered FROM nuda_state")?;
        Ok(statement.query_row([], |row| row.get(0))?)
    }

    /// As the founder, leaves definitions to the log. Answers whether that is nothing more to do.
    /// A power cut must not make this file alone forget it, or two would define tables at once.
    pub(crate) fn hand_over(&self) -> Result<bool> {
        self.conn.pragma_update(None, "synchronous", "FULL")?;
        let done = self.conn.query_row(
            "SELECT ordered OR founder <> node OR nuda_hand_over() FROM nuda_state",
            [],
            |row| row.get(0),
        );
        self.conn.pragma_update(None, "synchronous", "NORMAL")?;
        Ok(done?)
    }

    /// Replicates what plain DDL changed.
    pub(crate) fn propose(&self) -> Result<()> {
        let mut statement = self.conn.prepare_cached("SELECT nuda_propose()")?;
        Ok(statement.query_row([], |_| Ok(()))?)
    }

    /// Shows the rows that what was written here has set free; answers whether there may be such.
    pub(crate) fn settle(&self) -> Result<bool> {
        let mut statement = self.conn.prepare_cached("SELECT nuda_settle()")?;
        Ok(statement.query_row([], |row| row.get(0))?)
    }

    /// The node that founded the partition.
    pub(crate) fn founder(&self) -> Result<String> {
        Ok(self
            .conn
            .query_row("SELECT founder FROM nuda_status", [], |row| row.get(0))?)
    }

    /// Where strong transactions continue in this file.
    pub(crate) fn strong_link(&self) -> Result<Link> {
        let found = self
            .conn
            .query_row(
                "SELECT applied, hash, stamp FROM nuda_site WHERE site = ?",
                [Site::LOG_STRONG.get()],
                |row| Ok((row.get::<_, u64>(0)?, row.get(1)?, row.get::<_, u64>(2)?)),
            )
            .optional()?;
        let Some((seq, hash, stamp)) = found else {
            return Ok(Link::default());
        };
        Ok(Link {
            seq,
            hash: ChainHash(hash),
            stamp: Stamp::from_u64(stamp).ok_or_else(|| damaged("strong position"))?,
        })
    }

    /// As SQLite names it, in lower case.
    pub(crate) fn journal_mode(&self) -> Result<String> {
        let asked = "PRAGMA journal_mode";
        Ok(self.conn.query_row(asked, [], |row| row.get(0))?)
    }

    /// Puts the file into WAL mode, as a copy made by `VACUUM INTO` is not. False: somebody else holds
    /// it, so it stays as it is, which [`Self::problems`] tells.
    pub(crate) fn use_wal(&self) -> Result<bool> {
        let switch = "PRAGMA journal_mode = WAL";
        // It is tried again, so nobody is waited for.
        self.conn.busy_timeout(Duration::ZERO)?;
        let switched = (self.conn).query_row(switch, [], |row| row.get::<_, String>(0));
        self.conn.busy_timeout(limits::BUSY_TIMEOUT)?;
        match switched {
            Ok(mode) => Ok(mode == "wal"),
            Err(e) if e.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    /// What has been applied.
    pub(crate) fn vector(&self) -> Result<VersionVector> {
        let mut statement = self.conn.prepare_cached("SELECT nuda_version_vector()")?;
        let text: String = statement.query_row([], |row| row.get(0))?;
        vector(&text)
    }

    /// The site under which this file writes now.
    pub(crate) fn site(&self) -> Result<Site> {
        let mut statement = self.conn.prepare_cached("SELECT nuda_site()")?;
        let text: String = statement.query_row([], |row| row.get(0))?;
        Site::parse(&text).ok_or_else(|| damaged("site"))
    }

    /// The site under which this file writes now, and what has been applied.
    pub(crate) fn standing(&self) -> Result<(Site, VersionVector)> {
        let sql = "SELECT nuda_site(), nuda_version_vector()";
        let mut statement = self.conn.prepare_cached(sql)?;
        let (site, has): (String, String) =
            statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let site = Site::parse(&site).ok_or_else(|| damaged("site"))?;
        Ok((site, vector(&has)?))
    }

    /// The link of one changeset; `None` if it is not here or collected.
    pub(crate) fn link(&self, site: Site, seq: Seq) -> Result<Option<ChainHash>> {
        if seq == 0 {
            return Ok(Some(ChainHash::START));
        }
        let mut statement = self.conn.prepare_cached("SELECT nuda_head(?, ?)")?;
        let text: Option<String> =
            statement.query_row(params![site.to_string(), seq], |row| row.get(0))?;
        text.map(|text| {
            u128::from_str_radix(&text, 16)
                .map(|bits| ChainHash(bits.to_be_bytes()))
                .map_err(|_| damaged("chain hash"))
        })
        .transpose()
    }

    /// The newest changesets of those sites where `now` is beyond `before`.
    pub(crate) fn heads(&self, before: &VersionVector, now: &VersionVector) -> Result<Vec<Head>> {
        let mut heads = Vec::new();
        for (site, seq) in now.iter().filter(|(site, seq)| before.get(*site) < *seq) {
            let hash = self.link(site, seq)?.unwrap_or_default();
            heads.push(Head { site, seq, hash });
        }
        Ok(heads)
    }

    /// Reads parts of the log in the order in which they were applied here.
    pub(crate) fn read(&self, ranges: &[Range], limit_bytes: usize) -> Result<Vec<PartBytes>> {
        // Sites that are not asked for are asked for from their end.
        let mut since = self.vector()?;
        since.join(&self.waiting_vector()?);
        for range in ranges {
            since.set(range.site, range.after);
        }
        let mut statement = self
            .conn
            .prepare_cached("SELECT changeset FROM nuda_changes_since(?)")?;
        let mut rows = statement.query([since.to_string()])?;
        let mut parts = Vec::new();
        let mut bytes = 0usize;
        while let Some(row) = rows.next()? {
            let part = PartBytes::new(row.get(0)?).map_err(|e| damaged("log").during(e))?;
            let Some(range) = ranges.iter().find(|r| r.site == part.dot.site) else {
                continue;
            };
            let stored = part.dot.seq == range.after + 1 && part.part < range.parts;
            if stored && part.last {
                // Who has as many parts as ours has, and not all of it, has another one's.
                let mut whole = ranges.to_vec();
                whole.iter_mut().for_each(|range| range.parts = 0);
                return self.read(&whole, limit_bytes);
            }
            if part.dot.seq > range.upto || stored {
                continue;
            }
            bytes = bytes.saturating_add(part.bytes.len());
            if bytes > limit_bytes && !parts.is_empty() {
                break;
            }
            parts.push(part);
        }
        Ok(parts)
    }

    /// Takes a new site if the file is older than what was noted of it; whether it did.
    pub(crate) fn heed_note(&self) -> Result<bool> {
        let heed = "SELECT nuda_heed_note()";
        Ok(self.conn.query_row(heed, [], |row| row.get(0))?)
    }

    /// The wall time in the stamp of the newest own changeset.
    pub(crate) fn stamp_ms(&self) -> Result<u64> {
        let mut statement = self.conn.prepare_cached("SELECT nuda_stamp_ms()")?;
        Ok(statement.query_row([], |row| row.get(0))?)
    }

    /// See [`followed_ms`].
    pub(crate) fn followed_ms(&self, keep: Seq) -> Result<u64> {
        followed_ms(&self.conn, keep)
    }

    /// Renumbers own changesets after `keep` under a new site.
    pub(crate) fn new_site(&self, keep: Seq) -> Result<()> {
        Ok(self
            .conn
            .query_row("SELECT nuda_new_site(?)", [keep], |_| Ok(()))?)
    }

    /// Re-stamps unshipped own changesets whose stamp is beyond `max_ms`.
    pub(crate) fn restamp(&self, keep: u64, max_ms: u64) -> Result<()> {
        Ok(self
            .conn
            .query_row("SELECT nuda_restamp(?, ?)", [keep, max_ms], |_| Ok(()))?)
    }

    /// Notes, in a snapshot, which set-aside file has to be re-issued once it is in place.
    pub(crate) fn set_reissue(&self, file: &str) -> Result<()> {
        self.keep(REISSUE, file)
    }

    /// Which set-aside file has to be re-issued, if any.
    pub(crate) fn reissue_due(&self) -> Result<Option<String>> {
        Ok(Some(self.kept_text(REISSUE)?).filter(|file| !file.is_empty()))
    }

    /// Writes again what the set-aside file has and this one lacks.
    pub(crate) fn reissue(&self, aside: &Path) -> Result<()> {
        let path = aside.to_string_lossy();
        Ok(self
            .conn
            .query_row("SELECT nuda_reissue(?)", [&path], |_| Ok(()))?)
    }

    /// It cannot be done; people are told.
    pub(crate) fn reissue_failed(&self, note: &str) -> Result<()> {
        self.transaction(|replica| {
            replica.keep(REISSUE, "")?;
            replica.keep(REISSUE_FAILED, note)
        })
    }

    /// Drops from the log what every member has; answers how many records went.
    pub(crate) fn collect(&self, frontier: &VersionVector) -> Result<u64> {
        #[derive(Deserialize)]
        struct Answer {
            dropped: u64,
        }
        self.transaction(|replica| {
            let text: String = replica.conn.query_row(
                "SELECT nuda_collect(?)",
                [frontier.to_string()],
                |row| row.get(0),
            )?;
            Ok(serde_json::from_str::<Answer>(&text)?.dropped)
        })
    }

    /// What this replica holds, from one read transaction.
    pub(crate) fn digest(&self) -> Result<Digest> {
        let text: String = self
            .conn
            .query_row("SELECT nuda_digest()", [], |row| row.get(0))?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Runs `work` between BEGIN IMMEDIATE and COMMIT; nothing of it stays if it fails.
    pub(crate) fn transaction<T>(&self, work: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        self.conn.execute_batch("BEGIN IMMEDIATE")?;
        let done = work(self).and_then(|answer| {
            self.conn.execute_batch("COMMIT")?;
            Ok(answer)
        });
        if done.is_err() && !self.conn.is_autocommit() {
            self.conn.execute_batch("ROLLBACK")?;
        }
        done
    }

    /// What the protocol kept; empty in a file that has met no protocol yet.
    pub(crate) fn kept(&self) -> Result<Kept> {
        let members = self.kept_text(MEMBERS)?;
        let members = if members.is_empty() {
            Members::default()
        } else {
            let bytes = from_hex(&members).ok_or_else(|| damaged("member list"))?;
            Members::decode(&mut Reader::new(&bytes)).map_err(|_| damaged("member list"))?
        };
        let own_sites = self.kept_text(OWN_SITES)?;
        let own_sites = own_sites.split(',').filter_map(Site::parse).collect();
        Ok(Kept {
            floor: vector(&self.kept_text(FLOOR)?)?,
            members,
            own_sites,
            lost: Some(self.kept_text(REISSUE_FAILED)?).filter(|text| !text.is_empty()),
        })
    }

    /// Keeps the own sites.
    pub(crate) fn keep_own_sites(&self, sites: &[Site]) -> Result<()> {
        let text: Vec<String> = sites.iter().map(Site::to_string).collect();
        self.keep(OWN_SITES, &text.join(","))
    }

    /// Keeps the floor and the members; `names` are the members that count, for the extension.
    pub(crate) fn keep_standing(
        &self,
        floor: &VersionVector,
        members: &Members,
        names: Option<&[String]>,
    ) -> Result<()> {
        self.transaction(|replica| {
            let mut encoded = Vec::new();
            members.encode(&mut encoded);
            replica.keep(MEMBERS, &to_hex(&encoded))?;
            replica.keep(FLOOR, &floor.to_string())?;
            if let Some(names) = names {
                replica.conn.query_row(
                    "SELECT nuda_set_members(?, ?)",
                    params![members.version, names.join(",")],
                    |_| Ok(()),
                )?;
            }
            Ok(())
        })
    }

    fn kept_text(&self, key: &str) -> Result<String> {
        let kept = self
            .conn
            .query_row(
                "SELECT value FROM nuda_protocol WHERE key = ?",
                [key],
                |r| r.get(0),
            )
            .optional()?;
        Ok(kept.unwrap_or_default())
    }

    fn keep(&self, key: &str, text: &str) -> Result<()> {
        self.conn.execute(
            "INSERT INTO nuda_protocol(key, value) VALUES (?, ?)
             ON CONFLICT(key) DO UPDATE SET value = excluded.value
             WHERE value <> excluded.value",
            [key, text],
        )?;
        Ok(())
    }

    /// Makes everything committed so far survive a power cut; answers the applied vector that
    /// this covers.
    ///
    /// The vector is read first, so all of it is in the write-ahead log or was checkpointed
    /// (which fsyncs). SQLite takes its locks on the database and the `-shm` file, none on
    /// the `-wal` file, so a descriptor of our own on that one drops no lock when it closes.
    pub(crate) fn fsync(&self, path: &Path) -> Result<VersionVector> {
        let vector = self.vector()?;
        let mut wal = path.as_os_str().to_owned();
        wal.push("-wal");
        match std::fs::File::open(&wal) {
            Ok(file) => file.sync_data()?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(e.into()),
        }
        Ok(vector)
    }
}

/// The own site of a file, its latest number and the wall time in its stamp, as any connection reads it.
pub(crate) fn newest_own(file: &Connection) -> Result<(Site, Seq, u64)> {
    let sql = "SELECT nuda_site(), nuda_version_vector(), nuda_stamp_ms()";
    let (site, has, stamp_ms): (String, String, u64) =
        file.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let site = Site::parse(&site).ok_or_else(|| damaged("site"))?;
    Ok((site, vector(&has)?.get(site), stamp_ms))
}

/// The wall time in the latest stamp that own changesets after `keep` come after, as any connection reads it.
pub(crate) fn followed_ms(file: &Connection, keep: Seq) -> Result<u64> {
    Ok(file.query_row("SELECT nuda_followed_ms(?)", [keep], |row| row.get(0))?)
}

fn vector(text: &str) -> Result<VersionVector> {
    VersionVector::parse(text).ok_or_else(|| damaged("version vector"))
}

fn damaged(what: &str) -> Error {
    Error::internal(format!(
        "the file's {what} cannot be read; it is damaged or of another version; restore this replica from another node"
    ))
}

pub(crate) fn to_hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A peer that has as many parts of a changeset as there are, and not the changeset, has those of
    /// another variant: it gets all of ours.
    #[test]
    fn a_changeset_that_a_peer_has_in_part_is_sent_from_there() {
        crate::extension::register().expect("the extension");
        let folder = tempfile::tempdir().expect("a directory");
        let replica = Replica::create(&folder.path().join("org.db")).expect("a file");
        replica.init("org").expect("a replica");
        replica
            .connection()
            .execute_batch(
                "CREATE TABLE t(id INTEGER PRIMARY KEY, v); SELECT nuda_track('t');
                 BEGIN;
                 INSERT INTO t VALUES (1, randomblob(900000)), (2, randomblob(900000));
                 INSERT INTO t VALUES (3, randomblob(900000)), (4, randomblob(900000));
                 INSERT INTO t VALUES (5, randomblob(900000)), (6, randomblob(900000));
                 COMMIT;",
            )
            .expect("a large transaction");
        let site = replica.site().expect("its site");
        let upto = replica.vector().expect("its vector").get(site);
        let numbers = |parts| {
            let range = Range {
                site,
                after: upto - 1,
                upto,
                parts,
            };
            let parts = replica.read(&[range], usize::MAX).expect("parts");
            parts.iter().map(|part| part.part).collect::<Vec<u32>>()
        };
        let all = numbers(0);
        let count = u32::try_from(all.len()).expect("a number");
        assert!(count > 2, "{count} parts");
        assert_eq!(numbers(1), all[1..]);
        assert_eq!(numbers(count - 1), [count - 1]);
        assert_eq!(numbers(count), all);
        assert_eq!(numbers(count + 1), all);
    }

    /// The founder's word that it leaves tables to the log survives a power cut, or it would define
    /// tables beside the log.
    #[test]
    fn the_hand_over_is_fsynced() {
        crate::extension::register().expect("the extension");
        let folder = tempfile::tempdir().expect("a directory");
        let replica = Replica::create(&folder.path().join("org.db")).expect("a file");
        replica.init("org").expect("a replica");
        replica.join("a").expect("a node's");
        let conn = replica.connection();
        conn.execute_batch(
            "CREATE TEMP TABLE seen(synchronous);
             CREATE TEMP TRIGGER watch AFTER UPDATE OF ordered ON main.nuda_state BEGIN
               INSERT INTO seen SELECT synchronous FROM pragma_synchronous;
             END;",
        )
        .expect("a trigger");
        assert!(replica.hand_over().expect("the founder's word"));
        let seen = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, i64>(0));
        assert_eq!(seen("SELECT synchronous FROM seen"), Ok(2));
        assert_eq!(seen("SELECT synchronous FROM pragma_synchronous"), Ok(1));
    }
}
