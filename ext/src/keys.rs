//! Keys that SQLite invents, for tables tracked with the option `site_ranges`.
//!
//! SQLite gives a row without an INTEGER PRIMARY KEY the greatest key plus one, so that two
//! nodes would invent the same. Here each site has a set of its own: the keys whose quotient
//! by [`BLOCK`] leaves the site's remainder by [`KEY_SETS`]. A trigger cannot change a new
//! row's key, but SQLite chooses it after the BEFORE triggers ran. So, where the next key is not
//! of the site's set, a copy of the row is put right before the first one that is, and taken
//! away in the AFTER trigger. Within a block no copy is needed.
//!
//! The copy is never captured, and gone when its statement ends, however that ends: the AFTER
//! trigger or the statement's own savepoint removes it, a rollback undoes it, and a commit that
//! still finds it fails. Triggers of the user would fire for it, and cannot be switched off
//! under a running statement (SQLite would abort that); so tables that have some are refused.

use std::rc::Rc;

use nuda_core::site::Site;
use nuda_core::value::{OwnedValue, Value};
use sqlite3_ext::ffi::SQLITE_CONSTRAINT;

use crate::connection::Connection;
use crate::error::{Error, Result};
use crate::ffi::db::{Db, Setting};
use crate::identity::{KEY_SETS, SUCCESSORS, key_set};
use crate::inspect::Shape;
use crate::record;
use crate::shadow::damaged;
use crate::sql;
use crate::tracked::{Table, quote};

/// Keys in a row that belong to one set.
const BLOCK: i64 = 64;

/// What a key that SQLite is about to invent reads as in a BEFORE trigger.
pub(crate) const UNKNOWN: i64 = -1;

/// What the running transaction knows of invented keys.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    /// The site's set.
    set: Option<i64>,
    /// The copy that is in the table.
    placed: Option<Placed>,
    /// No copy could be placed: this key of this table is one that SQLite must not choose.
    missed: Option<(u32, i64)>,
}

/// A copy that waits for its row.
#[derive(Debug)]
struct Placed {
    table: Rc<Table>,
    key: i64,
    /// The innermost savepoint when it was placed, which is that of its statement; -1: none.
    mark: i32,
}

impl Keys {
    /// Savepoint `id` was rolled back, and with it a copy placed since, and a renewed site.
    pub(crate) fn rollback_to(&mut self, id: i32) {
        self.set = None;
        self.missed = None;
        if self.placed.as_ref().is_some_and(|p| p.mark >= id) {
            self.placed = None;
        }
    }
}

/// Refuses the option where it cannot work.
pub(crate) fn refuse_unfit(db: Db, shape: &Shape) -> Result<()> {
    let name = &shape.name;
    if !shape.invents_keys {
        return Err(Error::refused(format!(
            "site_ranges is for tables with one INTEGER PRIMARY KEY; {name} has none"
        )));
    }
    refuse_triggers(db, name)
}

fn refuse_triggers(db: Db, table: &str) -> Result<()> {
    let triggers = db.all(
        "SELECT name, sql FROM main.sqlite_schema WHERE type = 'trigger' \
           AND tbl_name = ?1 COLLATE NOCASE AND name NOT GLOB 'nuda_[0-9]*' \
         UNION ALL SELECT name, sql FROM temp.sqlite_schema WHERE type = 'trigger' \
           AND tbl_name = ?1 COLLATE NOCASE AND name NOT GLOB 'nuda_guard_*'",
        &[Value::Text(table.as_bytes())],
    )?;
    for trigger in triggers {
        let [OwnedValue::Text(name), OwnedValue::Text(text)] = trigger.as_slice() else {
            continue;
        };
        let text = String::from_utf8_lossy(text);
        let fires = sql::tokens(&text)
            .iter()
            .take_while(|t| !t.is_word("ON"))
            .any(|t| t.is_word("INSERT") || t.is_word("DELETE"));
        if fires {
            return Err(Error::refused(format!(
                "{table}: keys cannot be invented by site_ranges where INSERT or DELETE fires a \
                 trigger ({}), which would see rows that are not there; name the key in the \
                 INSERT, or drop the trigger",
                String::from_utf8_lossy(name)
            )));
        }
    }
    Ok(())
}

