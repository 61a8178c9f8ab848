//! Three nodes, a log, and a network that loses, doubles and reorders.
//!
//! Every strong transaction reads a number and writes it plus one; every node also writes
//! eventual changes, which its strong ones may have seen. A node's file is locked while its
//! transaction waits for its outcome.

use std::collections::{BTreeMap, BTreeSet};

use nuda_core::certify::{Answer, Entry, Foreseen, Group, Link, Outcome, Proposal, TxnId};
use nuda_core::changeset::{ChainHash, ChainHasher, Header, Level, Part};
use nuda_core::hlc::Stamp;
use nuda_core::protocol::NodeId;
use nuda_core::site::{Dot, PartitionId, Seq, Site};
use nuda_core::version_vector::VersionVector;

use crate::rng::Rng;

const NODES: usize = 3;
pub(crate) const PARTITION: PartitionId = PartitionId([9; 16]);

/// What is broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    Nothing,
    /// The leader decides when it is asked, from what it has applied by then.
    CertifiedWhenProposed,
    /// Every entry counts as a new transaction.
    NoDeduplication,
    /// Eventual changes do not travel with what saw them.
    NoDependencies,
}

fn site(node: usize) -> Site {
    Site::from_u64(100 + node as u64).unwrap()
}

/// One changeset, whole in one part.
pub(crate) fn encode(header: &Header, previous: ChainHash, body: &[u8]) -> (Vec<u8>, ChainHash) {
    let encoded = header.encode();
    let mut hasher = ChainHasher::new(previous, &encoded);
    hasher.update(body);
    let hash = hasher.finish();
    let part = Part {
        partition: PARTITION,
        dot: header.dot,
        part: 0,
        first: Some((previous, &encoded)),
        last: Some(hash),
        body,
    };
    (part.encode(), hash)
}

/// A partition's file.
#[derive(Debug, Clone, Default)]
struct File {
    link: Link,
    /// What the last strong transaction had seen.
    strong_seen: VersionVector,
    seen: VersionVector,
    number: u64,
    ids: Vec<TxnId>,
}

/// A transaction that waits for its outcome.
#[derive(Debug, Clone)]
struct Waiting {
    proposal: Proposal,
    after: File,
    patience: u32,
}

/// One committed or appended entry, and what the (broken) leader decided beforehand.
#[derive(Debug, Clone)]
struct Slot {
    bytes: Vec<u8>,
    judged: bool,
}

#[derive(Debug, Default)]
struct Node {
    machine: Machine,
    /// Entries of the log that it has applied.
    applied: usize,
    file: File,
    /// Accepted, not yet in the file.
    queue: Vec<Proposal>,
    eventual: Vec<(Vec<u8>, ChainHash)>,
    waiting: Option<Waiting>,
    /// Ids whose outcome nobody told.
    open: Vec<TxnId>,
    counter: u64,
}

/// The state machine, or a broken one.
#[derive(Debug, Default)]
struct Machine {
    group: Group,
    history: Vec<(Seq, TxnId)>,
    naive: BTreeMap<TxnId, Outcome>,
}

pub(crate) struct World {
    rng: Rng,
    broken: Broken,
    nodes: Vec<Node>,
    leader: usize,
    /// Agreed on.
    log: Vec<Slot>,
    /// Appended by the leader, and no majority has it yet.
    pending: Vec<Slot>,
    /// On their way to a leader.
    network: Vec<Vec<u8>>,
    /// What clients were told.
    committed: BTreeSet<TxnId>,
    refused: BTreeSet<TxnId>,
}

impl World {
    pub(crate) fn new(seed: u64, broken: Broken, window: usize) -> Self {
        let node = |_| Node {
            machine: Machine {
                group: Group::keeping(window),
                ..Machine::default()
            },
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
            log: vec![Slot {
                bytes: open.encode(),
                judged: true,
            }],
            pending: Vec::new(),
            network: Vec::new(),
            committed: BTreeSet::new(),
            refused: BTreeSet::new(),
        }
    }

    /// How many transactions the log accepted.
    pub(crate) fn accepted(&self) -> u64 {
        self.nodes[0].machine.history.len() as u64
    }

    pub(crate) fn step(&mut self) {
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
    }

    /// Everything that is under way comes to its end.
    pub(crate) fn settle(&mut self) {
        for _ in 0..200 {
            while !self.network.is_empty() {
                self.arrive();
            }
            while !self.pending.is_empty() {
                self.commit();
            }
            for node in 0..NODES {
                while self.nodes[node].applied < self.log.len() {
                    self.apply(node);
                }
                self.lose_patience(node);
                self.deliver(node);
            }
        }
    }

