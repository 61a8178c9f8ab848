//! `nuda explain-conflict`: what happened to one row, in words.
//!
//! It reads the node's file as any application does, through the extension's own tables
//! (`nuda_history`, `nuda_conflicts`), and needs no daemon. What all members have reported is not in
//! the log any more; the answer says so where that may be the case.

use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, OpenFlags, Row, params, params_from_iter};
use serde::Serialize;

use super::{print, print_json};
use crate::error::{Error, Result};

#[derive(Debug, Args)]
pub(super) struct ExplainConflict {
    /// The partition.
    partition: String,
    /// The table.
    table: String,
    /// The row's key; of several columns, one after the other. A blob is written x'00ff'.
    #[arg(required = true)]
    key: Vec<String>,
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: super::Target,
}

/// All that this node knows of a row.
#[derive(Debug, Serialize)]
struct Explanation {
    partition: String,
    table: String,
    key: String,
    /// The row as it stands: column and value; none if it is not there.
    row: Option<Vec<(String, serde_json::Value)>>,
    changes: Vec<Change>,
    conflicts: Vec<Conflict>,
    /// Whether nothing was ever collected, so that all changes are told.
    is_whole: bool,
}

/// One change of one column, or of the row as such.
#[derive(Debug, Serialize)]
struct Change {
    change: String,
    at: String,
    site: String,
    seq: i64,
    level: String,
    author: String,
    column: Option<String>,
    column_type: Option<String>,
    wrote: Option<String>,
    outcome: String,
}

/// A value that lost, as it was noticed.
#[derive(Debug, Serialize)]
struct Conflict {
    noticed_at: String,
    column: Option<String>,
    lost: serde_json::Value,
    kept: serde_json::Value,
    lost_site: String,
    lost_at: String,
    won_site: String,
    won_at: String,
    reason: String,
}

