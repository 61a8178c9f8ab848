//! The world of one run: virtual time, a bad network, crashing nodes, an operator.
//!
//! Everything is an item of one queue ordered by time; one seed decides all of it. Messages
//! travel encoded. Hosts work after a short delay, so that commits, messages and crashes fall
//! between a command and its answer.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use nuda_core::protocol::{
    Command, Config, Envelope, Event, Member, Members, Message, NodeId, Refusal, Replication, Work,
};
use nuda_core::site::{Seq, Site};
use nuda_core::version_vector::VersionVector;

use crate::Sabotage;
use crate::record::{Id, Op, PARTITION, Record, Row};
use crate::replica::File;
use crate::rng::Rng;

/// Keys whose rows live for ever and are only counted: the sum check.
pub(crate) const TALLY: [i64; 2] = [0, 1];
const KEYS: u64 = 7;
/// The newest version of the table.
const NEWEST: u32 = 3;
const CHAOS_MS: u64 = 45_000;
const HEAL_MS: u64 = 240_000;
/// How long a re-seeded node waits for one donor before it turns to another.
const DONOR_MS: u64 = 20_000;

/// A node that is being re-seeded.
#[derive(Debug, Clone, Copy)]
struct Job {
    node: usize,
    donor: usize,
    until: u64,
}

pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) file: File,
    disk: File,
    backups: Vec<File>,
    pub(crate) engine: Option<Replication>,
    epoch: u64,
    pub(crate) reseeding: bool,
    /// Who told it to.
    teller: Option<NodeId>,
    new_boot: bool,
    wall_skew_ms: u64,
    origin_ms: u64,
    wake_at: u64,
}

enum Item {
    Deliver {
        to: usize,
        bytes: Vec<u8>,
    },
    Feed {
        node: usize,
        epoch: u64,
        event: Event,
    },
    Work {
        node: usize,
        epoch: u64,
        command: Command,
    },
    Wake {
        node: usize,
        epoch: u64,
    },
    Commit,
    Chaos,
    Operator,
    /// A node gets the next version of the table.
    Upgrade,
}

#[path = "chaos.rs"]
mod chaos;

pub(crate) struct World {
    pub(crate) now: u64,
    rng: Rng,
    /// Which nodes get a newer table, and when.
    upgrades: Rng,
    queue: BTreeMap<(u64, u64), Item>,
    count: u64,
    pub(crate) nodes: Vec<Node>,
    cuts: BTreeSet<(usize, usize)>,
    calm: bool,
    config: Config,
    undetected: bool,
    pub(crate) registry: BTreeMap<Id, Rc<Record>>,
    /// Old hash -> new hash of renumbered and re-issued changesets.
    pub(crate) moved: BTreeMap<Id, Id>,
    /// Forgotten by their author's node; they count only if someone else has them.
    pub(crate) lost: BTreeSet<Id>,
    /// Two shipped variants of a changeset were reported: the run ends here.
    pub(crate) evidence: bool,
    sabotage: Sabotage,
    job: Option<Job>,
    pub(crate) stats: Stats,
}

#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Stats {
    pub(crate) commits: u64,
    pub(crate) messages: u64,
    pub(crate) crashes: u64,
    pub(crate) restores: u64,
    pub(crate) reseeds: u64,
    pub(crate) renumbered: u64,
    pub(crate) collected: u64,
    pub(crate) evidence: u64,
    pub(crate) reissued: u64,
    pub(crate) repeated: u64,
    /// Batches after which something waited.
    pub(crate) waited: u64,
    /// Parts that were sent while they waited at the sender.
    pub(crate) handed_on: u64,
}

impl Stats {
    pub(crate) fn add(&mut self, other: &Self) {
        self.commits += other.commits;
        self.messages += other.messages;
        self.crashes += other.crashes;
        self.restores += other.restores;
        self.reseeds += other.reseeds;
        self.renumbered += other.renumbered;
        self.collected += other.collected;
        self.evidence += other.evidence;
        self.reissued += other.reissued;
        self.repeated += other.repeated;
        self.waited += other.waited;
        self.handed_on += other.handed_on;
    }
}

