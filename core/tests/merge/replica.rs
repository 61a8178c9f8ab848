//! A replica that works as the extension's applier does, in memory.
//!
//! It keeps visible rows, a log, and the images of hidden rows beside the log record of the
//! delete that hid them, and steps from state to state with [`merge()`]. Collection drops log
//! records that every member has applied, as known from reports that this replica has caught
//! up with. The set of applied changes is kept for the model only.

use std::collections::BTreeMap;

use nuda_core::hlc::Stamp;
use nuda_core::merge::{Event, Lost, Plan, Rank, Reason, Rules, add, merge};
use nuda_core::row::{Cell, Change};
use nuda_core::site::{Dot, Seq, Site};
use nuda_core::types::{ColumnType, Write};
use nuda_core::value::{OwnedValue, Value};
use nuda_core::version_vector::VersionVector;

use crate::model::{COUNTER, Columns, MAXREG, Row, Set};

/// One transaction as it travels.
#[derive(Debug, Clone)]
pub(crate) struct Transaction {
    /// Its name.
    pub(crate) dot: Dot,
    /// Its time.
    pub(crate) stamp: Stamp,
    /// What its author had seen of others.
    pub(crate) seen: VersionVector,
    /// Its changes: the row, what happened, and the number in the model's history.
    pub(crate) changes: Vec<(u8, Change<'static>, usize)>,
}

/// A record's place: transaction, then change.
type Place = (Dot, u64);

#[derive(Debug, Clone)]
struct Record {
    place: Place,
    stamp: Stamp,
    seen: VersionVector,
    key: u8,
    change: Change<'static>,
}

impl Record {
    fn event(&self) -> Event<'_> {
        Event {
            dot: self.place.0,
            index: self.place.1,
            stamp: self.stamp,
            seen: &self.seen,
            change: self.change.clone(),
        }
    }
}

