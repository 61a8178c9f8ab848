//! The daemon's note of how far it has read a file's own site, kept beside the file.
//!
//! `.nuda/NAME.head` says `SITE SEQ`: before anything of a site is shipped, it is noted there.
//! A file that has less than the note was put back from a backup (a plain `cp` keeps the
//! inode, so `identity` cannot see it), and others may hold the numbers it would use next. It
//! then takes a new site before it captures anything. A wrong or torn note costs a site id,
//! nothing else; no note (no daemon) means that nothing was shipped.

use std::path::Path;

use nuda_core::site::{Seq, Site};
use nuda_core::value::Value;

use crate::connection::Connection;
use crate::error::Result;
use crate::record;
use crate::shadow::{Sites, State};

/// Under this name the file remembers the note for which it took a new site.
const HEEDED: &str = "heeded note";

struct Note {
    site: Site,
    seq: Seq,
    text: String,
}

fn read(path: &str) -> Option<Note> {
    let path = Path::new(path);
    let name = format!("{}.head", path.file_stem()?.to_str()?);
    let text = std::fs::read_to_string(path.parent()?.join(".nuda").join(name)).ok()?;
    let (site, seq) = text.trim().split_once(' ')?;
    Some(Note {
        site: Site::parse(site)?,
        seq: seq.trim_start_matches('0').parse().ok()?,
        text: text.trim().to_owned(),
    })
}

/// Takes a new site if the file has less than the note says; `own` is its newest changeset.
/// Answers whether it did.
pub(crate) fn heed(
    connection: &Connection,
    state: &State,
    sites: &Sites,
    own: Seq,
) -> Result<bool> {
    let Some(note) = unheeded(connection, state, sites, own)? else {
        return Ok(false);
    };
    record::renew_site(connection, state)?;
    connection.db().run(
        "INSERT INTO main.nuda_protocol(key, value) VALUES (?1, ?2) \
         ON CONFLICT(key) DO UPDATE SET value = excluded.value",
        &[
            Value::Text(HEEDED.as_bytes()),
            Value::Text(note.text.as_bytes()),
        ],
    )?;
    Ok(true)
}

/// Whether it has, which only reads.
pub(crate) fn is_behind(
    connection: &Connection,
    state: &State,
    sites: &Sites,
    own: Seq,
) -> Result<bool> {
    Ok(unheeded(connection, state, sites, own)?.is_some())
}

fn unheeded(
    connection: &Connection,
    state: &State,
    sites: &Sites,
    own: Seq,
) -> Result<Option<Note>> {
    let Some(note) = read(connection.path()) else {
        return Ok(None);
    };
    let here = match sites.by_site(note.site) {
        Some(row) if row.id == state.site_id => own,
        Some(row) => row.applied,
        None => 0,
    };
    if here >= note.seq {
        return Ok(None);
    }
    let key = Value::Text(HEEDED.as_bytes());
    let sql = "SELECT value FROM main.nuda_protocol WHERE key = ?";
    let heeded = connection.db().text(sql, &[key])?;
    Ok(Some(note).filter(|note| heeded.as_deref() != Some(&note.text)))
}
