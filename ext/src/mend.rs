//! Mending stamps that this replica took from a clock that was far ahead (`nuda_restamp`).
//!
//! It only touches unshipped records, so no other replica can have seen the old form.

use std::rc::Rc;

use nuda_core::changeset::{ChainHash, ChainHasher, Header};
use nuda_core::hlc::Stamp;
use nuda_core::merge::{Event, Rank, register};
use nuda_core::site::Seq;
use nuda_core::value::{OwnedValue, Value};

use crate::beside;
use crate::births;
use crate::concurrent::{LogIndex, RowName, for_each_row};
use crate::connection::Connection;
use crate::error::{Error, Result};
use crate::event;
use crate::ffi::db::Db;
use crate::hidden;
use crate::log;
use crate::savepoint::atomically;
use crate::shadow::{self, Sites, State, damaged};
use crate::told;
use crate::tracked::{ColumnType, Table, quote};
use crate::triggers;
use crate::visible;

/// A row by its table's number and its key.
type OwnedRow = (u32, Vec<OwnedValue>);

/// `nuda_restamp(keep, max_ms)`: records of the own site after number `keep` whose stamps are
/// beyond `max_ms` get stamps from there on. Answers how many.
pub(crate) fn restamp(connection: &Connection, keep: Seq, max_ms: u64) -> Result<u64> {
    let db = connection.db();
    atomically(db, || {
        let (count, contested) = connection.while_applying(|| {
            let (count, rows) = rewrite_stamps(db, keep, max_ms)?;
            // Registers may now lose to concurrent writes that they had beaten, and rows are younger.
            let contested = settle_rows(connection, &rows)?;
            if connection.tables()?.may_hide() {
                visible::settle_all(connection)?;
            }
            Ok((count, contested))
        })?;
        if !contested.is_empty() {
            triggers::touch(db)?;
        }
        for cell in &contested {
            say_again(connection, cell)?;
        }
        Ok(count)
    })
}

/// `nuda_followed_ms(keep)`: the latest stamp that own records after number `keep` come after: of others, and of
/// the own site, whose stamps only grow.
pub(crate) fn followed(db: Db, state: &State, keep: Seq) -> Result<Stamp> {
    let kept = log::stamp_of(db, state.site_id, keep)?;
    Ok(state.stamp.max(Sites::load(db)?.latest()).max(kept))
}

/// A document whose registers may have lost by new stamps.
struct Contested {
    table: Rc<Table>,
    key: Vec<OwnedValue>,
    column: usize,
}

/// Ships a document as it is here, in a change that knows all others. What lost inside it by its
/// new stamp is no longer known, so what is here is not made to follow; the others follow it.
fn say_again(connection: &Connection, cell: &Contested) -> Result<()> {
    let db = connection.db();
    let key: Vec<Value<'_>> = cell.key.iter().map(OwnedValue::as_ref).collect();
    let Some((row, _)) = beside::find(db, &cell.table, &key)? else {
        return Ok(());
    };
    let Some(value) = row.get(cell.column) else {
        return Ok(());
    };
    let mut capture = connection.capture()?;
    event::say_again(
        &mut capture,
        &cell.table,
        (&key, cell.column),
        value.as_ref(),
    )
}

fn rewrite_stamps(db: Db, keep: Seq, max_ms: u64) -> Result<(u64, Vec<OwnedRow>)> {
    let state = shadow::state(db)?;
    let mut last_record = db.prepare(log::LAST_RECORD)?;
    let head = log::head(db, &mut last_record, state.site_id)?;
    let mut latest = followed(db, &state, keep)?;
    let mut previous = None;
    let (mut count, mut rows) = (0, Vec::new());
    told::make_whole(db, state.site_id, keep)?;
    for seq in keep + 1..=head.seq {
        let parts = db.all(
            &format!(
                "SELECT id, header, {}, body FROM main.nuda_log l WHERE id BETWEEN ? AND ? \
                 ORDER BY id",
                log::PREVIOUS
            ),
            &[
                Value::Int(log::key(state.site_id, seq, 0)),
                Value::Int(log::key(state.site_id, seq + 1, 0) - 1),
            ],
        )?;
        let Some([_, OwnedValue::Blob(header), OwnedValue::Blob(before), _]) =
            parts.first().map(Vec::as_slice)
        else {
            return Err(damaged("nuda_log"));
        };
        let mut header = Header::decode(header)?;
        let chained = match previous {
            Some(hash) => hash,
            None => shadow::hash_from(before)?,
        };
        if header.stamp.millis() > max_ms {
            let was = header.stamp;
            header.stamp = Stamp::next(latest, max_ms)
                .ok_or_else(|| Error::refused("the logical clock is exhausted"))?;
            count += 1;
            if births::are_kept(db)? {
                let at = |stamp| Rank {
                    stamp,
                    site: header.dot.site,
                };
                births::move_all(db, at(was), at(header.stamp))?;
            }
            for part in &parts {
                if let Some(OwnedValue::Blob(body)) = part.get(3) {
                    collect_rows(body, &mut rows)?;
                }
            }
        }
        latest = latest.max(header.stamp);
        previous = Some(rewrite(db, &header, chained, &parts)?);
    }
    Ok((count, rows))
}

