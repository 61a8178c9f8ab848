//! Tracked tables as the connection knows them: name, key, columns and their types.
//!
//! Read from the shadow tables and kept until the schema changes. A column's position is its
//! number in the change format: the primary key first, then the others as declared.

use std::collections::HashMap;
use std::rc::Rc;

use nuda_core::codec::{Reader, put_sized};
use nuda_core::limits;
use nuda_core::merge::Rules;
use nuda_core::row::TableRef;
pub(crate) use nuda_core::types::ColumnType;
pub(crate) use nuda_core::types::doc::rules::Rules as DocRules;
use nuda_core::value::{OwnedValue, Value};

use crate::authority::{self, Authority};
use crate::constraints::Unique;
use crate::drift::{Drift, Present};
use crate::error::Result;
use crate::ffi::db::Db;
use crate::references::References;
use crate::shadow::damaged;
use crate::sql::same_name;

/// One replicated column. Its number never changes its meaning: one that was dropped stays, as a
/// register without a value, so that changes of before name what they meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) kind: ColumnType,
    /// What was said about places of its documents.
    pub(crate) rules: DocRules,
    pub(crate) is_key: bool,
    pub(crate) is_gone: bool,
}

impl Column {
    /// What SQL reads for it; `row` is empty, or a row's name and a dot.
    pub(crate) fn read(&self, row: &str) -> String {
        if self.is_gone {
            "NULL".to_owned()
        } else {
            format!("{row}{}", quote(&self.name))
        }
    }
}

impl Column {
    /// The type's name, and with it the rules: what travels, and what the shadow tables hold.
    pub(crate) fn type_text(&self) -> String {
        if self.rules.is_empty() {
            return self.kind.name().to_owned();
        }
        format!("{} {}", self.kind.name(), self.rules)
    }
}

/// Reads what [`Column::type_text`] wrote; `None` if this version does not know it.
pub(crate) fn parse_type_text(text: &str) -> Option<(ColumnType, DocRules)> {
    let Some((name, rules)) = text.split_once(' ') else {
        return Some((ColumnType::parse(text)?, DocRules::default()));
    };
    let kind = ColumnType::parse(name).filter(|kind| *kind == ColumnType::Doc)?;
    Some((kind, DocRules::parse(rules).ok()?))
}

/// What `nuda_track` was asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// Keys that SQLite invents come from each site's own set (see [`crate::keys`]).
    pub(crate) site_ranges: bool,
    /// An edit concurrent with a delete does not keep the row.
    pub(crate) delete_wins: bool,
    /// Every transaction that writes the table is a strong one. Said as the kind; it travels
    /// with the options.
    pub(crate) is_strong: bool,
    /// Of rows with one unique value the oldest is shown (see [`crate::visible`]).
    pub(crate) keep_first: bool,
    /// Rows are shown while what they refer to is (see [`crate::attached`]).
    pub(crate) foreign_keys: bool,
}

impl Options {
    /// Reads a list of words; the error is the first that is none of them.
    pub(crate) fn parse(words: &str) -> std::result::Result<Self, &str> {
        let mut options = Self::default();
        for word in words.split(',').map(str::trim).filter(|w| !w.is_empty()) {
            match word {
                "site_ranges" => options.site_ranges = true,
                "delete_wins" => options.delete_wins = true,
                "strong" => options.is_strong = true,
                "unique=keep_first" => options.keep_first = true,
                "foreign_keys" => options.foreign_keys = true,
                unknown => return Err(unknown),
            }
        }
        Ok(options)
    }

    pub(crate) fn words(self) -> String {
        let words = [
            (self.delete_wins, "delete_wins"),
            (self.foreign_keys, "foreign_keys"),
            (self.site_ranges, "site_ranges"),
            (self.is_strong, "strong"),
            (self.keep_first, "unique=keep_first"),
        ];
        let said = words
            .into_iter()
            .filter_map(|(is, word)| is.then_some(word));
        said.collect::<Vec<&str>>().join(",")
    }
}

/// One tracked table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) name: String,
    pub(crate) at: TableRef,
    pub(crate) columns: Vec<Column>,
    pub(crate) options: Options,
    /// Columns that one CHECK names together, by position: an edit of one ships all of them,
    /// and all come from one edit.
    pub(crate) groups: Vec<Vec<usize>>,
    /// Definitions of its indexes that replicas agree on, sorted.
    pub(crate) indexes: Vec<String>,
    /// With [`Options::keep_first`]: the UNIQUE constraints besides the key.
    pub(crate) uniques: Vec<Unique>,
    /// How the user's table differs from what is replicated, if it was altered.
    pub(crate) drift: Drift,
}