    /// A client begins a transaction and goes to commit it.
    fn begin(&mut self, at: usize) {
        let blind = self.broken == Broken::NoDependencies;
        let node = &mut self.nodes[at];
        if node.waiting.is_some() {
            return;
        }
        node.counter += 1;
        let id = TxnId {
            node: NodeId(at as u64),
            boot: 1,
            counter: node.counter,
            born: node.machine.group.decided(),
        };
        let file = &node.file;
        let rose: VersionVector = file
            .seen
            .iter()
            .filter(|(site, seq)| *seq > file.strong_seen.get(*site))
            .collect();
        let header = Header {
            dot: Dot {
                site: Site::LOG_STRONG,
                seq: file.link.seq + 1,
            },
            stamp: Stamp::next(file.link.stamp, 1).unwrap(),
            level: Level::Strong,
            author: id.to_string(),
            rose,
        };
        let mut after = file.clone();
        after.number += 1;
        let body = after.number.to_be_bytes();
        let (bytes, hash) = encode(&header, file.link.hash, &body);
        after.link = Link {
            seq: header.dot.seq,
            hash,
            stamp: header.stamp,
        };
        after.strong_seen = file.seen.clone();
        after.ids.push(id);
        let covered = node
            .machine
            .group
            .partition(PARTITION)
            .map(|o| o.covered.clone())
            .unwrap_or_default();
        let file_seen = file.seen.clone();
        let mut proposal = Proposal {
            id,
            base: VersionVector::new(),
            seen: None,
            dependencies: Vec::new(),
            changeset: vec![bytes],
            statements: Vec::new(),
        };
        if blind {
            proposal.base = file_seen;
        } else {
            for (site_, upto) in file_seen.iter() {
                let writer = (site_.get() - 100) as usize;
                for seq in covered.get(site_) + 1..=upto {
                    let (bytes, _) = self.nodes[writer].eventual[seq as usize - 1].clone();
                    proposal.dependencies.push(bytes);
                }
            }
        }
        self.network
            .push(Entry::Propose(PARTITION, proposal.clone()).encode());
        self.nodes[at].waiting = Some(Waiting {
            proposal,
            after,
            patience: 0,
        });
    }

