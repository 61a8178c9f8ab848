//! Applying changes of rows to the user's tables.
//!
//! The common case, no concurrent change of the row, is one prepared statement. Otherwise the
//! merge decides (see [`nuda_core::merge`]) and this module carries its plan out, keeps the
//! images of rows it hides, and reports the values that lost.

use std::collections::HashMap;
use std::rc::Rc;

use nuda_core::changeset::Header;
use nuda_core::merge::{Event, Plan, merge};
use nuda_core::row::{Cell, Change, RowChange};
use nuda_core::sorted;
use nuda_core::types::{Write, edited};
use nuda_core::value::{OwnedValue, Value};
use nuda_core::version_vector::VersionVector;
use sqlite3_ext::ffi::SQLITE_CONSTRAINT_UNIQUE;

use crate::births::{self, key_bytes};
use crate::canonical;
use crate::concurrent::{Found, LogIndex, RowName};
use crate::conflicts;
use crate::error::{Error, Result};
use crate::excess::{self, CounterCell, clamped};
use crate::ffi::db::{Db, Stmt};
use crate::guard::{Guard, Write as Announced};
use crate::images::Images;
use crate::keys;
use crate::net::NetEffect;
use crate::parked::Parked;
use crate::placed;
use crate::shadow::Sites;
use crate::tracked::{Table, quote};
use crate::visible::{self, Touched};

/// Prepared statements for the rows of tracked tables.
#[derive(Debug, Default)]
pub(crate) struct RowStatements {
    /// By table, its version and shape: another connection may have renamed a column since.
    by_shape: HashMap<(u32, u32, Shape), Stmt>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Shape {
    /// Insert this many columns, or overwrite them.
    Insert(usize),
    Update(Vec<usize>),
    Delete,
    Select,
}

/// Distinct column sets that are kept prepared.
const STATEMENTS: usize = 256;

impl RowStatements {
    /// Inserts a row, from its first column on, or overwrites it.
    pub(crate) fn insert(&mut self, db: Db, table: &Table, values: &[Value<'_>]) -> Result<()> {
        self.get(db, table, Shape::Insert(values.len()))?
            .run(&table.live_values(values))
    }

    /// Deletes a row.
    pub(crate) fn delete(&mut self, db: Db, table: &Table, key: &[Value<'_>]) -> Result<()> {
        let statement = self.get(db, table, Shape::Delete)?;
        statement.bind(key)?;
        while statement.step()? {}
        statement.reset();
        Ok(())
    }

    fn get(&mut self, db: Db, table: &Table, shape: Shape) -> Result<&mut Stmt> {
        if self.by_shape.len() >= STATEMENTS {
            self.by_shape.clear();
        }
        let key = (table.at.number, table.at.version, shape);
        if !self.by_shape.contains_key(&key) {
            let statement = db.prepare(&key.2.sql(table))?;
            self.by_shape.insert(key.clone(), statement);
        }
        self.by_shape
            .get_mut(&key)
            .ok_or_else(|| Error::internal("a lost statement"))
    }
}

impl Shape {
    fn sql(&self, table: &Table) -> String {
        let name = table.quoted();
        let column = |n: usize| {
            table
                .columns
                .get(n)
                .map(|c| quote(&c.name))
                .unwrap_or_default()
        };
        match self {
            Self::Insert(count) => {
                let columns: Vec<String> = (0..*count)
                    .filter(|n| !table.is_gone(*n))
                    .map(column)
                    .collect();
                let places = vec!["?"; columns.len()].join(", ");
                let keys: Vec<String> = table.key().map(|c| quote(&c.name)).collect();
                let set: Vec<String> = columns
                    .iter()
                    .skip(table.at.key_columns)
                    .map(|c| format!("{c} = excluded.{c}"))
                    .collect();
                let action = if set.is_empty() {
                    "NOTHING".to_owned()
                } else {
                    format!("UPDATE SET {}", set.join(", "))
                };
                format!(
                    "INSERT INTO {name}({}) VALUES ({places}) ON CONFLICT({}) DO {action}",
                    columns.join(", "),
                    keys.join(", ")
                )
            }
            Self::Update(columns) => {
                let first = table.at.key_columns + 1;
                let set: Vec<String> = columns
                    .iter()
                    .enumerate()
                    .map(|(place, n)| format!("{} = ?{}", column(*n), first + place))
                    .collect();
                format!(
                    "UPDATE {name} SET {} WHERE {}",
                    set.join(", "),
                    table.key_condition()
                )
            }
            Self::Delete => format!(
                "DELETE FROM {name} WHERE {} RETURNING {}",
                table.key_condition(),
                table.column_list()
            ),
            Self::Select => format!(
                "SELECT {} FROM {name} WHERE {}",
                table.column_list(),
                table.key_condition()
            ),
        }
    }
}

/// One changeset being applied.
pub(crate) struct Applying<'a> {
    pub(crate) db: Db,
    pub(crate) sites: &'a Sites,
    pub(crate) header: &'a Header,
    /// Everything the changeset had seen, not counting its own site.
    pub(crate) seen: &'a VersionVector,
    /// Present if anything concurrent has been applied here.
    pub(crate) index: Option<&'a mut LogIndex>,
    pub(crate) guard: &'a Guard,
    pub(crate) statements: &'a mut RowStatements,
    /// Images of rows that were hidden before.
    pub(crate) images: &'a mut Images,
    /// Rows that are out of their table until the changeset's end.
    pub(crate) parked: &'a mut Parked,
    /// What happened to tables that may hide rows.
    pub(crate) touched: &'a mut Touched,
    /// Receives the images of the rows that are hidden.
    pub(crate) net: &'a mut NetEffect,
}

impl Applying<'_> {
    /// Applies one row's change. `place` is its position within the changeset.
    pub(crate) fn apply(
        &mut self,
        table: &Rc<Table>,
        row: &RowChange<'_>,
        place: u64,
    ) -> Result<()> {
        let name = RowName {
            table: table.at.number,
            key: &row.key,
        };
        let concurrent = match &mut self.index {
            Some(index) => {
                index.concurrent(self.db, self.sites, name, self.header.dot.site, self.seen)?
            }
            None => Vec::new(),
        };
        self.touched.attached.note(self.db, table, &row.key)?;
        if table.may_hide() {
            self.bring_out(table, row, place, &concurrent)?;
        }
        if concurrent.is_empty() && self.apply_directly(table, row)? {
            return Ok(());
        }
        self.apply_merged(table, row, place, &concurrent)
    }

