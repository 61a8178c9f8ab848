//! The place in the one order that each acknowledged strong write was told: no two have the
//! same, and what had ended before another one began has the smaller one.

use std::collections::BTreeMap;

use super::Verdict;
use crate::history::Call;

/// Refuses places, among the calls of one partition, that contradict each other or real time.
pub(crate) fn check(calls: &[Call]) -> Verdict {
    let mut by_position: BTreeMap<u64, &Call> = BTreeMap::new();
    for call in calls {
        let Some(position) = call.position else {
            continue;
        };
        if let Some(other) = by_position.insert(position, call) {
            return Err(format!(
                "position {position} was given twice: {other:?}; {call:?}"
            ));
        }
    }
    // Going up, nobody may have ended before somebody with a smaller place began.
    let mut latest: Option<(u64, &Call)> = None;
    for (position, call) in by_position {
        let ended = call.ended().unwrap_or(u64::MAX);
        if let Some((before, begun)) = latest.filter(|(_, begun)| ended < begun.began) {
            return Err(format!(
                "position {position} had ended before position {before} began: {call:?}; {begun:?}"
            ));
        }
        if latest.is_none_or(|(_, begun)| begun.began < call.began) {
            latest = Some((position, call));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::history::made::ok;

    #[test]
    fn places_given_twice_or_against_time_are_refused() {
        let at = |position, (began, ended)| Call {
            position: Some(position),
            ..ok(1, began, ended, json!({}), json!(null))
        };
        let (one, two, across) = ((1, 2), (3, 4), (1, 4));
        check(&[at(5, one), at(6, two)]).unwrap();
        check(&[at(6, across), at(5, two)]).unwrap();
        check(&[at(5, one), at(5, two)]).unwrap_err();
        check(&[at(6, one), at(5, two)]).unwrap_err();
        check(&[at(7, one), at(6, across), at(5, two)]).unwrap_err();
    }
}