    /// Some message reaches the leader, perhaps twice, perhaps not at all.
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
        let entry = Entry::decode(&bytes).unwrap();
        let leader = &self.nodes[self.leader].machine;
        let mut judged = true;
        if let Entry::Propose(_, proposal) = &entry {
            match self.broken {
                Broken::CertifiedWhenProposed => {
                    let header = Part::decode(&proposal.changeset[0]).unwrap().dot;
                    judged = header.seq == leader.history.len() as u64 + 1;
                }
                Broken::NoDeduplication => {}
                _ => {
                    if let Some(Foreseen::Answer(answer)) =
                        leader.group.foresee(PARTITION, proposal)
                    {
                        self.tell(proposal.id, answer);
                        return;
                    }
                }
            }
        }
        self.pending.push(Slot { bytes, judged });
    }

    /// A majority has the next appended entry.
    fn commit(&mut self) {
        if !self.pending.is_empty() {
            let slot = self.pending.remove(0);
            self.log.push(slot);
        }
    }

    /// A member applies its next entry.
    fn apply(&mut self, at: usize) {
        let broken = self.broken;
        let node = &mut self.nodes[at];
        let Some(slot) = self.log.get(node.applied) else {
            return;
        };
        node.applied += 1;
        let entry = Entry::decode(&slot.bytes).unwrap();
        let answer = node.machine.apply(&entry, slot.judged, broken);
        if let (Entry::Propose(_, proposal), Answer::Decided(Outcome::Accepted(seq))) =
            (&entry, answer)
            && node.machine.history.last() == Some(&(seq, proposal.id))
            && !node.queue.iter().any(|p| p.id == proposal.id)
        {
            node.queue.push(proposal.clone());
        }
        let id = match &entry {
            Entry::Propose(_, proposal) => proposal.id,
            Entry::Abort(_, id) => *id,
            _ => return,
        };
        // Whoever leads answers; some answers are lost.
        if at == self.leader && self.rng.chance(80) {
            self.tell(id, answer);
        }
    }

    /// A client hears what became of its transaction.
    fn tell(&mut self, id: TxnId, answer: Answer) {
        let at = id.node.0 as usize;
        let node = &mut self.nodes[at];
        let waits = node.waiting.as_ref().is_some_and(|w| w.proposal.id == id);
        let was_open = node.open.contains(&id);
        if !waits && !was_open {
            return;
        }
        match answer {
            Answer::Decided(Outcome::Accepted(_)) => {
                self.committed.insert(id);
                if let (true, Some(waiting)) = (waits, node.waiting.take()) {
                    node.file = waiting.after;
                }
            }
            Answer::Decided(_) => {
                self.refused.insert(id);
            }
            // Nobody is told anything about it.
            Answer::Expired | Answer::Open | Answer::NotHere | Answer::Moved | Answer::Expected => {
            }
        }
        if waits {
            node.waiting = None;
        }
        node.open.retain(|open| *open != id);
    }

    /// A file takes what was accepted, unless a transaction holds its lock.
    fn deliver(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        if node.waiting.is_some() {
            return;
        }
        for proposal in std::mem::take(&mut node.queue) {
            let part = Part::decode(&proposal.changeset[0]).unwrap();
            if part.dot.seq <= node.file.link.seq {
                continue;
            }
            let header = part.header().unwrap().unwrap();
            let (previous, _) = part.first.unwrap();
            for bytes in &proposal.dependencies {
                let dot = Part::decode(bytes).unwrap().dot;
                node.file.seen.raise(dot.site, dot.seq);
            }
            assert_eq!(previous, node.file.link.hash, "a chain that does not fit");
            assert!(
                node.file.seen.covers(&header.rose),
                "an effect without its cause"
            );
            node.file.strong_seen.join(&header.rose);
            node.file.link = Link {
                seq: part.dot.seq,
                hash: part.last.unwrap(),
                stamp: header.stamp,
            };
            node.file.number = u64::from_be_bytes(part.body.try_into().unwrap());
            node.file.ids.push(proposal.id);
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
        if self.nodes[to].waiting.is_none() {
            self.nodes[to].file.seen.join(&seen);
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
                // What no majority had may survive in part, in order.
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
                let machine = &mut self.nodes[at].machine;
                machine.group = Group::decode(&machine.group.encode()).unwrap();
            }
        }
    }

    /// What must be true in the end.
    pub(crate) fn check(&self) {
        let first = &self.nodes[0];
        let history: Vec<TxnId> = first.machine.history.iter().map(|(_, id)| *id).collect();
        for (n, (seq, _)) in first.machine.history.iter().enumerate() {
            assert_eq!(*seq, n as u64 + 1, "positions are dense");
        }
        for node in &self.nodes {
            assert_eq!(node.machine.group.encode(), first.machine.group.encode());
            assert_eq!(node.machine.history, first.machine.history);
            assert!(node.waiting.is_none() && node.queue.is_empty());
            assert_eq!(node.file.link, first.file.link);
            assert_eq!(node.file.number, history.len() as u64, "a lost update");
            assert_eq!(node.file.ids, history);
        }
        let all: BTreeSet<TxnId> = history.iter().copied().collect();
        assert_eq!(all.len(), history.len(), "a transaction is there twice");
        assert!(self.committed.is_subset(&all), "acknowledged and lost");
        assert!(self.refused.is_disjoint(&all), "refused and there");
    }
}

impl Machine {
    fn apply(&mut self, entry: &Entry, judged: bool, broken: Broken) -> Answer {
        let answer = match (broken, entry) {
            (Broken::CertifiedWhenProposed, Entry::Propose(_, proposal)) => {
                let next = self.history.len() as u64 + 1;
                let outcome = *self.naive.entry(proposal.id).or_insert(if judged {
                    Outcome::Accepted(next)
                } else {
                    Outcome::Stale(next - 1)
                });
                Answer::Decided(outcome)
            }
            (Broken::CertifiedWhenProposed, Entry::Abort(_, id)) => {
                Answer::Decided(*self.naive.entry(*id).or_insert(Outcome::Aborted))
            }
            (Broken::NoDeduplication, Entry::Propose(partition, proposal)) => {
                let mut fresh = proposal.clone();
                fresh.id.boot = 1_000 + self.group.decided();
                fresh.id.born = self.group.decided();
                self.group.apply(&Entry::Propose(*partition, fresh))
            }
            (_, entry) => self.group.apply(entry),
        };
        if let (Entry::Propose(_, proposal), Answer::Decided(Outcome::Accepted(seq))) =
            (entry, answer)
            && seq > self.history.len() as u64
        {
            self.history.push((seq, proposal.id));
        }
        answer
    }
}