impl Table {
    /// Whether rows of it may live and not be shown.
    pub(crate) fn may_hide(&self) -> bool {
        self.options.keep_first || self.options.foreign_keys
    }

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

    /// Where a column of this name is.
    #[inline(never)]
    pub(crate) fn position(&self, column: &str) -> Option<usize> {
        let is_it = |c: &Column| !c.is_gone && same_name(&c.name, column);
        self.columns.iter().position(is_it)
    }

    /// What reads one value for each column, separated by commas.
    pub(crate) fn column_list(&self) -> String {
        let names: Vec<String> = self.columns.iter().map(|c| c.read("")).collect();
        names.join(", ")
    }

    /// The columns that are there.
    pub(crate) fn live(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|c| !c.is_gone)
    }

    /// Whether a column was dropped.
    pub(crate) fn is_gone(&self, column: usize) -> bool {
        self.columns.get(column).is_some_and(|c| c.is_gone)
    }

    /// Of one value for each column (or for the first of them), those of columns that are there.
    pub(crate) fn live_values<'v>(&self, values: &[Value<'v>]) -> Vec<Value<'v>> {
        let values = self.columns.iter().zip(values);
        values
            .filter(|(column, _)| !column.is_gone)
            .map(|(_, value)| *value)
            .collect()
    }

    /// The table's name, quoted, in the main database.
    pub(crate) fn quoted(&self) -> String {
        format!("main.{}", quote(&self.name))
    }

    /// A hash of what replicas must agree on before they exchange changes of this table.
    pub(crate) fn definition_hash(columns: &[Column], groups: &[Vec<usize>]) -> u64 {
        let mut text = String::new();
        for column in columns {
            text.push_str(&column.name);
            text.push('\0');
            text.push_str(&column.type_text());
            text.push(match (column.is_key, column.is_gone) {
                (true, _) => 'k',
                (false, true) => 'x',
                (false, false) => 'v',
            });
            text.push('\0');
        }
        for group in groups {
            text.push('g');
            for column in group {
                text.push_str(&column.to_string());
                text.push('\0');
            }
        }
        fnv(text.as_bytes())
    }

    /// The columns that are written together with this one, itself included; none if it is
    /// written alone.
    pub(crate) fn group(&self, column: usize) -> Option<&[usize]> {
        let mut groups = self.groups.iter();
        groups
            .find(|group| group.contains(&column))
            .map(Vec::as_slice)
    }
}

impl Rules for Table {
    fn column_type(&self, column: usize) -> ColumnType {
        self.columns.get(column).map_or(ColumnType::Lww, |c| c.kind)
    }

    fn is_gone(&self, column: usize) -> bool {
        Table::is_gone(self, column)
    }

    fn delete_wins(&self) -> bool {
        self.options.delete_wins
    }
}

/// FNV-1a, 64 bits: small, stable across builds; nothing hostile is hashed with it.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// An identifier in double quotes.
#[inline(never)]
pub(crate) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text in single quotes.
#[inline(never)]
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// What `nuda_column.is_key` holds for a column that was dropped.
pub(crate) const GONE: i64 = 2;

/// All tracked tables, by number.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tables {
    /// Ascending.
    by_number: Vec<Rc<Table>>,
    references: References,
}

impl Tables {
    pub(crate) fn load(db: Db) -> Result<Self> {
        let may_define = authority::read(db)? != Authority::Founder;
        let present = Present::read(db)?;
        let mut columns = load_columns(db)?;
        let mut by_number = Vec::new();
        let rows = db.all(
            "SELECT number, name, version, definition, options, indexes FROM main.nuda_table \
             WHERE kind <> 'untracked' ORDER BY number",
            &[],
        )?;
        for row in rows {
            let mut table = load_table(&row, &mut columns)?;
            table.groups = present.groups(&table);
            table.drift = present.drift(&table, may_define);
            if table.options.keep_first && table.drift.problem().is_none() {
                table.uniques = Unique::all(db, &table.name)?;
            }
            by_number.push(Rc::new(table));
        }
        Ok(Self {
            references: References::load(db, &by_number)?,
            by_number,
        })
    }

