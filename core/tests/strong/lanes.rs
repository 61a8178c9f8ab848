//! Quorum and strong transactions of three nodes in one log, under loss, duplicates, changes of
//! leader and clients that give up.
//!
//! A file numbers its quorum transactions in its own lane, one after the other; those of different
//! files are under way at the same time. What must be true: none of them is rejected for one of
//! another file; a number is taken once; every file ends with the same transactions, each after
//! what it had seen; what is acknowledged is in every confirmed leader's read index.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::catch_unwind;

use nuda_core::certify::{Answer, Entry, Foreseen, Group, Link, Outcome, Proposal, TxnId};
use nuda_core::changeset::{ChainHash, Header, Level, Part};
use nuda_core::hlc::Stamp;
use nuda_core::protocol::NodeId;
use nuda_core::site::{Dot, Site};
use nuda_core::version_vector::VersionVector;

use crate::rng::Rng;
use crate::world::{PARTITION, encode};

const NODES: usize = 3;
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
}

fn site(node: usize) -> Site {
    Site::from_u64(100 + node as u64).unwrap()
}

fn lane(node: usize) -> Site {
    site(node).lane().unwrap()
}

/// A partition's file.
#[derive(Debug, Clone, Default)]
struct File {
    seen: VersionVector,
    /// Of each name in the log: its latest transaction, and what that had seen.
    chains: BTreeMap<Site, (Link, VersionVector)>,
    ids: BTreeSet<TxnId>,
}

impl File {
    /// Takes a transaction of the log.
    fn take(&mut self, header: &Header, hash: ChainHash, id: TxnId) {
        let chain = self.chains.entry(header.dot.site).or_default();
        chain.1.join(&header.rose);
        chain.0 = Link {
            seq: header.dot.seq,
            hash,
            stamp: header.stamp,
        };
        self.seen.raise(header.dot.site, header.dot.seq);
        assert!(self.ids.insert(id), "applied twice");
    }
}

struct Waiting {
    proposal: Proposal,
    after: File,
    patience: u32,
}

#[derive(Default)]
struct Node {
    group: Group,
    applied: usize,
    accepted: Vec<(Dot, TxnId)>,
    queue: Vec<Proposal>,
    file: File,
    eventual: Vec<(Vec<u8>, ChainHash)>,
    waiting: Option<Waiting>,
    /// Ids whose outcome nobody told.
    open: Vec<TxnId>,
    counter: u64,
}

struct World {
    rng: Rng,
    broken: Broken,
    nodes: Vec<Node>,
    leader: usize,
    log: Vec<Vec<u8>>,
    pending: Vec<Vec<u8>>,
    network: Vec<Vec<u8>>,
    committed: BTreeSet<TxnId>,
    refused: BTreeSet<TxnId>,
    /// What clients were told is committed, by name.
    acknowledged: VersionVector,
}

impl World {
    fn new(seed: u64, broken: Broken, window: usize) -> Self {
        let node = |_| Node {
            group: Group::keeping(window),
            ..Node::default()
        };
        let open = Entry::Open {
            partition: PARTITION,
            link: Link::default(),
            base: VersionVector::new(),
        };
        Self {
            rng: Rng::new(seed),
            broken,
            nodes: (0..NODES).map(node).collect(),
            leader: 0,
            log: vec![open.encode()],
            pending: Vec::new(),
            network: Vec::new(),
            committed: BTreeSet::new(),
            refused: BTreeSet::new(),
            acknowledged: VersionVector::new(),
        }
    }

    fn step(&mut self) {
        let node = self.rng.below(NODES as u64) as usize;
        match self.rng.below(20) {
            0..=3 => self.begin(node),
            4..=8 => self.arrive(),
            9..=11 => self.commit(),
            12..=14 => self.apply(node),
            15 => self.deliver(node),
            16 => self.write_eventually(node),
            17 => self.ship(node),
            18 => self.lose_patience(node),
            _ => self.disturb(node),
        }
        self.read();
    }

