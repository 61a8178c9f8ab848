//! Looking at a user's table: can it be replicated, and as what?
//!
//! Every refusal names the reason and the way out. What SQLite's pragmas do not tell (CHECKs,
//! conflict clauses) is read off the text of the definition, token by token.

use nuda_core::limits;
use nuda_core::sorted;
use nuda_core::value::{OwnedValue, Value};

use crate::blob_writes;
use crate::constraints;
use crate::error::{Error, Result};
use crate::ffi::db::Db;
use crate::sql::{self, Token, folded_name, same_name};
use crate::tracked::{Column, ColumnType, DocRules, INDEXES, Options, parse_type_text};

/// A table that can be tracked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shape {
    /// As the schema spells it.
    pub(crate) name: String,
    /// The text of CREATE TABLE.
    pub(crate) sql: String,
    /// The key's columns first, in key order, then the others as declared; without generated
    /// columns, which every replica computes.
    pub(crate) columns: Vec<Column>,
    /// Whether SQLite invents keys for rows inserted without one.
    pub(crate) invents_keys: bool,
    /// Columns that are written and won together, by position (of eventual tables).
    pub(crate) groups: Vec<Vec<usize>>,
    /// Definitions of its indexes, sorted.
    pub(crate) indexes: Vec<String>,
    /// What whoever tracks it should know.
    pub(crate) advice: Vec<String>,
}

