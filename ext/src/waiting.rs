//! Changesets that are here and not applied yet: ahead of their predecessor, of what they had
//! seen, of the local schema, or still incomplete.
//!
//! Their parts lie in `nuda_log` under the keys that they will keep, so that a large changeset
//! is written once and read back part by part. A foreign site's records beyond what is applied
//! of it are exactly what waits: whoever reads the log of a foreign site stops there.
//! `nuda_waiting` says why each one waits.

use std::borrow::Cow;

use nuda_core::changeset::{ChainHash, ChainHasher, Header, Part};
use nuda_core::site::Seq;
use nuda_core::value::{OwnedValue, Value};

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

/// The next changeset of a site, if it waits and all its parts are here.
pub(crate) fn next_whole(db: Db, sites: &Sites, site_id: i64) -> Result<Option<Whole<'static>>> {
    let next = sites
        .by_id(site_id)
        .ok_or_else(|| damaged("nuda_site"))?
        .applied
        + 1;
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
