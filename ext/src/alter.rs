//! `ALTER TABLE`, `CREATE INDEX`, `DROP INDEX` and `DROP TABLE` of replicated tables, in order.
//!
//! The statement is run here by SQLite itself, with the capture triggers out of its way, and what
//! it made of the table becomes the next version of its definition, in the same transaction. In a
//! cluster that happens where `nuda_exec` runs, at the leader, and the transaction gets its place
//! in the log; at a founder without a log, where it is called. A column keeps its number whatever
//! becomes of its name, and a dropped one's number is not used again.
//!
//! What SQLite cannot do in place (rebuilding a table) has no such form.

use std::rc::Rc;

use nuda_core::value::Value;

use crate::authority::{self, Authority};
use crate::canonical;
use crate::capture;
use crate::connection::Connection;
use crate::definition::{Definition, SchemaChange};
use crate::error::{Error, Result};
use crate::evolve;
use crate::ffi::db::Db;
use crate::hidden;
use crate::inspect;
use crate::savepoint::atomically;
use crate::shadow;
use crate::sql::{self, Token, same_name};
use crate::track;
use crate::tracked::Table;
use crate::triggers;

/// What a statement does to a table.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Adds a column, an index, or drops an index: the columns that are there stay.
    Stays,
    RenameColumn(String, String),
    DropColumn(String),
    RenameTo(String),
    DropTable,
}

/// Whether this SQL begins with a word that changes a schema.
pub(crate) fn changes_schema(text: &str) -> bool {
    let tokens = sql::tokens(text);
    let first = tokens.first();
    ["ALTER", "CREATE", "DROP"]
        .iter()
        .any(|word| first.is_some_and(|token| token.is_word(word)))
}

/// Whether such a statement runs where it is called.
pub(crate) fn is_here(state: &shadow::State) -> bool {
    authority::of(state) == Authority::Here
}

/// Runs statements that change replicated tables, as who defines tables in this way. Answers how
/// many.
pub(crate) fn alter(connection: &Connection, text: &str, who: Authority) -> Result<usize> {
    let db = connection.db();
    if authority::read(db)? != who {
        return Err(Error::refused(
            "the partition's founding node has not left its tables to the log yet; try again",
        ));
    }
    if !connection.capture()?.buffer.is_empty() {
        return Err(Error::refused(
            "a change of tables is a transaction of its own; run it without other statements",
        ));
    }
    let statements = sql::statements(text);
    let done = atomically(db, || {
        triggers::prepare(db)?;
        triggers::touch(db)?;
        statements
            .iter()
            .try_for_each(|statement| one(connection, statement))
    });
    // What was remembered may be of a schema that is rolled back.
    connection.forget_tables();
    done.map(|()| statements.len())
}

fn one(connection: &Connection, statement: &str) -> Result<()> {
    let db = connection.db();
    let tokens = sql::tokens(statement);
    let Some((name, step)) = target(db, &tokens)? else {
        // IF EXISTS, IF NOT EXISTS: SQLite sees to it that nothing is done.
        return db.exec(statement);
    };
    let table = connection.tables()?.by_name(&name).cloned();
    let Some(table) = table else {
        return Err(Error::refused(format!(
            "{name} is not replicated; change it where you are, by the statement itself"
        )));
    };
    if let Some(why) = table.drift.problem() {
        return Err(Error::refused(format!("{why}; mend it first")));
    }
    triggers::drop_all(db, table.at.number)?;
    db.exec(statement)?;
    if step == Step::DropTable {
        hidden::forget(db, &table)?;
        evolve::choices_follow(db, &table, None)?;
        track::forget(connection, table.at.number)?;
        return capture::define(connection, &SchemaChange::Drop(table.at.number).encode());
    }
    define(connection, &table, &step)
}

/// What the statement made of the table is its next version.
fn define(connection: &Connection, old: &Rc<Table>, step: &Step) -> Result<()> {
    let db = connection.db();
    let mut wanted = Table::clone(old);
    match step {
        Step::RenameTo(name) => wanted.name.clone_from(name),
        Step::RenameColumn(name, new) => evolve::renamed(&mut wanted, name, new)?,
        Step::DropColumn(name) => evolve::dropped(&mut wanted, name)?,
        Step::Stays | Step::DropTable => {}
    }
    let shape = inspect::shape(db, &wanted.name, wanted.options)?;
    let changed = evolve::to_shape(&wanted, &shape)?;
    track::refuse_unfit_additions(db, old, &changed, &shape)?;
    let defaults = canonical::added_defaults(db, &changed, old.columns.len())?;
    track::record(db, &changed)?;
    hidden::reshape(db, &changed, &defaults)?;
    evolve::forget_cells(db, old, &changed)?;
    evolve::choices_follow(db, old, Some(&changed))?;
    triggers::create(db, &changed, shape.invents_keys, triggers::Tables::Create)?;
    connection.forget_tables();
    let definition = Definition {
        table: changed,
        sql: shape.sql,
    };
    capture::define(
        connection,
        &SchemaChange::Define(Box::new(definition)).encode(),
    )
}

