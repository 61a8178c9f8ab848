//! Changesets that are here and not applied yet: ahead of their predecessor, of what they had
//! seen, of the local schema, or still incomplete.
//!
//! Their parts lie in `nuda_log` under the keys that they will keep, so that a large changeset
//! is written once and read back part by part. A foreign site's records beyond what is applied
//! of it are exactly what waits: whoever reads the log of a foreign site stops there.
//! `nuda_waiting` says why each one waits, and what those had seen that are whole.
//!
//! A changeset is *stored* when it is whole, as its hash says, and follows what is stored of its site
//! without a gap. Then it need not be sent again, and is handed on to whoever lacks it, which may be
//! able to apply it, or may become so when its author's node is gone.

use std::borrow::Cow;

use nuda_core::changeset::{ChainHash, ChainHasher, Header, Part};
use nuda_core::site::Seq;
use nuda_core::value::{OwnedValue, Value};
use nuda_core::version_vector::VersionVector;

use crate::error::Result;
use crate::ffi::db::Db;
use crate::log;
use crate::shadow::{Sites, damaged, hash_from, to_i64};

/// Where the body of a changeset is.
pub(crate) enum Content<'a> {
    /// In the only part, which has just arrived.
    Arrived(&'a Part<'a>),
    /// In the log.
    Waiting,
}

/// A changeset of which every part is here.
pub(crate) struct Whole<'a> {
    pub(crate) header: Header,
    pub(crate) previous: ChainHash,
    pub(crate) hash: ChainHash,
    /// Whether header and body are what `hash` says.
    pub(crate) is_sound: bool,
    pub(crate) parts: u32,
    pub(crate) content: Content<'a>,
}

impl<'a> Whole<'a> {
    /// A changeset of one part; `None` if there are more.
    pub(crate) fn arrived(part: &'a Part<'a>) -> Result<Option<Self>> {
        let (Some((previous, header)), Some(hash)) = (part.first, part.last) else {
            return Ok(None);
        };
        let mut hasher = ChainHasher::new(previous, header);
        hasher.update(part.body);
        Ok(Some(Self {
            header: Header::decode(header)?,
            previous,
            hash,
            is_sound: hasher.finish() == hash,
            parts: 1,
            content: Content::Arrived(part),
        }))
    }

    /// The body of part `number`; `site_id` is its site's.
    pub(crate) fn body(&self, db: Db, site_id: i64, number: u32) -> Result<Cow<'a, [u8]>> {
        match self.content {
            Content::Arrived(part) => Ok(Cow::Borrowed(part.body)),
            Content::Waiting => {
                let key = log::key(site_id, self.header.dot.seq, number);
                let mut query = db.prepare("SELECT body FROM main.nuda_log WHERE id = ?")?;
                query.bind(&[Value::Int(key)])?;
                if !query.step()? {
                    return Err(damaged("nuda_log"));
                }
                Ok(Cow::Owned(query.blob(0).to_vec()))
            }
        }
    }
}

/// Keeps a part until its changeset can be applied. A part that was kept before is replaced: if
/// the two differ, one of them will not match the hash.
pub(crate) fn keep(db: Db, site_id: i64, part: &Part<'_>, why: &str) -> Result<()> {
    let key = log::key(site_id, part.dot.seq, part.part);
    log::insert(db, key, part, None, &[])?;
    if part.last.is_some() {
        // What another variant had beyond this end.
        db.run(
            "DELETE FROM main.nuda_log WHERE id > ? AND id < ?",
            &[
                Value::Int(key),
                Value::Int(log::key(site_id, part.dot.seq + 1, 0)),
            ],
        )?;
    }
    note(db, site_id, part.dot.seq, why)
}

/// Notes why a changeset waits.
pub(crate) fn note(db: Db, site_id: i64, seq: Seq, why: &str) -> Result<()> {
    db.run(
        "INSERT INTO main.nuda_waiting(site, seq, reason) VALUES (?1, ?2, ?3) \
         ON CONFLICT DO UPDATE SET reason = ?3 WHERE reason <> ?3",
        &[
            Value::Int(site_id),
            Value::Int(to_i64(seq)),
            Value::Text(why.as_bytes()),
        ],
    )
}

/// Whether a later part of the same changeset came before this one.
pub(crate) fn has_later_part(db: Db, site_id: i64, part: &Part<'_>) -> Result<bool> {
    let found = db.int(
        "SELECT EXISTS (SELECT 1 FROM main.nuda_log WHERE id > ? AND id < ?)",
        &[
            Value::Int(log::key(site_id, part.dot.seq, part.part)),
            Value::Int(log::key(site_id, part.dot.seq + 1, 0)),
        ],
    )?;
    Ok(found != 0)
}

