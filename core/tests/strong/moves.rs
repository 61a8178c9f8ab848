//! A partition that moves between groups, and groups that end, simulated: entries of moves are lost, doubled and come
//! late, leaders change in the middle, clients ask groups that have it no more. One seed replays
//! everything.
//!
//! The invariant: all groups together accept one transaction for each position, and what anybody
//! was told about an id is so. The negative controls break a part of a move and must be caught.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::catch_unwind;

use nuda_core::certify::{Answer, Entry, Group, Link, Outcome, Proposal, TxnId};
use nuda_core::changeset::{Header, Level, Part};
use nuda_core::hlc::Stamp;
use nuda_core::moves::Destination;
use nuda_core::protocol::NodeId;
use nuda_core::site::{Dot, Seq, Site};
use nuda_core::version_vector::VersionVector;

use crate::rng::Rng;
use crate::world::{PARTITION, encode};

const GROUPS: u64 = 5;
const CLIENTS: u64 = 3;
const SEEDS: u64 = 300;

/// What is broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    Nothing,
    /// The old group goes on after its seal.
    NoSeal,
    /// A partition that has left arrives again, if the entry comes again.
    NoNumbers,
    /// Outcomes stay behind.
    NoOutcomes,
    /// The new group is not told beforehand, and may have ended.
    NoExpectation,
    /// The new group counts decisions as if it had taken none for the partition.
    NoCount,
}

/// A member of a group.
struct Replica {
    group: Group,
    applied: usize,
    /// What a group without a seal goes on with.
    unsealed: Option<Group>,
}

/// A group's log and its members.
struct Log {
    replicas: Vec<Replica>,
    leader: usize,
    committed: Vec<Vec<u8>>,
    pending: Vec<Vec<u8>>,
    network: Vec<Vec<u8>>,
}

/// A file and its application.
#[derive(Default)]
struct Client {
    link: Link,
    counter: u64,
    /// The greatest count of decisions that it was told.
    decided: u64,
    /// Where it believes the partition to be.
    at: usize,
    waiting: Option<Proposal>,
    /// Ids whose outcome nobody told.
    open: Vec<TxnId>,
}

struct World {
    rng: Rng,
    broken: Broken,
    logs: Vec<Log>,
    clients: Vec<Client>,
    /// What was accepted, by whichever group.
    history: BTreeMap<Seq, Proposal>,
    committed: BTreeSet<TxnId>,
    refused: BTreeSet<TxnId>,
    /// Moves that wait for the new group's word: number and destination, and from where.
    plans: BTreeMap<(u64, usize), usize>,
    moves: u64,
}

fn destination(group: usize) -> Destination {
    Destination {
        group: [group as u8; 16],
        home: "a".to_owned(),
        voters: vec!["a".to_owned(), "b".to_owned()],
        followers: vec!["c".to_owned()],
    }
}

impl World {
    fn new(seed: u64, broken: Broken, window: usize) -> Self {
        let replica = |_| Replica {
            group: Group::keeping(window),
            applied: 0,
            unsealed: None,
        };
        let log = |_| Log {
            replicas: (0..3).map(replica).collect(),
            leader: 0,
            committed: Vec::new(),
            pending: Vec::new(),
            network: Vec::new(),
        };
        let mut world = Self {
            rng: Rng::new(seed),
            broken,
            logs: (0..GROUPS).map(log).collect(),
            clients: (0..CLIENTS).map(|_| Client::default()).collect(),
            history: BTreeMap::new(),
            committed: BTreeSet::new(),
            refused: BTreeSet::new(),
            plans: BTreeMap::new(),
            moves: 0,
        };
        let open = Entry::Open {
            partition: PARTITION,
            link: Link::default(),
            base: VersionVector::new(),
        };
        world.logs[0].committed.push(open.encode());
        world
    }

    fn pick(&mut self, below: u64) -> usize {
        self.rng.below(below) as usize
    }

