//! Columns that were added here and have no definition yet: what is written to them is this
//! node's own until their definition has its place in the log.
//!
//! If this node's proposal is accepted, the values travel with it, in the same transaction. If
//! another node's equal definition comes first, the column becomes that one: its values are put
//! aside, so that this replica is what all changes make of it, and are written again as changes
//! of this node's that know the definition. A definition that differs waits until the column here
//! is out of the way; nothing in it is overwritten. So no other node ever holds a change of a
//! column that might never be defined.

use std::rc::Rc;

use nuda_core::changeset::Level;
use nuda_core::codec::Reader;
use nuda_core::merge;
use nuda_core::row::Cell;
use nuda_core::value::{OwnedValue, Value};

use crate::authority::{self, Authority};
use crate::canonical;
use crate::capture;
use crate::connection::Connection;
use crate::drift::Drift;
use crate::error::{Error, Result};
use crate::excess::clamped;
use crate::ffi::db::{Db, Setting};
use crate::guard::Write;
use crate::net::Grown;
use crate::shadow::damaged;
use crate::track;
use crate::tracked::{Column, ColumnType, Table, quote};
use crate::triggers;

/// Adds what plain DDL did to the committing transaction, where it can carry that: at the node
/// that defines tables alone, and in strong transactions. Elsewhere a definition gets its place
/// by itself, and the write only has to be one that could have it.
pub(crate) fn carry(
    connection: &Connection,
    changed: &[Rc<Table>],
    written: &[u32],
    level: Level,
) -> Result<Vec<Grown>> {
    let db = connection.db();
    let authority = authority::read(db)?;
    let mut grown = Vec::new();
    for table in changed {
        let is_written = written.contains(&table.at.number);
        let carries = match authority {
            Authority::Here => true,
            Authority::Log => is_written && level == Level::Strong,
            Authority::Founder => continue,
        };
        let is_kept_back = authority == Authority::Log && table.drift == Drift::Added;
        if is_written && is_kept_back && level == Level::Quorum {
            return Err(Error::refused(format!(
                "quorum write not committed: {} has added columns whose definition has no place in \
                 the log yet, so what is written to them could not be kept; nothing was changed; try \
                 again, or run SELECT nuda_propose()",
                table.name
            )));
        }
        let proposal = track::proposal(db, table);
        if !carries || proposal.is_err() {
            if is_written {
                proposal?;
            }
            continue;
        }
        let added = track::propose_changes(connection, table, triggers::Tables::AsTheyAre)?;
        if authority == Authority::Here {
            grown.extend(added.filter(|_| is_written));
        } else if let Some(added) = added
            && let Some(table) = connection.tables()?.get(table.at.number)
        {
            // Eventual writes of before may have left something there.
            ship(connection, table, added)?;
        }
    }
    Ok(grown)
}

/// Adds the rows that hold something in added columns to the transaction that defines these.
pub(crate) fn ship(connection: &Connection, table: &Rc<Table>, grown: Grown) -> Result<()> {
    let db = connection.db();
    let added: Vec<(String, &OwnedValue)> = grown
        .defaults
        .iter()
        .filter_map(|(n, default)| Some((quote(&table.columns.get(*n)?.name), default)))
        .collect();
    let differs: Vec<String> = added
        .iter()
        .enumerate()
        .map(|(n, (name, _))| format!("{name} IS NOT ?{} COLLATE BINARY", n + 1))
        .collect();
    let key: Vec<String> = table.key().map(|c| quote(&c.name)).collect();
    let mut rows = db.prepare(&format!(
        "SELECT {} FROM {} WHERE {}",
        key.join(", "),
        table.quoted(),
        differs.join(" OR ")
    ))?;
    let defaults: Vec<Value<'_>> = added.iter().map(|(_, value)| value.as_ref()).collect();
    rows.bind(&defaults)?;
    connection.capture()?.grows(grown);
    while rows.step()? {
        capture::touched_row(connection, table, &rows.row())?;
    }
    Ok(())
}

/// A column of this node's own becomes the one that another node defined: what it holds is put
/// aside, and each row shows the default.
pub(crate) fn set_aside(
    connection: &Connection,
    table: &Table,
    (position, default): (usize, &OwnedValue),
) -> Result<()> {
    let db = connection.db();
    let name = table.columns.get(position).map(|c| quote(&c.name));
    let name = name.ok_or_else(|| damaged("nuda_column"))?;
    let key: Vec<String> = table.key().map(|c| quote(&c.name)).collect();
    let found = db.all(
        &format!(
            "SELECT {name}, {} FROM {} WHERE {name} IS NOT ? COLLATE BINARY",
            key.join(", "),
            table.quoted()
        ),
        &[default.as_ref()],
    )?;
    let (number, place) = (i64::from(table.at.number), position_value(position));
    for row in found {
        let Some((value, key)) = row.split_first() else {
            continue;
        };
        let key: Vec<Value<'_>> = key.iter().map(OwnedValue::as_ref).collect();
        let mut encoded = Vec::new();
        key.iter().for_each(|value| value.encode(&mut encoded));
        db.run(
            "INSERT OR REPLACE INTO main.nuda_early(number, position, key, value) VALUES (?, ?, ?, ?)",
            &[
                Value::Int(number),
                place,
                Value::Blob(&encoded),
                value.as_ref(),
            ],
        )?;
        connection
            .guard
            .announce(Write::Update, table.at.number, &key);
        let mut bound = key;
        bound.push(default.as_ref());
        db.run(
            &format!(
                "UPDATE {} SET {name} = ?{} WHERE {}",
                table.quoted(),
                bound.len(),
                table.key_condition()
            ),
            &bound,
        )?;
    }
    Ok(())
}

