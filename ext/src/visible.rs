//! Which rows a table shows where several hold one unique value (`unique=keep_first`).
//!
//! What a row is, is merged without a look at other rows. Whether it is shown is decided at the end
//! of the changeset by [`nuda_core::visibility`], a function of the living rows: the rows that
//! collided on their way into the table, and those that were hidden, are put in their table or
//! beside it ([`crate::hidden`]). Only rows that may be concerned are looked at. Of the rows that may
//! be shown, those that lack what they refer to are held back after that ([`crate::attached`]).
//!
//! A transaction written here shows what its author's SQLite let him write. That it sets a hidden
//! row free is found out right after it, by the daemon or before the next changeset is applied
//! ([`settle_own`]): in its commit nothing can be written to a table that has triggers. What it may
//! not do is to take a value that a hidden row gets back ([`refuse_taken`]).

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

use nuda_core::merge::Rank;
use nuda_core::value::{OwnedValue, Value};
use nuda_core::visibility::{self, Birth, Fate, Living, Present};

use crate::attached::{self, Noted, TableRow};
use crate::births::{self, key_bytes};
use crate::concurrent::for_each_row;
use crate::conflicts;
use crate::connection::Connection;
use crate::constraints::Unique;
use crate::error::{Error, Result};
use crate::ffi::db::{Db, Setting};
use crate::guard::{self, Guard, Write};
use crate::hidden::{self, HiddenRow};
use crate::log;
use crate::parked::ParkedRow;
use crate::record::Record;
use crate::rows::RowStatements;
use crate::savepoint::atomically;
use crate::shadow::damaged;
use crate::told;
use crate::tracked::{Table, Tables, quote};

/// What a changeset did to the tables that may hide rows.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    tables: BTreeMap<u32, TouchedTable>,
    /// And to those that refer or are referred to.
    pub(crate) attached: Noted,
}

#[derive(Debug)]
struct TouchedTable {
    table: Rc<Table>,
    /// Whether it hid rows before: only then it matters what changed.
    hides: bool,
    changed: Vec<Vec<u8>>,
    /// Rows that were hidden before and are out to be changed.
    brought_out: HashSet<Vec<u8>>,
    /// Rows that were shown before a definition in it.
    put_beside: HashSet<Vec<u8>>,
}

impl Touched {
    /// Of the tables as they are; `rank` is the changeset's, if it is one.
    pub(crate) fn new(tables: Rc<Tables>, rank: Option<Rank>) -> Self {
        Self {
            tables: BTreeMap::new(),
            attached: Noted::new(tables, rank),
        }
    }

    fn of(&mut self, db: Db, table: &Rc<Table>) -> Result<&mut TouchedTable> {
        match self.tables.entry(table.at.number) {
            Entry::Occupied(touched) => Ok(touched.into_mut()),
            Entry::Vacant(empty) => Ok(empty.insert(TouchedTable {
                table: Rc::clone(table),
                hides: hidden::any(db, table)?,
                changed: Vec::new(),
                brought_out: HashSet::new(),
                put_beside: HashSet::new(),
            })),
        }
    }

    /// The table is defined anew by the changeset itself: its hidden rows are looked at, of which
    /// these were in the table before.
    pub(crate) fn redefined(&mut self, db: Db, table: &Rc<Table>, out: Vec<Vec<u8>>) -> Result<()> {
        if table.options.keep_first {
            let hides = hidden::any(db, table)?;
            let touched = self.of(db, table)?;
            touched.hides |= hides;
            touched.table = Rc::clone(table);
            touched.put_beside.extend(out);
        }
        Ok(())
    }

    /// A row is about to be changed. Answers its values if it is hidden; it is out then.
    pub(crate) fn bring_out(
        &mut self,
        db: Db,
        table: &Rc<Table>,
        key: &[Value<'_>],
    ) -> Result<Option<Vec<OwnedValue>>> {
        let touched = self.of(db, table)?;
        if !touched.hides {
            return Ok(None);
        }
        let key = key_bytes(key);
        let found = hidden::take(db, table.at.number, &key)?;
        if found.is_some() {
            touched.brought_out.insert(key.clone());
        }
        touched.changed.push(key);
        Ok(found)
    }
}

/// Rows of a table that have the same values where they are to be unique from here on.
pub(crate) fn alike(db: Db, table: &Table, unique: &Unique) -> Result<Vec<Vec<OwnedValue>>> {
    let columns: Vec<String> = unique
        .columns
        .iter()
        .flatten()
        .map(|(c, collation)| format!("{} COLLATE {}", quote(c), quote(collation)))
        .collect();
    let columns = columns.join(", ");
    db.all(
        &format!(
            "SELECT {} FROM {of} WHERE ({columns}) IN \
             (SELECT {columns} FROM {of} GROUP BY {columns} HAVING count(*) > 1)",
            table.column_list(),
            of = table.quoted()
        ),
        &[],
    )
}

/// Writes rows of tables as the applier does.
pub(crate) struct Writer<'a> {
    pub(crate) db: Db,
    pub(crate) guard: &'a Guard,
    pub(crate) statements: &'a mut RowStatements,
}

