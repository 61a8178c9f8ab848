//! One partition of three nodes: quorum and strong transactions in lanes and in one order, moves among
//! groups, groups that end, files that collect, voters and whole nodes that are wiped; under loss,
//! duplicates, changes of leader and clients that give up. One seed replays everything.
//!
//! What must be true: none of the quorum transactions is rejected for one of another file; a number is
//! taken once, by whichever group; what a node wrote again when it began anew does not come back; every
//! file ends with the same transactions, each after what it had seen and before anything that it had
//! not seen is collected; what is acknowledged is in every confirmed leader's read index; what anybody
//! was told about an id is so.

mod anew;
mod file;
mod groups;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::catch_unwind;

use nuda_core::certify::{Answer, Entry, Flaw, Link, Outcome, Proposal, TxnId};
use nuda_core::changeset::{ChainHash, Header, Level, Part};
use nuda_core::hlc::Stamp;
use nuda_core::protocol::NodeId;
use nuda_core::site::{Dot, Site};
use nuda_core::version_vector::VersionVector;

use crate::rng::Rng;
use crate::world::{PARTITION, encode};
use anew::Anew;
use file::{File, is_logged};
use groups::{Log, Replica};

const NODES: usize = 3;
const GROUPS: usize = 3;
const SEEDS: u64 = 200;

/// What is broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    Nothing,
    /// The log takes a quorum transaction under whatever number its file gave it.
    NumberedByTheFile,
    /// Every entry counts as a new transaction.
    NoDeduplication,
    /// Eventual changes do not travel with what saw them.
    NoDependencies,
    /// The read index counts strong transactions only.
    ReadsWithoutLanes,
    /// What every member has reported is collected at once.
    CollectsWithoutTheLog,
    /// A file collects before it has what was accepted until then.
    CollectsBeforeDelivery,
    /// Lanes stay behind when the partition moves.
    MovesWithoutLanes,
    /// A new voter begins from a state whose transactions are in nobody's file yet.
    SnapshotsBeforeDelivery,
    /// What a node writes again may still be on its way to the log.
    BeginsAnewWithoutFence,
}

struct Waiting {
    proposal: Proposal,
    after: File,
    patience: u32,
}

struct Node {
    replicas: Vec<Replica>,
    queue: Vec<Proposal>,
    file: File,
    /// How often it has lost its file.
    life: u64,
    /// The sites under which its file was written, and what it will have instead.
    sites: Vec<Site>,
    anew: Option<Anew>,
    waiting: Option<Waiting>,
    /// Ids whose outcome nobody told.
    open: Vec<TxnId>,
    counter: u64,
    /// Where it believes the partition to be, and the greatest count of decisions it was told.
    at: usize,
    decided: u64,
    /// What it would like to collect.
    wish: Option<VersionVector>,
}

struct World {
    rng: Rng,
    broken: Broken,
    nodes: Vec<Node>,
    logs: Vec<Log>,
    /// Eventual changes, by their site.
    eventual: BTreeMap<Site, Vec<(Vec<u8>, ChainHash)>>,
    /// What each node has reported to all.
    reports: Vec<VersionVector>,
    /// Moves that wait for the new group's word: number and destination, and from where.
    plans: BTreeMap<(u64, usize), usize>,
    accepted: BTreeMap<Dot, TxnId>,
    /// Eventual changes that have travelled in the log.
    logged: VersionVector,
    committed: BTreeSet<TxnId>,
    refused: BTreeSet<TxnId>,
    /// What clients were told is committed, by name.
    acknowledged: VersionVector,
    late: u64,
    collections: u64,
    /// Whether nodes begin anew: nobody collects meanwhile, and much else waits.
    has_anew: bool,
    /// What was written again under another name.
    again: BTreeSet<Dot>,
    /// Nodes that had to write something again.
    begun: u64,
}

