//! MAXREG and MINREG: registers of which the greatest, or least, of the concurrent values
//! wins. A write that saw the others replaces them, also by a smaller value.
//!
//! Numbers come before texts, numbers compare by value, texts by their bytes; NULL is no value
//! and loses against any. Where two values are equal to SQLite and differ in bytes (1 and 1.0),
//! the bytes decide, so that replicas agree on them too.

use std::cmp::Ordering;

use crate::merge::{Lost, Reason};
use crate::types::{Unfit, Wrote, frontier};
use crate::value::Value;

/// Which end wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// MAXREG.
    Greatest,
    /// MINREG.
    Least,
}

/// Whether the column can hold this value.
///
/// # Errors
/// A BLOB, which has no order that people expect.
pub fn check(value: Value<'_>) -> Result<(), Unfit> {
    match value {
        Value::Blob(_) => Err("a BLOB is neither greater nor less; use a number or a text".into()),
        _ => Ok(()),
    }
}

/// Whether `a` wins against `b`; never both ways.
#[must_use]
pub fn beats(wants: Wants, a: Value<'_>, b: Value<'_>) -> bool {
    match (a, b) {
        (Value::Null, _) => false,
        (_, Value::Null) => true,
        (a, b) => {
            let order = compare(a, b);
            match wants {
                Wants::Greatest => order == Ordering::Greater,
                Wants::Least => order == Ordering::Less,
            }
        }
    }
}

/// The best of the frontier.
pub fn winner<'a>(
    wants: Wants,
    column: usize,
    mine: Option<Wrote<'a, '_>>,
    others: &[Wrote<'a, '_>],
    lost: &mut Vec<Lost<'a>>,
) -> Value<'a> {
    let best = frontier(others.iter()).into_iter().reduce(|best, write| {
        if beats(wants, write.value(), best.value()) {
            write
        } else {
            best
        }
    });
    let (mine, best) = match (mine, best) {
        (Some(mine), Some(best)) => (mine, best),
        (Some(one), None) => return one.value(),
        (None, best) => return best.map_or(Value::Null, Wrote::value),
    };
    let (winner, loser) = if beats(wants, mine.value(), best.value()) {
        (&mine, best)
    } else {
        (best, &mine)
    };
    if winner.value() != loser.value() {
        lost.push(Lost {
            column,
            winner: winner.event.rank(),
            loser: loser.event.rank(),
            value: loser.value(),
            kept: winner.value(),
            reason: match wants {
                Wants::Greatest => Reason::Greater,
                Wants::Least => Reason::Less,
            },
        });
    }
    winner.value()
}

/// A total order of values that are not NULL.
fn compare(a: Value<'_>, b: Value<'_>) -> Ordering {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => a.cmp(&b),
        (Value::Real(a), Value::Real(b)) => a.total_cmp(&b),
        // Equal numbers: the integer comes first.
        (Value::Int(a), Value::Real(b)) => compare_mixed(a, b).then(Ordering::Less),
        (Value::Real(a), Value::Int(b)) => compare_mixed(b, a).then(Ordering::Less).reverse(),
        (Value::Text(a), Value::Text(b)) | (Value::Blob(a), Value::Blob(b)) => a.cmp(b),
        (a, b) => class(a).cmp(&class(b)),
    }
}

fn class(value: Value<'_>) -> u8 {
    match value {
        Value::Null => 0,
        Value::Int(_) | Value::Real(_) => 1,
        Value::Text(_) => 2,
        Value::Blob(_) => 3,
    }
}

/// An integer against a real, without rounding either.
fn compare_mixed(a: i64, b: f64) -> Ordering {
    const TWO_63: f64 = 9_223_372_036_854_775_808.0;
    if b >= TWO_63 {
        return Ordering::Less;
    }
    if b < -TWO_63 {
        return Ordering::Greater;
    }
    // In this range the cast is exact for the whole part.
    #[allow(clippy::cast_possible_truncation)]
    let whole = b.trunc() as i64;
    a.cmp(&whole)
        .then_with(|| 0.0_f64.partial_cmp(&b.fract()).unwrap_or(Ordering::Equal))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ascending; every two are compared both ways.
    #[test]
    fn the_order_is_total_and_exact() {
        let values = [
            Value::Real(f64::NEG_INFINITY),
            Value::Int(i64::MIN),
            Value::Real(-9_223_372_036_854_775_808.0),
            Value::Real(-1.5),
            Value::Int(-1),
            Value::Real(-0.5),
            Value::Int(0),
            Value::Real(0.5),
            Value::Int(1),
            Value::Real(1.0),
            Value::Int(9_007_199_254_740_992),
            Value::Real(9_007_199_254_740_992.0),
            Value::Int(9_007_199_254_740_993),
            Value::Int(i64::MAX),
            Value::Real(9_223_372_036_854_775_808.0),
            Value::Real(f64::INFINITY),
            Value::Text(b""),
            Value::Text(b"Z"),
            Value::Text(b"a"),
            Value::Blob(b""),
        ];
        for (n, a) in values.iter().enumerate() {
            for (m, b) in values.iter().enumerate() {
                assert_eq!(compare(*a, *b), n.cmp(&m), "{a:?} {b:?}");
            }
            assert!(beats(Wants::Greatest, *a, Value::Null));
            assert!(beats(Wants::Least, *a, Value::Null));
            assert!(!beats(Wants::Least, Value::Null, *a));
        }
    }
}
