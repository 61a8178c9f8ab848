//! Partitions that move between consensus groups.
//!
//! A group's voters have names that never change; a partition whose members change moves to the
//! group of its new voters. Four entries do it. `Expect` in the new log, so that the new group lasts
//! until the partition is there. `Seal` in the old log: what comes after it is
//! answered *moved*, so that nothing can be accepted there any more. `Arrive` in the new log, with
//! all that the old group knew of the partition at its seal: position, covered changes, and the
//! outcomes that are kept. `Leave` in the old log, when the new group has it: what travels needs
//! not be kept any more, and where it went is remembered.
//!
//! Every move has a number, one greater than the one before. An entry that comes late, or twice,
//! carries a number that does not fit, and changes nothing: so two groups never order a
//! partition at the same time, whoever carries a move out and however often. All of it is a
//! function of the logs.
//!
//! A group without partitions ends (`Retire`), unless it expects one.

use std::collections::BTreeMap;

use crate::certify::{Answer, Ordered};
use crate::codec::{Reader, put_sized, put_varint};
use crate::error::DecodeError;
use crate::limits;
pub use crate::outcomes::Decision;
use crate::outcomes::{Outcomes, put_decisions, read_decisions};
use crate::protocol::member::MEMBERS;
use crate::site::PartitionId;

/// A node's name is no longer than this.
const NODE_NAME_BYTES: usize = 100;

/// A group, by name and members.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Destination {
    /// Its name.
    pub group: [u8; 16],
    /// The node that founded it.
    pub home: String,
    /// Names of those that vote.
    pub voters: Vec<String>,
    /// Names of those that have its log and do not vote.
    pub followers: Vec<String>,
}

/// What a partition takes along.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Baggage {
    /// Where it stands; its number of moves counts this one.
    pub ordered: Ordered,
    /// Decisions of the old group: ids were born with no more.
    pub decided: u64,
    /// What was decided on its transactions, oldest first.
    pub outcomes: Vec<Decision>,
}

/// A partition that has moved away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Departed {
    /// The number of that move.
    pub moves: u64,
    /// Where to.
    pub to: Destination,
    /// What it takes along, until it is known to have arrived.
    pub baggage: Option<Baggage>,
}

/// The part of a group's state that moves are about.
pub(crate) struct Moving<'a> {
    pub(crate) partitions: &'a mut BTreeMap<PartitionId, Ordered>,
    pub(crate) departed: &'a mut BTreeMap<PartitionId, Departed>,
    pub(crate) expected: &'a mut BTreeMap<PartitionId, u64>,
    pub(crate) retired: bool,
    pub(crate) outcomes: &'a mut Outcomes,
}

