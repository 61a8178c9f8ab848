//! The shadow tables: all of NUDA's bookkeeping, in the user's own file.
//!
//! Two things live here: the definitions, and reading the state row and the site table, which
//! together say who this replica is and what it has seen. The writer's own latest changeset is
//! not repeated in either: it is the last record of the log, so that a transaction writes one
//! extra page and not two.

use nuda_core::changeset::ChainHash;
use nuda_core::hlc::Stamp;
use nuda_core::site::{PartitionId, Seq, Site};
use nuda_core::value::Value;
use nuda_core::version_vector::VersionVector;

use crate::error::{Error, Result};
use crate::ffi::db::{Db, Stmt};

/// Version of the shadow tables' layout.
pub(crate) const LAYOUT: i64 = 7;

/// What `nuda_init` creates and `nuda_eject` drops, besides triggers and capture tables.
pub(crate) const DEFINITIONS: &str = "
CREATE TABLE nuda_state(
  id INTEGER PRIMARY KEY CHECK (id = 1),
  layout INTEGER NOT NULL,          -- version of these tables
  partition BLOB NOT NULL,          -- 16 random bytes, made by the founder
  name TEXT NOT NULL,
  node TEXT NOT NULL DEFAULT '',    -- whose replica this is; empty: no cluster
  founder TEXT NOT NULL DEFAULT '', -- the node that defines tables while not ordered; empty: this one
  ordered INTEGER NOT NULL DEFAULT 0, -- whether definitions go through the replicated log
  site INTEGER NOT NULL,            -- nuda_site.id of this incarnation
  identity TEXT NOT NULL,           -- boot, device and inode for which the site holds
  stamp INTEGER NOT NULL DEFAULT 0, -- greatest stamp of this file's earlier sites
  members TEXT NOT NULL DEFAULT '',
  members_version INTEGER NOT NULL DEFAULT 0,
  frontier TEXT NOT NULL DEFAULT '' -- what has been collected: a version vector
);
CREATE TABLE nuda_site(
  id INTEGER PRIMARY KEY,           -- short name, of this file only
  site INTEGER NOT NULL UNIQUE,     -- the 64 bits, as a signed integer
  applied INTEGER NOT NULL DEFAULT 0, -- changesets applied; of the own site: collected
  hash BLOB NOT NULL,               -- chain hash at `applied`
  seen BLOB NOT NULL,               -- what the changeset `applied` had seen
  stamp INTEGER NOT NULL DEFAULT 0, -- its stamp, greater than all before it
  stopped TEXT                      -- why nothing more of this site is taken, if so
);
CREATE TABLE nuda_log(
  id INTEGER PRIMARY KEY,           -- nuda_site.id << 48 | seq << 14 | part
  header BLOB,                      -- of part 0
  previous BLOB,                    -- of part 0: the chain hash before it, or NULL: the row before's;
                                    -- a number: the same, and the row is told by another, see `told`
  seen BLOB,                        -- of part 0: everything the changeset had seen; NULL: it waits
  body BLOB NOT NULL,
  hash BLOB,                        -- of the last part
  images BLOB                       -- rows that this part's deletes hid here; not shipped
);
CREATE TABLE nuda_waiting(
  site INTEGER NOT NULL, seq INTEGER NOT NULL, -- what is in nuda_log and not applied yet
  reason TEXT NOT NULL,
  seen TEXT,                        -- what it had seen, once it is stored; x'': it is refused
  PRIMARY KEY (site, seq)
) WITHOUT ROWID;
CREATE TABLE nuda_table(
  number INTEGER PRIMARY KEY,       -- the same on every replica
  name TEXT NOT NULL UNIQUE,
  version INTEGER NOT NULL,
  definition INTEGER NOT NULL,      -- hash of names, keys and types
  kind TEXT NOT NULL DEFAULT 'eventual',
  options TEXT NOT NULL DEFAULT '',
  indexes BLOB NOT NULL DEFAULT x'' -- the definitions that replicas agree on
);
CREATE TABLE nuda_column(
  number INTEGER NOT NULL, position INTEGER NOT NULL, -- the key's columns first
  name TEXT NOT NULL, type TEXT NOT NULL, is_key INTEGER NOT NULL, -- 2: dropped
  PRIMARY KEY (number, position)
) WITHOUT ROWID;
CREATE TABLE nuda_early(
  number INTEGER NOT NULL, position INTEGER NOT NULL, key BLOB NOT NULL, value, -- see `early`
  PRIMARY KEY (number, position, key)
) WITHOUT ROWID;
CREATE TABLE nuda_excess(cell BLOB PRIMARY KEY, kept TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE nuda_cell(cell BLOB PRIMARY KEY, state BLOB NOT NULL) WITHOUT ROWID; -- see `states`
CREATE TABLE nuda_conflicts(
  id INTEGER PRIMARY KEY,
  at_ms INTEGER NOT NULL, \"table\" TEXT NOT NULL, \"key\" TEXT NOT NULL, \"column\" TEXT,
  lost, lost_site TEXT NOT NULL, lost_stamp INTEGER NOT NULL,
  won_site TEXT NOT NULL, won_stamp INTEGER NOT NULL, reason TEXT NOT NULL,
  kept                              -- what won; NULL also if the row was deleted
);
CREATE TABLE nuda_protocol(key TEXT PRIMARY KEY, value TEXT NOT NULL); -- the daemon's
CREATE TABLE nuda_peers(node TEXT PRIMARY KEY, vector TEXT NOT NULL, at_ms INTEGER NOT NULL);
CREATE VIEW nuda_tables AS
  SELECT t.name, t.number, t.version, t.kind, t.options,
    (SELECT group_concat(name || ' ' || type, ', ') FROM nuda_column c
      WHERE c.number = t.number AND c.is_key < 2) AS columns
  FROM nuda_table t;
CREATE VIEW nuda_status AS
  SELECT lower(hex(s.partition)) AS partition, s.name, s.node, s.founder,
    nuda_site() AS site, nuda_version_vector() AS vector, s.frontier AS collected,
    s.members, s.members_version,
    (SELECT count(*) FROM nuda_waiting) AS waiting,
    (SELECT count(*) FROM nuda_log WHERE seen IS NOT NULL) AS log_records,
    (SELECT coalesce(sum(length(body) + coalesce(length(images), 0)), 0) FROM nuda_log)
      AS log_bytes,
    max(s.stamp, (SELECT max(stamp) FROM nuda_site)) >> 16 AS stamp_ms,
    (SELECT count(*) FROM nuda_conflicts) AS conflicts,
    nuda_problems() AS problems
  FROM nuda_state s;
";

/// The tables and views of [`DEFINITIONS`], dependents first.
pub(crate) const OBJECTS: &[(&str, &str)] = &[
    ("VIEW", "nuda_status"),
    ("VIEW", "nuda_tables"),
    ("TABLE", "nuda_hidden"),
    ("TABLE", "nuda_birth"),
    ("TABLE", "nuda_peers"),
    ("TABLE", "nuda_protocol"),
    ("TABLE", "nuda_conflicts"),
    ("TABLE", "nuda_cell"),
    ("TABLE", "nuda_early"),
    ("TABLE", "nuda_excess"),
    ("TABLE", "nuda_column"),
    ("TABLE", "nuda_table"),
    ("TABLE", "nuda_waiting"),
    ("TABLE", "nuda_log"),
    ("TABLE", "nuda_site"),
    ("TABLE", "nuda_state"),
];

/// The state row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) partition: PartitionId,
    pub(crate) node: String,
    pub(crate) founder: String,
    /// Whether definitions go through the replicated log (see [`crate::authority`]).
    pub(crate) is_ordered: bool,
    /// `nuda_site.id` of this incarnation.
    pub(crate) site_id: i64,
    pub(crate) identity: String,
    /// Greatest stamp of this file's earlier sites; [`Sites::latest`] has those of others.
    pub(crate) stamp: Stamp,
}

