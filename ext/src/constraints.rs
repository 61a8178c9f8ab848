//! Constraints over more than one value: UNIQUE besides the key, FOREIGN KEY, CHECK over columns.
//!
//! Strong tables have them. Strong transactions have one order, and each was checked by its
//! writer's SQLite on all that went before it; the others reproduce rows (see [`crate::parked`])
//! and check nothing. On eventual tables, which two nodes write at the same time, the columns that
//! one CHECK names are one cell ([`check_groups`]), and of rows with one unique value one is shown,
//! if that was asked for ([`crate::visible`]).
//!
//! The invariant: what a strong table's constraint refers to is ordered with it. So a unique
//! index is of replicated columns and on every member, and both ends of a reference are strong.

use nuda_core::sorted;
use nuda_core::value::{OwnedValue, Value};

use crate::error::{Error, Result};
use crate::ffi::db::Db;
use crate::sql::{self, Token, same_name};
use crate::tracked::{Column, Options, Table, quote};

/// A UNIQUE constraint or index besides the primary key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unique {
    pub(crate) name: String,
    /// Columns and the collations they are compared by; `None`: an expression.
    pub(crate) columns: Vec<Option<(String, String)>>,
    /// Whether the index holds only some of the rows.
    pub(crate) is_partial: bool,
}

impl Unique {
    /// Those of a table.
    pub(crate) fn all(db: Db, table: &str) -> Result<Vec<Self>> {
        let mut all = Vec::new();
        for row in db.all(
            "SELECT name, partial FROM pragma_index_list(?) \
             WHERE \"unique\" = 1 AND origin <> 'pk' ORDER BY name",
            &[Value::Text(table.as_bytes())],
        )? {
            let [OwnedValue::Text(name), OwnedValue::Int(partial)] = row.as_slice() else {
                continue;
            };
            let columns = db.all(
                "SELECT name, coll FROM pragma_index_xinfo(?) WHERE key = 1 ORDER BY seqno",
                &[Value::Text(name)],
            )?;
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            all.push(Self {
                name: text(name),
                columns: columns
                    .iter()
                    .map(|column| match column.as_slice() {
                        [OwnedValue::Text(name), OwnedValue::Text(collation)] => {
                            Some((text(name), text(collation)))
                        }
                        _ => None,
                    })
                    .collect(),
                is_partial: *partial != 0,
            });
        }
        Ok(all)
    }

    /// That a row of the table has the values of the trigger's new one, as SQL.
    pub(crate) fn matches_new(&self) -> String {
        let terms: Vec<String> = self
            .columns
            .iter()
            .flatten()
            .map(|(c, collation)| format!("{0} = NEW.{0} COLLATE {1}", quote(c), quote(collation)))
            .collect();
        format!("({})", terms.join(" AND "))
    }

    /// What a row claims by this constraint, the `ordinal`-th of its table: equal bytes are values
    /// that SQLite takes for equal. `None`: one of them is NULL.
    pub(crate) fn claim(
        &self,
        ordinal: usize,
        table: &Table,
        row: &[OwnedValue],
    ) -> Option<Vec<u8>> {
        let mut claim = u16::try_from(ordinal).ok()?.to_be_bytes().to_vec();
        for (name, collation) in self.columns.iter().flatten() {
            let value = row.get(table.position(name)?)?.as_ref();
            let mut space = Vec::new();
            folded(value, collation, &mut space)?.encode(&mut claim);
        }
        Some(claim)
    }

    /// The names of its columns.
    pub(crate) fn column_names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().flatten().map(|(name, _)| name.as_str())
    }
}

/// The form of a value in which those that a collation takes for equal are equal; `None`: NULL.
pub(crate) fn folded<'v>(
    value: Value<'v>,
    collation: &str,
    space: &'v mut Vec<u8>,
) -> Option<Value<'v>> {
    Some(match value {
        Value::Null => return None,
        Value::Text(text) if same_name(collation, "NOCASE") => {
            *space = text.to_ascii_lowercase();
            Value::Text(space)
        }
        Value::Text(text) if same_name(collation, "RTRIM") => Value::Text(trimmed(text)),
        value => value.canonical_key(),
    })
}

/// A text without the spaces at its end.
fn trimmed(text: &[u8]) -> &[u8] {
    let end = text
        .iter()
        .rposition(|byte| *byte != b' ')
        .map_or(0, |last| last + 1);
    text.get(..end).unwrap_or_default()
}