/// Looks at table `name` of the main database, which is to be replicated, or is.
pub(crate) fn shape(db: Db, name: &str, options: Options) -> Result<Shape> {
    let found = db.first(
        "SELECT name, type, sql FROM main.sqlite_schema \
         WHERE name = ? COLLATE NOCASE AND type IN ('table', 'view')",
        &[Value::Text(name.as_bytes())],
    )?;
    let Some(
        [
            OwnedValue::Text(real),
            OwnedValue::Text(kind),
            OwnedValue::Text(sql),
        ],
    ) = found.as_deref()
    else {
        return Err(Error::refused(format!("no such table: {name}")));
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (real, sql) = (text(real), text(sql));
    if kind == b"view" {
        return Err(Error::refused(format!(
            "{real} is a view; track the tables behind it"
        )));
    }
    let prefix = folded_name(&real);
    if prefix.starts_with("nuda_") || prefix.starts_with("sqlite_") {
        return Err(Error::refused(format!(
            "{real} is bookkeeping and is not replicated as a table"
        )));
    }
    let tokens = sql::tokens(&sql);
    if tokens.iter().take(3).any(|t| t.is_word("VIRTUAL")) {
        return Err(Error::refused(format!(
            "{real} is a virtual table; its content is not captured"
        )));
    }
    if real.len() > limits::NAME_BYTES || sql.len() > limits::DEFINITION_BYTES {
        return Err(Error::refused(format!(
            "{real}: its name or definition is too long"
        )));
    }
    let declared = declared(db, &real)?;
    let (columns, invents_keys) = columns(db, &real, &declared)?;
    refuse_narrow_types(db, &real, &declared, &columns)?;
    let advice = advice(&declared);
    refuse_conflict_clauses(&real, &tokens)?;
    let groups = if options.is_strong {
        Vec::new()
    } else {
        refuse_checks(&real, &tokens, &columns)?;
        constraints::check_groups(&tokens, &columns)
    };
    constraints::refuse_unique(db, &real, (&tokens, &columns), options)?;
    let indexes = db
        .all(
            &format!("{INDEXES} AND NOT ({}) ORDER BY sql", blob_writes::IS_OURS),
            &[Value::Text(real.as_bytes())],
        )?
        .into_iter()
        .filter_map(|row| match row.into_iter().next() {
            Some(OwnedValue::Text(sql)) => Some(text(&sql)),
            _ => None,
        })
        .collect();
    Ok(Shape {
        name: real,
        sql,
        columns,
        invents_keys,
        groups,
        indexes,
        advice,
    })
}

/// A column as PRAGMA table_xinfo tells it.
struct Declared {
    name: String,
    declared: String,
    key: i64,
    hidden: i64,
}

fn declared(db: Db, table: &str) -> Result<Vec<Declared>> {
    let rows = db.all(
        "SELECT name, type, pk, hidden FROM pragma_table_xinfo(?) ORDER BY cid",
        &[Value::Text(table.as_bytes())],
    )?;
    Ok(rows
        .into_iter()
        .filter_map(|row| match row.as_slice() {
            [
                OwnedValue::Text(name),
                OwnedValue::Text(declared),
                OwnedValue::Int(key),
                OwnedValue::Int(hidden),
            ] => Some(Declared {
                name: String::from_utf8_lossy(name).into_owned(),
                declared: String::from_utf8_lossy(declared).into_owned(),
                key: *key,
                hidden: *hidden,
            }),
            _ => None,
        })
        .collect())
}

fn columns(db: Db, table: &str, all: &[Declared]) -> Result<(Vec<Column>, bool)> {
    let mut key: Vec<&Declared> = all.iter().filter(|c| c.key > 0).collect();
    sorted::by_key(&mut key, |c| c.key);
    if key.is_empty() {
        return Err(Error::refused(format!(
            "{table} has no primary key, so replicas could not tell its rows apart; \
             add one, for example: id TEXT PRIMARY KEY DEFAULT (nuda_uuid7())"
        )));
    }
    if key.len() > limits::KEY_COLUMNS {
        return Err(Error::refused(format!(
            "{table}: a key of {} columns is too wide",
            key.len()
        )));
    }
    let mut columns = Vec::with_capacity(all.len());
    for column in &key {
        if let Some(collation) = db.collation(table, &column.name)
            && !same_name(&collation, "BINARY")
        {
            return Err(Error::refused(format!(
                "{table}.{}: with COLLATE {collation} two nodes may write one key in two spellings, \
                 and replicas cannot agree on one yet; use the default collation for the key, and \
                 COLLATE in queries and indexes",
                column.name
            )));
        }
        let (kind, rules) = column_type(db, table, column)?;
        if kind != ColumnType::Lww {
            return Err(Error::refused(format!(
                "{table}.{}: a key column cannot be a {}",
                column.name,
                kind.name()
            )));
        }
        columns.push(Column {
            name: column.name.clone(),
            kind,
            rules,
            is_key: true,
            is_gone: false,
        });
    }
    for column in all.iter().filter(|c| c.key == 0 && c.hidden == 0) {
        let (kind, rules) = column_type(db, table, column)?;
        columns.push(Column {
            name: column.name.clone(),
            kind,
            rules,
            is_key: false,
            is_gone: false,
        });
    }
    if columns.len() > limits::COLUMNS || columns.iter().any(|c| c.name.len() > limits::NAME_BYTES)
    {
        return Err(Error::refused(format!(
            "{table}: too many columns, or too long a name"
        )));
    }
    let invents_keys = match key.as_slice() {
        [one] => same_name(&one.declared, "INTEGER") && has_rowid(db, table)?,
        _ => false,
    };
    Ok((columns, invents_keys))
}

/// Whether the table has a rowid (that an INTEGER PRIMARY KEY would be).
fn has_rowid(db: Db, table: &str) -> Result<bool> {
    // A rowid table has no index for an INTEGER PRIMARY KEY: the key is the rowid.
    let indexes = db.int(
        "SELECT count(*) FROM pragma_index_list(?) WHERE origin = 'pk'",
        &[Value::Text(table.as_bytes())],
    )?;
    Ok(indexes == 0)
}

/// The type that was set by `nuda_column`, or the declared one: a conflict-free type by its name;
/// anything else is last-writer-wins.
fn column_type(db: Db, table: &str, column: &Declared) -> Result<(ColumnType, DocRules)> {
    let chosen = db.text(
        "SELECT type FROM main.nuda_column WHERE number = 0 AND name = ?",
        &[Value::Text(
            format!("{table}.{}", column.name)
                .to_ascii_lowercase()
                .as_bytes(),
        )],
    )?;
    let known = match &chosen {
        Some(chosen) => parse_type_text(chosen),
        None => {
            let word = column.declared.split_whitespace().next();
            ColumnType::parse(word.unwrap_or_default()).map(|kind| (kind, DocRules::default()))
        }
    };
    Ok(known.unwrap_or((ColumnType::Lww, DocRules::default())))
}

/// What `nuda_column` was told, in one form: a conflict-free type by its name, and rules.
pub(crate) fn chosen_type(column: &str, word: &str, rules: Option<&str>) -> Result<String> {
    let kind = ColumnType::parse(word).ok_or_else(|| {
        Error::refused(format!(
            "'{word}' is no column type; there are {}",
            known_types()
        ))
    })?;
    let Some(rules) = rules else {
        return Ok(kind.name().to_owned());
    };
    if kind != ColumnType::Doc {
        return Err(Error::refused(format!(
            "{column}: only a DOC has rules, a {} has none; leave them out",
            kind.name()
        )));
    }
    let rules = DocRules::parse(rules)
        .map_err(|why| Error::refused(format!("the rules of {column}: {why}")))?;
    Ok(format!("{} {rules}", kind.name()))
}

fn known_types() -> String {
    ColumnType::ALL.map(ColumnType::name).join(", ")
}

/// Types whose bare name SQLite takes for a number's.
fn advice(declared: &[Declared]) -> Vec<String> {
    declared
        .iter()
        .filter(|column| ColumnType::parse(&column.declared).is_some_and(|kind| kind.is_assigned()))
        .map(|column| {
            format!(
                "{0} {1} has NUMERIC affinity ('007' becomes 7), {0} {1} TEXT keeps texts",
                column.name,
                column.declared.to_ascii_uppercase()
            )
        })
        .collect()
}

/// A STRICT table's column must be able to hold what merging may make of it.
fn refuse_narrow_types(
    db: Db,
    table: &str,
    declared: &[Declared],
    columns: &[Column],
) -> Result<()> {
    let strict = db.int(
        "SELECT coalesce(max(strict), 0) FROM pragma_table_list(?) WHERE schema = 'main'",
        &[Value::Text(table.as_bytes())],
    )?;
    for column in columns.iter().filter(|_| strict != 0) {
        let wanted = match column.kind {
            ColumnType::Counter => ["INTEGER", "INT", "ANY"],
            ColumnType::MvReg | ColumnType::OrSet | ColumnType::TextDoc | ColumnType::Doc => {
                ["TEXT", "TEXT", "ANY"]
            }
            ColumnType::Lww | ColumnType::MaxReg | ColumnType::MinReg => continue,
        };
        let fits = declared
            .iter()
            .filter(|d| d.name == column.name)
            .all(|d| wanted.iter().any(|w| same_name(&d.declared, w)));
        if !fits {
            return Err(Error::refused(format!(
                "{table}.{}: in a STRICT table a {} is declared {} or ANY",
                column.name,
                column.kind.name(),
                wanted.first().copied().unwrap_or_default()
            )));
        }
    }
    Ok(())
}

fn refuse_conflict_clauses(table: &str, tokens: &[Token<'_>]) -> Result<()> {
    for window in tokens.windows(3) {
        if let [on, conflict, policy] = window
            && on.is_word("ON")
            && conflict.is_word("CONFLICT")
            && policy.is_word("REPLACE")
        {
            return Err(Error::refused(format!(
                "{table}: ON CONFLICT REPLACE in a definition removes rows without a trace; \
                 declare the table without it and write INSERT OR REPLACE instead"
            )));
        }
    }
    Ok(())
}

/// A CHECK can be kept if concurrent writes of what it names end as one of them.
fn refuse_checks(table: &str, tokens: &[Token<'_>], columns: &[Column]) -> Result<()> {
    for body in sql::bodies_after(tokens, "CHECK") {
        let named: Vec<&Column> = constraints::named_in_check(tokens, body, columns)
            .into_iter()
            .filter_map(|n| columns.get(n))
            .collect();
        let is_ordered = |c: &Column| matches!(c.kind, ColumnType::MaxReg | ColumnType::MinReg);
        let is_merged = |c: &&&Column| c.kind != ColumnType::Lww && !is_ordered(c);
        if let Some(column) = named.iter().find(is_merged) {
            let why = if column.kind == ColumnType::Counter {
                "increments of several nodes add up"
            } else {
                "what several nodes wrote is joined"
            };
            return Err(Error::refused(format!(
                "{table}: a CHECK on the {} {} cannot hold when {why}; drop the CHECK, or track the \
                 table as 'strong'",
                column.kind.name(),
                column.name
            )));
        }
        let others = named.iter().filter(|c| !c.is_key).count() > 1;
        if let Some(column) = named.iter().find(|c| others && is_ordered(c)) {
            return Err(Error::refused(format!(
                "{table}: a CHECK on the {} {} together with other columns cannot hold, since its \
                 greatest or least value wins by itself; make it LWW, split the CHECK by column, or \
                 track the table as 'strong'",
                column.kind.name(),
                column.name
            )));
        }
    }
    Ok(())
}
