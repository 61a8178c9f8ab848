//! Capture: from the triggers' calls to one log record per transaction.
//!
//! A trigger hands the old and new values of a row to a capture table; this module turns them
//! into an event of the [`crate::buffer`]. At the very start of the commit SQLite calls sync:
//! the net effect is written as a log record in the same transaction, so that the user's rows
//! and the record are committed together or not at all. Nothing else is written.

use std::rc::Rc;

use nuda_core::changeset::{ChainHash, ChainHasher, Header, Level};
use nuda_core::limits;
use nuda_core::merge::Rank;
use nuda_core::site::Dot;
use nuda_core::value::{OwnedValue, Value};
use sqlite3_ext::ffi::SQLITE_ERROR;

use crate::ancestors;
use crate::attached;
use crate::authority::{self, Authority};
use crate::births;
use crate::buffer::{Buffer, Event, Kind};
use crate::connection::Connection;
use crate::definition::SchemaChange;
use crate::drift::Drift;
use crate::early;
use crate::error::{Error, Result};
use crate::event::{self, Scratch};
use crate::ffi::db::Db;
use crate::ffi::value::Args;
use crate::forms::Known;
use crate::images::{self, Order};
use crate::keys::{self, Keys};
use crate::log::{self, Head};
use crate::net::{Grown, NetEffect, net_effect};
use crate::record::{self, Record};
use crate::shadow::{self, Seen, to_i64};
use crate::strong::commit::{self, Candidate};
use crate::strong::decide::{Writes, decide};
use crate::track;
use crate::tracked::{Table, Tables};
use crate::visible;

/// What a trigger's first argument says, besides the table: `table * 16 + call`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    /// The new row.
    Insert = 1,
    /// Old and new value of each column, alternating.
    Update = 2,
    /// The old row.
    Delete = 3,
    /// The row that an INSERT or UPDATE is about to collide with: it goes if, and only if,
    /// the statement's policy is REPLACE, for which SQLite fires no delete trigger.
    Collides = 4,
    /// A piece of a row too wide for one call: 0 (old) or 1 (new), then values.
    Piece = 5,
    /// As `Insert`, `Update`, `Delete`, of the pieces before.
    WideInsert = 6,
    /// See `WideInsert`.
    WideUpdate = 7,
    /// See `WideInsert`.
    WideDelete = 8,
    /// Nothing: makes the table take part in the transaction, so that sync is called.
    Touch = 9,
    /// The new row, whose key SQLite is about to invent (or which is an explicit -1).
    Invent = 10,
    /// As `Collides`, of the pieces before.
    WideCollides = 11,
    /// As `Invent`, of the pieces before.
    WideInvent = 12,
    /// A row has the new one's values in the columns of a partial unique index, which may or may
    /// not hold both.
    MayCollide = 13,
    /// The key of a row that an INSERT is about to write, and 1 if SQLite may invent it: if the
    /// statement's policy is REPLACE, the row that is there goes.
    Announce = 14,
}

impl Call {
    /// Whether a row was changed when it was made.
    fn is_change(self) -> bool {
        match self {
            Self::Insert
            | Self::Update
            | Self::Delete
            | Self::WideInsert
            | Self::WideUpdate
            | Self::WideDelete => true,
            Self::Collides
            | Self::WideCollides
            | Self::MayCollide
            | Self::Announce
            | Self::Piece
            | Self::Touch
            | Self::Invent
            | Self::WideInvent => false,
        }
    }

    fn from_code(code: i64) -> Option<(u32, Self)> {
        let call = match code & 15 {
            1 => Self::Insert,
            2 => Self::Update,
            3 => Self::Delete,
            4 => Self::Collides,
            5 => Self::Piece,
            6 => Self::WideInsert,
            7 => Self::WideUpdate,
            8 => Self::WideDelete,
            9 => Self::Touch,
            10 => Self::Invent,
            11 => Self::WideCollides,
            12 => Self::WideInvent,
            13 => Self::MayCollide,
            14 => Self::Announce,
            _ => return None,
        };
        Some((u32::try_from(code >> 4).ok()?, call))
    }
}

