//! Which rows are shown where FOREIGN KEYs of eventual tables are kept.
//!
//! A row is shown while everything that it refers to is: [`nuda_core::references`] says what that
//! amounts to, here it is asked and carried out with the rows as they are. While a changeset is
//! applied, the rows of tables that refer or are referred to are noted; at its end, after UNIQUE
//! ([`crate::visible`]) has said which rows may be shown at all, those that lack a parent are kept
//! beside their table ([`crate::hidden`]), named for what they lack, and those that have it again
//! are put back. Where very much was written, or definitions, every row is asked instead.
//!
//! A transaction that is written here leaves no row without its parent ([`crate::ancestors`]). That it
//! brings a parent that others wait for is noted in its commit ([`wake`]), and found like
//! what it sets free otherwise.

use std::collections::HashMap;
use std::rc::Rc;

use nuda_core::merge::Rank;
use nuda_core::references::{self, Fate, Name, News, Node, Present, Want};
use nuda_core::row::Change;
use nuda_core::value::{OwnedValue, Value};

use crate::births::key_bytes;
use crate::concurrent::for_each_row;
use crate::conflicts;
use crate::connection::Connection;
use crate::error::{Error, Result};
use crate::ffi::db::Db;
use crate::hidden;
use crate::tracked::{Table, Tables};
use crate::visible::{FreeRow, Whence, Writer};

/// Rows that are noted one by one; beyond, every row is asked, which is cheaper by then.
const NOTED: usize = 20_000;

/// A row of a table, or its key.
pub(crate) type TableRow = (Rc<Table>, Vec<OwnedValue>);

/// What a changeset did to tables that refer or are referred to.
#[derive(Debug, Default)]
pub(crate) struct Noted {
    tables: Rc<Tables>,
    rows: HashMap<Name, Before>,
    /// Whether every row is to be asked.
    all: bool,
    /// The changeset's.
    rank: Option<Rank>,
}

/// A row before its first change.
#[derive(Debug)]
struct Before {
    table: Rc<Table>,
    key: Vec<OwnedValue>,
    offered: Vec<Want>,
}

impl Noted {
    pub(crate) fn new(tables: Rc<Tables>, rank: Option<Rank>) -> Self {
        Self {
            tables,
            rank,
            ..Self::default()
        }
    }

