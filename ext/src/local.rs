//! Tables that are not replicated, across a re-seed: the donor's snapshot brought the donor's.
//!
//! Before anything else is made again, this file's own come back from the set-aside old file,
//! with their indexes and rows. What a trigger maintains is left as it came: it was derived
//! from the donor's rows, which are here now. A table that the founder had tracked and nobody
//! has seen yet is tracked again. Nothing of the donor's that has no counterpart is dropped.

use std::rc::Rc;

use nuda_core::value::{OwnedValue, Value};

use crate::authority::{self, Authority};
use crate::connection::Connection;
use crate::error::Result;
use crate::ffi::db::Db;
use crate::shadow::damaged;
use crate::track;
use crate::tracked::quote;

/// Plain tables of the user's in the old file: name, definition, whether it was tracked there,
/// whether it is here or was, under whatever name, whether it is tracked here, whether a trigger names it.
const OLD_TABLES: &str = "
SELECT o.name, o.sql,
  EXISTS (SELECT 1 FROM nuda_old.nuda_table t
    WHERE t.name = o.name COLLATE NOCASE AND t.kind <> 'untracked'),
  EXISTS (SELECT 1 FROM main.sqlite_schema n WHERE n.name = o.name COLLATE NOCASE)
    OR EXISTS (SELECT 1 FROM nuda_old.nuda_table t JOIN main.nuda_table n USING (number)
      WHERE t.name = o.name COLLATE NOCASE AND t.kind <> 'untracked'),
  EXISTS (SELECT 1 FROM main.nuda_table t
    WHERE t.name = o.name COLLATE NOCASE AND t.kind <> 'untracked'),
  EXISTS (SELECT 1 FROM (SELECT name, sql FROM nuda_old.sqlite_schema WHERE type = 'trigger'
      UNION ALL SELECT name, sql FROM main.sqlite_schema WHERE type = 'trigger') r
    WHERE r.name NOT GLOB 'nuda_[0-9]*' AND instr(lower(r.sql), lower(o.name)))
FROM nuda_old.sqlite_schema o
WHERE o.type = 'table' AND o.name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
  AND o.name NOT LIKE 'nuda\\_%' ESCAPE '\\'
  AND (SELECT l.type FROM pragma_table_list l WHERE l.schema = 'nuda_old' AND l.name = o.name)
    = 'table'
ORDER BY o.rowid";

/// Brings back what the attached old file (`nuda_old`) has besides replicated tables.
pub(crate) fn bring_back(connection: &Rc<Connection>) -> Result<()> {
    let db = connection.db();
    let defines_here = authority::read(db)? == Authority::Here;
    for row in db.all(OLD_TABLES, &[])? {
        let [
            OwnedValue::Text(name),
            OwnedValue::Text(sql),
            OwnedValue::Int(was_tracked),
            OwnedValue::Int(is_here),
            OwnedValue::Int(is_tracked),
            OwnedValue::Int(is_derived),
        ] = row.as_slice()
        else {
            return Err(damaged("nuda_table"));
        };
        let name = String::from_utf8_lossy(name);
        let sql = String::from_utf8_lossy(sql);
        match (*was_tracked != 0, *is_here != 0, *is_tracked != 0) {
            (true, false, _) => {
                copy(db, &name, &sql)?;
                if defines_here {
                    let options = db.text(
                        "SELECT options FROM nuda_old.nuda_table WHERE name = ? COLLATE NOCASE",
                        &[Value::Text(name.as_bytes())],
                    )?;
                    let options = options.unwrap_or_default();
                    track::track(connection, &name, "eventual", &options)?;
                }
            }
            (true, true, _) => {}
            (false, false, _) => copy(db, &name, &sql)?,
            (false, true, false) if *is_derived == 0 => {
                db.exec(&format!("DROP TABLE main.{}", quote(&name)))?;
                copy(db, &name, &sql)?;
            }
            (false, true, false) => {}
            // A replicated table has taken the name meanwhile.
            (false, true, true) => db.exec(&format!(
                "CREATE TABLE main.{} AS SELECT * FROM nuda_old.{}",
                quote(&format!("{name} before re-seed")),
                quote(&name)
            ))?,
        }
    }
    connection.forget_tables();
    Ok(())
}

/// Makes the table as it is in the old file.
fn copy(db: Db, name: &str, sql: &str) -> Result<()> {
    db.exec(sql)?;
    let columns = db.all(
        "SELECT name FROM pragma_table_xinfo(?, 'nuda_old') WHERE hidden = 0",
        &[Value::Text(name.as_bytes())],
    )?;
    let columns: Vec<String> = columns
        .iter()
        .filter_map(|row| match row.as_slice() {
            [OwnedValue::Text(name)] => Some(quote(&String::from_utf8_lossy(name))),
            _ => None,
        })
        .collect();
    let columns = columns.join(", ");
    let name_quoted = quote(name);
    db.exec(&format!(
        "INSERT INTO main.{name_quoted}({columns}) SELECT {columns} FROM nuda_old.{name_quoted}"
    ))?;
    let indexes = db.all(
        "SELECT sql FROM nuda_old.sqlite_schema \
         WHERE type = 'index' AND sql IS NOT NULL AND name NOT GLOB 'nuda_[0-9]*_no_blob_writes' AND tbl_name = ? COLLATE NOCASE \
           AND name NOT IN (SELECT name FROM main.sqlite_schema)",
        &[Value::Text(name.as_bytes())],
    )?;
    for index in indexes {
        if let [OwnedValue::Text(sql)] = index.as_slice() {
            db.exec(&String::from_utf8_lossy(sql))?;
        }
    }
    Ok(())
}
