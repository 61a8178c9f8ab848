//! Images of hidden rows: what a row held when a delete took it out of sight.
//!
//! An image lives beside the log record of the delete that hid the row, in this file only. A
//! concurrent edit takes it to bring the row back; a concurrent insert takes it away. When the
//! record is collected while another delete of the same row is still in the log, the image
//! moves on to that one.
//!
//! Images are stored as INSERT items. A SCHEMA item before them holds their [`Order`]: when this
//! file hid the row. The newest image of a row is the one with the greatest.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use nuda_core::hlc::Stamp;
use nuda_core::row::{
    BodyReader, Change, Item, RowChange, TableRef, put_row, put_schema, put_table,
};
use nuda_core::value::{OwnedValue, Value};

use crate::concurrent::{LogIndex, RowName, row_fingerprint};
use crate::error::Result;
use crate::ffi::db::Db;
use crate::hidden;
use crate::log::PART_BITS;
use crate::net::NetEffect;
use crate::shadow::{Sites, damaged};
use crate::tracked::{Table, Tables};

/// When this file hid a row, as against other rows that it hid: no two parts have the same.
///
/// The greatest stamp that the file knew, and where that stayed the same, how many changesets it
/// had. (The delete's own stamp would not do: a delete with an older stamp may arrive, and hide
/// the row again, later.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Order {
    stamp: u64,
    turn: u64,
}

impl Order {
    /// Before all others.
    const FIRST: Self = Self { stamp: 0, turn: 0 };

    /// Of a part of a changeset of this file's own: its stamp is greater than all before it.
    pub(crate) fn own(stamp: Stamp, part: u32) -> Self {
        Self::applied(stamp, 0, part)
    }

    /// Of a part of a changeset that was applied on top of so many others.
    pub(crate) fn applied(known: Stamp, changesets: u64, part: u32) -> Self {
        Self {
            stamp: known.get(),
            turn: changesets << PART_BITS | u64::from(part),
        }
    }

    fn put(self, out: &mut Vec<u8>) {
        let mut bytes = [0; 16];
        let (stamp, turn) = bytes.split_at_mut(8);
        stamp.copy_from_slice(&self.stamp.to_be_bytes());
        turn.copy_from_slice(&self.turn.to_be_bytes());
        put_schema(out, &bytes);
    }

    fn read(bytes: &[u8]) -> Result<Self> {
        let number = |bytes: &[u8]| bytes.try_into().map(u64::from_be_bytes);
        match bytes
            .split_at_checked(8)
            .map(|(s, t)| (number(s), number(t)))
        {
            Some((Ok(stamp), Ok(turn))) => Ok(Self { stamp, turn }),
            _ => Err(damaged("nuda_log")),
        }
    }
}

/// The images of one part, ready to be stored.
pub(crate) fn with_order(images: &[u8], order: Order) -> Vec<u8> {
    if images.is_empty() {
        return Vec::new();
    }
    let mut stored = Vec::with_capacity(images.len() + 18);
    order.put(&mut stored);
    stored.extend_from_slice(images);
    stored
}

/// One image as it is stored.
struct Stored<'a> {
    order: Order,
    table: TableRef,
    row: RowChange<'a>,
}

fn read(stored: &[u8]) -> Result<Vec<Stored<'_>>> {
    let mut reader = BodyReader::new(stored);
    let (mut order, mut at) = (Order::FIRST, None);
    let mut images = Vec::new();
    while let Some(item) = reader.next_item()? {
        match (item, at) {
            (Item::Table(table), _) => at = Some(table),
            (Item::Schema(bytes), _) => order = Order::read(bytes)?,
            (Item::Row(row), Some(table)) => images.push(Stored { order, table, row }),
            (Item::Row(_), None) => return Err(damaged("nuda_log")),
        }
    }
    Ok(images)
}

fn write(image: &Stored<'_>, out: &mut Vec<u8>) {
    image.order.put(out);
    put_table(out, &image.table);
    put_row(out, &image.row);
}

/// The images that a changeset takes out of the log while it is applied. A record's images are
/// read once and written back once, by [`Images::flush`], however many rows come back.
#[derive(Debug, Default)]
pub(crate) struct Images {
    open: HashMap<i64, OpenImages>,
}

