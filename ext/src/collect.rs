//! Collection: dropping the log records that nothing can be concurrent with any more.
//!
//! A member's report is accepted once everything it names has been applied here; so whatever
//! that member issues later has seen what it reported. What all members have reported is
//! *stable*: every changeset still to come has seen it, no merge will ask for it, and every
//! member can do without it. Only that is dropped. And not a strong transaction's record while one
//! stays that had not seen it, nor what saw it: a change that is still to come may have seen the
//! strong one only, and finds in the log that it beats the other ([`nuda_core::merge`]).

use nuda_core::changeset::Header;
use nuda_core::site::{Site, is_valid_name};
use nuda_core::value::{OwnedValue, Value};
use nuda_core::version_vector::VersionVector;

use crate::apply;
use crate::changes::applied;
use crate::concurrent::{LogIndex, read_header};
use crate::connection::Connection;
use crate::error::{Error, Result};
use crate::ffi::db::Db;
use crate::identity;
use crate::images;
use crate::kept_states;
use crate::log;
use crate::savepoint::atomically;
use crate::shadow::{self, Sites, State, damaged, to_i64};
use crate::told;
use crate::visible;

/// `nuda_acknowledge(node, vector)`: a member reports what it has applied and fsynced.
/// Answers whether the report was accepted: it is once all of it has been applied here.
pub(crate) fn acknowledge(connection: &Connection, node: &str, vector: &str) -> Result<bool> {
    let db = connection.db();
    let state = shadow::state(db)?;
    let vector = VersionVector::parse(vector)
        .ok_or_else(|| Error::refused(format!("'{vector}' is no version vector")))?;
    if !is_valid_name(node) {
        return Err(Error::refused(format!("'{node}' is no node name")));
    }
    let sites = Sites::load(db)?;
    if !applied(db, &state, &sites)?.covers(&vector) {
        return Ok(false);
    }
    let known = db.text(
        "SELECT vector FROM main.nuda_peers WHERE node = ?",
        &[text(node)],
    )?;
    let known = known
        .as_deref()
        .and_then(VersionVector::parse)
        .unwrap_or_default();
    // A report that is behind an earlier one is late or from a restored file; it never counts.
    if vector.covers(&known) {
        db.run(
            "INSERT INTO main.nuda_peers(node, vector, at_ms) VALUES (?1, ?2, ?3) \
             ON CONFLICT(node) DO UPDATE SET vector = ?2, at_ms = ?3",
            &[
                text(node),
                text(&vector.to_string()),
                Value::Int(to_i64(identity::now_ms())),
            ],
        )?;
    }
    Ok(true)
}

fn text(text: &str) -> Value<'_> {
    Value::Text(text.as_bytes())
}

/// What every member has reported, or `None` if one has not reported yet.
fn stable(db: Db, state: &State, sites: &Sites) -> Result<Option<VersionVector>> {
    let members = db
        .text("SELECT members FROM main.nuda_state", &[])?
        .unwrap_or_default();
    let mut stable = applied(db, state, sites)?;
    let mut named_self = false;
    for member in members.split(',').filter(|m| !m.is_empty()) {
        if member == state.node {
            named_self = true;
            continue;
        }
        let report = db.text(
            "SELECT vector FROM main.nuda_peers WHERE node = ?",
            &[text(member)],
        )?;
        match report.as_deref().and_then(VersionVector::parse) {
            Some(vector) => stable.meet(&vector),
            None => return Ok(None),
        }
    }
    // Without a member list nobody knows who else needs the log.
    Ok(named_self.then_some(stable))
}

/// `nuda_collect([vector])`: drops what all members have reported; with an argument, what the
/// caller vouches for (for those who bring their own transport). Answers the records dropped
/// and the frontier.
pub(crate) fn collect(connection: &Connection, vouched: Option<&str>) -> Result<(u64, String)> {
    let db = connection.db();
    let state = shadow::state(db)?;
    let sites = Sites::load(db)?;
    let before = apply::frontier(db)?;
    let goal = match vouched {
        None => stable(db, &state, &sites)?,
        Some(text) => {
            let mut vector = VersionVector::parse(text)
                .ok_or_else(|| Error::refused(format!("'{text}' is no version vector")))?;
            vector.meet(&applied(db, &state, &sites)?);
            Some(vector)
        }
    };
    let Some(mut goal) = goal else {
        return Ok((0, before.to_string()));
    };
    keep_unseen_strong(db, &state, &sites, &mut goal)?;
    goal.join(&before);
    if goal == before {
        return Ok((0, before.to_string()));
    }
    atomically(db, || {
        // What was written here is looked at while it is in the log.
        visible::settle_own(connection)?;
        kept_states::keep((db, &sites), &*connection.tables()?, (&before, &goal))?;
        let dropped = drop_records(connection, &state, &sites, &goal)?;
        db.run(
            "UPDATE main.nuda_state SET frontier = ?",
            &[text(&goal.to_string())],
        )?;
        Ok((dropped, goal.to_string()))
    })
}