/// The table that a statement changes, and how; `None` if it says that it may find nothing to do,
/// and does.
fn target(db: Db, tokens: &[Token<'_>]) -> Result<Option<(String, Step)>> {
    let mut words = Words { rest: tokens };
    if words.take("ALTER") && words.take("TABLE") {
        let table = words.name()?;
        let step = if words.take("ADD") {
            Step::Stays
        } else if words.take("DROP") {
            words.take("COLUMN");
            Step::DropColumn(words.name()?)
        } else if words.take("RENAME") && words.take("TO") {
            Step::RenameTo(words.name()?)
        } else {
            words.take("COLUMN");
            let name = words.name()?;
            words.take("TO");
            Step::RenameColumn(name, words.name()?)
        };
        return Ok(Some((table, step)));
    }
    let mut words = Words { rest: tokens };
    if words.take("CREATE") {
        words.take("UNIQUE");
        if words.take("INDEX") {
            let may_be_there = words.take("IF") && words.take("NOT") && words.take("EXISTS");
            let index = words.name()?;
            if may_be_there && table_of_index(db, &index)?.is_some() {
                return Ok(None);
            }
            words.take("ON");
            return Ok(Some((words.name()?, Step::Stays)));
        }
    }
    let mut words = Words { rest: tokens };
    if words.take("DROP") {
        let is_table = words.take("TABLE");
        if is_table || words.take("INDEX") {
            let may_be_gone = words.take("IF") && words.take("EXISTS");
            let name = words.name()?;
            if is_table {
                let there = is_table_there(db, &name)?;
                return Ok((there || !may_be_gone).then_some((name, Step::DropTable)));
            }
            return match table_of_index(db, &name)? {
                Some(table) => Ok(Some((table, Step::Stays))),
                None if may_be_gone => Ok(None),
                None => Err(Error::refused(format!("no such index: {name}"))),
            };
        }
    }
    Err(Error::refused(
        "of statements that change a schema, ALTER TABLE, CREATE INDEX, DROP INDEX and DROP TABLE \
         of replicated tables go through the log; run others where you are",
    ))
}

fn is_table_there(db: Db, table: &str) -> Result<bool> {
    let found = db.int(
        "SELECT count(*) FROM main.sqlite_schema WHERE type = 'table' AND name = ? COLLATE NOCASE",
        &[Value::Text(table.as_bytes())],
    )?;
    Ok(found > 0)
}

fn table_of_index(db: Db, index: &str) -> Result<Option<String>> {
    db.text(
        "SELECT tbl_name FROM main.sqlite_schema WHERE type = 'index' AND name = ? COLLATE NOCASE",
        &[Value::Text(index.as_bytes())],
    )
}

/// The words of a statement, from the front.
struct Words<'t, 'a> {
    rest: &'t [Token<'a>],
}

impl Words<'_, '_> {
    /// Takes this keyword, if it comes next.
    fn take(&mut self, word: &str) -> bool {
        match self.rest.split_first() {
            Some((token, rest)) if token.is_word(word) => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    /// Takes a name, after `main.` if that stands before it.
    fn name(&mut self) -> Result<String> {
        let mut name = self.identifier()?;
        if let Some((Token::Other, rest)) = self.rest.split_first()
            && same_name(&name, "main")
        {
            self.rest = rest;
            name = self.identifier()?;
        }
        Ok(name)
    }

    fn identifier(&mut self) -> Result<String> {
        let found = self.rest.split_first();
        let Some((token, rest)) = found else {
            return Err(Error::refused("the statement is incomplete"));
        };
        self.rest = rest;
        match token {
            Token::Word(word) => Ok((*word).to_owned()),
            Token::Quoted(text) => Ok(text.replace("\"\"", "\"")),
            _ => Err(Error::refused(
                "a name is written plain or in double quotes here",
            )),
        }
    }
}
