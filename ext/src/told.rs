//! Records of this file's own site that are told by an earlier one.
//!
//! A transaction of one row writes a record that is much like the one before it, so the log holds
//! what they share once (see [`nuda_core::told`]): a told row of `nuda_log` has, instead of a hash,
//! a number in `previous`, which says how many records before it lies the one, whole, by which
//! header and body are told. Whoever reads a body or a header asks for [`BODY`] or [`HEADER`]
//! and is given all of it. Only own records whose predecessor is in the log are told; whoever takes
//! a whole record away, or changes one, makes those whole that are told by it ([`make_whole`]).
//!
//! The writer remembers bases in memory. What it remembers is right if the log ends with the hash
//! that it remembers, which covers all before it, and a base is there unless it was collected.

use nuda_core::changeset::ChainHash;
use nuda_core::codec::Reader;
use nuda_core::hlc::Stamp;
use nuda_core::site::Seq;
use nuda_core::told::{self, Base};
use nuda_core::value::Value;

use crate::error::{Error, Result};
use crate::ffi::db::Db;
use crate::log::{self, PART_BITS};
use crate::record::Record;
use crate::shadow::damaged;

/// The body of a row of the log that is called `l`.
pub(crate) const BODY: &str = "CASE typeof(l.previous) WHEN 'integer' THEN nuda_told(l.body, \
     (SELECT b.body FROM main.nuda_log b WHERE b.id = l.id - (l.previous << 14))) ELSE l.body END";

/// The same of its header.
pub(crate) const HEADER: &str = "CASE typeof(l.previous) WHEN 'integer' THEN nuda_told(l.header, \
     (SELECT b.header FROM main.nuda_log b WHERE b.id = l.id - (l.previous << 14))) \
     ELSE l.header END";

const _: () = assert!(PART_BITS == 14);

/// A base is at most so many records before what is told by it. Collection makes at most so many
/// whole.
const REACH: Seq = 64;

/// Tables whose records the writer remembers a base for.
const TABLES: usize = 8;

/// The function behind [`BODY`] and [`HEADER`].
pub(crate) fn whole(told: Value<'_>, base: Value<'_>) -> Result<Vec<u8>> {
    match (told, base) {
        (Value::Blob(told), Value::Blob(base)) => {
            told::whole(base, told).map_err(|_| damaged("nuda_log"))
        }
        _ => Err(Error::corrupt(
            "a record of nuda_log is told by one that is not there; restore this replica from \
             another node's snapshot",
        )),
    }
}

/// A row of the log as it is stored.
pub(crate) struct Told {
    /// How many records before it its base lies.
    pub(crate) distance: Seq,
    pub(crate) header: Vec<u8>,
    pub(crate) body: Vec<u8>,
}

/// A whole record.
#[derive(Debug)]
struct Known {
    /// The table of its first row.
    table: u64,
    seq: Seq,
    header: Base,
    body: Base,
}

/// What the writer remembers of its site's records.
#[derive(Debug, Default)]
pub(crate) struct Bases {
    /// The site and the hash with which the log ended when the rest was right, and that record's stamp
    /// if it was written here.
    end: Option<(i64, ChainHash, Option<Stamp>)>,
    known: Vec<Known>,
}

impl Bases {
    /// A record that was the log's last, and its stamp.
    pub(crate) fn end(&self) -> Option<(ChainHash, Stamp)> {
        self.end.and_then(|(_, hash, stamp)| Some((hash, stamp?)))
    }

    /// Tells a record, which is about to become the log's last; `None` if it stays whole.
    pub(crate) fn tell(&mut self, db: Db, record: &Record, body: &[u8]) -> Result<Option<Told>> {
        if !record.may_be_told || body.len() > told::TOLD_BYTES {
            return Ok(None);
        }
        if !self.ends_before(record) {
            self.known.clear();
            self.remember_stored(db, record)?;
            self.end = Some((record.site_id, record.previous, None));
        }
        let table = first_table(body);
        let Some(base) = self.known.iter().find(|known| known.table == table) else {
            return Ok(None);
        };
        let distance = record.seq - base.seq;
        if distance > REACH || base.seq <= record.collected {
            return Ok(None);
        }
        let told = base.header.tell(&record.header).zip(base.body.tell(body));
        Ok(told
            .filter(|(header, told)| {
                (header.len() + told.len()) * 4 <= (record.header.len() + body.len()) * 3
            })
            .map(|(header, body)| Told {
                distance,
                header,
                body,
            }))
    }

