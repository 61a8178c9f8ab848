//! Fair turns: who may propose to a partition's log next.
//!
//! Of transactions that overlap the first one wins, and the first one is always the leader's
//! neighbour's. So whoever lost is given the next turn: until it has proposed again, the others'
//! proposals wait (they are not rejected; but when the turn is over, they may be overtaken, and
//! then it is their turn). Turns are in the order of the losses, so that each of n contenders
//! commits at least every n-th time.
//!
//! A turn that is not used ends by itself. How long that takes follows what the contender needed
//! from its last loss to its next proposal: the way there and back, and running the transaction
//! again. One that does not come back is waited for a moment only.
//!
//! Nothing depends on this but fairness: it is the leader's own memory, is in no log, and is gone
//! with the leader. Invariant: nobody waits longer than [`LONGEST_MS`] for one turn of another.

use std::collections::{BTreeMap, VecDeque};

use crate::protocol::NodeId;

/// Turns are at least this long, in milliseconds.
pub const SHORTEST_MS: u64 = 20;

/// Turns are at most this long.
pub const LONGEST_MS: u64 = 500;

/// The turn of a contender about whom nothing is known.
const FIRST_MS: u64 = 100;

/// Contenders that are remembered; beyond it all are new again.
const REMEMBERED: usize = 64;

/// Who competes for the next position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Contender {
    /// The applications of a node.
    Node(NodeId),
    /// The calls that the leader runs for others.
    Calls,
}

/// Whether a proposal may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permit {
    /// At once.
    Go,
    /// Not before somebody's turn is over, at this time at the latest.
    Wait(u64),
}

/// The turns at one partition. All times are the host's, in milliseconds.
#[derive(Debug, Clone, Default)]
pub struct Turns {
    /// Those that lost or waited, and have not won since; the first one has the turn.
    queue: VecDeque<Contender>,
    /// When the turn of the first one ends.
    until_ms: u64,
    known: BTreeMap<Contender, Known>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Known {
    /// When it lost, unless it has proposed since.
    lost_ms: Option<u64>,
    /// What it needed from a loss to its next proposal.
    needed_ms: Option<u64>,
}

impl Turns {
    /// A proposal of this one is here, whatever becomes of it.
    pub fn arrived(&mut self, who: Contender, now_ms: u64) {
        if let Some(known) = self.known.get_mut(&who)
            && let Some(lost_ms) = known.lost_ms.take()
        {
            known.needed_ms = Some(now_ms.saturating_sub(lost_ms));
        }
    }

    /// May a proposal go on, or be made? To be asked again when something has changed.
    pub fn permit(&mut self, who: Contender, now_ms: u64) -> Permit {
        while self.until_ms <= now_ms && self.queue.pop_front().is_some() {
            self.begin(now_ms);
        }
        match self.queue.front() {
            Some(first) if *first != who => {
                // Who waits would lose next, and needs not do so first.
                if !self.queue.contains(&who) {
                    self.queue.push_back(who);
                }
                Permit::Wait(self.until_ms)
            }
            _ => Permit::Go,
        }
    }

    /// A proposal of this one was overtaken.
    pub fn lost(&mut self, who: Contender, now_ms: u64) {
        if self.known.len() >= REMEMBERED && !self.known.contains_key(&who) {
            self.known.clear();
        }
        self.known.entry(who).or_default().lost_ms = Some(now_ms);
        if !self.queue.contains(&who) {
            self.queue.push_back(who);
        }
        // Overtaken in its own turn by what was under way before: the turn begins anew.
        if self.queue.front() == Some(&who) {
            self.begin(now_ms);
        }
    }

    /// A proposal of this one was accepted.
    pub fn won(&mut self, who: Contender, now_ms: u64) {
        let had_turn = self.queue.front() == Some(&who);
        self.queue.retain(|other| *other != who);
        if had_turn {
            self.begin(now_ms);
        }
    }

    /// The first one's turn begins.
    fn begin(&mut self, now_ms: u64) {
        let known = self.queue.front().and_then(|who| self.known.get(who));
        let needed = known.and_then(|known| known.needed_ms);
        let turn_ms = match needed {
            None => FIRST_MS,
            // It comes back when it pleases: not for its turn.
            Some(ms) if ms > LONGEST_MS => SHORTEST_MS,
            Some(ms) => (2 * ms).clamp(SHORTEST_MS, LONGEST_MS),
        };
        self.until_ms = now_ms.saturating_add(turn_ms);
    }
}
