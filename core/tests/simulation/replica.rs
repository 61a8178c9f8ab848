//! A model replica: what a partition's file holds, and the applier on it.
//!
//! It does what the SQL applier does, with maps instead of tables: real encoded changesets in
//! a log, rows without metadata, `nuda_core::merge` with the concurrent changes looked up in
//! the log, images of hidden rows beside the delete that hid them. It asserts what must never
//! happen: a changeset applied twice, or before what it saw, or one whose image is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use nuda_core::changeset::{ChainHash, Header, Part};
use nuda_core::hlc::Stamp;
use nuda_core::merge::{Plan, Rules, merge};
use nuda_core::protocol::{Blocked, Head, Members, PartBytes, Partial, Range};
use nuda_core::site::{Dot, Seq, Site};
use nuda_core::types::{ColumnType, Write};
use nuda_core::value::Value;
use nuda_core::version_vector::VersionVector;

use crate::Sabotage;
use crate::record::{Id, Op, Record, Row, decode, encode};
use crate::rng::Rng;

/// What the file holds. Cloned at an fsync: the clone survives a power cut.
#[derive(Debug, Clone)]
pub(crate) struct File {
    pub(crate) site: Site,
    pub(crate) own_sites: Vec<Site>,
    /// Under which it wrote before it was re-seeded: what is of them is made again by it alone.
    pub(crate) earlier: Vec<Site>,
    pub(crate) heads: BTreeMap<Site, (Seq, ChainHash)>,
    pub(crate) vector: VersionVector,
    pub(crate) latest: Stamp,
    pub(crate) log: Vec<Rc<Record>>,
    pub(crate) rows: BTreeMap<i64, Row>,
    /// Images of hidden rows: (changeset, index of the delete) -> key and values.
    pub(crate) images: BTreeMap<(Dot, usize), (i64, Row)>,
    /// All that the newest changeset of a site had seen.
    pub(crate) seen: BTreeMap<Site, VersionVector>,
    /// The same for the newest collected one.
    pub(crate) seen_collected: BTreeMap<Site, VersionVector>,
    pub(crate) partials: BTreeMap<Dot, Vec<PartBytes>>,
    /// Whole, and not applied yet: ahead of what it saw, or of `schema`.
    pub(crate) waiting: BTreeMap<Dot, Rc<Record>>,
    /// The version of the table here.
    pub(crate) schema: u32,
    pub(crate) applied: BTreeSet<Id>,
    pub(crate) floor: VersionVector,
    pub(crate) collected: VersionVector,
    pub(crate) members: Members,
}

impl File {
    pub(crate) fn new(site: Site, members: Members) -> Self {
        Self {
            site,
            own_sites: vec![site],
            earlier: Vec::new(),
            heads: BTreeMap::new(),
            vector: VersionVector::new(),
            latest: Stamp::BASELINE,
            log: Vec::new(),
            rows: BTreeMap::new(),
            images: BTreeMap::new(),
            seen: BTreeMap::new(),
            seen_collected: BTreeMap::new(),
            partials: BTreeMap::new(),
            waiting: BTreeMap::new(),
            schema: 1,
            applied: BTreeSet::new(),
            floor: VersionVector::new(),
            collected: VersionVector::new(),
            members,
        }
    }

    pub(crate) fn head(&self, site: Site) -> Head {
        let (seq, hash) = self.heads.get(&site).copied().unwrap_or_default();
        Head { site, seq, hash }
    }

    pub(crate) fn all_heads(&self) -> Vec<Head> {
        self.heads.keys().map(|site| self.head(*site)).collect()
    }

    pub(crate) fn take_site(&mut self, site: Site) {
        self.site = site;
        self.own_sites.push(site);
    }