    /// Whether what is remembered is of the records before this one.
    fn ends_before(&self, record: &Record) -> bool {
        let is_before = |(site_id, hash, _)| (site_id, hash) == (record.site_id, record.previous);
        self.end.is_some_and(is_before)
    }

    /// The log ends with this record now, which was stored whole unless it is `told`.
    pub(crate) fn written(&mut self, record: &Record, body: &[u8], hash: ChainHash, told: bool) {
        if !self.ends_before(record) {
            self.known.clear();
        }
        self.end = Some((record.site_id, hash, Some(record.stamp)));
        if !told {
            self.remember(record.seq, &record.header, body);
        }
    }

    fn remember(&mut self, seq: Seq, header: &[u8], body: &[u8]) {
        let table = first_table(body);
        self.known.retain(|known| known.table != table);
        if self.known.len() >= TABLES {
            self.known.remove(0);
        }
        if let (Some(header), Some(body)) = (Base::new(header), Base::new(body)) {
            self.known.push(Known {
                table,
                seq,
                header,
                body,
            });
        }
    }

    /// Reads the base of the log's last record, or that itself.
    fn remember_stored(&mut self, db: Db, record: &Record) -> Result<()> {
        let last = record.seq - 1;
        let seq = last.saturating_sub(record.last_told_by);
        if last == 0 || seq <= record.collected {
            return Ok(());
        }
        let mut query = db.prepare(
            "SELECT header, body FROM main.nuda_log WHERE id = ? AND hash IS NOT NULL \
             AND typeof(previous) <> 'integer' AND length(body) <= 4096",
        )?;
        query.bind(&[Value::Int(log::key(record.site_id, seq, 0))])?;
        if query.step()? {
            self.remember(seq, query.blob(0), query.blob(1));
        }
        Ok(())
    }
}

/// The number of the table that a body begins with.
fn first_table(body: &[u8]) -> u64 {
    let mut reader = Reader::new(body);
    match reader.byte("an item") {
        Ok(0) => reader.varint("a table").unwrap_or(u64::MAX),
        _ => u64::MAX,
    }
}

/// Makes all records of a site whole that follow `seq`: they are about to change.
pub(crate) fn make_whole(db: Db, site_id: i64, seq: Seq) -> Result<()> {
    let end = log::key(site_id + 1, 0, 0);
    make_whole_until(db, log::key(site_id, seq + 1, 0), end, end)
}

/// The records of a site until `seq` are about to go: makes those whole that stay and are told
/// by one of them.
pub(crate) fn let_go(db: Db, site_id: i64, seq: Seq) -> Result<()> {
    let first = log::key(site_id, seq + 1, 0);
    make_whole_until(db, first, log::key(site_id, seq + 1 + REACH, 0), first)
}

/// Of the rows from `first` to before `end`, those that are told by one before `base`. A base is
/// whole, so the order does not matter.
fn make_whole_until(db: Db, first: i64, end: i64, base: i64) -> Result<()> {
    db.run(
        &format!(
            "UPDATE main.nuda_log AS l SET header = {HEADER}, body = {BODY}, previous = NULL \
             WHERE id >= ? AND id < ? AND typeof(previous) = 'integer' \
             AND id - (previous << 14) < ?"
        ),
        &[Value::Int(first), Value::Int(end), Value::Int(base)],
    )
}

/// What reads the bodies of the rows of the log between two keys.
pub(crate) fn bodies(order: &str) -> String {
    format!("SELECT {BODY} FROM main.nuda_log l WHERE id BETWEEN ? AND ? {order}")
}