/// The ids of sites of which something waits.
pub(crate) fn sites(db: Db) -> Result<Vec<i64>> {
    let rows = db.all("SELECT DISTINCT site FROM main.nuda_waiting", &[])?;
    Ok(rows
        .iter()
        .filter_map(|row| match row.as_slice() {
            [OwnedValue::Int(site_id)] => Some(*site_id),
            _ => None,
        })
        .collect())
}

/// Notes that a waiting changeset is stored, with what it had seen.
pub(crate) fn mark(db: Db, site_id: i64, seq: Seq, seen: &VersionVector) -> Result<()> {
    db.run(
        "UPDATE main.nuda_waiting SET seen = ? WHERE site = ? AND seq = ?",
        &[
            Value::Text(seen.to_string().as_bytes()),
            Value::Int(site_id),
            Value::Int(to_i64(seq)),
        ],
    )
}

/// It cannot be applied as it is, for this reason: it does not count as stored, so that whoever has
/// another one sends it.
pub(crate) fn refuse(db: Db, site_id: i64, seq: Seq, why: &str) -> Result<()> {
    note(db, site_id, seq, why)?;
    db.run(
        "UPDATE main.nuda_waiting SET seen = x'' WHERE site = ? AND seq = ?",
        &[Value::Int(site_id), Value::Int(to_i64(seq))],
    )
}

/// Whether that was found.
pub(crate) fn is_refused(db: Db, site_id: i64, seq: Seq) -> Result<bool> {
    let found = db.int(
        "SELECT EXISTS (SELECT 1 FROM main.nuda_waiting WHERE site = ? AND seq = ? AND seen = x'')",
        &[Value::Int(site_id), Value::Int(to_i64(seq))],
    )?;
    Ok(found != 0)
}

/// What a stored changeset had seen; `None` if it is not stored.
pub(crate) fn seen(db: Db, site_id: i64, seq: Seq) -> Result<Option<VersionVector>> {
    let row = db.first(
        "SELECT seen FROM main.nuda_waiting WHERE site = ? AND seq = ?",
        &[Value::Int(site_id), Value::Int(to_i64(seq))],
    )?;
    match row.as_deref() {
        Some([OwnedValue::Text(text)]) => VersionVector::parse(&String::from_utf8_lossy(text))
            .map(Some)
            .ok_or_else(|| damaged("nuda_waiting")),
        _ => Ok(None),
    }
}

/// Drops what came of changesets that are not stored.
pub(crate) fn drop_unstored(db: Db) -> Result<()> {
    for site_id in sites(db)? {
        let sites = Sites::load(db)?;
        let row = sites.by_id(site_id).ok_or_else(|| damaged("nuda_site"))?;
        drop_from(db, site_id, end(db, site_id, row.applied)? + 1)?;
    }
    Ok(())
}

/// The chain hash of a stored changeset, and what it had seen.
pub(crate) fn stored(db: Db, site_id: i64, seq: Seq) -> Result<(ChainHash, VersionVector)> {
    let row = db.first(
        "SELECT hash FROM main.nuda_log WHERE id BETWEEN ? AND ? AND hash IS NOT NULL",
        &[
            Value::Int(log::key(site_id, seq, 0)),
            Value::Int(log::key(site_id, seq + 1, 0) - 1),
        ],
    )?;
    match (row.as_deref(), seen(db, site_id, seq)?) {
        (Some([OwnedValue::Blob(hash)]), Some(seen)) => Ok((hash_from(hash)?, seen)),
        _ => Err(damaged("nuda_log")),
    }
}

/// Why a changeset waits.
pub(crate) fn reason(db: Db, site_id: i64, seq: Seq) -> Result<String> {
    let text = db.first(
        "SELECT reason FROM main.nuda_waiting WHERE site = ? AND seq = ?",
        &[Value::Int(site_id), Value::Int(to_i64(seq))],
    )?;
    match text.as_deref() {
        Some([OwnedValue::Text(text)]) => Ok(String::from_utf8_lossy(text).into_owned()),
        _ => Err(damaged("nuda_waiting")),
    }
}