/// How often each interesting thing happened.
#[derive(Debug, Default, Clone)]
pub(crate) struct Tally(pub(crate) BTreeMap<&'static str, u64>);

impl Tally {
    /// Counts one.
    pub(crate) fn note(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }
}

/// One member.
#[derive(Debug)]
pub(crate) struct Replica {
    /// Its name.
    pub(crate) site: Site,
    /// What it has applied.
    pub(crate) vector: VersionVector,
    /// The greatest stamp it has met.
    pub(crate) latest: Stamp,
    /// What its users see.
    pub(crate) visible: BTreeMap<u8, Row>,
    /// What the model may look at.
    pub(crate) applied: Set,
    columns: Columns,
    /// Whether strong records stay for what had not seen them. False is the negative control.
    remembers: bool,
    // The row, and whether its first place has been collected.
    images: BTreeMap<(u8, Place), (Row, bool)>,
    log: Vec<Record>,
    reports: BTreeMap<Site, Vec<VersionVector>>,
}

impl Replica {
    /// A member that has seen nothing.
    pub(crate) fn new(site: Site, columns: Columns, remembers: bool) -> Self {
        Self {
            columns,
            remembers,
            site,
            vector: VersionVector::new(),
            latest: Stamp::BASELINE,
            visible: BTreeMap::new(),
            applied: 0,
            images: BTreeMap::new(),
            log: Vec::new(),
            reports: BTreeMap::new(),
        }
    }

    /// The vector of everything seen of others than `site`, under which it writes.
    pub(crate) fn seen_of_others(&self, site: Site) -> VersionVector {
        let mut seen = self.vector.clone();
        seen.set(site, 0);
        seen
    }

    /// The number of its next transaction under that site.
    pub(crate) fn next_seq(&self, site: Site) -> Seq {
        self.vector.get(site) + 1
    }

    /// The image of a hidden row, if one is kept.
    pub(crate) fn image(&self, key: u8) -> Option<&Row> {
        let mut images = self.images.iter().filter(|((k, _), _)| *k == key);
        let image = images.next().map(|(_, (row, _))| row);
        assert!(images.next().is_none(), "a hidden row has one image");
        image
    }

    /// Does locally what a user's statement did; what is recorded is the net effect.
    pub(crate) fn write(
        &mut self,
        dot: Dot,
        stamp: Stamp,
        index: u64,
        key: u8,
        change: &Change<'static>,
    ) {
        let place = (dot, index);
        match change {
            Change::Insert(cells) => {
                assert!(!self.visible.contains_key(&key));
                self.drop_images(key);
                let writes = cells.iter().copied().map(Write::of).enumerate();
                self.visible
                    .insert(key, new_row(&writes.collect::<Vec<_>>()));
            }
            Change::Update(cells) => {
                let writes: Vec<_> = cells.iter().map(|(n, c)| (*n, Write::of(*c))).collect();
                set(self.visible.get_mut(&key).unwrap(), &writes);
            }
            Change::Delete => self.hide(key, place),
        }
        let record = Record {
            place,
            stamp,
            seen: self.seen_of_others(dot.site),
            key,
            change: change.clone(),
        };
        self.log.push(record);
        self.latest = self.latest.max(stamp);
    }

    /// Marks a local transaction as done.
    pub(crate) fn wrote(&mut self, transaction: &Transaction) {
        self.vector.set(transaction.dot.site, transaction.dot.seq);
        self.applied |= transaction
            .changes
            .iter()
            .fold(0, |s, (_, _, n)| s | 1 << n);
    }

    /// Whether everything that `transaction` saw has been applied, and it has not.
    pub(crate) fn is_ready_for(&self, transaction: &Transaction) -> bool {
        transaction.dot.seq == self.vector.get(transaction.dot.site) + 1
            && self.vector.covers(&transaction.seen)
    }

    /// Applies another's transaction. `turn` varies the order in which the log is read.
    pub(crate) fn apply(&mut self, transaction: &Transaction, turn: usize, tally: &mut Tally) {
        let mut records = Vec::new();
        for (index, (key, change, _)) in (0u64..).zip(&transaction.changes) {
            let record = Record {
                place: (transaction.dot, index),
                stamp: transaction.stamp,
                seen: transaction.seen.clone(),
                key: *key,
                change: change.clone(),
            };
            self.step(&record, turn, tally);
            records.push(record);
        }
        self.log.extend(records);
        self.latest = self.latest.max(transaction.stamp);
        self.wrote(transaction);
    }

    fn step(&mut self, record: &Record, turn: usize, tally: &mut Tally) {
        let incoming = record.event();
        let log = std::mem::take(&mut self.log);
        let of_row = || log.iter().filter(|other| other.key == record.key);
        let mut concurrent: Vec<Event<'_>> = of_row()
            .map(Record::event)
            .filter(|other| !incoming.saw(other))
            .collect();
        // And the strong ones that it saw and one of those did not.
        if let Some(known) = concurrent.iter().map(Event::position).min() {
            let strong = of_row().map(Record::event).filter(Event::is_strong);
            let strong = strong.filter(|e| e.position() > known && incoming.saw(e));
            concurrent.extend(strong);
        }
        if !concurrent.is_empty() {
            let at = turn % concurrent.len();
            concurrent.rotate_left(at);
        }
        let key = record.key;
        let visible = self.visible.contains_key(&key);
        let mut lost = Vec::new();
        let plan = merge(&incoming, &concurrent, visible, &self.columns, &mut lost);
        check_lost(self.columns, &incoming, &concurrent, &lost);
        tally.note(if lost.is_empty() { "no loss" } else { "loss" });
        if lost.iter().any(|l| l.reason == Reason::Strong) {
            tally.note("beaten by a strong write");
        }
        match plan {
            Plan::Update(cells) => {
                tally.note("update");
                set(self.visible.get_mut(&key).unwrap(), &cells);
            }
            Plan::Revive(cells) => {
                tally.note("revive");
                let image = self.image(key).expect("a row that may return has an image");
                let mut row = image.clone();
                if self
                    .images
                    .iter()
                    .any(|((k, _), (_, moved))| *k == key && *moved)
                {
                    tally.note("revive from a moved image");
                }
                self.drop_images(key);
                set(&mut row, &cells);
                self.visible.insert(key, row);
            }
            Plan::Insert(cells) => {
                tally.note(if concurrent.is_empty() {
                    "insert"
                } else {
                    "insert among others"
                });
                self.drop_images(key);
                self.visible.insert(key, new_row(&cells));
            }
            Plan::Hide => {
                tally.note("hide");
                self.hide(key, record.place);
            }
            Plan::EditImage(cells) => {
                tally.note("gone");
                if let Some((row, _)) = self.image_mut(key) {
                    set(row, &cells);
                }
            }
            Plan::Keep if !matches!(record.change, Change::Delete) => tally.note("ended"),
            Plan::Keep => tally.note(if visible { "survive" } else { "hidden twice" }),
        }
        self.log = log;
    }

    fn hide(&mut self, key: u8, place: Place) {
        let row = self.visible.remove(&key).unwrap();
        self.images.insert((key, place), (row, false));
    }

    fn image_mut(&mut self, key: u8) -> Option<&mut (Row, bool)> {
        let mut images = self.images.iter_mut().filter(|((k, _), _)| *k == key);
        images.next().map(|(_, image)| image)
    }

    fn drop_images(&mut self, key: u8) {
        self.images.retain(|(k, _), _| *k != key);
    }

    /// What stays in the log may have to find out that it lost to a strong transaction: that one
    /// stays too, and what saw it, so that nothing goes before what it had seen.
    fn keep_unseen_strong(&self, stable: &mut VersionVector, tally: &mut Tally) {
        let eventual = || {
            self.log
                .iter()
                .filter(|r| r.place.0.site != Site::LOG_STRONG)
        };
        let staying = eventual().filter(|r| !stable.contains(r.place.0));
        let Some(known) = staying.map(|r| r.event().position()).min() else {
            return;
        };
        if known < stable.get(Site::LOG_STRONG) {
            tally.note("a strong record stays");
            stable.set(Site::LOG_STRONG, known);
        }
        for record in eventual().filter(|r| r.event().position() > known) {
            let Dot { site, seq } = record.place.0;
            stable.set(site, stable.get(site).min(seq - 1));
        }
    }

    /// Hears what another member has applied.
    pub(crate) fn hear(&mut self, from: Site, report: VersionVector) {
        self.reports.entry(from).or_default().push(report);
    }

    /// Drops the log records that nothing still to come can be concurrent with.
    pub(crate) fn collect(&mut self, members: &[Site], tally: &mut Tally) {
        let mut stable = self.vector.clone();
        for member in members.iter().filter(|m| **m != self.site) {
            let mut known = VersionVector::new();
            for report in self.reports.get(member).into_iter().flatten() {
                // Only if all that the member wrote before it reported is applied here, under
                // whichever site.
                let written = [*member, Site::LOG_STRONG];
                if written
                    .iter()
                    .all(|site| self.vector.get(*site) >= report.get(*site))
                {
                    known.join(report);
                }
            }
            stable.meet(&known);
        }
        if self.remembers {
            self.keep_unseen_strong(&mut stable, tally);
        }
        let gone = |place: &Place| stable.contains(place.0);
        let before = self.log.len();
        self.log.retain(|record| !gone(&record.place));
        if self.log.len() < before {
            tally.note("collect");
        }
        let moving: Vec<(u8, Place)> = self
            .images
            .keys()
            .filter(|(_, place)| gone(place))
            .copied()
            .collect();
        for (key, place) in moving {
            let (row, _) = self.images.remove(&(key, place)).unwrap();
            let heir = self
                .log
                .iter()
                .find(|r| r.key == key && matches!(r.change, Change::Delete));
            if let Some(heir) = heir {
                tally.note("image moves on");
                self.images.insert((key, heir.place), (row, true));
            } else {
                tally.note("image goes");
            }
        }
    }
}

fn new_row(writes: &[(usize, Write<'_>)]) -> Row {
    let mut row = Row {
        registers: [i64::MIN; 3],
        counter: 0,
        shown: [const { OwnedValue::Null }; 4],
    };
    set(&mut row, writes);
    row
}

fn set(row: &mut Row, writes: &[(usize, Write<'_>)]) {
    for (column, write) in writes {
        let shown = column.checked_sub(MAXREG).map(|n| &mut row.shown[n]);
        match (write, shown) {
            (Write::Value(Value::Int(value)), None) => row.registers[*column] = *value,
            (Write::Add(n), None) if *column == COUNTER => row.counter = add(row.counter, *n),
            (Write::Value(value), Some(shown)) => *shown = (*value).into(),
            (Write::Made(value), Some(shown)) => *shown = value.clone(),
            (Write::Set(step), Some(shown)) => *shown = step.apply(shown.as_ref()),
            other => panic!("column {column} can't hold {other:?}"),
        }
    }
}

/// A loss is between the incoming write and a concurrent one, of different values.
fn check_lost(columns: Columns, incoming: &Event<'_>, concurrent: &[Event<'_>], lost: &[Lost<'_>]) {
    let value = |rank: Rank, column: usize| {
        let writes = concurrent
            .iter()
            .chain([incoming])
            .filter(|e| e.rank() == rank);
        writes
            .filter_map(|event| match &event.change {
                Change::Insert(cells) => Some((event.index, cells[column])),
                Change::Update(cells) => {
                    let cell = cells.iter().find(|(c, _)| *c == column)?;
                    Some((event.index, cell.1))
                }
                Change::Delete => None,
            })
            .max_by_key(|(index, _)| *index)
            .expect("who lost or won has written")
            .1
    };
    for l in lost {
        match l.reason {
            Reason::Deleted => {
                assert!(columns.delete_wins, "{l:?}");
                continue;
            }
            Reason::Strong | Reason::StronglyDeleted => {
                assert_eq!(l.winner.site, Site::LOG_STRONG, "{l:?}");
                assert_ne!(l.loser.site, Site::LOG_STRONG, "{l:?}");
                continue;
            }
            Reason::KnewStrong => panic!("no documents here: {l:?}"),
            Reason::Later | Reason::Greater | Reason::Less => {}
        }
        if columns.column_type(l.column) == ColumnType::Lww {
            assert!(l.winner > l.loser, "{l:?}");
        }
        assert_eq!(value(l.loser, l.column), Cell::Value(l.value), "{l:?}");
        assert!(
            l.winner == incoming.rank() || l.loser == incoming.rank(),
            "{l:?}"
        );
        assert_ne!(value(l.winner, l.column), value(l.loser, l.column), "{l:?}");
    }
}
