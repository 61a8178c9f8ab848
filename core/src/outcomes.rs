//! What a consensus group remembers of its decisions.
//!
//! The first decision on a transaction id stands. The latest ones are kept, with what a statement
//! that was run for somebody (`nuda_exec`) answered; older ids are told from those that were never
//! seen by the count of decisions that an id carries. Results are dropped before outcomes when
//! they become too many. All of it is a function of the log, so that members agree.
//!
//! Decisions are numbered, and the number of a decision is greater than what its id was born
//! with. A partition that comes from another group brings its outcomes along; they get numbers
//! beyond those of both groups ([`Outcomes::advance`]), so that this stays true.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::certify::{Answer, Outcome, TxnId};
use crate::codec::{Reader, put_sized, put_varint};
use crate::error::DecodeError;
use crate::limits;
use crate::site::PartitionId;

/// One decision.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Remembered {
    outcome: Outcome,
    /// What the statement answered, while that is kept.
    result: Option<Vec<u8>>,
    /// Whose it is; not known of decisions from before the third version.
    partition: Option<PartitionId>,
}

/// One decision, on its way to another group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// On what.
    pub id: TxnId,
    /// What was decided.
    pub outcome: Outcome,
    /// What the statement answered, if that is kept.
    pub result: Option<Vec<u8>>,
}

/// The latest decisions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcomes {
    /// The number of the latest decision.
    decided: u64,
    /// The number of the latest decision that is forgotten.
    forgotten: u64,
    /// Numbers and ids of the decisions that are kept, oldest first.
    order: VecDeque<(u64, TxnId)>,
    known: BTreeMap<TxnId, Remembered>,
    /// How many outcomes are kept. A part of the state, so that members agree.
    window: usize,
    /// Ids with a result, oldest decision first, and how long the results are.
    results: VecDeque<TxnId>,
    bytes: usize,
}

impl Outcomes {
    pub(crate) fn keeping(window: usize) -> Self {
        Self {
            decided: 0,
            forgotten: 0,
            order: VecDeque::new(),
            known: BTreeMap::new(),
            window,
            results: VecDeque::new(),
            bytes: 0,
        }
    }

    pub(crate) fn window(&self) -> usize {
        self.window
    }

    pub(crate) fn decided(&self) -> u64 {
        self.decided
    }

    /// What is known of an id: `None` if it is undecided.
    pub(crate) fn of(&self, id: TxnId) -> Option<Answer> {
        match self.known.get(&id) {
            Some(known) => Some(Answer::Decided(known.outcome)),
            None if id.born < self.forgotten => Some(Answer::Expired),
            None => None,
        }
    }

    /// Whether the outcome of an id is kept.
    pub(crate) fn is_kept(&self, id: TxnId) -> bool {
        self.known.contains_key(&id)
    }

    /// What the statement answered, if it is kept.
    pub(crate) fn result(&self, id: TxnId) -> Option<&[u8]> {
        self.known.get(&id)?.result.as_deref()
    }

    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Decisions from here on have greater numbers than this one.
    pub(crate) fn advance(&mut self, decided: u64) {
        self.decided = decided.max(self.decided);
    }

    /// The decisions on a partition's ids that are kept, oldest first. Those of nobody in
    /// particular go with it.
    pub(crate) fn of_partition(&self, partition: PartitionId) -> Vec<Decision> {
        let kept = self.order.iter().filter_map(|(_, id)| {
            let known = self.known.get(id)?;
            let is_its = known.partition.is_none_or(|p| p == partition);
            is_its.then(|| Decision {
                id: *id,
                outcome: known.outcome,
                result: known.result.clone(),
            })
        });
        kept.collect()
    }

    pub(crate) fn decide(
        &mut self,
        partition: PartitionId,
        id: TxnId,
        outcome: Outcome,
        result: Option<Vec<u8>>,
    ) {
        self.decided += 1;
        self.remember(
            self.decided,
            id,
            Remembered {
                outcome,
                result,
                partition: Some(partition),
            },
        );
        while self.order.len() > self.window {
            if let Some((number, oldest)) = self.order.pop_front() {
                self.forgotten = number;
                self.forget_result(oldest);
                self.known.remove(&oldest);
            }
        }
        while self.bytes > limits::RESULTS_BYTES
            && let Some(oldest) = self.results.front().copied()
        {
            self.forget_result(oldest);
        }
    }

    fn remember(&mut self, number: u64, id: TxnId, decision: Remembered) {
        if let Some(result) = &decision.result {
            self.bytes += result.len();
            self.results.push_back(id);
        }
        self.known.insert(id, decision);
        self.order.push_back((number, id));
    }

