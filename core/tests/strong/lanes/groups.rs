//! The groups of the simulation: their logs, their members' decisions, and the partition's moves among
//! them.

use nuda_core::certify::{Answer, Entry, Flaw, Foreseen, Group, Ordered, Outcome};
use nuda_core::moves::Destination;
use nuda_core::site::Site;
use nuda_core::version_vector::VersionVector;

use super::{Broken, GROUPS, NODES, Node, PARTITION, World};

/// Messages that wait for a leader; of more some are lost.
const NETWORK: usize = 24;

/// A group's log.
#[derive(Default)]
pub(super) struct Log {
    pub(super) leader: usize,
    pub(super) committed: Vec<Vec<u8>>,
    pub(super) pending: Vec<Vec<u8>>,
    pub(super) network: Vec<Vec<u8>>,
    /// Messages that come when nobody expects them any more.
    astray: Vec<Vec<u8>>,
}

/// A member of a group.
#[derive(Clone)]
pub(super) struct Replica {
    pub(super) group: Group,
    pub(super) applied: usize,
}

pub(super) fn destination(group: usize) -> Destination {
    Destination {
        group: [group as u8; 16],
        home: "a".to_owned(),
        voters: vec!["a".to_owned(), "b".to_owned(), "c".to_owned()],
        followers: Vec::new(),
    }
}

impl Log {
    pub(super) fn receive(&mut self, entry: &Entry) {
        if self.network.len() < NETWORK {
            self.network.push(entry.encode());
        }
    }
}

impl Replica {
    pub(super) fn keeping(window: usize) -> Self {
        Self {
            group: Group::keeping(window),
            applied: 0,
        }
    }

    /// All that was accepted, here or before the partition came here.
    pub(super) fn accepted(&self) -> VersionVector {
        let here = self.group.partition(PARTITION).map(Ordered::accepted);
        let leaving = self.group.departed(PARTITION);
        let leaving = leaving.and_then(|departed| departed.baggage.as_ref());
        here.or_else(|| leaving.map(|baggage| baggage.ordered.accepted()))
            .unwrap_or_default()
    }

    /// Decides as the log says, or in a broken way.
    fn decide(&mut self, entry: &Entry, broken: Broken) -> Answer {
        match (broken, entry) {
            (Broken::NoDeduplication, Entry::Propose(partition, proposal)) => {
                let mut fresh = proposal.clone();
                fresh.id.boot = 1_000 + self.group.decided();
                fresh.id.born = self.group.decided();
                self.group.apply(&Entry::Propose(*partition, fresh))
            }
            (Broken::NumberedByTheFile, Entry::Propose(_, proposal)) => {
                let dot = proposal.dot().unwrap();
                match self.group.apply(entry) {
                    Answer::Decided(_) if dot.site != Site::LOG_STRONG => {
                        Answer::Decided(Outcome::Accepted(dot.seq))
                    }
                    other => other,
                }
            }
            (Broken::MovesWithoutLanes, Entry::Arrive(partition, baggage)) => {
                let mut less = baggage.clone();
                less.ordered.lanes.clear();
                self.group.apply(&Entry::Arrive(*partition, less))
            }
            (_, entry) => self.group.apply(entry),
        }
    }
}

impl Node {
    /// What the node knows of the partition in the group that orders it, as far as it knows.
    pub(super) fn ordered(&self) -> Option<&Ordered> {
        let groups = self.replicas.iter().map(|replica| &replica.group);
        let ordering = groups.filter_map(|group| group.partition(PARTITION));
        ordering.max_by_key(|ordered| ordered.moves)
    }

    /// What need not travel.
    pub(super) fn covered(&self) -> VersionVector {
        self.ordered()
            .map(|ordered| ordered.covered.clone())
            .unwrap_or_default()
    }
}

impl World {
    /// A leader takes a message; some come again later, some never arrive.
    pub(super) fn arrive(&mut self, number: usize) {
        if self.logs[number].network.is_empty() {
            return;
        }
        let len = self.logs[number].network.len();
        let at = self.pick(len);
        let bytes = self.logs[number].network.swap_remove(at);
        if self.rng.chance(12) {
            if self.rng.chance(50) {
                self.logs[number].astray.push(bytes);
            }
            return;
        }
        if self.rng.chance(15) && len < NETWORK / 2 {
            self.logs[number].network.push(bytes.clone());
        }
        let leader = &self.nodes[self.logs[number].leader].replicas[number].group;
        if let Ok(Entry::Propose(_, proposal)) = Entry::decode(&bytes)
            && self.broken == Broken::Nothing
            && let Some(Foreseen::Answer(answer)) = leader.foresee(PARTITION, &proposal)
        {
            let (decided, now_at) = told(leader);
            self.tell(proposal.id, answer, decided, now_at);
            return;
        }
        self.logs[number].pending.push(bytes);
    }

