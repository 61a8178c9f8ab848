//! What a transaction that is written here does about the rows that its rows refer to.
//!
//! Whoever writes a row needs what it refers to. So where FOREIGN KEYs are kept, the changeset says so:
//! beside each row that it inserts or updates it holds, once, an UPDATE of no column for every row
//! which that one refers to, and for those which these refer to. Such an UPDATE is an edit like any
//! other: a DELETE that had not seen it does not take the row away. That is why a parent
//! which is deleted on one node while another writes a child stays, with all its values, without any
//! rule of its own; and with `delete_wins` it does not, and the child is held back
//! ([`crate::attached`]).
//!
//! The same look at the parents keeps every transaction from leaving a row without one, also where
//! SQLite does not enforce it. What is shown agrees with every FOREIGN KEY that is kept, always.

use std::collections::HashSet;
use std::rc::Rc;

use nuda_core::changeset::{ChainHash, ChainHasher};
use nuda_core::row::{Change, RowChange};
use nuda_core::value::{OwnedValue, Value};

use crate::attached::{TableRow, row_query, shown};
use crate::births::key_bytes;
use crate::concurrent::for_each_row;
use crate::conflicts::display;
use crate::error::{Error, Result};
use crate::ffi::db::{Db, Setting, Stmt};
use crate::log;
use crate::net::NetEffect;
use crate::record::Record;
use crate::references::Reference;
use crate::told;
use crate::tracked::{Table, Tables};

/// A row's name, in few bytes: transactions may write a million of them.
type Digest = [u8; 16];

/// Adds to the last part of a changeset what keeps alive what its rows refer to; `record` is that of
/// its parts that are in the log. Refuses rows whose parent is not there, unless they were
/// acknowledged before and are made again; answers whether there are such.
pub(crate) fn keep_alive(
    db: Db,
    tables: &Tables,
    (record, net): (Option<&Record>, &mut NetEffect),
    is_made_again: bool,
) -> Result<bool> {
    let references = tables.references();
    let mut climb = Climb::new(db, tables);
    let asks = !is_made_again && !db.is_on(Setting::ForeignKeys)?;
    let mut gone = Vec::new();
    let mut rows = Rows {
        db,
        queries: Vec::new(),
    };
    each_row(db, (record, &net.body), &mut |number, row| {
        let is_parent = references.to(number).next().is_some();
        if let Some(table) = tables.get(number).filter(|_| is_parent) {
            if !matches!(&row.change, Change::Delete) {
                climb.alive.insert(digest(number, &key_bytes(&row.key)));
            }
            if asks && gives_up(tables, number, &row.change) {
                let key = row.key.iter().map(|value| (*value).into());
                gone.push((Rc::clone(table), key.collect()));
            }
        }
        Ok(())
    })?;
    each_row(db, (record, &net.body), &mut |number, row| {
        let refers = references.of(number).next().is_some() && is_written(&row.change);
        match tables.get(number).filter(|_| refers) {
            Some(table) => match rows.shown(table, &row.key)? {
                Some(values) => climb.from(Rc::clone(table), values),
                None => Ok(()),
            },
            None => Ok(()),
        }
    })?;
    let Climb { kept, lacks, .. } = climb;
    if let (Some(error), false) = (&lacks, is_made_again) {
        return Err(error.clone());
    }
    refuse_left_behind(db, tables, &gone)?;
    for (table, row) in &kept {
        net.keep_alive(table, row);
    }
    Ok(lacks.is_some())
}

/// Rows in their tables: many are asked for, by one statement for each table.
struct Rows {
    db: Db,
    /// By the table's number.
    queries: Vec<(u32, Stmt)>,
}

impl Rows {
    fn shown(&mut self, table: &Table, key: &[Value<'_>]) -> Result<Option<Vec<OwnedValue>>> {
        let number = table.at.number;
        if !self.queries.iter().any(|(of, _)| *of == number) {
            let query = self.db.prepare(&row_query(table))?;
            self.queries.push((number, query));
        }
        let mut queries = self.queries.iter_mut();
        let Some((_, query)) = queries.find(|(of, _)| *of == number) else {
            return Ok(None);
        };
        query.bind(key)?;
        let row = query.step()?.then(|| query.row());
        query.reset();
        Ok(row)
    }
}

/// Calls `each` for every row of a changeset: of its parts that are in the log, and of the last.
fn each_row(
    db: Db,
    (record, last): (Option<&Record>, &[u8]),
    each: &mut dyn FnMut(u32, &RowChange<'_>) -> Result<()>,
) -> Result<()> {
    let mut done = Ok(());
    let mut of_body = |body: &[u8]| {
        for_each_row(body, |number, row| {
            if done.is_ok() {
                done = each(number, row);
            }
        })
    };
    if let Some(record) = record {
        let mut parts = db.prepare(&told::bodies(""))?;
        parts.bind(&[
            Value::Int(log::key(record.site_id, record.seq, 0)),
            Value::Int(log::key(record.site_id, record.seq + 1, 0) - 1),
        ])?;
        while parts.step()? {
            of_body(parts.blob(0))?;
        }
    }
    of_body(last)?;
    done
}

/// Whether a row is there because of this change; one that is only kept alive needs nothing.
fn is_written(change: &Change<'_>) -> bool {
    match change {
        Change::Insert(_) => true,
        Change::Update(cells) => !cells.is_empty(),
        Change::Delete => false,
    }
}

/// Whether a row may offer no longer what it did.
fn gives_up(tables: &Tables, number: u32, change: &Change<'_>) -> bool {
    match change {
        Change::Insert(_) => false,
        Change::Update(cells) => {
            let mut targets = tables.references().targets(number);
            targets.any(|target| cells.iter().any(|(n, _)| target.names(*n)))
        }
        Change::Delete => true,
    }
}

fn digest(table: u32, bytes: &[u8]) -> Digest {
    let mut hasher = ChainHasher::new(ChainHash::START, &table.to_be_bytes());
    hasher.update(bytes);
    hasher.finish().0
}

/// The way from rows to what they refer to.
struct Climb<'a> {
    db: Db,
    tables: &'a Tables,
    asked: HashSet<Digest>,
    /// Rows that are kept alive, be it by what the transaction wrote.
    alive: HashSet<Digest>,
    /// Rows that are to be kept alive.
    kept: Vec<TableRow>,
    /// What a row lacks, if one does.
    lacks: Option<Error>,
}

impl<'a> Climb<'a> {
    fn new(db: Db, tables: &'a Tables) -> Self {
        Self {
            db,
            tables,
            asked: HashSet::new(),
            alive: HashSet::new(),
            kept: Vec::new(),
            lacks: None,
        }
    }