    /// A local transaction.
    pub(crate) fn commit(
        &mut self,
        wall_ms: u64,
        ops: Vec<(i64, Op)>,
        rng: &mut Rng,
    ) -> Rc<Record> {
        let stamp = Stamp::next(self.latest, wall_ms).unwrap();
        let mut seen = self.vector.clone();
        seen.set(self.site, 0);
        let before = self.seen.get(&self.site).cloned().unwrap_or_default();
        let seq = self.vector.get(self.site) + 1;
        let record = encode(
            Dot {
                site: self.site,
                seq,
            },
            stamp,
            (seen, &before),
            self.head(self.site).hash,
            self.schema,
            ops,
            rng,
        );
        self.apply(Rc::clone(&record), Sabotage::None);
        record
    }

    /// Applies a decoded changeset whose dependencies are here.
    fn apply(&mut self, record: Rc<Record>, sabotage: Sabotage) {
        if sabotage != Sabotage::Dedup {
            assert!(
                self.vector.covers(&record.seen),
                "applied before what it saw: {}",
                record.dot
            );
            assert_eq!(
                record.dot.seq,
                self.vector.get(record.dot.site) + 1,
                "out of order"
            );
            assert!(
                self.applied.insert(record.hash.0),
                "applied twice: {}",
                record.dot
            );
        }
        for index in 0..record.ops.len() {
            self.apply_op(&record, index, sabotage);
        }
        self.vector.raise(record.dot.site, record.dot.seq);
        self.heads
            .insert(record.dot.site, (record.dot.seq, record.hash));
        self.seen.insert(record.dot.site, record.seen.clone());
        self.latest = self.latest.max(record.stamp);
        self.log.push(record);
    }

    fn apply_op(&mut self, record: &Rc<Record>, index: usize, sabotage: Sabotage) {
        let key = record.ops[index].0;
        let incoming = record.event(index);
        let mut concurrent = Vec::new();
        if sabotage != Sabotage::Concurrency {
            for other in &self.log {
                for i in (0..other.ops.len()).filter(|i| other.ops[*i].0 == key) {
                    let event = other.event(i);
                    if !incoming.saw(&event) {
                        concurrent.push(event);
                    }
                }
            }
        }
        let mut lost = Vec::new();
        let visible = self.rows.contains_key(&key);
        match merge(&incoming, &concurrent, visible, &Columns, &mut lost) {
            Plan::Update(cells) => set(self.rows.get_mut(&key).unwrap(), &cells, false),
            Plan::Revive(cells) => {
                let image = self.images.values().find(|(k, _)| *k == key);
                let mut row = match image {
                    Some((_, row)) => *row,
                    None if sabotage == Sabotage::None => {
                        panic!("no image of row {key} for {}", record.dot)
                    }
                    None => Row::default(),
                };
                set(&mut row, &cells, false);
                self.rows.insert(key, row);
                self.images.retain(|_, (k, _)| *k != key);
            }
            Plan::Insert(cells) => {
                let mut row = Row::default();
                set(&mut row, &cells, true);
                self.rows.insert(key, row);
                self.images.retain(|_, (k, _)| *k != key);
            }
            Plan::Hide => {
                let row = self.rows.remove(&key).unwrap();
                self.images.insert((record.dot, index), (key, row));
            }
            Plan::Keep | Plan::EditImage(_) => {}
        }
    }

    /// What is stored: applied, or whole and waiting, with all that it had seen.
    fn stored(&self) -> VersionVector {
        let mut stored = self.vector.clone();
        while let Some(next) = self.waiting.values().find(|r| {
            r.dot.seq == stored.get(r.dot.site) + 1
                && r.previous == self.before(r.dot).1
                && stored.covers(&r.seen)
                && !self.is_stale(r)
        }) {
            stored.raise(next.dot.site, next.dot.seq);
        }
        stored
    }

    /// Up to where changesets wait.
    pub(crate) fn waiting_vector(&self) -> VersionVector {
        if self.waiting.is_empty() {
            return VersionVector::new();
        }
        self.stored().beyond(&self.vector)
    }

    /// Drops what came of changesets that are not stored.
    pub(crate) fn drop_unstored(&mut self) {
        let stored = self.waiting_vector();
        self.waiting.retain(|dot, _| stored.contains(*dot));
        self.partials.clear();
    }

