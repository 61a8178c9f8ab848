//! JSON in one canonical form, so that equal content has equal bytes on every replica.
//!
//! Canonical means: no white space; the keys of an object ascending, none twice; strings with
//! the fewest escapes; integers that fit 64 bits as digits, other numbers as the shortest text
//! of the nearest IEEE double. What is no JSON is refused with the position. Nothing recurses
//! here: the depth of a document costs heap and is bounded by [`limits::JSON_DEPTH`].

use std::cmp::Ordering;
use std::fmt;
use std::ops::Range;

use crate::limits;
use crate::plain::plain;

/// Why a text is not taken as JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Invalid {
    /// What is wrong there.
    pub what: &'static str,
    /// The byte's position, from 1.
    pub at: usize,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at position {} of the JSON", self.what, self.at)
    }
}

/// The canonical form of one JSON value.
///
/// # Errors
/// Not JSON, or nested too deeply.
pub fn canonical(text: &[u8]) -> Result<Vec<u8>, Invalid> {
    canonical_within(text, limits::JSON_DEPTH)
}

/// The same of a value with at most `depth` arrays and objects within each other.
///
/// # Errors
/// Not JSON, or nested too deeply.
pub fn canonical_within(text: &[u8], depth: usize) -> Result<Vec<u8>, Invalid> {
    let mut scanner = Scanner { text, at: 0, depth };
    let mut out = Vec::with_capacity(text.len());
    scanner.value(&mut out)?;
    scanner.end()?;
    Ok(out)
}

/// The canonical forms of an array's elements, in the order of the text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Elements {
    /// All of them, one after another.
    pub bytes: Vec<u8>,
    /// Where each one lies.
    pub places: Vec<Range<usize>>,
}

/// Reads a JSON array.
///
/// # Errors
/// Not JSON, not an array, or nested too deeply.
pub fn elements(text: &[u8]) -> Result<Elements, Invalid> {
    let depth = limits::JSON_DEPTH;
    let mut scanner = Scanner { text, at: 0, depth };
    let mut found = Elements {
        bytes: Vec::with_capacity(text.len()),
        places: Vec::new(),
    };
    scanner.space();
    if scanner.peek() != Some(b'[') {
        return Err(scanner.invalid("an array is wanted"));
    }
    scanner.at += 1;
    scanner.space();
    if scanner.peek() == Some(b']') {
        scanner.at += 1;
        scanner.end()?;
        return Ok(found);
    }
    loop {
        let start = found.bytes.len();
        scanner.value(&mut found.bytes)?;
        found.places.push(start..found.bytes.len());
        scanner.space();
        match scanner.peek() {
            Some(b',') => scanner.at += 1,
            Some(b']') => {
                scanner.at += 1;
                scanner.end()?;
                return Ok(found);
            }
            _ => return Err(scanner.invalid("a comma or the end of the array is wanted")),
        }
    }
}

/// The order of canonical values: null, false, true, numbers, strings, arrays, objects;
/// numbers by value, the rest by their bytes. Total on any bytes.
#[must_use]
pub fn compare(a: &[u8], b: &[u8]) -> Ordering {
    let (kind_a, kind_b) = (kind(a), kind(b));
    let by_value = if kind_a == NUMBER && kind_b == NUMBER {
        number(a).total_cmp(&number(b))
    } else {
        Ordering::Equal
    };
    kind_a.cmp(&kind_b).then(by_value).then_with(|| a.cmp(b))
}

const NUMBER: u8 = 3;

fn kind(value: &[u8]) -> u8 {
    match value.first() {
        Some(b'n') => 0,
        Some(b'f') => 1,
        Some(b't') => 2,
        Some(b'-' | b'0'..=b'9') => NUMBER,
        Some(b'"') => 4,
        Some(b'[') => 5,
        Some(b'{') => 6,
        _ => 7,
    }
}

fn number(text: &[u8]) -> f64 {
    // Integers of up to 15 digits are exact, and far the most frequent.
    if text.len() <= 15 && text.iter().all(u8::is_ascii_digit) {
        return text
            .iter()
            .fold(0.0, |n, digit| n * 10.0 + f64::from(digit - b'0'));
    }
    std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(f64::INFINITY)
}

/// Appends a string in its canonical form.
pub fn put_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for byte in text.bytes() {
        put_byte(out, byte);
    }
    out.push(b'"');
}

/// Appends a real number in its canonical form; SQLite writes infinity like this, too.
pub fn put_real(out: &mut Vec<u8>, real: f64) {
    if real.is_infinite() {
        out.extend_from_slice(if real < 0.0 { b"-9e999" } else { b"9e999" });
    } else {
        out.extend_from_slice(format!("{real:?}").as_bytes());
    }
}