impl World {
    pub(crate) fn new(seed: u64, sabotage: Sabotage) -> Self {
        let mut rng = Rng::new(seed);
        let count = if rng.chance(60) { 3 } else { 5 };
        let exclude = if rng.chance(40) { 12_000 } else { 0 };
        let config = Config {
            batch_bytes: 300 + rng.below(2_000) as usize,
            relay_after_ms: 300,
            exchange_every_ms: 3_000,
            answer_within_ms: 1_500,
            backoff_ms: (100, 2_000),
            secure_after_ms: 100 + rng.below(1_000),
            collect_after_ms: 300 + rng.below(2_000),
            collect_changesets: 50,
            exclude_after_ms: exclude,
        };
        let undetected = rng.chance(25);
        let mut world = Self {
            now: 1_000,
            rng,
            upgrades: Rng::new(seed ^ 0x05ee_d0f7_ab1e),
            queue: BTreeMap::new(),
            count: 0,
            nodes: Vec::new(),
            cuts: BTreeSet::new(),
            calm: false,
            config,
            undetected,
            registry: BTreeMap::new(),
            moved: BTreeMap::new(),
            lost: BTreeSet::new(),
            evidence: false,
            sabotage,
            job: None,
            stats: Stats::default(),
        };
        world.found(count);
        world
    }

    fn found(&mut self, count: usize) {
        let ids: Vec<NodeId> = (0..count)
            .map(|n| NodeId::of_name(&format!("node{n}")))
            .collect();
        let member = |node: &NodeId| Member {
            node: *node,
            joined: 1,
            excluded: false,
        };
        let members = Members::new(1, ids.iter().map(member));
        let mut first = File::new(self.site(), members);
        let ops = TALLY
            .iter()
            .map(|key| (*key, Op::Insert(Row::default())))
            .collect();
        let record = first.commit(1_000, ops, &mut self.rng);
        self.registry.insert(record.hash.0, record);
        for (n, id) in ids.iter().enumerate() {
            let mut file = first.clone();
            if n > 0 {
                file.site = self.site();
                file.own_sites = vec![file.site];
            }
            let skew = if self.rng.chance(30) {
                3_600_000
            } else {
                self.rng.below(20)
            };
            self.nodes.push(Node {
                id: *id,
                disk: file.clone(),
                file,
                backups: Vec::new(),
                engine: None,
                epoch: 0,
                reseeding: false,
                teller: None,
                new_boot: false,
                wall_skew_ms: skew,
                origin_ms: self.rng.below(1_000_000),
                wake_at: u64::MAX,
            });
        }
        for n in 0..count {
            self.start(n);
        }
        self.at(10, Item::Commit);
        self.at(500, Item::Chaos);
        self.at(500, Item::Operator);
        if self.upgrades.chance(70) {
            self.at(500, Item::Upgrade);
        }
    }

    fn upgrade(&mut self) {
        let node = self.upgrades.below(self.nodes.len() as u64) as usize;
        let file = &mut self.nodes[node].file;
        file.schema = (file.schema + 1).min(NEWEST);
    }

    fn site(&mut self) -> Site {
        // Room for renumbering between any two sites.
        Site::from_random((self.rng.next() | 16) & !0xff | 0x100).unwrap()
    }

    fn at(&mut self, delay_ms: u64, item: Item) {
        self.count += 1;
        self.queue.insert((self.now + delay_ms, self.count), item);
    }

    /// Runs until nothing is left to do or the time is up; true if all came to rest.
    pub(crate) fn run(&mut self) -> bool {
        let mut checked = 0;
        while let Some(((time, _), item)) = self.queue.pop_first() {
            self.now = time;
            if !self.calm && self.now > CHAOS_MS {
                self.heal();
            }
            self.step(item);
            if self.evidence {
                return true;
            }
            if self.calm && self.now > checked + 500 {
                checked = self.now;
                if self.at_rest() {
                    return true;
                }
            }
            if self.now > CHAOS_MS + HEAL_MS {
                return false;
            }
        }
        false
    }

    fn at_rest(&self) -> bool {
        let first = &self.nodes[0].file;
        self.nodes.iter().all(|node| {
            node.engine.is_some()
                && !node.reseeding
                && node.file.vector == first.vector
                && node.file.log.is_empty()
        })
    }

    fn heal(&mut self) {
        self.calm = true;
        self.cuts.clear();
        for node in &mut self.nodes {
            node.file.schema = NEWEST;
            node.disk.schema = NEWEST;
        }
        for node in 0..self.nodes.len() {
            if self.nodes[node].engine.is_none() && !self.nodes[node].reseeding {
                self.start(node);
            }
        }
    }

