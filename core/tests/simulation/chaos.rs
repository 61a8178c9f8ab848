//! What happens to the nodes of a run: transactions, crashes, restored backups, re-seeding.
//!
//! Which changesets are lost with a disk, and which moved under another dot, is recorded here
//! for the sum check at the end; everything else a replica forgets must come back by itself.

use nuda_core::protocol::{Event, Opened, Replication};

use super::{DONOR_MS, Job, KEYS, Node, TALLY, World};
use crate::record::{Id, Op, Record, Row};
use crate::replica::File;

impl World {
    pub(super) fn commit(&mut self) {
        let node = self.rng.below(self.nodes.len() as u64) as usize;
        if self.nodes[node].engine.is_none() {
            return;
        }
        let mut ops: Vec<(i64, Op)> = Vec::new();
        for _ in 0..=self.rng.below(4) {
            let key = self.rng.below(KEYS) as i64;
            if ops.iter().all(|(k, _)| *k != key) {
                let op = self.op(node, key);
                ops.push((key, op));
            }
        }
        self.write(node, ops);
    }

    pub(super) fn op(&mut self, node: usize, key: i64) -> Op {
        let rng = &mut self.rng;
        let value = rng.below(1_000) as i64;
        let visible = self.nodes[node].file.rows.contains_key(&key);
        if TALLY.contains(&key) {
            return Op::Update {
                a: None,
                b: None,
                n: Some(i128::from(rng.below(9) + 1)),
            };
        }
        if !visible {
            return Op::Insert(Row {
                a: value,
                b: -value,
                n: i128::from(rng.below(5)),
            });
        }
        match rng.below(4) {
            0 => Op::Delete,
            1 => Op::Update {
                a: Some(value),
                b: None,
                n: Some(1),
            },
            2 => Op::Update {
                a: None,
                b: Some(value),
                n: None,
            },
            _ => Op::Update {
                a: Some(value),
                b: Some(-value),
                n: Some(-2),
            },
        }
    }

    pub(super) fn write(&mut self, node: usize, ops: Vec<(i64, Op)>) -> Id {
        let it = &mut self.nodes[node];
        let wall = 1_700_000_000_000 + self.now + it.wall_skew_ms;
        if std::mem::take(&mut it.new_boot) {
            let site = self.site();
            self.nodes[node].file.take_site(site);
        }
        let it = &mut self.nodes[node];
        let record = it.file.commit(wall, ops, &mut self.rng);
        let hash = record.hash.0;
        self.registry.insert(hash, record);
        self.stats.commits += 1;
        let head = self.nodes[node].file.head(self.nodes[node].file.site);
        self.feed(node, Event::Committed(head));
        hash
    }

    pub(super) fn chaos(&mut self) {
        let count = self.nodes.len() as u64;
        let node = self.rng.below(count) as usize;
        let other = self.rng.below(count) as usize;
        match self.rng.below(12) {
            0 => {
                self.cuts.insert((node, other));
            }
            1 => {
                for n in 0..self.nodes.len() {
                    self.cuts.insert((node, n));
                    self.cuts.insert((n, node));
                }
            }
            2 | 3 => self.cuts.clear(),
            4 | 5 => self.crash(node),
            6 => {
                let it = &mut self.nodes[node];
                it.backups.push(it.file.clone());
            }
            7 if self.rng.chance(40) => self.restore(node),
            8..=10 => {
                let down = (0..self.nodes.len())
                    .find(|n| self.nodes[*n].engine.is_none() && !self.nodes[*n].reseeding);
                if let Some(down) = down {
                    self.start(down);
                }
            }
            _ => {
                let id = self.nodes[other].id;
                if node != other {
                    self.feed(node, Event::Reachable(id));
                }
            }
        }
    }

    pub(super) fn crash(&mut self, node: usize) {
        if self.nodes[node].reseeding {
            return;
        }
        let power = self.rng.chance(60);
        self.stats.crashes += 1;
        let it = &mut self.nodes[node];
        it.engine = None;
        it.epoch += 1;
        if power {
            let before = std::mem::replace(&mut it.file, it.disk.clone());
            it.new_boot = true;
            self.note_lost(node, &before);
        }
    }

    pub(super) fn restore(&mut self, node: usize) {
        let choice = self.rng.next() as usize;
        let undetected = self.undetected && self.rng.chance(50);
        let it = &mut self.nodes[node];
        if it.reseeding || it.backups.is_empty() {
            return;
        }
        self.stats.restores += 1;
        let backup = it.backups[choice % it.backups.len()].clone();
        let before = std::mem::replace(&mut it.file, backup);
        it.disk = it.file.clone();
        it.epoch += 1;
        it.new_boot = !undetected;
        self.note_lost(node, &before);
        self.start(node);
    }

    pub(super) fn note_lost(&mut self, node: usize, before: &File) {
        let after = &self.nodes[node].file;
        // Also what was collected: the others may be put back to before it as well.
        let gone = before.applied.difference(&after.applied);
        let own = gone.filter(|id| before.own_sites.contains(&self.registry[*id].dot.site));
        self.lost.extend(own.copied());
    }