/// A single statement that changes this much is written early in its midst.
const SPILL_WITHIN_STATEMENT_BYTES: usize = 4 * limits::SPILL_BYTES;

/// The running transaction's capture.
#[derive(Debug, Default)]
pub(crate) struct Capture {
    pub(crate) buffer: Buffer,
    /// The record being written, once its first part is in the log.
    record: Option<Record>,
    /// The hash over the parts that are in the log, unless a rollback took some back.
    hasher: Option<ChainHasher>,
    pub(crate) scratch: Scratch,
    /// Of columns with one canonical form.
    pub(crate) known: Known,
    /// Pieces of a wide row: old values, new values.
    pieces: (Vec<OwnedValue>, Vec<OwnedValue>),
    /// Tables that got columns since their triggers were made: their rows are read again.
    grown: Vec<Grown>,
    /// Whether the record was completed before, by a COMMIT that then failed with SQLITE_BUSY.
    ended: bool,
    /// Tables that parts in the log define.
    defined: Vec<u32>,
    /// Whether the committing transaction wrote a record, so that the daemon is to be woken.
    pub(crate) wrote: bool,
    /// Keys being invented.
    pub(crate) keys: Keys,
    /// Whether the transaction makes changes again that were acknowledged before, and whose rows may
    /// be hidden at once.
    pub(crate) is_made_again: bool,
}

impl Capture {
    pub(crate) fn reset(&mut self) {
        self.buffer.reset();
        self.record = None;
        self.hasher = None;
        self.ended = false;
        self.grown.clear();
        self.defined.clear();
        self.pieces.0.clear();
        self.pieces.1.clear();
        self.keys = Keys::default();
        self.is_made_again = false;
    }

    /// The name of what the transaction wrote.
    pub(crate) fn written(&self) -> Option<Dot> {
        let header = Header::decode(&self.record.as_ref()?.header).ok()?;
        Some(header.dot)
    }

    /// Whether a part of the running transaction is in the log.
    pub(crate) fn has_begun(&self) -> bool {
        self.record.is_some()
    }

    /// Savepoint `id` was rolled back, and with it perhaps the record's first part.
    pub(crate) fn rollback_to(&mut self, id: i32) {
        let parts = self.buffer.parts();
        self.keys.rollback_to(id);
        self.buffer.rollback_to(id);
        if self.buffer.parts() != parts {
            self.hasher = None;
        }
        if self.buffer.parts() == 0 {
            self.record = None;
            self.defined.clear();
        }
    }

    /// The tables that the transaction defines, changes or gives up.
    fn definitions(&self) -> Vec<u32> {
        let mut numbers = self.defined.clone();
        let is_definition = |event: &Event<'_>| event.kind == Kind::Definition;
        for event in self.buffer.iter().filter(is_definition) {
            numbers.extend(SchemaChange::table(event.payload));
        }
        numbers
    }

    /// A definition's transaction also writes these rows: the net effect reads them.
    pub(crate) fn grows(&mut self, grown: Grown) {
        self.grown.push(grown);
    }
}

/// A trigger's call.
pub(crate) fn captured(connection: &Connection, args: Args<'_>) -> Result<()> {
    let (number, call) = args
        .int(0)
        .and_then(Call::from_code)
        .ok_or_else(|| Error::refused("capture tables are written by triggers only"))?;
    let replaces = connection.db().replaces();
    take_in(connection, number, call, args, replaces)?;
    let remembered = connection.remembered();
    remembered.called(connection.db(), call.is_change(), replaces);
    Ok(())
}