impl World {
    fn new(seed: u64, broken: Broken, window: usize) -> Self {
        let node = |at: usize| Node {
            replicas: (0..GROUPS).map(|_| Replica::keeping(window)).collect(),
            queue: Vec::new(),
            file: File::default(),
            life: 0,
            sites: vec![Site::from_u64(100 + at as u64).unwrap()],
            anew: None,
            waiting: None,
            open: Vec::new(),
            counter: 0,
            at: 0,
            decided: 0,
            wish: None,
        };
        let mut logs: Vec<Log> = (0..GROUPS).map(|_| Log::default()).collect();
        let open = Entry::Open {
            partition: PARTITION,
            link: Link::default(),
            base: VersionVector::new(),
        };
        logs[0].committed.push(open.encode());
        Self {
            rng: Rng::new(seed),
            broken,
            nodes: (0..NODES).map(node).collect(),
            logs,
            eventual: BTreeMap::new(),
            reports: vec![VersionVector::new(); NODES],
            plans: BTreeMap::new(),
            accepted: BTreeMap::new(),
            logged: VersionVector::new(),
            committed: BTreeSet::new(),
            refused: BTreeSet::new(),
            acknowledged: VersionVector::new(),
            late: 0,
            collections: 0,
            has_anew: match broken {
                Broken::Nothing => seed % 2 == 1,
                Broken::BeginsAnewWithoutFence => true,
                _ => false,
            },
            again: BTreeSet::new(),
            begun: 0,
        }
    }

    fn pick(&mut self, below: usize) -> usize {
        self.rng.below(below as u64) as usize
    }

    fn step(&mut self) {
        let (node, log) = (self.pick(NODES), self.pick(GROUPS));
        match self.rng.below(if self.has_anew { 46 } else { 44 }) {
            0..=5 => self.begin(node),
            6..=13 => self.arrive(log),
            14..=19 => self.commit(log),
            20..=27 => self.apply(log, node),
            28..=29 => self.deliver(node),
            30..=31 => self.write_eventually(node),
            32..=33 => self.ship(node),
            34..=35 => self.lose_patience(node),
            36..=37 => self.collect(node),
            38 => self.seal(log),
            39..=40 => self.carry_on(log),
            41 => self.wipe(node),
            42..=43 if self.has_anew => self.anew(node),
            _ => self.disturb(log, node),
        }
        self.read();
    }

    fn settle(&mut self) {
        for _ in 0..400 {
            for log in 0..GROUPS {
                while !self.logs[log].network.is_empty() {
                    self.arrive(log);
                }
                while !self.logs[log].pending.is_empty() {
                    self.commit(log);
                }
                for node in 0..NODES {
                    while self.apply_at(log, node) {}
                }
                self.carry_on(log);
            }
            for node in 0..NODES {
                self.lose_patience(node);
                self.deliver(node);
                self.ship(node);
                self.collect(node);
                if self.nodes[node].anew.is_some() {
                    self.anew(node);
                }
            }
        }
    }

    fn site(&self, node: usize) -> Site {
        Site::from_u64(100 + node as u64 + 1_000 * self.nodes[node].life).unwrap()
    }

    fn begin(&mut self, at: usize) {
        let is_strong = self.rng.chance(30);
        // Who does not know what became of the last one takes a break.
        let hesitates = self.rng.chance(90);
        let site = self.site(at);
        let node = &mut self.nodes[at];
        if node.waiting.is_some() || (hesitates && !node.open.is_empty()) {
            return;
        }
        node.counter += 1;
        let id = TxnId {
            node: NodeId(at as u64),
            boot: 1,
            counter: node.counter,
            born: node.decided,
        };
        let (name, level) = match is_strong {
            true => (Site::LOG_STRONG, Level::Strong),
            false => (site.lane().unwrap(), Level::Quorum),
        };
        let (link, last_seen) = node.file.chains.get(&name).cloned().unwrap_or_default();
        let seen = node.file.seen.clone();
        let header = Header {
            dot: Dot {
                site: name,
                seq: link.seq + 1,
            },
            stamp: Stamp::next(link.stamp, 1).unwrap(),
            level,
            author: id.to_string(),
            rose: seen
                .iter()
                .filter(|(s, seq)| *s != name && *seq > last_seen.get(*s))
                .collect(),
        };
        let (bytes, _) = encode(&header, link.hash, b"rows");
        let mut after = node.file.clone();
        after.take(&bytes, id);
        let base = node.file.collected.clone();
        let mut proposal = Proposal {
            id,
            seen: Some(seen.iter().filter(|(s, n)| *n > base.get(*s)).collect()),
            base,
            dependencies: Vec::new(),
            changeset: vec![bytes],
            statements: Vec::new(),
        };
        if self.broken == Broken::NoDependencies {
            proposal.base = seen;
        } else {
            let mut known = node.covered();
            known.join(&proposal.base);
            for (writer, upto) in seen.iter().filter(|(site, _)| !is_logged(*site)) {
                for seq in known.get(writer) + 1..=upto {
                    let part = self.eventual[&writer][seq as usize - 1].0.clone();
                    proposal.dependencies.push(part);
                }
            }
        }
        node.waiting = Some(Waiting {
            proposal,
            after,
            patience: 0,
        });
        self.ask(at);
    }

