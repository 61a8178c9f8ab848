//! Which changesets that wait count as stored: acknowledged as kept here, and handed on.
//!
//! A changeset is stored when it is whole, as its hash says, follows what is applied or stored of its
//! site without a gap, and all that it had seen is applied or stored too. So it waits for a table or an upgrade
//! only, and what is stored can be applied by whoever has these. What follows something that is not
//! here is kept, and not stored: if that was only on a node that lost it or makes it again under
//! another name, it will never be applied.

use nuda_core::site::{Dot, Seq};
use nuda_core::version_vector::VersionVector;

use crate::apply::{Stop, does_not_follow, lacks, not_its_hash};
use crate::error::Result;
use crate::ffi::db::Db;
use crate::log;
use crate::shadow::{Sites, damaged};
use crate::waiting;

/// Marks what has become stored; drops what cannot, so that whoever has the right one sends it.
/// `own`: the own site's id and its latest number. Answers what became of the changeset that is
/// asked about, if it was dropped; only of that one is it known what it must have seen.
pub(crate) fn mark(
    db: Db,
    sites: &Sites,
    own: (i64, Seq),
    asked: Option<(Dot, &VersionVector)>,
) -> Result<Option<Stop>> {
    let mut here = sites.vector(own);
    here.join(&waiting::vector(db)?);
    let mut answer = None;
    loop {
        let mut progress = false;
        for site_id in waiting::sites(db)? {
            while let Some((seq, checked)) = next(db, sites, site_id, asked)? {
                match checked {
                    Ok(seen) if here.covers(&seen) => {
                        waiting::mark(db, site_id, seq, &seen)?;
                        here.raise(site_of(sites, site_id)?.site, seq);
                        progress = true;
                    }
                    Ok(_) => break,
                    Err((dot, stop)) => {
                        waiting::drop_changeset(db, site_id, seq)?;
                        if asked.is_some_and(|(asked, _)| asked == dot) {
                            answer = Some(stop);
                        }
                        break;
                    }
                }
            }
        }
        if !progress {
            return Ok(answer);
        }
    }
}

fn site_of(sites: &Sites, site_id: i64) -> Result<&crate::shadow::SiteRow> {
    sites.by_id(site_id).ok_or_else(|| damaged("nuda_site"))
}

type Checked = std::result::Result<VersionVector, (Dot, Stop)>;

/// The first changeset of a site that is not stored, if it is whole: what it had seen, or why it is
/// to be dropped.
fn next(
    db: Db,
    sites: &Sites,
    site_id: i64,
    asked: Option<(Dot, &VersionVector)>,
) -> Result<Option<(Seq, Checked)>> {
    let applied = site_of(sites, site_id)?.applied;
    let end = waiting::end(db, site_id, applied)?;
    let seq = end + 1;
    if waiting::is_refused(db, site_id, seq)? {
        return Ok(None);
    }
    let Some(whole) = waiting::whole(db, site_id, seq)? else {
        return Ok(None);
    };
    let (previous, mut seen) = if end == applied {
        let head = log::collected_head(db, site_id)?;
        (head.hash, sites.decode_seen(&head.seen.0)?)
    } else {
        waiting::stored(db, site_id, end)?
    };
    seen.join(&whole.header.rose);
    let dot = whole.header.dot;
    let nothing = VersionVector::new();
    let of_its_site = asked.filter(|(asked, _)| asked.site == dot.site);
    let must_cover = of_its_site.map_or(&nothing, |(_, vector)| vector);
    let checked = if !whole.is_sound {
        Err((dot, Stop::Corrupt(not_its_hash(dot))))
    } else if whole.previous != previous {
        Err((dot, Stop::Fork(does_not_follow(dot))))
    } else if let Some(stale) = lacks(db, &whole.header, seen.clone(), must_cover)? {
        Err((dot, Stop::Stale(stale)))
    } else {
        if end > applied {
            waiting::note(db, site_id, seq, "its predecessor waits")?;
        }
        Ok(seen)
    };
    Ok(Some((seq, checked)))
}
