//! From one version of a table's definition to the next: which column is which.
//!
//! SQLite knows columns by name and place, the change format by number. A number belongs to
//! one column for ever: renaming changes the name behind it, dropping leaves it empty, adding
//! takes the next one. So a change that was made under any older version means here what it meant
//! there, and what it wrote to a column that has gone is dropped, on every replica alike.

use nuda_core::value::Value;

use crate::constraints;
use crate::drift::Drift;
use crate::error::{Error, Result};
use crate::ffi::db::Db;
use crate::inspect::Shape;
use crate::sql::{self, folded_name, same_name};
use crate::tracked::{Column, ColumnType, DocRules, Table};

/// Gives a column its new name.
pub(crate) fn renamed(table: &mut Table, old: &str, new: &str) -> Result<()> {
    new.clone_into(&mut named(table, old)?.name);
    Ok(())
}

/// Leaves the number of a dropped column empty.
pub(crate) fn dropped(table: &mut Table, name: &str) -> Result<()> {
    let column = named(table, name)?;
    column.is_gone = true;
    column.kind = ColumnType::Lww;
    column.rules = DocRules::default();
    Ok(())
}

fn named<'t>(table: &'t mut Table, name: &str) -> Result<&'t mut Column> {
    let of = table.name.clone();
    let mut columns = table.columns.iter_mut();
    columns
        .find(|c| !c.is_gone && same_name(&c.name, name))
        .ok_or_else(|| {
            Error::refused(format!(
                "{name} is a generated column of {of}, which is not replicated by itself; drop and \
                 add it by two statements on each node, or nuda_untrack('{of}') first"
            ))
        })
}

/// The next version of a table, which looks like `shape`: its columns, and what was added at the
/// end. A column keeps its type.
pub(crate) fn to_shape(table: &Table, shape: &Shape) -> Result<Table> {
    let mut columns = table.columns.clone();
    for column in columns.iter_mut().filter(|c| !c.is_gone) {
        // By name: in what order they lie in the table may differ from node to node.
        match shape.columns.iter().find(|here| is_same(column, here)) {
            Some(here) => column.name.clone_from(&here.name),
            None => {
                return Err(Error::refused(format!(
                    "{0} has no column {1} like the one that is replicated; undo the change, or \
                     nuda_untrack('{0}') it",
                    table.name, column.name
                )));
            }
        }
    }
    let known = |here: &&Column| columns.iter().any(|c| !c.is_gone && is_same(c, here));
    let added: Vec<Column> = shape
        .columns
        .iter()
        .filter(|c| !known(c))
        .cloned()
        .collect();
    if let Some(key) = added.iter().find(|c| c.is_key) {
        return Err(Error::refused(format!(
            "{0} has another primary key ({1}) than the one that is replicated; undo the change, or \
             nuda_untrack('{0}') it",
            table.name, key.name
        )));
    }
    columns.extend(added);
    let groups = if table.options.is_strong {
        Vec::new()
    } else {
        constraints::check_groups(&sql::tokens(&shape.sql), &columns)
    };
    let mut at = table.at;
    at.version += 1;
    at.definition = Table::definition_hash(&columns, &groups);
    at.columns = columns.len();
    Ok(Table {
        name: shape.name.clone(),
        at,
        columns,
        options: table.options,
        groups,
        indexes: shape.indexes.clone(),
        uniques: Vec::new(),
        drift: Drift::None,
    })
}

fn is_same(column: &Column, here: &Column) -> bool {
    same_name(&column.name, &here.name) && column.is_key == here.is_key
}