    /// The FOREIGN KEYs between them that are kept.
    pub(crate) fn references(&self) -> &References {
        &self.references
    }

    pub(crate) fn get(&self, number: u32) -> Option<&Rc<Table>> {
        let found = self
            .by_number
            .binary_search_by_key(&number, |t| t.at.number);
        found.ok().and_then(|at| self.by_number.get(at))
    }

    pub(crate) fn by_name(&self, name: &str) -> Option<&Rc<Table>> {
        self.by_number
            .iter()
            .find(|table| same_name(&table.name, name))
    }

    /// Whether a table may hide rows.
    pub(crate) fn may_hide(&self) -> bool {
        let mut tables = self.by_number.iter();
        tables.any(|table| table.may_hide())
    }

    /// Tables whose definition is to be replicated anew.
    pub(crate) fn changed(&self) -> Vec<Rc<Table>> {
        let mut tables = self.sorted();
        tables.retain(|table| matches!(table.drift, Drift::Added | Drift::Indexed));
        tables
    }

    /// Tables with columns that have no definition yet.
    pub(crate) fn ahead(&self) -> impl Iterator<Item = &Rc<Table>> {
        let mut tables = self.by_number.iter();
        std::iter::from_fn(move || tables.find(|table| table.drift == Drift::Added))
    }

    /// A table whose writes nobody captures: nothing is written until that is mended.
    pub(crate) fn rebuilt(&self) -> Option<&Rc<Table>> {
        self.by_number
            .iter()
            .find(|table| matches!(table.drift, Drift::Rebuilt(_)))
    }

    /// All tables, by number.
    pub(crate) fn sorted(&self) -> Vec<Rc<Table>> {
        self.by_number.clone()
    }
}

/// The definitions of a table's indexes.
pub(crate) const INDEXES: &str = "SELECT sql FROM main.sqlite_schema \
     WHERE type = 'index' AND tbl_name = ? COLLATE NOCASE AND sql IS NOT NULL";

/// The definitions as `nuda_table` holds them.
pub(crate) fn encode_indexes(indexes: &[String]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for index in indexes {
        put_sized(&mut bytes, index.as_bytes());
    }
    bytes
}

fn decode_indexes(bytes: &[u8]) -> Result<Vec<String>> {
    let mut reader = Reader::new(bytes);
    let mut indexes = Vec::new();
    while !reader.is_empty() {
        let index = reader.text("an index", limits::DEFINITION_BYTES)?;
        indexes.push(index.to_owned());
    }
    Ok(indexes)
}

/// The columns of all tracked tables, by number.
fn load_columns(db: Db) -> Result<HashMap<i64, Vec<Column>>> {
    let mut columns: HashMap<i64, Vec<Column>> = HashMap::new();
    for column in db.all(
        "SELECT number, name, type, is_key FROM main.nuda_column WHERE number > 0 \
         ORDER BY number, position",
        &[],
    )? {
        let [
            OwnedValue::Int(number),
            OwnedValue::Text(name),
            OwnedValue::Text(kind),
            OwnedValue::Int(is_key),
        ] = column.as_slice()
        else {
            return Err(damaged("nuda_column"));
        };
        let (kind, rules) = parse_type_text(&String::from_utf8_lossy(kind))
            .ok_or_else(|| damaged("nuda_column"))?;
        columns.entry(*number).or_default().push(Column {
            name: String::from_utf8_lossy(name).into_owned(),
            kind,
            rules,
            is_key: *is_key == 1,
            is_gone: *is_key == GONE,
        });
    }
    Ok(columns)
}

fn load_table(row: &[OwnedValue], columns: &mut HashMap<i64, Vec<Column>>) -> Result<Table> {
    let [
        OwnedValue::Int(number),
        OwnedValue::Text(name),
        OwnedValue::Int(version),
        OwnedValue::Int(definition),
        OwnedValue::Text(options),
        OwnedValue::Blob(indexes),
    ] = row
    else {
        return Err(damaged("nuda_table"));
    };
    let options =
        Options::parse(&String::from_utf8_lossy(options)).map_err(|_| damaged("nuda_table"))?;
    let columns = columns.remove(number).unwrap_or_default();
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
        options,
        groups: Vec::new(),
        indexes: decode_indexes(indexes)?,
        uniques: Vec::new(),
        drift: Drift::None,
    })
}