/// The columns, by position, that are written and won together because a CHECK names them
/// together; each in at most one group. Those of the key are left out: they never change.
pub(crate) fn check_groups(tokens: &[Token<'_>], columns: &[Column]) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for body in sql::bodies_after(tokens, "CHECK") {
        let mut group: Vec<usize> = named_in_check(tokens, body, columns)
            .into_iter()
            .filter(|n| columns.get(*n).is_some_and(|c| !c.is_key))
            .collect();
        // Groups that share a column are one.
        groups.retain(|other| {
            let shares = other.iter().any(|n| group.contains(n));
            if shares {
                group.extend(other);
            }
            !shares
        });
        sorted::ascending(&mut group);
        group.dedup();
        groups.push(group);
    }
    groups.retain(|group| group.len() > 1);
    sorted::by(&mut groups, Vec::cmp);
    groups
}

/// The positions of the columns that a CHECK depends on.
pub(crate) fn named_in_check(
    tokens: &[Token<'_>],
    body: &[Token<'_>],
    columns: &[Column],
) -> Vec<usize> {
    // A generated column is a name for the columns that it is computed from. Which those are
    // stands in parentheses after AS; with several such columns, those of all of them count.
    let generated = sql::generated_columns(tokens);
    let names_generated = body
        .iter()
        .any(|token| generated.iter().any(|(name, _)| token.is_same_name(name)));
    let behind: Vec<&Token<'_>> = generated
        .iter()
        .filter(|_| names_generated)
        .flat_map(|(_, body)| body.iter())
        .collect();
    (0..columns.len())
        .filter(|n| {
            let is_it = |t: &Token<'_>| {
                let column = columns.get(*n).filter(|c| !c.is_gone);
                column.is_some_and(|c| t.is_name(&c.name))
            };
            body.iter().any(is_it) || behind.iter().any(|t| is_it(t))
        })
        .collect()
}

/// Refuses the UNIQUE constraints that the table cannot keep.
pub(crate) fn refuse_unique(
    db: Db,
    table: &str,
    (tokens, columns): (&[Token<'_>], &[Column]),
    options: Options,
) -> Result<()> {
    let all = Unique::all(db, table)?;
    let Some(first) = all.first() else {
        return Ok(());
    };
    if options.keep_first {
        refuse_unlike(table, &all, options)?;
    } else if !options.is_strong {
        return Err(Error::refused(not_unique(table, &first.name)));
    }
    let is_replicated = |name: &str| columns.iter().any(|c| same_name(&c.name, name));
    if let Some(unique) = all
        .iter()
        .find(|u| u.columns.iter().any(Option::is_none) || !u.column_names().all(is_replicated))
    {
        return Err(Error::refused(format!(
            "{table}: {} is UNIQUE over an expression or a generated column, and what a REPLACE \
             takes away there cannot be told yet; store the value in a column of its own",
            unique.name
        )));
    }
    for window in tokens.windows(3) {
        if let [on, conflict, policy] = window
            && on.is_word("ON")
            && conflict.is_word("CONFLICT")
            && !policy.is_word("ABORT")
        {
            return Err(Error::refused(format!(
                "{table}: a replicated table with UNIQUE constraints has no ON CONFLICT in its \
                 definition, which other nodes could not follow when values change places; \
                 write INSERT OR IGNORE and the like instead"
            )));
        }
    }
    Ok(())
}

/// Refuses what cannot be decided outside SQLite: whether a row is in a partial index, and
/// whether values are equal by a collation of the application's.
fn refuse_unlike(table: &str, uniques: &[Unique], options: Options) -> Result<()> {
    if options.site_ranges {
        return Err(Error::refused(format!(
            "{table}: site_ranges and unique=keep_first exclude each other, since the row that is \
             put in the way of an invented key would have its unique values; give rows explicit keys"
        )));
    }
    for unique in uniques {
        if unique.is_partial {
            return Err(Error::refused(format!(
                "{table}: {} is a partial UNIQUE index, and which rows it holds is not known where \
                 they are hidden; make it a plain index, or track the table as 'strong'",
                unique.name
            )));
        }
        let known = |c: &str| {
            ["BINARY", "NOCASE", "RTRIM"]
                .iter()
                .any(|k| same_name(k, c))
        };
        let mut collations = unique
            .columns
            .iter()
            .flatten()
            .map(|(_, collation)| collation);
        if let Some(own) = collations.find(|collation| !known(collation)) {
            return Err(Error::refused(format!(
                "{table}: {} compares by the collation {own}, which other nodes may not have; use \
                 BINARY, NOCASE or RTRIM",
                unique.name
            )));
        }
    }
    Ok(())
}

/// Why a table cannot have a UNIQUE constraint or index besides the primary key.
pub(crate) fn not_unique(table: &str, index: &str) -> String {
    format!(
        "{table}: the UNIQUE constraint {index} cannot hold when two nodes write at the same \
         time; track the table with the option unique=keep_first, which shows the oldest of such \
         rows, or as 'strong', or make it a plain index"
    )
}

/// Why a table does not get a unique index later.
pub(crate) fn not_unique_yet(table: &str, index: &str) -> String {
    format!(
        "{table} has the UNIQUE index {index}, which other nodes do not have; drop it, and make it by \
         SELECT nuda_exec('CREATE UNIQUE INDEX ...')"
    )
}

/// A FOREIGN KEY: the table it is in, and the table it refers to.
struct Reference {
    child: String,
    parent: String,
}

/// The references from and to a table.
fn references(db: Db, table: &str) -> Result<Vec<Reference>> {
    let rows = db.all(
        "SELECT DISTINCT m.name, f.\"table\" FROM main.sqlite_schema m, \
           pragma_foreign_key_list(m.name) f \
         WHERE m.type = 'table' AND (m.name = ?1 COLLATE NOCASE OR f.\"table\" = ?1 COLLATE NOCASE)",
        &[Value::Text(table.as_bytes())],
    )?;
    Ok(rows
        .iter()
        .filter_map(|row| match row.as_slice() {
            [OwnedValue::Text(child), OwnedValue::Text(parent)] => Some(Reference {
                child: String::from_utf8_lossy(child).into_owned(),
                parent: String::from_utf8_lossy(parent).into_owned(),
            }),
            _ => None,
        })
        .collect())
}

/// Refuses references between a strong table and one that is not, whoever enforces them now.
/// `kind` says of a tracked table whether it is strong.
pub(crate) fn refuse_mixed_references(
    db: Db,
    table: &str,
    is_strong: bool,
    kind: impl Fn(&str) -> Option<bool>,
) -> Result<()> {
    for Reference { child, parent } in references(db, table)? {
        if same_name(&child, &parent) {
            continue;
        }
        let is_child = same_name(&child, table);
        match (is_strong, kind(if is_child { &parent } else { &child })) {
            (true, None) if is_child => {
                return Err(Error::refused(format!(
                    "{table}: its FOREIGN KEY to {parent} holds only if {parent} is strong too; \
                     track {parent} as 'strong' first"
                )));
            }
            (true, Some(false)) | (false, Some(true)) => {
                let eventual = if is_child == is_strong {
                    &parent
                } else {
                    &child
                };
                return Err(Error::refused(format!(
                    "{child}: its FOREIGN KEY to {parent} cannot hold, because {eventual} is \
                     eventual and may be changed on another node at the same time; track both as \
                     'strong', or declare {child} without it"
                )));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Refuses constraints on added columns of a strong table, which would not reach the others.
pub(crate) fn refuse_added(db: Db, old: &Table, new: &Table, text: &str) -> Result<()> {
    let tokens = sql::tokens(text);
    for column in new.columns.iter().skip(old.columns.len()) {
        let refers = db.int(
            "SELECT count(*) FROM pragma_foreign_key_list(?) WHERE \"from\" = ? COLLATE NOCASE",
            &[
                Value::Text(new.name.as_bytes()),
                Value::Text(column.name.as_bytes()),
            ],
        )? > 0;
        let is_checked = sql::bodies_after(&tokens, "CHECK")
            .iter()
            .any(|body| body.iter().any(|t| t.is_name(&column.name)));
        if refers || is_checked {
            return Err(Error::refused(format!(
                "{}: the added column {} has a CHECK or FOREIGN KEY, which would hold on this node \
                 only; add it without, or nuda_untrack('{}'), change it and track it again",
                new.name, column.name, new.name
            )));
        }
    }
    Ok(())
}