fn put_byte(out: &mut Vec<u8>, byte: u8) {
    match byte {
        b'"' => out.extend_from_slice(b"\\\""),
        b'\\' => out.extend_from_slice(b"\\\\"),
        0x08 => out.extend_from_slice(b"\\b"),
        0x0c => out.extend_from_slice(b"\\f"),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        0..0x20 => put_escape(out, u32::from(byte)),
        byte => out.push(byte),
    }
}

fn put_escape(out: &mut Vec<u8>, unit: u32) {
    out.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
}

/// An array or object whose end has not been read.
enum Open {
    Array,
    Object(Object),
}

/// The members written so far: where each begins, its key's end, its end.
struct Object {
    members: Vec<(usize, usize, usize)>,
    is_sorted: bool,
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    /// Arrays and objects within each other.
    depth: usize,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn invalid(&self, what: &'static str) -> Invalid {
        Invalid {
            what,
            at: self.at + 1,
        }
    }

    fn end(&mut self) -> Result<(), Invalid> {
        self.space();
        if self.at < self.text.len() {
            return Err(self.invalid("something follows the value"));
        }
        Ok(())
    }

    /// Appends one value in its canonical form.
    fn value(&mut self, out: &mut Vec<u8>) -> Result<(), Invalid> {
        let mut open: Vec<Open> = Vec::new();
        loop {
            self.space();
            if open.len() >= self.depth && matches!(self.peek(), Some(b'[' | b'{')) {
                return Err(self.invalid("nested too deeply"));
            }
            match self.peek() {
                Some(b'[') => {
                    self.at += 1;
                    out.push(b'[');
                    self.space();
                    if self.peek() != Some(b']') {
                        open.push(Open::Array);
                        continue;
                    }
                    self.at += 1;
                    out.push(b']');
                }
                Some(b'{') => {
                    self.at += 1;
                    out.push(b'{');
                    self.space();
                    if self.peek() != Some(b'}') {
                        let mut object = Object {
                            members: Vec::new(),
                            is_sorted: true,
                        };
                        self.key(&mut object, out)?;
                        open.push(Open::Object(object));
                        continue;
                    }
                    self.at += 1;
                    out.push(b'}');
                }
                _ => self.scalar(out)?,
            }
            if self.close(&mut open, out)? {
                return Ok(());
            }
        }
    }

    /// After a value: closes what ends here. Answers whether nothing is open any more.
    fn close(&mut self, open: &mut Vec<Open>, out: &mut Vec<u8>) -> Result<bool, Invalid> {
        loop {
            let Some(innermost) = open.last_mut() else {
                return Ok(true);
            };
            self.space();
            match (innermost, self.peek()) {
                (Open::Array, Some(b',')) => {
                    self.at += 1;
                    out.push(b',');
                    return Ok(false);
                }
                (Open::Array, Some(b']')) => {
                    self.at += 1;
                    out.push(b']');
                    open.pop();
                }
                (Open::Object(object), Some(b',')) => {
                    self.at += 1;
                    object.end_member(out.len());
                    out.push(b',');
                    self.key(object, out)?;
                    return Ok(false);
                }
                (Open::Object(object), Some(b'}')) => {
                    object.end_member(out.len());
                    if !object.sort(out) {
                        return Err(self.invalid("an object names a key twice"));
                    }
                    self.at += 1;
                    out.push(b'}');
                    open.pop();
                }
                (Open::Array, _) => {
                    return Err(self.invalid("a comma or the end of the array is wanted"));
                }
                (Open::Object(_), _) => {
                    return Err(self.invalid("a comma or the end of the object is wanted"));
                }
            }
        }
    }

    /// Appends a key and the colon.
    fn key(&mut self, object: &mut Object, out: &mut Vec<u8>) -> Result<(), Invalid> {
        self.space();
        if self.peek() != Some(b'"') {
            return Err(self.invalid("a key in double quotes is wanted"));
        }
        let start = out.len();
        self.string(out)?;
        let previous = object.members.last().map(|(from, to, _)| *from..*to);
        if let Some(previous) = previous {
            object.is_sorted &= out.get(previous) < out.get(start..);
        }
        object.members.push((start, out.len(), 0));
        self.space();
        if self.peek() != Some(b':') {
            return Err(self.invalid("a colon is wanted"));
        }
        self.at += 1;
        out.push(b':');
        Ok(())
    }

