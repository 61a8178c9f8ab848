//! `nuda_apply`: delivering changesets in order, whole, exactly once.
//!
//! A changeset is applied when its predecessor and everything it had seen have been, and when
//! the tables it changes are here in its version; until then it waits, whole, in its place in
//! the log (see [`crate::waiting`], as do the parts of a large one). It is checked against its
//! hash chain before any row is touched, and its record, its rows and the version vector change
//! in one transaction.

use nuda_core::changeset::{ChainHash, Header, Part};
use nuda_core::codec::Reader;
use nuda_core::hlc::Stamp;
use nuda_core::merge::Rank;
use nuda_core::row::{BodyReader, Item};
use nuda_core::site::{Dot, PartitionId, Seq, Site};
use nuda_core::value::{OwnedValue, Value};
use nuda_core::version_vector::VersionVector;

use crate::arrive;
use crate::concurrent::LogIndex;
use crate::connection::Connection;
use crate::definition::SchemaChange;
use crate::error::{Error, Result};
use crate::ffi::db::{Db, Setting};
use crate::fits::{check_types, of_live_columns};
use crate::guard;
use crate::images::{self, Images, Order};
use crate::log;
use crate::net::NetEffect;
use crate::parked::Parked;
use crate::record;
use crate::replaced;
use crate::rows::{Applying, RowStatements};
use crate::savepoint::atomically;
use crate::shadow::{self, Sites, State, damaged, hash_from, to_i64};
use crate::stored;
use crate::visible::{self, Touched};
use crate::waiting::{self, Content, Whole};

/// What the applier remembers between calls.
#[derive(Debug, Default)]
pub(crate) struct Applier {
    rows: RowStatements,
    index: LogIndex,
}

/// What became of a changeset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Applied, and with it this many in all that had waited.
    Applied(u64),
    /// Seen before.
    Duplicate,
    /// Kept until what it needs is here.
    Waiting(Need, String),
    /// It had not seen what all members had, and cannot be merged any more.
    Stale(String),
    /// Two different changesets bear this name.
    Fork(String),
    /// Its parts are all here and do not match its hash. They are dropped.
    Corrupt(String),
}

/// What a changeset that waits needs, for programs: `nuda_apply` answers it as `needs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// The rest of its parts.
    Parts,
    /// Changesets that it follows.
    Changes,
    /// A table as others have it; what is in the way here has to go.
    Schema,
    /// A newer version of this program.
    Upgrade,
    /// That its node is removed: it can be applied nowhere.
    Removal,
}

impl Need {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Parts => "parts",
            Self::Changes => "changes",
            Self::Schema => "schema",
            Self::Upgrade => "upgrade",
            Self::Removal => "removal",
        }
    }
}

/// Why a changeset is not applied now.
pub(crate) enum Stop {
    /// Until something else is here.
    Wait(Need, String),
    /// It contradicts what is here under its name.
    Fork(String),
    /// It had not seen what all members had, and cannot be merged any more.
    Stale(String),
    /// Its content is not what its hash says.
    Corrupt(String),
    /// For this error.
    Fail(Error),
}

impl Stop {
    fn into_outcome(self) -> Result<Outcome> {
        match self {
            Self::Wait(need, why) => Ok(Outcome::Waiting(need, why)),
            Self::Fork(why) => Ok(Outcome::Fork(why)),
            Self::Stale(why) => Ok(Outcome::Stale(why)),
            Self::Corrupt(why) => Ok(Outcome::Corrupt(why)),
            Self::Fail(error) => Err(error),
        }
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Fail(error)
    }
}

impl From<nuda_core::error::DecodeError> for Stop {
    fn from(error: nuda_core::error::DecodeError) -> Self {
        if error.is_newer() {
            Self::Wait(Need::Upgrade, error.to_string())
        } else {
            Self::Fail(error.into())
        }
    }
}

