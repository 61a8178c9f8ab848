//! A table's definition as it travels in a changeset.
//!
//! ```text
//! 1 byte: 1 (define), 2 (untrack), 3 (define with options), 5 (hand over), 6 (drop) or 7 (define
//! with dropped columns), varint number (not of 5), then to define:
//! varint version, 8 bytes hash, text name, text CREATE TABLE,
//! varint columns, each: text name, text type, 1 byte: 1 (key), 0 or, of 7 only, 2 (dropped)
//! varint indexes, each: text CREATE INDEX
//! of 3 and 7: text options, of 3 not empty
//! ```
//!
//! The text comes from another node and is not run before it was tried: [`Definition::check`]
//! runs it in an empty scratch database and looks at what it made.

use nuda_core::codec::{Reader, put_sized, put_varint};
use nuda_core::error::DecodeError;
use nuda_core::limits;
use nuda_core::row::TableRef;
use nuda_core::value::{OwnedValue, Value};

use crate::constraints;
use crate::drift::Drift;
use crate::error::{Error, Result};
use crate::ffi::db::Db;
use crate::ffi::own::OwnConnection;
use crate::sql::{self, folded_name, same_name};
use crate::tracked::{Column, ColumnType, DocRules, Options, Table, parse_type_text};

/// What a changeset says about a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SchemaChange {
    /// The table is replicated from here on, in this shape.
    Define(Box<Definition>),
    /// The table is no longer replicated.
    Untrack(u32),
    /// The table is dropped.
    Drop(u32),
    /// From here on definitions go through the replicated log (see [`crate::authority`]).
    HandOver,
}

/// A tracked table's shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Definition {
    pub(crate) table: Table,
    pub(crate) sql: String,
}

const DEFINE: u8 = 1;
const UNTRACK: u8 = 2;
const DEFINE_WITH_OPTIONS: u8 = 3;
const HAND_OVER: u8 = 5;
const DROP: u8 = 6;
const DEFINE_WITH_DROPPED: u8 = 7;
const INDEXES: usize = 2_000;

impl SchemaChange {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Untrack(number) | Self::Drop(number) => {
                let is_drop = matches!(self, Self::Drop(_));
                out.push(if is_drop { DROP } else { UNTRACK });
                put_varint(&mut out, u64::from(*number));
            }
            Self::HandOver => out.push(HAND_OVER),
            Self::Define(definition) => {
                let Definition { table, sql } = &**definition;
                let options = table.options.words();
                let has_dropped = table.columns.iter().any(|c| c.is_gone);
                out.push(match (has_dropped, options.is_empty()) {
                    (true, _) => DEFINE_WITH_DROPPED,
                    (false, true) => DEFINE,
                    (false, false) => DEFINE_WITH_OPTIONS,
                });
                put_varint(&mut out, u64::from(table.at.number));
                put_varint(&mut out, u64::from(table.at.version));
                out.extend_from_slice(&table.at.definition.to_be_bytes());
                put_sized(&mut out, table.name.as_bytes());
                put_sized(&mut out, sql.as_bytes());
                put_varint(&mut out, table.columns.len() as u64);
                for column in &table.columns {
                    put_sized(&mut out, column.name.as_bytes());
                    put_sized(&mut out, column.type_text().as_bytes());
                    out.push(u8::from(column.is_key) | u8::from(column.is_gone) << 1);
                }
                put_varint(&mut out, table.indexes.len() as u64);
                for index in &table.indexes {
                    put_sized(&mut out, index.as_bytes());
                }
                if has_dropped || !options.is_empty() {
                    put_sized(&mut out, options.as_bytes());
                }
            }
        }
        out
    }

    /// The table that an encoded one is about; `None`: the hand-over, which is about none and never
    /// ordered by the log.
    pub(crate) fn table(encoded: &[u8]) -> Option<u32> {
        let mut r = Reader::new(encoded);
        match r.byte("a schema change") {
            Ok(HAND_OVER) | Err(_) => None,
            Ok(_) => number(&mut r).ok(),
        }
    }

    /// Reads an encoded definition. `None`: of a kind or type that this version does not
    /// know, so that its changeset has to wait for an upgrade.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Option<Self>> {
        let mut r = Reader::new(bytes);
        match r.byte("a schema change")? {
            kind @ (UNTRACK | DROP) => {
                let number = number(&mut r)?;
                r.end("a schema change")?;
                Ok(Some(match kind {
                    DROP => Self::Drop(number),
                    _ => Self::Untrack(number),
                }))
            }
            HAND_OVER => {
                r.end("a schema change")?;
                Ok(Some(Self::HandOver))
            }
            kind @ (DEFINE | DEFINE_WITH_OPTIONS | DEFINE_WITH_DROPPED) => {
                let definition = Definition::decode(&mut r, kind)?;
                Ok(definition.map(Box::new).map(Self::Define))
            }
            _ => Ok(None),
        }
    }
}