impl Writer<'_> {
    pub(crate) fn insert(&mut self, table: &Table, values: &[OwnedValue]) -> Result<()> {
        let values: Vec<Value<'_>> = values.iter().map(OwnedValue::as_ref).collect();
        let key = values.get(..table.at.key_columns).unwrap_or_default();
        self.guard.announce(Write::Insert, table.at.number, key);
        self.statements.insert(self.db, table, &values)
    }

    pub(crate) fn delete(&mut self, table: &Table, values: &[OwnedValue]) -> Result<()> {
        let values: Vec<Value<'_>> = values.iter().map(OwnedValue::as_ref).collect();
        let key = values.get(..table.at.key_columns).unwrap_or_default();
        self.guard.announce(Write::Delete, table.at.number, key);
        self.statements.delete(self.db, table, key)
    }
}

/// A row that no other one keeps from being shown.
#[derive(Debug)]
pub(crate) struct FreeRow {
    pub(crate) table: Rc<Table>,
    pub(crate) values: Vec<OwnedValue>,
    pub(crate) whence: Whence,
    /// Whether it was hidden before, wherever it is now.
    pub(crate) was_hidden: bool,
}

/// A changeset's rows are all as they are to be: shows and hides what that amounts to. `out` are
/// those that are in no table.
pub(crate) fn settle(
    writer: &mut Writer<'_>,
    mut touched: Touched,
    out: Vec<ParkedRow>,
) -> Result<()> {
    for table in touched.attached.asked() {
        hidden::look_again(writer.db, &table)?;
        touched.of(writer.db, &table)?.hides = hidden::any(writer.db, &table)?;
    }
    let mut parked: BTreeMap<u32, Vec<ParkedRow>> = BTreeMap::new();
    for row in out {
        parked.entry(row.table.at.number).or_default().push(row);
    }
    let (mut free, mut gone) = (Vec::new(), Vec::new());
    for (number, touched) in touched.tables {
        let out = parked.remove(&number).unwrap_or_default();
        if touched.hides || !out.is_empty() {
            settle_table(writer, &touched, out, (&mut free, &mut gone))?;
        }
    }
    attached::settle(writer, &touched.attached, free, &gone)
}

/// Says of one table's rows which are `free` to be shown, and takes out those that are not: `gone`.
fn settle_table(
    writer: &mut Writer<'_>,
    touched: &TouchedTable,
    out: Vec<ParkedRow>,
    (free, gone): (&mut Vec<FreeRow>, &mut Vec<TableRow>),
) -> Result<()> {
    let (db, table) = (writer.db, &touched.table);
    let mut rows = Rows::new(db, table);
    let mut judged = Vec::new();
    for row in out {
        judged.push(rows.know(Whence::Out, row.values)?);
    }
    for row in to_be_judged(db, table)? {
        judged.push(rows.know(Whence::Hidden, row.values)?);
    }
    let fates = visibility::settle(judged, &touched.changed, &mut rows)?;
    for (birth, fate) in &fates {
        let Some((whence, values)) = rows.known.get(&birth.key) else {
            return Err(Error::internal("a row that nobody knows"));
        };
        let was_hidden = *whence == Whence::Hidden && !touched.put_beside.contains(&birth.key)
            || touched.brought_out.contains(&birth.key);
        match (fate, whence) {
            (Fate::Free, Whence::Table) => {}
            (Fate::Free, whence) => free.push(FreeRow {
                table: Rc::clone(table),
                values: values.clone(),
                whence: *whence,
                was_hidden,
            }),
            (Fate::HeldBack { by, claim }, whence) => {
                if *whence == Whence::Table {
                    writer.delete(table, values)?;
                    gone.push((Rc::clone(table), values.clone()));
                }
                hidden::put(db, table.at.number, &birth.key, values, Some(&by.key))?;
                if !was_hidden && let Some(unique) = rows.constraint(birth, *claim) {
                    conflicts::hidden(db, table, (unique, values), (birth, by))?;
                }
            }
        }
    }
    Ok(())
}

/// The hidden rows of a table that are looked at in any case. Those that wait for what they refer
/// to keep their unique values: from younger rows, and no longer than from older ones.
fn to_be_judged(db: Db, table: &Table) -> Result<Vec<HiddenRow>> {
    let mut rows = hidden::held_back_by(db, table.at.number, None)?;
    if table.options.keep_first {
        rows.extend(hidden::waiting(db, table.at.number)?);
    }
    Ok(rows)
}