/// SQLite is about to invent a key (or the row's key is an explicit -1, which looks the same).
pub(crate) fn invent<'a>(
    connection: &Connection,
    table: &Rc<Table>,
    row: impl Fn(usize) -> Value<'a>,
) -> Result<()> {
    let key = table.key().next().map_or("", |c| c.name.as_str());
    if table.options.is_strong && !table.options.site_ranges {
        // The snapshot is certified: whoever else took this number makes the transaction fail.
        return Ok(());
    }
    if !table.options.site_ranges {
        return Err(Error::refused(format!(
            "{0}.{key} would be numbered by SQLite, and another node may number another row the \
             same; give {key} a value, declare it TEXT and use nuda_uuid7(), or track the table \
             with the option site_ranges or as 'strong'",
            table.name
        )));
    }
    let replaces = connection.db().replaces();
    settle(connection, table, None)?;
    let set = own_set(connection)?;
    let (next, has_sequence) = next_key(connection, table)?;
    let first = first_in_set(next, set).ok_or_else(|| exhausted(table))?;
    if first != next {
        place(connection, table, (first, next), row, replaces)?;
        if has_sequence == Some(false) {
            // The running statement found no row of the table in there, and is going to add it.
            connection.db().run(
                "DELETE FROM main.sqlite_sequence WHERE name = ?",
                &[Value::Text(table.name.as_bytes())],
            )?;
        }
    }
    Ok(())
}

fn exhausted(table: &Table) -> Error {
    Error::refused(format!(
        "{}: its greatest key leaves no greater one to invent; name the key in the INSERT, or \
         delete that row",
        table.name
    ))
}

/// The set of this file's site. Takes another site if the file is not the one that the site
/// was made for, or if another node's older site has the same set.
fn own_set(connection: &Connection) -> Result<i64> {
    if let Some(set) = connection.capture()?.keys.set {
        return Ok(set);
    }
    let (state, sites) = record::present_state(connection)?;
    let own = sites
        .by_id(state.site_id)
        .ok_or_else(|| damaged("nuda_site"))?
        .site;
    let line = |site: Site| site.get() & !SUCCESSORS;
    let is_taken = sites
        .iter()
        .any(|row| key_set(row.site) == key_set(own) && line(row.site) < line(own));
    if !is_taken && state.identity == connection.identity() {
        let set = key_set(own);
        connection.capture()?.keys.set = Some(set);
        return Ok(set);
    }
    if connection.capture()?.has_begun() {
        return Err(Error::refused(
            "another node invents the same keys as this one; end this transaction, the next one \
             invents others",
        ));
    }
    record::renew_site(connection, &state)?;
    own_set(connection)
}

/// The key that SQLite would choose; and whether AUTOINCREMENT has counted here, if it does.
fn next_key(connection: &Connection, table: &Table) -> Result<(i64, Option<bool>)> {
    let db = connection.db();
    let mut statements = connection.statements()?;
    let query = statements.greatest_key(db, table.at.number, || greatest_key(db, table))?;
    query.bind(&[Value::Text(table.name.as_bytes())])?;
    let (mut greatest, mut counts, mut counted) = (None, false, None);
    if query.step()? {
        let number = |value| match value {
            Value::Int(n) => Some(n),
            _ => None,
        };
        greatest = number(query.value(0));
        counts = query.columns() > 1;
        if counts {
            counted = number(query.value(1));
        }
    }
    query.reset();
    let after = |n: i64| n.checked_add(1).ok_or_else(|| exhausted(table));
    let next = greatest
        .map_or(Ok(1), after)?
        .max(counted.map_or(Ok(i64::MIN), after)?);
    Ok((next, counts.then_some(counted.is_some())))
}

