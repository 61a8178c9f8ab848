//! Images of hidden rows: what a row held when a delete took it out of sight.
//!
//! An image lives beside the log record of the delete that hid the row, in this file only. A
//! concurrent edit takes it to bring the row back. When the record is collected while another
//! delete of the same row is still in the log, the image moves on to that one.

use nuda_core::row::{BodyReader, Change, Item, RowChange, put_row, put_table};
use nuda_core::value::{OwnedValue, Value};

use crate::concurrent::{LogIndex, RowName, for_each_row, read_header};
use crate::error::Result;
use crate::ffi::db::Db;
use crate::log;
use crate::net::NetEffect;
use crate::shadow::Sites;
use crate::tracked::Table;

/// Takes the newest image of a row out of the log. Later stamps are newer: a delete that hides
/// a row again has seen what brought it back.
pub(crate) fn take(
    db: Db,
    sites: &Sites,
    index: Option<&LogIndex>,
    row: RowName<'_>,
) -> Result<Option<Vec<OwnedValue>>> {
    let mut keys = match index {
        Some(index) => index.images(row),
        None => Vec::new(),
    };
    let mut stamped = Vec::new();
    keys.dedup();
    for key in keys {
        let (site_id, seq, _) = log::split(key);
        if let Some((stamp, _)) = read_header(db, sites, site_id, seq)? {
            stamped.push((stamp, key));
        }
    }
    stamped.sort();
    while let Some((_, key)) = stamped.pop() {
        let stored = db.first(
            "SELECT images FROM main.nuda_log WHERE id = ?",
            &[Value::Int(key)],
        )?;
        let Some([OwnedValue::Blob(stored)]) = stored.as_deref() else {
            continue;
        };
        if let Some((image, rest)) = cut(stored, row)? {
            let rest = if rest.is_empty() {
                Value::Null
            } else {
                Value::Blob(&rest)
            };
            db.run(
                "UPDATE main.nuda_log SET images = ? WHERE id = ?",
                &[rest, Value::Int(key)],
            )?;
            return Ok(Some(image));
        }
    }
    Ok(None)
}

/// Splits one row's image off: its values, and what is left.
fn cut(images: &[u8], row: RowName<'_>) -> Result<Option<(Vec<OwnedValue>, Vec<u8>)>> {
    let mut found = None;
    let mut rest = Vec::new();
    let mut reader = BodyReader::new(images);
    let mut at = None;
    let mut written = None;
    while let Some(item) = reader.next_item()? {
        match item {
            Item::Table(table) => at = Some(table),
            Item::Schema(_) => {}
            Item::Row(image) => {
                let Some(table) = at else { continue };
                if row.is(table.number, &image.key) {
                    found = Some(values(&image));
                    continue;
                }
                if written != Some(table.number) {
                    put_table(&mut rest, &table);
                    written = Some(table.number);
                }
                put_row(&mut rest, &image);
            }
        }
    }
    Ok(found.map(|image| (image, rest)))
}

fn values(image: &RowChange<'_>) -> Vec<OwnedValue> {
    match &image.change {
        Change::Insert(cells) => cells
            .iter()
            .map(|cell| match cell {
                nuda_core::row::Cell::Value(value) => (*value).into(),
                nuda_core::row::Cell::Add(_) => OwnedValue::Null,
            })
            .collect(),
        _ => Vec::new(),
    }
}

impl NetEffect {
    /// Takes an image that the changeset being applied has just made.
    pub(crate) fn take_image(
        &mut self,
        table: &Table,
        key: &[Value<'_>],
    ) -> Result<Option<Vec<OwnedValue>>> {
        let row = RowName {
            table: table.at.number,
            key,
        };
        match cut(&self.images, row)? {
            None => Ok(None),
            Some((image, rest)) => {
                self.images = rest;
                self.forget_image_table();
                Ok(Some(image))
            }
        }
    }
}

/// Moves the images of a record that is about to be collected to other deletes of the same
/// rows that stay in the log.
pub(crate) fn move_on(
    db: Db,
    index: &LogIndex,
    key: i64,
    goes: impl Fn(i64) -> bool,
) -> Result<()> {
    let stored = db.first(
        "SELECT images FROM main.nuda_log WHERE id = ?",
        &[Value::Int(key)],
    )?;
    let Some([OwnedValue::Blob(stored)]) = stored.as_deref() else {
        return Ok(());
    };
    let mut reader = BodyReader::new(stored);
    let mut at = None;
    while let Some(item) = reader.next_item()? {
        match item {
            Item::Table(table) => at = Some(table),
            Item::Schema(_) => {}
            Item::Row(image) => {
                let Some(table) = at else { continue };
                let row = RowName {
                    table: table.number,
                    key: &image.key,
                };
                let Some(heir) = heir(db, index, row, &goes)? else {
                    continue;
                };
                let mut moved = Vec::new();
                put_table(&mut moved, &table);
                put_row(&mut moved, &image);
                db.run(
                    "UPDATE main.nuda_log SET images = CAST(coalesce(images, x'') || ? AS BLOB) \
                     WHERE id = ?",
                    &[Value::Blob(&moved), Value::Int(heir)],
                )?;
            }
        }
    }
    Ok(())
}

/// Another delete of the row that stays in the log.
fn heir(
    db: Db,
    index: &LogIndex,
    row: RowName<'_>,
    goes: &impl Fn(i64) -> bool,
) -> Result<Option<i64>> {
    for key in index.changes(row) {
        if goes(key) {
            continue;
        }
        let body = db.first(
            "SELECT body FROM main.nuda_log WHERE id = ?",
            &[Value::Int(key)],
        )?;
        let Some([OwnedValue::Blob(body)]) = body.as_deref() else {
            continue;
        };
        let mut deletes = false;
        for_each_row(body, |table, change| {
            deletes |= row.is(table, &change.key) && change.change == Change::Delete;
        })?;
        if deletes {
            return Ok(Some(key));
        }
    }
    Ok(None)
}
