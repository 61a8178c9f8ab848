//! COUNTER: an integer. An UPDATE ships the difference, an INSERT the difference from 0; all
//! live differences add up. Sums are kept in 128 bits, beyond what the column can show.

use crate::merge;
use crate::row::Cell;
use crate::types::{Unfit, Wrote};
use crate::value::Value;

/// Whether a counter can hold this value.
///
/// # Errors
/// It is no 64-bit integer.
pub fn check(value: Value<'_>) -> Result<(), Unfit> {
    let why = match value {
        Value::Int(_) => return Ok(()),
        Value::Null => "NULL is no count; use 0",
        Value::Real(r) if r.abs() >= 9.2e18 => "the sum exceeds 64 bits",
        Value::Real(_) => "fractions do not add up the same way everywhere; use an INTEGER unit",
        _ => "only integers can be counted",
    };
    Err(why.to_owned())
}

/// What an UPDATE ships.
///
/// # Errors
/// The new value is no count, or the old one shows no more than the limit.
pub fn diff<'a>(old: Value<'_>, new: Value<'a>) -> Result<Cell<'a>, Unfit> {
    check(new)?;
    match (old, new) {
        (Value::Int(i64::MAX | i64::MIN), _) => {
            Err("it has reached the limit of 64 bits; delete the row to reset it".to_owned())
        }
        (Value::Int(a), Value::Int(b)) => Ok(Cell::Add(i128::from(b) - i128::from(a))),
        (_, Value::Int(b)) => Ok(Cell::Add(i128::from(b))),
        (_, new) => Ok(Cell::Value(new)),
    }
}

/// The sum of all that was added.
pub(crate) fn sum<'a: 'e, 'e: 'w, 'w>(writes: impl Iterator<Item = &'w Wrote<'a, 'e>>) -> i128 {
    writes.fold(0, |sum, write| match write.cell {
        Cell::Add(n) => merge::add(sum, n),
        _ => sum,
    })
}