/// Whether the table's keys are counted by AUTOINCREMENT.
pub(crate) fn counts(db: Db, table: &Table) -> Result<bool> {
    let text = db
        .text(
            "SELECT sql FROM main.sqlite_schema WHERE type = 'table' AND name = ? COLLATE NOCASE",
            &[Value::Text(table.name.as_bytes())],
        )?
        .unwrap_or_default();
    Ok(sql::tokens(&text)
        .iter()
        .any(|t| t.is_word("AUTOINCREMENT")))
}

/// Makes AUTOINCREMENT count on after this key, though no row of that key is inserted.
pub(crate) fn count_on(db: Db, table: &Table, key: i64) -> Result<()> {
    let name = Value::Text(table.name.as_bytes());
    db.run(
        "UPDATE main.sqlite_sequence SET seq = ?2 WHERE name = ?1 AND seq < ?2",
        &[name, Value::Int(key)],
    )?;
    db.run(
        "INSERT INTO main.sqlite_sequence(name, seq) SELECT ?1, ?2 \
         WHERE NOT EXISTS (SELECT 1 FROM main.sqlite_sequence WHERE name = ?1)",
        &[name, Value::Int(key)],
    )
}

fn greatest_key(db: Db, table: &Table) -> Result<String> {
    let counts = counts(db, table)?;
    let key = table
        .key()
        .next()
        .map(|c| quote(&c.name))
        .unwrap_or_default();
    let greatest = format!("(SELECT max({key}) FROM {})", table.quoted());
    Ok(if counts {
        format!("SELECT {greatest}, (SELECT seq FROM main.sqlite_sequence WHERE name = ?1)")
    } else {
        format!("SELECT {greatest} WHERE ?1 IS NOT NULL")
    })
}

/// The first key of a set that is at least `next`.
fn first_in_set(next: i64, set: i64) -> Option<i64> {
    let next = next.max(1);
    let block = next / BLOCK;
    if block % KEY_SETS == set {
        return Some(next);
    }
    let round = block - block % KEY_SETS;
    let own = round + set + if round + set < block { KEY_SETS } else { 0 };
    own.checked_mul(BLOCK)
}

