//! `nuda_apply`: delivering changesets in order, whole, exactly once.
//!
//! A changeset is applied when its predecessor and everything it had seen have been, and when
//! the tables it changes are here in its version; until then it waits, whole, in its place in
//! the log (see [`crate::waiting`], as do the parts of a large one). It is checked against its
//! hash chain before any row is touched, and its record, its rows and the version vector change
//! in one transaction.

use nuda_core::changeset::{ChainHash, Header, Part};
use nuda_core::hlc::Stamp;
use nuda_core::merge::Rank;
use nuda_core::row::{BodyReader, Item};
use nuda_core::site::{Dot, Seq, Site};
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
use crate::images::{self, Images};
use crate::log;
use crate::net::NetEffect;
use crate::parked::Parked;
use crate::record;
use crate::replaced;
use crate::rows::{Applying, RowStatements};
use crate::shadow::{self, Sites, State, damaged, hash_from, to_i64};
use crate::track::atomically;
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
}

impl Need {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Parts => "parts",
            Self::Changes => "changes",
            Self::Schema => "schema",
            Self::Upgrade => "upgrade",
        }
    }
}

/// Why a changeset is not applied now.
pub(crate) enum Stop {
    /// Until something else is here.
    Wait(Need, String),
    /// It contradicts what is here under its name.
    Fork(String),
    /// For this error.
    Fail(Error),
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
    let part = Part::decode(bytes)?;
    if let Some((_, header)) = &part.first
        && Header::decode(header)?.dot != part.dot
    {
        return Err(Error::corrupt(
            "a changeset whose header bears another name; refused",
        ));
    }
    let db = connection.db();
    let state = shadow::state(db)?;
    if state.partition != part.partition {
        return Err(Error::refused(format!(
            "this changeset belongs to partition {}, the file is partition {}",
            part.partition, state.partition
        )));
    }
    guard::prepare(connection, connection.is_dedicated())?;
    let foreign_keys = db.switch(Setting::ForeignKeys, false)?;
    let outcome = connection.while_applying(|| {
        atomically(db, || {
            visible::settle_own(connection)?;
            deliver(connection, &state, &part, must_cover)
        })
    });
    db.switch(Setting::ForeignKeys, foreign_keys)?;
    if outcome.is_err() || !db.is_autocommit() {
        forget_states(connection);
    }
    outcome.map(|outcome| (part.dot, outcome))
}

/// What was applied is rolled back, or may be.
fn forget_states(connection: &Connection) {
    if let Ok(mut applier) = connection.applier.try_borrow_mut() {
        applier.index.states.forget();
    }
}

