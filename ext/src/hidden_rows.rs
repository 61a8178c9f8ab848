//! `nuda_hidden_rows`: the rows that live and are not shown right now, for people: what is in them,
//! since when they are out of sight, which row holds them back, or what they refer to and is not
//! there, and why.
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
use crate::references::{Reference, WANT};
use crate::tracked::{Table, Tables};

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
        let tables = connection.tables()?;
        for table in tables.sorted() {
            for row in hidden::with_holders(db, table.at.number)? {
                let lacks = lacks(&tables, &table, &row);
                lines.push(line(&table, row, lacks, &noted));
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

/// What a row lacks that it refers to.
struct Lacks {
    columns: String,
    values: String,
    parent: String,
}

fn lacks(tables: &Tables, table: &Table, row: &hidden::HeldBack) -> Option<Lacks> {
    let references = tables.references();
    let by = row.by.as_deref().filter(|by| by.first() == Some(&WANT))?;
    let mut of_table = references.of(table.at.number);
    let reference = of_table.find(|r| r.want(&row.row.values).as_deref() == Some(by));
    let shown = |reference: &Reference| {
        let values = reference.values(&row.row.values);
        let values: Vec<String> = values.iter().map(|value| display(*value)).collect();
        let parent = tables.get(reference.target.table);
        Lacks {
            columns: reference.column_names(table).join(", "),
            values: values.join(", "),
            parent: parent.map_or_else(String::new, |parent| parent.name.clone()),
        }
    };
    reference.map(shown)
}

fn line(
    table: &Table,
    row: hidden::HeldBack,
    lacks: Option<Lacks>,
    noted: &HashMap<(String, String), Noted>,
) -> Vec<OwnedValue> {
    let text = |text: String| OwnedValue::Text(text.into_bytes());
    let values = row.row.values;
    let key = values.iter().take(table.at.key_columns);
    let key: Vec<String> = key.map(|value| display(value.as_ref())).collect();
    let key = key.join(", ");
    let noted = noted.get(&(table.name.clone(), key.clone()));
    let by = row.by.as_deref().filter(|by| by.first() != Some(&WANT));
    let by = by.map(shown_key);
    let columns = match (&lacks, noted) {
        (Some(lacks), _) => text(lacks.columns.clone()),
        (None, Some(noted)) => text(noted.columns.clone()),
        (None, None) => OwnedValue::Null,
    };
    let reason = match (&by, noted) {
        _ if lacks.is_some() => lacks.map_or_else(String::new, |lacks| {
            let Lacks { values, parent, .. } = lacks;
            format!("{values} of {parent}, which it refers to, is not there")
        }),
        (Some(by), Some(noted)) => format!("{by}, which is older, has its {}", noted.columns),
        (Some(by), None) => format!("{by}, which is older, has a unique value of it"),
        (None, _) => "it is looked at again with the next change that is applied".to_owned(),
    };
    vec![
        text(table.name.clone()),
        text(key),
        columns,
        by.map_or(OwnedValue::Null, text),
        noted.map_or(OwnedValue::Null, |noted| OwnedValue::Int(noted.at_ms)),
        text(reason),
        text(object(table, &values)),
    ]
}

/// A row as JSON; a BLOB as its first bytes in hexadecimal.
fn object(table: &Table, values: &[OwnedValue]) -> String {
    let mut out = String::from("{");
    let columns = table.columns.iter().zip(values);
    for (column, value) in columns.filter(|(column, _)| !column.is_gone) {
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