/// Where a row was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whence {
    Table,
    Hidden,
    Out,
}

/// The rows of one table, as far as they were asked for.
struct Rows<'a> {
    db: Db,
    table: &'a Table,
    known: HashMap<Vec<u8>, (Whence, Vec<OwnedValue>)>,
    claims: HashMap<Vec<u8>, Vec<Vec<u8>>>,
    /// For each constraint, the query for the row that has its values.
    queries: Vec<String>,
}

impl<'a> Rows<'a> {
    fn new(db: Db, table: &'a Table) -> Self {
        let queries = table.uniques.iter().map(|unique| {
            let columns = unique.columns.iter().flatten().enumerate();
            let terms: Vec<String> = columns
                .map(|(n, (c, collation))| {
                    format!("{} = ?{} COLLATE {}", quote(c), n + 1, quote(collation))
                })
                .collect();
            format!(
                "SELECT {} FROM {} WHERE {}",
                table.column_list(),
                table.quoted(),
                terms.join(" AND ")
            )
        });
        Self {
            db,
            table,
            known: HashMap::new(),
            claims: HashMap::new(),
            queries: queries.collect(),
        }
    }

    /// A row that was found somewhere. The first place where it was found counts.
    fn know(&mut self, whence: Whence, values: Vec<OwnedValue>) -> Result<Living> {
        let key: Vec<Value<'_>> = values.iter().map(OwnedValue::as_ref).collect();
        let key = key_bytes(key.get(..self.table.at.key_columns).unwrap_or_default());
        let uniques = self.table.uniques.iter().enumerate();
        let claims: Vec<Vec<u8>> = uniques
            .filter_map(|(n, unique)| unique.claim(n, self.table, &values))
            .collect();
        let rank = births::of(self.db, self.table.at.number, &key)?;
        self.claims.insert(key.clone(), claims.clone());
        let known = self.known.entry(key.clone());
        known.or_insert((whence, values));
        Ok(Living {
            birth: Birth { rank, key },
            claims,
        })
    }

    /// The constraint that one of a row's claims is of.
    fn constraint(&self, row: &Birth, claim: usize) -> Option<&'a Unique> {
        let claim = self.claims.get(&row.key)?.get(claim)?;
        let ordinal = u16::from_be_bytes(claim.get(..2)?.try_into().ok()?);
        self.table.uniques.get(usize::from(ordinal))
    }
}

impl Present for Rows<'_> {
    type Error = Error;

    fn rivals(&mut self, row: &Living) -> Result<Vec<Living>> {
        let values = self.known.get(&row.birth.key).map(|(_, values)| values);
        let values = values.ok_or_else(|| Error::internal("a row that nobody knows"))?;
        let mut found = Vec::new();
        for (unique, query) in self.table.uniques.iter().zip(&self.queries) {
            let names = unique.column_names();
            let wanted: Vec<Value<'_>> = names
                .filter_map(|name| values.get(self.table.position(name)?))
                .map(OwnedValue::as_ref)
                .collect();
            if !wanted.contains(&Value::Null) {
                found.extend(self.db.first(query, &wanted)?);
            }
        }
        let mut rivals = Vec::new();
        for values in found {
            let rival = self.know(Whence::Table, values)?;
            if !rivals.contains(&rival) {
                rivals.push(rival);
            }
        }
        Ok(rivals)
    }

    fn held_back_by(&mut self, key: &[u8]) -> Result<Vec<Living>> {
        let held = hidden::held_back_by(self.db, self.table.at.number, Some(key))?;
        held.into_iter()
            .map(|HiddenRow { values, .. }| self.know(Whence::Hidden, values))
            .collect()
    }
}

/// Shows and hides what the transactions written here since the last time amount to: they left the
/// rows unnamed that they may have set free. Answers whether there was anything to look at.
pub(crate) fn settle_own(connection: &Connection) -> Result<bool> {
    let Some(touched) = unsettled(connection)? else {
        return Ok(false);
    };
    attached::asks(connection.db())?;
    carry_out(connection, touched)?;
    Ok(true)
}

/// Whether there is, which only reads.
pub(crate) fn is_unsettled(connection: &Connection) -> Result<bool> {
    Ok(unsettled(connection)?.is_some())
}

