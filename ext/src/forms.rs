//! Texts that were found in their column's form a moment ago (see [`crate::canonical`]).
//!
//! One UPDATE of a document asks four times: a trigger whether the new text is in its form, the capture
//! about the new and the old one, and the old one is what the UPDATE before wrote. Whether a text is
//! in its form depends on its bytes and the column's type only, so what was found holds for equal
//! bytes, whatever happened since. Two texts are remembered, and no long ones.

use nuda_core::types::{ColumnType, Unfit};
use nuda_core::value::{OwnedValue, Value};

/// Bytes of a text that is remembered.
const LONGEST: usize = 128 * 1024;

/// The texts.
#[derive(Debug, Default)]
pub(crate) struct Known {
    texts: [(Option<ColumnType>, Vec<u8>); 2],
    /// Which of them gives way to the next one.
    oldest: usize,
}

impl Known {
    /// As [`ColumnType::stored`].
    pub(crate) fn stored(
        &mut self,
        kind: ColumnType,
        value: Value<'_>,
    ) -> Result<Option<OwnedValue>, Unfit> {
        let text = match value {
            Value::Text(text) if kind.has_canonical_form() => text,
            _ => return kind.stored(value),
        };
        if self
            .texts
            .iter()
            .any(|(of, it)| *of == Some(kind) && it == text)
        {
            return Ok(None);
        }
        let form = kind.stored(value)?;
        if form.is_none() && text.len() <= LONGEST {
            let oldest = self.oldest;
            if let Some((of, place)) = self.texts.get_mut(oldest) {
                *of = Some(kind);
                place.clear();
                place.extend_from_slice(text);
            }
            self.oldest = 1 - oldest;
        }
        Ok(form)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is remembered of one type says nothing about another, nor of a text that was in
    /// another form.
    #[test]
    fn answers_are_those_of_the_type() {
        let mut known = Known::default();
        let texts = [
            r#"["a","b"]"#,
            r#"["b","a"]"#,
            r#"[ "b","a"]"#,
            r#"{"a":1}"#,
            r#"{"a":1, "b":2}"#,
            "1",
            "nonsense",
        ];
        for round in 0..3 {
            for text in texts {
                for kind in [ColumnType::Doc, ColumnType::OrSet] {
                    let value = Value::Text(text.as_bytes());
                    for _ in 0..=round {
                        assert_eq!(known.stored(kind, value), kind.stored(value), "{text}");
                    }
                }
            }
        }
        let long = format!("[\"{}\"]", "x".repeat(LONGEST));
        let value = Value::Text(long.as_bytes());
        assert_eq!(known.stored(ColumnType::Doc, value), Ok(None));
        assert!(known.texts.iter().all(|(_, text)| text.len() <= LONGEST));
    }
}
