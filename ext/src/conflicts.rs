//! `nuda_conflicts`: the values that lost, to whom, and why. A report for people, bounded;
//! nothing is decided by it.

use nuda_core::codec::Reader;
use nuda_core::limits;
use nuda_core::merge::{Event, Lost, Plan, Rank, Reason};
use nuda_core::row::Change;
use nuda_core::types::doc::loss::Loss;
use nuda_core::value::{OwnedValue, Value};
use nuda_core::visibility::Birth;

use crate::constraints::Unique;
use crate::error::Result;
use crate::ffi::db::{Db, Stmt};
use crate::identity;
use crate::references::Reference;
use crate::shadow::to_i64;
use crate::tracked::Table;

/// How the reason begins for a row that is out of sight.
pub(crate) const HIDDEN: &str = "the row is hidden as long as ";

/// Records what lost inside a document; the column is named with the path in it.
pub(crate) fn record_inside(
    db: Db,
    table: &Table,
    key: &[Value<'_>],
    (column, loss): (usize, &Loss),
) -> Result<()> {
    let column = format!("{} -> {}", name_of(table, column), loss.path);
    let lost = Lost {
        column: 0,
        winner: loss.winner,
        loser: loss.loser,
        value: Value::Text(loss.value.as_bytes()),
        kept: match &loss.kept {
            Some(kept) => Value::Text(kept.as_bytes()),
            None => Value::Null,
        },
        reason: loss.reason,
    };
    insert(db, (table, key, &column), &lost)
}

/// Records a value that lost against a concurrent write.
pub(crate) fn record(db: Db, table: &Table, key: &[Value<'_>], loss: &Lost<'_>) -> Result<()> {
    if loss.reason == Reason::StronglyDeleted && loss.column < table.at.key_columns {
        // An INSERT went with its row, whose key is told with every other column.
        return Ok(());
    }
    insert(db, (table, key, name_of(table, loss.column)), loss)
}

fn name_of(table: &Table, column: usize) -> &str {
    table.columns.get(column).map_or("", |c| c.name.as_str())
}

fn insert(
    db: Db,
    (table, key, column): (&Table, &[Value<'_>], &str),
    loss: &Lost<'_>,
) -> Result<()> {
    let reason = match loss.reason {
        Reason::Later if loss.winner.stamp == loss.loser.stamp => {
            "written at the same time; the greater site id won"
        }
        Reason::Later => "written concurrently; the later write won",
        Reason::Greater => "written concurrently; the greater value won",
        Reason::Less => "written concurrently; the lesser value won",
        Reason::Deleted => "written concurrently with a delete of the row; the delete won",
        Reason::Strong => "written without knowing a strong write, which won",
        Reason::KnewStrong => {
            "written without knowing a strong write of the document; the write that knew it won"
        }
        Reason::StronglyDeleted => "written without knowing a strong delete of the row, which won",
    };
    write(
        db,
        (table, key, column),
        (loss.value, loss.kept),
        (Some(loss.loser), Some(loss.winner)),
        reason,
    )
}

fn write(
    db: Db,
    (table, key, column): (&Table, &[Value<'_>], &str),
    (lost, kept): (Value<'_>, Value<'_>),
    (loser, winner): (Option<Rank>, Option<Rank>),
    reason: &str,
) -> Result<()> {
    let keys: Vec<String> = key.iter().map(|value| display(*value)).collect();
    let site = |rank: Option<Rank>| rank.map_or_else(String::new, |rank| rank.site.to_string());
    let stamp = |rank: Option<Rank>| Value::Int(rank.map_or(0, |rank| to_i64(rank.stamp.get())));
    let (lost_site, won_site) = (site(loser), site(winner));
    let reason = match cut_at(lost) {
        Some(_) => format!(
            "{reason} (the first {} bytes are kept)",
            limits::CONFLICT_BYTES
        ),
        None => reason.to_owned(),
    };
    let mut statement = prepare(db)?;
    statement.bind(&[
        Value::Int(to_i64(identity::now_ms())),
        Value::Text(table.name.as_bytes()),
        Value::Text(keys.join(", ").as_bytes()),
        Value::Text(column.as_bytes()),
        beginning(lost),
        Value::Text(lost_site.as_bytes()),
        stamp(loser),
        Value::Text(won_site.as_bytes()),
        stamp(winner),
        Value::Text(reason.as_bytes()),
        beginning(kept),
    ])?;
    while statement.step()? {}
    drop(statement);
    db.run(
        "DELETE FROM main.nuda_conflicts WHERE id <= last_insert_rowid() - ?",
        &[Value::Int(to_i64(limits::CONFLICTS))],
    )
}

/// The statement that adds a line. Files of earlier builds lack the last column.
fn prepare(db: Db) -> Result<Stmt> {
    const INSERT: &str = "INSERT INTO main.nuda_conflicts(at_ms, \"table\", \"key\", \"column\", \
         lost, lost_site, lost_stamp, won_site, won_stamp, reason, kept) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    if let Ok(statement) = db.prepare(INSERT) {
        return Ok(statement);
    }
    db.exec("ALTER TABLE main.nuda_conflicts ADD COLUMN kept")?;
    db.prepare(INSERT)
}

/// Where a value is cut, if it is longer than what is kept of one: between two characters.
fn cut_at(value: Value<'_>) -> Option<usize> {
    let bytes = match value {
        Value::Text(bytes) | Value::Blob(bytes) => bytes,
        _ => return None,
    };
    let most = limits::CONFLICT_BYTES;
    let is_inside = |at: &usize| matches!(value, Value::Text(_)) && starts_inside(bytes, *at);
    (bytes.len() > most).then(|| (0..=most).rev().find(|at| !is_inside(at)).unwrap_or(0))
}

/// Whether a character that began before goes on here.
fn starts_inside(bytes: &[u8], at: usize) -> bool {
    bytes.get(at).is_some_and(|byte| byte & 0xc0 == 0x80)
}

fn beginning(value: Value<'_>) -> Value<'_> {
    let first = |bytes| {
        cut_at(value)
            .and_then(|at| <[u8]>::get(bytes, ..at))
            .unwrap_or(bytes)
    };
    match value {
        Value::Text(bytes) => Value::Text(first(bytes)),
        Value::Blob(bytes) => Value::Blob(first(bytes)),
        other => other,
    }
}

/// Records that a row is not shown, because an older one has its unique value.
pub(crate) fn hidden(
    db: Db,
    table: &Table,
    (unique, values): (&Unique, &[OwnedValue]),
    (row, by): (&Birth, &Birth),
) -> Result<()> {
    let columns: Vec<&str> = unique.column_names().collect();
    let value = |name: &&str| {
        let value = table.position(name).and_then(|n| values.get(n));
        value.map_or(Value::Null, OwnedValue::as_ref)
    };
    let several: Vec<String> = columns.iter().map(|name| display(value(name))).collect();
    let several = several.join(", ");
    let lost = match columns.as_slice() {
        [one] => value(one),
        _ => Value::Text(several.as_bytes()),
    };
    let key: Vec<Value<'_>> = values.iter().map(OwnedValue::as_ref).collect();
    let key = key.get(..table.at.key_columns).unwrap_or_default();
    write(
        db,
        (table, key, &columns.join(", ")),
        (lost, Value::Null),
        (Some(row.rank), Some(by.rank)),
        &format!(
            "{HIDDEN}{}, which is older, has this value",
            shown_key(&by.key)
        ),
    )
}

/// Records that a row is not shown, because what it refers to is not.
pub(crate) fn held_back(
    db: Db,
    (table, values): (&Table, &[OwnedValue]),
    (reference, parent): (&Reference, &str),
    rank: Option<Rank>,
) -> Result<()> {
    let referring = reference.values(values);
    let several: Vec<String> = referring.iter().map(|value| display(*value)).collect();
    let several = several.join(", ");
    let lost = match referring.as_slice() {
        [one] => *one,
        _ => Value::Text(several.as_bytes()),
    };
    let key: Vec<Value<'_>> = values.iter().map(OwnedValue::as_ref).collect();
    let key = key.get(..table.at.key_columns).unwrap_or_default();
    write(
        db,
        (table, key, &reference.column_names(table).join(", ")),
        (lost, Value::Null),
        // Who left it without is known, if a changeset did.
        (None, rank),
        &format!("{HIDDEN}{several} of {parent}, which it refers to, is not there"),
    )
}

/// Records that a row was deleted and stays, because another node wrote one that refers to it.
pub(crate) fn kept(
    db: Db,
    (table, key): (&Table, &[Value<'_>]),
    (incoming, others): (&Event<'_>, &[Event<'_>]),
    plan: &Plan<'_>,
) -> Result<()> {
    let keeps =
        |event: &&Event<'_>| matches!(&event.change, Change::Update(cells) if cells.is_empty());
    let deletes = |event: &&Event<'_>| matches!(event.change, Change::Delete);
    let of = |found: Option<&Event<'_>>| found.map(Event::rank);
    let (keeper, delete) = match plan {
        Plan::Revive(_) if keeps(&incoming) => {
            let delete = others.iter().filter(deletes).max_by_key(|e| e.rank());
            (Some(incoming.rank()), of(delete))
        }
        Plan::Keep if deletes(&incoming) => {
            let other = |event: &&Event<'_>| !keeps(event) && !deletes(event);
            let keeper = others.iter().filter(keeps).max_by_key(|e| e.rank());
            let keeper = keeper.filter(|_| !others.iter().any(|event| other(&event)));
            (of(keeper), Some(incoming.rank()))
        }
        _ => (None, None),
    };
    let (Some(keeper), Some(delete)) = (keeper, delete) else {
        return Ok(());
    };
    let reason = "deleted while another node wrote a row that refers to it; the row stays";
    write(
        db,
        (table, key, ""),
        (Value::Null, Value::Null),
        (Some(delete), Some(keeper)),
        reason,
    )
}

/// An encoded key as a person reads it.
pub(crate) fn shown_key(bytes: &[u8]) -> String {
    let mut reader = Reader::new(bytes);
    let mut parts = Vec::new();
    while !reader.is_empty() {
        match Value::decode(&mut reader) {
            Ok(value) => parts.push(display(value)),
            Err(_) => break,
        }
    }
    parts.join(", ")
}

/// A value as a person reads it.
pub(crate) fn display(value: Value<'_>) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Int(n) => n.to_string(),
        Value::Real(r) => r.to_string(),
        Value::Text(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::Blob(bytes) => {
            let hex: String = bytes.iter().take(32).map(|b| format!("{b:02x}")).collect();
            format!("x'{hex}'")
        }
    }
}
