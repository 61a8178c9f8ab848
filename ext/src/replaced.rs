//! A table that is tracked again: on every member the founding node's rows take the place of
//! those that were there, and what a member had besides is kept.
//!
//! A table's second life is a new table with the founder's rows at that moment; nothing that was
//! written to the first one, on any node, belongs to it. So that no row is lost silently, the
//! local rows are set aside before the founder's arrive, and afterwards those that arrived
//! alike are dropped. What is left is a local table beside, of which nobody else knows.

use nuda_core::value::Value;

use crate::connection::Connection;
use crate::error::Result;
use crate::ffi::db::Db;
use crate::tracked::{Table, quote};

/// A table whose local rows were set aside.
#[derive(Debug)]
pub(crate) struct Replaced {
    name: String,
    aside: String,
}

/// Copies the rows of a table that is about to be replaced, if it has any.
pub(crate) fn set_aside(connection: &Connection, table: &Table) -> Result<()> {
    let db = connection.db();
    let name = &table.name;
    let has_rows = db.int(
        &format!("SELECT EXISTS (SELECT 1 FROM main.{})", quote(name)),
        &[],
    )?;
    if has_rows == 0 {
        return Ok(());
    }
    let aside = free_name(db, &format!("{name} before table {}", table.at.number))?;
    db.exec(&format!(
        "CREATE TABLE main.{} AS SELECT * FROM main.{}",
        quote(&aside),
        quote(name)
    ))?;
    let mut replaced = connection.replaced.borrow_mut();
    // What is left of a changeset that was rolled back.
    replaced.retain(|earlier| earlier.name != *name);
    replaced.push(Replaced {
        name: name.clone(),
        aside,
    });
    Ok(())
}

/// The changeset that brought the tables is applied: only what did not arrive alike is kept.
pub(crate) fn settle(connection: &Connection) -> Result<()> {
    let replaced = std::mem::take(&mut *connection.replaced.borrow_mut());
    for Replaced { name, aside } in replaced {
        compare(connection.db(), &name, &aside)?;
    }
    Ok(())
}

fn compare(db: Db, name: &str, aside: &str) -> Result<()> {
    let is_there = db.int(
        "SELECT count(*) FROM main.sqlite_schema WHERE type = 'table' AND name = ?",
        &[Value::Text(aside.as_bytes())],
    )?;
    if is_there == 0 {
        return Ok(());
    }
    // Columns that the new table does not have were given up on purpose.
    let shared = db.all(
        "SELECT a.name FROM pragma_table_info(?1, 'main') a, pragma_table_info(?2, 'main') b \
         WHERE a.name = b.name COLLATE NOCASE",
        &[Value::Text(aside.as_bytes()), Value::Text(name.as_bytes())],
    )?;
    let same: Vec<String> = shared
        .iter()
        .filter_map(|row| match row.first().map(|v| v.as_ref()) {
            Some(Value::Text(column)) => Some(quote(&String::from_utf8_lossy(column))),
            _ => None,
        })
        .map(|c| format!("n.{c} IS o.{c} AND typeof(n.{c}) = typeof(o.{c})"))
        .collect();
    let (quoted_name, quoted_aside) = (quote(name), quote(aside));
    db.exec(&format!(
        "DELETE FROM main.{quoted_aside} AS o WHERE EXISTS \
         (SELECT 1 FROM main.{quoted_name} n WHERE {})",
        same.join(" AND ")
    ))?;
    let left = db.int(
        &format!("SELECT EXISTS (SELECT 1 FROM main.{quoted_aside})"),
        &[],
    )?;
    if left == 0 {
        db.exec(&format!("DROP TABLE main.{quoted_aside}"))?;
    }
    Ok(())
}

/// A table's name like `wanted` that is not taken.
pub(crate) fn free_name(db: Db, wanted: &str) -> Result<String> {
    let mut name = wanted.to_owned();
    for n in 2.. {
        let taken = db.int(
            "SELECT count(*) FROM main.sqlite_schema WHERE name = ? COLLATE NOCASE",
            &[Value::Text(name.as_bytes())],
        )?;
        if taken == 0 {
            break;
        }
        name = format!("{wanted} ({n})");
    }
    Ok(name)
}
