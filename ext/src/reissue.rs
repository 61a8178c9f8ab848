//! Making changes again that a re-seeded replica had not shipped (`nuda_reissue`).
//!
//! The donor's snapshot has replaced this file; the old one is set aside. What the old one wrote, under
//! whichever of its sites, and the snapshot neither has nor will apply, becomes new changes of a new site. Nothing
//! else does: what the old one had of others comes from them. So no change is lost and none counts twice.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use nuda_core::changeset::Header;
use nuda_core::hlc::Stamp;
use nuda_core::merge::Rules;
use nuda_core::row::{BodyReader, Cell, Change, Item, RowChange};
use nuda_core::site::{Dot, Seq, Site};
use nuda_core::sorted;
use nuda_core::value::{OwnedValue, Value};
use nuda_core::version_vector::VersionVector;

use crate::apply::optional_hash;
use crate::arrive;
use crate::beside;
use crate::concurrent::row_fingerprint;
use crate::connection::Connection;
use crate::error::{Error, Result};
use crate::excess::clamped;
use crate::ffi::db::Db;
use crate::fits;
use crate::guard::{self, Write};
use crate::local;
use crate::log;
use crate::savepoint::atomically;
use crate::shadow::{self, Sites, damaged};
use crate::texts_again::Texts;
use crate::told;
use crate::tracked::{Table, quote};
use crate::waiting;

/// What `nuda_protocol` says while a re-issue is due; gone with the transaction that made it.
const DUE: &str = "reissue";

/// `nuda_reissue(path)`: after this file was replaced by a donor's snapshot, writes again what
/// the set-aside old file had and the donor lacked, as new changes: the registers that those
/// changes wrote, and what they added to counters and sets. Answers how many rows' changes. That it is
/// due is forgotten in the same transaction, so that a crash leaves it done or due.
pub(crate) fn reissue(connection: &Rc<Connection>, path: &str) -> Result<u64> {
    let db = connection.db();
    if !db.is_autocommit() {
        return Err(Error::refused("end the open transaction first"));
    }
    db.run("ATTACH ? AS nuda_old", &[Value::Text(path.as_bytes())])?;
    let result = atomically(db, || {
        // What user triggers wrote then is in the old log too.
        guard::prepare_captured(connection)?;
        let count = connection.while_reissuing(|| reissue_rows(connection))?;
        db.run(
            "DELETE FROM main.nuda_protocol WHERE key = ?",
            &[Value::Text(DUE.as_bytes())],
        )?;
        Ok(count)
    });
    let detached = db.exec("DETACH nuda_old");
    // The first error is the one to report.
    let count = result?;
    detached?;
    Ok(count)
}

fn reissue_rows(connection: &Rc<Connection>) -> Result<u64> {
    let db = connection.db();
    connection.capture()?.is_made_again = true;
    // Tables that come back whole need no change of theirs made again.
    let tables = connection.tables()?;
    local::bring_back(connection)?;
    // Rows that came back as the old file has them, with all that was written to them.
    let mut whole = HashSet::new();
    let mut donors = HashMap::new();
    let mut count = 0;
    let bodies = lacking(db)?;
    let mut texts = Texts::read(&bodies, &tables)?;
    for body in &bodies {
        let mut reader = BodyReader::new(body);
        let mut table = None;
        while let Some(item) = reader.next_item()? {
            match item {
                Item::Table(at) => table = tables.get(at.number),
                Item::Schema(_) => {}
                Item::Row(mut row) => {
                    let Some(table) = table else { continue };
                    fits::of_live_columns(table, &mut row);
                    let name = row_fingerprint(table.at.number, &row.key);
                    if !whole.contains(&name) {
                        let here = beside::find(db, table, &row.key)?;
                        let donor = donors
                            .entry(name)
                            .or_insert_with(|| here.as_ref().map(|(row, _)| row.clone()));
                        let present = (here, donor.as_deref());
                        if reissue_row(connection, table, &row, present, &mut texts)? {
                            whole.insert(name);
                        }
                    }
                    count += 1;
                }
            }
        }
    }
    Ok(count)
}

