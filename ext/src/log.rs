//! The log: one record per transaction, in parts, keyed by site, number and part.
//!
//! The key makes every question about a site's history a range of the table, without an
//! index. The applied records of a site are contiguous: collected from the front, appended at
//! the end. Beyond them, of foreign sites only, lies what waits (see [`crate::waiting`]).

use nuda_core::changeset::{ChainHash, Header, Part};
use nuda_core::hlc::Stamp;
use nuda_core::limits;
use nuda_core::site::Seq;
use nuda_core::value::{OwnedValue, Value};

use crate::error::{Error, Result};
use crate::ffi::db::{Db, Stmt};
use crate::shadow::{Seen, damaged, hash_from, stamp_from};
use crate::told;

pub(crate) const PART_BITS: u32 = limits::PARTS.trailing_zeros();
const SITE_SHIFT: u32 = limits::SEQ.trailing_zeros() + PART_BITS;

/// The log's key. The limits keep it below 2^63.
pub(crate) fn key(site_id: i64, seq: Seq, part: u32) -> i64 {
    (site_id << SITE_SHIFT) | (crate::shadow::to_i64(seq) << PART_BITS) | i64::from(part)
}

/// The parts of a key.
pub(crate) fn split(key: i64) -> (i64, Seq, u32) {
    let seq = (key >> PART_BITS) & (crate::shadow::to_i64(limits::SEQ) - 1);
    let part = key & (i64::from(limits::PARTS) - 1);
    (
        key >> SITE_SHIFT,
        u64::try_from(seq).unwrap_or(0),
        u32::try_from(part).unwrap_or(0),
    )
}

/// The latest changeset of a site, as a place to continue from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    /// Whether its record is in the log.
    pub(crate) is_in_log: bool,
    /// How many records before it the one lies by which it is told; 0: it is whole.
    pub(crate) told_by: Seq,
    pub(crate) seq: Seq,
    pub(crate) stamp: Stamp,
    pub(crate) seen: Seen,
    pub(crate) hash: ChainHash,
}

/// Adds a part of an own record.
pub(crate) const INSERT: &str = "INSERT INTO main.nuda_log(id, header, previous, seen, body, hash, images) \
     VALUES (?, ?, ?, ?, ?, ?, ?)";

/// The chain hash before a record, where its row is called `l`. The writer's own records do not
/// repeat it while their predecessor, the row before them, is in the log.
pub(crate) const PREVIOUS: &str = "CASE typeof(l.previous) WHEN 'blob' THEN l.previous ELSE \
     (SELECT p.hash FROM main.nuda_log p WHERE p.id < l.id ORDER BY p.id DESC LIMIT 1) END";

/// Stores a part of a foreign changeset. `seen` is what the changeset had seen, nothing as long
/// as it waits; `images` the rows that this part's deletes hid.
pub(crate) fn insert(
    db: Db,
    key: i64,
    part: &Part<'_>,
    seen: Option<&[u8]>,
    images: &[u8],
) -> Result<()> {
    let (previous, header) = match &part.first {
        Some((previous, header)) => (Value::Blob(&previous.0), Value::Blob(header)),
        None => (Value::Null, Value::Null),
    };
    let seen = seen.filter(|_| part.first.is_some());
    let images = Some(images).filter(|images| !images.is_empty());
    db.run(
        "INSERT OR REPLACE INTO main.nuda_log(id, header, previous, seen, body, hash, images) \
         VALUES (?, ?, ?, ?, ?, ?, ?)",
        &[
            Value::Int(key),
            header,
            previous,
            seen.map_or(Value::Null, Value::Blob),
            Value::Blob(part.body),
            part.last
                .as_ref()
                .map_or(Value::Null, |h| Value::Blob(&h.0)),
            images.map_or(Value::Null, Value::Blob),
        ],
    )
}

/// Completes a part that waited and is applied now.
pub(crate) fn complete(db: Db, key: i64, first: bool, seen: &[u8], images: &[u8]) -> Result<()> {
    if first {
        db.run(
            "UPDATE main.nuda_log SET seen = ? WHERE id = ?",
            &[Value::Blob(seen), Value::Int(key)],
        )?;
    }
    if images.is_empty() {
        return Ok(());
    }
    db.run(
        "UPDATE main.nuda_log SET images = ? WHERE id = ?",
        &[Value::Blob(images), Value::Int(key)],
    )
}