/// The last changeset of a site that is stored, or applied. They are marked in order and without
/// gaps, so the last one that is marked says it, unless the first one has been found wrong.
pub(crate) fn end(db: Db, site_id: i64, applied: Seq) -> Result<Seq> {
    if seen(db, site_id, applied + 1)?.is_none() {
        return Ok(applied);
    }
    let last = db.int(
        "SELECT seq FROM main.nuda_waiting WHERE site = ? AND typeof(seen) = 'text' \
         ORDER BY seq DESC LIMIT 1",
        &[Value::Int(site_id)],
    )?;
    u64::try_from(last).map_err(|_| damaged("nuda_waiting"))
}

/// Up to where changesets are stored beyond what is applied, of each site of which some are.
pub(crate) fn vector(db: Db) -> Result<VersionVector> {
    let ids = sites(db)?;
    let mut vector = VersionVector::new();
    if ids.is_empty() {
        return Ok(vector);
    }
    let sites = Sites::load(db)?;
    for id in ids {
        let row = sites.by_id(id).ok_or_else(|| damaged("nuda_site"))?;
        let end = end(db, id, row.applied)?;
        if end > row.applied && !row.stopped {
            vector.set(row.site, end);
        }
    }
    Ok(vector)
}

/// The next changeset of a site, if it waits and all its parts are here.
pub(crate) fn next_whole(db: Db, sites: &Sites, site_id: i64) -> Result<Option<Whole<'static>>> {
    let row = sites.by_id(site_id).ok_or_else(|| damaged("nuda_site"))?;
    whole(db, site_id, row.applied + 1)
}

/// A changeset that waits, if all its parts are here.
pub(crate) fn whole(db: Db, site_id: i64, next: Seq) -> Result<Option<Whole<'static>>> {
    let mut query = db.prepare(
        "SELECT id, header, previous, body, hash FROM main.nuda_log WHERE id BETWEEN ? AND ? \
         ORDER BY id",
    )?;
    query.bind(&[
        Value::Int(log::key(site_id, next, 0)),
        Value::Int(log::key(site_id, next + 1, 0) - 1),
    ])?;
    let mut begun: Option<(Header, ChainHash, ChainHasher)> = None;
    let mut parts = 0;
    while query.step()? {
        if query.int(0) != log::key(site_id, next, parts) {
            return Ok(None);
        }
        if parts == 0 {
            let previous = hash_from(query.blob(2))?;
            let hasher = ChainHasher::new(previous, query.blob(1));
            begun = Some((Header::decode(query.blob(1))?, previous, hasher));
        }
        parts += 1;
        let Some((_, _, hasher)) = &mut begun else {
            return Ok(None);
        };
        hasher.update(query.blob(3));
        if query.value(4) == Value::Null {
            continue;
        }
        let hash = hash_from(query.blob(4))?;
        return Ok(begun.map(|(header, previous, hasher)| Whole {
            header,
            previous,
            hash,
            is_sound: hasher.finish() == hash,
            parts,
            content: Content::Waiting,
        }));
    }
    Ok(None)
}

/// A changeset does not wait any more: it was applied.
pub(crate) fn forget(db: Db, site_id: i64, seq: Seq) -> Result<()> {
    db.run(
        "DELETE FROM main.nuda_waiting WHERE site = ? AND seq <= ?",
        &[Value::Int(site_id), Value::Int(to_i64(seq))],
    )
}

/// Drops a changeset that can never be applied, and what follows it.
pub(crate) fn drop_from(db: Db, site_id: i64, seq: Seq) -> Result<()> {
    db.run(
        "DELETE FROM main.nuda_waiting WHERE site = ? AND seq >= ?",
        &[Value::Int(site_id), Value::Int(to_i64(seq))],
    )?;
    db.run(
        "DELETE FROM main.nuda_log WHERE id BETWEEN ? AND ?",
        &[
            Value::Int(log::key(site_id, seq, 0)),
            Value::Int(log::key(site_id + 1, 0, 0) - 1),
        ],
    )
}

/// Drops what is kept of a changeset that is not applied, if anything is.
pub(crate) fn drop_changeset(db: Db, site_id: i64, seq: Seq) -> Result<()> {
    db.run(
        "DELETE FROM main.nuda_waiting WHERE site = ? AND seq = ?",
        &[Value::Int(site_id), Value::Int(to_i64(seq))],
    )?;
    if db.changes() == 0 {
        return Ok(());
    }
    db.run(
        "DELETE FROM main.nuda_log WHERE id BETWEEN ? AND ?",
        &[
            Value::Int(log::key(site_id, seq, 0)),
            Value::Int(log::key(site_id, seq + 1, 0) - 1),
        ],
    )
}
