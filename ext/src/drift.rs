//! How the user's tables differ from what is replicated: what plain DDL did to them.
//!
//! Looked at whenever the schema has changed, for all tracked tables at once, so that a file
//! of many tables costs one pass over the schema and not one for each.

use std::collections::HashMap;

use crate::blob_writes;
use crate::constraints;
use crate::error::Result;
use crate::ffi::db::Db;
use crate::sql::{self, folded_name, same_name};
use crate::tracked::Table;

/// What plain DDL did to a tracked table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Drift {
    /// Nothing.
    None,
    /// It has columns that are not replicated yet.
    Added,
    /// It has other indexes than were replicated, on a node that may say so.
    Indexed,
    /// It was dropped or renamed, lost a column, or got what cannot be replicated.
    Broken(String),
    /// It was rebuilt: there is a table of this name, whose writes nobody captures.
    Rebuilt(String),
}

impl Drift {
    /// What is wrong, if the table cannot be replicated as it is.
    pub(crate) fn problem(&self) -> Option<&str> {
        match self {
            Self::Broken(what) | Self::Rebuilt(what) => Some(what),
            Self::None | Self::Added | Self::Indexed => None,
        }
    }
}

/// Capture triggers of a tracked table.
const TRIGGERS: usize = 5;

/// What the schema has, by the table's name in lower case.
#[derive(Debug, Default)]
pub(crate) struct Present {
    columns: HashMap<String, Vec<String>>,
    triggers: HashMap<String, Vec<String>>,
    indexes: HashMap<String, Vec<String>>,
    /// The index's name and definition, with a zero between.
    unique: HashMap<String, Vec<String>>,
    /// Definitions in which a CHECK may be.
    checked: HashMap<String, Vec<String>>,
}

impl Present {
    pub(crate) fn read(db: Db) -> Result<Self> {
        Ok(Self {
            columns: pairs(
                db,
                "SELECT t.name, x.name FROM main.nuda_table t, pragma_table_xinfo(t.name, 'main') x \
                 WHERE t.kind <> 'untracked' AND x.hidden = 0",
            )?,
            triggers: pairs(
                db,
                "SELECT tbl_name, name FROM main.sqlite_schema \
                 WHERE type = 'trigger' AND name GLOB 'nuda_[0-9]*'",
            )?,
            indexes: pairs(
                db,
                &format!(
                    "SELECT tbl_name, sql FROM main.sqlite_schema \
                     WHERE type = 'index' AND sql IS NOT NULL AND NOT ({}) ORDER BY sql",
                    blob_writes::IS_OURS
                ),
            )?,
            unique: pairs(
                db,
                "SELECT t.name, l.name || char(0) || coalesce(s.sql, '') \
                 FROM main.nuda_table t, pragma_index_list(t.name, 'main') l \
                 LEFT JOIN main.sqlite_schema s ON s.type = 'index' AND s.name = l.name \
                 WHERE t.kind <> 'untracked' AND l.\"unique\" = 1 AND l.origin <> 'pk'",
            )?,
            checked: pairs(
                db,
                "SELECT name, sql FROM main.sqlite_schema \
                 WHERE type = 'table' AND sql LIKE '%check%'",
            )?,
        })
    }

    /// The columns of an eventual table that are written and won together.
    pub(crate) fn groups(&self, table: &Table) -> Vec<Vec<usize>> {
        match self.checked.get(&folded_name(&table.name)) {
            Some(definitions) if !table.options.is_strong => definitions
                .iter()
                .flat_map(|text| constraints::check_groups(&sql::tokens(text), &table.columns))
                .collect(),
            _ => Vec::new(),
        }
    }

    /// How a table differs. Indexes of a node that may not define tables are its own.
    pub(crate) fn drift(&self, table: &Table, may_define: bool) -> Drift {
        let name = folded_name(&table.name);
        let Some(columns) = self.columns.get(&name) else {
            return Drift::Broken(format!("{} was dropped or renamed", table.name));
        };
        let prefix = format!("nuda_{}_", table.at.number);
        let triggers = self.triggers.get(&name).map_or(0, |names| {
            names.iter().filter(|n| n.starts_with(&prefix)).count()
        });
        if triggers < TRIGGERS {
            return Drift::Rebuilt(format!(
                "{} was rebuilt without its capture triggers",
                table.name
            ));
        }
        let is_there = |name: &str| columns.iter().any(|c| same_name(c, name));
        if let Some(gone) = table.live().find(|c| !is_there(&c.name)) {
            return Drift::Broken(format!("{} lost its column {}", table.name, gone.name));
        }
        for unique in self.unique.get(&name).into_iter().flatten() {
            let (index, sql) = unique.split_once('\0').unwrap_or((unique, ""));
            if !table.options.is_strong && !table.options.keep_first {
                return Drift::Broken(constraints::not_unique(&table.name, index));
            }
            if !sql.is_empty() && !table.indexes.iter().any(|known| known == sql) {
                return Drift::Broken(constraints::not_unique_yet(&table.name, index));
            }
        }
        if columns.len() > table.live().count() {
            return Drift::Added;
        }
        let indexes = self.indexes.get(&name).map_or(&[][..], Vec::as_slice);
        if may_define && indexes != table.indexes {
            return Drift::Indexed;
        }
        Drift::None
    }
}

/// Rows of a table's name and something of it, gathered by table.
fn pairs(db: Db, sql: &str) -> Result<HashMap<String, Vec<String>>> {
    let mut by_table: HashMap<String, Vec<String>> = HashMap::new();
    let mut query = db.prepare(sql)?;
    query.bind(&[])?;
    while query.step()? {
        if let (Some(table), Some(text)) = (query.text(0), query.text(1)) {
            by_table.entry(folded_name(&table)).or_default().push(text);
        }
    }
    Ok(by_table)
}