impl ExplainConflict {
    pub(super) fn run(self) -> Result<ExitCode> {
        let found = self.explain()?;
        if self.json {
            print_json(&found)?;
        } else {
            show(&found)?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn explain(&self) -> Result<Explanation> {
        let conn = open(&self.target.dir().partition_file(&self.partition)?)?;
        let key = self.key.join(", ");
        let is_whole = "SELECT collected = '' FROM nuda_status";
        Ok(Explanation {
            partition: self.partition.clone(),
            table: self.table.clone(),
            row: row(&conn, &self.table, &self.key)?,
            changes: changes(&conn, &self.table, &key)?,
            conflicts: conflicts(&conn, &self.table, &key)?,
            is_whole: conn.query_row(is_whole, [], |row| row.get(0))?,
            key,
        })
    }
}

fn open(file: &Path) -> Result<Connection> {
    if !file.exists() {
        return Err(Error::not_found(format!(
            "there is no partition here: {}; name it, and the node's directory with --dir",
            file.display()
        )));
    }
    crate::extension::register()?;
    let conn = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    conn.busy_timeout(std::time::Duration::from_secs(5))?;
    Ok(conn)
}

/// The row as it stands.
fn row(
    conn: &Connection,
    table: &str,
    key: &[String],
) -> Result<Option<Vec<(String, serde_json::Value)>>> {
    let columns = "SELECT c.name, t.name FROM nuda_column c JOIN nuda_table t USING (number)
         WHERE t.name = ? COLLATE NOCASE AND is_key ORDER BY position";
    let mut query = conn.prepare(columns)?;
    let names = query.query_map([table], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
    })?;
    let names: Vec<(String, String)> = names.collect::<rusqlite::Result<_>>()?;
    let Some((_, table)) = names.first() else {
        return Err(Error::not_found(format!(
            "{table} is not replicated here; SELECT name FROM nuda_tables"
        )));
    };
    if names.len() != key.len() {
        return Err(Error::refused(format!(
            "the key of {table} has {} columns and {} values were given",
            names.len(),
            key.len()
        )));
    }
    let terms: Vec<String> = names
        .iter()
        .map(|(n, _)| format!("{} = ?", quote(n)))
        .collect();
    let sql = format!(
        "SELECT * FROM main.{} WHERE {}",
        quote(table),
        terms.join(" AND ")
    );
    let mut query = conn.prepare(&sql)?;
    let names: Vec<String> = query.column_names().map(str::to_owned).collect();
    let mut rows = query.query(params_from_iter(key.iter().map(|text| value(text))))?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    let cell = |(n, name): (usize, String)| Ok((name, shown(row, n)?));
    let cells: Result<Vec<_>> = names.into_iter().enumerate().map(cell).collect();
    cells.map(Some)
}

fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A value of a key as it is typed.
fn value(text: &str) -> Value {
    let hex = text
        .strip_prefix("x'")
        .and_then(|rest| rest.strip_suffix('\''));
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let blob = hex.and_then(|hex| hex.as_bytes().chunks(2).map(byte).collect());
    blob.map_or_else(|| Value::Text(text.to_owned()), Value::Blob)
}

fn changes(conn: &Connection, table: &str, key: &str) -> Result<Vec<Change>> {
    let mut query = conn.prepare(&format!(
        "SELECT change, {}, site, seq, level, author, \"column\", type, wrote, outcome
         FROM nuda_history(?, ?)",
        time("at_ms")
    ))?;
    let rows = query.query_map([table, key], |row| {
        Ok(Change {
            change: row.get(0)?,
            at: row.get(1)?,
            site: row.get(2)?,
            seq: row.get(3)?,
            level: row.get(4)?,
            author: row.get(5)?,
            column: row.get(6)?,
            column_type: row.get(7)?,
            wrote: row.get(8)?,
            outcome: row.get(9)?,
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn conflicts(conn: &Connection, table: &str, key: &str) -> Result<Vec<Conflict>> {
    // Files of earlier builds lack the column until something loses again.
    let kept: bool = conn.query_row(
        "SELECT count(*) FROM pragma_table_info('nuda_conflicts') WHERE name = 'kept'",
        [],
        |row| row.get(0),
    )?;
    let kept = if kept { "kept" } else { "NULL" };
    let mut query = conn.prepare(&format!(
        "SELECT {}, \"column\", lost, lost_site, {}, won_site, {}, reason, {kept} FROM nuda_conflicts
         WHERE \"table\" = ? COLLATE NOCASE AND \"key\" = ? ORDER BY id",
        time("at_ms"),
        time("(lost_stamp >> 16)"),
        time("(won_stamp >> 16)")
    ))?;
    let mut rows = query.query(params![table, key])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(Conflict {
            noticed_at: row.get(0)?,
            column: row.get(1)?,
            lost: shown(row, 2)?,
            lost_site: row.get(3)?,
            lost_at: row.get(4)?,
            won_site: row.get(5)?,
            won_at: row.get(6)?,
            reason: row.get(7)?,
            kept: shown(row, 8)?,
        });
    }
    Ok(found)
}

/// Milliseconds of a column as SQL that makes them a time for people.
fn time(ms: &str) -> String {
    format!("strftime('%Y-%m-%dT%H:%M:%fZ', {ms} / 1000.0, 'unixepoch')")
}

fn shown(row: &Row<'_>, n: usize) -> Result<serde_json::Value> {
    Ok(match row.get_ref(n)? {
        ValueRef::Null => serde_json::Value::Null,
        ValueRef::Integer(n) => n.into(),
        ValueRef::Real(r) => r.into(),
        ValueRef::Text(text) => String::from_utf8_lossy(text).into(),
        ValueRef::Blob(bytes) => {
            let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
            format!("x'{hex}'").into()
        }
    })
}

fn show(found: &Explanation) -> Result<()> {
    print(&format!(
        "{} {} in {}",
        found.table, found.key, found.partition
    ))?;
    match &found.row {
        None => print("  now: there is no such row")?,
        Some(cells) => {
            let words: Vec<String> = cells.iter().map(|(n, v)| format!("{n} = {v}")).collect();
            print(&format!("  now: {}", words.join(", ")))?;
        }
    }
    let mut told = None;
    for change in &found.changes {
        // What one change did is told together.
        let this = (&change.site, change.seq, &change.change, &change.at);
        if told != Some(this) {
            let author = match change.author.as_str() {
                "" => String::new(),
                author => format!(" by {author}"),
            };
            print(&format!(
                "  {} {}:{}{author} ({} {})",
                change.at, change.site, change.seq, change.level, change.change
            ))?;
            told = Some(this);
        }
        print(
            &match (&change.column, &change.wrote, &change.column_type) {
                (Some(column), Some(wrote), Some(kind)) => {
                    format!("    {column} ({kind}): {wrote}; {}", change.outcome)
                }
                _ => format!("    {}", change.outcome),
            },
        )?;
    }
    if !found.conflicts.is_empty() {
        print("  what lost, as this node noticed it (nuda_conflicts):")?;
    }
    for conflict in &found.conflicts {
        print(&format!(
            "    {}: {} of {} at {} lost to {}{} at {}: {}",
            conflict.column.as_deref().unwrap_or("the row"),
            conflict.lost,
            conflict.lost_site,
            conflict.lost_at,
            match &conflict.kept {
                serde_json::Value::Null => String::new(),
                kept => format!("{kept} of "),
            },
            conflict.won_site,
            conflict.won_at,
            conflict.reason
        ))?;
    }
    if !found.is_whole {
        print("  older changes, which all members have reported, are not in the log any more")?;
    }
    Ok(())
}