/// Applies an encoded part. Answers its name and what became of it. A changeset that had not
/// seen all of `must_cover` is stale, besides one that lacks what was collected here.
pub(crate) fn apply(
    connection: &Connection,
    bytes: &[u8],
    must_cover: &VersionVector,
) -> Result<(Dot, Outcome)> {
    let part = decode(bytes)?;
    let outcome = while_foreign(connection, || {
        deliver(connection, &mut Known::read(connection)?, &part, must_cover)
    });
    outcome.map(|outcome| (part.dot, outcome))
}

/// Applies parts one after the other as [`apply`] would, reading only once what all of them need. Answers the
/// first that contradicts what is here, after which nothing is applied. `list`: each with its length before it.
pub(crate) fn apply_all(connection: &Connection, list: &[u8]) -> Result<Option<(Dot, Outcome)>> {
    let nothing = VersionVector::new();
    while_foreign(connection, || {
        let mut known = Known::read(connection)?;
        let mut list = Reader::new(list);
        while !list.is_empty() {
            // Nothing is allocated by that length.
            let part = decode(list.sized("a changeset", usize::MAX)?)?;
            let outcome = deliver(connection, &mut known, &part, &nothing)?;
            if let Outcome::Stale(_) | Outcome::Fork(_) | Outcome::Corrupt(_) = outcome {
                return Ok(Some((part.dot, outcome)));
            }
        }
        Ok(None)
    })
}

fn decode(bytes: &[u8]) -> Result<Part<'_>> {
    let part = Part::decode(bytes)?;
    if let Some((_, header)) = &part.first
        && Header::decode(header)?.dot != part.dot
    {
        return Err(Error::corrupt(
            "a changeset whose header bears another name; refused",
        ));
    }
    Ok(part)
}

/// Runs what brings others' changesets into the tables, whole or not at all.
fn while_foreign<T>(connection: &Connection, bring: impl FnOnce() -> Result<T>) -> Result<T> {
    let db = connection.db();
    guard::prepare(connection, connection.is_dedicated())?;
    let foreign_keys = db.switch(Setting::ForeignKeys, false)?;
    let done = connection.while_applying(|| {
        atomically(db, || {
            visible::settle_own(connection)?;
            bring()
        })
    });
    db.switch(Setting::ForeignKeys, foreign_keys)?;
    if done.is_err() || !db.is_autocommit() {
        forget_states(connection);
    }
    done
}

/// What was applied is rolled back, or may be.
fn forget_states(connection: &Connection) {
    if let Ok(mut applier) = connection.applier.try_borrow_mut() {
        applier.index.states.forget();
    }
}

