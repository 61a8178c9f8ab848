//! Registers: is there an order of the calls, within the time that each took, in which every
//! answer is right? (Wing and Gong's search, with Lowe's memory of what was tried.)
//!
//! Each register is checked by itself: a history is linearizable if those of its registers
//! are. A call without an answer may take effect at any later time or never.
//!
//! A read at level bounded may be out of date by so much and no more: it takes its place after
//! everything that was acknowledged longer ago than that before it began.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use serde_json::Value;

use super::Verdict;
use crate::history::Call;

/// What was done to a register that holds a number or nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Read(Option<i64>),
    Write(i64),
    /// What was found, and what was put in its place in the same transaction.
    Swap(Option<i64>, i64),
}

#[derive(Debug, Clone)]
struct Op {
    step: Step,
    began: u64,
    /// `u64::MAX`: nobody knows.
    ended: u64,
}

/// Refuses a history that is not linearizable. Asked is `{"key", "op": ["read"] | ["write", v] |
/// ["swap", v]}`; answered is `["read", v]`, `["write", v]` or `["swap", v, found]`. What else was asked
/// is none of its business.
pub(crate) fn check(calls: &[Call]) -> Verdict {
    let mut registers: BTreeMap<String, Vec<Op>> = BTreeMap::new();
    let asked = calls.iter().filter(|call| !call.asked["op"].is_null());
    for call in asked.filter(|call| call.is_possible()) {
        let told = call.answer().unwrap_or(&call.asked["op"]);
        let step = step(told).ok_or_else(|| format!("not understood: {call:?}"))?;
        if call.answer().is_none() && matches!(step, Step::Read(_)) {
            continue;
        }
        let op = Op {
            step,
            began: earliest(call, calls),
            ended: call.ended().unwrap_or(u64::MAX),
        };
        let key = call.asked["key"].to_string();
        registers.entry(key).or_default().push(op);
    }
    for (key, ops) in registers {
        linearize(&ops).map_err(|why| format!("register {key} is not linearizable: {why}"))?;
    }
    Ok(())
}

/// The moment after which a call has its place.
fn earliest(call: &Call, calls: &[Call]) -> u64 {
    let allowed = match call.asked["level"].as_str() {
        Some("bounded") => call.asked["staleness_ms"].as_u64().unwrap_or(0),
        _ => return call.began,
    };
    let allowed = Duration::from_millis(allowed);
    let before = calls.iter().filter(|c| c.until + allowed < call.since);
    before.filter_map(Call::ended).max().unwrap_or(0)
}

fn step(told: &Value) -> Option<Step> {
    match told[0].as_str()? {
        "read" => Some(Step::Read(told[1].as_i64())),
        "write" => Some(Step::Write(told[1].as_i64()?)),
        // Without an answer nobody knows what it found.
        "swap" if told[2].is_null() && told.as_array()?.len() == 2 => {
            Some(Step::Write(told[1].as_i64()?))
        }
        "swap" => Some(Step::Swap(told[2].as_i64(), told[1].as_i64()?)),
        _ => None,
    }
}

impl Step {
    /// The state after it, if its answer is right in this state.
    fn after(self, state: Option<i64>) -> Option<Option<i64>> {
        match self {
            Self::Read(seen) => (seen == state).then_some(state),
            Self::Write(value) => Some(Some(value)),
            Self::Swap(from, to) => (state == from).then_some(Some(to)),
        }
    }
}

/// Calls that have their place, as bits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Placed(Vec<u64>);

impl Placed {
    fn has(&self, n: usize) -> bool {
        self.0[n / 64] >> (n % 64) & 1 == 1
    }

    fn with(&self, n: usize) -> Self {
        let mut bits = self.0.clone();
        bits[n / 64] |= 1 << (n % 64);
        Self(bits)
    }
}

