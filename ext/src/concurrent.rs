//! Finding the changes that an incoming one was made without knowing.
//!
//! They are all in the log (see [`nuda_core::merge`]). An index in memory says which records
//! touch a row; it is built only when there is concurrency at all, extended as the log grows,
//! and checked against the log before use: a record it does not know the hash of makes it
//! start over. A match is decoded and compared key by key before anything is decided.

use std::collections::HashMap;
use std::rc::Rc;

use nuda_core::changeset::Header;
use nuda_core::hlc::Stamp;
use nuda_core::merge::Event;
use nuda_core::row::{BodyReader, Change, Item, OwnedCell, RowChange};
use nuda_core::site::{Dot, Seq, Site};
use nuda_core::value::{OwnedValue, Value};
use nuda_core::version_vector::VersionVector;

use crate::error::Result;
use crate::ffi::db::Db;
use crate::index::fingerprint;
use crate::log;
use crate::shadow::{Sites, damaged};

/// A row's table and key, as changes name it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RowName<'a> {
    pub(crate) table: u32,
    pub(crate) key: &'a [Value<'a>],
}

impl RowName<'_> {
    fn fingerprint(&self) -> u64 {
        row_fingerprint(self.table, self.key)
    }

    pub(crate) fn is(&self, table: u32, key: &[Value<'_>]) -> bool {
        self.table == table
            && self.key.len() == key.len()
            && self
                .key
                .iter()
                .zip(key)
                .all(|(a, b)| a.canonical_key() == b.canonical_key())
    }
}

/// A row's fingerprint by its table's number and its key.
pub(crate) fn row_fingerprint(table: u32, key: &[Value<'_>]) -> u64 {
    let mut bytes = Vec::with_capacity(64);
    for value in key {
        value.canonical_key().encode(&mut bytes);
    }
    fingerprint(table, &bytes)
}

/// Which parts of the log touch which rows.
#[derive(Debug, Default)]
pub(crate) struct LogIndex {
    changes: HashMap<u64, Vec<i64>>,
    images: HashMap<u64, Vec<i64>>,
    /// For each site, the last record indexed and its hash.
    until: HashMap<i64, (i64, Vec<u8>)>,
    /// Changes of rows that were asked for, so that a row which everybody edits is not read
    /// from the log again for every edit.
    decoded: HashMap<u64, Decoded>,
    /// How many changes `decoded` holds; it starts over when they are too many.
    held: usize,
}

/// The changes behind the first `keys` entries of a fingerprint.
#[derive(Debug, Default)]
struct Decoded {
    keys: usize,
    changes: Vec<NamedChange>,
}

/// A change, and the row it belongs to: two rows may share a fingerprint.
#[derive(Debug)]
struct NamedChange {
    table: u32,
    key: Vec<OwnedValue>,
    change: Rc<Found>,
}

/// Changes kept decoded, over all rows.
const DECODED: usize = 100_000;

/// A change found in the log, owned.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) dot: Dot,
    pub(crate) index: u64,
    pub(crate) stamp: Stamp,
    pub(crate) seen: VersionVector,
    change: OwnedChange,
}

#[derive(Debug, Clone)]
enum OwnedChange {
    Insert(Vec<OwnedCell>),
    Update(Vec<(usize, OwnedCell)>),
    Delete,
}

impl OwnedChange {
    fn own(change: &Change<'_>) -> Self {
        match change {
            Change::Insert(cells) => {
                Self::Insert(cells.iter().copied().map(OwnedCell::from).collect())
            }
            Change::Update(cells) => Self::Update(
                cells
                    .iter()
                    .map(|(n, cell)| (*n, OwnedCell::from(*cell)))
                    .collect(),
            ),
            Change::Delete => Self::Delete,
        }
    }
}

impl Found {
    /// As the merge wants it.
    pub(crate) fn event(&self) -> Event<'_> {
        let change = match &self.change {
            OwnedChange::Insert(cells) => {
                Change::Insert(cells.iter().map(OwnedCell::as_ref).collect())
            }
            OwnedChange::Update(cells) => {
                Change::Update(cells.iter().map(|(n, cell)| (*n, cell.as_ref())).collect())
            }
            OwnedChange::Delete => Change::Delete,
        };
        Event {
            dot: self.dot,
            index: self.index,
            stamp: self.stamp,
            seen: &self.seen,
            change,
        }
    }
}

impl LogIndex {
    /// Makes the index cover the whole log.
    pub(crate) fn refresh(&mut self, db: Db, sites: &Sites) -> Result<()> {
        if !self.is_current(db)? {
            *self = Self::default();
        }
        for site in sites.iter() {
            self.extend(db, site.id)?;
        }
        Ok(())
    }

    fn is_current(&self, db: Db) -> Result<bool> {
        for (key, hash) in self.until.values() {
            let row = db.first(
                "SELECT hash FROM main.nuda_log WHERE id = ?",
                &[Value::Int(*key)],
            )?;
            match row.as_deref() {
                Some([OwnedValue::Blob(found)]) if found == hash => {}
                _ => return Ok(false),
            }
        }
        Ok(true)
    }

