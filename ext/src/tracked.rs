//! Tracked tables as the connection knows them: name, key, columns and their types.
//!
//! Read from the shadow tables and kept until the schema changes. A column's position is its
//! number in the change format: the primary key first, then the others as declared.

use std::collections::HashMap;
use std::rc::Rc;

use nuda_core::row::TableRef;
use nuda_core::value::{OwnedValue, Value};

use crate::error::Result;
use crate::ffi::db::Db;
use crate::shadow::damaged;

/// A column's conflict-free type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ColumnType {
    /// Last writer wins.
    Lww,
    /// Differences add up.
    Counter,
}

impl ColumnType {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Lww => "LWW",
            Self::Counter => "COUNTER",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name.to_ascii_uppercase().as_str() {
            "LWW" => Some(Self::Lww),
            "COUNTER" => Some(Self::Counter),
            _ => None,
        }
    }
}

/// One replicated column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) kind: ColumnType,
    pub(crate) is_key: bool,
}

/// One tracked table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) name: String,
    pub(crate) at: TableRef,
    pub(crate) columns: Vec<Column>,
    /// How the user's table differs from what is replicated, if it was altered.
    pub(crate) drift: Drift,
}

/// What plain DDL did to a tracked table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Drift {
    /// Nothing.
    None,
    /// It has columns that are not replicated yet.
    Added,
    /// It was dropped or renamed, or lost a column.
    Broken(String),
}

impl Table {
    /// The key's columns.
    pub(crate) fn key(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().take(self.at.key_columns)
    }

    /// `"a" = ?1 AND "b" = ?2` for the key.
    pub(crate) fn key_condition(&self) -> String {
        let terms: Vec<String> = self
            .key()
            .enumerate()
            .map(|(n, column)| format!("{} = ?{}", quote(&column.name), n + 1))
            .collect();
        terms.join(" AND ")
    }

    /// The columns' names, quoted and separated by commas.
    pub(crate) fn column_list(&self) -> String {
        let names: Vec<String> = self.columns.iter().map(|c| quote(&c.name)).collect();
        names.join(", ")
    }

    /// The table's name, quoted, in the main database.
    pub(crate) fn quoted(&self) -> String {
        format!("main.{}", quote(&self.name))
    }

    /// A hash of what replicas must agree on before they exchange changes of this table.
    pub(crate) fn definition_hash(columns: &[Column]) -> u64 {
        let mut text = String::new();
        for column in columns {
            text.push_str(&column.name);
            text.push('\0');
            text.push_str(column.kind.name());
            text.push(if column.is_key { 'k' } else { 'v' });
            text.push('\0');
        }
        fnv(text.as_bytes())
    }
}

/// FNV-1a, 64 bits: small, stable across builds; nothing hostile is hashed with it.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// An identifier in double quotes.
pub(crate) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text in single quotes.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// All tracked tables, by number.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tables {
    by_number: HashMap<u32, Rc<Table>>,
}

impl Tables {
    pub(crate) fn load(db: Db) -> Result<Self> {
        let mut by_number = HashMap::new();
        let rows = db.all(
            "SELECT number, name, version, definition FROM main.nuda_table \
             WHERE kind <> 'untracked'",
            &[],
        )?;
        for row in rows {
            let mut table = load_table(db, &row)?;
            table.drift = drift(db, &table)?;
            by_number.insert(table.at.number, Rc::new(table));
        }
        Ok(Self { by_number })
    }

    pub(crate) fn get(&self, number: u32) -> Option<&Rc<Table>> {
        self.by_number.get(&number)
    }

    pub(crate) fn by_name(&self, name: &str) -> Option<&Rc<Table>> {
        self.by_number
            .values()
            .find(|table| table.name.eq_ignore_ascii_case(name))
    }

    /// All tables, by number.
    pub(crate) fn sorted(&self) -> Vec<Rc<Table>> {
        let mut tables: Vec<Rc<Table>> = self.by_number.values().cloned().collect();
        tables.sort_by_key(|table| table.at.number);
        tables
    }
}

/// Capture triggers of a tracked table.
const TRIGGERS: i64 = 5;

fn drift(db: Db, table: &Table) -> Result<Drift> {
    let mut there = Vec::new();
    for row in db.all(
        "SELECT name FROM pragma_table_xinfo(?) WHERE hidden = 0",
        &[Value::Text(table.name.as_bytes())],
    )? {
        if let [OwnedValue::Text(name)] = row.as_slice() {
            there.push(String::from_utf8_lossy(name).into_owned());
        }
    }
    if there.is_empty() {
        return Ok(Drift::Broken(format!(
            "{} was dropped or renamed",
            table.name
        )));
    }
    let triggers = db.int(
        "SELECT count(*) FROM main.sqlite_schema WHERE type = 'trigger' AND tbl_name = ?1 \
         COLLATE NOCASE AND name GLOB 'nuda_' || ?2 || '_*'",
        &[
            Value::Text(table.name.as_bytes()),
            Value::Int(i64::from(table.at.number)),
        ],
    )?;
    if triggers < TRIGGERS {
        return Ok(Drift::Broken(format!(
            "{} was rebuilt without its capture triggers",
            table.name
        )));
    }
    let is_there = |name: &str| there.iter().any(|t| t.eq_ignore_ascii_case(name));
    if let Some(gone) = table.columns.iter().find(|c| !is_there(&c.name)) {
        return Ok(Drift::Broken(format!(
            "{} lost its column {}",
            table.name, gone.name
        )));
    }
    Ok(if there.len() > table.columns.len() {
        Drift::Added
    } else {
        Drift::None
    })
}

fn load_table(db: Db, row: &[OwnedValue]) -> Result<Table> {
    let [
        OwnedValue::Int(number),
        OwnedValue::Text(name),
        OwnedValue::Int(version),
        OwnedValue::Int(definition),
    ] = row
    else {
        return Err(damaged("nuda_table"));
    };
    let mut columns = Vec::new();
    for column in db.all(
        "SELECT name, type, is_key FROM main.nuda_column WHERE number = ? ORDER BY position",
        &[Value::Int(*number)],
    )? {
        let [
            OwnedValue::Text(name),
            OwnedValue::Text(kind),
            OwnedValue::Int(is_key),
        ] = column.as_slice()
        else {
            return Err(damaged("nuda_column"));
        };
        columns.push(Column {
            name: String::from_utf8_lossy(name).into_owned(),
            kind: ColumnType::parse(&String::from_utf8_lossy(kind))
                .ok_or_else(|| damaged("nuda_column"))?,
            is_key: *is_key != 0,
        });
    }
    #[allow(clippy::cast_sign_loss)]
    let at = TableRef {
        number: u32::try_from(*number).map_err(|_| damaged("nuda_table"))?,
        version: u32::try_from(*version).map_err(|_| damaged("nuda_table"))?,
        definition: *definition as u64,
        key_columns: columns.iter().filter(|c| c.is_key).count(),
        columns: columns.len(),
    };
    Ok(Table {
        name: String::from_utf8_lossy(name).into_owned(),
        at,
        columns,
        drift: Drift::None,
    })
}