    fn step(&mut self) {
        let (client, log) = (self.pick(CLIENTS), self.pick(GROUPS));
        match self.rng.below(40) {
            0..=3 => self.begin(client),
            4..=11 => self.take(log),
            12..=19 => self.commit(log),
            20..=31 => self.apply(log),
            32..=34 => self.lose_patience(client),
            35 => self.disturb(log),
            36 => self.seal(log),
            _ => self.carry_on(log),
        }
    }

    fn settle(&mut self) {
        for _ in 0..60 {
            for log in 0..GROUPS as usize {
                while !self.logs[log].network.is_empty() {
                    self.take(log);
                }
                while !self.logs[log].pending.is_empty() {
                    self.commit(log);
                }
                for replica in 0..3 {
                    while self.apply_at(log, replica) {}
                }
                self.carry_on(log);
            }
            for client in 0..CLIENTS as usize {
                self.lose_patience(client);
            }
        }
    }

    /// A client commits a transaction.
    fn begin(&mut self, at: usize) {
        if self.rng.chance(80) {
            self.catch_up(at);
        }
        let client = &mut self.clients[at];
        if client.waiting.is_some() {
            return;
        }
        client.counter += 1;
        let id = TxnId {
            node: NodeId(at as u64),
            boot: 1,
            counter: client.counter,
            born: client.decided,
        };
        let header = Header {
            dot: Dot {
                site: Site::LOG_STRONG,
                seq: client.link.seq + 1,
            },
            stamp: Stamp::next(client.link.stamp, 1).unwrap(),
            level: Level::Strong,
            author: id.to_string(),
            rose: VersionVector::new(),
        };
        let (part, _) = encode(&header, client.link.hash, b"rows");
        client.waiting = Some(Proposal {
            id,
            base: VersionVector::new(),
            seen: None,
            dependencies: Vec::new(),
            changeset: vec![part],
            statements: Vec::new(),
        });
        self.ask(at);
    }

    /// A client asks the group that it believes in, or another one.
    fn ask(&mut self, at: usize) {
        let astray = self.rng.chance(10).then(|| self.pick(GROUPS));
        let client = &self.clients[at];
        let to = astray.unwrap_or(client.at);
        if let Some(proposal) = &client.waiting {
            let entry = Entry::Propose(PARTITION, proposal.clone());
            self.logs[to].receive(&entry);
        }
        for id in &client.open {
            let entry = Entry::Abort(PARTITION, *id);
            self.logs[to].receive(&entry);
        }
    }

    /// A leader takes a message; some come again later, some never arrive.
    fn take(&mut self, log: usize) {
        if self.logs[log].network.is_empty() {
            return;
        }
        let len = self.logs[log].network.len() as u64;
        let bytes = {
            let at = self.pick(len);
            self.logs[log].network.swap_remove(at)
        };
        if self.rng.chance(15) {
            return;
        }
        if self.rng.chance(25) && self.logs[log].network.len() < 12 {
            self.logs[log].network.push(bytes.clone());
        }
        self.logs[log].pending.push(bytes);
    }

    fn commit(&mut self, log: usize) {
        let log = &mut self.logs[log];
        if !log.pending.is_empty() {
            let bytes = log.pending.remove(0);
            log.committed.push(bytes);
        }
    }

    fn apply(&mut self, log: usize) {
        let replica = self.pick(3);
        for _ in 0..self.rng.below(6) {
            self.apply_at(log, replica);
        }
    }