fn take_in(
    connection: &Connection,
    number: u32,
    call: Call,
    args: Args<'_>,
    replaces: bool,
) -> Result<()> {
    if call == Call::Touch {
        return Ok(());
    }
    let replaces = replaces && replaces_silently(connection.db())?;
    if call == Call::Announce && !replaces && args.int(1) != Some(keys::UNKNOWN) {
        // Nothing goes: the usual case, and it has to be cheap.
        return Ok(());
    }
    let table = connection.table(number)?;
    check_drift(connection, &table)?;
    match call {
        Call::Invent => return keys::invent(connection, &table, |n| args.get(n + 1)),
        Call::WideInvent => {
            let row = std::mem::take(&mut connection.capture()?.pieces.1);
            return keys::invent(connection, &table, side(&row));
        }
        Call::Collides | Call::WideCollides | Call::Piece => {}
        Call::MayCollide => return may_collide(connection, &table),
        Call::Announce => return announced(connection, &table, args, replaces),
        _ => keys::settle(connection, &table, args.int(1))?,
    }
    let mut capture = connection.capture()?;
    let capture = &mut *capture;
    match call {
        Call::Insert => event::insert(capture, &table, |n| args.get(n + 1))?,
        Call::Delete => event::delete(capture, &table, |n| args.get(n + 1))?,
        Call::Update => {
            let (old, new) = (|n: usize| 2 * n + 1, |n: usize| 2 * n + 2);
            let values = (|n| args.get(old(n)), |n| args.get(new(n)));
            event::update(capture, &table, values, |n| args.same(old(n), new(n)))?;
        }
        Call::Collides => {
            if replaces {
                event::delete(capture, &table, |n| args.get(n + 1))?;
            }
            // Not spilled here: the row that goes is still there.
            return Ok(());
        }
        Call::WideCollides => {
            let row = std::mem::take(&mut capture.pieces.0);
            if replaces {
                event::delete(capture, &table, side(&row))?;
            }
            return Ok(());
        }
        Call::Touch | Call::Invent | Call::WideInvent | Call::MayCollide | Call::Announce => {}
        Call::Piece => {
            let side = if args.int(1) == Some(0) {
                &mut capture.pieces.0
            } else {
                &mut capture.pieces.1
            };
            side.extend((2..args.len()).map(|n| OwnedValue::from(args.get(n))));
            return Ok(());
        }
        Call::WideInsert | Call::WideUpdate | Call::WideDelete => {
            let (old, new) = std::mem::take(&mut capture.pieces);
            match call {
                Call::WideInsert => event::insert(capture, &table, side(&new))?,
                Call::WideDelete => event::delete(capture, &table, side(&old))?,
                _ => {
                    let (old, new) = (side(&old), side(&new));
                    event::update(capture, &table, (&old, &new), |n| old(n) == new(n))?;
                }
            }
        }
    }
    if capture.buffer.len() >= SPILL_WITHIN_STATEMENT_BYTES {
        spill(connection, capture)?;
    }
    Ok(())
}

/// A row is about to be written that takes the place of the one with its key, or whose key SQLite
/// is about to invent.
fn announced(
    connection: &Connection,
    table: &Rc<Table>,
    args: Args<'_>,
    replaces: bool,
) -> Result<()> {
    if args.int(1) == Some(keys::UNKNOWN) && args.int(2) == Some(1) {
        keys::invent(connection, table, |_| Value::Null)?;
    }
    if !replaces {
        return Ok(());
    }
    let key: Vec<Value<'_>> = (0..table.at.key_columns).map(|n| args.get(n + 1)).collect();
    let sql = format!(
        "SELECT {} FROM {} WHERE {}",
        table.column_list(),
        table.quoted(),
        table.key_condition()
    );
    let row = {
        let mut statements = connection.statements()?;
        let query = statements.row_by_key(connection.db(), sql)?;
        query.bind(&key)?;
        let row = query.step()?.then(|| query.row());
        query.reset();
        row
    };
    match row {
        // Not spilled here: the row that goes is still there.
        Some(row) => event::delete(&mut *connection.capture()?, table, side(&row)),
        None => Ok(()),
    }
}

/// Whether no trigger tells of what the running statement removes, which it does if it collides. With
/// recursive triggers the delete trigger does, and a row that was deleted twice would seem to
/// have been there before the transaction.
fn replaces_silently(db: Db) -> Result<bool> {
    Ok(db.int("PRAGMA recursive_triggers", &[])? == 0)
}

