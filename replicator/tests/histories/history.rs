//! What applications asked and what they were told, in the order in which both happened.
//!
//! One count orders everything: a call that ended before another one began has the smaller
//! number. A number is taken before the question leaves the test, and after the answer came
//! back, so that no order is claimed that was not there. Next to it is the time, on one clock that never
//! goes back: taken before the question and after the answer, too.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

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
    /// When the question left, since the record began.
    pub(crate) since: Duration,
    /// When the answer had come; the same if none has.
    pub(crate) until: Duration,
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

    /// How long it took.
    pub(crate) fn took(&self) -> Duration {
        self.until.saturating_sub(self.since)
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
    began: Option<Instant>,
    processes: u64,
    calls: Vec<Call>,
}

impl Inner {
    fn now(&mut self) -> Duration {
        self.began.get_or_insert_with(Instant::now).elapsed()
    }
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
        let now = inner.now();
        let call = Call {
            process,
            node: node.to_owned(),
            asked: asked.clone(),
            began: inner.clock,
            end: End::Unknown("still asking".to_owned()),
            position: None,
            since: now,
            until: now,
        };
        inner.calls.push(call);
        inner.calls.len() - 1
    }

    /// Its answer has come.
    pub(crate) fn end(&self, place: usize, position: Option<u64>, end: impl FnOnce(u64) -> End) {
        let mut inner = self.lock();
        inner.clock += 1;
        let end = end(inner.clock);
        let now = inner.now();
        let call = &mut inner.calls[place];
        (call.end, call.position, call.until) = (end, position, now);
    }

    /// Everything so far.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.lock().calls.clone()
    }
}

/// Hand-made histories for the checkers' own tests; their clock is their count, in milliseconds.
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
            since: Duration::from_millis(began),
            until: Duration::from_millis(ended),
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