/// The sites under which the old file ever wrote, with their ids there: the daemon notes them.
fn own_sites(db: Db) -> Result<Vec<(Site, i64)>> {
    let noted = db.first(
        "SELECT group_concat(value) FROM nuda_old.nuda_protocol WHERE key IN (?, ?)",
        &[
            Value::Text(shadow::OWN_SITES.as_bytes()),
            Value::Text(shadow::EARLIER_SITES.as_bytes()),
        ],
    )?;
    let noted = match noted.as_deref() {
        Some([OwnedValue::Text(text)]) => String::from_utf8_lossy(text).into_owned(),
        _ => String::new(),
    };
    let noted: Vec<Site> = noted.split(',').filter_map(Site::parse).collect();
    let mut own = Vec::new();
    for row in db.all(
        "SELECT s.site, s.id, s.id = t.site FROM nuda_old.nuda_site s, nuda_old.nuda_state t",
        &[],
    )? {
        let [
            OwnedValue::Int(site),
            OwnedValue::Int(id),
            OwnedValue::Int(is_present),
        ] = row.as_slice()
        else {
            return Err(damaged("nuda_site"));
        };
        let site = shadow::site_from(*site)?;
        if *is_present != 0 || noted.contains(&site) {
            own.push((site, *id));
        }
    }
    Ok(own)
}

/// Up to where this file has what the old one wrote, of each of its sites: what is applied here and
/// what waits here and will be, or less if the site went on in two ways, one of which the old file had.
fn shared(db: Db, sites: &Sites, own: &[(Site, i64)]) -> Result<VersionVector> {
    let waiting = waiting::vector(db)?;
    let mut shared = VersionVector::new();
    for (site, old_id) in own {
        let applied = sites.by_site(*site).map_or(0, |row| row.applied);
        let last = db.int(
            "SELECT coalesce(max(id), 0) FROM nuda_old.nuda_log WHERE id BETWEEN ? AND ?",
            &[
                Value::Int(log::key(*old_id, 0, 0)),
                Value::Int(log::key(old_id + 1, 0, 0) - 1),
            ],
        )?;
        let (_, theirs, _) = log::split(last);
        let parted = parted(db, sites, *site, *old_id, theirs.min(applied))?;
        shared.set(*site, parted.unwrap_or(applied.max(waiting.get(*site))));
    }
    Ok(shared)
}

/// The last link of a site's chain that both files share, if the next one differs. `upto`: where to
/// begin to look, downwards.
fn parted(db: Db, sites: &Sites, site: Site, old_id: i64, upto: Seq) -> Result<Option<Seq>> {
    let mut parted = None;
    for seq in (1..=upto).rev() {
        let old = db.first(
            "SELECT hash FROM nuda_old.nuda_log WHERE id BETWEEN ? AND ? AND hash IS NOT NULL",
            &[
                Value::Int(log::key(old_id, seq, 0)),
                Value::Int(log::key(old_id, seq + 1, 0) - 1),
            ],
        )?;
        let here = arrive::stored_hash(db, sites, Dot { site, seq })?;
        match (optional_hash(old.as_deref())?, here) {
            (Some(old), Some(here)) if old != here => parted = Some(seq - 1),
            _ => break,
        }
    }
    Ok(parted)
}