fn deliver(
    connection: &Connection,
    state: &State,
    part: &Part<'_>,
    must_cover: &VersionVector,
) -> Result<Outcome> {
    let db = connection.db();
    let mut sites = Sites::load(db)?;
    if sites.by_site(part.dot.site).is_none() {
        shadow::add_site(db, part.dot.site)?;
        sites = Sites::load(db)?;
    }
    let own = sites
        .by_id(state.site_id)
        .ok_or_else(|| damaged("nuda_site"))?
        .site;
    if part.dot.site == own {
        if part.dot.seq <= own_head(connection, state)?.seq {
            return duplicate(db, &sites, part);
        }
        // Others have more of this site than this file: it lost its latest commits. They
        // come back as a foreign site's, and this replica goes on under a new one.
        record::renew_site(connection, state)?;
        return deliver(connection, &shadow::state(db)?, part, must_cover);
    }
    let row = sites
        .by_site(part.dot.site)
        .ok_or_else(|| damaged("nuda_site"))?;
    let ours = || Ours::of(connection, state);
    if row.stopped {
        return Ok(Outcome::Fork(format!("site {} is stopped", part.dot.site)));
    }
    if part.dot.seq <= row.applied {
        return duplicate(db, &sites, part);
    }
    let site_id = row.id;
    let is_next = part.dot.seq == row.applied + 1;
    if let (true, Some(whole)) = (is_next, Whole::arrived(part)?) {
        waiting::drop_changeset(db, site_id, part.dot.seq)?;
        let ours = ours()?;
        return match apply_whole(connection, &mut sites, &ours, &whole, must_cover) {
            Ok(()) => {
                let drained = drain(connection, &mut sites, &ours)?;
                Ok(Outcome::Applied(1 + drained.applied))
            }
            Err(Stop::Fork(why)) => Ok(Outcome::Fork(why)),
            Err(Stop::Fail(error)) => Err(error),
            Err(Stop::Wait(need, why)) => {
                if let Some(stale) = stale(db, &sites, &whole.header, must_cover)? {
                    return Ok(Outcome::Stale(stale));
                }
                waiting::keep(db, site_id, part, &why)?;
                Ok(Outcome::Waiting(need, why))
            }
        };
    }
    let (need, why) = if is_next {
        (Need::Parts, "the rest of it has not arrived")
    } else {
        (Need::Changes, "its predecessor has not arrived")
    };
    waiting::keep(db, site_id, part, why)?;
    if part.last.is_none() && !waiting::has_later_part(db, site_id, part)? {
        // The rest follows; looking at what waits for every part would read it all each time.
        return Ok(Outcome::Waiting(need, why.to_owned()));
    }
    let drained = drain(connection, &mut sites, &ours()?)?;
    Ok(match drained {
        Drained { corrupt, .. } if corrupt.contains(&part.dot) => Outcome::Corrupt(format!(
            "the content of {} does not match its hash; refused",
            part.dot
        )),
        Drained { applied: 0, .. } => Outcome::Waiting(need, why.to_owned()),
        Drained { applied, .. } => Outcome::Applied(applied),
    })
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
#[derive(Debug, Default)]
pub(crate) struct Drained {
    /// Changesets applied.
    pub(crate) applied: u64,
    /// Changesets whose content was not what their hash says, and is dropped: whoever has the
    /// right one may send it again.
    corrupt: Vec<Dot>,
}

/// Applies what waits and can be applied now.
fn drain(connection: &Connection, sites: &mut Sites, ours: &Ours) -> Result<Drained> {
    let db = connection.db();
    let mut drained = Drained::default();
    loop {
        let mut progress = false;
        for site_id in waiting::sites(db)? {
            while let Some(whole) = waiting::next_whole(db, sites, site_id)? {
                let dot = whole.header.dot;
                if !whole.is_sound {
                    waiting::drop_changeset(db, site_id, dot.seq)?;
                    drained.corrupt.push(dot);
                    break;
                }
                match apply_whole(connection, sites, ours, &whole, &VersionVector::new()) {
                    Ok(()) => {
                        waiting::forget(db, site_id, dot.seq)?;
                        drained.applied += 1;
                        progress = true;
                    }
                    Err(Stop::Wait(_, why) | Stop::Fork(why)) => {
                        // What it waits for may be another thing than when it came.
                        waiting::note(db, site_id, dot.seq, &why)?;
                        break;
                    }
                    Err(Stop::Fail(error)) => return Err(error),
                }
            }
        }
        if !progress {
            return Ok(drained);
        }
    }
}

/// What a changeset had seen, not counting its own site; or what is missing here.
fn seen_by(
    db: Db,
    sites: &Sites,
    header: &Header,
    own: (i64, Seq),
) -> std::result::Result<(log::Head, VersionVector), Stop> {
    let site = sites
        .by_site(header.dot.site)
        .ok_or_else(|| damaged("nuda_site"))?;
    let head = log::collected_head(db, site.id)?;
    let here = sites.vector(own);
    if let Some((site, seq)) = header
        .rose
        .iter()
        .find(|(site, seq)| here.get(*site) < *seq)
    {
        let why = format!("it follows {site}:{seq}, which has not arrived");
        return Err(Stop::Wait(Need::Changes, why));
    }
    let mut seen = sites.decode_seen(&head.seen.0)?;
    seen.join(&header.rose);
    Ok((head, seen))
}

/// Whether the changeset is too old to be merged: it lacks what was collected here.
fn stale(
    db: Db,
    sites: &Sites,
    header: &Header,
    must_cover: &VersionVector,
) -> Result<Option<String>> {
    let site = sites
        .by_site(header.dot.site)
        .ok_or_else(|| damaged("nuda_site"))?;
    let mut seen = sites.decode_seen(&log::collected_head(db, site.id)?.seen.0)?;
    seen.join(&header.rose);
    lacks(db, header, seen, must_cover)
}

/// The same, of one of which it is known what others' it had `seen`.
fn lacks(
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
    let (head, seen) = seen_by(db, sites, &whole.header, (ours.site_id, ours.head.seq))?;
    if let Some(stale) = lacks(db, &whole.header, seen.clone(), must_cover)? {
        return Err(Stop::Wait(Need::Changes, stale));
    }
    if whole.previous != head.hash {
        return Err(Stop::Fork(format!(
            "{} does not follow what is known here of its site",
            whole.header.dot
        )));
    }
    if !whole.is_sound {
        return Err(Error::corrupt("the content does not match its hash; refused").into());
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
    let order = before.max(whole.header.stamp);
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
    arrive::stored_hash(db, &sites, Dot { site, seq })
}

impl From<arrive::NotHere> for Stop {
    fn from(not_here: arrive::NotHere) -> Self {
        match not_here {
            arrive::NotHere::Wait(why) => Self::Wait(Need::Schema, why),
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