/// The query that [`head`] runs; parameters: two keys that enclose the site.
pub(crate) const LAST_RECORD: &str = "SELECT id, header, seen, hash, previous FROM main.nuda_log WHERE id BETWEEN ? AND ? \
     ORDER BY id DESC LIMIT 1";

/// The latest changeset of `site_id`: the last record of the log, or what collection left in
/// the site table.
pub(crate) fn head(db: Db, last_record: &mut Stmt, site_id: i64) -> Result<Head> {
    head_after(db, last_record, site_id, None)
}

/// The same, where the stamp of the record with a hash is remembered.
pub(crate) fn head_after(
    db: Db,
    last_record: &mut Stmt,
    site_id: i64,
    remembered: Option<(ChainHash, Stamp)>,
) -> Result<Head> {
    let bounds = [
        Value::Int(key(site_id, 0, 0)),
        Value::Int(key(site_id + 1, 0, 0) - 1),
    ];
    last_record.bind(&bounds)?;
    if !last_record.step()? {
        last_record.reset();
        return collected_head(db, site_id);
    }
    let (_, seq, part) = split(last_record.int(0));
    let hash = hash_from(last_record.blob(3))?;
    let told_by = u64::try_from(last_record.int(4)).unwrap_or(0);
    let head = if part == 0 {
        let stamp = match remembered {
            Some((of, stamp)) if of == hash => stamp,
            _ if told_by == 0 => Header::decode(last_record.blob(1))?.stamp,
            _ => stamp_of(db, site_id, seq)?,
        };
        let seen = Seen(last_record.blob(2).to_vec());
        Head {
            is_in_log: true,
            told_by,
            seq,
            stamp,
            seen,
            hash,
        }
    } else {
        let first = db.first(
            &format!(
                "SELECT {}, seen FROM main.nuda_log l WHERE id = ?",
                told::HEADER
            ),
            &[Value::Int(key(site_id, seq, 0))],
        )?;
        let Some([header, seen]) = first.as_deref() else {
            return Err(damaged("nuda_log"));
        };
        let (Value::Blob(header), Value::Blob(seen)) = (header.as_ref(), seen.as_ref()) else {
            return Err(damaged("nuda_log"));
        };
        let stamp = Header::decode(header)?.stamp;
        Head {
            is_in_log: true,
            told_by: 0,
            seq,
            stamp,
            seen: Seen(seen.to_vec()),
            hash,
        }
    };
    last_record.reset();
    Ok(head)
}

/// What the site table knows of a site's latest changeset.
pub(crate) fn collected_head(db: Db, site_id: i64) -> Result<Head> {
    let mut query =
        db.prepare("SELECT applied, stamp, seen, hash FROM main.nuda_site WHERE id = ?")?;
    query.bind(&[Value::Int(site_id)])?;
    if !query.step()? {
        return Err(damaged("nuda_site"));
    }
    Ok(Head {
        is_in_log: false,
        told_by: 0,
        seq: u64::try_from(query.int(0)).map_err(|_| damaged("nuda_site"))?,
        stamp: stamp_from(query.int(1))?,
        seen: Seen(query.blob(2).to_vec()),
        hash: hash_from(query.blob(3))?,
    })
}

/// The stamp of changeset `seq` of `site_id`, which is in the log, or was collected the last.
pub(crate) fn stamp_of(db: Db, site_id: i64, seq: Seq) -> Result<Stamp> {
    let first = db.first(
        &format!("SELECT {} FROM main.nuda_log l WHERE id = ?", told::HEADER),
        &[Value::Int(key(site_id, seq, 0))],
    )?;
    match first.as_deref() {
        None => Ok(collected_head(db, site_id)?.stamp),
        Some([OwnedValue::Blob(header)]) => Ok(Header::decode(header)?.stamp),
        Some(_) => Err(damaged("nuda_log")),
    }
}

/// The next number of a site.
pub(crate) fn next_seq(seq: Seq) -> Result<Seq> {
    let next = seq + 1;
    if next >= limits::SEQ {
        return Err(Error::refused(
            "this site has used up its sequence numbers; re-seed the file",
        ));
    }
    Ok(next)
}
