//! What a consensus group remembers of its decisions.
//!
//! The first decision on a transaction id stands. The latest ones are kept, with what a statement
//! that was run for somebody (`nuda_exec`) answered; older ids are told from those that were never
//! seen by the count of decisions that an id carries. Results are dropped before outcomes when
//! they become too many. All of it is a function of the log, so that members agree.

use std::collections::{BTreeMap, VecDeque};

use crate::certify::{Answer, Outcome, TxnId};
use crate::codec::{Reader, put_sized, put_varint};
use crate::error::DecodeError;
use crate::limits;

/// One decision.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Remembered {
    outcome: Outcome,
    /// What the statement answered, while that is kept.
    result: Option<Vec<u8>>,
}

/// The latest decisions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcomes {
    /// Decisions taken so far, the forgotten ones too.
    decided: u64,
    /// Ids with an outcome, oldest decision first.
    order: VecDeque<TxnId>,
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
            None if id.born < self.forgotten() => Some(Answer::Expired),
            None => None,
        }
    }

    /// What the statement answered, if it is kept.
    pub(crate) fn result(&self, id: TxnId) -> Option<&[u8]> {
        self.known.get(&id)?.result.as_deref()
    }

    /// How many decisions have been forgotten.
    fn forgotten(&self) -> u64 {
        self.decided.saturating_sub(self.order.len() as u64)
    }

    pub(crate) fn decide(&mut self, id: TxnId, outcome: Outcome, result: Option<Vec<u8>>) {
        self.decided += 1;
        self.remember(id, outcome, result);
        while self.order.len() > self.window {
            if let Some(oldest) = self.order.pop_front() {
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

    fn remember(&mut self, id: TxnId, outcome: Outcome, result: Option<Vec<u8>>) {
        if let Some(result) = &result {
            self.bytes += result.len();
            self.results.push_back(id);
        }
        self.known.insert(id, Remembered { outcome, result });
        self.order.push_back(id);
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
        put_varint(out, self.order.len() as u64);
        for id in &self.order {
            id.encode(out);
            let known = self.known.get(id);
            known
                .map_or(Outcome::Aborted, |known| known.outcome)
                .encode(out);
            match known.and_then(|known| known.result.as_ref()) {
                None => out.push(0),
                Some(result) => {
                    out.push(1);
                    put_sized(out, result);
                }
            }
        }
    }

    /// Reads what [`Self::encode`] wrote; before the second version there were no results.
    pub(crate) fn decode(
        r: &mut Reader<'_>,
        version: u8,
        (window, decided): (usize, u64),
    ) -> Result<Self, DecodeError> {
        let mut outcomes = Self::keeping(window);
        outcomes.decided = decided;
        for _ in 0..r.length("outcomes", window)? {
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
            outcomes.remember(id, outcome, result);
        }
        let kept = outcomes.order.len();
        if outcomes.known.len() != kept || decided < kept as u64 {
            return Err(DecodeError::Invalid("outcomes that contradict each other"));
        }
        if outcomes.bytes > limits::RESULTS_BYTES {
            return Err(DecodeError::Invalid("more results than are kept"));
        }
        Ok(outcomes)
    }
}