fn deliver(
    connection: &Connection,
    known: &mut Known,
    part: &Part<'_>,
    must_cover: &VersionVector,
) -> Result<Outcome> {
    let db = connection.db();
    if known.partition != part.partition {
        return Err(Error::refused(format!(
            "this changeset belongs to partition {}, the file is partition {}",
            part.partition, known.partition
        )));
    }
    if known.sites.by_site(part.dot.site).is_none() {
        shadow::add_site(db, part.dot.site)?;
        known.sites = Sites::load(db)?;
    }
    let Known { sites, ours, .. } = known;
    let own = sites
        .by_id(ours.site_id)
        .ok_or_else(|| damaged("nuda_site"))?
        .site;
    if part.dot.site == own {
        if part.dot.seq <= ours.head.seq {
            return duplicate(db, sites, part);
        }
        // Others have more of this site than this file: it lost its latest commits. They
        // come back as a foreign site's, and this replica goes on under a new one.
        record::renew_site(connection, &shadow::state(db)?)?;
        *known = Known::read(connection)?;
        return deliver(connection, known, part, must_cover);
    }
    let row = sites
        .by_site(part.dot.site)
        .ok_or_else(|| damaged("nuda_site"))?;
    if row.stopped {
        return Ok(Outcome::Fork(format!("site {} is stopped", part.dot.site)));
    }
    if part.dot.seq <= row.applied {
        return duplicate(db, sites, part);
    }
    let site_id = row.id;
    let is_next = part.dot.seq == row.applied + 1;
    if let (true, Some(whole)) = (is_next, Whole::arrived(part)?) {
        waiting::drop_changeset(db, site_id, part.dot.seq)?;
        return match apply_whole(connection, sites, ours, &whole, must_cover) {
            Ok(()) => {
                let drained = drain(connection, sites, ours, None)?;
                Ok(Outcome::Applied(1 + drained.applied))
            }
            Err(Stop::Wait(need, why)) => {
                waiting::keep(db, site_id, part, &why)?;
                if need == Need::Removal {
                    waiting::refuse(db, site_id, part.dot.seq, &why)?;
                }
                stored::mark(db, sites, ours.own(), Some((part.dot, must_cover)))?;
                Ok(Outcome::Waiting(need, why))
            }
            Err(stop) => stop.into_outcome(),
        };
    }
    if waiting::seen(db, site_id, part.dot.seq)?.is_none() {
        let why = if is_next {
            "the rest of it has not arrived"
        } else {
            "its predecessor has not arrived"
        };
        waiting::keep(db, site_id, part, why)?;
        if part.last.is_none() && !waiting::has_later_part(db, site_id, part)? {
            // The rest follows; looking at what waits for every part would read it all each time.
            return Ok(Outcome::Waiting(Need::Parts, why.to_owned()));
        }
    }
    if is_next {
        let drained = drain(connection, sites, ours, Some((part.dot, must_cover)))?;
        if let Some(stop) = drained.stop {
            let outcome = stop.into_outcome()?;
            if matches!(outcome, Outcome::Waiting(..)) {
                stored::mark(db, sites, ours.own(), Some((part.dot, must_cover)))?;
            } else {
                waiting::drop_changeset(db, site_id, part.dot.seq)?;
            }
            return Ok(outcome);
        }
        if drained.applied > 0 {
            return Ok(Outcome::Applied(drained.applied));
        }
    } else if let Some(stop) = stored::mark(db, sites, ours.own(), Some((part.dot, must_cover)))? {
        return stop.into_outcome();
    }
    let need = if is_next { Need::Parts } else { Need::Changes };
    let why = waiting::reason(db, site_id, part.dot.seq)?;
    Ok(Outcome::Waiting(need, why))
}

pub(crate) fn not_its_hash(dot: Dot) -> String {
    format!("the content of {dot} does not match its hash; refused")
}

pub(crate) fn does_not_follow(dot: Dot) -> String {
    format!("{dot} does not follow what is known here of its site")
}

/// What is known of the file. Applying keeps it right.
struct Known {
    partition: PartitionId,
    sites: Sites,
    ours: Ours,
}

impl Known {
    fn read(connection: &Connection) -> Result<Self> {
        let db = connection.db();
        let state = shadow::state(db)?;
        Ok(Self {
            partition: state.partition,
            sites: Sites::load(db)?,
            ours: Ours::of(connection, &state)?,
        })
    }
}

/// What others' changesets do not change: what this file wrote itself.
struct Ours {
    site_id: i64,
    head: log::Head,
    /// See [`State`].
    stamp: Stamp,
}

impl Ours {
    fn of(connection: &Connection, state: &State) -> Result<Self> {
        Ok(Self {
            site_id: state.site_id,
            head: own_head(connection, state)?,
            stamp: state.stamp,
        })
    }

    fn own(&self) -> (i64, Seq) {
        (self.site_id, self.head.seq)
    }
}

/// The latest changeset of the own site.
fn own_head(connection: &Connection, state: &State) -> Result<log::Head> {
    let db = connection.db();
    let mut query = db.prepare(log::LAST_RECORD)?;
    log::head(db, &mut query, state.site_id)
}

/// Seen before: the same, or evidence of a fork?
fn duplicate(db: Db, sites: &Sites, part: &Part<'_>) -> Result<Outcome> {
    let Some(hash) = part.last else {
        return Ok(Outcome::Duplicate);
    };
    match arrive::stored_hash(db, sites, part.dot)? {
        Some(stored) if stored != hash => Ok(Outcome::Fork(format!(
            "{} is known here with another content; a copied or restored file wrote under the \
             same site",
            part.dot
        ))),
        _ => Ok(Outcome::Duplicate),
    }
}