    /// How many of these parts are of changesets that wait here.
    pub(crate) fn count_waiting(&self, parts: &[PartBytes]) -> u64 {
        let waiting = parts.iter().filter(|p| !self.vector.contains(p.dot));
        waiting.count() as u64
    }

    fn is_stale(&self, record: &Record) -> bool {
        let mut full = record.seen.clone();
        full.raise(record.dot.site, record.dot.seq - 1);
        !full.covers(&self.collected)
    }

    /// What the predecessor had seen, and its hash.
    fn before(&self, dot: Dot) -> (VersionVector, ChainHash) {
        let predecessor = Dot {
            site: dot.site,
            seq: dot.seq - 1,
        };
        match self.waiting.get(&predecessor) {
            Some(record) => (record.seen.clone(), record.hash),
            None => {
                let seen = self.seen.get(&dot.site).cloned().unwrap_or_default();
                (seen, self.head(dot.site).hash)
            }
        }
    }

    /// Applies what waits and can be applied now.
    pub(crate) fn retry(&mut self, sabotage: Sabotage) {
        let next = |r: &Record| r.dot.seq == self.vector.get(r.dot.site) + 1;
        let stale: Vec<Site> = self
            .waiting
            .values()
            .filter(|r| next(r) && sabotage != Sabotage::Stale && self.is_stale(r))
            .map(|r| r.dot.site)
            .collect();
        // Nothing that follows it can be applied here either.
        self.waiting.retain(|dot, _| !stale.contains(&dot.site));
        loop {
            let next = self.waiting.values().find(|record| {
                record.dot.seq == self.vector.get(record.dot.site) + 1
                    && record.needs <= self.schema
                    && self.vector.covers(&record.seen)
                    && (sabotage == Sabotage::Stale || !self.is_stale(record))
            });
            let Some(dot) = next.map(|record| record.dot) else {
                return;
            };
            let record = self.waiting.remove(&dot).unwrap();
            if record.previous == self.head(dot.site).hash {
                self.apply(record, sabotage);
            }
        }
    }

    /// Applies a batch as `Command::Apply` says.
    pub(crate) fn apply_batch(
        &mut self,
        parts: &[PartBytes],
        must_cover: &VersionVector,
        direct: &[Site],
        direct_floor: &VersionVector,
        sabotage: Sabotage,
    ) -> Option<Blocked> {
        let mut lacks = None;
        for part in parts {
            let is_here = self.vector.contains(part.dot) || self.waiting.contains_key(&part.dot);
            if is_here && sabotage != Sabotage::Dedup {
                continue;
            }
            let floor = direct.contains(&part.dot.site).then_some(direct_floor);
            match self.take_part(part, must_cover, floor, sabotage) {
                Ok(Some(record)) if sabotage == Sabotage::Dedup => self.apply(record, sabotage),
                Ok(Some(record)) => {
                    if !self.vector.covers(&record.seen) {
                        lacks = Some(Blocked::Dependencies);
                    }
                    self.waiting.insert(part.dot, record);
                    self.retry(sabotage);
                }
                Ok(None) => {}
                Err(blocked) => return Some(blocked),
            }
        }
        lacks
    }