/// Which row a REPLACE removes by a partial unique index, SQLite alone knows.
fn may_collide(connection: &Connection, table: &Table) -> Result<()> {
    if !connection.db().replaces() {
        return Ok(());
    }
    Err(Error::refused(format!(
        "{}: a REPLACE that may remove a row by a partial unique index is not captured; DELETE that \
         row first, or write INSERT ... ON CONFLICT DO UPDATE",
        table.name
    )))
}

/// A savepoint or a statement within a transaction begins: the moment to write a part early.
///
/// Within a statement it would cost far more. The part's pages push older ones out of SQLite's
/// cache, each of which is copied to the statement's journal first; that journal outgrows its
/// memory, and every later statement of the transaction then writes it to a temporary file.
pub(crate) fn savepoint(connection: &Connection, id: i32) -> Result<()> {
    let Some(mut capture) = connection.idle_capture() else {
        return Ok(());
    };
    // Not under SAVEPOINT itself, after which changes() still tells of the statement before.
    let is_large = capture.buffer.len() >= limits::SPILL_BYTES;
    let mut spilled = Ok(());
    if is_large && !connection.is_placing() && connection.db().is_writing() {
        spilled = spill(connection, &mut capture);
    }
    // Whatever came of it: rolling back to a savepoint that is not known clears the buffer.
    capture.buffer.savepoint(id);
    match spilled {
        // SQLite has no place for the words here. The commit meets the same, and has.
        Err(error) if error.code == SQLITE_ERROR => Ok(()),
        other => other,
    }
}

/// The table was altered by plain DDL. Columns added by who may define tables are replicated at
/// the commit or soon after; anything else is refused before more is written that others cannot take.
fn check_drift(connection: &Connection, table: &Table) -> Result<()> {
    if matches!(table.drift, Drift::None | Drift::Indexed) {
        return Ok(());
    }
    let state = shadow::state(connection.db())?;
    if let Some(what) = table.drift.problem() {
        return Err(Error::refused(format!(
            "{what}, but it is replicated; {}",
            track::way_out(&table.name, authority::of(&state))
        )));
    }
    if authority::of(&state) != Authority::Founder {
        return Ok(());
    }
    Err(Error::refused(format!(
        "{} has columns here that other nodes do not have; only the founding node {} changes \
         tables: drop the columns here and add them there",
        table.name, state.founder
    )))
}

/// A row's values by number; NULL where there is none.
pub(crate) fn side<'a>(values: &'a [OwnedValue]) -> impl Fn(usize) -> Value<'a> {
    |n| values.get(n).map_or(Value::Null, OwnedValue::as_ref)
}

/// Adds a table's definition to the running transaction.
pub(crate) fn define(connection: &Connection, definition: &[u8]) -> Result<()> {
    let mut capture = connection.capture()?;
    let row = crate::index::fingerprint(0, definition);
    attached::redefined(connection)?;
    capture
        .buffer
        .push(Kind::Definition, 0, row, definition, &[]);
    Ok(())
}

/// Adds a row that was there before its table was tracked.
pub(crate) fn existing_row(
    connection: &Connection,
    table: &Table,
    values: &[OwnedValue],
) -> Result<()> {
    let mut capture = connection.capture()?;
    event::insert(&mut capture, table, |n| {
        values.get(n).map_or(Value::Null, OwnedValue::as_ref)
    })?;
    if capture.buffer.len() >= limits::SPILL_BYTES {
        spill(connection, &mut capture)?;
    }
    Ok(())
}

/// Adds a row of which the net effect reads what added columns hold.
pub(crate) fn touched_row(
    connection: &Connection,
    table: &Table,
    key: &[OwnedValue],
) -> Result<()> {
    let mut capture = connection.capture()?;
    event::touch(&mut capture, table, |n| {
        key.get(n).map_or(Value::Null, OwnedValue::as_ref)
    })?;
    if capture.buffer.len() >= limits::SPILL_BYTES {
        spill(connection, &mut capture)?;
    }
    Ok(())
}