/// What [`drain`] did.
#[derive(Default)]
struct Drained {
    /// Changesets applied.
    applied: u64,
    /// What became of the one that was asked about, if it was whole and not applied.
    stop: Option<Stop>,
}

/// `nuda_retry()`: applies what waits and can be applied now, for the schema has changed, or the
/// program. Answers how many changesets.
pub(crate) fn retry(connection: &Connection) -> Result<u64> {
    while_foreign(connection, || {
        let Known {
            mut sites, ours, ..
        } = Known::read(connection)?;
        Ok(drain(connection, &mut sites, &ours, None)?.applied)
    })
}

/// Applies what waits and can be applied now. `asked`: a changeset, and what it must have seen.
fn drain(
    connection: &Connection,
    sites: &mut Sites,
    ours: &Ours,
    asked: Option<(Dot, &VersionVector)>,
) -> Result<Drained> {
    let db = connection.db();
    let mut drained = Drained::default();
    let nothing = VersionVector::new();
    loop {
        let mut progress = false;
        for site_id in waiting::sites(db)? {
            while let Some(whole) = waiting::next_whole(db, sites, site_id)? {
                let dot = whole.header.dot;
                let is_asked = asked.filter(|(asked, _)| *asked == dot);
                let must_cover = is_asked.map_or(&nothing, |(_, vector)| vector);
                let Err(stop) = apply_whole(connection, sites, ours, &whole, must_cover) else {
                    waiting::forget(db, site_id, dot.seq)?;
                    drained.applied += 1;
                    progress = true;
                    continue;
                };
                keep_waiting(db, site_id, dot.seq, &stop)?;
                if is_asked.is_some() {
                    drained.stop = Some(stop);
                } else if let Stop::Fail(error) = stop
                    && !error.is_corrupt()
                {
                    return Err(error);
                }
                break;
            }
        }
        if !progress {
            break;
        }
    }
    if drained.applied > 0 {
        // What others were waiting for may be here now.
        stored::mark(db, sites, ours.own(), None)?;
    }
    Ok(drained)
}

/// Notes why a changeset that waits cannot be applied now: it may be for another reason than when it
/// came. Others go on, whatever is wrong with this one.
fn keep_waiting(db: Db, site_id: i64, seq: Seq, stop: &Stop) -> Result<()> {
    match stop {
        Stop::Wait(Need::Removal, why) | Stop::Fork(why) => waiting::refuse(db, site_id, seq, why),
        Stop::Wait(_, why) => waiting::note(db, site_id, seq, why),
        // Its node is told so when it sends it again, and makes it again when it begins anew.
        Stop::Stale(_) => waiting::drop_from(db, site_id, seq),
        // Whoever has the right one may send it again.
        Stop::Corrupt(_) => waiting::drop_changeset(db, site_id, seq),
        Stop::Fail(error) if error.is_corrupt() => {
            waiting::refuse(db, site_id, seq, &error.message)
        }
        Stop::Fail(_) => Ok(()),
    }
}

/// What a changeset had seen, not counting its own site, and what is before it.
fn seen_by(
    db: Db,
    sites: &Sites,
    header: &Header,
) -> std::result::Result<(log::Head, VersionVector), Stop> {
    let site = sites
        .by_site(header.dot.site)
        .ok_or_else(|| damaged("nuda_site"))?;
    let head = log::collected_head(db, site.id)?;
    let mut seen = sites.decode_seen(&head.seen.0)?;
    seen.join(&header.rose);
    Ok((head, seen))
}

/// Whether the changeset is too old to be merged: it lacks what was collected here, or must have
/// been seen. `seen`: what it had seen of other sites.
pub(crate) fn lacks(
    db: Db,
    header: &Header,
    mut seen: VersionVector,
    must_cover: &VersionVector,
) -> Result<Option<String>> {
    seen.set(header.dot.site, header.dot.seq - 1);
    let is_covered = seen.covers(must_cover) && seen.covers(&frontier(db)?);
    Ok((!is_covered).then(|| {
        format!(
            "{} was written without knowing changes that all members had; its node must be \
             re-seeded",
            header.dot
        )
    }))
}