    /// Results go in the order in which they came.
    fn forget_result(&mut self, id: TxnId) {
        if self.results.front() != Some(&id) {
            return;
        }
        self.results.pop_front();
        if let Some(result) = self
            .known
            .get_mut(&id)
            .and_then(|known| known.result.take())
        {
            self.bytes -= result.len();
        }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.forgotten);
        let partitions: BTreeSet<PartitionId> =
            self.known.values().filter_map(|k| k.partition).collect();
        put_varint(out, partitions.len() as u64);
        for partition in &partitions {
            out.extend_from_slice(&partition.0);
        }
        // Counted from 1; 0 is nobody's.
        let places: BTreeMap<PartitionId, u64> = partitions.into_iter().zip(1..).collect();
        put_varint(out, self.order.len() as u64);
        let mut before = self.forgotten;
        for (number, id) in &self.order {
            put_varint(out, number - before);
            before = *number;
            let known = self.known.get(id);
            let partition = known.and_then(|known| known.partition);
            let place = partition.and_then(|p| places.get(&p).copied());
            put_varint(out, place.unwrap_or(0));
            let outcome = known.map_or(Outcome::Aborted, |known| known.outcome);
            let result = known.and_then(|known| known.result.as_deref());
            put_decision(out, *id, outcome, result);
        }
    }

    /// Reads what [`Self::encode`] wrote. Before the third version decisions had no partition, and
    /// were numbered without gaps; before the second one there were no results.
    pub(crate) fn decode(
        r: &mut Reader<'_>,
        version: u8,
        (window, decided): (usize, u64),
    ) -> Result<Self, DecodeError> {
        const CONTRADICTION: DecodeError =
            DecodeError::Invalid("outcomes that contradict each other");
        let mut outcomes = Self::keeping(window);
        outcomes.decided = decided;
        let mut partitions = Vec::new();
        if version > 2 {
            outcomes.forgotten = r.bounded("a count of decisions", decided)?;
            for _ in 0..r.length("partitions", window)? {
                partitions.push(PartitionId(r.array("a partition id")?));
            }
        }
        let count = r.length("outcomes", window)?;
        if version <= 2 {
            let forgotten = decided.checked_sub(count as u64);
            outcomes.forgotten = forgotten.ok_or(CONTRADICTION)?;
        }
        let mut number = outcomes.forgotten;
        for _ in 0..count {
            let (mut step, mut place) = (1, 0);
            if version > 2 {
                step = r.bounded("a decision's number", decided - number)?;
                place = r.length("a decision's partition", partitions.len())?;
            }
            number += step;
            let decision = read_decision(r, version)?;
            let partition = place.checked_sub(1).and_then(|at| partitions.get(at));
            if step == 0 || number > decided {
                return Err(CONTRADICTION);
            }
            let remembered = Remembered {
                outcome: decision.outcome,
                result: decision.result,
                partition: partition.copied(),
            };
            outcomes.remember(number, decision.id, remembered);
        }
        if outcomes.known.len() != count {
            return Err(CONTRADICTION);
        }
        if outcomes.bytes > limits::RESULTS_BYTES {
            return Err(DecodeError::Invalid("more results than are kept"));
        }
        Ok(outcomes)
    }
}

/// Appends several decisions.
pub(crate) fn put_decisions(out: &mut Vec<u8>, decisions: &[Decision]) {
    put_varint(out, decisions.len() as u64);
    for decision in decisions {
        let result = decision.result.as_deref();
        put_decision(out, decision.id, decision.outcome, result);
    }
}

/// Reads several decisions.
pub(crate) fn read_decisions(
    r: &mut Reader<'_>,
    version: u8,
) -> Result<Vec<Decision>, DecodeError> {
    let count = r.length("outcomes", limits::OUTCOMES)?;
    (0..count).map(|_| read_decision(r, version)).collect()
}

fn put_decision(out: &mut Vec<u8>, id: TxnId, outcome: Outcome, result: Option<&[u8]>) {
    id.encode(out);
    outcome.encode(out);
    match result {
        None => out.push(0),
        Some(result) => {
            out.push(1);
            put_sized(out, result);
        }
    }
}

fn read_decision(r: &mut Reader<'_>, version: u8) -> Result<Decision, DecodeError> {
    let id = TxnId::decode(r)?;
    let outcome = Outcome::decode(r)?;
    let result = match version {
        1 => None,
        _ => match r.byte("a result")? {
            0 => None,
            1 => Some(r.sized("a result", limits::RESULT_BYTES)?.to_vec()),
            _ => return Err(DecodeError::Unknown("a result of this kind")),
        },
    };
    Ok(Decision {
        id,
        outcome,
        result,
    })
}
