//! What a user may say about places of a document: counters, and what names an element.
//!
//! A place is written as a path: `$`, then `.key` or `.*` for each step, where `*` stands for
//! any key and any element. `$.stock.*` are all members of the object `stock`; `$.lines.*.id` is
//! the `id` of each element of the list `lines`. A key that is no word is written in double
//! quotes. Rules are written one after another, with commas: `$.stock.* counter, $.lines key id`.
//! They say how an edit is found, not how edits merge; so they matter to who writes only.

use std::fmt;

use crate::json;
use crate::limits;

use super::loss::put_key;

/// A path with wildcards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path(Vec<Option<String>>);

/// A step of a path through a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// A member, by key as it is written, with its quotes.
    Key(&'a str),
    /// An element.
    Element,
}

impl Path {
    /// Reads a path; `None` if it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut rest = text.strip_prefix('$')?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            rest = rest.strip_prefix('.')?;
            let end = key_end(rest)?;
            let (key, after) = rest.split_at_checked(end)?;
            rest = after;
            steps.push(match key {
                "*" => None,
                key => Some(canonical_key(key)?),
            });
        }
        (steps.len() <= limits::DOCUMENT_DEPTH).then_some(Self(steps))
    }

    fn matches(&self, place: &[Step<'_>]) -> bool {
        self.0.len() == place.len()
            && self
                .0
                .iter()
                .zip(place)
                .all(|(mine, step)| match (mine, step) {
                    (None, _) => true,
                    (Some(key), Step::Key(other)) => key == other,
                    (Some(_), Step::Element) => false,
                })
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = "$".to_owned();
        for step in &self.0 {
            match step {
                None => text.push_str(".*"),
                Some(key) => put_key(&mut text, key),
            }
        }
        f.write_str(&text)
    }
}

/// Where the key at the beginning of a path's rest ends.
fn key_end(rest: &str) -> Option<usize> {
    if !rest.starts_with('"') {
        return Some(rest.find('.').unwrap_or(rest.len())).filter(|end| *end > 0);
    }
    let mut is_escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            '"' if !is_escaped => return Some(at + 1),
            _ => is_escaped = c == '\\' && !is_escaped,
        }
    }
    None
}

/// A key, bare or in quotes, as documents write it.
fn canonical_key(key: &str) -> Option<String> {
    if !key.starts_with('"') {
        let is_bare =
            !key.contains(['"', '\\', '[', ']', ',']) && !key.contains(char::is_whitespace);
        return is_bare.then(|| format!("\"{key}\""));
    }
    String::from_utf8(json::canonical(key.as_bytes()).ok()?).ok()
}

/// All rules of a column, as they travel.
const TEXT_BYTES: usize = limits::NAME_BYTES - 24;

/// All that was said about a column's documents.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    /// Integers here are counters.
    pub counters: Vec<Path>,
    /// Elements of the lists here are the same if their members of this key are.
    pub identities: Vec<(Path, String)>,
}

impl Rules {
    /// Reads rules as a user writes them.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut rules = Self::default();
        for rule in split(text, |c| c == ',') {
            let words = split(rule, char::is_whitespace);
            let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
            let wrong = || {
                format!(
                    "'{}' is no rule; a rule is a path and what is there: $.stock.* counter, or \
                     $.lines key id",
                    rule.trim()
                )
            };
            let (path, said) = words.split_first().ok_or_else(wrong)?;
            let path = Path::parse(path).ok_or_else(|| {
                format!("'{path}' is no path; write $, then .key or .* for each step")
            })?;
            match said {
                [word] if word.eq_ignore_ascii_case("counter") => rules.counters.push(path),
                [word, key] if word.eq_ignore_ascii_case("key") => {
                    let key = canonical_key(key).ok_or_else(wrong)?;
                    let bare = key.strip_prefix('"').and_then(|k| k.strip_suffix('"'));
                    rules
                        .identities
                        .push((path, bare.unwrap_or(&key).to_owned()));
                }
                _ => return Err(wrong()),
            }
            // They travel as part of the type's name.
            if rules.to_string().len() > TEXT_BYTES {
                return Err(format!("they are longer than {TEXT_BYTES} bytes"));
            }
        }
        Ok(rules)
    }

    /// Whether nothing was said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counters.is_empty() && self.identities.is_empty()
    }

    /// Whether integers at this place are counters.
    #[must_use]
    pub fn counts(&self, place: &[Step<'_>]) -> bool {
        self.counters.iter().any(|path| path.matches(place))
    }

    /// The key, with its quotes, that names the elements of the list at this place.
    #[must_use]
    pub fn identity(&self, place: &[Step<'_>]) -> Option<String> {
        let (_, key) = self
            .identities
            .iter()
            .find(|(path, _)| path.matches(place))?;
        Some(format!("\"{key}\""))
    }
}

impl fmt::Display for Rules {
    /// As [`Rules::parse`] reads them, in one form.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counters = self.counters.iter().map(|path| format!("{path} counter"));
        let identities = self.identities.iter().map(|(path, key)| {
            let mut step = String::new();
            put_key(&mut step, &format!("\"{key}\""));
            format!("{path} key {}", step.trim_start_matches('.'))
        });
        let all: Vec<String> = counters.chain(identities).collect();
        f.write_str(&all.join(", "))
    }
}

/// Splits a text where it is not in double quotes.
fn split(text: &str, at: impl Fn(char) -> bool) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut is_quoted, mut is_escaped) = (0, false, false);
    for (n, c) in text.char_indices() {
        if !is_quoted && at(c) {
            parts.push(text.get(start..n).unwrap_or_default());
            start = n + c.len_utf8();
        } else if c == '"' && !is_escaped {
            is_quoted = !is_quoted;
        }
        is_escaped = is_quoted && c == '\\' && !is_escaped;
    }
    parts.push(text.get(start..).unwrap_or_default());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_and_written() {
        for (written, wanted) in [
            ("$.stock.* counter", "$.stock.* counter"),
            (
                " $.lines  KEY id ,$.stock.* Counter",
                "$.stock.* counter, $.lines key id",
            ),
            (r#"$."a, b"."*".c counter"#, r#"$."a, b"."*".c counter"#),
            (r#"$."a" key "the \"id\"""#, r#"$.a key "the \"id\"""#),
            ("$ key id", "$ key id"),
        ] {
            let rules = Rules::parse(written).unwrap();
            assert_eq!(rules.to_string(), wanted);
            assert_eq!(Rules::parse(wanted).unwrap(), rules);
        }
        let rules = Rules::parse(r#"$."a, b".* counter, $ key "x y""#).unwrap();
        assert!(rules.counts(&[Step::Key("\"a, b\""), Step::Element]));
        assert!(!rules.counts(&[Step::Key("\"a, b\"")]));
        assert_eq!(rules.identity(&[]), Some("\"x y\"".to_owned()));
    }

    #[test]
    fn what_is_no_rule_is_refused_in_words() {
        for (text, why) in [
            ("", "'' is no rule"),
            ("$.a counter,", "'' is no rule"),
            ("$.a", "'$.a' is no rule"),
            ("$.a key", "'$.a key' is no rule"),
            ("$.a sum", "'$.a sum' is no rule"),
            ("a.b counter", "'a.b' is no path"),
            ("$.a..b counter", "'$.a..b' is no path"),
            ("$.a[0] counter", "'$.a[0]' is no path"),
            ("$.\"a counter", "'$.\"a counter' is no path"),
            ("$x counter", "'$x' is no path"),
        ] {
            let refused = Rules::parse(text).unwrap_err();
            assert!(refused.starts_with(why), "{text}: {refused}");
        }
    }
}