impl Moving<'_> {
    /// The move of this number begins: the partition is not ordered here any more.
    pub(crate) fn seal(&mut self, partition: PartitionId, moves: u64, to: &Destination) -> Answer {
        let Some(here) = self.partitions.get(&partition) else {
            return self.elsewhere(partition);
        };
        if here.moves.checked_add(1) != Some(moves) {
            return Answer::Open;
        }
        let ordered = Ordered {
            moves,
            forgotten: self.outcomes.forgotten().max(here.forgotten),
            ..here.clone()
        };
        let baggage = Baggage {
            ordered,
            decided: self.outcomes.decided(),
            outcomes: self.outcomes.of_partition(partition),
        };
        self.partitions.remove(&partition);
        let departed = Departed {
            moves,
            to: to.clone(),
            baggage: Some(baggage),
        };
        self.departed.insert(partition, departed);
        Answer::Moved
    }

    /// A partition will come by the move of this number, unless that has happened already.
    pub(crate) fn expect(&mut self, partition: PartitionId, moves: u64) -> Answer {
        let latest = self.latest(partition);
        if self.retired || latest >= Some(moves) {
            return self.elsewhere(partition);
        }
        let expected = self.expected.entry(partition).or_default();
        *expected = moves.max(*expected);
        Answer::Expected
    }

    /// The number of the latest move that brought the partition here, or took it away.
    fn latest(&self, partition: PartitionId) -> Option<u64> {
        let here = self.partitions.get(&partition).map(|o| o.moves);
        let gone = self.departed.get(&partition).map(|d| d.moves);
        here.max(gone)
    }

    /// A partition comes from another group, unless that has happened already.
    pub(crate) fn arrive(&mut self, partition: PartitionId, baggage: &Baggage) -> Answer {
        let moves = baggage.ordered.moves;
        if self.retired
            || self.partitions.contains_key(&partition)
            || self.latest(partition) >= Some(moves)
        {
            return self.elsewhere(partition);
        }
        self.departed.remove(&partition);
        if self.expected.get(&partition).is_some_and(|e| *e <= moves) {
            self.expected.remove(&partition);
        }
        self.partitions.insert(partition, baggage.ordered.clone());
        self.outcomes.advance(baggage.decided);
        for decision in &baggage.outcomes {
            // Those of nobody in particular may have come with another partition.
            if !self.outcomes.is_kept(decision.id) {
                let result = decision.result.clone();
                self.outcomes
                    .decide(partition, decision.id, decision.outcome, result);
            }
        }
        Answer::Open
    }

    /// The move of this number is over: the new group has the partition.
    pub(crate) fn leave(&mut self, partition: PartitionId, moves: u64) -> Answer {
        if let Some(departed) = self.departed.get_mut(&partition)
            && departed.moves == moves
        {
            departed.baggage = None;
        }
        self.elsewhere(partition)
    }

    /// What is said of a partition that may not be ordered here.
    fn elsewhere(&self, partition: PartitionId) -> Answer {
        if self.partitions.contains_key(&partition) {
            Answer::Open
        } else if self.departed.contains_key(&partition) {
            Answer::Moved
        } else {
            Answer::NotHere
        }
    }
}

impl Destination {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.group);
        put_sized(out, self.home.as_bytes());
        for names in [&self.voters, &self.followers] {
            put_varint(out, names.len() as u64);
            for name in names {
                put_sized(out, name.as_bytes());
            }
        }
    }

    pub(crate) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let group = r.array("a group's id")?;
        let home = r.text("a node's name", NODE_NAME_BYTES)?.to_owned();
        let mut names = || -> Result<Vec<String>, DecodeError> {
            let count = r.length("names of nodes", MEMBERS)?;
            (0..count)
                .map(|_| Ok(r.text("a node's name", NODE_NAME_BYTES)?.to_owned()))
                .collect()
        };
        Ok(Self {
            group,
            home,
            voters: names()?,
            followers: names()?,
        })
    }
}

impl Baggage {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        self.ordered.encode(out);
        put_varint(out, self.decided);
        put_decisions(out, &self.outcomes);
    }

    pub(crate) fn decode(r: &mut Reader<'_>, version: u8) -> Result<Self, DecodeError> {
        Ok(Self {
            ordered: Ordered::decode(r, version)?,
            decided: r.varint("a count of decisions")?,
            outcomes: read_decisions(r, version)?,
        })
    }
}

/// Appends the partitions that have moved away.
pub(crate) fn put_departed(out: &mut Vec<u8>, all: &BTreeMap<PartitionId, Departed>) {
    put_varint(out, all.len() as u64);
    for (partition, departed) in all {
        out.extend_from_slice(&partition.0);
        put_varint(out, departed.moves);
        departed.to.encode(out);
        match &departed.baggage {
            None => out.push(0),
            Some(baggage) => {
                out.push(1);
                baggage.encode(out);
            }
        }
    }
}

/// Reads them; there were none before the third version.
pub(crate) fn read_departed(
    r: &mut Reader<'_>,
    version: u8,
) -> Result<BTreeMap<PartitionId, Departed>, DecodeError> {
    let mut all = BTreeMap::new();
    if version <= 2 {
        return Ok(all);
    }
    for _ in 0..r.length("partitions", limits::GROUP_PARTITIONS)? {
        let partition = PartitionId(r.array("a partition id")?);
        let departed = Departed {
            moves: r.varint("a number of moves")?,
            to: Destination::decode(r)?,
            baggage: match r.byte("a partition's baggage")? {
                0 => None,
                1 => Some(Baggage::decode(r, version)?),
                _ => return Err(DecodeError::Unknown("a partition's baggage of this kind")),
            },
        };
        all.insert(partition, departed);
    }
    Ok(all)
}