impl State {
    /// The query that [`State::read`] reads.
    pub(crate) const QUERY: &str = "SELECT partition, node, founder, ordered, site, identity, stamp, layout FROM main.nuda_state";

    pub(crate) fn read(query: &mut Stmt) -> Result<Self> {
        query.bind(&[])?;
        if !query.step()? {
            return Err(damaged("nuda_state"));
        }
        let layout = query.int(7);
        if layout != LAYOUT {
            return Err(Error::refused(format!(
                "this file was written by another version (layout {layout}, this build knows \
                 {LAYOUT}); use the newest extension on it"
            )));
        }
        let text = |n| query.text(n).ok_or_else(|| damaged("nuda_state"));
        let partition = query.blob(0).try_into();
        let state = Self {
            partition: PartitionId(partition.map_err(|_| damaged("nuda_state"))?),
            node: text(1)?,
            founder: text(2)?,
            is_ordered: query.int(3) != 0,
            site_id: query.int(4),
            identity: text(5)?,
            stamp: stamp_from(query.int(6))?,
        };
        query.reset();
        Ok(state)
    }
}

/// Reads the state row; an error with advice if the file is no replica.
pub(crate) fn state(db: Db) -> Result<State> {
    // Whether the file is a replica at all is asked once that is the question: this runs in every
    // commit.
    let read = db
        .prepare(State::QUERY)
        .and_then(|mut query| State::read(&mut query));
    match read {
        Ok(state) => Ok(state),
        Err(error) => match is_replica(db)? {
            true => Err(error),
            false => Err(Error::refused(
                "this file is not a replica yet; run SELECT nuda_init('name') or `nuda create`",
            )),
        },
    }
}

