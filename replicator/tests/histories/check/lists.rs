//! Transactions that append to lists and read them: are they strictly serializable?
//!
//! The crate `adya` (Elle's method) takes the order of the versions from the lists
//! themselves, and with it who wrote before whom (ww), who read from whom (wr) and who had not
//! yet seen whom (rw). Real time adds that what had ended came before what then began. A
//! cycle among these is a history that no order explains. It also finds reads of what failed,
//! of what a transaction had not finished, of an element twice, and lists that contradict each other.
//! What it does not look for is done here: elements that nobody appended.

use std::collections::BTreeSet;
use std::fmt::Write;

use adya::{History, Opts, Valid, Workload};
use serde_json::{Value, json};

use super::Verdict;
use crate::history::{Call, End};

/// Refuses a history that is not strictly serializable. An answer is the list of what was asked,
/// with the reads filled in: `[["append", list, element], ["r", list, [elements]]]`.
pub(crate) fn check(calls: &[Call]) -> Verdict {
    invented(calls)?;
    let history = History::from_json(&lines(calls)).map_err(|e| e.to_string())?;
    let report = adya::check(&history, Workload::ListAppend, &Opts::default());
    match report.valid {
        Valid::True => Ok(()),
        verdict => {
            let mut why = format!("not strictly serializable ({verdict:?}): ");
            let _ = writeln!(why, "{}", report.anomaly_types.join(", "));
            for anomalies in report.anomalies.values() {
                for anomaly in anomalies.iter().take(2) {
                    let _ = writeln!(why, "{}: {}", anomaly.kind, anomaly.explanation);
                }
            }
            Err(why)
        }
    }
}

/// The events in the order in which they happened, one JSON object a line.
fn lines(calls: &[Call]) -> String {
    let mut events: Vec<(u64, String)> = Vec::new();
    let mut event = |at: u64, kind: &str, call: &Call, value: &Value| {
        let line = json!({"type": kind, "process": call.process, "value": value});
        events.push((at, line.to_string()));
    };
    let last = calls.iter().filter_map(Call::ended).max().unwrap_or(0);
    for call in calls {
        let asked = asked(call);
        event(call.began, "invoke", call, &asked);
        match &call.end {
            End::Ok(at, answer) => event(*at, "ok", call, answer),
            End::Fail(at, _) => event(*at, "fail", call, &asked),
            // It may happen as late as it likes.
            End::Unknown(_) => event(last + 1 + call.began, "info", call, &asked),
        }
    }
    events.sort_by_key(|(at, _)| *at);
    let lines: Vec<String> = events.into_iter().map(|(_, line)| line).collect();
    lines.join("\n")
}

/// What was asked, with reads that have no answer.
fn asked(call: &Call) -> Value {
    let parts = call.asked["ops"].as_array().cloned().unwrap_or_default();
    let with_answer = |part: &Value| match part[0].as_str() {
        Some("r") => json!(["r", part[1], null]),
        _ => part.clone(),
    };
    parts.iter().map(with_answer).collect()
}

