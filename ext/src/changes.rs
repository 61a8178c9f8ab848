//! `nuda_changes_since(vector)`: what somebody who has seen `vector` is missing, ready for
//! `nuda_apply`. And `nuda_changes`: the same log, readable, one row per changed row.
//!
//! Rows come in an order in which they can be applied: by stamp, which respects causality. What is
//! stored here and waits is handed on like what is applied, but it is no change yet.

use std::rc::Rc;

use nuda_core::changeset::{Header, Part};
use nuda_core::row::Change;
use nuda_core::site::{Dot, PartitionId, Seq, Site};
use nuda_core::value::{OwnedValue, Value};
use nuda_core::version_vector::VersionVector;

use crate::concurrent::for_each_row;
use crate::conflicts::display;
use crate::connection::Connection;
use crate::error::{Error, Result};
use crate::ffi::db::Db;
use crate::ffi::rows_table::{Rows, Source};
use crate::log;
use crate::shadow::{self, Sites, State, hash_from, to_i64};
use crate::told;
use crate::tracked::Tables;
use crate::waiting;

/// `SELECT site, seq, part, last, changeset FROM nuda_changes_since('site:seq,...')`.
pub(crate) static CHANGES_SINCE: Source = Source {
    name: "nuda_changes_since",
    columns: &["site", "seq", "part", "last", "changeset"],
    parameters: &["vector"],
    open: open_since,
};

/// `SELECT * FROM nuda_changes`: who changed what, when.
pub(crate) static CHANGES: Source = Source {
    name: "nuda_changes",
    columns: &[
        "site", "seq", "at_ms", "author", "table", "change", "key", "columns", "level",
    ],
    parameters: &["since"],
    open: open_feed,
};

/// The newest changeset of the own site.
pub(crate) fn own_head(db: Db, state: &State) -> Result<log::Head> {
    let mut query = db.prepare(log::LAST_RECORD)?;
    log::head(db, &mut query, state.site_id)
}

/// The vector of all that was applied.
pub(crate) fn applied(db: Db, state: &State, sites: &Sites) -> Result<VersionVector> {
    let head = own_head(db, state)?;
    Ok(sites.vector((state.site_id, head.seq)))
}

fn parse_vector(value: Option<&OwnedValue>) -> Result<VersionVector> {
    let text = match value {
        None | Some(OwnedValue::Null) => String::new(),
        Some(OwnedValue::Text(text)) => String::from_utf8_lossy(text).into_owned(),
        Some(_) => {
            return Err(Error::refused(
                "a version vector is text: 'site:seq,site:seq'",
            ));
        }
    };
    VersionVector::parse(&text).ok_or_else(|| {
        Error::refused(format!(
            "'{text}' is no version vector; it is 'site:seq,site:seq'"
        ))
    })
}

/// Walks the log in the order of stamps.
pub(crate) struct Walk {
    db: Db,
    cursors: Vec<Cursor>,
}

/// The next record of one site.
struct Cursor {
    site: Site,
    site_id: i64,
    next: Seq,
    last: Seq,
    header: Option<Header>,
}

impl Walk {
    /// What is applied and was not `since`.
    pub(crate) fn new(db: Db, since: &VersionVector) -> Result<Self> {
        let state = shadow::state(db)?;
        let sites = Sites::load(db)?;
        let applied = applied(db, &state, &sites)?;
        Self::up_to(db, since, &sites, &applied)
    }

    /// The same, and what waits.
    fn of_stored(db: Db, since: &VersionVector) -> Result<Self> {
        let state = shadow::state(db)?;
        let sites = Sites::load(db)?;
        let mut stored = applied(db, &state, &sites)?;
        stored.join(&waiting::vector(db)?);
        Self::up_to(db, since, &sites, &stored)
    }

    fn up_to(db: Db, since: &VersionVector, sites: &Sites, upto: &VersionVector) -> Result<Self> {
        let frontier = crate::apply::frontier(db)?;
        let mut walk = Self {
            db,
            cursors: Vec::new(),
        };
        for site in sites.iter() {
            let (from, last) = (since.get(site.site), upto.get(site.site));
            if from >= last {
                continue;
            }
            if from < frontier.get(site.site) {
                return Err(Error::refused(format!(
                    "changes of {} after {from} have been collected, all members have them; \
                     start from a snapshot of the file",
                    site.site
                )));
            }
            let mut cursor = Cursor {
                site: site.site,
                site_id: site.id,
                next: from + 1,
                last,
                header: None,
            };
            walk.load(&mut cursor)?;
            walk.cursors.push(cursor);
        }
        Ok(walk)
    }

    fn load(&self, cursor: &mut Cursor) -> Result<()> {
        cursor.header = None;
        if cursor.next > cursor.last {
            return Ok(());
        }
        let row = self.db.first(
            &format!("SELECT {} FROM main.nuda_log l WHERE id = ?", told::HEADER),
            &[Value::Int(log::key(cursor.site_id, cursor.next, 0))],
        )?;
        match row.as_deref() {
            Some([OwnedValue::Blob(header)]) => {
                cursor.header = Some(Header::decode(header)?);
                Ok(())
            }
            _ => Err(Error::refused(format!(
                "{}:{} is not in the log any more; start from a snapshot of the file",
                cursor.site, cursor.next
            ))),
        }
    }

    /// The next record: its header and its site's id.
    pub(crate) fn next(&mut self) -> Result<Option<(Header, i64)>> {
        let first = self
            .cursors
            .iter()
            .enumerate()
            .filter_map(|(n, c)| c.header.as_ref().map(|h| ((h.stamp, c.site), n)))
            .min();
        let Some((_, n)) = first else { return Ok(None) };
        let mut cursor = self.cursors.remove(n);
        let header = cursor.header.take();
        let site_id = cursor.site_id;
        cursor.next += 1;
        self.load(&mut cursor)?;
        self.cursors.insert(n, cursor);
        Ok(header.map(|header| (header, site_id)))
    }
}