/// The images of one part of the log.
#[derive(Debug, Default)]
struct OpenImages {
    stored: Vec<u8>,
    places: Vec<Place>,
    by_row: HashMap<u64, Vec<usize>>,
    is_changed: bool,
}

/// Where an image is in the stored bytes.
#[derive(Debug)]
struct Place {
    offset: usize,
    table: TableRef,
    order: Order,
    is_taken: bool,
}

impl Images {
    /// Takes the newest image of a row, and with it any older one.
    pub(crate) fn take(
        &mut self,
        db: Db,
        index: Option<&LogIndex>,
        row: RowName<'_>,
    ) -> Result<Option<Vec<OwnedValue>>> {
        let mut newest: Found = None;
        for key in index.map(|index| index.images(row)).unwrap_or_default() {
            let open = match self.open.entry(key) {
                Entry::Occupied(open) => open.into_mut(),
                Entry::Vacant(empty) => empty.insert(OpenImages::read(db, key)?),
            };
            open.take(row, &mut newest)?;
        }
        Ok(newest.map(|(_, image)| image))
    }

    /// Writes back what is left.
    pub(crate) fn flush(&self, db: Db) -> Result<()> {
        for (key, open) in self.open.iter().filter(|(_, open)| open.is_changed) {
            let mut rest = Vec::new();
            for (image, place) in read(&open.stored)?.iter().zip(&open.places) {
                if !place.is_taken {
                    write(image, &mut rest);
                }
            }
            let rest = Some(rest).filter(|rest| !rest.is_empty());
            db.run(
                "UPDATE main.nuda_log SET images = ? WHERE id = ?",
                &[
                    rest.as_deref().map_or(Value::Null, Value::Blob),
                    Value::Int(*key),
                ],
            )?;
        }
        Ok(())
    }
}

impl OpenImages {
    fn read(db: Db, key: i64) -> Result<Self> {
        let stored = db.first(
            "SELECT images FROM main.nuda_log WHERE id = ?",
            &[Value::Int(key)],
        )?;
        let mut open = Self::default();
        let Some([OwnedValue::Blob(stored)]) = stored.as_deref() else {
            return Ok(open);
        };
        let mut reader = BodyReader::new(stored);
        let (mut order, mut at) = (Order::FIRST, None);
        loop {
            let offset = stored.len() - reader.left();
            match (reader.next_item()?, at) {
                (None, _) => break,
                (Some(Item::Table(table)), _) => at = Some(table),
                (Some(Item::Schema(bytes)), _) => order = Order::read(bytes)?,
                (Some(Item::Row(row)), Some(table)) => {
                    let fingerprint = row_fingerprint(table.number, &row.key);
                    let place = open.places.len();
                    open.by_row.entry(fingerprint).or_default().push(place);
                    open.places.push(Place {
                        offset,
                        table,
                        order,
                        is_taken: false,
                    });
                }
                (Some(Item::Row(_)), None) => return Err(damaged("nuda_log")),
            }
        }
        open.stored.clone_from(stored);
        Ok(open)
    }

    fn take(&mut self, row: RowName<'_>, newest: &mut Found) -> Result<()> {
        let Some(places) = self.by_row.get(&row.fingerprint()) else {
            return Ok(());
        };
        for n in places {
            let Some(place) = self.places.get_mut(*n).filter(|place| !place.is_taken) else {
                continue;
            };
            let mut reader = BodyReader::resume(&self.stored, place.offset, place.table);
            let Some(Item::Row(image)) = reader.next_item()? else {
                return Err(damaged("nuda_log"));
            };
            if !row.is(place.table.number, &image.key) {
                continue;
            }
            place.is_taken = true;
            self.is_changed = true;
            if newest
                .as_ref()
                .is_none_or(|(known, _)| place.order >= *known)
            {
                *newest = Some((place.order, values(&image)));
            }
        }
        Ok(())
    }
}

/// An image and its order.
type Found = Option<(Order, Vec<OwnedValue>)>;

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
        let images = with_order(&self.images, Order::FIRST);
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
    (db, sites): (Db, &Sites),
    tables: &Tables,
    index: &mut LogIndex,
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
        let heirs = index.deletes(db, sites, row, |key| !goes(key))?;
        let Some(heir) = heirs.first().copied() else {
            hidden::image_gone(db, tables, (row.table, row.key))?;
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