/// Bodies of the records that the old file wrote and this file lacks, in the order of their stamps: also
/// what it had kept of an earlier life of its own and not applied yet. What it had of others comes from
/// them, and from the replicated log.
fn lacking(db: Db) -> Result<Vec<Vec<u8>>> {
    let sites = Sites::load(db)?;
    let own = own_sites(db)?;
    let shared = shared(db, &sites, &own)?;
    let mut bodies = Vec::new();
    let mut stamp = Stamp::BASELINE;
    let of_old = |column: &str| column.replace("main.", "nuda_old.");
    for record in db.all(
        &format!(
            "SELECT s.site, l.id, {}, {} FROM nuda_old.nuda_log l \
             JOIN nuda_old.nuda_site s ON s.id = l.id >> 48 \
             LEFT JOIN nuda_old.nuda_waiting w ON w.site = s.id AND w.seq = (l.id >> 14) & 0x3ffffffff \
             WHERE s.id = (SELECT site FROM nuda_old.nuda_state) \
                OR (l.id >> 14) & 0x3ffffffff <= s.applied OR typeof(w.seen) = 'text' ORDER BY l.id",
            of_old(told::HEADER),
            of_old(told::BODY)
        ),
        &[],
    )? {
        let [
            OwnedValue::Int(site),
            OwnedValue::Int(key),
            header,
            OwnedValue::Blob(body),
        ] = record.as_slice()
        else {
            return Err(damaged("nuda_log"));
        };
        // Later parts follow their first one and have no header.
        if let OwnedValue::Blob(header) = header {
            stamp = Header::decode(header)?.stamp;
        }
        let site = shadow::site_from(*site)?;
        let (_, seq, _) = log::split(*key);
        if own.iter().any(|(own, _)| *own == site) && seq > shared.get(site) {
            bodies.push(((stamp, *key), body.clone()));
        }
    }
    sorted::by_key(&mut bodies, |(order, _)| *order);
    Ok(bodies.into_iter().map(|(_, body)| body).collect())
}

/// Makes one change again, by an ordinary, captured write. An updated row that is gone here is
/// inserted as the old file has it, if it has it; answers whether that was done. `here` is the
/// row, `donor` what the donor had: registers meet that, not what was made again before.
fn reissue_row(
    connection: &Connection,
    table: &Table,
    row: &RowChange<'_>,
    (here, donor): (Option<beside::Found>, Option<&[OwnedValue]>),
    texts: &mut Texts,
) -> Result<bool> {
    let db = connection.db();
    let is_hidden = here.as_ref().is_some_and(|(_, is_hidden)| *is_hidden);
    let here = here.map(|(row, _)| row);
    let announce = |write| {
        connection.guard.announce(write, table.at.number, &row.key);
    };
    let name = table.quoted();
    let condition = table.key_condition();
    let cells: Vec<(usize, Cell<'_>)> = match (&row.change, &here) {
        (Change::Delete, _) => {
            announce(Write::Delete);
            delete_again(connection, table, &row.key, here.filter(|_| is_hidden))?;
            return Ok(false);
        }
        (Change::Update(_), None) if table.options.delete_wins => return Ok(false),
        (Change::Update(_), None) => {
            if let Some(old) = beside::find_old(db, table, &row.key)? {
                announce(Write::Insert);
                insert(connection, table, &old)?;
            }
            return Ok(true);
        }
        (Change::Insert(cells), None) => {
            announce(Write::Insert);
            insert_again(connection, table, cells, texts)?;
            return Ok(false);
        }
        (Change::Update(cells), Some(_)) => cells.clone(),
        (Change::Insert(cells), Some(_)) => cells.iter().copied().enumerate().collect(),
    };
    let mut set = Vec::new();
    let mut made = Vec::new();
    // The whole row, for where it has no place in its table.
    let mut new = here.clone().unwrap_or_default();
    for (n, cell) in cells {
        let Some(column) = table.columns.get(n).filter(|c| !c.is_key && !c.is_gone) else {
            continue;
        };
        let (name, place) = (quote(&column.name), row.key.len() + made.len() + 1);
        let mut now_is = |value: OwnedValue| {
            if let Some(place) = new.get_mut(n) {
                *place = value;
            }
        };
        if let Cell::Add(added) = cell {
            set.push(format!("{name} = {name} + ?{place}"));
            made.push(OwnedValue::Int(clamped(added)));
            if let Some(OwnedValue::Int(count)) = here.as_deref().and_then(|row| row.get(n)) {
                now_is(OwnedValue::Int(count.saturating_add(clamped(added))));
            }
            continue;
        }
        if column.kind.has_state() {
            let now = here.as_deref().and_then(|row| row.get(n));
            let now = now.map_or(Value::Null, OwnedValue::as_ref);
            if let Some(text) = texts.again(db, table, (&row.key, n), now)? {
                set.push(format!("{name} = ?{place}"));
                now_is(text.clone());
                made.push(text);
            }
            continue;
        }
        let met = if column.kind.is_assigned() {
            donor
        } else {
            here.as_deref()
        };
        let now = met.and_then(|row| row.get(n)).map(OwnedValue::as_ref);
        if let Some(value) = column.kind.again(now, cell) {
            set.push(format!("{name} = ?{place}"));
            now_is(value.clone());
            made.push(value);
        }
    }
    if set.is_empty() {
        return Ok(false);
    }
    let mut values = row.key.clone();
    values.extend(made.iter().map(OwnedValue::as_ref));
    let update = format!("UPDATE {name} SET {} WHERE {condition}", set.join(", "));
    let old = here.unwrap_or_default();
    announce(Write::Update);
    if is_hidden {
        beside::update(connection, table, (&old, &new))?;
    } else {
        update_again(connection, table, (&update, &values), (&old, &new))?;
    }
    Ok(false)
}

