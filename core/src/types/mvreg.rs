//! MVREG: a register that keeps all concurrent values. One value is shown as it is; several
//! are shown as a JSON array, sorted, each value once, until a write that saw them replaces
//! them.

use crate::json;
use crate::types::{Unfit, Write, Wrote, frontier};
use crate::value::{OwnedValue, Value};

/// Whether the column can hold this value.
///
/// # Errors
/// It could not be shown within JSON: a BLOB, or text that is not UTF-8.
pub fn check(value: Value<'_>) -> Result<(), Unfit> {
    match value {
        Value::Blob(_) => Err("a BLOB cannot be shown beside others; use a text".into()),
        Value::Text(text) => match std::str::from_utf8(text) {
            Ok(_) => Ok(()),
            Err(error) => Err(format!(
                "the text is not UTF-8 at position {}",
                error.valid_up_to() + 1
            )),
        },
        _ => Ok(()),
    }
}

/// Both values, as if neither write had seen the other.
#[must_use]
pub fn beside(a: Value<'_>, b: Value<'_>) -> OwnedValue {
    if a == b {
        return a.into();
    }
    OwnedValue::Text(array(&[a, b]))
}

/// All values of the frontier.
pub(crate) fn join<'a>(mine: Option<Wrote<'a, '_>>, others: &[Wrote<'a, '_>]) -> Write<'a> {
    let mut values: Vec<Value<'a>> = Vec::new();
    let frontier = frontier(others.iter());
    for write in mine.iter().chain(frontier) {
        if !values.contains(&write.value()) {
            values.push(write.value());
        }
    }
    match values.as_slice() {
        [] => Write::Value(Value::Null),
        [one] => Write::Value(*one),
        several => Write::Made(OwnedValue::Text(array(several))),
    }
}

fn array(values: &[Value<'_>]) -> Vec<u8> {
    let mut elements: Vec<Vec<u8>> = values.iter().map(|value| element(*value)).collect();
    crate::sorted::by(&mut elements, |a, b| json::compare(a, b));
    elements.dedup();
    let mut out = vec![b'['];
    out.extend_from_slice(&elements.join(&b','));
    out.push(b']');
    out
}

fn element(value: Value<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Int(n) => out.extend_from_slice(n.to_string().as_bytes()),
        Value::Real(r) => json::put_real(&mut out, r),
        Value::Text(text) => json::put_string(&mut out, &String::from_utf8_lossy(text)),
        Value::Blob(bytes) => {
            let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
            json::put_string(&mut out, &hex);
        }
    }
    out
}