/// Elements that are read must have been appended by somebody who did not fail.
fn invented(calls: &[Call]) -> Verdict {
    let mut appended = BTreeSet::new();
    for call in calls.iter().filter(|call| call.is_possible()) {
        for part in call.asked["ops"].as_array().into_iter().flatten() {
            if part[0] == "append" {
                appended.insert((part[1].to_string(), part[2].to_string()));
            }
        }
    }
    for call in calls {
        for part in call
            .answer()
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            for element in part[2].as_array().into_iter().flatten() {
                if !appended.contains(&(part[1].to_string(), element.to_string())) {
                    return Err(format!(
                        "{element} was read from list {} and never appended: {call:?}",
                        part[1]
                    ));
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::made::{failed, ok, unknown};

    fn txn(process: u64, began: u64, ended: u64, answer: Value) -> Call {
        ok(process, began, ended, question(&answer), answer)
    }

    fn question(answer: &Value) -> Value {
        let parts = answer.as_array().unwrap().iter();
        let bare: Vec<Value> = parts
            .map(|part| match part[0].as_str() {
                Some("r") => json!(["r", part[1]]),
                _ => part.clone(),
            })
            .collect();
        json!({"do": "lists", "ops": bare})
    }

    fn refuses(calls: &[Call], what: &str) {
        let why = check(calls).expect_err("this history must be refused");
        assert!(why.contains(what), "{why}");
    }

    #[test]
    fn an_ordered_history_is_taken() {
        let calls = [
            txn(1, 1, 2, json!([["append", 1, 1], ["r", 2, []]])),
            txn(2, 3, 6, json!([["r", 1, [1]], ["append", 2, 1]])),
            txn(3, 4, 5, json!([["r", 1, [1]], ["r", 2, []]])),
            txn(1, 7, 8, json!([["r", 1, [1]], ["r", 2, [1]]])),
        ];
        check(&calls).unwrap();
    }

    #[test]
    fn an_unknown_append_may_happen_late_or_never() {
        let asked = json!({"ops": [["append", 1, 7]]});
        for seen in [json!([]), json!([7])] {
            let calls = [
                unknown(1, 1, asked.clone()),
                txn(2, 2, 3, json!([["r", 1, []]])),
                txn(2, 4, 5, json!([["r", 1, seen], ["append", 2, 1]])),
                txn(2, 6, 7, json!([["r", 2, [1]]])),
            ];
            check(&calls).unwrap();
        }
    }

    #[test]
    fn a_stale_read_is_refused() {
        let calls = [
            txn(1, 1, 2, json!([["append", 1, 1]])),
            txn(2, 3, 4, json!([["r", 1, []]])),
            txn(1, 5, 6, json!([["r", 1, [1]]])),
        ];
        refuses(&calls, "realtime");
    }

    #[test]
    fn an_acknowledged_append_that_is_lost_is_refused() {
        let calls = [
            txn(1, 1, 2, json!([["append", 1, 1]])),
            txn(1, 3, 4, json!([["append", 1, 2]])),
            txn(2, 5, 6, json!([["r", 1, [1]]])),
        ];
        refuses(&calls, "realtime");
    }

    #[test]
    fn write_skew_is_refused() {
        let calls = [
            txn(1, 1, 3, json!([["r", 1, []], ["append", 2, 1]])),
            txn(2, 2, 4, json!([["r", 2, []], ["append", 1, 1]])),
            txn(3, 5, 6, json!([["r", 1, [1]], ["r", 2, [1]]])),
        ];
        refuses(&calls, "G2-item");
    }

    #[test]
    fn a_fractured_read_is_refused() {
        let calls = [
            txn(1, 1, 4, json!([["append", 1, 1], ["append", 2, 1]])),
            txn(2, 2, 3, json!([["r", 1, [1]], ["r", 2, []]])),
            txn(2, 5, 6, json!([["r", 1, [1]], ["r", 2, [1]]])),
        ];
        refuses(&calls, "G-single");
    }

    #[test]
    fn a_lost_update_is_refused() {
        let calls = [
            txn(1, 1, 3, json!([["r", 1, []], ["append", 1, 1]])),
            txn(2, 2, 4, json!([["r", 1, []], ["append", 1, 2]])),
            txn(2, 5, 6, json!([["r", 1, [1, 2]]])),
        ];
        refuses(&calls, "lost-update");
    }

    #[test]
    fn lists_that_contradict_each_other_are_refused() {
        let calls = [
            txn(1, 1, 3, json!([["append", 1, 1]])),
            txn(2, 2, 4, json!([["append", 1, 2]])),
            txn(3, 5, 6, json!([["r", 1, [1, 2]]])),
            txn(4, 7, 8, json!([["r", 1, [2, 1]]])),
        ];
        refuses(&calls, "incompatible-order");
    }

    #[test]
    fn a_read_of_what_failed_or_of_what_nobody_wrote_is_refused() {
        let calls = [
            failed(1, 1, 2, json!({"ops": [["append", 1, 1]]})),
            txn(2, 3, 4, json!([["r", 1, [1]]])),
        ];
        refuses(&calls, "never appended");
        refuses(&calls[1..], "never appended");
    }

    #[test]
    fn an_element_twice_is_refused() {
        let calls = [
            txn(1, 1, 2, json!([["append", 1, 1]])),
            txn(2, 3, 4, json!([["r", 1, [1, 1]]])),
        ];
        refuses(&calls, "duplicate-elements");
    }
}
