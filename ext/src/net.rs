//! The net effect: from events in order of arrival to at most a few changes per row.
//!
//! A row that was there before and after is an update of the differing columns, whatever
//! happened in between (REPLACE, delete and insert, several updates). Where a row has several
//! events, the registers' values are read from the row itself as it stands now: triggers of
//! the user may run before ours, so the order of arrival need not be the order of writing.
//! Counters need no order, their differences add up; nor do sets, whose elements come and go
//! in turns ([`orset::Net`]). An edit of a text is the difference between the row as it stands and
//! the text before the first edit, found by undoing them ([`undo`]). A row updated and then deleted ships
//! both, so that every replica keeps the same image of it.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;

use nuda_core::codec::{Reader, put_varint};
use nuda_core::merge;
use nuda_core::row::{self, Cell};
use nuda_core::sorted;
use nuda_core::types::orset;
use nuda_core::value::{OwnedValue, Value};

use crate::buffer::{Buffer, Event, Kind};
use crate::error::Result;
use crate::ffi::db::Db;
use crate::hidden;
use crate::keys;
use crate::shadow::damaged;
use crate::tracked::{Column, ColumnType, Table, Tables};
use crate::undo;

/// A part of a changeset's body, and the images of the rows that it deletes.
#[derive(Debug, Default)]
pub(crate) struct NetEffect {
    pub(crate) body: Vec<u8>,
    pub(crate) images: Vec<u8>,
    body_table: Option<u32>,
    image_table: Option<u32>,
}

/// A table that got columns since its triggers were made.
#[derive(Debug, Clone)]
pub(crate) struct Grown {
    pub(crate) table: u32,
    /// The added columns, and what they show in rows that nobody wrote since.
    pub(crate) defaults: Vec<(usize, OwnedValue)>,
}

/// Row hashes are spread already.
#[derive(Debug, Default, Clone, Copy)]
struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {}
    fn write_u64(&mut self, n: u64) {
        self.0 = n;
    }
}

/// For how many rows room is made at once.
const USUAL_EVENT_BYTES: usize = 128;

type RowSet = HashSet<u64, BuildHasherDefault<Spread>>;

/// Computes the net effect of the buffered events. The rows of `grown` tables are read again
/// in any case: their triggers did not know all columns.
pub(crate) fn net_effect(
    db: Db,
    buffer: &Buffer,
    tables: &Tables,
    grown: &[Grown],
) -> Result<NetEffect> {
    let mut seen = RowSet::default();
    seen.reserve(buffer.len() / USUAL_EVENT_BYTES);
    let mut repeated = RowSet::default();
    // What triggers could not tell of rows whose table has columns of this node's own is read.
    let ahead: Vec<u32> = tables.ahead().map(|table| table.at.number).collect();
    for event in buffer.iter() {
        let is_read = ahead.contains(&event.table) || grown.iter().any(|g| g.table == event.table);
        if !seen.insert(event.row) || is_read {
            repeated.insert(event.row);
        }
    }
    drop(seen);
    let mut net = NetEffect::default();
    net.body.reserve(buffer.len());
    // Definitions first: rows may depend on them.
    for event in buffer.iter().filter(|event| event.kind == Kind::Definition) {
        net.definition(event.payload);
    }
    let mut rows: Vec<History> = Vec::new();
    let mut index: HashMap<(u32, Vec<u8>), usize> = HashMap::new();
    for event in buffer.iter() {
        if event.kind == Kind::Definition {
            continue;
        }
        let table = tables
            .get(event.table)
            .ok_or_else(|| damaged("nuda_table"))?;
        if !repeated.contains(&event.row) {
            net.push(table, &event)?;
            continue;
        }
        let key = key_bytes(table, &event)?;
        let place = *index.entry((event.table, key)).or_insert_with(|| {
            let added = grown.iter().find(|g| g.table == event.table);
            rows.push(History::new(Rc::clone(table), added.cloned()));
            rows.len() - 1
        });
        if let Some(history) = rows.get_mut(place) {
            history.add(&event)?;
        }
    }
    for history in rows {
        history.write(db, &mut net)?;
    }
    Ok(net)
}

impl NetEffect {
    fn table(&mut self, table: &Table) {
        if self.body_table != Some(table.at.number) {
            row::put_table(&mut self.body, &table.at);
            self.body_table = Some(table.at.number);
        }
    }

    /// Ships one event as it is.
    fn push(&mut self, table: &Table, event: &Event<'_>) -> Result<()> {
        self.table(table);
        match event.kind {
            Kind::Insert => {
                row::begin_insert(&mut self.body);
                self.body.extend_from_slice(event.payload);
            }
            Kind::Update => {
                row::begin_update(&mut self.body);
                self.body.extend_from_slice(event.payload);
            }
            Kind::Delete => {
                let key = key_length(table, event.payload)?;
                row::begin_delete(&mut self.body);
                self.body
                    .extend_from_slice(event.payload.get(..key).unwrap_or_default());
                self.image(table, event.payload);
            }
            Kind::Definition => self.definition(event.payload),
        }
        Ok(())
    }

