//! When the life of each row began, for tables that show the oldest of several rows.
//!
//! Nothing else of a row outlives its record in the log. But which of two rows is older must be
//! known as long as both live, so these tables pay one entry per row. A birth is written by the
//! transaction that inserts the row, here or on arrival; of concurrent inserts of one key, none of
//! which saw another, the first counts, whatever the order of their arrival. A deleted row's birth
//! stays while an edit may still bring the row back: as long as its image.
//!
//! The site is stored as what it is, not by this file's short name: births decide alike everywhere.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use nuda_core::hlc::Stamp;
use nuda_core::merge::{Event, Rank};
use nuda_core::row::{Change, RowChange};
use nuda_core::site::Site;
use nuda_core::value::{OwnedValue, Value};

use crate::concurrent::for_each_row;
use crate::error::Result;
use crate::ffi::db::Db;
use crate::hidden;
use crate::shadow::{damaged, site_from, site_to, stamp_from, to_i64};
use crate::tracked::{Table, Tables};

/// Made with the first table that needs it.
pub(crate) const DEFINITION: &str = "CREATE TABLE IF NOT EXISTS main.nuda_birth(\
     number INTEGER NOT NULL, key BLOB NOT NULL, -- the row
     stamp INTEGER NOT NULL, site INTEGER NOT NULL, -- the transaction that inserted it
     PRIMARY KEY (number, key)) WITHOUT ROWID";

/// A key in the form in which equal keys are equal bytes.
pub(crate) fn key_bytes(key: &[Value<'_>]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(key.len() * 16);
    for value in key {
        value.canonical_key().encode(&mut bytes);
    }
    bytes
}

/// Whether this file keeps any.
pub(crate) fn are_kept(db: Db) -> Result<bool> {
    let there = "SELECT count(*) FROM main.sqlite_schema WHERE name = 'nuda_birth'";
    Ok(db.int(there, &[])? != 0)
}

/// Notes that a life of a row begins.
pub(crate) fn put(db: Db, table: u32, key: &[u8], rank: Rank) -> Result<()> {
    db.run(
        "INSERT INTO main.nuda_birth(number, key, stamp, site) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT DO UPDATE SET stamp = ?3, site = ?4",
        &[
            Value::Int(i64::from(table)),
            Value::Blob(key),
            Value::Int(to_i64(rank.stamp.get())),
            Value::Int(site_to(rank.site)),
        ],
    )
}

/// When a row's life began.
pub(crate) fn of(db: Db, table: u32, key: &[u8]) -> Result<Rank> {
    let row = db.first(
        "SELECT stamp, site FROM main.nuda_birth WHERE number = ? AND key = ?",
        &[Value::Int(i64::from(table)), Value::Blob(key)],
    )?;
    match row.as_deref() {
        Some([OwnedValue::Int(stamp), OwnedValue::Int(site)]) => Ok(Rank {
            stamp: stamp_from(*stamp)?,
            site: site_from(*site)?,
        }),
        // A row that this table had before it was tracked, in a damaged file at worst.
        None => Ok(Rank {
            stamp: Stamp::BASELINE,
            site: Site::LOG_STRONG,
        }),
        Some(_) => Err(damaged("nuda_birth")),
    }
}

/// Which birth counts where `incoming`, an insert, meets concurrent changes of its row: the first
/// of the inserts that no other one saw.
pub(crate) fn first(incoming: &Event<'_>, concurrent: &[Event<'_>]) -> Rank {
    let inserts = || {
        let changes = concurrent.iter();
        changes.filter(|e| matches!(e.change, Change::Insert(_)))
    };
    let unseen = inserts().filter(|insert| !inserts().any(|other| other.saw(insert)));
    let ranks = unseen.map(Event::rank).chain([incoming.rank()]);
    ranks.min().unwrap_or_else(|| incoming.rank())
}

/// Notes the births in a changeset's body that was written here, and whom its rows may set free. A
/// row that was hidden and is inserted again is another one from here on.
pub(crate) fn of_body(db: Db, tables: &Tables, body: &[u8], rank: Rank) -> Result<()> {
    let mut hiding = HashMap::new();
    let mut result = Ok(());
    let mut note = |table: &Table, row: &RowChange<'_>| {
        let number = table.at.number;
        let key = key_bytes(&row.key);
        let is_birth = matches!(row.change, Change::Insert(_));
        if is_birth && table.options.keep_first {
            put(db, number, &key, rank)?;
        }
        let hides = match hiding.entry(number) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(unknown) => *unknown.insert(hidden::any(db, table)?),
        };
        if hides && is_birth {
            hidden::replaced(db, table, &row.key)?;
        }
        if hides {
            hidden::let_go(db, number, &key)?;
        }
        Ok(())
    };
    for_each_row(body, |number, row| {
        let table = tables.get(number).filter(|t| t.may_hide());
        if let (Ok(()), Some(table)) = (&result, table) {
            result = note(table, row);
        }
    })?;
    result
}

/// Lets go of the birth of a row that can no longer come back.
pub(crate) fn forget(db: Db, table: u32, key: &[u8]) -> Result<()> {
    db.run(
        "DELETE FROM main.nuda_birth WHERE number = ? AND key = ?",
        &[Value::Int(i64::from(table)), Value::Blob(key)],
    )
}

/// What a site wrote with a stamp got another stamp or another site.
pub(crate) fn move_all(db: Db, from: Rank, to: Rank) -> Result<()> {
    db.run(
        "UPDATE main.nuda_birth SET stamp = ?3, site = ?4 WHERE stamp = ?1 AND site = ?2",
        &[
            Value::Int(to_i64(from.stamp.get())),
            Value::Int(site_to(from.site)),
            Value::Int(to_i64(to.stamp.get())),
            Value::Int(site_to(to.site)),
        ],
    )
}