    /// A member applies its next entry; false if there is none.
    fn apply_at(&mut self, number: usize, at: usize) -> bool {
        let broken = self.broken;
        let leads = self.logs[number].leader == at;
        let log = &mut self.logs[number];
        let replica = &mut log.replicas[at];
        let Some(bytes) = log.committed.get(replica.applied) else {
            return false;
        };
        replica.applied += 1;
        let entry = Entry::decode(bytes).unwrap();
        let before = replica.position();
        let answer = replica.apply(entry.clone(), broken);
        let decided = replica.group.decided();
        let now_at = replica.group.departed(PARTITION).map(|d| d.to.group[0]);
        let (id, proposal) = match entry {
            Entry::Propose(_, proposal) => (proposal.id, Some(proposal)),
            Entry::Abort(_, id) => (id, None),
            Entry::Expect(_, moves) if answer == Answer::Expected => {
                if let Some(from) = self.plans.get(&(moves, number)) {
                    let seal = Entry::Seal(PARTITION, moves, destination(number));
                    self.logs[*from].receive(&seal);
                }
                return true;
            }
            _ => return true,
        };
        if let (Answer::Decided(Outcome::Accepted(seq)), Some(proposal)) = (answer, proposal)
            && seq > before
        {
            let first = self.history.entry(seq).or_insert_with(|| proposal.clone());
            assert_eq!(first.id, proposal.id, "two transactions at one position");
        }
        if leads && self.rng.chance(80) {
            self.tell(id, answer, decided, now_at);
        }
        true
    }

    /// A client hears what a group says.
    fn tell(&mut self, id: TxnId, answer: Answer, decided: u64, now_at: Option<u8>) {
        let client = &mut self.clients[id.node.0 as usize];
        client.decided = decided.max(client.decided);
        let is_waiting = client.waiting.as_ref().is_some_and(|w| w.id == id);
        if !is_waiting && !client.open.contains(&id) {
            return;
        }
        match answer {
            Answer::Decided(Outcome::Accepted(_)) => {
                self.committed.insert(id);
            }
            Answer::Decided(_) => {
                self.refused.insert(id);
            }
            Answer::Moved => {
                client.at = now_at.map_or(client.at, usize::from);
                return;
            }
            Answer::NotHere | Answer::Open | Answer::Expected => return,
            // Nobody is told anything about it.
            Answer::Expired => {}
        }
        if is_waiting {
            client.waiting = None;
        }
        client.open.retain(|open| *open != id);
    }

    /// A file takes some of what was accepted.
    fn catch_up(&mut self, at: usize) {
        let client = &mut self.clients[at];
        if client.waiting.is_some() {
            return;
        }
        while let Some(proposal) = self.history.get(&(client.link.seq + 1)) {
            let part = Part::decode(&proposal.changeset[0]).unwrap();
            let (previous, _) = part.first.unwrap();
            assert_eq!(previous, client.link.hash, "a chain that does not fit");
            client.link = Link {
                seq: part.dot.seq,
                hash: part.last.unwrap(),
                stamp: part.header().unwrap().unwrap().stamp,
            };
        }
    }

    /// A client asks again, or gives up and wants to know what became of it.
    fn lose_patience(&mut self, at: usize) {
        if self.rng.chance(15) {
            let client = &mut self.clients[at];
            client.open.extend(client.waiting.take().map(|w| w.id));
        }
        self.ask(at);
        if self.rng.chance(20) {
            self.clients[at].at = self.pick(GROUPS);
        }
    }

    /// The leader is lost, or a member begins again from a snapshot.
    fn disturb(&mut self, log: usize) {
        let at = self.pick(3);
        if self.rng.chance(2) {
            // It ends if it has nothing to do.
            self.logs[log].receive(&Entry::Retire);
        } else if self.rng.chance(50) {
            let len = self.logs[log].pending.len() as u64 + 1;
            let kept = self.pick(len);
            let log = &mut self.logs[log];
            log.pending.truncate(kept);
            log.leader = at;
        } else {
            let group = &mut self.logs[log].replicas[at].group;
            *group = Group::decode(&group.encode()).unwrap();
        }
    }