    /// A client asks the group that it believes in, or another one.
    fn ask(&mut self, at: usize) {
        let curious = self.rng.chance(8);
        let astray = self.rng.chance(5).then(|| self.pick(GROUPS));
        let node = &self.nodes[at];
        let log = &mut self.logs[astray.unwrap_or(node.at)];
        if let Some(waiting) = &node.waiting {
            log.receive(&Entry::Propose(PARTITION, waiting.proposal.clone()));
        }
        // Not everybody wants to know at once.
        if let Some(id) = node.open.first().filter(|_| curious) {
            log.receive(&Entry::Abort(PARTITION, *id));
        }
    }

    /// A client hears what became of its transaction.
    fn tell(&mut self, id: TxnId, answer: Answer, decided: u64, now_at: Option<usize>) {
        let at = id.node.0 as usize;
        let node = &mut self.nodes[at];
        node.decided = node.decided.max(decided);
        let is_waiting = node.waiting.as_ref().is_some_and(|w| w.proposal.id == id);
        if !is_waiting && !node.open.contains(&id) {
            return;
        }
        match answer {
            Answer::Moved => {
                node.at = now_at.unwrap_or(node.at);
                return;
            }
            Answer::NotHere | Answer::Open | Answer::Expected => return,
            Answer::Decided(_) | Answer::Expired => {}
        }
        node.open.retain(|open| *open != id);
        let waiting = node.waiting.take_if(|waiting| waiting.proposal.id == id);
        match answer {
            Answer::Decided(Outcome::Accepted(_)) => {
                self.committed.insert(id);
                if let Some(waiting) = waiting {
                    let dot = waiting.proposal.dot().unwrap();
                    self.acknowledged.raise(dot.site, dot.seq);
                    node.file = waiting.after;
                }
            }
            Answer::Decided(outcome) => {
                self.refused.insert(id);
                let dot = waiting.and_then(|waiting| waiting.proposal.dot());
                if let Some(dot) = dot {
                    self.rejected(at, dot, outcome);
                }
            }
            _ => {}
        }
    }

    /// A client that waits is rejected for a strong transaction that was first, or an earlier one of its
    /// own file, or because somebody settled it, or its node begins anew: a quorum one never for another
    /// file's, and nobody for coming late.
    fn rejected(&self, at: usize, dot: Dot, outcome: Outcome) {
        let late = Outcome::Refused(Flaw::Late);
        assert_ne!(outcome, late, "{dot}: its file is locked, and it is late");
        if outcome == Outcome::Refused(Flaw::Fenced) {
            assert!(self.nodes[at].anew.is_some(), "{dot}: for another's fence");
            return;
        }
        if outcome == Outcome::Aborted || dot.site == Site::LOG_STRONG {
            return;
        }
        let first = self.accepted.get(&dot);
        assert!(
            matches!((outcome, first), (Outcome::Stale(_), Some(id)) if id.node.0 == at as u64),
            "{dot} was rejected: {outcome:?}"
        );
    }