    fn take_part(
        &mut self,
        bytes: &PartBytes,
        must_cover: &VersionVector,
        floor: Option<&VersionVector>,
        sabotage: Sabotage,
    ) -> Result<Option<Rc<Record>>, Blocked> {
        let dot = bytes.dot;
        let part = Part::decode(&bytes.bytes).map_err(|e| Blocked::Malformed(e.to_string()))?;
        let number = bytes.part as usize;
        if number > self.partials.get(&dot).map_or(0, Vec::len) {
            return Err(Blocked::Dependencies);
        }
        if let Some((previous, header)) = part.first {
            let header = Header::decode(header).map_err(|e| Blocked::Malformed(e.to_string()))?;
            let predecessor = Dot {
                site: dot.site,
                seq: dot.seq - 1,
            };
            if !self.vector.contains(predecessor) && !self.waiting.contains_key(&predecessor) {
                return Err(Blocked::Dependencies);
            }
            let (mut full, link) = self.before(dot);
            full.join(&header.rose);
            full.raise(dot.site, dot.seq - 1);
            let fresh = full.covers(must_cover) && floor.is_none_or(|floor| full.covers(floor));
            if !fresh && sabotage != Sabotage::Stale {
                return Err(Blocked::Stale(dot));
            }
            // Of what is not stored, nobody has said yet that it has it.
            let is_stored = self.stored().contains(predecessor);
            if previous != link && is_stored && sabotage != Sabotage::Dedup {
                return Err(Blocked::Fork(dot));
            }
        }
        let parts = self.partials.entry(dot).or_default();
        match parts.get_mut(number) {
            Some(kept) => kept.clone_from(bytes),
            None => parts.push(bytes.clone()),
        }
        if part.last.is_none() {
            return Ok(None);
        }
        let mut parts = self.partials.remove(&dot).unwrap();
        parts.truncate(number + 1);
        match decode(parts, &self.before(dot).0) {
            Some(record) => Ok(Some(record)),
            None => Err(Blocked::Malformed("parts of two variants".to_owned())),
        }
    }

    pub(crate) fn partial_list(&self) -> Vec<Partial> {
        let of = |(dot, parts): (&Dot, &Vec<PartBytes>)| Partial {
            dot: *dot,
            parts: parts.len() as u32,
        };
        self.partials.iter().map(of).collect()
    }

    /// Answers `Command::Read`.
    pub(crate) fn read(&self, ranges: &[Range], limit_bytes: usize) -> Vec<PartBytes> {
        let mut out: Vec<PartBytes> = Vec::new();
        let mut bytes = 0;
        let mut waiting: Vec<&Rc<Record>> = self.waiting.values().collect();
        let stored = self.waiting_vector();
        waiting.retain(|r| stored.contains(r.dot));
        waiting.sort_by_key(|r| (r.stamp, r.dot.site));
        for record in self.log.iter().chain(waiting) {
            let dot = record.dot;
            let range = ranges
                .iter()
                .find(|r| r.site == dot.site && r.after < dot.seq && dot.seq <= r.upto);
            let Some(range) = range else { continue };
            // Who has as many parts as ours has, and not all of it, has another one's.
            let has = range.parts as usize;
            let skip = match dot.seq == range.after + 1 && has < record.parts.len() {
                true => has,
                false => 0,
            };
            for part in record.parts.iter().skip(skip) {
                if bytes >= limit_bytes && !out.is_empty() {
                    return out;
                }
                bytes += part.bytes.len();
                out.push(part.clone());
            }
        }
        out
    }

    /// Drops log records; images move on to another delete of the row that is still there.
    pub(crate) fn collect(&mut self, frontier: &VersionVector) {
        let (gone, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.log)
            .into_iter()
            .partition(|r| frontier.contains(r.dot));
        self.log = kept;
        for record in gone {
            self.seen_collected
                .insert(record.dot.site, record.seen.clone());
            for index in 0..record.ops.len() {
                let Some((key, row)) = self.images.remove(&(record.dot, index)) else {
                    continue;
                };
                let heir = self.log.iter().find_map(|r| {
                    let i = r
                        .ops
                        .iter()
                        .position(|(k, op)| *k == key && *op == Op::Delete)?;
                    Some((r.dot, i))
                });
                if let Some(heir) = heir {
                    self.images.insert(heir, (key, row));
                }
            }
        }
        self.collected.join(frontier);
    }

    /// Links of a chain, descending, as far as the log has them.
    pub(crate) fn links(&self, site: Site, upto: Seq, limit: usize) -> Vec<(Seq, ChainHash)> {
        let stored = self.waiting_vector();
        let waiting = self.waiting.values().filter(|r| stored.contains(r.dot));
        let of_site = self
            .log
            .iter()
            .chain(waiting)
            .filter(|r| r.dot.site == site && r.dot.seq <= upto);
        let mut links: Vec<(Seq, ChainHash)> = of_site.map(|r| (r.dot.seq, r.hash)).collect();
        let (seq, hash) = self.heads.get(&site).copied().unwrap_or_default();
        if seq > 0 && seq <= upto && links.iter().all(|l| l.0 != seq) {
            links.push((seq, hash));
        }
        links.sort_by_key(|link| std::cmp::Reverse(link.0));
        links.truncate(limit);
        links
    }