/// Depth first: whoever began before anybody unplaced had ended may be next.
fn linearize(ops: &[Op]) -> Verdict {
    let start = (Placed(vec![0; ops.len().div_ceil(64)]), None);
    let mut tried = HashSet::from([start.clone()]);
    let mut open = vec![start];
    let mut furthest = (0, None);
    while let Some((placed, state)) = open.pop() {
        let left = || (0..ops.len()).filter(|n| !placed.has(*n));
        if left().all(|n| ops[n].ended == u64::MAX) {
            return Ok(());
        }
        let done = ops.len() - left().count();
        if done >= furthest.0 {
            furthest = (done, Some((placed.clone(), state)));
        }
        let first_end = left().map(|n| ops[n].ended).min().unwrap_or(u64::MAX);
        for n in left().filter(|n| ops[*n].began < first_end) {
            if let Some(next) = ops[n].step.after(state) {
                let next = (placed.with(n), next);
                if tried.insert(next.clone()) {
                    open.push(next);
                }
            }
        }
    }
    let (done, at) = furthest;
    let stuck: Vec<String> = at
        .iter()
        .flat_map(|(placed, _)| (0..ops.len()).filter(|n| !placed.has(*n)))
        .take(5)
        .map(|n| format!("{:?}", ops[n]))
        .collect();
    let state = at.map(|(_, state)| state);
    Err(format!(
        "no order explains more than {done} of {} calls; in state {state:?} none of these can be next: {}",
        ops.len(),
        stuck.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::history::made::{failed, ok, unknown};

    fn call(process: u64, began: u64, ended: u64, answer: Value) -> Call {
        let asked = json!({"key": 1, "op": answer});
        ok(process, began, ended, asked, answer)
    }

    #[test]
    fn concurrent_calls_may_be_in_either_order() {
        for seen in [1, 2] {
            let calls = [
                call(1, 1, 4, json!(["write", 1])),
                call(2, 2, 3, json!(["write", 2])),
                call(3, 5, 6, json!(["read", seen])),
                call(3, 7, 8, json!(["swap", 3, seen])),
                call(3, 9, 10, json!(["read", 3])),
            ];
            check(&calls).unwrap();
        }
    }

    #[test]
    fn a_stale_read_is_refused() {
        let calls = [
            call(1, 1, 2, json!(["write", 1])),
            call(1, 3, 4, json!(["write", 2])),
            call(2, 5, 6, json!(["read", 1])),
        ];
        assert!(check(&calls).unwrap_err().contains("register 1"));
        let late = [
            calls[0].clone(),
            calls[1].clone(),
            call(2, 5, 6, json!(["read", null])),
        ];
        check(&late).unwrap_err();
    }

    #[test]
    fn a_bounded_read_is_stale_by_so_much_and_no_more() {
        // The hand-made clock counts milliseconds.
        let history = |began: u64, seen: Value| {
            let asked = json!({"key": 1, "op": ["read"], "level": "bounded", "staleness_ms": 100});
            let read = ok(2, began, began + 1, asked, json!(["read", seen]));
            check(&[
                call(1, 1, 10, json!(["write", 1])),
                call(1, 20, 50, json!(["write", 2])),
                call(1, 60, 90, json!(["write", 3])),
                read,
            ])
        };
        for seen in [json!(2), json!(3), json!(1)] {
            history(150, seen).unwrap();
        }
        history(151, json!(2)).unwrap();
        history(151, json!(1)).unwrap_err();
        history(191, json!(2)).unwrap_err();
        history(111, json!(null)).unwrap_err();
    }

    #[test]
    fn a_value_that_comes_back_is_refused() {
        let calls = [
            call(1, 1, 10, json!(["write", 1])),
            call(2, 2, 3, json!(["read", 1])),
            call(2, 4, 5, json!(["read", null])),
        ];
        check(&calls).unwrap_err();
    }

    #[test]
    fn two_swaps_of_one_value_are_refused() {
        let calls = [
            call(1, 1, 2, json!(["write", 1])),
            call(1, 3, 6, json!(["swap", 2, 1])),
            call(2, 4, 5, json!(["swap", 3, 1])),
        ];
        check(&calls).unwrap_err();
        check(&calls[..2]).unwrap();
    }

    #[test]
    fn an_unknown_write_may_take_effect_late_once_or_never() {
        let asked = json!({"key": 1, "op": ["write", 9]});
        let history = |seen: [Option<i64>; 2]| {
            let mut calls = vec![unknown(1, 1, asked.clone())];
            for (n, seen) in (0u64..).zip(seen) {
                calls.push(call(2, 2 + 2 * n, 3 + 2 * n, json!(["read", seen])));
            }
            calls
        };
        for fine in [[None, None], [None, Some(9)], [Some(9), Some(9)]] {
            check(&history(fine)).unwrap();
        }
        check(&history([Some(9), None])).unwrap_err();
        check(&history([None, Some(8)])).unwrap_err();
    }

    #[test]
    fn what_failed_is_never_seen() {
        let asked = json!({"key": 1, "op": ["write", 9]});
        let calls = [failed(1, 1, 2, asked), call(2, 3, 4, json!(["read", 9]))];
        check(&calls).unwrap_err();
    }

    #[test]
    fn a_long_history_is_decided_quickly() {
        let mut calls = Vec::new();
        for n in 0..300u64 {
            let value = i64::try_from(n).unwrap();
            calls.push(call(n % 3, 4 * n, 4 * n + 6, json!(["write", value])));
            if n % 50 == 0 {
                let asked = json!({"key": 1, "op": ["write", 10_000 + value]});
                calls.push(unknown(900 + n, 4 * n + 1, asked));
            }
        }
        calls.push(call(9, 2_000, 2_001, json!(["read", 299])));
        check(&calls).unwrap();
        calls.push(call(9, 2_002, 2_003, json!(["read", 5])));
        check(&calls).unwrap_err();
    }
}