fn number(r: &mut Reader<'_>) -> std::result::Result<u32, DecodeError> {
    let number = r.bounded("a table number", u64::from(u32::MAX))?;
    Ok(u32::try_from(number).unwrap_or(u32::MAX))
}

impl Definition {
    fn decode(r: &mut Reader<'_>, form: u8) -> Result<Option<Self>> {
        let number = number(r)?;
        let version = self::number(r)?;
        let definition = u64::from_be_bytes(r.array("a definition hash")?);
        let name = r.text("a table's name", limits::NAME_BYTES)?.to_owned();
        let sql = r.text("a definition", limits::DEFINITION_BYTES)?.to_owned();
        let count = r.length("columns", limits::COLUMNS)?;
        let mut columns = Vec::with_capacity(count);
        for _ in 0..count {
            let name = r.text("a column's name", limits::NAME_BYTES)?.to_owned();
            let kind = r.text("a column's type", limits::NAME_BYTES)?;
            let (is_key, is_gone) = match (r.byte("a column")?, form) {
                (2, DEFINE_WITH_DROPPED) => (false, true),
                (byte, _) => (byte == 1, false),
            };
            let Some((kind, rules)) = parse_type_text(kind) else {
                return Ok(None);
            };
            columns.push(Column {
                name,
                kind: if is_gone { ColumnType::Lww } else { kind },
                rules: if is_gone { DocRules::default() } else { rules },
                is_key,
                is_gone,
            });
        }
        let count = r.length("indexes", INDEXES)?;
        let mut indexes = Vec::with_capacity(count);
        for _ in 0..count {
            indexes.push(r.text("an index", limits::DEFINITION_BYTES)?.to_owned());
        }
        let options = if form != DEFINE {
            match Options::parse(r.text("a table's options", limits::NAME_BYTES)?) {
                Ok(options) if form == DEFINE_WITH_OPTIONS && options.words().is_empty() => {
                    return Err(DecodeError::Invalid("a definition with empty options").into());
                }
                Ok(options) => options,
                Err(_) => return Ok(None),
            }
        } else {
            Options::default()
        };
        r.end("a definition")?;
        let key_columns = columns.iter().filter(|c| c.is_key).count();
        if number == 0 || key_columns == 0 || !columns.iter().take(key_columns).all(|c| c.is_key) {
            return Err(DecodeError::Invalid("a definition without a key").into());
        }
        let groups = if options.is_strong {
            Vec::new()
        } else {
            constraints::check_groups(&sql::tokens(&sql), &columns)
        };
        if Table::definition_hash(&columns, &groups) != definition {
            return Err(DecodeError::Invalid("a definition that does not match its hash").into());
        }
        let at = TableRef {
            number,
            version,
            definition,
            key_columns,
            columns: columns.len(),
        };
        Ok(Some(Self {
            table: Table {
                name,
                at,
                columns,
                options,
                groups,
                indexes,
                uniques: Vec::new(),
                drift: Drift::None,
            },
            sql,
        }))
    }

    /// Makes sure that the SQL creates this table and its indexes and does nothing else.
    /// Answers what to run: the texts as SQLite itself recorded them.
    pub(crate) fn check(&self) -> Result<Vec<String>> {
        let name = folded_name(&self.table.name);
        if name.starts_with("nuda_") || name.starts_with("sqlite_") {
            return Err(refused(&self.table.name, "a reserved name"));
        }
        let scratch = OwnConnection::in_memory()?;
        let db = scratch.db();
        self.run_one(db, &self.sql, &["CREATE", "TABLE"])?;
        for index in &self.table.indexes {
            // An eventual table's unique index is refused when its table is looked at.
            let words: &[&str] = if sql::tokens(index)
                .get(1)
                .is_some_and(|t| t.is_word("UNIQUE"))
            {
                &["CREATE", "UNIQUE", "INDEX"]
            } else {
                &["CREATE", "INDEX"]
            };
            self.run_one(db, index, words)?;
        }
        let mut made = Vec::new();
        for row in db.all(
            // SQLite's own table of what AUTOINCREMENT counted comes with the first that counts.
            "SELECT type, tbl_name, sql FROM sqlite_schema \
             WHERE sql IS NOT NULL AND name <> 'sqlite_sequence' ORDER BY rowid",
            &[],
        )? {
            let [
                OwnedValue::Text(kind),
                OwnedValue::Text(table),
                OwnedValue::Text(sql),
            ] = row.as_slice()
            else {
                return Err(refused(&self.table.name, "an unreadable schema"));
            };
            let is_ours = same_name(&String::from_utf8_lossy(table), &self.table.name);
            if !is_ours || !matches!(kind.as_slice(), b"table" | b"index") {
                return Err(refused(&self.table.name, "something besides the table"));
            }
            made.push(String::from_utf8_lossy(sql).into_owned());
        }
        let columns = db.int(
            "SELECT count(*) FROM pragma_table_xinfo(?) WHERE hidden = 0",
            &[Value::Text(self.table.name.as_bytes())],
        )?;
        if usize::try_from(columns) != Ok(self.table.live().count()) {
            return Err(refused(&self.table.name, "other columns than it names"));
        }
        Ok(made)
    }

