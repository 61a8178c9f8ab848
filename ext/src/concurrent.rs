//! Finding the changes that an incoming one was made without knowing.
//!
//! They are all in the log (see [`nuda_core::merge`]). An index in memory says which records
//! touch a row; it is built only when there is concurrency at all, extended as the log grows,
//! and checked against the log before use: a record it does not know the hash of makes it
//! start over. A match is decoded and compared key by key before anything is decided.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use nuda_core::changeset::Header;
use nuda_core::hlc::Stamp;
use nuda_core::merge::Event;
use nuda_core::row::{BodyReader, Change, Item, OwnedCell, RowChange, TableRef};
use nuda_core::site::{Dot, Seq, Site};
use nuda_core::sorted;
use nuda_core::value::{OwnedValue, Value};
use nuda_core::version_vector::VersionVector;

use crate::error::Result;
use crate::ffi::db::Db;
use crate::index::fingerprint;
use crate::log;
use crate::shadow::{Sites, damaged};
use crate::states::States;
use crate::told;

/// A row's table and key, as changes name it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RowName<'a> {
    pub(crate) table: u32,
    pub(crate) key: &'a [Value<'a>],
}

impl RowName<'_> {
    pub(crate) fn fingerprint(&self) -> u64 {
        row_fingerprint(self.table, self.key)
    }

    /// The name of one of its cells.
    pub(crate) fn cell(&self, column: usize) -> Vec<u8> {
        let mut name = self.table.to_be_bytes().to_vec();
        name.extend_from_slice(&u32::try_from(column).unwrap_or(u32::MAX).to_be_bytes());
        for value in self.key {
            value.canonical_key().encode(&mut name);
        }
        name
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

/// Where in the log a change of a row is.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// The log's key of the part.
    key: i64,
    /// Where in its body.
    offset: u32,
    /// The how-many-th change of the part it is, from 1.
    number: u32,
    /// Which of [`LogIndex::tables`] it belongs to.
    table: u32,
}

/// A part of the log that was read last: changes that are asked for lie beside each other.
#[derive(Debug)]
struct OpenPart {
    key: i64,
    body: Vec<u8>,
    dot: Dot,
    stamp: Stamp,
    seen: Rc<VersionVector>,
}

/// Parts kept open, each of a megabyte or two.
const OPEN_PARTS: usize = 4;

/// Which parts of the log touch which rows.
#[derive(Debug, Default)]
pub(crate) struct LogIndex {
    changes: HashMap<u64, Vec<Place>>,
    tables: Vec<TableRef>,
    open: VecDeque<OpenPart>,
    images: HashMap<u64, Vec<i64>>,
    /// For each site, the last record indexed and its hash.
    until: HashMap<i64, (i64, Vec<u8>)>,
    /// Changes of rows that were asked for, so that a row which everybody edits is not read
    /// from the log again for every edit.
    decoded: HashMap<u64, Decoded>,
    /// About how many bytes `decoded` holds; it starts over when they are too many.
    held: usize,
    /// What concurrent edits of texts and documents need to know.
    pub(crate) states: States,
}

/// The changes behind the first `places` entries of a fingerprint.
#[derive(Debug, Default)]
struct Decoded {
    places: usize,
    changes: Vec<NamedChange>,
}

impl Decoded {
    fn of<'d>(&'d self, row: RowName<'d>) -> impl Iterator<Item = &'d NamedChange> {
        self.changes.iter().filter(move |named| named.is_of(row))
    }
}

/// A change, and the row it belongs to: two rows may share a fingerprint.
#[derive(Debug)]
struct NamedChange {
    /// The how-many-th place of the fingerprint it is from.
    place: usize,
    table: u32,
    key: Vec<OwnedValue>,
    change: Rc<Found>,
}

impl NamedChange {
    fn is_of(&self, row: RowName<'_>) -> bool {
        let key: Vec<Value<'_>> = self.key.iter().map(OwnedValue::as_ref).collect();
        row.is(self.table, &key)
    }
}

/// Bytes of changes kept decoded, over all rows.
const DECODED: usize = 32 << 20;