/// Deletes a row, which may be hidden.
fn delete_again(
    connection: &Connection,
    table: &Table,
    key: &[Value<'_>],
    hidden: Option<Vec<OwnedValue>>,
) -> Result<()> {
    if let Some(row) = hidden {
        return beside::delete(connection, table, &row);
    }
    let (name, condition) = (table.quoted(), table.key_condition());
    let delete = format!("DELETE FROM {name} WHERE {condition}");
    connection.db().run(&delete, key)
}

/// Runs an UPDATE of one row; if that has no place with its new values, it goes beside the table.
fn update_again(
    connection: &Connection,
    table: &Table,
    (sql, values): (&str, &[Value<'_>]),
    rows: (&[OwnedValue], &[OwnedValue]),
) -> Result<()> {
    match connection.db().run(sql, values) {
        Err(error) if beside::has_no_place(table, &error) => {
            beside::update(connection, table, rows)
        }
        done => done,
    }
}

fn insert_again(
    connection: &Connection,
    table: &Table,
    cells: &[Cell<'_>],
    texts: &mut Texts,
) -> Result<()> {
    let db = connection.db();
    let mut values: Vec<OwnedValue> = cells
        .iter()
        .map(|cell| match cell {
            Cell::Value(value) => (*value).into(),
            Cell::Add(n) => OwnedValue::Int(clamped(*n)),
            Cell::Set(_) | Cell::Text(_) | Cell::Doc(_) => OwnedValue::Null,
        })
        .collect();
    let key: Vec<OwnedValue> = values.iter().take(table.at.key_columns).cloned().collect();
    let key: Vec<Value<'_>> = key.iter().map(OwnedValue::as_ref).collect();
    for (n, value) in values.iter_mut().enumerate() {
        // With all that was written to it later.
        if table.column_type(n).has_state()
            && let Some(text) = texts.again(db, table, (&key, n), Value::Null)?
        {
            *value = text;
        }
    }
    insert(connection, table, &values)
}

/// Inserts a row from its first column on.
fn insert(connection: &Connection, table: &Table, row: &[OwnedValue]) -> Result<()> {
    let columns = table.columns.iter().take(row.len());
    let columns = columns.filter(|c| !c.is_gone);
    let columns: Vec<String> = columns.map(|c| quote(&c.name)).collect();
    let values: Vec<Value<'_>> = row.iter().map(OwnedValue::as_ref).collect();
    let values = table.live_values(&values);
    let places = vec!["?"; columns.len()].join(", ");
    let insert = format!(
        "INSERT INTO {}({}) VALUES ({places})",
        table.quoted(),
        columns.join(", ")
    );
    match connection.db().run(&insert, &values) {
        Err(error) if beside::has_no_place(table, &error) => beside::insert(connection, table, row),
        done => done,
    }
}
