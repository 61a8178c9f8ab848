//! FOREIGN KEYs as the schema has them, and which of them cannot be kept between nodes.
//!
//! FOREIGN KEYs between eventual tables are kept if the table is tracked with the option `foreign_keys`,
//! which goes without saying where SQLite enforces them. Both tables are replicated, what is
//! referred to is there once, and the rows agree with it when the table is tracked. Whatever is
//! otherwise is refused, with the way out. Only of tables that refer to each other in a circle one
//! has to be the first: its references are kept from when the last is tracked.

use std::collections::HashSet;

use nuda_core::sorted;
use nuda_core::value::{OwnedValue, Value};

use crate::constraints::Unique;
use crate::error::{Error, Result};
use crate::ffi::db::Db;
use crate::hidden;
use crate::sql::{folded_name, same_name};
use crate::tracked::{ColumnType, Options, Table, Tables};

/// A FOREIGN KEY as the schema has it.
#[derive(Debug)]
pub(crate) struct ForeignKey {
    pub(crate) parent: String,
    /// From and to; without a name, to the parent's key.
    pub(crate) columns: Vec<(String, String)>,
}

impl ForeignKey {
    /// Those of a table.
    pub(crate) fn all(db: Db, table: &str) -> Result<Vec<Self>> {
        let rows = db.all(
            "SELECT f.id, f.\"table\", f.\"from\", coalesce(f.\"to\", (SELECT k.name \
               FROM pragma_table_xinfo(f.\"table\") k WHERE k.pk = f.seq + 1)) \
             FROM pragma_foreign_key_list(?) f ORDER BY f.id, f.seq",
            &[Value::Text(table.as_bytes())],
        )?;
        let mut keys: Vec<(i64, Self)> = Vec::new();
        for row in rows {
            let [
                OwnedValue::Int(id),
                OwnedValue::Text(parent),
                OwnedValue::Text(from),
                to,
            ] = row.as_slice()
            else {
                continue;
            };
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let to = match to {
                OwnedValue::Text(to) => text(to),
                _ => String::new(),
            };
            if keys.last().is_none_or(|(known, _)| known != id) {
                keys.push((
                    *id,
                    Self {
                        parent: text(parent),
                        columns: Vec::new(),
                    },
                ));
            }
            if let Some((_, key)) = keys.last_mut() {
                key.columns.push((text(from), to));
            }
        }
        Ok(keys.into_iter().map(|(_, key)| key).collect())
    }
}

/// Whether FOREIGN KEYs lead from one table to another, over whatever tables.
fn leads_to(db: Db, from: &str, to: &str) -> Result<bool> {
    let mut seen = HashSet::new();
    let mut next = vec![folded_name(from)];
    while let Some(table) = next.pop() {
        if same_name(&table, to) {
            return Ok(true);
        }
        if seen.insert(table.clone()) {
            let keys = ForeignKey::all(db, &table)?;
            next.extend(keys.iter().map(|key| folded_name(&key.parent)));
        }
    }
    Ok(false)
}

fn is_there(db: Db, table: &str) -> Result<bool> {
    let found = "SELECT EXISTS (SELECT 1 FROM main.sqlite_schema \
                 WHERE type = 'table' AND name = ? COLLATE NOCASE)";
    Ok(db.int(found, &[Value::Text(table.as_bytes())])? != 0)
}

/// What a table was asked to be tracked with: FOREIGN KEYs that are enforced on this connection
/// are kept.
pub(crate) fn with_enforced(db: Db, table: &str, options: Options) -> Result<Options> {
    let is_free = !options.is_strong && !options.foreign_keys;
    let are_enforced = is_free
        && db.int("PRAGMA foreign_keys", &[])? != 0
        && !ForeignKey::all(db, table)?.is_empty();
    Ok(Options {
        foreign_keys: options.foreign_keys || are_enforced,
        ..options
    })
}

/// What to say of tables that are to be tracked yet.
pub(crate) fn pending_advice(pending: &[String]) -> String {
    if pending.is_empty() {
        return String::new();
    }
    let parents = pending.join(", ");
    format!("; its FOREIGN KEY to {parents} is kept as soon as that is tracked")
}