    fn extend(&mut self, db: Db, site_id: i64) -> Result<()> {
        let after = self
            .until
            .get(&site_id)
            .map_or(log::key(site_id, 0, 0), |(key, _)| *key);
        let mut query = db.prepare(
            "SELECT id, body, images, hash FROM main.nuda_log WHERE id > ? AND id < ? ORDER BY id",
        )?;
        query.bind(&[Value::Int(after), Value::Int(log::key(site_id + 1, 0, 0))])?;
        while query.step()? {
            let key = query.int(0);
            index_rows(query.blob(1), key, &mut self.changes)?;
            index_rows(query.blob(2), key, &mut self.images)?;
            if !query.blob(3).is_empty() {
                self.until.insert(site_id, (key, query.blob(3).to_vec()));
            }
        }
        Ok(())
    }

    /// All changes of a row by others than `site`, that `seen` does not contain, in the order
    /// of the log within each site.
    pub(crate) fn concurrent(
        &mut self,
        db: Db,
        sites: &Sites,
        row: RowName<'_>,
        site: Site,
        seen: &VersionVector,
    ) -> Result<Vec<Rc<Found>>> {
        let fingerprint = row.fingerprint();
        let Some(keys) = self.changes.get(&fingerprint) else {
            return Ok(Vec::new());
        };
        if self.held > DECODED {
            self.decoded.clear();
            self.held = 0;
        }
        let decoded = self.decoded.entry(fingerprint).or_default();
        let before = decoded.changes.len();
        for key in keys.iter().skip(decoded.keys) {
            read_changes(db, sites, *key, fingerprint, &mut decoded.changes)?;
        }
        decoded.keys = keys.len();
        self.held += decoded.changes.len() - before;
        let mut found: Vec<Rc<Found>> = decoded
            .changes
            .iter()
            .filter(|named| {
                let dot = named.change.dot;
                dot.site != site && dot.seq > seen.get(dot.site)
            })
            .filter(|named| {
                let key: Vec<Value<'_>> = named.key.iter().map(OwnedValue::as_ref).collect();
                row.is(named.table, &key)
            })
            .map(|named| Rc::clone(&named.change))
            .collect();
        found.sort_by_key(|change| (change.dot, change.index));
        Ok(found)
    }

    /// The log keys of images of a row.
    pub(crate) fn images(&self, row: RowName<'_>) -> Vec<i64> {
        self.images
            .get(&row.fingerprint())
            .cloned()
            .unwrap_or_default()
    }

    /// The log keys of changes of a row.
    pub(crate) fn changes(&self, row: RowName<'_>) -> Vec<i64> {
        self.changes
            .get(&row.fingerprint())
            .cloned()
            .unwrap_or_default()
    }
}

fn index_rows(body: &[u8], key: i64, into: &mut HashMap<u64, Vec<i64>>) -> Result<()> {
    let mut reader = BodyReader::new(body);
    let mut table = 0;
    while let Some(item) = reader.next_item()? {
        match item {
            Item::Table(at) => table = at.number,
            Item::Schema(_) => {}
            Item::Row(row) => {
                let keys = into.entry(row_fingerprint(table, &row.key)).or_default();
                if keys.last() != Some(&key) {
                    keys.push(key);
                }
            }
        }
    }
    Ok(())
}

/// Reads the changes of rows with this fingerprint from one part of a record.
fn read_changes(
    db: Db,
    sites: &Sites,
    key: i64,
    fingerprint: u64,
    into: &mut Vec<NamedChange>,
) -> Result<()> {
    let (site_id, seq, part) = log::split(key);
    let site = sites
        .by_id(site_id)
        .ok_or_else(|| damaged("nuda_log"))?
        .site;
    // A record that is gone was collected: everything still to come has seen it.
    let Some((stamp, seen)) = read_header(db, sites, site_id, seq)? else {
        return Ok(());
    };
    let mut query = db.prepare("SELECT body FROM main.nuda_log WHERE id = ?")?;
    query.bind(&[Value::Int(key)])?;
    if !query.step()? {
        return Ok(());
    }
    let mut place = u64::from(part) << 32;
    for_each_row(query.blob(0), |table, change| {
        place += 1;
        if row_fingerprint(table, &change.key) == fingerprint {
            into.push(NamedChange {
                table,
                key: change.key.iter().map(|value| (*value).into()).collect(),
                change: Rc::new(Found {
                    dot: Dot { site, seq },
                    index: place,
                    stamp,
                    seen: seen.clone(),
                    change: OwnedChange::own(&change.change),
                }),
            });
        }
    })
}

/// Calls `each` for every row change of a body, with its table's number.
pub(crate) fn for_each_row(body: &[u8], mut each: impl FnMut(u32, &RowChange<'_>)) -> Result<()> {
    let mut reader = BodyReader::new(body);
    let mut table = 0;
    while let Some(item) = reader.next_item()? {
        match item {
            Item::Table(at) => table = at.number,
            Item::Schema(_) => {}
            Item::Row(change) => each(table, &change),
        }
    }
    Ok(())
}

/// Stamp of a record and what it had seen; `None` if it was collected.
pub(crate) fn read_header(
    db: Db,
    sites: &Sites,
    site_id: i64,
    seq: Seq,
) -> Result<Option<(Stamp, VersionVector)>> {
    let mut query = db.prepare("SELECT header, seen FROM main.nuda_log WHERE id = ?")?;
    query.bind(&[Value::Int(log::key(site_id, seq, 0))])?;
    if !query.step()? {
        return Ok(None);
    }
    let header = Header::decode(query.blob(0))?;
    Ok(Some((header.stamp, sites.decode_seen(query.blob(1))?)))
}
