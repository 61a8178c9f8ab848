//! Quorum writes: who must see them, and when.
//!
//! A read that begins after the acknowledgement sees it if its level is strong; if its level is bounded
//! it does when the acknowledgement had come longer ago than the allowed staleness; at level session
//! if the reader was handed the writer's token. A transaction is there whole: the counter of the rows
//! says as many as there are. What failed is never seen. All of that is exact: an acknowledgement counts
//! from when the application had it, a read from before it was asked for, and both are on one clock.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Verdict;
use crate::history::Call;

/// Refuses reads that miss what they must see. Asked is `{"do": "keep", "id"}`, or `{"do": "kept", "from",
/// "level"}` with `staleness_ms` or `must`; the latter is answered by `{"ids", "count", "counted"}`.
pub(crate) fn check(calls: &[Call]) -> Verdict {
    let kept = |call: &&Call| call.asked["do"] == "keep";
    let failed: BTreeSet<u64> = calls
        .iter()
        .filter(kept)
        .filter(|call| !call.is_possible())
        .filter_map(number)
        .collect();
    let acknowledged: Vec<(u64, &Call)> = calls
        .iter()
        .filter(kept)
        .filter(|call| call.answer().is_some())
        .filter_map(|call| Some((number(call)?, call)))
        .collect();
    for look in calls.iter().filter(|call| call.asked["do"] == "kept") {
        let Some(answer) = look.answer() else {
            continue;
        };
        if answer["count"] != answer["counted"] {
            return Err(format!("half a transaction: {look:?}"));
        }
        let ids = answer["ids"].as_array().into_iter().flatten();
        let seen: BTreeSet<u64> = ids.filter_map(serde_json::Value::as_u64).collect();
        if let Some(id) = seen.intersection(&failed).next() {
            return Err(format!("{id} had failed, and is there: {look:?}"));
        }
        if let Some(must) = look.asked["must"].as_u64().filter(|id| !seen.contains(id)) {
            return Err(format!("the token has {must}, and it is missing: {look:?}"));
        }
        let from = look.asked["from"].as_u64().unwrap_or(0);
        let missing = acknowledged.iter().find(|(id, write)| {
            *id >= from && !seen.contains(id) && is_due(write, look).unwrap_or(false)
        });
        if let Some((id, write)) = missing {
            return Err(format!("{id} is missing: {look:?} misses {write:?}"));
        }
    }
    Ok(())
}

fn number(call: &Call) -> Option<u64> {
    call.asked["id"].as_str()?.parse().ok()
}

/// Whether a read must see an acknowledged write.
fn is_due(write: &Call, look: &Call) -> Option<bool> {
    match look.asked["level"].as_str()? {
        "strong" => Some(write.ended()? < look.began),
        "bounded" => {
            let allowed = Duration::from_millis(look.asked["staleness_ms"].as_u64()?);
            Some(write.until + allowed < look.since)
        }
        _ => Some(false),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::history::made::{failed, ok, unknown};

    fn keep(began: u64, ended: u64, id: &str) -> Call {
        ok(
            1,
            began,
            ended,
            json!({"do": "keep", "id": id}),
            json!(null),
        )
    }

    fn look(began: u64, asked: Value, ids: &[u64]) -> Call {
        let mut whole = json!({"do": "kept", "from": 0});
        for (key, value) in asked.as_object().unwrap() {
            whole[key] = value.clone();
        }
        let answer = json!({"ids": ids, "count": ids.len(), "counted": ids.len()});
        ok(2, began, began + 1, whole, answer)
    }

    #[test]
    fn a_strong_read_sees_what_was_acknowledged_before_it() {
        let strong = || json!({"level": "strong"});
        check(&[keep(1, 2, "7"), look(3, strong(), &[7])]).unwrap();
        check(&[keep(1, 4, "7"), look(3, strong(), &[])]).unwrap();
        check(&[keep(1, 2, "7"), look(3, strong(), &[])]).unwrap_err();
        let later = json!({"level": "strong", "from": 8});
        check(&[keep(1, 2, "7"), look(3, later, &[])]).unwrap();
        check(&[keep(1, 2, "7"), look(3, json!({"level": "eventual"}), &[])]).unwrap();
    }

    #[test]
    fn a_bounded_read_sees_what_was_acknowledged_long_enough_before_it() {
        // The hand-made clock counts milliseconds.
        let bounded = || json!({"level": "bounded", "staleness_ms": 100});
        check(&[keep(1, 50, "7"), look(150, bounded(), &[])]).unwrap();
        check(&[keep(1, 50, "7"), look(151, bounded(), &[7])]).unwrap();
        check(&[keep(1, 50, "7"), look(151, bounded(), &[])]).unwrap_err();
    }

    #[test]
    fn a_token_is_honoured_failures_stay_failures_and_halves_are_refused() {
        let session = || json!({"level": "session", "must": 7});
        check(&[keep(1, 2, "7"), look(3, session(), &[7])]).unwrap();
        check(&[keep(1, 2, "7"), look(3, session(), &[])]).unwrap_err();
        let eventual = || json!({"level": "eventual"});
        let asked = json!({"do": "keep", "id": "7"});
        check(&[failed(1, 1, 2, asked.clone()), look(3, eventual(), &[7])]).unwrap_err();
        check(&[unknown(1, 1, asked), look(3, eventual(), &[7])]).unwrap();
        let mut half = look(3, eventual(), &[7]);
        if let crate::history::End::Ok(_, answer) = &mut half.end {
            answer["counted"] = json!(0);
        }
        check(&[keep(1, 2, "7"), half]).unwrap_err();
    }
}