    fn settle(&mut self) {
        for _ in 0..200 {
            while !self.network.is_empty() {
                self.arrive();
            }
            self.log.append(&mut self.pending);
            for node in 0..NODES {
                while self.nodes[node].applied < self.log.len() {
                    self.apply(node);
                }
                self.lose_patience(node);
                self.deliver(node);
            }
        }
    }

    fn begin(&mut self, at: usize) {
        let is_strong = self.rng.chance(30);
        let node = &mut self.nodes[at];
        if node.waiting.is_some() {
            return;
        }
        node.counter += 1;
        let id = TxnId {
            node: NodeId(at as u64),
            boot: 1,
            counter: node.counter,
            born: node.group.decided(),
        };
        let (name, level) = match is_strong {
            true => (Site::LOG_STRONG, Level::Strong),
            false => (lane(at), Level::Quorum),
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
        let (bytes, hash) = encode(&header, link.hash, b"rows");
        let mut after = node.file.clone();
        after.take(&header, hash, id);
        let known = node.group.partition(PARTITION).cloned().unwrap_or_default();
        let mut proposal = Proposal {
            id,
            base: VersionVector::new(),
            seen: None,
            dependencies: Vec::new(),
            changeset: vec![bytes],
            statements: Vec::new(),
        };
        if self.broken == Broken::NoDependencies {
            proposal.base = seen;
        } else {
            for writer in 0..NODES {
                let from = known.covered.get(site(writer));
                for seq in from + 1..=seen.get(site(writer)) {
                    let part = self.nodes[writer].eventual[seq as usize - 1].0.clone();
                    proposal.dependencies.push(part);
                }
            }
        }
        let entry = Entry::Propose(PARTITION, proposal.clone());
        self.network.push(entry.encode());
        self.nodes[at].waiting = Some(Waiting {
            proposal,
            after,
            patience: 0,
        });
    }

    fn arrive(&mut self) {
        if self.network.is_empty() {
            return;
        }
        let n = self.rng.below(self.network.len() as u64) as usize;
        let bytes = self.network.swap_remove(n);
        if self.rng.chance(10) {
            return;
        }
        if self.rng.chance(15) {
            self.network.push(bytes.clone());
        }
        if let Ok(Entry::Propose(_, proposal)) = Entry::decode(&bytes)
            && self.broken == Broken::Nothing
            && let Some(Foreseen::Answer(answer)) =
                self.nodes[self.leader].group.foresee(PARTITION, &proposal)
        {
            self.tell(proposal.id, answer);
            return;
        }
        self.pending.push(bytes);
    }

    fn commit(&mut self) {
        if !self.pending.is_empty() {
            let bytes = self.pending.remove(0);
            self.log.push(bytes);
        }
    }

    fn apply(&mut self, at: usize) {
        let broken = self.broken;
        let node = &mut self.nodes[at];
        let Some(bytes) = self.log.get(node.applied) else {
            return;
        };
        node.applied += 1;
        let entry = Entry::decode(bytes).unwrap();
        let before = node.group.decided();
        let answer = node.decide(&entry, broken);
        let id = match &entry {
            Entry::Propose(_, proposal) => {
                let is_new = node.group.decided() > before;
                if let (true, Answer::Decided(Outcome::Accepted(_))) = (is_new, answer) {
                    node.accepted.push((proposal.dot().unwrap(), proposal.id));
                    node.queue.push(proposal.clone());
                }
                proposal.id
            }
            Entry::Abort(_, id) => *id,
            _ => return,
        };
        if at == self.leader && self.rng.chance(80) {
            self.tell(id, answer);
        }
    }

    /// A client hears what became of its transaction.
    fn tell(&mut self, id: TxnId, answer: Answer) {
        let at = id.node.0 as usize;
        let node = &mut self.nodes[at];
        let waiting = node.waiting.take_if(|waiting| waiting.proposal.id == id);
        if waiting.is_none() && !node.open.contains(&id) {
            return;
        }
        node.open.retain(|open| *open != id);
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
                if let Some(dot) = dot.filter(|dot| dot.site != Site::LOG_STRONG) {
                    self.rejected(at, dot, outcome);
                }
            }
            _ => {}
        }
    }

    /// A quorum transaction is rejected for an earlier one of the same file only, or because
    /// somebody settled it.
    fn rejected(&self, at: usize, dot: Dot, outcome: Outcome) {
        if outcome == Outcome::Aborted {
            return;
        }
        let mut all = self.nodes.iter().flat_map(|node| &node.accepted);
        let first = all.find(|(accepted, _)| *accepted == dot);
        assert!(
            matches!((outcome, first), (Outcome::Stale(_), Some((_, id))) if id.node.0 == at as u64),
            "{dot} was rejected: {outcome:?}"
        );
    }

    /// A file takes what was accepted, unless a transaction holds its lock.
    fn deliver(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        if node.waiting.is_some() {
            return;
        }
        for proposal in std::mem::take(&mut node.queue) {
            let part = Part::decode(&proposal.changeset[0]).unwrap();
            if node.file.seen.contains(part.dot) {
                continue;
            }
            for bytes in &proposal.dependencies {
                let dot = Part::decode(bytes).unwrap().dot;
                node.file.seen.raise(dot.site, dot.seq);
            }
            let header = part.header().unwrap().unwrap();
            let chain = node.file.chains.get(&part.dot.site);
            let hash = chain.map_or(ChainHash::START, |(link, _)| link.hash);
            assert_eq!(part.first.unwrap().0, hash, "a chain that does not fit");
            let covers = node.file.seen.covers(&header.rose);
            assert!(covers, "an effect without its cause");
            node.file.take(&header, part.last.unwrap(), proposal.id);
        }
    }

    fn write_eventually(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        if node.waiting.is_some() {
            return;
        }
        let seq = node.eventual.len() as u64 + 1;
        let header = Header {
            dot: Dot {
                site: site(at),
                seq,
            },
            stamp: Stamp::from_u64(seq).unwrap(),
            level: Level::Eventual,
            author: String::new(),
            rose: VersionVector::new(),
        };
        let previous = node.eventual.last().map_or(ChainHash::START, |e| e.1);
        node.eventual.push(encode(&header, previous, b"eventual"));
        node.file.seen.raise(site(at), seq);
    }

    /// Some eventual changes reach another node in the background.
    fn ship(&mut self, from: usize) {
        let to = self.rng.below(NODES as u64) as usize;
        let seen = self.nodes[from].file.seen.clone();
        let node = &mut self.nodes[to];
        if node.waiting.is_none() {
            for writer in 0..NODES {
                node.file.seen.raise(site(writer), seen.get(site(writer)));
            }
        }
    }

    /// A client asks again, gives up, or wants to know what became of what it gave up.
    fn lose_patience(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        if let Some(waiting) = &mut node.waiting {
            waiting.patience += 1;
            if waiting.patience < 3 {
                let again = Entry::Propose(PARTITION, waiting.proposal.clone());
                self.network.push(again.encode());
            } else {
                node.open.push(waiting.proposal.id);
                node.waiting = None;
            }
        }
        if let Some(id) = node.open.first() {
            self.network.push(Entry::Abort(PARTITION, *id).encode());
        }
    }

    /// The leader is lost, a client dies, or a member begins again from a snapshot.
    fn disturb(&mut self, at: usize) {
        match self.rng.below(3) {
            0 => {
                let kept = self.rng.below(self.pending.len() as u64 + 1) as usize;
                self.pending.truncate(kept);
                self.leader = at;
            }
            1 => {
                if let Some(waiting) = self.nodes[at].waiting.take() {
                    self.nodes[at].open.push(waiting.proposal.id);
                }
            }
            _ => {
                let group = &mut self.nodes[at].group;
                *group = Group::decode(&group.encode()).unwrap();
            }
        }
    }

    /// A confirmed leader has applied all that is committed: its read index has all that was
    /// acknowledged.
    fn read(&self) {
        for node in self.nodes.iter().filter(|n| n.applied == self.log.len()) {
            let ordered = node.group.partition(PARTITION).unwrap();
            let index = match self.broken {
                Broken::ReadsWithoutLanes => {
                    [(Site::LOG_STRONG, ordered.link.seq)].into_iter().collect()
                }
                _ => ordered.accepted(),
            };
            assert!(index.covers(&self.acknowledged), "a read that misses one");
        }
    }

    fn check(&self) -> u64 {
        let first = &self.nodes[0];
        let all: BTreeSet<TxnId> = first.accepted.iter().map(|(_, id)| *id).collect();
        let names: BTreeSet<Dot> = first.accepted.iter().map(|(dot, _)| *dot).collect();
        assert_eq!(names.len(), first.accepted.len(), "a number is taken twice");
        assert_eq!(
            all.len(),
            first.accepted.len(),
            "a transaction is there twice"
        );
        for node in &self.nodes {
            assert_eq!(node.group.encode(), first.group.encode());
            assert_eq!(node.accepted, first.accepted);
            assert!(node.waiting.is_none() && node.queue.is_empty());
            assert_eq!(node.file.ids, all);
        }
        assert!(self.committed.is_subset(&all), "acknowledged and lost");
        assert!(self.refused.is_disjoint(&all), "refused and there");
        let quorum = names.iter().filter(|dot| dot.site != Site::LOG_STRONG);
        quorum.count() as u64
    }
}