/// Whether the main database has NUDA's tables.
pub(crate) fn is_replica(db: Db) -> Result<bool> {
    let found = db.int(
        "SELECT count(*) FROM main.sqlite_schema WHERE name = 'nuda_state'",
        &[],
    )?;
    Ok(found == 1)
}

/// One incarnation, as this file knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SiteRow {
    pub(crate) id: i64,
    pub(crate) site: Site,
    pub(crate) applied: Seq,
    /// Of changeset `applied`.
    pub(crate) stamp: Stamp,
    pub(crate) stopped: bool,
}

/// What a changeset had seen, as the log stores it: pairs of `nuda_site.id` and number, ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen(pub(crate) Vec<u8>);

impl Seen {
    /// Adds an entry; ids ascend.
    fn push(&mut self, id: i64, seq: Seq) {
        nuda_core::codec::put_varint(&mut self.0, u64::try_from(id).unwrap_or(0));
        nuda_core::codec::put_varint(&mut self.0, seq);
    }

    fn next(reader: &mut nuda_core::codec::Reader<'_>) -> Result<Option<(i64, Seq)>> {
        if reader.is_empty() {
            return Ok(None);
        }
        let id = i64::try_from(reader.varint("a site's id")?).unwrap_or(0);
        Ok(Some((id, reader.varint("a sequence number")?)))
    }
}

/// All sites of this file: few, so they are read as a whole. Yet every incarnation that a
/// member ever had is one of them, and every commit reads them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sites {
    /// Ascending by `id`.
    rows: Vec<SiteRow>,
}

impl Sites {
    /// The query that [`Sites::read`] reads.
    pub(crate) const QUERY: &str =
        "SELECT id, site, applied, stamp, stopped IS NOT NULL FROM main.nuda_site ORDER BY id";

    pub(crate) fn load(db: Db) -> Result<Self> {
        Self::read(&mut db.prepare(Self::QUERY)?)
    }

    pub(crate) fn read(query: &mut Stmt) -> Result<Self> {
        query.bind(&[])?;
        let mut rows = Vec::new();
        while query.step()? {
            rows.push(SiteRow {
                id: query.int(0),
                site: site_from(query.int(1))?,
                applied: u64::try_from(query.int(2)).map_err(|_| damaged("nuda_site"))?,
                stamp: stamp_from(query.int(3))?,
                stopped: query.int(4) != 0,
            });
        }
        query.reset();
        Ok(Self { rows })
    }