    /// In a table that may hide rows: a hidden row comes out to be changed, and a birth is noted.
    fn bring_out(
        &mut self,
        table: &Rc<Table>,
        row: &RowChange<'_>,
        place: u64,
        concurrent: &[Rc<Found>],
    ) -> Result<()> {
        if let Some(values) = self.touched.bring_out(self.db, table, &row.key)? {
            let values = values.iter().map(OwnedValue::as_ref).enumerate();
            self.parked.put(table, &row.key, values);
        }
        if let (Change::Insert(_), true) = (&row.change, table.options.keep_first) {
            let incoming = self.event(row, place);
            let events: Vec<Event<'_>> = concurrent.iter().map(|found| found.event()).collect();
            let first = births::first(&incoming, &events);
            births::put(self.db, table.at.number, &key_bytes(&row.key), first)?;
        }
        Ok(())
    }

    fn event<'e>(&self, row: &RowChange<'e>, place: u64) -> Event<'e>
    where
        Self: 'e,
    {
        Event {
            dot: self.header.dot,
            index: place,
            stamp: self.header.stamp,
            seen: self.seen,
            change: row.change.clone(),
        }
    }

    /// Nothing concurrent: the change is newer than all there is. Answers `false` if the row
    /// is not as the change found it, which only a merge can settle.
    fn apply_directly(&mut self, table: &Rc<Table>, row: &RowChange<'_>) -> Result<bool> {
        match &row.change {
            Change::Insert(cells) => {
                let values: Vec<Value<'_>> = cells.iter().map(|cell| initial(*cell)).collect();
                self.write_new(table, &row.key, &values)?;
                Ok(true)
            }
            Change::Delete => {
                self.hide(table, &row.key)?;
                Ok(true)
            }
            Change::Update(cells) => {
                let visible = self.select(table, &row.key, cells)?;
                match visible {
                    Some(now) => {
                        let writes: Vec<(usize, Write<'_>)> = cells
                            .iter()
                            .map(|(n, cell)| (*n, Write::of(*cell)))
                            .collect();
                        self.update(table, &row.key, &writes, &now).map(|()| true)
                    }
                    None => Ok(false),
                }
            }
        }
    }

    /// The row as it stands, if a difference needs it or its presence must be known.
    fn select(
        &mut self,
        table: &Rc<Table>,
        key: &[Value<'_>],
        cells: &[(usize, Cell<'_>)],
    ) -> Result<Option<Vec<OwnedValue>>> {
        let are_registers = cells.iter().all(|(_, cell)| matches!(cell, Cell::Value(_)));
        if are_registers && !cells.is_empty() {
            // Registers need no look at the row: the update itself tells whether it is there.
            let columns = cells.iter().map(|(n, _)| *n).collect();
            let mut values = key.to_vec();
            values.extend(cells.iter().map(|(_, cell)| initial(*cell)));
            let is_there = self.write_columns(table, key, columns, &values)?;
            return Ok(is_there.then(Vec::new));
        }
        self.read(table, key)
    }

    fn read(&mut self, table: &Rc<Table>, key: &[Value<'_>]) -> Result<Option<Vec<OwnedValue>>> {
        if let Some(values) = self.parked.get(table, key) {
            return Ok(Some(image_row(table, values)));
        }
        let statement = self.statements.get(self.db, table, Shape::Select)?;
        statement.bind(key)?;
        let row = if statement.step()? {
            Some(statement.row())
        } else {
            None
        };
        statement.reset();
        Ok(row)
    }

    /// Writes columns of a visible row; `now` is the row, or empty if it was written already.
    fn update(
        &mut self,
        table: &Rc<Table>,
        key: &[Value<'_>],
        writes: &[(usize, Write<'_>)],
        now: &[OwnedValue],
    ) -> Result<()> {
        if writes.is_empty() || now.is_empty() {
            return Ok(());
        }
        let mut made = Vec::with_capacity(writes.len());
        for (n, write) in writes {
            made.push(match (write, now.get(*n)) {
                (Write::Add(added), Some(OwnedValue::Int(count))) => {
                    let cell = CounterCell {
                        table: table.at.number,
                        key,
                        column: *n,
                    };
                    OwnedValue::Int(excess::add(self.db, &cell, *count, *added)?)
                }
                (Write::Set(step), now) => step.apply(now.map_or(Value::Null, OwnedValue::as_ref)),
                (Write::Edit(cell), now) => {
                    let now = now.map_or(Value::Null, OwnedValue::as_ref);
                    edited(*cell, now).ok_or_else(|| placed::misfit(table, *n))?
                }
                _ => OwnedValue::Null,
            });
        }
        let columns = writes.iter().map(|(n, _)| *n).collect();
        let mut values = key.to_vec();
        for ((_, write), made) in writes.iter().zip(&made) {
            values.push(match write {
                Write::Set(_) | Write::Edit(_) => made.as_ref(),
                Write::Add(_) if *made != OwnedValue::Null => made.as_ref(),
                write => absolute(write),
            });
        }
        self.write_columns(table, key, columns, &values).map(drop)
    }

    /// Writes a row that is not there, or overwrites it if it is after all.
    fn write_new(
        &mut self,
        table: &Rc<Table>,
        key: &[Value<'_>],
        values: &[Value<'_>],
    ) -> Result<()> {
        if self.guard.is_active() && self.read(table, key)?.is_some() {
            // An upsert would fire both kinds of triggers, and only one can be announced.
            let keys = table.at.key_columns;
            let columns: Vec<usize> = (keys..values.len()).collect();
            let mut bound = key.to_vec();
            bound.extend(values.iter().skip(keys));
            return self.write_columns(table, key, columns, &bound).map(drop);
        }
        if self.parked.get(table, key).is_some() {
            let values = values.iter().copied().enumerate();
            self.parked.put(table, key, values);
            return Ok(());
        }
        match self.insert_or_overwrite(table, key, values) {
            Err(error) if is_collision(table, &error) => {
                // Written before columns were added here: kept as its table would have it.
                let mut row: Vec<OwnedValue> = values.iter().map(|v| (*v).into()).collect();
                canonical::fill_up(self.db, table, &mut row)?;
                self.take_out(table, key, row.iter().map(OwnedValue::as_ref).enumerate())
            }
            done => done,
        }
    }

    fn insert_or_overwrite(
        &mut self,
        table: &Rc<Table>,
        key: &[Value<'_>],
        values: &[Value<'_>],
    ) -> Result<()> {
        self.guard.announce(Announced::Insert, table.at.number, key);
        self.statements.insert(self.db, table, values)
    }

    /// Another row still has a unique value that this one is to have: takes this one out until
    /// the changeset's end, with these columns as they will be.
    fn take_out<'v>(
        &mut self,
        table: &Rc<Table>,
        key: &[Value<'_>],
        columns: impl Iterator<Item = (usize, Value<'v>)>,
    ) -> Result<()> {
        if let Some(now) = self.read(table, key)? {
            self.guard.announce(Announced::Delete, table.at.number, key);
            let statement = self.statements.get(self.db, table, Shape::Delete)?;
            statement.bind(key)?;
            while statement.step()? {}
            statement.reset();
            let now = now.iter().map(OwnedValue::as_ref).enumerate();
            self.parked.put(table, key, now);
        }
        self.parked.put(table, key, columns);
        Ok(())
    }

    /// The changeset's rows are all where they are to be: puts back those that were taken out.
    pub(crate) fn put_back(&mut self) -> Result<()> {
        let (hiding, others): (Vec<_>, Vec<_>) = self
            .parked
            .take_all()
            .into_iter()
            .partition(|row| row.table.may_hide());
        for row in others {
            let values: Vec<Value<'_>> = row.values.iter().map(OwnedValue::as_ref).collect();
            let key = values.get(..row.table.at.key_columns).unwrap_or_default();
            self.insert_or_overwrite(&row.table, key, &values)?;
        }
        let mut writer = visible::Writer {
            db: self.db,
            guard: self.guard,
            statements: self.statements,
        };
        visible::settle(&mut writer, std::mem::take(self.touched), hiding)
    }

    /// Sets these columns; `values` are the key's and theirs. Answers whether the row is there.
    fn write_columns(
        &mut self,
        table: &Rc<Table>,
        key: &[Value<'_>],
        mut columns: Vec<usize>,
        values: &[Value<'_>],
    ) -> Result<bool> {
        let keys = table.at.key_columns;
        let mut values = values.to_vec();
        if columns.iter().any(|n| table.is_gone(*n)) {
            let set = values.split_off(keys.min(values.len()));
            let live = columns.iter().zip(set).filter(|(n, _)| !table.is_gone(**n));
            values.extend(live.map(|(_, value)| value));
            columns.retain(|n| !table.is_gone(*n));
        }
        if columns.is_empty() {
            return Ok(true);
        }
        let set = |columns: Vec<usize>| {
            let values = values.iter().copied().skip(keys);
            columns.into_iter().zip(values)
        };
        if self.parked.get(table, key).is_some() {
            self.parked.put(table, key, set(columns));
            return Ok(true);
        }
        self.guard.announce(Announced::Update, table.at.number, key);
        let shape = Shape::Update(columns.clone());
        match self.statements.get(self.db, table, shape)?.run(&values) {
            Ok(()) => Ok(self.db.changes() > 0),
            Err(error) if is_collision(table, &error) => {
                self.take_out(table, key, set(columns)).map(|()| true)
            }
            Err(error) => Err(error),
        }
    }

    /// Keeps what 64 bits cannot show of a new life's counters.
    fn settle(
        &self,
        table: &Rc<Table>,
        key: &[Value<'_>],
        writes: &[(usize, Write<'_>)],
    ) -> Result<()> {
        for (column, write) in writes {
            if let Write::Add(sum) = write {
                excess::set(
                    self.db,
                    &CounterCell {
                        table: table.at.number,
                        key,
                        column: *column,
                    },
                    *sum,
                )?;
            }
        }
        Ok(())
    }

    /// Deletes the row and keeps its image.
    fn hide(&mut self, table: &Rc<Table>, key: &[Value<'_>]) -> Result<()> {
        if let Some(row) = self.parked.remove(table, key) {
            let mut image = Vec::new();
            for value in image_row(table, &row.values) {
                value.as_ref().encode(&mut image);
            }
            self.net.image(table, &image);
            // It may never have been inserted, and its number is taken all the same.
            return match key {
                [Value::Int(key)] if keys::counts(self.db, table)? => {
                    keys::count_on(self.db, table, *key)
                }
                _ => Ok(()),
            };
        }
        self.guard.announce(Announced::Delete, table.at.number, key);
        let statement = self.statements.get(self.db, table, Shape::Delete)?;
        statement.bind(key)?;
        while statement.step()? {
            let mut image = Vec::new();
            for n in 0..table.columns.len() {
                statement.value(n).encode(&mut image);
            }
            self.net.image(table, &image);
        }
        statement.reset();
        Ok(())
    }

    fn apply_merged(
        &mut self,
        table: &Rc<Table>,
        row: &RowChange<'_>,
        place: u64,
        concurrent: &[Rc<Found>],
    ) -> Result<()> {
        let now = self.read(table, &row.key)?;
        let incoming = Event {
            dot: self.header.dot,
            index: place,
            stamp: self.header.stamp,
            seen: self.seen,
            change: row.change.clone(),
        };
        let events: Vec<Event<'_>> = concurrent.iter().map(|found| found.event()).collect();
        let mut lost = Vec::new();
        let plan = merge(&incoming, &events, now.is_some(), &**table, &mut lost);
        for loss in &lost {
            conflicts::record(self.db, table, &row.key, loss)?;
        }
        if self.touched.attached.is_referred_to(table.at.number) {
            conflicts::kept(self.db, (table, &row.key), (&incoming, &events), &plan)?;
        }
        match (plan, now) {
            (Plan::Keep, _) => Ok(()),
            (Plan::EditImage(writes), _) => self.edit_image(table, &incoming, &row.key, writes),
            (Plan::Hide, _) => self.hide(table, &row.key),
            (Plan::Update(writes), Some(now)) => {
                let writes = self.placed(table, &incoming, &row.key, writes, &now)?;
                self.update(table, &row.key, &writes, &now)
            }
            (Plan::Revive(writes) | Plan::Update(writes), _) => {
                self.revive(table, &row.key, &incoming, writes)
            }
            (Plan::Insert(writes), None) => {
                // What an older life held is reset; its image must not come back.
                let image = self.take_image(table, &row.key)?.unwrap_or_default();
                let writes = self.placed(table, &incoming, &row.key, writes, &image)?;
                self.settle(table, &row.key, &writes)?;
                self.insert(table, &writes)
            }
            (Plan::Insert(writes), Some(now)) => {
                let mut writes = self.placed(table, &incoming, &row.key, writes, &now)?;
                self.settle(table, &row.key, &writes)?;
                writes.retain(|(n, _)| *n >= table.at.key_columns);
                self.overwrite(table, &row.key, &writes)
            }
        }
    }

    /// Sets columns of a visible row to the values of its new life.
    fn overwrite(
        &mut self,
        table: &Rc<Table>,
        key: &[Value<'_>],
        writes: &[(usize, Write<'_>)],
    ) -> Result<()> {
        let columns = writes.iter().map(|(n, _)| *n).collect();
        let mut bound = key.to_vec();
        bound.extend(writes.iter().map(|(_, write)| absolute(write)));
        self.write_columns(table, key, columns, &bound).map(drop)
    }

    fn insert(&mut self, table: &Rc<Table>, writes: &[(usize, Write<'_>)]) -> Result<()> {
        let mut writes: Vec<&(usize, Write<'_>)> = writes.iter().collect();
        sorted::by_key(&mut writes, |(n, _)| *n);
        // Columns that the insert did not know keep their defaults: insert what is dense from
        // the front, then set the rest.
        let dense = writes
            .iter()
            .enumerate()
            .take_while(|(place, (n, _))| place == n)
            .count();
        let values: Vec<Value<'_>> = writes
            .iter()
            .take(dense)
            .map(|(_, write)| absolute(write))
            .collect();
        let key: Vec<Value<'_>> = values.iter().copied().take(table.at.key_columns).collect();
        self.write_new(table, &key, &values)?;
        let columns: Vec<usize> = writes.iter().skip(dense).map(|(n, _)| *n).collect();
        let mut bound = key.clone();
        bound.extend(writes.iter().skip(dense).map(|(_, write)| absolute(write)));
        self.write_columns(table, &key, columns, &bound).map(drop)
    }

    /// Brings a hidden row back from its image, and edits it.
    fn revive<'w>(
        &mut self,
        table: &Rc<Table>,
        key: &[Value<'_>],
        incoming: &Event<'w>,
        writes: Vec<(usize, Write<'w>)>,
    ) -> Result<()> {
        let Some(image) = self.take_image(table, key)? else {
            return Err(Error::corrupt(format!(
                "{}: a row that is edited on another node is missing here; re-seed this replica \
                 (`nuda verify` shows which tables differ)",
                table.name
            )));
        };
        let values: Vec<(usize, Write<'_>)> = image
            .iter()
            .enumerate()
            .map(|(n, value)| (n, Write::Value(value.as_ref())))
            .collect();
        let now = image_row(table, &image);
        let writes = self.placed(table, incoming, key, writes, &now)?;
        self.insert(table, &values)?;
        self.update(table, key, &writes, &now)
    }

    /// Takes the newest image of a hidden row, and with it all others.
    pub(crate) fn take_image(
        &mut self,
        table: &Rc<Table>,
        key: &[Value<'_>],
    ) -> Result<Option<Vec<OwnedValue>>> {
        let name = RowName {
            table: table.at.number,
            key,
        };
        let stored = self.images.take(self.db, self.index.as_deref(), name)?;
        Ok(self.net.take_image(table, key)?.or(stored))
    }
}

/// Whether a row could not be written because another one has its unique values. A changeset
/// of strong tables leaves no such pair in the end, and of others one of the two is hidden.
fn is_collision(table: &Table, error: &Error) -> bool {
    (table.options.is_strong || table.options.keep_first) && error.code == SQLITE_CONSTRAINT_UNIQUE
}

/// A row for [`Applying::update`]: the image, padded to the table's width.
pub(crate) fn image_row(table: &Table, image: &[OwnedValue]) -> Vec<OwnedValue> {
    let mut row = image.to_vec();
    row.resize(table.columns.len(), OwnedValue::Null);
    row
}

/// A cell as the value of a new row.
fn initial(cell: Cell<'_>) -> Value<'_> {
    match cell {
        Cell::Value(value) => value,
        Cell::Add(n) => Value::Int(clamped(n)),
        Cell::Set(_) | Cell::Text(_) | Cell::Doc(_) => Value::Null,
    }
}

/// What a new life's column shows.
pub(crate) fn absolute<'w>(write: &'w Write<'_>) -> Value<'w> {
    match write {
        Write::Value(value) => *value,
        Write::Made(value) => value.as_ref(),
        Write::Add(n) => Value::Int(clamped(*n)),
        Write::Set(_) | Write::Edit(_) | Write::Placed(_) => Value::Null,
    }
}
