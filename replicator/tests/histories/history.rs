//! What applications asked and what they were told, in the order in which both happened.
//!
//! One clock orders everything: a call that ended before another one began has the smaller
//! number. A number is taken before the question leaves the test, and after the answer came
//! back, so that no order is claimed that was not there.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;

/// How a call ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum End {
    /// It was acknowledged at this moment, with this answer.
    Ok(u64, Value),
    /// It certainly did not happen, as was said at this moment.
    Fail(u64, String),
    /// Nobody said what became of it.
    Unknown(String),
}

/// One question of an application, and its end.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Call {
    /// A process does one thing after the other; after an unknown end it is another one.
    pub(crate) process: u64,
    pub(crate) node: String,
    pub(crate) asked: Value,
    pub(crate) began: u64,
    pub(crate) end: End,
    /// Its place among the strong transactions, if it was told one.
    pub(crate) position: Option<u64>,
    /// How long it took, for people.
    pub(crate) took: Duration,
}

impl Call {
    /// The answer, if it was acknowledged.
    pub(crate) fn answer(&self) -> Option<&Value> {
        match &self.end {
            End::Ok(_, answer) => Some(answer),
            _ => None,
        }
    }

    /// When it had ended, if that is known.
    pub(crate) fn ended(&self) -> Option<u64> {
        match self.end {
            End::Ok(at, _) | End::Fail(at, _) => Some(at),
            End::Unknown(_) => None,
        }
    }

    /// Whether it may have happened.
    pub(crate) fn is_possible(&self) -> bool {
        !matches!(self.end, End::Fail(..))
    }
}

/// A history that is being written by several threads.
#[derive(Debug, Default)]
pub(crate) struct Record {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    clock: u64,
    processes: u64,
    calls: Vec<Call>,
}

impl Record {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A process that nobody was before.
    pub(crate) fn process(&self) -> u64 {
        let mut inner = self.lock();
        inner.processes += 1;
        inner.processes
    }

    /// A question is about to leave; answers its place.
    pub(crate) fn begin(&self, process: u64, node: &str, asked: &Value) -> usize {
        let mut inner = self.lock();
        inner.clock += 1;
        let call = Call {
            process,
            node: node.to_owned(),
            asked: asked.clone(),
            began: inner.clock,
            end: End::Unknown("still asking".to_owned()),
            position: None,
            took: Duration::ZERO,
        };
        inner.calls.push(call);
        inner.calls.len() - 1
    }

    /// Its answer has come.
    pub(crate) fn end(
        &self,
        place: usize,
        (position, took): (Option<u64>, Duration),
        end: impl FnOnce(u64) -> End,
    ) {
        let mut inner = self.lock();
        inner.clock += 1;
        let end = end(inner.clock);
        let call = &mut inner.calls[place];
        (call.end, call.position, call.took) = (end, position, took);
    }

    /// Everything so far.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.lock().calls.clone()
    }
}

/// Hand-made histories for the checkers' own tests.
#[cfg(test)]
pub(crate) mod made {
    use super::*;

    /// Acknowledged between two moments.
    pub(crate) fn ok(process: u64, began: u64, ended: u64, asked: Value, answer: Value) -> Call {
        Call {
            process,
            node: "a".to_owned(),
            asked,
            began,
            end: End::Ok(ended, answer),
            position: None,
            took: Duration::ZERO,
        }
    }

    pub(crate) fn failed(process: u64, began: u64, ended: u64, asked: Value) -> Call {
        Call {
            end: End::Fail(ended, "made".to_owned()),
            ..ok(process, began, ended, asked, Value::Null)
        }
    }

    pub(crate) fn unknown(process: u64, began: u64, asked: Value) -> Call {
        Call {
            end: End::Unknown("made".to_owned()),
            ..ok(process, began, began, asked, Value::Null)
        }
    }
}