fn collect_rows(body: &[u8], rows: &mut Vec<OwnedRow>) -> Result<()> {
    for_each_row(body, |table, row| {
        rows.push((table, row.key.iter().map(|value| (*value).into()).collect()));
    })
}

/// Stores a record's new header and hashes; answers its hash.
fn rewrite(
    db: Db,
    header: &Header,
    previous: ChainHash,
    parts: &[Vec<OwnedValue>],
) -> Result<ChainHash> {
    let encoded = header.encode();
    let mut hasher = ChainHasher::new(previous, &encoded);
    let mut keys = Vec::new();
    for part in parts {
        if let (Some(OwnedValue::Int(key)), Some(OwnedValue::Blob(body))) =
            (part.first(), part.get(3))
        {
            hasher.update(body);
            keys.push(*key);
        }
    }
    let hash = hasher.finish();
    let (Some(first), Some(last)) = (keys.first(), keys.last()) else {
        return Err(damaged("nuda_log"));
    };
    db.run(
        "UPDATE main.nuda_log SET header = ?, previous = ? WHERE id = ?",
        &[
            Value::Blob(&encoded),
            Value::Blob(&previous.0),
            Value::Int(*first),
        ],
    )?;
    db.run(
        "UPDATE main.nuda_log SET hash = ? WHERE id = ?",
        &[Value::Blob(&hash.0), Value::Int(*last)],
    )?;
    Ok(hash)
}

/// Sets the registers of these rows to the winners among all changes in the log.
/// Answers the documents for which that is not enough.
fn settle_rows(connection: &Connection, rows: &[OwnedRow]) -> Result<Vec<Contested>> {
    let db = connection.db();
    let sites = Sites::load(db)?;
    let mut index = LogIndex::default();
    index.refresh(db, &sites, shadow::state(db)?.site_id)?;
    let tables = connection.tables()?;
    let mut contested = Vec::new();
    for (number, owned) in rows {
        let Some(table) = tables.get(*number) else {
            continue;
        };
        let key: Vec<Value<'_>> = owned.iter().map(OwnedValue::as_ref).collect();
        for column in settle_row(connection, &sites, &mut index, table, &key)? {
            contested.push(Contested {
                table: Rc::clone(table),
                key: owned.clone(),
                column,
            });
        }
    }
    Ok(contested)
}

fn settle_row(
    connection: &Connection,
    sites: &Sites,
    index: &mut LogIndex,
    table: &Rc<Table>,
    key: &[Value<'_>],
) -> Result<Vec<usize>> {
    let db = connection.db();
    let name = RowName {
        table: table.at.number,
        key,
    };
    let found = index.all(db, sites, name)?;
    let events: Vec<_> = found.iter().map(|found| found.event()).collect();
    for (n, column) in table.columns.iter().enumerate().skip(table.at.key_columns) {
        if column.kind != ColumnType::Lww || column.is_gone {
            continue;
        }
        let Some(value) = register(n, &events) else {
            continue;
        };
        let mut bound = key.to_vec();
        bound.push(value);
        let update = format!(
            "UPDATE {} SET {} = ?{} WHERE {}",
            table.quoted(),
            quote(&column.name),
            key.len() + 1,
            table.key_condition()
        );
        let hidden = hidden::peek(db, table, key)?;
        match (hidden, db.run(&update, &bound)) {
            (None, Err(error)) if beside::has_no_place(table, &error) => {
                if let Some((row, _)) = beside::find(db, table, key)? {
                    beside::take_out(connection, table, &row)?;
                    beside::keep(db, table, &with(row, table, &column.name, value))?;
                }
            }
            (Some(row), _) => {
                beside::keep(db, table, &with(row, table, &column.name, value))?;
            }
            (None, done) => done?,
        }
    }
    let documents = table.columns.iter().enumerate();
    Ok(documents
        .filter(|(n, column)| column.kind == ColumnType::Doc && are_concurrent(&events, *n))
        .map(|(n, _)| n)
        .collect())
}

/// Whether two of these wrote a column without knowing each other.
fn are_concurrent(events: &[Event<'_>], column: usize) -> bool {
    let wrote: Vec<_> = events
        .iter()
        .filter(|event| event.wrote(column).is_some())
        .collect();
    wrote.iter().enumerate().any(|(n, event)| {
        let mut others = wrote.iter().skip(n + 1);
        others.any(|other| !event.saw(other) && !other.saw(event))
    })
}

/// The row with another value in one column.
fn with(
    mut row: Vec<OwnedValue>,
    table: &Table,
    column: &str,
    value: Value<'_>,
) -> Vec<OwnedValue> {
    if let Some(place) = table.position(column).and_then(|n| row.get_mut(n)) {
        *place = value.into();
    }
    row
}
