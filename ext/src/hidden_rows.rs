//! `nuda_hidden_rows`: the rows that live and are not shown right now, for people: what is in them,
//! since when they are out of sight, which row holds them back, and why.
//!
//! The present state is in [`crate::hidden`], which says it in bytes. When it began, and by which
//! columns, was noted in `nuda_conflicts`, which forgets the oldest; then those are NULL. Nothing is
//! decided by what is answered here.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::rc::Rc;

use nuda_core::value::{OwnedValue, Value};

use crate::conflicts::{HIDDEN, display, shown_key};
use crate::connection::Connection;
use crate::error::Result;
use crate::ffi::db::Db;
use crate::ffi::rows_table::{Rows, Source};
use crate::hidden;
use crate::json;
use crate::tracked::Table;

/// `SELECT * FROM nuda_hidden_rows`.
pub(crate) static HIDDEN_ROWS: Source = Source {
    name: "nuda_hidden_rows",
    columns: &["table", "key", "columns", "by", "since_ms", "reason", "row"],
    parameters: &[],
    open,
};

/// When a row went out of sight, and the columns whose values it shares.
struct Noted {
    at_ms: i64,
    columns: String,
}

struct Lines(std::vec::IntoIter<Vec<OwnedValue>>);

impl Rows for Lines {
    fn next_row(&mut self) -> Result<Option<Vec<OwnedValue>>> {
        Ok(self.0.next())
    }
}

fn open(connection: &Rc<Connection>, _parameters: &[OwnedValue]) -> Result<Box<dyn Rows>> {
    let db = connection.db();
    let mut lines = Vec::new();
    if hidden::are_kept(db)? {
        let noted = noted(db)?;
        for table in connection.tables()?.sorted() {
            for row in hidden::with_holders(db, table.at.number)? {
                lines.push(line(&table, row, &noted));
            }
        }
    }
    Ok(Box::new(Lines(lines.into_iter())))
}

/// The latest note of each row, by table and key.
fn noted(db: Db) -> Result<HashMap<(String, String), Noted>> {
    let rows = db.all(
        "SELECT \"table\", \"key\", \"column\", at_ms FROM main.nuda_conflicts \
         WHERE reason GLOB ? ORDER BY id",
        &[Value::Text(format!("{HIDDEN}*").as_bytes())],
    )?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(rows
        .iter()
        .filter_map(|row| match row.as_slice() {
            [
                OwnedValue::Text(table),
                OwnedValue::Text(key),
                OwnedValue::Text(columns),
                OwnedValue::Int(at_ms),
            ] => {
                let columns = text(columns);
                let at_ms = *at_ms;
                Some(((text(table), text(key)), Noted { at_ms, columns }))
            }
            _ => None,
        })
        .collect())
}

fn line(
    table: &Table,
    row: hidden::HeldBack,
    noted: &HashMap<(String, String), Noted>,
) -> Vec<OwnedValue> {
    let text = |text: String| OwnedValue::Text(text.into_bytes());
    let values = row.row.values;
    let key = values.iter().take(table.at.key_columns);
    let key: Vec<String> = key.map(|value| display(value.as_ref())).collect();
    let key = key.join(", ");
    let noted = noted.get(&(table.name.clone(), key.clone()));
    let by = row.by.as_deref().map(shown_key);
    let reason = match (&by, noted) {
        (Some(by), Some(noted)) => format!("{by}, which is older, has its {}", noted.columns),
        (Some(by), None) => format!("{by}, which is older, has a unique value of it"),
        (None, _) => "it is looked at again with the next change that is applied".to_owned(),
    };
    vec![
        text(table.name.clone()),
        text(key),
        noted.map_or(OwnedValue::Null, |noted| text(noted.columns.clone())),
        by.map_or(OwnedValue::Null, text),
        noted.map_or(OwnedValue::Null, |noted| OwnedValue::Int(noted.at_ms)),
        text(reason),
        text(object(table, &values)),
    ]
}

/// A row as JSON; a BLOB as its first bytes in hexadecimal.
fn object(table: &Table, values: &[OwnedValue]) -> String {
    let mut out = String::from("{");
    for (column, value) in table.columns.iter().zip(values) {
        let shown = match value {
            OwnedValue::Null => "null".to_owned(),
            OwnedValue::Int(n) => n.to_string(),
            OwnedValue::Real(r) if r.is_finite() => format!("{r:?}"),
            other => json::text(&display(other.as_ref())),
        };
        let comma = if out.len() > 1 { "," } else { "" };
        // A String takes all that is written to it.
        let _ = write!(out, "{comma}{}:{shown}", json::text(&column.name));
    }
    out.push('}');
    out
}