/// Refuses to track a table whose FOREIGN KEYs cannot be kept. Answers the tables that are to be
/// tracked yet, which refer to this one themselves.
pub(crate) fn refuse(db: Db, table: &Table, tables: &Tables) -> Result<Vec<String>> {
    let name = &table.name;
    let keys = ForeignKey::all(db, name)?;
    if keys.is_empty() && table.options.foreign_keys {
        return Err(Error::refused(format!(
            "{name} has no FOREIGN KEY, so foreign_keys says nothing; track it without"
        )));
    }
    let mut pending = Vec::new();
    for key in keys.iter().filter(|_| table.options.foreign_keys) {
        refuse_columns(table, &key.columns, |(from, _)| from)?;
        let parent = &key.parent;
        if same_name(parent, name) {
            refuse_target(db, table, table, key)?;
        } else if let Some(parent) = tables.by_name(parent) {
            refuse_target(db, table, parent, key)?;
        } else if leads_to(db, parent, name)? {
            pending.push(parent.clone());
        } else if !is_there(db, parent)? {
            return Err(Error::refused(format!(
                "{name}: its FOREIGN KEY names {parent}, and there is no such table; create it first"
            )));
        } else {
            return Err(Error::refused(format!(
                "{name}: its FOREIGN KEY to {parent} can be kept only if {parent} is replicated too; \
                 track {parent} first, or track {name} under PRAGMA foreign_keys = off, without it"
            )));
        }
    }
    let mut children = refuse_targets_of_children(db, table, tables)?;
    if table.options.foreign_keys {
        children.push(name.clone());
    }
    for child in children {
        refuse_orphans(db, &child)?;
    }
    Ok(pending)
}

/// A table with rows that break its FOREIGN KEYs already.
fn refuse_orphans(db: Db, child: &str) -> Result<()> {
    let lost = db.text(
        "SELECT parent FROM pragma_foreign_key_check(?) LIMIT 1",
        &[Value::Text(child.as_bytes())],
    )?;
    let Some(parent) = lost else {
        return Ok(());
    };
    Err(Error::refused(format!(
        "{child}: a row refers to a row of {parent} that is not there; PRAGMA foreign_key_check \
         shows which; mend that, or track {child} under PRAGMA foreign_keys = off, without its \
         FOREIGN KEYs"
    )))
}

/// A table that is referred to from tables that are tracked already, in a circle. Answers those.
fn refuse_targets_of_children(db: Db, table: &Table, tables: &Tables) -> Result<Vec<String>> {
    let mut children = Vec::new();
    for child in tables.sorted().iter().filter(|c| c.options.foreign_keys) {
        for key in ForeignKey::all(db, &child.name)? {
            if same_name(&key.parent, &table.name) {
                refuse_target(db, child, table, &key)?;
                children.push(child.name.clone());
            }
        }
    }
    Ok(children)
}

/// Columns that merge are never for sure what somebody refers to, and generated ones do not travel.
fn refuse_columns(
    table: &Table,
    columns: &[(String, String)],
    side: impl Fn(&(String, String)) -> &String,
) -> Result<()> {
    for pair in columns {
        let column = side(pair);
        let found = table.position(column).and_then(|n| table.columns.get(n));
        let why = match found {
            None => "is generated, and not replicated",
            Some(found) if found.kind != ColumnType::Lww => {
                "is merged, and what several nodes make of it refers to nothing"
            }
            Some(_) => continue,
        };
        return Err(Error::refused(format!(
            "{}.{column}: a FOREIGN KEY names it, but the column {why}; use a plain column, or track \
             the tables as 'strong'",
            table.name
        )));
    }
    Ok(())
}

/// What is referred to is there once: the key, or what `unique=keep_first` keeps.
fn refuse_target(db: Db, child: &Table, parent: &Table, key: &ForeignKey) -> Result<()> {
    refuse_columns(parent, &key.columns, |(_, to)| to)?;
    let mut wanted: Vec<String> = key.columns.iter().map(|(_, to)| folded_name(to)).collect();
    sorted::ascending(&mut wanted);
    let names = |names: &mut dyn Iterator<Item = &str>| {
        let mut names: Vec<String> = names.map(folded_name).collect();
        sorted::ascending(&mut names);
        names
    };
    let is_key = names(&mut parent.key().map(|c| c.name.as_str())) == wanted;
    let uniques = Unique::all(db, &parent.name)?;
    let mut uniques = uniques.iter().filter(|unique| !unique.is_partial);
    let is_unique = uniques.any(|unique| names(&mut unique.column_names()) == wanted);
    if is_key || (is_unique && parent.options.keep_first) {
        return Ok(());
    }
    Err(Error::refused(format!(
        "{}: its FOREIGN KEY names {} of {}, which is neither the primary key nor kept UNIQUE there; \
         refer to the primary key, or track {} with unique=keep_first",
        child.name,
        wanted.join(", "),
        parent.name,
        parent.name
    )))
}

/// Refuses to give up a table that others refer to.
pub(crate) fn refuse_untracked(db: Db, table: &Table, tables: &Tables) -> Result<()> {
    for reference in tables.references().to(table.at.number) {
        let Some(child) = tables.get(reference.child) else {
            continue;
        };
        if !leads_to(db, &table.name, &child.name)? {
            return Err(Error::refused(format!(
                "{}: the FOREIGN KEY of {} to it is kept; nuda_untrack('{}') first",
                table.name, child.name, child.name
            )));
        }
    }
    Ok(())
}

/// A table is given up: what waits for rows of it is looked at again.
pub(crate) fn let_go(db: Db, tables: &Tables, number: u32) -> Result<()> {
    for reference in tables.references().to(number) {
        if let Some(child) = tables.get(reference.child) {
            hidden::look_again(db, child)?;
        }
    }
    Ok(())
}