    /// A group accepts a transaction: the first member that applies it says so.
    fn accept(&mut self, proposal: &Proposal) {
        let dot = proposal.dot().unwrap();
        if let Some(first) = self.accepted.get(&dot) {
            assert_eq!(*first, proposal.id, "a number is taken twice");
            return;
        }
        self.accepted.insert(dot, proposal.id);
        for bytes in &proposal.dependencies {
            let dot = Part::decode(bytes).unwrap().dot;
            self.logged.raise(dot.site, dot.seq);
        }
        let part = Part::decode(&proposal.changeset[0]).unwrap();
        let mut everywhere = self.nodes[0].file.seen.clone();
        let files = self.nodes.iter().map(|node| &node.file.seen);
        files.for_each(|seen| everywhere.meet(seen));
        everywhere.join(&self.logged);
        let rose = part.header().unwrap().unwrap().rose;
        let causes: VersionVector = rose.iter().filter(|(s, _)| !is_logged(*s)).collect();
        assert!(everywhere.covers(&causes), "an effect without its cause");
    }

    /// A file takes what was accepted, unless a transaction holds its lock.
    fn deliver(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        if node.waiting.is_none() {
            node.file.deliver_all(&mut node.queue);
        }
    }

    fn write_eventually(&mut self, at: usize) {
        let site = self.site(at);
        let node = &mut self.nodes[at];
        if node.waiting.is_some() {
            return;
        }
        let changes = self.eventual.entry(site).or_default();
        let seq = changes.len() as u64 + 1;
        let header = Header {
            dot: Dot { site, seq },
            stamp: Stamp::from_u64(seq).unwrap(),
            level: Level::Eventual,
            author: String::new(),
            rose: VersionVector::new(),
        };
        let previous = changes.last().map_or(ChainHash::START, |e| e.1);
        changes.push(encode(&header, previous, b"eventual"));
        node.file.seen.raise(site, seq);
    }

    /// What a file has reaches another node in the background.
    fn ship(&mut self, from: usize) {
        let to = self.pick(NODES);
        let file = self.nodes[from].file.clone();
        let life = [from, to].iter().all(|n| self.nodes[*n].anew.is_none());
        if to != from && self.nodes[to].waiting.is_none() && life {
            self.nodes[to].file.receive(&file);
        }
    }

    /// A client asks again, gives up, or wants to know what became of what it gave up.
    fn lose_patience(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        if let Some(waiting) = &mut node.waiting {
            waiting.patience += 1;
            if waiting.patience >= 3 {
                node.open.push(waiting.proposal.id);
                node.waiting = None;
            }
        }
        if self.rng.chance(20) {
            self.nodes[at].at = self.pick(GROUPS);
        }
        self.ask(at);
    }

    /// A node reports what its file has, and collects what all have reported, when the log allows it.
    fn collect(&mut self, at: usize) {
        let is_told = self.rng.chance(60);
        if self.nodes[at].anew.is_some() {
            return;
        }
        if is_told {
            let seen = self.nodes[at].file.seen.clone();
            self.reports[at].join(&seen);
        }
        let mut frontier = self.reports[0].clone();
        self.reports.iter().for_each(|seen| frontier.meet(seen));
        let broken = self.broken;
        let node = &mut self.nodes[at];
        if node.waiting.is_some() {
            return;
        }
        if node.wish.is_none() && !node.file.collected.covers(&frontier) {
            node.wish = Some(frontier);
        }
        let Some(wish) = node.wish.clone() else {
            return;
        };
        let may = broken == Broken::CollectsWithoutTheLog
            || node.ordered().is_some_and(|ordered| {
                let has_all = node.file.seen.covers(&ordered.accepted());
                ordered.collected.covers(&wish)
                    && (has_all || broken == Broken::CollectsBeforeDelivery)
            });
        if may {
            node.file.collect(&wish);
            node.wish = None;
            self.collections += 1;
        } else {
            self.logs[node.at].receive(&Entry::Collect(PARTITION, wish));
        }
    }