/// This file is a copy of another node's: what is that one's own until its definitions have come
/// is no second time this one's.
pub(crate) fn forget_donors(connection: &Connection) -> Result<()> {
    let db = connection.db();
    db.exec("DELETE FROM main.nuda_early")?;
    for table in connection.tables()?.ahead() {
        let Ok(ahead) = track::proposal(db, table) else {
            continue;
        };
        let triggers = db.switch(Setting::Triggers, false)?;
        let reset = ahead.columns().try_for_each(|(column, default)| {
            let sql = format!("UPDATE {} SET {} = ?", table.quoted(), column.read(""));
            db.run(&sql, &[default.as_ref()])
        });
        db.switch(Setting::Triggers, triggers)?;
        reset?;
    }
    Ok(())
}

/// Whether anything is put aside.
pub(crate) fn is_any(db: Db) -> Result<bool> {
    Ok(db.int("SELECT EXISTS (SELECT 1 FROM main.nuda_early)", &[])? != 0)
}

/// Writes what was put aside again, as changes of this node's; where the table, the column or the
/// row has gone meanwhile, nothing.
pub(crate) fn write_again(connection: &Connection) -> Result<()> {
    let db = connection.db();
    let kept = db.all(
        "SELECT number, position, key, value FROM main.nuda_early",
        &[],
    )?;
    let tables = connection.tables()?;
    for row in &kept {
        let [
            OwnedValue::Int(number),
            OwnedValue::Int(position),
            OwnedValue::Blob(key),
            value,
        ] = row.as_slice()
        else {
            return Err(damaged("nuda_early"));
        };
        let table = u32::try_from(*number).ok().and_then(|n| tables.get(n));
        let column = usize::try_from(*position).ok();
        let Some((table, column)) = table.zip(column) else {
            continue;
        };
        let Some(of) = table.columns.get(column).filter(|c| !c.is_gone) else {
            continue;
        };
        let name = quote(&of.name);
        let mut reader = Reader::new(key);
        let mut bound = Vec::new();
        while !reader.is_empty() {
            bound.push(Value::decode(&mut reader)?);
        }
        let now = db.first(
            &format!(
                "SELECT {name} FROM {} WHERE {}",
                table.quoted(),
                table.key_condition()
            ),
            &bound,
        )?;
        let Some(now) = now.and_then(|row| row.into_iter().next()) else {
            continue;
        };
        let default = canonical::added_default(db, table, of)?;
        let value = joined(db, of, (&default, value), &now)?;
        bound.push(value.as_ref());
        db.run(
            &format!(
                "UPDATE {} SET {name} = ?{} WHERE {}",
                table.quoted(),
                bound.len(),
                table.key_condition()
            ),
            &bound,
        )?;
    }
    db.exec("DELETE FROM main.nuda_early")
}

/// What a column shows after what was written here to its default, beside what others wrote.
fn joined(
    db: Db,
    of: &Column,
    (default, value): (&OwnedValue, &OwnedValue),
    now: &OwnedValue,
) -> Result<OwnedValue> {
    match (of.kind, now, value) {
        // As two insertions at one place.
        (ColumnType::TextDoc, OwnedValue::Text(theirs), OwnedValue::Text(ours)) => {
            return Ok(OwnedValue::Text([theirs.as_slice(), ours].concat()));
        }
        // As one object that both made.
        (ColumnType::Doc, OwnedValue::Text(_), OwnedValue::Text(_)) => {
            let patched = db.first(
                "SELECT CASE WHEN json_type(?1) = 'object' AND json_type(?2) = 'object' \
                 THEN json_patch(?1, ?2) ELSE ?2 END",
                &[now.as_ref(), value.as_ref()],
            )?;
            let patched = patched.and_then(|row| row.into_iter().next());
            return Ok(patched.unwrap_or_else(|| value.clone()));
        }
        (kind, _, _) if kind.has_state() => return Ok(value.clone()),
        _ => {}
    }
    let mut edit = Vec::new();
    let edited = of
        .kind
        .edit(default.as_ref(), value.as_ref(), &of.rules, &mut edit);
    if !edited.unwrap_or(false) {
        return Ok(value.clone());
    }
    match (Cell::decode(&mut Reader::new(&edit))?, now) {
        (Cell::Add(added), OwnedValue::Int(count)) => Ok(OwnedValue::Int(clamped(merge::add(
            i128::from(*count),
            added,
        )))),
        (cell, now) => Ok(of
            .kind
            .again(Some(now.as_ref()), cell)
            .unwrap_or_else(|| now.clone())),
    }
}

fn position_value(position: usize) -> Value<'static> {
    Value::Int(i64::try_from(position).unwrap_or(i64::MAX))
}