/// What `nuda_column` said of columns goes where their names go, and not to later ones of the same
/// name. `new` is `None` for a table that was dropped.
pub(crate) fn choices_follow(db: Db, old: &Table, new: Option<&Table>) -> Result<()> {
    let name =
        |table: &Table, column: &Column| folded_name(&format!("{}.{}", table.name, column.name));
    let mut moved = Vec::new();
    for (n, column) in old.columns.iter().enumerate().filter(|(_, c)| !c.is_gone) {
        let was = name(old, column);
        let there = new.and_then(|new| Some((new, new.columns.get(n).filter(|c| !c.is_gone)?)));
        let is = there.map(|(new, column)| name(new, column));
        if is.as_ref() == Some(&was) {
            continue;
        }
        let named = [Value::Text(was.as_bytes())];
        let of = "FROM main.nuda_column WHERE number = 0 AND name = ?";
        if let (Some(is), Some(kind)) = (is, db.text(&format!("SELECT type {of}"), &named)?) {
            moved.push((is, kind));
        }
        db.run(&format!("DELETE {of}"), &named)?;
    }
    for (name, kind) in moved {
        choose(db, &name, &kind)?;
    }
    Ok(())
}

/// Keeps what `nuda_column` says of a column, `table.column` in lower case.
pub(crate) fn choose(db: Db, name: &str, kind: &str) -> Result<()> {
    let name = Value::Text(name.as_bytes());
    db.run(
        "DELETE FROM main.nuda_column WHERE number = 0 AND name = ?",
        &[name],
    )?;
    db.run(
        "INSERT INTO main.nuda_column(number, position, name, type, is_key) \
         SELECT 0, coalesce(max(position), 0) + 1, ?, ?, 0 FROM main.nuda_column WHERE number = 0",
        &[name, Value::Text(kind.as_bytes())],
    )
}

/// What was kept beside cells of columns that are gone goes with them.
pub(crate) fn forget_cells(db: Db, old: &Table, new: &Table) -> Result<()> {
    for (n, column) in new.columns.iter().enumerate() {
        if !column.is_gone || old.is_gone(n) {
            continue;
        }
        let name = |n: usize| {
            let mut name = new.at.number.to_be_bytes().to_vec();
            name.extend_from_slice(&u32::try_from(n).unwrap_or(u32::MAX).to_be_bytes());
            name
        };
        for kept in ["nuda_cell", "nuda_excess"] {
            db.run(
                &format!("DELETE FROM main.{kept} WHERE cell >= ? AND cell < ?"),
                &[Value::Blob(&name(n)), Value::Blob(&name(n + 1))],
            )?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracked::Options;

    fn column(name: &str, is_key: bool) -> Column {
        Column {
            name: name.to_owned(),
            kind: ColumnType::Lww,
            rules: DocRules::default(),
            is_key,
            is_gone: false,
        }
    }

    fn shape(columns: Vec<Column>) -> Shape {
        Shape {
            name: "t".to_owned(),
            sql: "CREATE TABLE t(id, k, v)".to_owned(),
            columns,
            invents_keys: false,
            groups: Vec::new(),
            indexes: Vec::new(),
            advice: Vec::new(),
        }
    }

    /// Drift says so first; this is what keeps the definition right if it ever misses something.
    #[test]
    fn a_table_of_another_key_or_without_a_column_is_no_next_version() {
        let columns = vec![column("id", true), column("v", false)];
        let table = crate::track::table_of(&shape(columns), 1, 4, Options::default());
        let next = |columns| to_shape(&table, &shape(columns)).map_err(|e| e.to_string());
        let added = vec![column("id", true), column("w", false), column("v", false)];
        let next_version = next(added).expect("a column was added");
        assert_eq!(next_version.at.version, 5);
        let names: Vec<&str> = next_version.columns.iter().map(|c| &*c.name).collect();
        assert_eq!(names, ["id", "v", "w"], "numbers stay");
        let other_key = vec![column("id", true), column("k", true), column("v", false)];
        assert!(next(other_key).is_err_and(|why| why.contains("another primary key (k)")));
        let without = vec![column("id", true), column("w", false)];
        assert!(next(without).is_err_and(|why| why.contains("no column v like the one")));
        let no_key_any_more = vec![column("id", false), column("v", false)];
        assert!(next(no_key_any_more).is_err_and(|why| why.contains("no column id like")));
    }
}