    /// Ships an update of no column: the row stays alive.
    pub(crate) fn keep_alive(&mut self, table: &Table, row: &[OwnedValue]) {
        self.table(table);
        row::begin_update(&mut self.body);
        for value in row.iter().take(table.at.key_columns) {
            value.as_ref().encode(&mut self.body);
        }
        put_varint(&mut self.body, 0);
    }

    fn definition(&mut self, definition: &[u8]) {
        row::put_schema(&mut self.body, definition);
        self.body_table = None;
    }

    /// The images were rewritten: the next one names its table again.
    pub(crate) fn forget_image_table(&mut self) {
        self.image_table = None;
    }

    /// Keeps the image of a deleted row: one value for each column.
    pub(crate) fn image(&mut self, table: &Table, values: &[u8]) {
        if self.image_table != Some(table.at.number) {
            row::put_table(&mut self.images, &table.at);
            self.image_table = Some(table.at.number);
        }
        row::begin_insert(&mut self.images);
        self.images.extend_from_slice(values);
    }
}

/// How many bytes of an encoded row are its key.
fn key_length(table: &Table, payload: &[u8]) -> Result<usize> {
    let mut reader = Reader::new(payload);
    for _ in 0..table.at.key_columns {
        Value::decode(&mut reader)?;
    }
    Ok(payload.len() - reader.rest().len())
}

fn key_bytes(table: &Table, event: &Event<'_>) -> Result<Vec<u8>> {
    let length = key_length(table, event.payload)?;
    Ok(event.payload.get(..length).unwrap_or_default().to_vec())
}

/// What a row went through in this part of the transaction.
#[derive(Debug)]
struct History {
    table: Rc<Table>,
    /// The columns that were added and the events do not know.
    grown: Option<Grown>,
    key: Vec<OwnedValue>,
    inserts: i32,
    deletes: i32,
    /// The row as the first delete found it.
    image: Option<Vec<u8>>,
    /// The latest insert's cells.
    inserted: Option<Vec<u8>>,
    /// The same, whether or not that row is there in the end.
    last_inserted: Option<Vec<u8>>,
    /// Columns touched since the row was last inserted or was there.
    touched: HashMap<usize, Touched>,
    /// The same, before the first delete.
    touched_before: HashMap<usize, Touched>,
}

/// What the events say about a column; a register is read from the row.
#[derive(Debug, Clone, Default)]
struct Touched {
    /// What was added to a counter.
    added: i128,
    /// What a set gained and lost.
    elements: orset::Net,
    /// The way back from a text as it stands.
    path: undo::Path,
    /// The text before, where the way back begins elsewhere.
    before: Option<OwnedValue>,
}

/// Stands for a value that is not known: no column with a path holds it, so what comes after it
/// is assigned.
const LOST: OwnedValue = OwnedValue::Blob(Vec::new());

impl Touched {
    fn add(&mut self, cell: Cell<'_>) {
        match cell {
            Cell::Add(n) => self.added = merge::add(self.added, n),
            Cell::Set(edit) => self.elements.add(edit),
            Cell::Value(_) | Cell::Text(_) | Cell::Doc(_) => {}
        }
    }

    /// The events do not tell how the column came from one value to the other.
    fn replace(&mut self, old: &OwnedValue, new: &OwnedValue) {
        if let OwnedValue::Int(new) = new {
            let old = match old {
                OwnedValue::Int(old) => *old,
                _ => 0,
            };
            self.add(Cell::Add(i128::from(*new) - i128::from(old)));
        }
        self.elements.replace(old.as_ref(), new.as_ref());
        self.before = Some(old.clone());
    }

    fn join(&mut self, other: &Self) {
        self.added = merge::add(self.added, other.added);
        self.elements.join(&other.elements);
    }

    /// Appends the cell of the column that went from a value to `now`; `false` if of nothing.
    fn put(&self, column: &Column, now: Value<'_>, cell: &mut Vec<u8>) -> bool {
        match column.kind {
            ColumnType::Counter if self.added == 0 => return false,
            ColumnType::Counter => Cell::Add(self.added).encode(cell),
            ColumnType::OrSet => self.elements.encode(now, cell),
            kind if kind.has_state() => {
                // Between a statement and its triggers it may not be in its form yet.
                let form = kind.stored(now).unwrap_or_default();
                let now = form.as_ref().map_or(now, OwnedValue::as_ref);
                let before = self.before.clone().or_else(|| self.path.origin(now));
                let before = before.unwrap_or(LOST);
                return !same(before.as_ref(), now)
                    && kind
                        .edit(before.as_ref(), now, &column.rules, cell)
                        .unwrap_or(false);
            }
            _ => Cell::Value(now).encode(cell),
        }
        true
    }
}

