//! A column of documents: what it holds, what an UPDATE ships, what arrives.
//!
//! The column holds canonical JSON whose top level is an object or an array, or NULL, which is
//! no document. An UPDATE from one document to another ships the edit ([`super::edit`]); one from
//! or to NULL assigns, as an INSERT does. Whatever spelling is handed over, the edit is the
//! difference between contents.

use std::borrow::Cow;

use crate::canonical::is_canonical;
use crate::codec::Reader;
use crate::diff;
use crate::error::DecodeError;
use crate::json;
use crate::limits;
use crate::row::Cell;
use crate::types::Unfit;
use crate::types::text::shown;
use crate::value::{OwnedValue, Value};

use super::document::{DEPTH, Json};
use super::edit::{self, Change};
use super::rules::Rules;

/// The form in which the column stores a value; `None` if it is that already.
///
/// # Errors
/// It is no document.
pub fn stored(value: Value<'_>) -> Result<Option<OwnedValue>, Unfit> {
    match value {
        Value::Null => Ok(None),
        Value::Text(text) if is_canonical(text) => Ok(None),
        Value::Text(text) => {
            let canonical =
                json::canonical_within(text, DEPTH).map_err(|wrong| wrong.to_string())?;
            if !matches!(canonical.first(), Some(b'{' | b'[')) {
                return Err(SCALAR.into());
            }
            Ok((canonical != text).then_some(OwnedValue::Text(canonical)))
        }
        Value::Blob(_) => Err(
            "a BLOB is no document; use the json_ functions in place of the jsonb_ ones, or \
             json(x)"
                .into(),
        ),
        Value::Int(_) | Value::Real(_) => Err(SCALAR.into()),
    }
}

const SCALAR: &str = "a document is an object or an array and no bare value; wrap it, for example \
                      json_array(x), or make the column LWW";

/// Whether a value is in the form that the column stores.
#[must_use]
pub fn is_stored(value: Value<'_>) -> bool {
    stored(value) == Ok(None)
}

/// Appends what an UPDATE ships; answers `false` if the contents are the same.
///
/// # Errors
/// The column cannot hold the new value.
pub fn edit(
    old: Value<'_>,
    new: Value<'_>,
    rules: &Rules,
    out: &mut Vec<u8>,
) -> Result<bool, Unfit> {
    let made = stored(new)?;
    let new = made.as_ref().map_or(new, OwnedValue::as_ref);
    let before = text(old);
    let old = match (&before, old) {
        (Some(text), _) => Value::Text(text.as_bytes()),
        (None, Value::Text(_)) => NO_DOCUMENT,
        (None, old) => old,
    };
    edit_forms(old, new, rules, out)
}

/// Stands for a text that is no document, of which no edit leads to another one.
pub const NO_DOCUMENT: Value<'static> = Value::Blob(&[]);

/// The same of values that are in the form in which [`stored`] leaves them; nobody looks again. The old
/// one may also be none that the column can hold, unless it is a text.
///
/// # Errors
/// None; as of the other types.
pub fn edit_forms(
    old: Value<'_>,
    new: Value<'_>,
    rules: &Rules,
    out: &mut Vec<u8>,
) -> Result<bool, Unfit> {
    match (shown(old), shown(new)) {
        (Some(old), Some(new)) => {
            let Some(bytes) = diff::json::encoded(old, new, rules) else {
                return Ok(false);
            };
            Cell::Doc(&bytes).encode(out);
        }
        _ if old == new => return Ok(false),
        _ => Cell::Value(new).encode(out),
    }
    Ok(true)
}

/// The canonical text of a document; `None` if it is none.
fn text(value: Value<'_>) -> Option<Cow<'_, str>> {
    match stored(value) {
        Ok(None) => shown(value).map(Cow::Borrowed),
        Ok(Some(OwnedValue::Text(text))) => String::from_utf8(text).ok().map(Cow::Owned),
        _ => None,
    }
}

/// The document that a value shows; `None` if it is none.
#[must_use]
pub(crate) fn document(value: Value<'_>) -> Option<Json> {
    Json::parse(&text(value)?).ok()
}

/// A document as the column holds it.
#[must_use]
pub(crate) fn value_of(document: Option<Json>) -> OwnedValue {
    match document {
        None => OwnedValue::Null,
        Some(document) => OwnedValue::Text(document.to_string().into_bytes()),
    }
}

/// What a cell did to the document. `None`: it is of another type, or malformed.
#[must_use]
pub(crate) fn change_of(cell: Cell<'_>) -> Option<Change> {
    match cell {
        Cell::Doc(bytes) => Change::decode(bytes).ok(),
        Cell::Value(Value::Null) => Some(Change::Remove),
        Cell::Value(value) => document(value).map(Change::Set),
        _ => None,
    }
}

/// The document with an encoded edit done to it, which is of just that document.
#[must_use]
pub(crate) fn edited(edit: &[u8], now: Value<'_>) -> Option<OwnedValue> {
    let change = Change::decode(edit).ok()?;
    let new = change.apply(Some(document(now)?)).ok()?;
    new.map(|new| value_of(Some(new)))
}

/// Whether an UPDATE may ship this edit.
///
/// # Errors
/// It is malformed, or of a kind that only a newer version knows.
pub(crate) fn fits(edit: &[u8]) -> Result<bool, DecodeError> {
    let change = Change::decode(edit)?;
    Ok(!matches!(
        change,
        Change::Set(Json::Scalar(_)) | Change::Add(_) | Change::Remove
    ))
}

/// The JSON that an encoded edit sets, if it does so at one place only.
#[must_use]
pub(crate) fn only_value(bytes: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader::new(bytes);
    loop {
        match reader.byte("a change").ok()? {
            edit::MAP if reader.varint("changed keys").ok()? == 1 => {
                reader.sized("a key", limits::VALUE_BYTES).ok()?;
            }
            edit::SET => {
                let value = reader.sized("a JSON value", limits::VALUE_BYTES).ok()?;
                return reader.is_empty().then_some(value);
            }
            _ => return None,
        }
    }
}
