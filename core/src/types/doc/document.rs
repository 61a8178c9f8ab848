//! A JSON document as a tree.
//!
//! It is read from, and written in, the canonical form only ([`crate::json`]): whoever has
//! another form makes it canonical first. Numbers and strings are kept as they are written.
//! Depth is bounded, and so recursion is safe.

use std::collections::BTreeMap;
use std::fmt;

use crate::canonical::is_canonical;
use crate::json::{self, Invalid};
use crate::limits;

/// Arrays and objects inside each other.
pub const DEPTH: usize = limits::DOCUMENT_DEPTH;

/// A JSON value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Json {
    /// null, true, false, a number or a string, as it is written.
    Scalar(String),
    /// Members by key; a key is kept as it is written, with its quotes.
    Object(BTreeMap<String, Json>),
    /// Elements.
    Array(Vec<Json>),
}

impl Json {
    /// Reads a value.
    ///
    /// # Errors
    /// Not JSON, not in the canonical form, or nested too deeply.
    // Whoever recurses calls this, and should not carry what it needs on every level.
    #[inline(never)]
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if is_canonical(text.as_bytes()) {
            return Parser { text, at: 0 }.value();
        }
        let canonical = json::canonical_within(text.as_bytes(), DEPTH)?;
        if canonical != text.as_bytes() {
            let same = canonical.iter().zip(text.as_bytes());
            return Err(Invalid {
                what: "another form than the canonical one",
                at: same.take_while(|(a, b)| a == b).count() + 1,
            });
        }
        Parser { text, at: 0 }.value()
    }

    /// Reads a value that is in the canonical form, which nobody checks; `None` if it is found not
    /// to be.
    #[must_use]
    pub(crate) fn of_canonical(text: &str) -> Option<Self> {
        let mut parser = Parser { text, at: 0 };
        let value = parser.value().ok()?;
        (parser.at == text.len()).then_some(value)
    }

    /// Appends the canonical form.
    pub fn write(&self, out: &mut String) {
        match self {
            Self::Scalar(text) => out.push_str(text),
            Self::Object(members) => {
                out.push('{');
                for (n, (key, value)) in members.iter().enumerate() {
                    if n > 0 {
                        out.push(',');
                    }
                    out.push_str(key);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
            Self::Array(elements) => {
                out.push('[');
                for (n, value) in elements.iter().enumerate() {
                    if n > 0 {
                        out.push(',');
                    }
                    value.write(out);
                }
                out.push(']');
            }
        }
    }

    /// The number, if it is an integer of 64 bits.
    #[must_use]
    pub fn integer(&self) -> Option<i64> {
        match self {
            Self::Scalar(text) => text.parse().ok(),
            _ => None,
        }
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::new();
        self.write(&mut out);
        f.write_str(&out)
    }
}

/// Reads a text that is known to be canonical.
struct Parser<'t> {
    text: &'t str,
    at: usize,
}

impl Parser<'_> {
    fn wrong(&self) -> Invalid {
        Invalid {
            what: "a value is wanted",
            at: self.at + 1,
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn value(&mut self) -> Result<Json, Invalid> {
        match self.peek() {
            Some(b'{') => self.object(),
            Some(b'[') => self.array(),
            Some(b'"') => self.string().map(Json::Scalar),
            _ => {
                let rest = self.text.get(self.at..).unwrap_or_default();
                let end = rest.find([',', ']', '}']).unwrap_or(rest.len());
                let word = rest.get(..end).filter(|word| !word.is_empty());
                self.at += end;
                word.map(|word| Json::Scalar(word.to_owned()))
                    .ok_or_else(|| self.wrong())
            }
        }
    }

    fn array(&mut self) -> Result<Json, Invalid> {
        self.at += 1;
        let mut elements = Vec::new();
        if self.take(b']') {
            return Ok(Json::Array(elements));
        }
        loop {
            elements.push(self.value()?);
            if self.take(b']') {
                return Ok(Json::Array(elements));
            }
            if !self.take(b',') {
                return Err(self.wrong());
            }
        }
    }

    fn object(&mut self) -> Result<Json, Invalid> {
        self.at += 1;
        let mut members = BTreeMap::new();
        if self.take(b'}') {
            return Ok(Json::Object(members));
        }
        loop {
            let key = self.string()?;
            if !self.take(b':') {
                return Err(self.wrong());
            }
            members.insert(key, self.value()?);
            if self.take(b'}') {
                return Ok(Json::Object(members));
            }
            if !self.take(b',') {
                return Err(self.wrong());
            }
        }
    }

    fn string(&mut self) -> Result<String, Invalid> {
        let start = self.at;
        self.at += 1;
        while let Some(byte) = self.peek() {
            self.at += if byte == b'\\' { 2 } else { 1 };
            if byte == b'"' {
                let text = self.text.get(start..self.at).unwrap_or_default();
                return Ok(text.to_owned());
            }
        }
        Err(self.wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn canonical_texts_round_trip() {
        for text in [
            "null",
            "[]",
            "{}",
            "-0.5",
            r#"{"a":[1,{"b":"x\"y\u001f\\"}],"b":null}"#,
            r#"["",0,true,false,"]},"]"#,
            r#"{"a b":1,"a":2}"#,
        ] {
            assert_eq!(Json::parse(text).unwrap().to_string(), text);
        }
        let deep = format!("{}{}", "[".repeat(DEPTH), "]".repeat(DEPTH));
        assert_eq!(Json::parse(&deep).unwrap().to_string(), deep);
    }

    #[test]
    fn what_is_wrong_and_where() {
        for (text, at) in [
            ("", 1),
            ("[1, 2]", 4),
            ("[1", 3),
            ("[1]]", 4),
            ("1.50", 4),
            (r#"{"b":1,"a":2}"#, 3),
            (r#""\/""#, 2),
        ] {
            assert_eq!(
                Json::parse(text).map_err(|wrong| wrong.at),
                Err(at),
                "{text}"
            );
        }
        let deep = format!("{}0{}", "[".repeat(DEPTH + 1), "]".repeat(DEPTH + 1));
        assert_eq!(Json::parse(&deep).unwrap_err().what, "nested too deeply");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..Default::default() })]

        /// Whatever is JSON has a canonical form, and that is read and written unchanged.
        #[test]
        fn the_canonical_form_is_read(text in r#"[\[\]{}",:ab\\ 0-2e.\-u/]{0,12}|\{"[ab !\u{e4}]{0,3}":[0-3],"[ab !]{0,3}":"[a\]},]{0,3}"\}"#) {
            if let Ok(canonical) = json::canonical(text.as_bytes()) {
                let canonical = String::from_utf8(canonical).unwrap();
                prop_assert_eq!(Json::parse(&canonical).unwrap().to_string(), canonical);
            }
        }
    }
}