    /// Runs one statement that begins with these words.
    fn run_one(&self, db: Db, text: &str, words: &[&str]) -> Result<()> {
        let tokens = sql::tokens(text);
        let begins = words
            .iter()
            .zip(&tokens)
            .all(|(word, token)| token.is_word(word));
        let selects = tokens.iter().any(|t| t.is_word("SELECT"));
        if !begins || selects || text.contains('\0') {
            return Err(refused(&self.table.name, "other statements"));
        }
        let mut statement = db
            .prepare(text)
            .map_err(|e| refused(&self.table.name, &format!("unusable SQL ({})", e.message)))?;
        while statement.step()? {}
        Ok(())
    }
}

fn refused(table: &str, what: &str) -> Error {
    Error::corrupt(format!(
        "the definition of {table} that arrived contains {what}; refused"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Version 3 of a table whose column `b` was dropped and `c` added.
    fn evolved() -> Definition {
        let column = |name: &str, is_key, is_gone| Column {
            name: name.to_owned(),
            kind: if name == "c" {
                ColumnType::Counter
            } else {
                ColumnType::Lww
            },
            rules: DocRules::default(),
            is_key,
            is_gone,
        };
        let columns = vec![
            column("id", true, false),
            column("b", false, true),
            column("c", false, false),
        ];
        Definition {
            table: Table {
                name: "t".to_owned(),
                at: TableRef {
                    number: 300,
                    version: 3,
                    definition: Table::definition_hash(&columns, &[]),
                    key_columns: 1,
                    columns: 3,
                },
                columns,
                options: Options::default(),
                groups: Vec::new(),
                indexes: vec!["I".to_owned()],
                uniques: Vec::new(),
                drift: Drift::None,
            },
            sql: "CREATE TABLE t(id TEXT PRIMARY KEY, c COUNTER)".to_owned(),
        }
    }

    /// Bytes that lie in logs: they are read for ever.
    const DROPPED: &str = "07ac020301742e435245415445205441424c4520742869642054455854205052494d\
        415259204b45592c206320434f554e5445522903026964034c5757010162034c5757\
        02016307434f554e5445520001014900";

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn every_form_has_its_bytes() {
        assert_eq!(hex(&SchemaChange::Untrack(300).encode()), "02ac02");
        assert_eq!(hex(&SchemaChange::HandOver.encode()), "05");
        assert_eq!(hex(&SchemaChange::Drop(300).encode()), "06ac02");
        let encoded = SchemaChange::Define(Box::new(evolved())).encode();
        // Its hash is what the columns say, and has its own place: after number and version.
        let (before, rest) = encoded.split_at(4);
        let (hash, after) = rest.split_at(8);
        assert_eq!(hex(before) + &hex(after), DROPPED);
        assert_eq!(hash, evolved().table.at.definition.to_be_bytes());
    }

    #[test]
    fn forms_are_read_back_and_cut_ones_refused() {
        for change in [
            SchemaChange::Untrack(1),
            SchemaChange::HandOver,
            SchemaChange::Drop(7),
            SchemaChange::Define(Box::new(evolved())),
        ] {
            let encoded = change.encode();
            assert_eq!(SchemaChange::decode(&encoded), Ok(Some(change)));
            for cut in 0..encoded.len() {
                let cut = encoded.get(..cut).unwrap_or_default();
                assert!(SchemaChange::decode(cut).is_err(), "{cut:?}");
            }
        }
        // A later kind waits for an upgrade.
        assert_eq!(SchemaChange::decode(&[99, 1]), Ok(None));
    }

    #[test]
    fn only_the_form_with_dropped_columns_has_them() {
        let mut encoded = SchemaChange::Define(Box::new(evolved())).encode();
        if let Some(form) = encoded.first_mut() {
            *form = DEFINE_WITH_OPTIONS;
        }
        assert!(SchemaChange::decode(&encoded).is_err());
    }
}