    /// A node loses its log, or everything; it begins again from what another one has.
    fn wipe(&mut self, at: usize) {
        if self.rng.chance(60) {
            return;
        }
        let donor = (at + 1 + self.pick(NODES - 1)) % NODES;
        let secured = |node: &Node| {
            let mut all = node.replicas.iter();
            all.all(|replica| node.file.seen.covers(&replica.accepted()))
        };
        // Who begins anew needs what was accepted from somebody's log or file.
        if self.nodes.iter().any(|node| node.anew.is_some()) {
            return;
        }
        if !secured(&self.nodes[donor]) && self.broken != Broken::SnapshotsBeforeDelivery {
            return;
        }
        let replicas = self.nodes[donor].replicas.clone();
        let file = self.nodes[donor].file.clone();
        let everything = self.rng.chance(50);
        let node = &mut self.nodes[at];
        // Its log is not behind what it knew: a leader has more, and gives it.
        if (0..GROUPS).any(|n| replicas[n].applied < node.replicas[n].applied) {
            return;
        }
        node.replicas = replicas;
        node.queue.clear();
        if everything {
            node.open.extend(node.waiting.take().map(|w| w.proposal.id));
            node.wish = None;
            node.life += 1;
            node.file = file;
            self.reports[at] = node.file.seen.clone();
            let site = self.site(at);
            self.nodes[at].sites = vec![site];
        }
    }

    /// A confirmed leader has applied all that is committed: its read index has all that was
    /// acknowledged.
    fn read(&self) {
        for node in &self.nodes {
            for (replica, log) in node.replicas.iter().zip(&self.logs) {
                let ordered = replica.group.partition(PARTITION);
                let Some(ordered) = ordered.filter(|_| replica.applied == log.committed.len())
                else {
                    continue;
                };
                let index = match self.broken {
                    Broken::ReadsWithoutLanes => {
                        [(Site::LOG_STRONG, ordered.link.seq)].into_iter().collect()
                    }
                    _ => ordered.accepted(),
                };
                assert!(index.covers(&self.acknowledged), "a read that misses one");
            }
        }
    }

    fn check(&self) {
        let all: BTreeSet<TxnId> = self.accepted.values().copied().collect();
        assert_eq!(
            all.len(),
            self.accepted.len(),
            "a transaction is there twice"
        );
        let first = &self.nodes[0];
        for node in &self.nodes {
            for (replica, same) in node.replicas.iter().zip(&first.replicas) {
                assert_eq!(replica.group.encode(), same.group.encode());
            }
            assert!(node.waiting.is_none(), "a client waits for ever");
            assert!(node.queue.is_empty(), "accepted, and it cannot be applied");
            assert_eq!(node.file.ids, all, "files differ");
        }
        let orders = |replica: &&Replica| replica.group.partition(PARTITION).is_some();
        assert_eq!(first.replicas.iter().filter(orders).count(), 1);
        assert!(self.committed.is_subset(&all), "acknowledged and lost");
        assert!(self.refused.is_disjoint(&all), "refused and there");
        self.check_again();
    }
}

/// What happened in a run.
#[derive(Debug, Default, Clone, Copy)]
struct Happened {
    quorum: u64,
    strong: u64,
    moves: u64,
    collections: u64,
    late: u64,
    lives: u64,
    begun: u64,
}

fn run(seed: u64, broken: Broken, window: usize) -> Happened {
    let mut world = World::new(seed, broken, window);
    for _ in 0..3_000 {
        world.step();
    }
    world.settle();
    world.check();
    let strong = world.accepted.keys().filter(|d| d.site == Site::LOG_STRONG);
    let strong = strong.count() as u64;
    Happened {
        quorum: world.accepted.len() as u64 - strong,
        strong,
        moves: world.nodes[0].ordered().map_or(0, |ordered| ordered.moves),
        collections: world.collections,
        late: world.late,
        lives: world.nodes.iter().map(|node| node.life).sum(),
        begun: world.begun,
    }
}

#[test]
fn whatever_happens_every_file_ends_with_the_same_and_nobody_is_told_otherwise() {
    let mut all = Happened::default();
    for seed in 0..SEEDS {
        let more = run(seed, Broken::Nothing, 1_000);
        all.quorum += more.quorum;
        all.strong += more.strong;
        all.moves += more.moves;
        all.collections += more.collections;
        all.late += more.late;
        all.lives += more.lives;
        all.begun += more.begun;
    }
    println!("{all:?}");
    for (what, times, least) in [
        ("quorum transactions", all.quorum, 8 * SEEDS),
        ("strong transactions", all.strong, 3 * SEEDS),
        ("moves", all.moves, SEEDS),
        ("collections", all.collections, 4 * SEEDS),
        ("proposals that came too late", all.late, SEEDS / 10),
        ("nodes wiped", all.lives, SEEDS),
        ("nodes that wrote something again", all.begun, SEEDS / 2),
    ] {
        assert!(times > least, "too few {what}: {times}");
    }
}

