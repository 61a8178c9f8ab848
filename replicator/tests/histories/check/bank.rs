//! Accounts whose sum never changes: every look at all of them, on any node and at any level,
//! finds the same sum, because transactions are whole.

use serde_json::Value;

use super::Verdict;
use crate::history::Call;

/// Refuses a look at the accounts that finds another sum, or that lacks one.
pub(crate) fn check(calls: &[Call], accounts: usize, sum: i64) -> Verdict {
    for call in calls {
        let Some(answer) = call.answer().filter(|_| call.asked["do"] == "balances") else {
            continue;
        };
        let balances: Vec<i64> = answer
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_i64)
            .collect();
        let found: i64 = balances.iter().sum();
        if balances.len() != accounts || found != sum {
            return Err(format!("the sum is {found} and not {sum}: {call:?}"));
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
    fn half_a_transfer_is_refused() {
        let look = |answer| [ok(1, 1, 2, json!({"do": "balances"}), answer)];
        check(&look(json!([10, 0])), 2, 10).unwrap();
        check(&look(json!([3, 7])), 2, 10).unwrap();
        check(&look(json!([3, 6])), 2, 10).unwrap_err();
        check(&look(json!([10])), 2, 10).unwrap_err();
    }
}
