//! `nuda_new_site(keep)`: what this replica wrote after its site's number `keep`, and nobody
//! has, goes on under a new site.
//!
//! Needed when others hold other changesets of the same numbers: the file was restored from a
//! backup or copied, and both went on writing. There is no metadata but the log, so only the
//! log's records are rewritten: new names, new hashes, the same content.

use nuda_core::changeset::{ChainHash, ChainHasher, Header};
use nuda_core::merge::Rank;
use nuda_core::site::{Dot, Seq};
use nuda_core::value::{OwnedValue, Value};

use crate::arrive::stored_hash;
use crate::births;
use crate::connection::Connection;
use crate::error::{Error, Result};
use crate::ffi::db::Db;
use crate::identity;
use crate::log::{self, Head};
use crate::savepoint::atomically;
use crate::shadow::{self, Seen, SiteRow, Sites, damaged, to_i64};
use crate::told;
use crate::visible;

/// Renumbers; answers how many changesets moved.
pub(crate) fn renumber(connection: &Connection, keep: Seq) -> Result<u64> {
    let db = connection.db();
    atomically(db, || {
        let state = shadow::state(db)?;
        let sites = Sites::load(db)?;
        let old = sites
            .by_id(state.site_id)
            .ok_or_else(|| damaged("nuda_site"))?
            .clone();
        let mut last_record = db.prepare(log::LAST_RECORD)?;
        let head = log::head(db, &mut last_record, old.id)?;
        if keep > head.seq {
            return Err(Error::refused(format!(
                "this file has {} changesets of its site, not {keep}",
                head.seq
            )));
        }
        let kept = head_at(db, &sites, old.id, keep, &head)?;
        let new_id = shadow::add_site(db, identity::successor(db, old.site)?)?;
        let sites = Sites::load(db)?;
        if connection.tables()?.may_hide() {
            move_births(db, &sites, (&old, new_id), keep, head.seq)?;
            visible::settle_all(connection)?;
        }
        let mut moving = Moving {
            db,
            sites: &sites,
            old_id: old.id,
            new_id,
            keep,
            previous: ChainHash::START,
        };
        told::make_whole(db, old.id, keep)?;
        for seq in keep + 1..=head.seq {
            moving.move_record(seq)?;
        }
        db.run(
            "UPDATE main.nuda_site SET applied = ?, hash = ?, seen = ?, stamp = ? WHERE id = ?",
            &[
                Value::Int(to_i64(keep)),
                Value::Blob(&kept.hash.0),
                Value::Blob(&kept.seen.0),
                Value::Int(to_i64(kept.stamp.get())),
                Value::Int(old.id),
            ],
        )?;
        db.run(
            "UPDATE main.nuda_state SET site = ?, identity = ?, stamp = max(stamp, ?)",
            &[
                Value::Int(new_id),
                Value::Text(connection.identity().as_bytes()),
                Value::Int(to_i64(head.stamp.get())),
            ],
        )?;
        connection.forget_statements();
        Ok(head.seq - keep)
    })
}

/// The site as it was at number `keep`.
fn head_at(db: Db, sites: &Sites, site_id: i64, keep: Seq, head: &Head) -> Result<Head> {
    if keep == head.seq {
        return Ok(head.clone());
    }
    let collected = log::collected_head(db, site_id)?;
    if keep <= collected.seq {
        return Ok(collected);
    }
    let site = sites
        .by_id(site_id)
        .ok_or_else(|| damaged("nuda_site"))?
        .site;
    let (stamp, seen) = crate::concurrent::read_header(db, sites, site_id, keep)?
        .ok_or_else(|| damaged("nuda_log"))?;
    let hash =
        stored_hash(db, sites, Dot { site, seq: keep })?.ok_or_else(|| damaged("nuda_log"))?;
    Ok(Head {
        is_in_log: true,
        told_by: 0,
        seq: keep,
        stamp,
        seen: Seen(sites.encode_seen(&seen)),
        hash,
    })
}

/// Rows that were born by what moves, were born by the new site.
fn move_births(
    db: Db,
    sites: &Sites,
    (old, new_id): (&SiteRow, i64),
    keep: Seq,
    until: Seq,
) -> Result<()> {
    let new = sites.by_id(new_id).ok_or_else(|| damaged("nuda_site"))?;
    for seq in keep + 1..=until {
        let header = crate::concurrent::read_header(db, sites, old.id, seq)?;
        let (stamp, _) = header.ok_or_else(|| damaged("nuda_log"))?;
        let at = |site| Rank { stamp, site };
        births::move_all(db, at(old.site), at(new.site))?;
    }
    Ok(())
}

struct Moving<'a> {
    db: Db,
    sites: &'a Sites,
    old_id: i64,
    new_id: i64,
    keep: Seq,
    previous: ChainHash,
}

impl Moving<'_> {
    fn move_record(&mut self, seq: Seq) -> Result<()> {
        let number = seq - self.keep;
        let parts = self.db.all(
            "SELECT id, header, seen, body FROM main.nuda_log WHERE id BETWEEN ? AND ? ORDER BY id",
            &[
                Value::Int(log::key(self.old_id, seq, 0)),
                Value::Int(log::key(self.old_id, seq + 1, 0) - 1),
            ],
        )?;
        let Some([_, OwnedValue::Blob(header), OwnedValue::Blob(seen), _]) =
            parts.first().map(Vec::as_slice)
        else {
            return Err(damaged("nuda_log"));
        };
        let (header, seen) = self.renamed(header, seen, number)?;
        let mut hasher = ChainHasher::new(self.previous, &header);
        for part in &parts {
            if let Some(OwnedValue::Blob(body)) = part.get(3) {
                hasher.update(body);
            }
        }
        let hash = hasher.finish();
        let count = parts.len();
        for (part, row) in parts.iter().enumerate() {
            let Some(OwnedValue::Int(id)) = row.first() else {
                continue;
            };
            let or_null = |there: bool, bytes| {
                if there {
                    Value::Blob(bytes)
                } else {
                    Value::Null
                }
            };
            self.db.run(
                "UPDATE main.nuda_log SET id = ?, header = ?, previous = ?, seen = ?, hash = ? \
                 WHERE id = ?",
                &[
                    Value::Int(log::key(
                        self.new_id,
                        number,
                        u32::try_from(part).unwrap_or(0),
                    )),
                    or_null(part == 0, &header),
                    or_null(part == 0, &self.previous.0),
                    or_null(part == 0, &seen),
                    or_null(part + 1 == count, &hash.0),
                    Value::Int(*id),
                ],
            )?;
        }
        self.previous = hash;
        Ok(())
    }

    /// The header and what it had seen, under the new site; the first one also depends on
    /// what is kept of the old.
    fn renamed(&self, header: &[u8], seen: &[u8], number: Seq) -> Result<(Vec<u8>, Vec<u8>)> {
        let mut header = Header::decode(header)?;
        let mut seen = self.sites.decode_seen(seen)?;
        let old = self
            .sites
            .by_id(self.old_id)
            .ok_or_else(|| damaged("nuda_site"))?
            .site;
        let new = self
            .sites
            .by_id(self.new_id)
            .ok_or_else(|| damaged("nuda_site"))?
            .site;
        seen.set(old, self.keep);
        header.dot = Dot {
            site: new,
            seq: number,
        };
        if number == 1 {
            header.rose = seen.clone();
        }
        Ok((header.encode(), self.sites.encode_seen(&seen)))
    }
}