impl Node {
    /// Decides as the log says, or in a broken way.
    fn decide(&mut self, entry: &Entry, broken: Broken) -> Answer {
        match (broken, entry) {
            (Broken::NoDeduplication, Entry::Propose(partition, proposal)) => {
                let mut fresh = proposal.clone();
                fresh.id.boot = 1_000 + self.group.decided();
                fresh.id.born = self.group.decided();
                self.group.apply(&Entry::Propose(*partition, fresh))
            }
            (Broken::NumberedByTheFile, Entry::Propose(partition, proposal)) => {
                let dot = proposal.dot().unwrap();
                match self
                    .group
                    .apply(&Entry::Propose(*partition, proposal.clone()))
                {
                    Answer::Decided(_) if dot.site != Site::LOG_STRONG => {
                        Answer::Decided(Outcome::Accepted(dot.seq))
                    }
                    other => other,
                }
            }
            (_, entry) => self.group.apply(entry),
        }
    }
}

fn run(seed: u64, broken: Broken, window: usize) -> u64 {
    let mut world = World::new(seed, broken, window);
    for _ in 0..1_500 {
        world.step();
    }
    world.settle();
    world.check()
}

#[test]
fn quorum_transactions_are_there_once_and_none_is_rejected_for_another_file() {
    let quorum: u64 = (0..SEEDS)
        .map(|seed| run(seed, Broken::Nothing, 1_000))
        .sum();
    assert!(quorum > SEEDS * 10, "too little happened: {quorum}");
}

#[test]
fn forgotten_outcomes_of_quorum_transactions_are_expired() {
    for seed in 0..SEEDS {
        run(seed, Broken::Nothing, 6);
    }
}

/// By how many of 40 seeds each broken machine is caught.
pub(crate) fn caught_lanes() -> [(Broken, usize); 4] {
    [
        Broken::NumberedByTheFile,
        Broken::NoDeduplication,
        Broken::NoDependencies,
        Broken::ReadsWithoutLanes,
    ]
    .map(|broken| {
        let caught = (0..40).filter(|seed| catch_unwind(|| run(*seed, broken, 1_000)).is_err());
        (broken, caught.count())
    })
}