/// What has been collected here.
pub(crate) fn frontier(db: Db) -> Result<VersionVector> {
    let text = db
        .text("SELECT frontier FROM main.nuda_state", &[])?
        .unwrap_or_default();
    VersionVector::parse(&text).ok_or_else(|| damaged("nuda_state"))
}

/// Applies a whole changeset whose turn it is.
fn apply_whole(
    connection: &Connection,
    sites: &mut Sites,
    ours: &Ours,
    whole: &Whole<'_>,
    must_cover: &VersionVector,
) -> std::result::Result<(), Stop> {
    let db = connection.db();
    let (head, seen) = seen_by(db, sites, &whole.header)?;
    if let Some(stale) = lacks(db, &whole.header, seen.clone(), must_cover)? {
        return Err(Stop::Stale(stale));
    }
    if whole.previous != head.hash {
        return Err(Stop::Fork(does_not_follow(whole.header.dot)));
    }
    if !whole.is_sound {
        return Err(Stop::Corrupt(not_its_hash(whole.header.dot)));
    }
    let here = sites.vector((ours.site_id, ours.head.seq));
    let mut rose = whole.header.rose.iter();
    if let Some((site, seq)) = rose.find(|(site, seq)| here.get(*site) < *seq) {
        let why = format!("it follows {site}:{seq}, which has not arrived");
        return Err(Stop::Wait(Need::Changes, why));
    }
    if whole.header.stamp <= head.stamp {
        return Err(Error::corrupt("a stamp that runs backwards; refused").into());
    }
    db.run("SAVEPOINT nuda_changeset", &[])?;
    match apply_rows(connection, sites, ours, whole, &seen) {
        Ok(()) => db.run("RELEASE nuda_changeset", &[])?,
        Err(stop) => {
            forget_states(connection);
            db.exec("ROLLBACK TO nuda_changeset; RELEASE nuda_changeset")?;
            connection.forget_tables();
            return Err(stop);
        }
    }
    let id = sites
        .by_site(whole.header.dot.site)
        .ok_or_else(|| damaged("nuda_site"))?
        .id;
    sites.set_applied(id, whole.header.dot.seq, whole.header.stamp);
    Ok(())
}

fn apply_rows(
    connection: &Connection,
    sites: &Sites,
    ours: &Ours,
    whole: &Whole<'_>,
    seen: &VersionVector,
) -> std::result::Result<(), Stop> {
    let db = connection.db();
    let before = sites.latest().max(ours.stamp).max(ours.head.stamp);
    let latest = before.max(whole.header.stamp);
    let from = whole.header.dot.site;
    let id = sites.by_site(from).ok_or_else(|| damaged("nuda_site"))?.id;
    let mut applier = connection
        .applier
        .try_borrow_mut()
        .map_err(|_| Error::internal("apply inside apply"))?;
    let applier = &mut *applier;
    let here = sites.vector((ours.site_id, ours.head.seq));
    let is_concurrent = here
        .iter()
        .any(|(site, seq)| site != from && seq > seen.get(site));
    if is_concurrent {
        applier.index.refresh(db, sites, ours.site_id)?;
    }
    let seen_here = sites.encode_seen(seen);
    let (mut place, mut taken, mut parked) = (0, Images::default(), Parked::default());
    let rank = Rank {
        stamp: whole.header.stamp,
        site: from,
    };
    let mut touched = Touched::new(connection.tables()?, Some(rank));
    for number in 0..whole.parts {
        let body = whole.body(db, id, number)?;
        let mut net = NetEffect::default();
        let mut applying = Applying {
            db,
            sites,
            header: &whole.header,
            seen,
            index: is_concurrent.then_some(&mut applier.index),
            guard: &connection.guard,
            statements: &mut applier.rows,
            images: &mut taken,
            parked: &mut parked,
            touched: &mut touched,
            net: &mut net,
        };
        apply_body(connection, &mut applying, &body, &mut place)?;
        if number + 1 == whole.parts {
            applying.put_back()?;
        }
        let order = Order::applied(latest, here.total(), number);
        let images = images::with_order(&net.images, order);
        let key = log::key(id, whole.header.dot.seq, number);
        match &whole.content {
            Content::Arrived(part) => log::insert(db, key, part, Some(&seen_here), &images)?,
            Content::Waiting => log::complete(db, key, number == 0, &seen_here, &images)?,
        }
        if is_concurrent {
            // A later part may bring back what this one hid.
            applier.index.add_images(key, &images)?;
        }
    }
    replaced::settle(connection)?;
    taken.flush(db)?;
    db.run(
        "UPDATE main.nuda_site SET applied = ?, hash = ?, seen = ?, stamp = ? WHERE id = ?",
        &[
            Value::Int(to_i64(whole.header.dot.seq)),
            Value::Blob(&whole.hash.0),
            Value::Blob(&seen_here),
            Value::Int(to_i64(whole.header.stamp.get())),
            Value::Int(id),
        ],
    )?;
    Ok(())
}

