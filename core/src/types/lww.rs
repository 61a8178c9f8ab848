//! LWW: a register. The live write with the greatest rank wins, whole.

use crate::merge::{Lost, Reason};
use crate::types::Wrote;
use crate::value::Value;

/// Lets `mine` meet the greatest of the others; answers the value that beats it, if one does.
pub fn contest<'a>(
    column: usize,
    mine: Wrote<'a, '_>,
    others: &[Wrote<'a, '_>],
    lost: &mut Vec<Lost<'a>>,
) -> Option<Value<'a>> {
    let greatest = others.iter().max_by_key(|write| write.event.order())?;
    let won = mine.event.order() > greatest.event.order();
    let (winner, loser) = if won {
        (&mine, greatest)
    } else {
        (greatest, &mine)
    };
    if mine.value() != greatest.value() {
        lost.push(Lost {
            column,
            winner: winner.event.rank(),
            loser: loser.event.rank(),
            value: loser.value(),
            kept: winner.value(),
            reason: Reason::Later,
        });
    }
    (!won).then(|| greatest.value())
}

/// The value of a new life.
pub fn winner<'a>(
    column: usize,
    mine: Option<Wrote<'a, '_>>,
    others: &[Wrote<'a, '_>],
    lost: &mut Vec<Lost<'a>>,
) -> Value<'a> {
    match mine {
        Some(mine) => contest(column, mine, others, lost).unwrap_or(mine.value()),
        None => others
            .iter()
            .max_by_key(|write| write.event.order())
            .map_or(Value::Null, Wrote::value),
    }
}