/// Lowers `goal` to before the first strong record that some record which stays had not seen.
fn keep_unseen_strong(
    db: Db,
    state: &State,
    sites: &Sites,
    goal: &mut VersionVector,
) -> Result<()> {
    let mut known = goal.get(Site::LOG_STRONG);
    if known == 0 {
        return Ok(());
    }
    // What a site knows only grows: the first that stays knows least.
    for site in sites.iter().filter(|s| s.site != Site::LOG_STRONG) {
        let next = goal.get(site.site) + 1;
        if site.id != state.site_id && next > site.applied {
            // It waits, or is not here.
            continue;
        }
        if let Some((_, seen)) = read_header(db, sites, site.id, next)? {
            known = known.min(seen.get(Site::LOG_STRONG));
        }
    }
    if known == goal.get(Site::LOG_STRONG) {
        return Ok(());
    }
    goal.set(Site::LOG_STRONG, known);
    for site in sites.iter().filter(|s| s.site != Site::LOG_STRONG) {
        let mut until = goal.get(site.site);
        while let Some((_, seen)) = read_header(db, sites, site.id, until)? {
            if seen.get(Site::LOG_STRONG) <= known {
                break;
            }
            until -= 1;
        }
        goal.set(site.site, until);
    }
    Ok(())
}

fn drop_records(
    connection: &Connection,
    state: &State,
    sites: &Sites,
    goal: &VersionVector,
) -> Result<u64> {
    let db = connection.db();
    let goes = |key: i64| {
        let (site_id, seq, _) = log::split(key);
        sites
            .by_id(site_id)
            .is_some_and(|site| seq <= goal.get(site.site))
    };
    move_images(connection, state, sites, goal, &goes)?;
    let mut dropped = 0;
    for site in sites.iter() {
        let until = goal.get(site.site);
        let range = [
            Value::Int(log::key(site.id, 0, 0)),
            Value::Int(log::key(site.id, until + 1, 0) - 1),
        ];
        if site.id == state.site_id {
            keep_head(db, site.id, until)?;
        }
        told::let_go(db, site.id, until)?;
        keep_previous(db, site.id, until)?;
        let count = "SELECT count(*) FROM main.nuda_log \
                     WHERE id BETWEEN ? AND ? AND header IS NOT NULL";
        dropped += u64::try_from(db.int(count, &range)?).unwrap_or(0);
        db.run("DELETE FROM main.nuda_log WHERE id BETWEEN ? AND ?", &range)?;
    }
    Ok(dropped)
}

/// The own site goes on from its latest record: what is about to go is noted in its row.
fn keep_head(db: Db, site_id: i64, seq: u64) -> Result<()> {
    let first = db.first(
        &format!(
            "SELECT {}, seen FROM main.nuda_log l WHERE id = ?",
            told::HEADER
        ),
        &[Value::Int(log::key(site_id, seq, 0))],
    )?;
    let Some([OwnedValue::Blob(header), OwnedValue::Blob(seen)]) = first.as_deref() else {
        return Ok(());
    };
    let last = db.first(
        "SELECT hash FROM main.nuda_log WHERE id BETWEEN ? AND ? AND hash IS NOT NULL",
        &[
            Value::Int(log::key(site_id, seq, 0)),
            Value::Int(log::key(site_id, seq + 1, 0) - 1),
        ],
    )?;
    let Some([OwnedValue::Blob(hash)]) = last.as_deref() else {
        return Err(damaged("nuda_log"));
    };
    let stamp = Header::decode(header)?.stamp;
    db.run(
        "UPDATE main.nuda_site SET applied = ?, hash = ?, seen = ?, stamp = ? WHERE id = ?",
        &[
            Value::Int(to_i64(seq)),
            Value::Blob(hash),
            Value::Blob(seen),
            Value::Int(to_i64(stamp.get())),
            Value::Int(site_id),
        ],
    )
}

/// The first record that stays is about to lose the one before it, whose hash it continues.
fn keep_previous(db: Db, site_id: i64, seq: u64) -> Result<()> {
    db.run(
        &format!(
            "UPDATE main.nuda_log AS l SET previous = {} WHERE id = ? AND previous IS NULL",
            log::PREVIOUS
        ),
        &[Value::Int(log::key(site_id, seq + 1, 0))],
    )
}

/// Images of rows that another delete, which stays, also hides move on to it.
fn move_images(
    connection: &Connection,
    state: &State,
    sites: &Sites,
    goal: &VersionVector,
    goes: &impl Fn(i64) -> bool,
) -> Result<()> {
    let db = connection.db();
    let tables = connection.tables()?;
    let mut index = None;
    for site in sites.iter() {
        let keys = db.all(
            "SELECT id FROM main.nuda_log WHERE id BETWEEN ? AND ? AND images IS NOT NULL",
            &[
                Value::Int(log::key(site.id, 0, 0)),
                Value::Int(log::key(site.id, goal.get(site.site) + 1, 0) - 1),
            ],
        )?;
        for row in keys {
            let [OwnedValue::Int(key)] = row.as_slice() else {
                continue;
            };
            let index = match &mut index {
                Some(index) => index,
                empty => {
                    let mut built = LogIndex::default();
                    built.refresh(db, sites, state.site_id)?;
                    empty.insert(built)
                }
            };
            images::move_on((db, sites), &tables, index, *key, goes)?;
        }
    }
    Ok(())
}