    fn step(&mut self, item: Item) {
        match item {
            Item::Deliver { to, bytes } => self.deliver(to, &bytes),
            Item::Feed { node, epoch, event } if epoch == self.nodes[node].epoch => {
                self.feed(node, event);
            }
            Item::Work {
                node,
                epoch,
                command,
            } if epoch == self.nodes[node].epoch => {
                self.work(node, command);
            }
            Item::Wake { node, epoch }
                if epoch == self.nodes[node].epoch && self.nodes[node].wake_at <= self.now =>
            {
                self.nodes[node].wake_at = u64::MAX;
                self.feed(node, Event::Tick);
            }
            Item::Commit if !self.calm => {
                self.commit();
                let pause = 5 + self.rng.below(120);
                self.at(pause, Item::Commit);
            }
            Item::Chaos if !self.calm => {
                self.chaos();
                let pause = 200 + self.rng.below(1_500);
                self.at(pause, Item::Chaos);
            }
            Item::Upgrade if !self.calm => {
                self.upgrade();
                let pause = 500 + self.upgrades.below(4_000);
                self.at(pause, Item::Upgrade);
            }
            Item::Operator => {
                self.operate();
                self.at(300, Item::Operator);
            }
            _ => {}
        }
    }

    fn feed(&mut self, node: usize, event: Event) {
        let it = &mut self.nodes[node];
        let local_now = self.now + it.origin_ms;
        let Some(engine) = &mut it.engine else { return };
        let commands = engine.handle(local_now, event);
        let deadline = engine.next_deadline();
        if let Some(deadline) = deadline {
            assert!(deadline > local_now, "node {node} would spin: {engine:#?}");
        }
        let wake = deadline.map_or(u64::MAX, |d| d - it.origin_ms);
        if wake < it.wake_at {
            it.wake_at = wake;
            let epoch = it.epoch;
            self.at(wake - self.now, Item::Wake { node, epoch });
        }
        for command in commands {
            match command {
                Command::Send { to, message } => self.send(node, to, message),
                other => {
                    let epoch = self.nodes[node].epoch;
                    let delay = self.rng.below(15);
                    self.at(
                        delay,
                        Item::Work {
                            node,
                            epoch,
                            command: other,
                        },
                    );
                }
            }
        }
    }

    fn send(&mut self, from: usize, to: NodeId, message: Message) {
        if self.sabotage == Sabotage::Stale
            && matches!(
                message,
                Message::Refused(Refusal::Stale(_) | Refusal::StaleChange(_))
            )
        {
            return;
        }
        self.stats.messages += 1;
        let target = self.nodes.iter().position(|n| n.id == to).unwrap();
        let envelope = Envelope {
            partition: PARTITION,
            from: self.nodes[from].id,
            to,
            message,
        };
        let bytes = envelope.encode();
        let cut = self.cuts.contains(&(from, target)) || self.nodes[target].engine.is_none();
        if cut {
            if self.rng.chance(30) {
                let epoch = self.nodes[from].epoch;
                let event = Event::Unreachable {
                    peer: to,
                    reason: "cut".into(),
                };
                self.at(
                    20,
                    Item::Feed {
                        node: from,
                        epoch,
                        event,
                    },
                );
            }
            return;
        }
        if !self.calm && self.rng.chance(5) {
            return;
        }
        if !self.calm && self.rng.chance(5) {
            let delay = self.rng.below(3_000);
            self.at(
                delay,
                Item::Deliver {
                    to: target,
                    bytes: bytes.clone(),
                },
            );
        }
        let slow = !self.calm && self.rng.chance(5);
        let delay = 1 + self.rng.below(if slow { 4_000 } else { 40 });
        self.at(delay, Item::Deliver { to: target, bytes });
    }

    fn deliver(&mut self, to: usize, bytes: &[u8]) {
        let envelope = Envelope::decode(bytes).unwrap();
        assert_eq!(envelope.encode(), bytes);
        let Envelope { from, message, .. } = envelope;
        if self.sabotage == Sabotage::Frontier
            && let Some(standing) = message.standing()
        {
            let mut frontier = standing.durable.clone();
            frontier.meet(&self.nodes[to].file.vector);
            self.nodes[to].file.collect(&frontier);
        }
        if let Message::Push { parts, .. } = &message {
            let known = |dot| self.nodes[to].file.vector.contains(dot);
            self.stats.repeated += parts.iter().filter(|p| known(p.dot)).count() as u64;
        }
        self.feed(to, Event::Received { from, message });
    }