impl History {
    fn new(table: Rc<Table>, grown: Option<Grown>) -> Self {
        Self {
            table,
            grown,
            key: Vec::new(),
            inserts: 0,
            deletes: 0,
            image: None,
            inserted: None,
            last_inserted: None,
            touched: HashMap::new(),
            touched_before: HashMap::new(),
        }
    }

    fn add(&mut self, event: &Event<'_>) -> Result<()> {
        let mut reader = Reader::new(event.payload);
        if self.key.is_empty() {
            for _ in 0..self.table.at.key_columns {
                self.key.push(Value::decode(&mut reader)?.into());
            }
        } else {
            for _ in 0..self.table.at.key_columns {
                Value::decode(&mut reader)?;
            }
        }
        match event.kind {
            Kind::Insert => {
                self.inserts += 1;
                self.inserted = Some(event.payload.to_vec());
                self.last_inserted.clone_from(&self.inserted);
            }
            Kind::Delete => {
                self.deletes += 1;
                if self.inserts < self.deletes && self.image.is_none() {
                    self.image = Some(event.payload.to_vec());
                    self.touched_before = std::mem::take(&mut self.touched);
                }
                self.touched.clear();
                self.inserted = None;
            }
            Kind::Definition => {}
            Kind::Update => {
                let count = reader.varint("changed columns")?;
                let mut column = 0;
                for _ in 0..count {
                    column += usize::try_from(reader.varint("a column")?).unwrap_or(usize::MAX);
                    let cell = Cell::decode(&mut reader)?;
                    self.touched.entry(column).or_default().add(cell);
                }
                for (column, step) in undo::read(event.undo)? {
                    self.touched.entry(column).or_default().path.add(step);
                }
            }
        }
        Ok(())
    }

    fn write(self, db: Db, net: &mut NetEffect) -> Result<()> {
        let now = self.read(db)?;
        // What went in and did not go out again is what is there beyond what was.
        let was_there = i32::from(now.is_some()) - self.inserts + self.deletes > 0;
        match (was_there, now) {
            (false, None) => {
                // AUTOINCREMENT gives no number twice, anywhere.
                if let (true, Some(inserted)) = (
                    self.table.options.is_strong && keys::counts(db, &self.table)?,
                    &self.last_inserted,
                ) {
                    net.table(&self.table);
                    row::begin_insert(&mut net.body);
                    net.body.extend_from_slice(inserted);
                    row::begin_delete(&mut net.body);
                    for value in &self.key {
                        value.as_ref().encode(&mut net.body);
                    }
                }
                Ok(())
            }
            (false, Some(row)) => {
                net.table(&self.table);
                row::begin_insert(&mut net.body);
                for (value, column) in row.iter().zip(&self.table.columns) {
                    // Between a statement and its triggers it may not be in its form yet.
                    let stored = column.kind.stored(value.as_ref()).unwrap_or_default();
                    let value = stored.as_ref().unwrap_or(value).as_ref();
                    column.kind.initial(value).encode(&mut net.body);
                }
                Ok(())
            }
            (true, None) => {
                let before = if self.image.is_some() {
                    &self.touched_before
                } else {
                    &self.touched
                };
                if let Some(image) = &self.image {
                    self.write_update_before(before, image, net)?;
                    let image = &self.padded(image)?;
                    net.table(&self.table);
                    row::begin_delete(&mut net.body);
                    for value in &self.key {
                        value.as_ref().encode(&mut net.body);
                    }
                    net.image(&self.table, image);
                }
                Ok(())
            }
            (true, Some(row)) => self.write_update(&row, net),
        }
    }

    /// The row as it stands now, one value for each column.
    fn read(&self, db: Db) -> Result<Option<Vec<OwnedValue>>> {
        let sql = format!(
            "SELECT {} FROM {} WHERE {}",
            self.table.column_list(),
            self.table.quoted(),
            self.table.key_condition()
        );
        let key: Vec<Value<'_>> = self.key.iter().map(OwnedValue::as_ref).collect();
        match db.first(&sql, &key)? {
            // One that was written again and has no place in its table.
            None => hidden::peek(db, &self.table, &key),
            row => Ok(row),
        }
    }

    /// The image of a row, as wide as the table is now.
    fn padded(&self, image: &[u8]) -> Result<Vec<u8>> {
        let mut reader = Reader::new(image);
        let mut columns = 0;
        while !reader.is_empty() {
            Value::decode(&mut reader)?;
            columns += 1;
        }
        let mut padded = image.to_vec();
        for _ in columns..self.table.at.columns {
            Value::Null.encode(&mut padded);
        }
        Ok(padded)
    }