/// Writes a part of a large transaction early.
fn spill(connection: &Connection, capture: &mut Capture) -> Result<()> {
    let rowid = connection.db().last_insert_rowid();
    let tables = connection.tables()?;
    write_part(connection, capture, &tables, false)?;
    connection.db().set_last_insert_rowid(rowid);
    Ok(())
}

/// The transaction is about to commit: writes its record, or the rest of it.
pub(crate) fn flush(connection: &Connection) -> Result<()> {
    keys::refuse_unsettled(connection)?;
    let mut capture = connection.capture()?;
    if capture.buffer.is_empty() && (capture.record.is_none() || capture.wrote) {
        return Ok(());
    }
    let rowid = connection.db().last_insert_rowid();
    let mut tables = connection.tables()?;
    let written = capture.buffer.tables();
    for table in written.iter().filter_map(|n| tables.get(*n)) {
        check_drift(connection, table)?;
    }
    if let Some(table) = tables.rebuilt() {
        check_drift(connection, table)?;
    }
    connection.signal().schema_is_checked();
    let changed = tables.changed();
    if !changed.is_empty() {
        let level = level(connection, &capture, (&tables, &written))?;
        drop(capture);
        let grown = early::carry(connection, &changed, &written, level)?;
        capture = connection.capture()?;
        capture.grown.extend(grown);
        tables = connection.tables()?;
    }
    write_part(connection, &mut capture, &tables, true)?;
    connection.db().set_last_insert_rowid(rowid);
    Ok(())
}

fn write_part(
    connection: &Connection,
    capture: &mut Capture,
    tables: &Tables,
    last: bool,
) -> Result<()> {
    let mut net = net_effect(connection.db(), &capture.buffer, tables, &capture.grown)?;
    if net.body.is_empty() && last && capture.record.is_none() {
        capture.buffer.reset();
        return Ok(());
    }
    let written = capture.buffer.tables();
    if last {
        keep_alive(connection, capture, (tables, &written), &mut net)?;
    }
    let level = level(connection, capture, (tables, &written))?;
    let record = match &capture.record {
        Some(record) => record.clone(),
        None if level == Level::Eventual => record::begin(connection)?,
        None => record::begin_in_log(connection, level)?,
    };
    let part = capture.buffer.parts();
    if part >= limits::PARTS {
        return Err(Error::refused(
            "this transaction is too large to replicate; split it",
        ));
    }
    let mut hasher = match capture.hasher.take() {
        Some(hasher) => hasher,
        None => record::hasher_at(connection.db(), &record, part)?,
    };
    hasher.update(&net.body);
    let hash = last.then(|| hasher.finish());
    if last && capture.ended {
        connection.db().run(
            "UPDATE main.nuda_log SET hash = NULL WHERE id BETWEEN ? AND ? AND hash IS NOT NULL",
            &[
                Value::Int(log::key(record.site_id, record.seq, 0)),
                Value::Int(log::key(record.site_id, record.seq, part)),
            ],
        )?;
    }
    insert_part(connection, &record, part, &net, hash)?;
    if tables.may_hide() {
        note_births(connection, &record, tables, &net.body)?;
        if last && !capture.is_made_again {
            visible::refuse_taken(connection, &record)?;
        }
    }
    if let (Some(begun), Some(hash)) = (record.begun.as_deref(), hash) {
        let candidate = Candidate {
            site_id: record.site_id,
            dot: begun.dot,
            level,
        };
        let stamp = to_i64(record.stamp.get());
        commit::advance(connection.db(), &candidate, &hash.0, &record.seen, stamp)?;
        commit::propose(connection, &candidate, begun)?;
    }
    if written.contains(&0) {
        capture.defined = capture.definitions();
    }
    capture.record = Some(record);
    capture.hasher = Some(hasher);
    capture.buffer.spilled();
    capture.wrote = last;
    capture.ended |= last;
    Ok(())
}