    /// Somebody wants to move the partition on; who lags behind may want it, too.
    fn seal(&mut self, log: usize) {
        let (at, to) = (self.pick(3), self.pick(GROUPS));
        let group = &self.logs[log].replicas[at].group;
        if let Some(here) = group.partition(PARTITION)
            && to != log
        {
            let moves = here.moves + 1;
            if self.broken == Broken::NoExpectation {
                let entry = Entry::Seal(PARTITION, moves, destination(to));
                self.logs[log].receive(&entry);
            } else {
                self.plans.insert((moves, to), log);
                self.logs[to].receive(&Entry::Expect(PARTITION, moves));
            }
        }
    }

    /// A member of the old group carries on with the move.
    fn carry_on(&mut self, log: usize) {
        let at = self.pick(3);
        let group = &self.logs[log].replicas[at].group;
        let Some(departed) = group.departed(PARTITION).cloned() else {
            return;
        };
        let Some(baggage) = departed.baggage else {
            return;
        };
        let to = usize::from(departed.to.group[0]);
        let has_it = self.logs[to].replicas.iter().any(|there| {
            let open = there.group.partition(PARTITION).map(|o| o.moves);
            let gone = there.group.departed(PARTITION).map(|d| d.moves);
            open.max(gone) >= Some(departed.moves)
        });
        let (to, entry) = if has_it {
            (log, Entry::Leave(PARTITION, departed.moves))
        } else {
            (to, Entry::Arrive(PARTITION, baggage))
        };
        self.logs[to].receive(&entry);
    }

    fn check(&mut self) {
        for log in &self.logs {
            for replica in &log.replicas {
                let first = log.replicas[0].group.encode();
                assert_eq!(replica.group.encode(), first, "members disagree");
            }
        }
        let orders = |log: &Log| log.replicas[0].group.partition(PARTITION).is_some();
        let ordering = self.logs.iter().filter(|log| orders(log)).count();
        assert_eq!(ordering, 1, "groups that order the partition");
        let all: BTreeSet<TxnId> = self.history.values().map(|p| p.id).collect();
        assert_eq!(
            all.len(),
            self.history.len(),
            "a transaction is there twice"
        );
        assert!(self.committed.is_subset(&all), "acknowledged and lost");
        assert!(self.refused.is_disjoint(&all), "refused and there");
        for (n, seq) in (1..).zip(self.history.keys()) {
            assert_eq!(n, *seq, "positions are dense");
        }
        let moves = |log: &Log| log.replicas[0].group.partition(PARTITION).map(|o| o.moves);
        self.moves = self.logs.iter().filter_map(moves).sum();
        // Every file can take all of it.
        for at in 0..CLIENTS as usize {
            self.clients[at].waiting = None;
            self.catch_up(at);
        }
    }
}

impl Log {
    /// A message is on its way; of too many some are lost.
    fn receive(&mut self, entry: &Entry) {
        if self.network.len() < 12 {
            self.network.push(entry.encode());
        }
    }
}

impl Replica {
    fn position(&self) -> Seq {
        let group = self.unsealed.as_ref().unwrap_or(&self.group);
        group.partition(PARTITION).map_or(0, |o| o.link.seq)
    }

    /// Applies an entry, or a broken one.
    fn apply(&mut self, mut entry: Entry, broken: Broken) -> Answer {
        match (&mut entry, broken) {
            (Entry::Seal(..), Broken::NoSeal) if self.unsealed.is_none() => {
                self.unsealed = Some(self.group.clone());
            }
            (Entry::Propose(..), Broken::NoSeal) => {
                if let Some(unsealed) = &mut self.unsealed {
                    return unsealed.apply(&entry);
                }
            }
            (Entry::Arrive(_, baggage), Broken::NoNumbers) => {
                if let Some(departed) = self.group.departed(PARTITION) {
                    baggage.ordered.moves = departed.moves + 1;
                }
            }
            (Entry::Arrive(_, baggage), Broken::NoOutcomes) => baggage.outcomes.clear(),
            (Entry::Arrive(_, baggage), Broken::NoCount) => {
                baggage.decided = 0;
                baggage.ordered.forgotten = 0;
            }
            _ => {}
        }
        self.group.apply(&entry)
    }
}