#[test]
fn forgotten_outcomes_of_quorum_transactions_are_expired() {
    for seed in 0..SEEDS {
        run(seed, Broken::Nothing, 6);
    }
}

/// By how many of 40 seeds each broken machine is caught, and how many must catch it.
pub(crate) fn caught_lanes() -> [(Broken, usize, usize); 9] {
    [
        (Broken::NumberedByTheFile, 20),
        (Broken::NoDeduplication, 20),
        (Broken::NoDependencies, 20),
        (Broken::ReadsWithoutLanes, 20),
        (Broken::CollectsWithoutTheLog, 20),
        (Broken::MovesWithoutLanes, 20),
        (Broken::CollectsBeforeDelivery, 4),
        (Broken::SnapshotsBeforeDelivery, 2),
        (Broken::BeginsAnewWithoutFence, 4),
    ]
    .map(|(broken, least)| {
        let fails = |seed: &u64| catch_unwind(|| run(*seed, broken, 1_000)).is_err();
        (broken, (0..40).filter(fails).count(), least)
    })
}

/// A fence moves along, too.
#[test]
fn what_was_written_again_does_not_travel_in_the_next_group_either() {
    let mut world = World::new(1, Broken::Nothing, 1_000);
    world.write_eventually(0);
    world.begin(0);
    let proposal = world.nodes[0].waiting.take().unwrap().proposal;
    let site = world.site(0);
    let mut group = world.nodes[0].replicas[0].group.clone();
    group.apply(&Entry::decode(&world.logs[0].committed[0]).unwrap());
    let fenced_at = |upto| Entry::Fence(PARTITION, [(site, upto)].into());
    let propose = Entry::Propose(PARTITION, proposal);
    let accepted = Answer::Decided(Outcome::Accepted(1));
    let refused = Answer::Decided(Outcome::Refused(Flaw::Fenced));
    let mut with = group.clone();
    assert_eq!(with.apply(&fenced_at(1)), Answer::Open);
    assert_eq!(with.clone().apply(&propose), accepted);
    // Of two snapshots the lesser one counts, also if its word comes first.
    group.apply(&fenced_at(0));
    group.apply(&fenced_at(1));
    with.apply(&fenced_at(0));
    assert_eq!(with.encode(), group.encode());
    assert_eq!(group.clone().apply(&propose), refused);
    group.apply(&Entry::Seal(PARTITION, 1, groups::destination(1)));
    assert_eq!(group.apply(&fenced_at(0)), Answer::Moved);
    let baggage = group.departed(PARTITION).unwrap().baggage.clone().unwrap();
    let mut next = groups::Replica::keeping(1_000).group;
    next.apply(&Entry::Arrive(PARTITION, baggage));
    assert_eq!(next.apply(&propose), refused);
}

/// What members have collected moves along.
#[test]
fn a_proposal_that_comes_too_late_is_refused_by_the_next_group_too() {
    let mut world = World::new(1, Broken::Nothing, 1_000);
    world.begin(0);
    let late = world.nodes[0].waiting.take().unwrap().proposal;
    world.write_eventually(1);
    let collected = world.nodes[1].file.seen.clone();
    let mut group = world.nodes[0].replicas[0].group.clone();
    let open = Entry::decode(&world.logs[0].committed[0]).unwrap();
    group.apply(&open);
    let mut early = group.clone();
    let propose = Entry::Propose(PARTITION, late);
    let accepted = Answer::Decided(Outcome::Accepted(1));
    assert_eq!(early.apply(&propose), accepted);
    group.apply(&Entry::Collect(PARTITION, collected));
    let refused = Answer::Decided(Outcome::Refused(Flaw::Late));
    assert_eq!(group.clone().apply(&propose), refused);
    group.apply(&Entry::Seal(PARTITION, 1, groups::destination(1)));
    let baggage = group.departed(PARTITION).unwrap().baggage.clone().unwrap();
    let mut next = groups::Replica::keeping(1_000).group;
    next.apply(&Entry::Arrive(PARTITION, baggage));
    assert_eq!(next.apply(&propose), refused);
}