    /// Answers `Command::CompareChain`.
    pub(crate) fn agree(&self, site: Site, links: &[(Seq, ChainHash)]) -> Option<Seq> {
        let ours = self.links(site, Seq::MAX, usize::MAX);
        let shared =
            |link: &&(Seq, ChainHash)| ours.contains(link) || link.0 <= self.collected.get(site);
        links.iter().find(shared).map(|link| link.0)
    }

    /// Keeps the present site up to `keep`, renumbers the rest under the least greater unused
    /// site id: ties between equal stamps stay decided as they were.
    pub(crate) fn renumber(&mut self, keep: Seq, rng: &mut Rng) -> Vec<(Id, Rc<Record>)> {
        let old = self.site;
        let mut next = old.get() + 1;
        while self.own_sites.iter().any(|s| s.get() == next) {
            next += 1;
        }
        let new = Site::from_u64(next).unwrap();
        let mut renumbered = Vec::new();
        assert!(keep <= self.vector.get(old));
        let kept = self
            .log
            .iter()
            .rfind(|r| r.dot.site == old && r.dot.seq <= keep);
        let head = kept.map(|r| (r.dot.seq, r.hash, r.seen.clone()));
        match head {
            Some((seq, hash, seen)) => {
                self.heads.insert(old, (seq, hash));
                self.seen.insert(old, seen);
            }
            None if keep == 0 => {
                self.heads.remove(&old);
                self.seen.remove(&old);
            }
            None => {
                self.seen.insert(
                    old,
                    self.seen_collected.get(&old).cloned().unwrap_or_default(),
                );
                assert_eq!(
                    self.heads[&old].0, keep,
                    "renumbered below what was collected"
                );
            }
        }
        self.vector.set(old, keep);
        self.take_site(new);
        for slot in 0..self.log.len() {
            let record = Rc::clone(&self.log[slot]);
            if record.dot.site != old || record.dot.seq <= keep {
                continue;
            }
            let mut seen = record.seen.clone();
            seen.raise(old, keep);
            let before = self.seen.get(&new).cloned().unwrap_or_default();
            let dot = Dot {
                site: new,
                seq: self.vector.get(new) + 1,
            };
            let fresh = encode(
                dot,
                record.stamp,
                (seen.clone(), &before),
                self.head(new).hash,
                record.needs,
                record.ops.clone(),
                rng,
            );
            for index in 0..record.ops.len() {
                if let Some(image) = self.images.remove(&(record.dot, index)) {
                    self.images.insert((dot, index), image);
                }
            }
            self.vector.set(new, dot.seq);
            self.heads.insert(new, (dot.seq, fresh.hash));
            self.seen.insert(new, seen);
            self.applied.remove(&record.hash.0);
            self.applied.insert(fresh.hash.0);
            self.log[slot] = Rc::clone(&fresh);
            renumbered.push((record.hash.0, fresh));
        }
        renumbered
    }
}

fn set(row: &mut Row, writes: &[(usize, Write<'_>)], absolute: bool) {
    for (column, write) in writes {
        match (column, write) {
            (1, Write::Value(Value::Int(v))) => row.a = *v,
            (2, Write::Value(Value::Int(v))) => row.b = *v,
            (3, Write::Add(n)) if absolute => row.n = *n,
            (3, Write::Add(n)) => row.n += *n,
            _ => {}
        }
    }
}

/// Key, two registers and a counter.
struct Columns;

impl Rules for Columns {
    fn column_type(&self, column: usize) -> ColumnType {
        if column == 3 {
            ColumnType::Counter
        } else {
            ColumnType::Lww
        }
    }
}