fn run(seed: u64, broken: Broken, window: usize) -> (u64, u64) {
    let mut world = World::new(seed, broken, window);
    for _ in 0..5_000 {
        world.step();
    }
    world.settle();
    world.check();
    (world.history.len() as u64, world.moves)
}

#[test]
fn wherever_it_goes_a_partition_has_one_order() {
    let (mut accepted, mut moves) = (0, 0);
    for seed in 0..SEEDS {
        let (more, moved) = run(seed, Broken::Nothing, 1_000);
        accepted += more;
        moves += moved;
    }
    println!("{accepted} accepted, {moves} moves");
    assert!(accepted > SEEDS * 6, "too little happened: {accepted}");
    assert!(moves > SEEDS * 3, "too few moves: {moves}");
}

#[test]
fn outcomes_that_are_forgotten_on_the_way_are_expired() {
    for seed in 0..SEEDS {
        run(seed, Broken::Nothing, 4);
    }
}

#[test]
fn a_group_lasts_while_a_move_needs_it_and_ends_without_partitions() {
    let open = Entry::Open {
        partition: PARTITION,
        link: Link::default(),
        base: VersionVector::new(),
    };
    let (mut old, mut new) = (Group::default(), Group::default());
    assert_eq!(old.apply(&open), Answer::Open);
    assert_eq!(new.apply(&Entry::Expect(PARTITION, 1)), Answer::Expected);
    let retired = |group: &mut Group| {
        group.apply(&Entry::Retire);
        group.is_retired()
    };
    assert!(!retired(&mut old), "it orders a partition");
    assert!(!retired(&mut new), "it expects one");
    let seal = Entry::Seal(PARTITION, 1, destination(1));
    assert_eq!(old.apply(&seal), Answer::Moved);
    assert!(!retired(&mut old), "it keeps what travels");
    let baggage = old.departed(PARTITION).unwrap().baggage.clone().unwrap();
    let arrive = Entry::Arrive(PARTITION, baggage);
    assert_eq!(new.apply(&arrive), Answer::Open);
    assert_eq!(old.apply(&Entry::Leave(PARTITION, 1)), Answer::Moved);
    assert!(retired(&mut old));
    // Nothing begins in a group that has ended, whatever comes late.
    assert_eq!(old.apply(&open), Answer::Moved);
    let back = Entry::Expect(PARTITION, 2);
    assert_eq!(old.apply(&back), Answer::Moved);
    let again = Group::decode(&old.encode()).unwrap();
    assert!(again.is_retired() && again == old);
    let mut empty = Group::default();
    assert!(retired(&mut empty));
    assert_eq!(empty.apply(&open), Answer::NotHere);
    assert_eq!(empty.apply(&back), Answer::NotHere);
    // What is expected and came already keeps nobody.
    assert_eq!(new.apply(&Entry::Expect(PARTITION, 1)), Answer::Open);
    new.apply(&Entry::Seal(PARTITION, 2, destination(0)));
    new.apply(&Entry::Leave(PARTITION, 2));
    assert!(retired(&mut new));
}

/// Of 120 seeds, how many catch each broken move. Called with the panics silenced.
pub(crate) fn caught_moves() -> [(Broken, usize); 5] {
    let broken = [
        (Broken::NoSeal, 1_000),
        (Broken::NoNumbers, 1_000),
        (Broken::NoOutcomes, 1_000),
        (Broken::NoExpectation, 1_000),
        (Broken::NoCount, 3),
    ];
    broken.map(|(broken, window)| {
        let fails = |seed: &u64| catch_unwind(|| run(*seed, broken, window)).is_err();
        (broken, (0..120).filter(fails).count())
    })
}
