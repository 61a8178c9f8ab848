//! The way back from a value to the one before it.
//!
//! Several edits of one cell in one transaction ship as one: the difference between the value
//! before the first and after the last. The last is in the row; the first is found by undoing
//! the edits one by one. An undo is what the old value had between what both have at their
//! beginnings and ends, so it is small where the edit is. It names both values, for the order
//! of arrival need not be that of writing.
//!
//! ```text
//! varint column, 8 bytes name of the old value, 8 bytes name of the new one,
//! byte 0 NULL, or 1 text: varint bytes kept at the beginning, varint at the end, sized text between
//! ```

use nuda_core::codec::{Reader, put_sized, put_varint};
use nuda_core::diff::ends;
use nuda_core::error::DecodeError;
use nuda_core::limits;
use nuda_core::sorted;
use nuda_core::value::{OwnedValue, Value};

use crate::index::fingerprint;

/// Names a value: NULL and texts (of documents: in their form) are all that these columns hold.
fn name(value: Value<'_>) -> u64 {
    match value {
        Value::Text(text) => fingerprint(1, text),
        _ => fingerprint(0, &[]),
    }
}

fn bytes<'v>(value: Value<'v>) -> &'v [u8] {
    match value {
        Value::Text(text) => text,
        _ => &[],
    }
}

/// Appends how a column gets from `new` back to `old`.
pub(crate) fn put(out: &mut Vec<u8>, column: usize, old: Value<'_>, new: Value<'_>) {
    put_varint(out, column as u64);
    out.extend_from_slice(&name(old).to_be_bytes());
    out.extend_from_slice(&name(new).to_be_bytes());
    let Value::Text(old) = old else {
        return out.push(0);
    };
    out.push(1);
    let new = bytes(new);
    let head = ends::head(old, new);
    let rest = old.get(head..).unwrap_or_default();
    let tail = ends::tail(rest, new.get(head..).unwrap_or_default());
    put_varint(out, head as u64);
    put_varint(out, tail as u64);
    put_sized(out, rest.get(..rest.len() - tail).unwrap_or_default());
}

/// One step back.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    old: u64,
    new: u64,
    /// Bytes kept at both ends and the text between; `None` for NULL.
    text: Option<(usize, usize, Vec<u8>)>,
}

impl Step {
    fn undone(&self, value: &OwnedValue) -> Option<OwnedValue> {
        let Some((head, tail, between)) = &self.text else {
            return Some(OwnedValue::Null);
        };
        let now = bytes(value.as_ref());
        let mut text = now.get(..*head)?.to_vec();
        text.extend_from_slice(between);
        text.extend_from_slice(now.get(now.len().checked_sub(*tail)?..)?);
        Some(OwnedValue::Text(text))
    }
}

/// All steps of one column, in any order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Path {
    steps: Vec<Step>,
}

impl Path {
    pub(crate) fn add(&mut self, step: Step) {
        self.steps.push(step);
    }

    /// The value before all of them; `value` is the one after. `None` if they do not lead there.
    pub(crate) fn origin(&self, value: Value<'_>) -> Option<OwnedValue> {
        let mut steps = self.steps.clone();
        let mut at: OwnedValue = value.into();
        loop {
            // Where several lead here any will do: whatever way is gone back, the only place
            // where it can end is the beginning, and what is left over leads in circles.
            let here = name(at.as_ref());
            let Some(last) = steps.iter().rposition(|step| step.new == here) else {
                break;
            };
            let step = steps.remove(last);
            at = step.undone(&at).filter(|v| name(v.as_ref()) == step.old)?;
        }
        let names = |name: fn(&Step) -> u64| {
            let mut names: Vec<u64> = steps.iter().map(name).collect();
            sorted::ascending(&mut names);
            names
        };
        (names(|step| step.old) == names(|step| step.new)).then_some(at)
    }
}

/// Reads an event's undos: column and step.
pub(crate) fn read(undo: &[u8]) -> Result<Vec<(usize, Step)>, DecodeError> {
    let mut reader = Reader::new(undo);
    let mut steps = Vec::new();
    while !reader.is_empty() {
        let column = reader.length("a column", limits::COLUMNS)?;
        let old = u64::from_be_bytes(reader.array("a value's name")?);
        let new = u64::from_be_bytes(reader.array("a value's name")?);
        let text = if reader.byte("a value")? == 0 {
            None
        } else {
            let head = reader.varint("bytes kept")?;
            let tail = reader.varint("bytes kept")?;
            let between = reader.sized("a text", limits::VALUE_BYTES)?;
            let length = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
            Some((length(head), length(tail), between.to_vec()))
        };
        steps.push((column, Step { old, new, text }));
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> OwnedValue {
        OwnedValue::Text(text.as_bytes().to_vec())
    }

    #[test]
    fn any_order_of_arrival_leads_back() {
        let values = [
            text("one"),
            text("one two"),
            OwnedValue::Null,
            text(""),
            text("one two"),
            text("on two"),
            text("one"),
            text("end"),
        ];
        let steps = values.len() - 1;
        for first in 0..steps {
            let mut path = Path::default();
            for n in (0..steps).map(|n| (first + n * 3) % steps) {
                let mut undo = Vec::new();
                put(&mut undo, 3, values[n].as_ref(), values[n + 1].as_ref());
                for (column, step) in read(&undo).unwrap() {
                    assert_eq!(column, 3);
                    path.add(step);
                }
            }
            assert_eq!(path.origin(text("end").as_ref()), Some(text("one")));
            assert_eq!(path.origin(text("other").as_ref()), None);
        }
    }

    #[test]
    fn a_step_is_as_small_as_the_edit() {
        let (old, new) = (text(&"x".repeat(5_000)), text(&"x".repeat(5_001)));
        let mut undo = Vec::new();
        put(&mut undo, 1, old.as_ref(), new.as_ref());
        assert!(undo.len() < 30);
    }
}