    /// A row is about to be changed.
    pub(crate) fn note(&mut self, db: Db, table: &Rc<Table>, key: &[Value<'_>]) -> Result<()> {
        let references = self.tables.references();
        if self.all || !references.concern(table.at.number) {
            return Ok(());
        }
        let name = Name {
            table: table.at.number,
            key: key_bytes(key),
        };
        if self.rows.contains_key(&name) {
            return Ok(());
        }
        if self.rows.len() >= NOTED {
            self.ask_all();
            return Ok(());
        }
        let offered = if references.name_values(table.at.number) {
            let row = shown(db, table, key)?;
            row.map_or_else(Vec::new, |row| references.node(table, &row).offers)
        } else {
            let targets = references.targets(table.at.number);
            targets
                .filter_map(|target| target.offer_of_key(key))
                .collect()
        };
        self.rows.insert(
            name,
            Before {
                table: Rc::clone(table),
                key: key.iter().map(|value| (*value).into()).collect(),
                offered,
            },
        );
        Ok(())
    }

    /// Whether others may refer to rows of a table.
    pub(crate) fn is_referred_to(&self, table: u32) -> bool {
        self.tables.references().to(table).next().is_some()
    }

    /// Every row is asked.
    pub(crate) fn ask_all(&mut self) {
        self.all = true;
        self.rows.clear();
    }

    /// The tables are others than before: every row is asked.
    pub(crate) fn redefined(&mut self, tables: Rc<Tables>) {
        if !tables.references().is_empty() || !self.tables.references().is_empty() {
            self.ask_all();
        }
        self.tables = tables;
    }

    /// If every row is to be asked: the tables whose hidden rows are.
    pub(crate) fn asked(&self) -> Vec<Rc<Table>> {
        if !self.all {
            return Vec::new();
        }
        let mut tables = self.tables.sorted();
        tables.retain(|table| table.options.foreign_keys);
        tables
    }

    /// What was noted, as news.
    fn gather(&self, graph: &mut Graph<'_>, news: &mut News) -> Result<()> {
        for before in self.rows.values() {
            let key: Vec<Value<'_>> = before.key.iter().map(OwnedValue::as_ref).collect();
            let Some(row) = shown(graph.db, &before.table, &key)? else {
                news.gone.extend(before.offered.iter().cloned());
                continue;
            };
            let node = graph.know(&before.table, Whence::Table, row);
            let gone = before.offered.iter().filter(|o| !node.offers.contains(o));
            news.gone.extend(gone.cloned());
            news.come.extend(node.offers.iter().cloned());
            if !node.wants.is_empty() {
                news.written.push(node);
            }
        }
        if self.all {
            for reference in self.tables.references().iter() {
                let child = self.tables.get(reference.child);
                let parent = self.tables.get(reference.target.table);
                if let (Some(child), Some(parent)) = (child, parent) {
                    let orphans = reference.orphans_query(child, parent);
                    for row in graph.db.all(&orphans, &[])? {
                        news.written.push(graph.know(child, Whence::Table, row));
                    }
                }
            }
        }
        Ok(())
    }
}

/// A row in its table.
pub(crate) fn shown(db: Db, table: &Table, key: &[Value<'_>]) -> Result<Option<Vec<OwnedValue>>> {
    db.first(&row_query(table), key)
}

/// The query of a row in its table, by its key.
pub(crate) fn row_query(table: &Table) -> String {
    format!(
        "SELECT {} FROM {} WHERE {}",
        table.column_list(),
        table.quoted(),
        table.key_condition()
    )
}

/// Whether a row refers to something that is not there.
pub(crate) fn lacks(db: Db, tables: &Tables, table: &Table, row: &[OwnedValue]) -> Result<bool> {
    let mut graph = Graph {
        db,
        tables,
        known: HashMap::new(),
        hides: false,
    };
    for want in tables.references().node(table, row).wants {
        if !graph.is_offered(&want)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The rows as they are, as far as they were asked for.
struct Graph<'a> {
    db: Db,
    tables: &'a Tables,
    known: HashMap<Name, FreeRow>,
    /// Whether there are hidden rows at all.
    hides: bool,
}

impl Graph<'_> {
    /// A row that was found somewhere. The first place where it was found counts.
    fn know(&mut self, table: &Rc<Table>, whence: Whence, values: Vec<OwnedValue>) -> Node {
        let node = self.tables.references().node(table, &values);
        self.known
            .entry(node.name.clone())
            .or_insert_with(|| FreeRow {
                table: Rc::clone(table),
                values,
                whence,
                was_hidden: whence == Whence::Hidden,
            });
        node
    }
}

impl Present for Graph<'_> {
    type Error = Error;

    fn is_offered(&mut self, want: &[u8]) -> Result<bool> {
        let Some((target, values)) = self.tables.references().decode(want)? else {
            return Ok(false);
        };
        let Some(table) = self.tables.get(target.table) else {
            return Ok(false);
        };
        let values: Vec<Value<'_>> = values.iter().map(OwnedValue::as_ref).collect();
        let row = target.row(self.db, table, &values)?;
        Ok(row.is_some_and(|row| target.offer(&row).as_deref() == Some(want)))
    }

    fn wanting(&mut self, offer: &[u8]) -> Result<Vec<Node>> {
        let references = self.tables.references();
        let Some((target, values)) = references.decode(offer)? else {
            return Ok(Vec::new());
        };
        let values: Vec<Value<'_>> = values.iter().map(OwnedValue::as_ref).collect();
        let mut wanting = Vec::new();
        for reference in references.to(target.table).filter(|r| r.target == *target) {
            let Some(child) = self.tables.get(reference.child) else {
                continue;
            };
            for row in self.db.all(&reference.children_query(child), &values)? {
                if reference.want(&row).as_deref() == Some(offer) {
                    wanting.push(self.know(child, Whence::Table, row));
                }
            }
        }
        Ok(wanting)
    }

    fn named_for(&mut self, offer: &[u8]) -> Result<Vec<Node>> {
        let references = self.tables.references();
        let mut named = Vec::new();
        for table in waiting_tables(self.tables, offer, self.hides)? {
            for row in hidden::held_back_by(self.db, table.at.number, Some(offer))? {
                if references
                    .node(&table, &row.values)
                    .wants
                    .iter()
                    .any(|w| w == offer)
                {
                    named.push(self.know(&table, Whence::Hidden, row.values));
                }
            }
        }
        Ok(named)
    }
}

/// The tables in which rows may wait for an offer.
fn waiting_tables(tables: &Tables, offer: &[u8], hides: bool) -> Result<Vec<Rc<Table>>> {
    let references = tables.references();
    let mut found: Vec<Rc<Table>> = Vec::new();
    if let Some((target, _)) = references.decode(offer)?.filter(|_| hides) {
        for reference in references.to(target.table) {
            let table = tables.get(reference.child);
            if let Some(table) = table.filter(|t| !found.iter().any(|f| f.at == t.at)) {
                found.push(Rc::clone(table));
            }
        }
    }
    Ok(found)
}

/// Puts the rows that UNIQUE lets be shown, and those that what was noted concerns, where they
/// belong. `gone` have left their tables already.
pub(crate) fn settle(
    writer: &mut Writer<'_>,
    noted: &Noted,
    free: Vec<FreeRow>,
    gone: &[TableRow],
) -> Result<()> {
    let references = noted.tables.references();
    let mut graph = Graph {
        db: writer.db,
        tables: &noted.tables,
        known: HashMap::new(),
        hides: noted.tables.may_hide() && hidden::any_at_all(writer.db)?,
    };
    let mut news = News::default();
    for row in free {
        let node = references.node(&row.table, &row.values);
        graph.known.insert(node.name.clone(), row);
        news.out.push(node);
    }
    for (table, values) in gone {
        news.gone.extend(references.node(table, values).offers);
    }
    noted.gather(&mut graph, &mut news)?;
    let fates = references::settle(news, &mut graph)?;
    carry_out(writer, noted, &mut graph.known, fates)
}

fn carry_out(
    writer: &mut Writer<'_>,
    noted: &Noted,
    known: &mut HashMap<Name, FreeRow>,
    fates: impl IntoIterator<Item = (Name, Fate)>,
) -> Result<()> {
    let (db, references) = (writer.db, noted.tables.references());
    let mut shown = Vec::new();
    for (name, fate) in fates {
        let row = known.remove(&name);
        let row = row.ok_or_else(|| Error::internal("a row that nobody knows"))?;
        match (fate, row.whence) {
            (Fate::Shown, Whence::Table) => {}
            (Fate::Shown, whence) => {
                if whence == Whence::Hidden {
                    hidden::remove(db, name.table, &name.key)?;
                }
                shown.push(row);
            }
            (Fate::HeldBack(want), whence) => {
                if whence == Whence::Table {
                    writer.delete(&row.table, &row.values)?;
                }
                let by = references.behind(name.table, &row.values, want);
                let by = by.ok_or_else(|| Error::internal("a reference that nobody knows"))?;
                let want = by.want(&row.values);
                hidden::put(db, name.table, &name.key, &row.values, want.as_deref())?;
                if let (false, Some(parent)) = (row.was_hidden, noted.tables.get(by.target.table)) {
                    let of = (&*row.table, row.values.as_slice());
                    conflicts::held_back(db, of, (by, &parent.name), noted.rank)?;
                }
            }
        }
    }
    for row in shown {
        writer.insert(&row.table, &row.values)?;
    }
    Ok(())
}

/// What `nuda_protocol` says while every row is to be asked: rows were made again that lack
/// what they refer to, and in a commit no row can be taken out of its table.
const ASKED: &str = "ask every row";

/// Every row is asked the next time.
pub(crate) fn ask_all_next(db: Db) -> Result<()> {
    db.run(
        "INSERT OR REPLACE INTO main.nuda_protocol(key, value) VALUES (?, '')",
        &[Value::Text(ASKED.as_bytes())],
    )
}

/// A definition changed here: what hidden rows were named for may be called otherwise.
pub(crate) fn redefined(connection: &Connection) -> Result<()> {
    if connection.tables()?.references().is_empty() {
        return Ok(());
    }
    ask_all_next(connection.db())
}

/// Whether every row is to be asked.
pub(crate) fn is_asked(db: Db, tables: &Tables) -> Result<bool> {
    if tables.references().is_empty() {
        return Ok(false);
    }
    let asked = "SELECT EXISTS (SELECT 1 FROM main.nuda_protocol WHERE key = ?)";
    Ok(db.int(asked, &[Value::Text(ASKED.as_bytes())])? != 0)
}

/// They are asked now, and need not be again.
pub(crate) fn asks(db: Db) -> Result<()> {
    let name = [Value::Text(ASKED.as_bytes())];
    db.run("DELETE FROM main.nuda_protocol WHERE key = ?", &name)
}

/// Before a transaction that was written here commits: the hidden rows that a body of it may
/// set free are looked at next.
pub(crate) fn wake(db: Db, tables: &Tables, body: &[u8]) -> Result<()> {
    let references = tables.references();
    if references.is_empty() || !hidden::any_at_all(db)? {
        return Ok(());
    }
    let mut done = Ok(());
    let mut looked = Vec::new();
    for_each_row(body, |number, row| {
        if done.is_ok()
            && let Some(table) = tables.get(number)
            && !matches!(row.change, Change::Delete)
        {
            if table.options.keep_first && !looked.contains(&number) {
                looked.push(number);
                done = hidden::look_again_at_waiting(db, number);
            }
            if done.is_ok() {
                done = wake_for(db, tables, table, &row.key);
            }
        }
    })?;
    done
}

fn wake_for(db: Db, tables: &Tables, table: &Table, key: &[Value<'_>]) -> Result<()> {
    let references = tables.references();
    if references.targets(table.at.number).next().is_none() {
        return Ok(());
    }
    let Some(row) = shown(db, table, key)? else {
        return Ok(());
    };
    for offer in references
        .targets(table.at.number)
        .filter_map(|t| t.offer(&row))
    {
        for waiting in waiting_tables(tables, &offer, true)? {
            hidden::let_go(db, waiting.at.number, &offer)?;
        }
    }
    Ok(())
}