fn unsettled(connection: &Connection) -> Result<Option<Touched>> {
    let db = connection.db();
    let tables = connection.tables()?;
    if !tables.may_hide() {
        return Ok(None);
    }
    let mut touched = Touched::new(Rc::clone(&tables), None);
    for table in tables.sorted() {
        if hidden::any_unnamed(db, &table)? {
            touched.of(db, &table)?;
        }
    }
    if !connection.capture()?.buffer.is_empty() {
        return Ok(None);
    }
    if attached::is_asked(db, &tables)? {
        touched.attached.ask_all();
    } else if touched.tables.is_empty() {
        return Ok(None);
    }
    Ok(Some(touched))
}

/// The bodies of a record that is about to be committed.
fn bodies_of(db: Db, record: &Record) -> Result<Vec<Vec<u8>>> {
    let rows = db.all(
        &told::bodies(""),
        &[
            Value::Int(log::key(record.site_id, record.seq, 0)),
            Value::Int(log::key(record.site_id, record.seq + 1, 0) - 1),
        ],
    )?;
    let bodies = rows
        .into_iter()
        .filter_map(|row| match row.into_iter().next() {
            Some(OwnedValue::Blob(body)) => Some(body),
            _ => None,
        });
    Ok(bodies.collect())
}

/// Shows and hides rows outside a changeset's application.
fn carry_out(connection: &Connection, touched: Touched) -> Result<()> {
    let db = connection.db();
    guard::prepare(connection, connection.is_dedicated())?;
    let foreign_keys = db.switch(Setting::ForeignKeys, false)?;
    let done = connection.while_applying(|| {
        let mut statements = RowStatements::default();
        let mut writer = Writer {
            db,
            guard: &connection.guard,
            statements: &mut statements,
        };
        atomically(db, || settle(&mut writer, touched, Vec::new()))
    });
    db.switch(Setting::ForeignKeys, foreign_keys)?;
    done
}

/// Every hidden row is looked at again: births have moved, or rows were changed beside the usual way.
pub(crate) fn settle_all(connection: &Connection) -> Result<()> {
    let db = connection.db();
    let tables = connection.tables()?;
    let mut touched = Touched::new(Rc::clone(&tables), None);
    if !tables.references().is_empty() {
        touched.attached.ask_all();
    }
    for table in tables.sorted() {
        hidden::look_again(db, &table)?;
        if hidden::any(db, &table)? {
            touched.of(db, &table)?;
        }
    }
    carry_out(connection, touched)
}

/// Before a transaction that was written here commits: refuses it if a row of it would be hidden
/// at once, because it frees and takes a value that a hidden row is next to have.
pub(crate) fn refuse_taken(connection: &Connection, record: &Record) -> Result<()> {
    let db = connection.db();
    let mut written: BTreeMap<u32, HashSet<Vec<u8>>> = BTreeMap::new();
    for table in connection.tables()?.sorted() {
        if hidden::any(db, &table)? {
            written.insert(table.at.number, HashSet::new());
        }
    }
    if written.is_empty() {
        return Ok(());
    }
    for body in bodies_of(db, record)? {
        for_each_row(&body, |number, row| {
            if let Some(keys) = written.get_mut(&number) {
                keys.insert(key_bytes(&row.key));
            }
        })?;
    }
    let tables = connection.tables()?;
    for (number, keys) in written.iter().filter(|(_, keys)| !keys.is_empty()) {
        let table = tables.get(*number).ok_or_else(|| damaged("nuda_table"))?;
        let mut rows = Rows::new(db, table);
        let mut judged = Vec::new();
        for row in to_be_judged(db, table)? {
            judged.push(rows.know(Whence::Hidden, row.values)?);
        }
        let changed: Vec<Vec<u8>> = keys.iter().cloned().collect();
        for (birth, fate) in visibility::settle(judged, &changed, &mut rows)? {
            if let Fate::HeldBack { by, claim } = fate
                && keys.contains(&birth.key)
            {
                let columns = rows.constraint(&birth, claim).map(|unique| {
                    let names = unique.column_names();
                    names.collect::<Vec<&str>>().join(", ")
                });
                let holder = conflicts::shown_key(&by.key);
                let holding = rows.known.get(&by.key).map(|(_, row)| row.as_slice());
                if attached::lacks(db, &tables, table, holding.unwrap_or_default())? {
                    return Err(Error::constraint(format!(
                        "UNIQUE constraint: {} {holder} has the same {} and is hidden until what it \
                         refers to is there again; write another value, or insert that first",
                        table.name,
                        columns.unwrap_or_default()
                    )));
                }
                return Err(Error::constraint(format!(
                    "UNIQUE constraint: {} {holder} has the same {} and was hidden by the row that this \
                     transaction takes it from, so it is next; commit that alone, and write after \
                     {holder} is back",
                    table.name,
                    columns.unwrap_or_default()
                )));
            }
        }
    }
    Ok(())
}