    /// The updates of a row that was deleted in the end: everyone's image must hold them.
    fn write_update_before(
        &self,
        touched: &HashMap<usize, Touched>,
        image: &[u8],
        net: &mut NetEffect,
    ) -> Result<()> {
        let mut reader = Reader::new(image);
        let mut values = Vec::with_capacity(self.table.at.columns);
        while !reader.is_empty() {
            values.push(OwnedValue::from(Value::decode(&mut reader)?));
        }
        self.put_update(touched, &values, net);
        Ok(())
    }

    /// The row was there and is there: the differing columns.
    fn write_update(&self, now: &[OwnedValue], net: &mut NetEffect) -> Result<()> {
        let mut touched = self.touched.clone();
        if let Some(grown) = &self.grown {
            for (n, column) in self.table.columns.iter().enumerate() {
                if column.kind.is_assigned() {
                    touched.entry(n).or_default();
                }
            }
            for (n, default) in &grown.defaults {
                let now = now.get(*n).unwrap_or(&OwnedValue::Null);
                touched.entry(*n).or_default().replace(default, now);
            }
        }
        if let Some(image) = &self.image {
            // Deleted and inserted again (REPLACE): compare with the row that was replaced.
            for (column, before) in &self.touched_before {
                touched.entry(*column).or_default().join(before);
            }
            let mut reader = Reader::new(image);
            let mut inserted = self.inserted.as_deref().map(Reader::new);
            for (n, column) in self.table.columns.iter().enumerate() {
                if reader.is_empty() {
                    break;
                }
                let old = Value::decode(&mut reader)?;
                let fresh = match &mut inserted {
                    Some(reader) if !reader.is_empty() => Some(Cell::decode(reader)?),
                    _ => None,
                };
                match (column.kind, old, fresh) {
                    (ColumnType::Counter, Value::Int(old), Some(Cell::Add(new))) => {
                        let difference = new - i128::from(old);
                        if difference != 0 {
                            touched.entry(n).or_default().add(Cell::Add(difference));
                        }
                    }
                    (ColumnType::OrSet, old, Some(Cell::Value(new))) if !same(old, new) => {
                        touched.entry(n).or_default().elements.replace(old, new);
                    }
                    (kind, old, _) if kind.has_state() => {
                        // What came after the insert is in the row.
                        let path = self.touched_before.get(&n).map(|touched| &touched.path);
                        let form = kind.stored(old).unwrap_or_default();
                        let old = form.as_ref().map_or(old, OwnedValue::as_ref);
                        let before = path.map_or_else(|| Some(old.into()), |p| p.origin(old));
                        let touched = touched.entry(n).or_default();
                        touched.before = Some(before.unwrap_or(LOST));
                    }
                    (kind, old, _)
                        if kind.is_assigned()
                            && now.get(n).is_some_and(|value| !same(value.as_ref(), old)) =>
                    {
                        touched.entry(n).or_default();
                    }
                    _ => {}
                }
            }
        }
        self.put_update(&touched, now, net);
        Ok(())
    }

    fn put_update(
        &self,
        touched: &HashMap<usize, Touched>,
        values: &[OwnedValue],
        net: &mut NetEffect,
    ) {
        let untouched = Touched::default();
        let together = touched
            .keys()
            .filter_map(|n| self.table.group(*n))
            .flatten();
        let together: HashSet<usize> = together.copied().collect();
        let with = together.iter().filter(|n| !touched.contains_key(*n));
        let mut columns: Vec<(usize, Vec<u8>)> = touched
            .iter()
            .chain(with.map(|n| (n, &untouched)))
            .filter_map(|(n, touched)| {
                let column = self
                    .table
                    .columns
                    .get(*n)
                    .filter(|c| !c.is_key && !c.is_gone)?;
                let mut cell = Vec::new();
                let value = values.get(*n)?.as_ref();
                touched.put(column, value, &mut cell).then_some((*n, cell))
            })
            .collect();
        if columns.is_empty() {
            return;
        }
        sorted::by_key(&mut columns, |(n, _)| *n);
        net.table(&self.table);
        row::begin_update(&mut net.body);
        for value in &self.key {
            value.as_ref().encode(&mut net.body);
        }
        put_varint(&mut net.body, columns.len() as u64);
        let mut previous = 0;
        for (n, cell) in columns {
            put_varint(&mut net.body, (n - previous) as u64);
            net.body.extend_from_slice(&cell);
            previous = n;
        }
    }
}

/// Whether two values are the same to the last bit.
fn same(a: Value<'_>, b: Value<'_>) -> bool {
    let (mut left, mut right) = (Vec::new(), Vec::new());
    a.encode(&mut left);
    b.encode(&mut right);
    left == right
}