    pub(crate) fn by_id(&self, id: i64) -> Option<&SiteRow> {
        let at = self.rows.binary_search_by_key(&id, |row| row.id).ok()?;
        self.rows.get(at)
    }

    pub(crate) fn by_site(&self, site: Site) -> Option<&SiteRow> {
        self.rows.iter().find(|row| row.site == site)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &SiteRow> {
        self.rows.iter()
    }

    /// Raises what is applied of a site, in this copy.
    pub(crate) fn set_applied(&mut self, id: i64, seq: Seq, stamp: Stamp) {
        if let Some(row) = self.rows.iter_mut().find(|row| row.id == id) {
            row.applied = seq;
            row.stamp = stamp;
        }
    }

    /// The greatest stamp of what was applied, or collected of the own site.
    pub(crate) fn latest(&self) -> Stamp {
        let stamps = self.rows.iter().map(|row| row.stamp);
        stamps.max().unwrap_or(Stamp::BASELINE)
    }

    /// The version vector; `own` is the own site's id and its latest number in the log.
    pub(crate) fn vector(&self, own: (i64, Seq)) -> VersionVector {
        self.rows
            .iter()
            .map(|row| (row.site, if row.id == own.0 { own.1 } else { row.applied }))
            .collect()
    }

    /// What the next changeset of site `own` has seen, and what of it rose since `before`. Every
    /// commit asks: one pass over both, since a file may have met a thousand sites.
    pub(crate) fn risen(&self, before: &Seen, own: i64) -> Result<(Seen, VersionVector)> {
        let mut reader = nuda_core::codec::Reader::new(&before.0);
        let mut known = Seen::next(&mut reader)?;
        let mut now = Seen(Vec::with_capacity(before.0.len() + 16));
        let mut rose = VersionVector::new();
        for row in &self.rows {
            let seen_before = match known {
                Some((id, seq)) if id == row.id => {
                    known = Seen::next(&mut reader)?;
                    seq
                }
                _ => 0,
            };
            if row.id == own || row.applied == 0 {
                continue;
            }
            now.push(row.id, row.applied);
            if row.applied > seen_before {
                rose.set(row.site, row.applied);
            }
        }
        // What is left names a site that is not there.
        known.map_or(Ok((now, rose)), |_| Err(damaged("nuda_log")))
    }

    /// The short form of a vector.
    pub(crate) fn encode_seen(&self, vector: &VersionVector) -> Vec<u8> {
        let mut seen = Seen(Vec::with_capacity(self.rows.len() * 4));
        for row in &self.rows {
            let seq = vector.get(row.site);
            if seq > 0 {
                seen.push(row.id, seq);
            }
        }
        seen.0
    }

    /// Reads what [`Sites::encode_seen`] wrote.
    pub(crate) fn decode_seen(&self, bytes: &[u8]) -> Result<VersionVector> {
        let mut reader = nuda_core::codec::Reader::new(bytes);
        let mut vector = VersionVector::new();
        while let Some((id, seq)) = Seen::next(&mut reader)? {
            vector.set(self.by_id(id).ok_or_else(|| damaged("nuda_log"))?.site, seq);
        }
        Ok(vector)
    }
}

/// Adds a site that this file has not met; answers its id.
pub(crate) fn add_site(db: Db, site: Site) -> Result<i64> {
    let next = db.int("SELECT coalesce(max(id), 0) + 1 FROM main.nuda_site", &[])?;
    if next >= i64::from(nuda_core::limits::SITES) {
        return Err(Error::refused(
            "this file has met too many site incarnations; re-seed it from a snapshot",
        ));
    }
    db.run(
        "INSERT INTO main.nuda_site(id, site, hash, seen) VALUES (?, ?, ?, x'')",
        &[
            Value::Int(next),
            Value::Int(site_to(site)),
            Value::Blob(&ChainHash::START.0),
        ],
    )?;
    Ok(next)
}

/// Where `nuda_protocol` names the sites under which this replica wrote earlier.
pub(crate) const OWN_SITES: &str = "own sites";

/// The same, of sites from before it was re-seeded.
pub(crate) const EARLIER_SITES: &str = "earlier sites";

/// Remembers that a site was this replica's, now that it goes on under another one.
pub(crate) fn note_own_site(db: Db, site_id: i64) -> Result<()> {
    db.run(
        "INSERT INTO main.nuda_protocol(key, value) \
         SELECT ?, printf('%016x', site) FROM main.nuda_site WHERE id = ? \
         ON CONFLICT DO UPDATE SET value = ltrim(value || ',' || excluded.value, ',')",
        &[Value::Text(OWN_SITES.as_bytes()), Value::Int(site_id)],
    )
}

/// A site as SQLite stores it.
#[allow(clippy::cast_possible_wrap)]
pub(crate) fn site_to(site: Site) -> i64 {
    site.get() as i64
}

/// A site as SQLite stores it.
#[allow(clippy::cast_sign_loss)]
pub(crate) fn site_from(raw: i64) -> Result<Site> {
    Site::from_u64(raw as u64).ok_or_else(|| damaged("nuda_site"))
}

/// A stamp as SQLite stores it.
pub(crate) fn stamp_from(raw: i64) -> Result<Stamp> {
    u64::try_from(raw)
        .ok()
        .and_then(Stamp::from_u64)
        .ok_or_else(|| damaged("a stamp"))
}

/// A stamp or number as SQLite stores it; both stay below 2^63.
pub(crate) fn to_i64(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// A chain hash from its column.
pub(crate) fn hash_from(bytes: &[u8]) -> Result<ChainHash> {
    bytes
        .try_into()
        .map(ChainHash)
        .map_err(|_| damaged("a chain hash"))
}

/// The bookkeeping contradicts itself.
#[cold]
#[inline(never)]
pub(crate) fn damaged(what: &str) -> Error {
    Error::corrupt(format!(
        "the bookkeeping in {what} is damaged; restore this replica from another node's snapshot"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sites with ids 1, 2, ... of which so many changesets are applied.
    fn sites(applied: &[Seq]) -> Sites {
        let rows = applied.iter().zip(1..).map(|(applied, id)| SiteRow {
            id,
            // In another order than the ids.
            site: Site::from_u64(1000 - u64::try_from(id).unwrap()).unwrap(),
            applied: *applied,
            stamp: Stamp::BASELINE,
            stopped: false,
        });
        Sites {
            rows: rows.collect(),
        }
    }

    #[test]
    fn what_rose_is_what_a_comparison_of_vectors_says() {
        let all = [0, 1, 200, 70_000];
        for n in 0..all.len().pow(4) {
            let digit = |place: u32| all[n / all.len().pow(place) % all.len()];
            let before = sites(&[digit(0), 7, digit(1)]);
            let now = sites(&[digit(2).max(digit(0)), 9, digit(3).max(digit(1)), digit(3)]);
            let (old, own) = (before.vector((2, 0)), 2);
            let mut vector = now.vector((own, 0));
            let (seen, rose) = now.risen(&Seen(before.encode_seen(&old)), own).unwrap();
            assert_eq!(seen.0, now.encode_seen(&vector), "{n}");
            vector = vector
                .iter()
                .filter(|(site, seq)| *seq > old.get(*site))
                .collect();
            assert_eq!(rose, vector, "{n}");
        }
    }

    #[test]
    fn a_site_that_is_not_there_is_damage() {
        let seen = Seen(sites(&[1, 1, 1]).encode_seen(&sites(&[1, 1, 1]).vector((0, 0))));
        assert!(sites(&[1, 1]).risen(&seen, 1).is_err());
        assert!(sites(&[1, 1, 1]).risen(&seen, 1).is_ok());
    }
}