    pub(super) fn start(&mut self, node: usize) {
        let entropy = self.rng.next();
        let it = &mut self.nodes[node];
        let opened = Opened {
            site: it.file.site,
            own_sites: it.file.own_sites.clone(),
            heads: it.file.all_heads(),
            waiting: it.file.waiting_vector(),
            durable: it.disk.vector.clone(),
            floor: it.file.floor.clone(),
            collected: it.file.collected.clone(),
            members: it.file.members.clone(),
            life: None,
            entropy,
        };
        it.engine = Some(Replication::new(it.id, self.config.clone(), opened));
        it.wake_at = u64::MAX;
        self.feed(node, Event::Tick);
    }

    /// Re-seeds one node at a time, as an operator (or the daemons) would.
    pub(super) fn operate(&mut self) {
        let usable = |n: &Node| n.engine.is_some() && !n.reseeding;
        let Some(Job { node, donor, until }) = self.job else {
            self.plan();
            return;
        };
        let id = self.nodes[node].id;
        let blocked = self.nodes.iter().any(|n| {
            n.reseeding
                && n.id != id
                && self.nodes[donor]
                    .engine
                    .as_ref()
                    .is_some_and(|e| e.members().counts(n.id))
        });
        let expected = self.nodes[donor]
            .engine
            .as_ref()
            .is_some_and(|e| e.members().counts(id));
        if !usable(&self.nodes[donor]) || blocked || !expected || self.now > until {
            self.job = None;
        } else if self.nodes[donor]
            .engine
            .as_ref()
            .is_some_and(|e| e.may_seed(id))
        {
            self.job = None;
            self.seed(node, donor);
        }
    }

    pub(super) fn plan(&mut self) {
        let waiting: Vec<usize> = (0..self.nodes.len())
            .filter(|n| self.nodes[*n].reseeding)
            .collect();
        let Some(node) = waiting.first().copied() else {
            return;
        };
        // As a daemon does: it asks whoever told it, and those whom it counts itself.
        let joins = &self.nodes[node];
        let is_asked = |id| joins.teller == Some(id) || joins.file.members.counts(id);
        let donors: Vec<usize> = (0..self.nodes.len())
            .filter(|n| {
                let it = &self.nodes[*n];
                it.engine
                    .as_ref()
                    .is_some_and(|e| is_asked(it.id) && e.members().counts(it.id))
            })
            .collect();
        if donors.is_empty() {
            return;
        }
        let donor = donors[self.rng.below(donors.len() as u64) as usize];
        let mut members = self.nodes[donor].engine.as_ref().unwrap().members().clone();
        for other in waiting.iter().filter(|n| **n != node) {
            members = members.without(self.nodes[*other].id);
        }
        members = members.joining(self.nodes[node].id);
        let until = self.now + DONOR_MS;
        self.job = Some(Job { node, donor, until });
        self.feed(donor, Event::Members(members));
    }

    pub(super) fn seed(&mut self, node: usize, donor: usize) {
        self.stats.reseeds += 1;
        let site = self.site();
        let mut file = self.nodes[donor].file.clone();
        file.site = site;
        file.own_sites = vec![site];
        let old = &self.nodes[node].file;
        file.earlier = old.earlier.iter().chain(&old.own_sites).copied().collect();
        file.partials.clear();
        let old = std::mem::replace(&mut self.nodes[node].file, file);
        self.nodes[node].backups.clear();
        self.nodes[node].new_boot = false;
        let kept_then = old.waiting_vector();
        let kept_then = (old.waiting.values()).filter(|r| kept_then.contains(r.dot));
        let own = (old.log.iter().chain(kept_then))
            .filter(|r| self.nodes[node].file.earlier.contains(&r.dot.site))
            .cloned()
            .collect::<Vec<_>>();
        // What waits there will be applied.
        let kept = self.nodes[node].file.waiting_vector();
        for record in own {
            let file = &self.nodes[node].file;
            let waits = file.waiting.get(&record.dot);
            let waits = waits.is_some_and(|r| r.hash == record.hash) && kept.contains(record.dot);
            if !file.applied.contains(&record.hash.0) && !waits {
                self.reissue(node, &record);
            }
        }
        let it = &mut self.nodes[node];
        it.disk = it.file.clone();
        it.reseeding = false;
        it.epoch += 1;
        self.start(node);
    }

    /// What only the re-seeded node had becomes a new transaction of its new site.
    pub(super) fn reissue(&mut self, node: usize, record: &Record) {
        let rows = &self.nodes[node].file.rows;
        let ops = record.ops.iter().filter_map(|(key, op)| {
            let visible = rows.contains_key(key);
            let op = match op {
                Op::Insert(row) if visible => Op::Update {
                    a: Some(row.a),
                    b: Some(row.b),
                    n: Some(row.n),
                },
                Op::Update { .. } | Op::Delete if !visible => return None,
                op => op.clone(),
            };
            Some((*key, op))
        });
        let ops: Vec<(i64, Op)> = ops.collect();
        if !ops.is_empty() {
            let hash = self.write(node, ops);
            self.stats.reissued += 1;
            self.moved.insert(record.hash.0, hash);
        }
    }
}
