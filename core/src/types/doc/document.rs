//! A JSON document as a tree.
//!
//! It is read from, and written in, the canonical form only: no white space, the members of an
//! object ascending by the bytes of their keys as they are written, none twice. Numbers and
//! strings are kept as they are written, so nothing is lost or rounded here. Depth is
//! bounded, as SQLite's own JSON functions bound it, and so recursion is safe.

use std::collections::BTreeMap;
use std::fmt;

/// Arrays and objects inside each other: what SQLite's JSON functions allow.
pub const DEPTH: usize = 1_000;

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

/// Why a text is no canonical JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotCanonical {
    /// What is wrong there.
    pub what: &'static str,
    /// The byte's position, from 1.
    pub at: usize,
}

impl fmt::Display for NotCanonical {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at position {} of the JSON", self.what, self.at)
    }
}

impl std::error::Error for NotCanonical {}

impl Json {
    /// Reads a value.
    ///
    /// # Errors
    /// Not JSON, not in the canonical form, or nested too deeply.
    pub fn parse(text: &str) -> Result<Self, NotCanonical> {
        let mut parser = Parser { text, at: 0 };
        let value = parser.value(0)?;
        if parser.at < text.len() {
            return Err(parser.wrong("something follows the value"));
        }
        Ok(value)
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

struct Parser<'t> {
    text: &'t str,
    at: usize,
}

impl Parser<'_> {
    fn wrong(&self, what: &'static str) -> NotCanonical {
        NotCanonical {
            what,
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

    fn value(&mut self, depth: usize) -> Result<Json, NotCanonical> {
        if depth > DEPTH {
            return Err(self.wrong("nested too deeply"));
        }
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string().map(Json::Scalar),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => {
                let rest = self.text.get(self.at..).unwrap_or_default();
                for word in ["null", "true", "false"] {
                    if rest.starts_with(word) {
                        self.at += word.len();
                        return Ok(Json::Scalar(word.to_owned()));
                    }
                }
                Err(self.wrong("a value is wanted"))
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Json, NotCanonical> {
        self.at += 1;
        let mut elements = Vec::new();
        if self.take(b']') {
            return Ok(Json::Array(elements));
        }
        loop {
            elements.push(self.value(depth + 1)?);
            if self.take(b']') {
                return Ok(Json::Array(elements));
            }
            if !self.take(b',') {
                return Err(self.wrong("a comma or the end of the array is wanted"));
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json, NotCanonical> {
        self.at += 1;
        let mut members = BTreeMap::new();
        if self.take(b'}') {
            return Ok(Json::Object(members));
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.wrong("a key in double quotes is wanted"));
            }
            let start = self.at;
            let key = self.string()?;
            if members
                .last_key_value()
                .is_some_and(|(last, _)| *last >= key)
            {
                self.at = start;
                return Err(self.wrong("keys that do not ascend"));
            }
            if !self.take(b':') {
                return Err(self.wrong("a colon is wanted"));
            }
            members.insert(key, self.value(depth + 1)?);
            if self.take(b'}') {
                return Ok(Json::Object(members));
            }
            if !self.take(b',') {
                return Err(self.wrong("a comma or the end of the object is wanted"));
            }
        }
    }

    fn string(&mut self) -> Result<String, NotCanonical> {
        let start = self.at;
        self.at += 1;
        loop {
            match self.peek() {
                None => return Err(self.wrong("a string does not end")),
                Some(b'"') => {
                    self.at += 1;
                    let text = self.text.get(start..self.at).unwrap_or_default();
                    return Ok(text.to_owned());
                }
                Some(b'\\') => self.escape()?,
                Some(0..0x20) => return Err(self.wrong("a control character inside a string")),
                Some(_) => self.at += 1,
            }
        }
    }

    fn escape(&mut self) -> Result<(), NotCanonical> {
        let rest = self.text.as_bytes().get(self.at + 1..).unwrap_or_default();
        self.at += match rest {
            [b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't', ..] => 2,
            [b'u', digits @ ..]
                if digits.len() >= 4 && digits.iter().take(4).all(u8::is_ascii_hexdigit) =>
            {
                6
            }
            _ => return Err(self.wrong("an unknown escape")),
        };
        Ok(())
    }

    fn digits(&mut self) -> Result<(), NotCanonical> {
        let start = self.at;
        while self.peek().is_some_and(|c| c.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start {
            return Err(self.wrong("a digit is wanted"));
        }
        Ok(())
    }

    fn number(&mut self) -> Result<Json, NotCanonical> {
        let start = self.at;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            if !self.take(b'+') {
                self.take(b'-');
            }
            self.digits()?;
        }
        let text = self.text.get(start..self.at).unwrap_or_default();
        Ok(Json::Scalar(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_texts_round_trip() {
        for text in [
            "null",
            "[]",
            "{}",
            "-0.5e+10",
            "123456789012345678901234567890",
            r#"{"a":[1,{"b":"x\"y\u001f"}],"b":null}"#,
            r#"["",0,true,false]"#,
        ] {
            assert_eq!(Json::parse(text).unwrap().to_string(), text);
        }
        let deep = format!("{}{}", "[".repeat(DEPTH), "]".repeat(DEPTH));
        assert_eq!(Json::parse(&deep).unwrap().to_string(), deep);
    }

    #[test]
    fn what_is_wrong_and_where() {
        for (text, what, at) in [
            ("", "a value is wanted", 1),
            ("[1, 2]", "a value is wanted", 4),
            ("[1", "a comma or the end of the array is wanted", 3),
            ("[1]]", "something follows the value", 4),
            ("01", "something follows the value", 2),
            ("-", "a digit is wanted", 2),
            (r#"{"b":1,"a":2}"#, "keys that do not ascend", 8),
            (r#"{"a":1,"a":2}"#, "keys that do not ascend", 8),
            (r#"{"a" :1}"#, "a colon is wanted", 5),
            (r#""\x""#, "an unknown escape", 2),
            ("\"a", "a string does not end", 3),
            ("\"\n\"", "a control character inside a string", 2),
        ] {
            assert_eq!(Json::parse(text), Err(NotCanonical { what, at }), "{text}");
        }
        let deep = format!("{}0{}", "[".repeat(DEPTH + 1), "]".repeat(DEPTH + 1));
        assert_eq!(Json::parse(&deep).unwrap_err().what, "nested too deeply");
    }
}