    fn scalar(&mut self, out: &mut Vec<u8>) -> Result<(), Invalid> {
        match self.peek() {
            Some(b'"') => self.string(out),
            Some(b'-' | b'0'..=b'9') => self.number(out),
            _ => {
                let rest = self.text.get(self.at..).unwrap_or_default();
                for word in [b"true".as_slice(), b"false", b"null"] {
                    if rest.starts_with(word) {
                        self.at += word.len();
                        out.extend_from_slice(word);
                        return Ok(());
                    }
                }
                Err(self.invalid("a value is wanted"))
            }
        }
    }

    fn digits(&mut self) -> Result<(), Invalid> {
        if !self.peek().is_some_and(|c| c.is_ascii_digit()) {
            return Err(self.invalid("a digit is wanted"));
        }
        while self.peek().is_some_and(|c| c.is_ascii_digit()) {
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self, out: &mut Vec<u8>) -> Result<(), Invalid> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        let mut is_integer = true;
        if self.peek() == Some(b'.') {
            is_integer = false;
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            is_integer = false;
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        let text = self.text.get(start..self.at).unwrap_or_default();
        let text = std::str::from_utf8(text).unwrap_or_default();
        if is_integer && let Ok(integer) = text.parse::<i64>() {
            out.extend_from_slice(integer.to_string().as_bytes());
            return Ok(());
        }
        put_real(out, text.parse().unwrap_or(f64::INFINITY));
        Ok(())
    }

    fn string(&mut self, out: &mut Vec<u8>) -> Result<(), Invalid> {
        self.at += 1;
        out.push(b'"');
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let plain = plain(rest);
            if plain == rest.len() {
                return Err(Invalid {
                    what: "a string does not end",
                    at: self.text.len() + 1,
                });
            }
            let piece = rest.get(..plain).unwrap_or_default();
            if let Err(error) = std::str::from_utf8(piece) {
                self.at += error.valid_up_to();
                return Err(self.invalid("a character that is not UTF-8"));
            }
            out.extend_from_slice(piece);
            self.at += plain;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    out.push(b'"');
                    return Ok(());
                }
                Some(b'\\') => self.escape(out)?,
                _ => return Err(self.invalid("a control character inside a string")),
            }
        }
    }

    fn escape(&mut self, out: &mut Vec<u8>) -> Result<(), Invalid> {
        let named = match self.text.get(self.at + 1) {
            Some(c @ (b'"' | b'\\' | b'/')) => *c,
            Some(b'b') => 0x08,
            Some(b'f') => 0x0c,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => return self.code_point(out),
            _ => return Err(self.invalid("an unknown escape")),
        };
        self.at += 2;
        put_byte(out, named);
        Ok(())
    }

    /// `\uXXXX`, or two of them that are one character. Half of such a pair stays an escape.
    fn code_point(&mut self, out: &mut Vec<u8>) -> Result<(), Invalid> {
        let unit = self
            .unit(self.at)
            .ok_or_else(|| self.invalid("four hexadecimal digits are wanted"))?;
        self.at += 6;
        let mut code = unit;
        if (0xd800..0xdc00).contains(&unit)
            && let Some(low) = self.unit(self.at).filter(|u| (0xdc00..0xe000).contains(u))
        {
            self.at += 6;
            code = 0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
        }
        match char::from_u32(code) {
            Some(c) => {
                let mut buffer = [0; 4];
                for byte in c.encode_utf8(&mut buffer).bytes() {
                    put_byte(out, byte);
                }
            }
            None => put_escape(out, code),
        }
        Ok(())
    }

    fn unit(&self, at: usize) -> Option<u32> {
        let escape = self.text.get(at..at + 6)?;
        let digits = escape.strip_prefix(b"\\u")?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    }
}

impl Object {
    fn end_member(&mut self, end: usize) {
        if let Some(last) = self.members.last_mut() {
            last.2 = end;
        }
    }

    /// Puts the members in order; answers `false` if a key is there twice.
    fn sort(&mut self, out: &mut Vec<u8>) -> bool {
        if self.is_sorted {
            return true;
        }
        let Some(start) = self.members.first().map(|member| member.0) else {
            return true;
        };
        let written = out.split_off(start);
        let part = |from: usize, to: usize| written.get(from - start..to - start);
        crate::sorted::by_key(&mut self.members, |(from, to, _)| part(*from, *to));
        for (n, (from, _, to)) in self.members.iter().enumerate() {
            if n > 0 {
                out.push(b',');
            }
            out.extend_from_slice(part(*from, *to).unwrap_or_default());
        }
        self.members
            .windows(2)
            .all(|pair| matches!(pair, [a, b] if part(a.0, a.1) != part(b.0, b.1)))
    }
}