/// Puts a copy of the row before key `first`, so that SQLite chooses that and not `next`.
fn place<'a>(
    connection: &Connection,
    table: &Rc<Table>,
    (mut first, next): (i64, i64),
    row: impl Fn(usize) -> Value<'a>,
    replaces: bool,
) -> Result<()> {
    let db = connection.db();
    refuse_triggers(db, &table.name)?;
    let children = children(db, table)?;
    while is_referenced(db, &children, first - 1)? {
        first = first
            .checked_add(BLOCK * KEY_SETS)
            .ok_or_else(|| exhausted(table))?;
    }
    let policy = if replaces { " OR REPLACE" } else { "" };
    let mut values = vec![Value::Int(first - 1)];
    values.extend((1..table.columns.len()).map(row));
    let values = table.live_values(&values);
    let names: Vec<String> = table.live().map(|c| c.read("")).collect();
    let places = vec!["?"; values.len()].join(", ");
    let sql = format!(
        "INSERT{policy} INTO {}({}) VALUES ({places})",
        table.quoted(),
        names.join(", ")
    );
    let placed = connection.while_placing(|| db.run(&sql, &values));
    let mut capture = connection.capture()?;
    match placed {
        Ok(()) => {
            let mark = capture.buffer.innermost().unwrap_or(-1);
            capture.keys.placed = Some(Placed {
                table: Rc::clone(table),
                key: first - 1,
                mark,
            });
        }
        // The row will fail the same way, unless the rule is about the key.
        Err(error) if error.code & 0xff == SQLITE_CONSTRAINT => {
            capture.keys.missed = Some((table.at.number, next));
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Tables and columns that refer to this one, if that is enforced: removing the copy must not
/// take their rows along.
fn children(db: Db, table: &Table) -> Result<Vec<(String, String)>> {
    if !db.is_on(Setting::ForeignKeys)? {
        return Ok(Vec::new());
    }
    let rows = db.all(
        "SELECT m.name, f.\"from\" FROM main.sqlite_schema m, pragma_foreign_key_list(m.name) f \
         WHERE m.type = 'table' AND f.\"table\" = ? COLLATE NOCASE",
        &[Value::Text(table.name.as_bytes())],
    )?;
    Ok(rows
        .iter()
        .filter_map(|row| match row.as_slice() {
            [OwnedValue::Text(child), OwnedValue::Text(column)] => Some((
                String::from_utf8_lossy(child).into_owned(),
                String::from_utf8_lossy(column).into_owned(),
            )),
            _ => None,
        })
        .collect())
}

fn is_referenced(db: Db, children: &[(String, String)], key: i64) -> Result<bool> {
    for (child, column) in children {
        let sql = format!(
            "SELECT EXISTS (SELECT 1 FROM main.{} WHERE {} = ?)",
            quote(child),
            quote(column)
        );
        if db.int(&sql, &[Value::Int(key)])? != 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The row whose key was invented is in, or will never be: removes its copy. `key` is the key
/// of the row that was inserted.
pub(crate) fn settle(connection: &Connection, table: &Table, key: Option<i64>) -> Result<()> {
    let (placed, missed) = {
        let mut capture = connection.capture()?;
        (capture.keys.placed.take(), capture.keys.missed.take())
    };
    if let Some(placed) = placed {
        remove(connection, &placed)?;
    }
    match missed {
        Some((number, missed)) if number == table.at.number && Some(missed) == key => {
            Err(Error::refused(format!(
                "{}: a rule of the table forbids the key before the one to invent, so that another \
                 node might invent {missed} too; name the key in the INSERT",
                table.name
            )))
        }
        _ => Ok(()),
    }
}

fn remove(connection: &Connection, placed: &Placed) -> Result<()> {
    let sql = format!(
        "DELETE FROM {} WHERE {}",
        placed.table.quoted(),
        placed.table.key_condition()
    );
    connection.while_placing(|| connection.db().run(&sql, &[Value::Int(placed.key)]))
}

/// Savepoint `id` was released. If that ends the statement that a copy was placed for, its row
/// was ignored.
pub(crate) fn released(connection: &Connection, id: i32) -> Result<()> {
    let placed = match connection.idle_capture() {
        Some(mut capture) => {
            capture.keys.missed = None;
            match capture.keys.placed.take() {
                Some(placed) if placed.mark >= id => Some(placed),
                other => {
                    capture.keys.placed = other;
                    None
                }
            }
        }
        // Released inside a call of ours, which ends no statement of the user's.
        None => None,
    };
    placed.map_or(Ok(()), |placed| remove(connection, &placed))
}

/// A commit that still finds a copy fails: nothing can be removed here any more.
pub(crate) fn refuse_unsettled(connection: &Connection) -> Result<()> {
    match &connection.capture()?.keys.placed {
        None => Ok(()),
        Some(placed) => Err(Error::refused(format!(
            "{}: an INSERT of the key -1, which is there already, looks like one whose key SQLite \
             invents; run it between BEGIN and COMMIT",
            placed.table.name
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_key_of_a_set() {
        assert_eq!(first_in_set(-7, 0), Some(1));
        assert_eq!(first_in_set(1, 0), Some(1));
        assert_eq!(first_in_set(64, 0), Some(KEY_SETS * BLOCK));
        assert_eq!(first_in_set(1, 3), Some(3 * BLOCK));
        assert_eq!(first_in_set(3 * BLOCK + 63, 3), Some(3 * BLOCK + 63));
        assert_eq!(first_in_set(4 * BLOCK, 3), Some((KEY_SETS + 3) * BLOCK));
        assert_eq!(first_in_set(i64::MAX, 3), None);
    }

    #[test]
    fn sets_are_disjoint() {
        for next in [1, 63, 64, 5_000, 67_108_864, 1 << 40] {
            let keys: Vec<Option<i64>> = (0..200).map(|set| first_in_set(next, set)).collect();
            for (n, key) in keys.iter().enumerate() {
                assert!(key.is_some_and(|k| k >= next));
                assert!(!keys.iter().skip(n + 1).any(|other| other == key));
            }
        }
    }
}