    fn work(&mut self, node: usize, command: Command) {
        if self.rng.chance(1)
            && let Some(work) = work_of(&command)
        {
            return self.feed(node, Event::Failed(work));
        }
        let it = &mut self.nodes[node];
        let event = match command {
            Command::Read {
                peer,
                ranges,
                limit_bytes,
            } => {
                let parts = it.file.read(&ranges, limit_bytes);
                self.stats.handed_on += it.file.count_waiting(&parts);
                Event::Read { peer, parts }
            }
            Command::Apply {
                from,
                parts,
                must_cover,
                direct,
                direct_floor,
            } => {
                let blocked =
                    it.file
                        .apply_batch(&parts, &must_cover, &direct, &direct_floor, self.sabotage);
                let waiting = it.file.waiting_vector();
                self.stats.waited += u64::from(!waiting.is_empty());
                let heads = it.file.all_heads();
                Event::Applied {
                    from,
                    heads,
                    waiting,
                    partial: it.file.partial_list(),
                    blocked,
                }
            }
            Command::Retry => {
                it.file.retry(self.sabotage);
                Event::Retried {
                    heads: it.file.all_heads(),
                    waiting: it.file.waiting_vector(),
                }
            }
            Command::Secure { floor, members } => {
                it.file.floor.join(&floor);
                if it.file.members != members {
                    it.file.drop_unstored();
                }
                it.file.members = members;
                it.disk = it.file.clone();
                Event::Secured(it.file.vector.clone())
            }
            Command::Collect(frontier) => {
                assert!(it.file.vector.covers(&frontier));
                self.stats.collected += 1;
                if self.sabotage != Sabotage::Frontier {
                    it.file.collect(&frontier);
                }
                Event::Collected(frontier)
            }
            Command::NewSite { site, keep, .. } => self.new_site(node, site, keep),
            Command::ReadChain {
                peer,
                site,
                upto,
                limit,
            } => Event::ReadChain {
                peer,
                site,
                links: it.file.links(site, upto, limit),
            },
            Command::CompareChain { peer, site, links } => Event::CompareChain {
                peer,
                site,
                agree: it.file.agree(site, &links),
            },
            Command::StopSite { .. } => {
                self.evidence = true;
                self.stats.evidence += 1;
                return;
            }
            Command::Reseed { donor, .. } => {
                it.reseeding = true;
                it.teller = Some(donor);
                it.engine = None;
                it.epoch += 1;
                return;
            }
            Command::Seed(_) | Command::Send { .. } => return,
        };
        self.feed(node, event);
    }

    fn new_site(&mut self, node: usize, site: Site, keep: Seq) -> Event {
        let file = &mut self.nodes[node].file;
        if file.site == site {
            self.stats.renumbered += 1;
            for (from, record) in file.renumber(keep, &mut self.rng) {
                self.moved.insert(from, record.hash.0);
                self.registry.insert(record.hash.0, record);
            }
        }
        Event::NewSite {
            keep: file.head(site),
            head: file.head(file.site),
        }
    }

    /// Why it did not come to rest.
    pub(crate) fn describe(&self) -> String {
        let mut text = format!("at {} ms, job {:?}\n", self.now, self.job);
        if std::env::var("NUDA_VERBOSE").is_ok() {
            for node in &self.nodes {
                text += &format!("{:#?}\n", node.engine);
            }
        }
        for node in &self.nodes {
            if let Some(engine) = &node.engine {
                text += &format!("v{} ", engine.members().version);
                for m in engine.members().iter() {
                    text += &format!("{}:{}:{} ", m.node, m.joined, m.excluded);
                }
            }
            text += &format!(
                "\n{} up={} reseeding={} log={} vector={}\n  floor={}\n  collected={}\n  status={:?}\n",
                node.id,
                node.engine.is_some(),
                node.reseeding,
                node.file.log.len(),
                node.file.vector,
                node.file.floor,
                node.file.collected,
                node.engine.as_ref().map(Replication::status),
            );
        }
        text
    }

    /// The greatest vector (all are equal at rest).
    pub(crate) fn vector(&self) -> &VersionVector {
        &self.nodes[0].file.vector
    }
}

/// The kind of work that a command asks for, if it can fail.
fn work_of(command: &Command) -> Option<Work> {
    match command {
        Command::Read { peer, .. } => Some(Work::Read(*peer)),
        Command::Apply { .. } => Some(Work::Apply),
        Command::Retry => Some(Work::Retry),
        Command::Secure { .. } => Some(Work::Secure),
        Command::Collect(_) => Some(Work::Collect),
        _ => None,
    }
}