fn apply_body(
    connection: &Connection,
    applying: &mut Applying<'_>,
    body: &[u8],
    place: &mut u64,
) -> std::result::Result<(), Stop> {
    let mut reader = BodyReader::new(body);
    let mut table = None;
    while let Some(item) = reader.next_item()? {
        match item {
            Item::Table(at) => table = Some(arrive::local_table(connection, &at)?),
            Item::Row(mut row) => {
                let table = table.as_ref().ok_or_else(|| Error::corrupt("no table"))?;
                *place += 1;
                // A row of a table that is no longer replicated concerns nobody here.
                if let Some(table) = table {
                    check_types(table, &row.change)?;
                    of_live_columns(table, &mut row);
                    applying.apply(table, &row, *place)?;
                }
            }
            Item::Schema(bytes) => match SchemaChange::decode(bytes)? {
                Some(change) => {
                    arrive::refuse_alone(connection, &change, applying.header.dot.site)?;
                    let out = arrive::schema(connection, &change)?;
                    guard::prepare(connection, connection.is_dedicated())?;
                    *applying.statements = RowStatements::default();
                    if let SchemaChange::Define(definition) = &change
                        && let Some(table) = connection.tables()?.get(definition.table.at.number)
                    {
                        applying.touched.redefined(connection.db(), table, out)?;
                    }
                    applying.touched.attached.redefined(connection.tables()?);
                }
                None => {
                    return Err(Stop::Wait(
                        Need::Upgrade,
                        "it needs a newer version of NUDA; upgrade this node".to_owned(),
                    ));
                }
            },
        }
    }
    Ok(())
}

/// `nuda_head(site, seq)`: the chain hash there, if it is known.
pub(crate) fn head_hash(db: Db, site: Site, seq: Seq) -> Result<Option<ChainHash>> {
    let sites = Sites::load(db)?;
    if let Some(hash) = arrive::stored_hash(db, &sites, Dot { site, seq })? {
        return Ok(Some(hash));
    }
    match sites.by_site(site) {
        Some(row) if waiting::seen(db, row.id, seq)?.is_some() => {
            Ok(Some(waiting::stored(db, row.id, seq)?.0))
        }
        _ => Ok(None),
    }
}

impl From<arrive::NotHere> for Stop {
    fn from(not_here: arrive::NotHere) -> Self {
        match not_here {
            arrive::NotHere::Wait(why) => Self::Wait(Need::Schema, why),
            arrive::NotHere::Never(why) => Self::Wait(Need::Removal, why),
            arrive::NotHere::Fail(error) => Self::Fail(error),
        }
    }
}

/// Reads a hash column that may be NULL.
pub(crate) fn optional_hash(row: Option<&[OwnedValue]>) -> Result<Option<ChainHash>> {
    match row {
        Some([OwnedValue::Blob(hash)]) => hash_from(hash).map(Some),
        _ => Ok(None),
    }
}