    pub(super) fn commit(&mut self, number: usize) {
        let log = &mut self.logs[number];
        if !log.pending.is_empty() {
            let bytes = log.pending.remove(0);
            log.committed.push(bytes);
        }
    }

    pub(super) fn apply(&mut self, number: usize, at: usize) {
        for _ in 0..self.rng.below(6) {
            self.apply_at(number, at);
        }
    }

    /// A member applies its next entry; false if there is none.
    pub(super) fn apply_at(&mut self, number: usize, at: usize) -> bool {
        let broken = self.broken;
        let replica = &mut self.nodes[at].replicas[number];
        let Some(bytes) = self.logs[number].committed.get(replica.applied) else {
            return false;
        };
        replica.applied += 1;
        let entry = Entry::decode(bytes).unwrap();
        let before = replica.group.decided();
        let answer = replica.decide(&entry, broken);
        let is_new = replica.group.decided() > before;
        let (decided, now_at) = told(&replica.group);
        let id = match &entry {
            Entry::Propose(_, proposal) => {
                if let (true, Answer::Decided(Outcome::Accepted(_))) = (is_new, answer) {
                    self.nodes[at].queue.push(proposal.clone());
                    self.accept(proposal);
                }
                if (is_new, answer) == (true, Answer::Decided(Outcome::Refused(Flaw::Late))) {
                    self.late += 1;
                }
                proposal.id
            }
            Entry::Abort(_, id) => *id,
            Entry::Expect(_, moves) if answer == Answer::Expected => {
                if let Some(from) = self.plans.get(&(*moves, number)) {
                    let seal = Entry::Seal(PARTITION, *moves, destination(number));
                    self.logs[*from].receive(&seal);
                }
                return true;
            }
            _ => return true,
        };
        if at == self.logs[number].leader && self.rng.chance(80) {
            self.tell(id, answer, decided, now_at);
        }
        true
    }

    /// Somebody wants to move the partition on; who lags behind may want it, too.
    pub(super) fn seal(&mut self, number: usize) {
        let (at, to) = (self.pick(NODES), self.pick(GROUPS));
        let group = &self.nodes[at].replicas[number].group;
        if let Some(here) = group.partition(PARTITION)
            && to != number
            && self.rng.chance(50)
        {
            let moves = here.moves + 1;
            self.plans.insert((moves, to), number);
            self.logs[to].receive(&Entry::Expect(PARTITION, moves));
        }
    }

    /// A member of the old group carries on with the move.
    pub(super) fn carry_on(&mut self, number: usize) {
        let at = self.pick(NODES);
        let group = &self.nodes[at].replicas[number].group;
        let Some(departed) = group.departed(PARTITION).cloned() else {
            return;
        };
        let Some(baggage) = departed.baggage else {
            return;
        };
        let to = usize::from(departed.to.group[0]);
        let has_it = self.nodes.iter().any(|node| {
            let there = &node.replicas[to].group;
            let open = there.partition(PARTITION).map(|o| o.moves);
            let gone = there.departed(PARTITION).map(|d| d.moves);
            open.max(gone) >= Some(departed.moves)
        });
        let (to, entry) = match has_it {
            true => (number, Entry::Leave(PARTITION, departed.moves)),
            false => (to, Entry::Arrive(PARTITION, baggage)),
        };
        self.logs[to].receive(&entry);
    }

    /// The leader is lost, a message comes late, a client dies, or a member begins again from a snapshot.
    pub(super) fn disturb(&mut self, number: usize, at: usize) {
        match self.rng.below(4) {
            0 => {
                let len = self.logs[number].pending.len();
                let kept = self.pick(len + 1);
                self.logs[number].pending.truncate(kept);
                self.logs[number].leader = at;
            }
            1 => {
                let len = self.logs[number].astray.len();
                let lost = self.pick(len);
                if len > 0 {
                    let bytes = self.logs[number].astray.swap_remove(lost);
                    self.logs[number].pending.push(bytes);
                }
            }
            2 => {
                let node = &mut self.nodes[at];
                node.open.extend(node.waiting.take().map(|w| w.proposal.id));
            }
            _ => {
                let group = &mut self.nodes[at].replicas[number].group;
                *group = Group::decode(&group.encode()).unwrap();
            }
        }
    }
}

/// What a member tells beside its answer: its count of decisions, and where the partition is.
fn told(group: &Group) -> (u64, Option<usize>) {
    let departed = group.departed(PARTITION);
    let now_at = departed.map(|departed| usize::from(departed.to.group[0]));
    (group.decided(), now_at)
}