    fn from(&mut self, table: Rc<Table>, row: Vec<OwnedValue>) -> Result<()> {
        let mut next = vec![(table, row)];
        while let Some((table, row)) = next.pop() {
            let tables = self.tables;
            for reference in tables.references().of(table.at.number) {
                let Some(want) = reference.want(&row) else {
                    continue;
                };
                if !self.asked.insert(digest(0, &want)) {
                    continue;
                }
                let Some(parent) = self.parent(&table, reference, &row, &want)? else {
                    continue;
                };
                let key: Vec<Value<'_>> = parent
                    .1
                    .iter()
                    .take(parent.0.at.key_columns)
                    .map(OwnedValue::as_ref)
                    .collect();
                let name = digest(parent.0.at.number, &key_bytes(&key));
                if self.alive.insert(name) {
                    self.kept.push(parent.clone());
                    next.push(parent);
                }
            }
        }
        Ok(())
    }

    fn parent(
        &mut self,
        child: &Table,
        reference: &Reference,
        row: &[OwnedValue],
        want: &[u8],
    ) -> Result<Option<TableRow>> {
        let Some(table) = self.tables.get(reference.target.table) else {
            return Ok(None);
        };
        let values = reference.values(row);
        let found = reference.target.row(self.db, table, &values)?;
        let why = match found {
            Some(parent) if reference.target.offer(&parent).as_deref() == Some(want) => {
                return Ok(Some((Rc::clone(table), parent)));
            }
            Some(_) => {
                "in another form (a number where the other is a text, or the like); declare \
                        both columns alike, and write the value as it is there"
            }
            None => "and there is no such row; insert that first, or in the same transaction",
        };
        if self.lacks.is_none() {
            let shown: Vec<String> = values.iter().map(|value| display(*value)).collect();
            self.lacks = Some(Error::constraint(format!(
                "FOREIGN KEY constraint: {} {} refers by {} to {} of {}, {why}",
                child.name,
                key_of(child, row),
                reference.column_names(child).join(", "),
                shown.join(", "),
                table.name
            )));
        }
        Ok(None)
    }
}

fn key_of(table: &Table, row: &[OwnedValue]) -> String {
    let key = row.iter().take(table.at.key_columns);
    let key: Vec<String> = key.map(|value| display(value.as_ref())).collect();
    key.join(", ")
}

/// Where SQLite does not: refuses to take away what rows that are shown refer to.
fn refuse_left_behind(db: Db, tables: &Tables, gone: &[TableRow]) -> Result<()> {
    let mut asked = HashSet::new();
    for (table, key) in gone {
        let key: Vec<Value<'_>> = key.iter().map(OwnedValue::as_ref).collect();
        for (n, reference) in tables.references().to(table.at.number).enumerate() {
            let Some(child) = tables.get(reference.child) else {
                continue;
            };
            let offer = reference.target.offer_of_key(&key);
            let left = match offer {
                Some(_) if shown(db, table, &key)?.is_some() => None,
                Some(offer) => {
                    let Some((_, values)) = tables.references().decode(&offer)? else {
                        continue;
                    };
                    let values: Vec<Value<'_>> = values.iter().map(OwnedValue::as_ref).collect();
                    db.first(&reference.children_query(child), &values)?
                }
                // What it had in other columns is no longer there to be asked for.
                None if asked.insert((table.at.number, n)) => {
                    db.first(&reference.orphans_query(child, table), &[])?
                }
                None => None,
            };
            if let Some(row) = left {
                return Err(Error::constraint(format!(
                    "FOREIGN KEY constraint: {} {} refers to what this transaction takes away from \
                     {}; delete or change it first (PRAGMA foreign_keys = on lets SQLite do what ON \
                     DELETE and ON UPDATE say)",
                    child.name,
                    key_of(child, &row),
                    table.name
                )));
            }
        }
    }
    Ok(())
}
