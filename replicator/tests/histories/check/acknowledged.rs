//! Sets: what was acknowledged is on every node, what is there was acknowledged or has an
//! unknown end, nothing is there twice, nothing that failed is there.

use std::collections::{BTreeMap, BTreeSet};

use super::Verdict;
use crate::history::Call;

/// Refuses a node's content. The calls are those whose `do` is this verb; `here` is what the
/// node holds, doubles included.
pub(crate) fn check(calls: &[Call], verb: &str, node: &str, here: &[String]) -> Verdict {
    let of = |possible: fn(&Call) -> bool| -> BTreeSet<&str> {
        let mine = calls.iter().filter(|call| call.asked["do"] == verb);
        mine.filter(|call| possible(call))
            .filter_map(|call| call.asked["id"].as_str())
            .collect()
    };
    let acknowledged = of(|call| call.answer().is_some());
    let possible = of(Call::is_possible);
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for id in here {
        *times.entry(id).or_default() += 1;
    }
    let lost: Vec<_> = acknowledged
        .iter()
        .filter(|id| !times.contains_key(**id))
        .collect();
    let invented: Vec<_> = times.keys().filter(|id| !possible.contains(**id)).collect();
    let doubled: Vec<_> = times.iter().filter(|(_, n)| **n > 1).collect();
    if lost.is_empty() && invented.is_empty() && doubled.is_empty() {
        return Ok(());
    }
    Err(format!(
        "of {} acknowledged ({verb}) on {node}: lost {lost:?}; there although not written: {invented:?}; more than once: {doubled:?}",
        acknowledged.len()
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::history::made::{failed, ok, unknown};

    #[test]
    fn lost_invented_and_doubled_ones_are_refused() {
        let asked = |id: &str| json!({"do": "add", "id": id});
        let calls = [
            ok(1, 1, 2, asked("yes"), json!(null)),
            unknown(1, 3, asked("perhaps")),
            failed(2, 4, 5, asked("no")),
            ok(3, 6, 7, json!({"do": "note", "id": "other"}), json!(null)),
        ];
        let here = |ids: &[&str]| {
            let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
            check(&calls, "add", "a", &ids)
        };
        here(&["yes"]).unwrap();
        here(&["perhaps", "yes"]).unwrap();
        assert!(here(&["perhaps"]).unwrap_err().contains("lost [\"yes\"]"));
        here(&["yes", "no"]).unwrap_err();
        here(&["yes", "yes"]).unwrap_err();
        here(&["yes", "other"]).unwrap_err();
        here(&["yes", "nobody's"]).unwrap_err();
    }
}