/// A change found in the log, owned.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) dot: Dot,
    pub(crate) index: u64,
    pub(crate) stamp: Stamp,
    pub(crate) seen: Rc<VersionVector>,
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
    /// See [`Event::position`].
    fn position(&self) -> Seq {
        if self.dot.site == Site::LOG_STRONG {
            self.dot.seq
        } else {
            self.seen.get(Site::LOG_STRONG)
        }
    }

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
    /// Makes the index cover all of the log that is applied; `own` is the own site's id.
    pub(crate) fn refresh(&mut self, db: Db, sites: &Sites, own: i64) -> Result<()> {
        if !self.is_current(db)? {
            *self = Self::default();
        }
        for site in sites.iter() {
            let end = if site.id == own {
                log::key(site.id + 1, 0, 0)
            } else {
                log::key(site.id, site.applied + 1, 0)
            };
            self.extend(db, site.id, end)?;
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

    fn extend(&mut self, db: Db, site_id: i64, end: i64) -> Result<()> {
        let after = self
            .until
            .get(&site_id)
            .map_or(log::key(site_id, 0, 0), |(key, _)| *key);
        let mut query = db.prepare(&format!(
            "SELECT id, {}, images, hash FROM main.nuda_log l WHERE id > ? AND id < ? ORDER BY id",
            told::BODY
        ))?;
        query.bind(&[Value::Int(after), Value::Int(end)])?;
        while query.step()? {
            let key = query.int(0);
            self.index_changes(query.blob(1), key)?;
            index_images(query.blob(2), key, &mut self.images)?;
            if !query.blob(3).is_empty() {
                self.until.insert(site_id, (key, query.blob(3).to_vec()));
            }
        }
        Ok(())
    }

    /// What a merge of a row's change by `site` needs: all changes of the row by others that `seen`
    /// does not contain, and the strong ones that it saw and one of those did not.
    pub(crate) fn concurrent(
        &mut self,
        db: Db,
        sites: &Sites,
        row: RowName<'_>,
        site: Site,
        seen: &VersionVector,
    ) -> Result<Vec<Rc<Found>>> {
        let Some(decoded) = self.decode(db, sites, row)? else {
            return Ok(Vec::new());
        };
        let unseen = |found: &Found| found.dot.site != site && !seen.contains(found.dot);
        let of_row = || decoded.of(row).map(|named| &named.change);
        let mut found: Vec<Rc<Found>> = of_row().filter(|c| unseen(c)).cloned().collect();
        if let Some(known) = found.iter().map(|change| change.position()).min() {
            let is_needed = |change: &Found| {
                change.dot.site == Site::LOG_STRONG && change.dot.seq > known && !unseen(change)
            };
            found.extend(of_row().filter(|change| is_needed(change)).cloned());
        }
        sorted::by_key(&mut found, |change| (change.dot, change.index));
        Ok(found)
    }

    /// All changes of a row that are in the log.
    pub(crate) fn all(
        &mut self,
        db: Db,
        sites: &Sites,
        row: RowName<'_>,
    ) -> Result<Vec<Rc<Found>>> {
        let (mut found, _) = self.changes_from(db, sites, row, 0)?;
        sorted::by_key(&mut found, |change| (change.dot, change.index));
        Ok(found)
    }

    /// All changes of a row from its `first` place on, and how many places there are.
    pub(crate) fn changes_from(
        &mut self,
        db: Db,
        sites: &Sites,
        row: RowName<'_>,
        first: usize,
    ) -> Result<(Vec<Rc<Found>>, usize)> {
        let Some(decoded) = self.decode(db, sites, row)? else {
            return Ok((Vec::new(), 0));
        };
        let start = decoded.changes.partition_point(|named| named.place < first);
        let rest = decoded.changes.get(start..).unwrap_or_default();
        let of_row = rest.iter().filter(|named| named.is_of(row));
        let found = of_row.map(|named| Rc::clone(&named.change)).collect();
        Ok((found, decoded.places))
    }

    /// Reads what is in the log of the rows that share a fingerprint and was not read yet.
    fn decode(&mut self, db: Db, sites: &Sites, row: RowName<'_>) -> Result<Option<&Decoded>> {
        let fingerprint = row.fingerprint();
        let Some(places) = self.changes.get(&fingerprint) else {
            return Ok(None);
        };
        if self.held > DECODED {
            self.decoded.clear();
            self.held = 0;
        }
        let decoded = self.decoded.entry(fingerprint).or_default();
        for (number, place) in places.iter().enumerate().skip(decoded.places) {
            let Some(table) = self.tables.get(place.table as usize) else {
                continue;
            };
            if let Some(part) = open_part(&mut self.open, db, sites, place.key)?
                && let Some((mut named, bytes)) = part.change(place, *table)?
            {
                named.place = number;
                decoded.changes.push(named);
                self.held += bytes;
            }
        }
        decoded.places = places.len();
        Ok(Some(decoded))
    }

    /// Makes images known that were just stored.
    pub(crate) fn add_images(&mut self, key: i64, images: &[u8]) -> Result<()> {
        index_images(images, key, &mut self.images)
    }

    /// The log keys of images of a row.
    pub(crate) fn images(&self, row: RowName<'_>) -> Vec<i64> {
        self.images
            .get(&row.fingerprint())
            .cloned()
            .unwrap_or_default()
    }

    /// The log keys of a row's deletes that `stays` is true of.
    pub(crate) fn deletes(
        &mut self,
        db: Db,
        sites: &Sites,
        row: RowName<'_>,
        stays: impl Fn(i64) -> bool,
    ) -> Result<Vec<i64>> {
        let mut keys = Vec::new();
        let places = self.changes.get(&row.fingerprint());
        for place in places.into_iter().flatten().filter(|p| stays(p.key)) {
            let Some(table) = self.tables.get(place.table as usize) else {
                continue;
            };
            let Some(part) = open_part(&mut self.open, db, sites, place.key)? else {
                continue;
            };
            if let Some((named, _)) = part.change(place, *table)? {
                let is_delete = matches!(named.change.change, OwnedChange::Delete);
                if is_delete && named.is_of(row) {
                    keys.push(place.key);
                }
            }
        }
        Ok(keys)
    }

    fn index_changes(&mut self, body: &[u8], key: i64) -> Result<()> {
        let mut reader = BodyReader::new(body);
        let (mut table, mut number) = (0, 0);
        loop {
            let offset = body.len() - reader.left();
            let Some(item) = reader.next_item()? else {
                return Ok(());
            };
            match item {
                Item::Table(at) => {
                    let known = self.tables.iter().position(|known| *known == at);
                    let place = known.unwrap_or_else(|| {
                        self.tables.push(at);
                        self.tables.len() - 1
                    });
                    table = u32::try_from(place).unwrap_or(u32::MAX);
                }
                Item::Schema(_) => {}
                Item::Row(row) => {
                    number += 1;
                    let of = self.tables.get(table as usize).map_or(0, |t| t.number);
                    let fingerprint = row_fingerprint(of, &row.key);
                    self.changes.entry(fingerprint).or_default().push(Place {
                        key,
                        offset: u32::try_from(offset).unwrap_or(u32::MAX),
                        number,
                        table,
                    });
                }
            }
        }
    }
}

impl OpenPart {
    /// The change at `place`, with the row it belongs to; and about how many bytes it takes.
    fn change(&self, place: &Place, table: TableRef) -> Result<Option<(NamedChange, usize)>> {
        let mut reader = BodyReader::resume(&self.body, place.offset as usize, table);
        let before = reader.left();
        let Some(Item::Row(row)) = reader.next_item()? else {
            return Ok(None);
        };
        let bytes = before.saturating_sub(reader.left()) + size_of::<NamedChange>();
        let (_, _, part) = log::split(self.key);
        let named = NamedChange {
            place: 0,
            table: table.number,
            key: row.key.iter().map(|value| (*value).into()).collect(),
            change: Rc::new(Found {
                dot: self.dot,
                index: (u64::from(part) << 32) + u64::from(place.number),
                stamp: self.stamp,
                seen: Rc::clone(&self.seen),
                change: OwnedChange::own(&row.change),
            }),
        };
        Ok(Some((named, bytes)))
    }
}

/// The part of the log under `key`, read if it is not at hand. `None` if it was collected:
/// everything still to come has seen it.
fn open_part<'a>(
    open: &'a mut VecDeque<OpenPart>,
    db: Db,
    sites: &Sites,
    key: i64,
) -> Result<Option<&'a OpenPart>> {
    if let Some(at) = open.iter().position(|part| part.key == key) {
        return Ok(open.get(at));
    }
    let (site_id, seq, _) = log::split(key);
    let site = sites
        .by_id(site_id)
        .ok_or_else(|| damaged("nuda_log"))?
        .site;
    let Some((stamp, seen)) = read_header(db, sites, site_id, seq)? else {
        return Ok(None);
    };
    let mut query = db.prepare(&format!(
        "SELECT {} FROM main.nuda_log l WHERE id = ?",
        told::BODY
    ))?;
    query.bind(&[Value::Int(key)])?;
    if !query.step()? {
        return Ok(None);
    }
    if open.len() >= OPEN_PARTS {
        open.pop_front();
    }
    open.push_back(OpenPart {
        key,
        body: query.blob(0).to_vec(),
        dot: Dot { site, seq },
        stamp,
        seen: Rc::new(seen),
    });
    Ok(open.back())
}

fn index_images(body: &[u8], key: i64, into: &mut HashMap<u64, Vec<i64>>) -> Result<()> {
    for_each_row(body, |table, row| {
        let keys = into.entry(row_fingerprint(table, &row.key)).or_default();
        if keys.last() != Some(&key) {
            keys.push(key);
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
    let mut query = db.prepare(&format!(
        "SELECT {}, seen FROM main.nuda_log l WHERE id = ?",
        told::HEADER
    ))?;
    query.bind(&[Value::Int(log::key(site_id, seq, 0))])?;
    if !query.step()? {
        return Ok(None);
    }
    let header = Header::decode(query.blob(0))?;
    Ok(Some((header.stamp, sites.decode_seen(query.blob(1))?)))
}
