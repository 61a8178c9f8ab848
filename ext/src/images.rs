//! Images of hidden rows: what a row held when a delete took it out of sight.
//!
//! An image lives beside the log record of the delete that hid the row, in this file only. A
//! concurrent edit takes it to bring the row back; a concurrent insert takes it away. When the
//! record is collected while another delete of the same row is still in the log, the image
//! moves on to that one.
//!
//! Images are stored as INSERT items. A SCHEMA item before them holds their *order*: the
//! greatest stamp this file knew when the row was hidden. The newest image of a row is the one
//! with the greatest order. (The delete's own stamp would not do: a delete with an older stamp
//! may arrive, and hide the row again, later.)

use nuda_core::hlc::Stamp;
use nuda_core::row::{
    BodyReader, Change, Item, RowChange, TableRef, put_row, put_schema, put_table,
};
use nuda_core::value::{OwnedValue, Value};

use crate::concurrent::{LogIndex, RowName, for_each_row};
use crate::error::Result;
use crate::ffi::db::Db;
use crate::net::NetEffect;
use crate::shadow::damaged;
use crate::tracked::Table;

/// The images of one part, ready to be stored.
pub(crate) fn with_order(images: &[u8], order: Stamp) -> Vec<u8> {
    if images.is_empty() {
        return Vec::new();
    }
    let mut stored = Vec::with_capacity(images.len() + 10);
    put_schema(&mut stored, &order.get().to_be_bytes());
    stored.extend_from_slice(images);
    stored
}

/// One image as it is stored.
struct Stored<'a> {
    order: u64,
    table: TableRef,
    row: RowChange<'a>,
}

fn read(stored: &[u8]) -> Result<Vec<Stored<'_>>> {
    let mut reader = BodyReader::new(stored);
    let (mut order, mut at) = (0, None);
    let mut images = Vec::new();
    while let Some(item) = reader.next_item()? {
        match (item, at) {
            (Item::Table(table), _) => at = Some(table),
            (Item::Schema(bytes), _) => {
                order = u64::from_be_bytes(bytes.try_into().map_err(|_| damaged("nuda_log"))?);
            }
            (Item::Row(row), Some(table)) => images.push(Stored { order, table, row }),
            (Item::Row(_), None) => return Err(damaged("nuda_log")),
        }
    }
    Ok(images)
}

fn write(image: &Stored<'_>, out: &mut Vec<u8>) {
    put_schema(out, &image.order.to_be_bytes());
    put_table(out, &image.table);
    put_row(out, &image.row);
}

/// Takes the newest image of a row out of the log, and with it any older one.
pub(crate) fn take(
    db: Db,
    index: Option<&LogIndex>,
    row: RowName<'_>,
) -> Result<Option<Vec<OwnedValue>>> {
    let mut newest: Option<(u64, Vec<OwnedValue>)> = None;
    for key in index.map(|index| index.images(row)).unwrap_or_default() {
        let stored = db.first(
            "SELECT images FROM main.nuda_log WHERE id = ?",
            &[Value::Int(key)],
        )?;
        let Some([OwnedValue::Blob(stored)]) = stored.as_deref() else {
            continue;
        };
        let (found, rest) = cut(stored, row)?;
        let Some((order, image)) = found else {
            continue;
        };
        let rest = if rest.is_empty() {
            Value::Null
        } else {
            Value::Blob(&rest)
        };
        db.run(
            "UPDATE main.nuda_log SET images = ? WHERE id = ?",
            &[rest, Value::Int(key)],
        )?;
        if newest.as_ref().is_none_or(|(known, _)| order >= *known) {
            newest = Some((order, image));
        }
    }
    Ok(newest.map(|(_, image)| image))
}

/// An image and its order.
type Found = Option<(u64, Vec<OwnedValue>)>;

/// Splits one row's image off: the newest one, and what is left of the others.
fn cut(stored: &[u8], row: RowName<'_>) -> Result<(Found, Vec<u8>)> {
    let mut found: Found = None;
    let mut rest = Vec::new();
    for image in read(stored)? {
        if row.is(image.table.number, &image.row.key) {
            if found
                .as_ref()
                .is_none_or(|(order, _)| image.order >= *order)
            {
                found = Some((image.order, values(&image.row)));
            }
        } else {
            write(&image, &mut rest);
        }
    }
    Ok((found, rest))
}

fn values(image: &RowChange<'_>) -> Vec<OwnedValue> {
    match &image.change {
        Change::Insert(cells) => cells
            .iter()
            .map(|cell| match cell {
                nuda_core::row::Cell::Value(value) => (*value).into(),
                _ => OwnedValue::Null,
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
        let images = with_order(&self.images, Stamp::BASELINE);
        let (found, rest) = cut(&images, row)?;
        if found.is_some() {
            self.images = rest;
            self.forget_image_table();
        }
        Ok(found.map(|(_, image)| image))
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
    for image in read(stored)? {
        let row = RowName {
            table: image.table.number,
            key: &image.row.key,
        };
        let Some(heir) = heir(db, index, row, &goes)? else {
            continue;
        };
        let mut moved = Vec::new();
        write(&image, &mut moved);
        db.run(
            "UPDATE main.nuda_log SET images = CAST(coalesce(images, x'') || ? AS BLOB) \
             WHERE id = ?",
            &[Value::Blob(&moved), Value::Int(heir)],
        )?;
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