/// The transaction's rows refer to others.
fn keep_alive(
    connection: &Connection,
    capture: &Capture,
    (tables, written): (&Tables, &[u32]),
    net: &mut NetEffect,
) -> Result<()> {
    let references = tables.references();
    let mut written = written.iter();
    let is_concerned = capture.record.is_some() || written.any(|n| references.concern(*n));
    if references.is_empty() || !is_concerned {
        return Ok(());
    }
    let db = connection.db();
    let record = capture.record.as_ref();
    let lacks = ancestors::keep_alive(db, tables, (record, net), capture.is_made_again)?;
    if lacks {
        attached::ask_all_next(db)?;
    }
    Ok(())
}

/// Rows of tables that may hide rows were written.
fn note_births(
    connection: &Connection,
    record: &Record,
    tables: &Tables,
    body: &[u8],
) -> Result<()> {
    let header = Header::decode(&record.header)?;
    let rank = Rank {
        stamp: header.stamp,
        site: header.dot.site,
    };
    births::of_body(connection.db(), tables, body, rank)?;
    attached::wake(connection.db(), tables, body)
}

/// The level of the running transaction's commit, which writes the tables of these numbers.
fn level(
    connection: &Connection,
    capture: &Capture,
    (tables, numbers): (&Tables, &[u32]),
) -> Result<Level> {
    let session = connection.session();
    if session.is_accepted() {
        return Err(Error::refused(
            "this transaction is committed already and cannot be added to; it will be applied here \
             after a ROLLBACK",
        ));
    }
    // Definitions belong to table 0.
    let may_define = !capture.defined.is_empty() || numbers.contains(&0);
    let is_ordered = may_define && authority::read(connection.db())? == Authority::Log;
    let defined = if is_ordered {
        capture.definitions()
    } else {
        Vec::new()
    };
    let mut written = numbers.iter().filter_map(|n| tables.get(*n));
    let strong = written.find(|table| table.options.is_strong);
    let writes = Writes {
        strong: strong
            .map(|table| table.name.as_str())
            .or((!defined.is_empty()).then_some("nuda_table")),
        begun: capture.record.as_ref().map(|record| record.level),
    };
    decide(&writes, session.write_level())
}

fn insert_part(
    connection: &Connection,
    record: &Record,
    part: u32,
    net: &NetEffect,
    hash: Option<ChainHash>,
) -> Result<()> {
    let first = part == 0;
    let or_null = |there: bool, bytes| {
        if there {
            Value::Blob(bytes)
        } else {
            Value::Null
        }
    };
    let images = images::with_order(&net.images, Order::own(record.stamp, part));
    let mut bases = connection.bases()?;
    let told = match hash {
        Some(_) if first => bases.tell(connection.db(), record, &net.body)?,
        _ => None,
    };
    let (header, previous, body) = match &told {
        Some(told) => (
            Value::Blob(&told.header),
            Value::Int(to_i64(told.distance)),
            Value::Blob(&told.body),
        ),
        None => (
            or_null(first, &record.header),
            or_null(first && !record.follows_in_log, &record.previous.0),
            Value::Blob(&net.body),
        ),
    };
    connection
        .statements()?
        .insert_log(connection.db())?
        .run(&[
            Value::Int(log::key(record.site_id, record.seq, part)),
            header,
            previous,
            or_null(first, &record.seen),
            body,
            hash.as_ref().map_or(Value::Null, |h| Value::Blob(&h.0)),
            or_null(!images.is_empty(), &images),
        ])?;
    if let (true, Some(hash)) = (first && record.level == Level::Eventual, hash) {
        bases.written(record, &net.body, hash, told.is_some());
        connection.remembered().written(Head {
            is_in_log: true,
            told_by: told.map_or(0, |told| told.distance),
            seq: record.seq,
            stamp: record.stamp,
            seen: Seen(record.seen.clone()),
            hash,
        });
    }
    Ok(())
}