struct Since {
    walk: Walk,
    partition: PartitionId,
    record: Option<(Dot, i64, u32)>,
}

fn open_since(connection: &Rc<Connection>, parameters: &[OwnedValue]) -> Result<Box<dyn Rows>> {
    let db = connection.db();
    let since = parse_vector(parameters.first())?;
    let partition = shadow::state(db)?.partition;
    Ok(Box::new(Since {
        walk: Walk::of_stored(db, &since)?,
        partition,
        record: None,
    }))
}

impl Rows for Since {
    fn next_row(&mut self) -> Result<Option<Vec<OwnedValue>>> {
        if self.record.is_none() {
            let Some((header, site_id)) = self.walk.next()? else {
                return Ok(None);
            };
            self.record = Some((header.dot, site_id, 0));
        }
        let Some((dot, site_id, part)) = self.record.take() else {
            return Ok(None);
        };
        let (encoded, is_last) = encoded_part(self.walk.db, self.partition, dot, site_id, part)?;
        if !is_last {
            self.record = Some((dot, site_id, part + 1));
        }
        Ok(Some(vec![
            OwnedValue::Text(dot.site.to_string().into_bytes()),
            OwnedValue::Int(to_i64(dot.seq)),
            OwnedValue::Int(i64::from(part)),
            OwnedValue::Int(i64::from(is_last)),
            OwnedValue::Blob(encoded),
        ]))
    }
}

/// One part of a record as it travels, and whether it is the last.
pub(crate) fn encoded_part(
    db: Db,
    partition: PartitionId,
    dot: Dot,
    site_id: i64,
    part: u32,
) -> Result<(Vec<u8>, bool)> {
    let mut query = db.prepare(&format!(
        "SELECT {}, {}, {}, hash FROM main.nuda_log l WHERE id = ?",
        told::HEADER,
        log::PREVIOUS,
        told::BODY
    ))?;
    query.bind(&[Value::Int(log::key(site_id, dot.seq, part))])?;
    if !query.step()? {
        return Err(shadow::damaged("nuda_log"));
    }
    let is_last = query.value(3) != Value::Null;
    let first = if part == 0 {
        Some((hash_from(query.blob(1))?, query.blob(0)))
    } else {
        None
    };
    let last = if is_last {
        Some(hash_from(query.blob(3))?)
    } else {
        None
    };
    let encoded = Part {
        partition,
        dot,
        part,
        first,
        last,
        body: query.blob(2),
    }
    .encode();
    Ok((encoded, is_last))
}

struct Feed {
    walk: Walk,
    tables: Rc<Tables>,
    ready: std::vec::IntoIter<Vec<OwnedValue>>,
}

fn open_feed(connection: &Rc<Connection>, parameters: &[OwnedValue]) -> Result<Box<dyn Rows>> {
    let db = connection.db();
    let mut since = parse_vector(parameters.first())?;
    since.join(&crate::apply::frontier(db)?);
    Ok(Box::new(Feed {
        walk: Walk::new(db, &since)?,
        tables: connection.tables()?,
        ready: Vec::new().into_iter(),
    }))
}

impl Rows for Feed {
    fn next_row(&mut self) -> Result<Option<Vec<OwnedValue>>> {
        loop {
            if let Some(row) = self.ready.next() {
                return Ok(Some(row));
            }
            let Some((header, site_id)) = self.walk.next()? else {
                return Ok(None);
            };
            self.ready = self.read(&header, site_id)?.into_iter();
        }
    }
}

impl Feed {
    fn read(&self, header: &Header, site_id: i64) -> Result<Vec<Vec<OwnedValue>>> {
        let mut query = self.walk.db.prepare(&told::bodies("ORDER BY id"))?;
        query.bind(&[
            Value::Int(log::key(site_id, header.dot.seq, 0)),
            Value::Int(log::key(site_id, header.dot.seq + 1, 0) - 1),
        ])?;
        let text = |text: &str| OwnedValue::Text(text.as_bytes().to_vec());
        let mut rows = Vec::new();
        while query.step()? {
            for_each_row(query.blob(0), |number, row| {
                if matches!(&row.change, Change::Update(cells) if cells.is_empty()) {
                    // It only keeps alive what another row refers to.
                    return;
                }
                let table = self.tables.get(number);
                let name = table.map_or_else(|| format!("table {number}"), |t| t.name.clone());
                let column = |n: usize| {
                    table
                        .and_then(|t| t.columns.get(n))
                        .map_or_else(|| n.to_string(), |c| c.name.clone())
                };
                let (change, columns) = match &row.change {
                    Change::Insert(cells) => ("insert", (0..cells.len()).map(column).collect()),
                    Change::Update(cells) => {
                        ("update", cells.iter().map(|(n, _)| column(*n)).collect())
                    }
                    Change::Delete => ("delete", Vec::new()),
                };
                let key: Vec<String> = row.key.iter().map(|value| display(*value)).collect();
                rows.push(vec![
                    text(&header.dot.site.to_string()),
                    OwnedValue::Int(to_i64(header.dot.seq)),
                    OwnedValue::Int(to_i64(header.stamp.millis())),
                    text(&header.author),
                    text(&name),
                    text(change),
                    text(&key.join(", ")),
                    text(&columns.join(", ")),
                    text(header.level.word()),
                ]);
            })?;
        }
        Ok(rows)
    }
}
