//! Whether a text is JSON in its canonical form already: the usual case of every write, told
//! without building anything.
//!
//! It may say no of a text that is canonical (one with rare escapes); [`crate::json::canonical`]
//! then finds out. It never says yes of one that is not. Nothing recurses here.

use crate::json::put_real;
use crate::limits;
use crate::plain::plain;

/// Whether the text is certainly one canonical array or object, no deeper than documents are.
#[must_use]
pub fn is_canonical(text: &[u8]) -> bool {
    if std::str::from_utf8(text).is_err() {
        return false;
    }
    let mut check = Check {
        text,
        at: 0,
        open: Vec::new(),
    };
    check.all().is_some() && check.at == text.len()
}

/// An array or object whose end was not met yet.
#[derive(Clone, Copy)]
enum Open {
    Array,
    /// Where its latest key lies.
    Object(usize, usize),
}

/// Every method goes on behind what it checks, or answers `None`.
struct Check<'t> {
    text: &'t [u8],
    at: usize,
    open: Vec<Open>,
}

impl Check<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn all(&mut self) -> Option<()> {
        if !matches!(self.peek(), Some(b'{' | b'[')) {
            return None;
        }
        loop {
            match self.peek()? {
                b'[' | b'{' if self.open.len() >= limits::DOCUMENT_DEPTH => return None,
                b'[' => {
                    self.at += 1;
                    if self.peek() != Some(b']') {
                        self.open.push(Open::Array);
                        continue;
                    }
                    self.at += 1;
                }
                b'{' => {
                    self.at += 1;
                    if self.peek() != Some(b'}') {
                        self.open.push(Open::Object(0, 0));
                        self.key()?;
                        continue;
                    }
                    self.at += 1;
                }
                b'"' => self.string()?,
                b'-' | b'0'..=b'9' => self.number()?,
                _ => self.word()?,
            }
            if !self.close()? {
                return Some(());
            }
        }
    }

    /// After a value: answers whether another one follows.
    fn close(&mut self) -> Option<bool> {
        while let Some(open) = self.open.last().copied() {
            if self.take(b',') {
                if matches!(open, Open::Object(..)) {
                    self.key()?;
                }
                return Some(true);
            }
            let end = if matches!(open, Open::Array) {
                b']'
            } else {
                b'}'
            };
            if !self.take(end) {
                return None;
            }
            self.open.pop();
        }
        Some(false)
    }

    fn key(&mut self) -> Option<()> {
        let start = self.at;
        if self.peek() != Some(b'"') {
            return None;
        }
        self.string()?;
        let end = self.at;
        let key = self.text.get(start..end)?;
        match self.open.last_mut()? {
            Open::Object(from, to) => {
                if *to > 0 && self.text.get(*from..*to)? >= key {
                    return None;
                }
                (*from, *to) = (start, end);
            }
            Open::Array => return None,
        }
        self.take(b':').then_some(())
    }

    fn string(&mut self) -> Option<()> {
        self.at += 1;
        loop {
            let rest = self.text.get(self.at..)?;
            let plain = plain(rest);
            self.at += plain + 1;
            match rest.get(plain)? {
                b'"' => return Some(()),
                b'\\'
                    if matches!(
                        rest.get(plain + 1)?,
                        b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't'
                    ) =>
                {
                    self.at += 1;
                }
                _ => return None,
            }
        }
    }

    fn number(&mut self) -> Option<()> {
        let rest = self.text.get(self.at..)?;
        let is_of_number = |c: &u8| matches!(c, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        let end = rest.iter().position(|c| !is_of_number(c))?;
        let number = rest.get(..end)?;
        self.at += end;
        let digits = number.strip_prefix(b"-").unwrap_or(number);
        if digits.iter().all(u8::is_ascii_digit) {
            let is_short = (1..=18).contains(&digits.len());
            let is_zero = number == b"0";
            return (is_short && (is_zero || digits.first() != Some(&b'0'))).then_some(());
        }
        let real: f64 = std::str::from_utf8(number).ok()?.parse().ok()?;
        let mut canonical = Vec::new();
        put_real(&mut canonical, real);
        (canonical == number).then_some(())
    }

    fn word(&mut self) -> Option<()> {
        let rest = self.text.get(self.at..)?;
        let words = [b"true".as_slice(), b"false", b"null"];
        let word = words.into_iter().find(|word| rest.starts_with(word))?;
        self.at += word.len();
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::canonical;
    use proptest::prelude::*;

    #[test]
    fn usual_texts_are_known_at_once() {
        for text in [
            "[]",
            "{}",
            r#"{"a":[1,-2,0,1.5,-0.0,1e300,true,false,null,"x\n\"\\ä"],"b":{"c":{}}}"#,
            r#"{"a b":1,"a":2}"#,
        ] {
            let canonical = canonical(text.as_bytes()).unwrap() == text.as_bytes();
            assert!(canonical, "{text}");
            assert!(is_canonical(text.as_bytes()), "{text}");
        }
        let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(is_canonical(deep(limits::DOCUMENT_DEPTH).as_bytes()));
        assert!(!is_canonical(deep(limits::DOCUMENT_DEPTH + 1).as_bytes()));
        assert!(!is_canonical(&[b'['; 1_000_000]));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..Default::default() })]

        /// It never says yes where the canonical form is another one.
        #[test]
        fn it_agrees_with_the_canonical_form(
            text in r#"[\[\]{}",:ab\\ 0-2e.\-u/]{0,12}|\{"[ab !\u{e4}]{0,3}":[0-3],"[ab !]{0,3}":"[a\]},]{0,3}"\}|\[-?[0-9.e+-]{1,20}\]"#
        ) {
            let canonical = canonical(text.as_bytes()).is_ok_and(|made| made == text.as_bytes());
            prop_assert!(canonical || !is_canonical(text.as_bytes()), "{}", text);
        }
    }
}
