//! The edit between two texts.
//!
//! What is equal at both ends is compared as bytes and costs about as much as comparing them.
//! What is left between is compared by lines, changed lines by words, and a changed word
//! is trimmed at both ends; inside a word there is one edit, since characters that two words
//! happen to share say nothing about what the author meant. Words are runs of letters and
//! digits; in scripts that write without spaces every character is one. An edit is never
//! longer than the replacement of all that differs.

use std::collections::HashMap;
use std::ops::Range;

use crate::types::sequence::Delta;
use crate::types::text::{TextDelta, count};

use super::ends;
use super::longest::common;

/// Steps that suffice for what people do to a text, and take a few milliseconds at most.
pub const STEPS: u64 = 1 << 19;

/// Bytes that a place costs in an edit, beside what is inserted.
const PLACE_BYTES: usize = 5;

/// A stretch that differs, as bytes of the two texts.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hunk {
    old: Range<usize>,
    new: Range<usize>,
}

/// What was done to `old` to make it `new`, found within `steps`.
#[must_use]
pub fn diff(old: &str, new: &str, steps: u64) -> TextDelta {
    let texts = Texts { old, new };
    let whole = Hunk {
        old: 0..old.len(),
        new: 0..new.len(),
    };
    let window = texts.trimmed(whole);
    let mut steps = steps;
    let by_lines = texts.refined(vec![window.clone()], lines, &mut steps);
    let by_words = texts.refined(by_lines, words, &mut steps);
    let hunks: Vec<Hunk> = texts
        .joined(by_words)
        .into_iter()
        .map(|hunk| texts.trimmed(hunk))
        .collect();
    let bytes: usize = hunks.iter().map(|h| h.new.len() + PLACE_BYTES).sum();
    if bytes > window.new.len() + PLACE_BYTES {
        return texts.edit(&[window]);
    }
    texts.edit(&hunks)
}

#[derive(Debug, Clone, Copy)]
struct Texts<'t> {
    old: &'t str,
    new: &'t str,
}

impl<'t> Texts<'t> {
    fn of(self, hunk: &Hunk) -> (&'t str, &'t str) {
        (
            self.old.get(hunk.old.clone()).unwrap_or_default(),
            self.new.get(hunk.new.clone()).unwrap_or_default(),
        )
    }

    /// The hunk without what is equal at its ends.
    fn trimmed(self, hunk: Hunk) -> Hunk {
        let (old, new) = self.of(&hunk);
        let head = equal_head(old, new);
        let tail = equal_tail(
            old.get(head..).unwrap_or_default(),
            new.get(head..).unwrap_or_default(),
        );
        Hunk {
            old: hunk.old.start + head..hunk.old.end - tail,
            new: hunk.new.start + head..hunk.new.end - tail,
        }
    }

    /// The parts of these hunks that differ when they are compared piece by piece. A hunk that
    /// would take more than its share of the steps stays as it is.
    fn refined(
        self,
        hunks: Vec<Hunk>,
        pieces: fn(&str) -> Vec<usize>,
        steps: &mut u64,
    ) -> Vec<Hunk> {
        let mut refined = Vec::with_capacity(hunks.len());
        let mut left = hunks.len() as u64;
        for hunk in hunks {
            let share = *steps / left.max(1);
            left -= 1;
            if hunk.old.is_empty() || hunk.new.is_empty() {
                refined.push(hunk);
                continue;
            }
            let mut rest = share;
            match self.compared(&hunk, pieces, &mut rest) {
                Some(parts) => refined.extend(parts),
                None => refined.push(hunk),
            }
            *steps -= share - rest;
        }
        refined.retain(|hunk| !hunk.old.is_empty() || !hunk.new.is_empty());
        refined
    }

    fn compared(
        self,
        hunk: &Hunk,
        pieces: fn(&str) -> Vec<usize>,
        steps: &mut u64,
    ) -> Option<Vec<Hunk>> {
        let (old, new) = self.of(hunk);
        let mut names = HashMap::new();
        let (old_ends, old_names) = named(old, pieces(old), &mut names)?;
        let (new_ends, new_names) = named(new, pieces(new), &mut names)?;
        let blocks = match common(&old_names, &new_names, steps) {
            Some(blocks) => blocks,
            None => {
                *steps = 0;
                return None;
            }
        };
        let at = |ends: &[usize], n: usize| match n.checked_sub(1) {
            None => 0,
            Some(n) => ends.get(n).copied().unwrap_or_default(),
        };
        let mut parts = Vec::with_capacity(blocks.len() + 1);
        let (mut from_old, mut from_new) = (0, 0);
        let end = (old_names.len(), new_names.len(), 0);
        let kept = blocks.iter().map(|b| (b.old, b.new, b.len)).chain([end]);
        for (in_old, in_new, len) in kept {
            parts.push(Hunk {
                old: hunk.old.start + at(&old_ends, from_old)
                    ..hunk.old.start + at(&old_ends, in_old),
                new: hunk.new.start + at(&new_ends, from_new)
                    ..hunk.new.start + at(&new_ends, in_new),
            });
            from_old = in_old + len;
            from_new = in_new + len;
        }
        Some(parts)
    }

    /// Joins replacements that only a sign or a space stands between: to repeat it takes less
    /// than a place of its own.
    fn joined(self, hunks: Vec<Hunk>) -> Vec<Hunk> {
        let mut joined: Vec<Hunk> = Vec::with_capacity(hunks.len());
        for hunk in hunks {
            let replaces = |h: &Hunk| !h.old.is_empty() && !h.new.is_empty();
            match joined.last_mut() {
                Some(last) if replaces(last) && replaces(&hunk) => {
                    let between = self
                        .old
                        .get(last.old.end..hunk.old.start)
                        .unwrap_or_default();
                    if between.len() <= 2 && !between.contains(char::is_alphanumeric) {
                        last.old.end = hunk.old.end;
                        last.new.end = hunk.new.end;
                    } else {
                        joined.push(hunk);
                    }
                }
                _ => joined.push(hunk),
            }
        }
        joined
    }

    fn edit(self, hunks: &[Hunk]) -> TextDelta {
        let mut delta = Delta::new();
        let mut inserted = String::new();
        let mut at = 0;
        for hunk in hunks {
            let kept = self.old.get(at..hunk.old.start).unwrap_or_default();
            let (deleted, text) = self.of(hunk);
            delta.keep(count(kept.as_bytes()));
            delta.insert(count(text.as_bytes()));
            delta.delete(count(deleted.as_bytes()));
            inserted.push_str(text);
            at = hunk.old.end;
        }
        TextDelta {
            delta: delta.end(),
            inserted,
        }
    }
}

/// Numbers equal pieces alike; answers where each ends, and its number.
fn named<'t>(
    text: &'t str,
    ends: Vec<usize>,
    names: &mut HashMap<&'t str, u32>,
) -> Option<(Vec<usize>, Vec<u32>)> {
    let mut numbers = Vec::with_capacity(ends.len());
    let mut at = 0;
    for end in &ends {
        let next = u32::try_from(names.len()).ok()?;
        numbers.push(*names.entry(text.get(at..*end)?).or_insert(next));
        at = *end;
    }
    Some((ends, numbers))
}

/// Where lines end.
fn lines(text: &str) -> Vec<usize> {
    let newlines = text.bytes().enumerate().filter(|(_, b)| *b == b'\n');
    let mut ends: Vec<usize> = newlines.map(|(n, _)| n + 1).collect();
    if ends.last() != Some(&text.len()) {
        ends.push(text.len());
    }
    ends
}

/// Where words, and the signs and spaces between them, end.
fn words(text: &str) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut in_word = false;
    for (at, c) in text.char_indices() {
        let goes_on = is_of_word(c);
        if at > 0 && !(in_word && goes_on) {
            ends.push(at);
        }
        in_word = goes_on;
    }
    ends.push(text.len());
    ends
}

/// Letters and digits of scripts that put spaces between words. The others (Thai to Tibetan,
/// Burmese, Khmer, and all from the Chinese radicals on) are compared character by character.
fn is_of_word(c: char) -> bool {
    let spaceless = matches!(c, '\u{e00}'..='\u{fff}' | '\u{1000}'..='\u{109f}'
        | '\u{1780}'..='\u{17ff}' | '\u{2e80}'..);
    c.is_alphanumeric() && !spaceless
}

/// How many bytes are equal at the beginning, up to the end of a character.
fn equal_head(a: &str, b: &str) -> usize {
    let mut n = ends::head(a.as_bytes(), b.as_bytes());
    while !(a.is_char_boundary(n) && b.is_char_boundary(n)) {
        n -= 1;
    }
    n
}

/// How many bytes are equal at the end, down to the beginning of a character.
fn equal_tail(a: &str, b: &str) -> usize {
    let mut n = ends::tail(a.as_bytes(), b.as_bytes());
    while !(a.is_char_boundary(a.len() - n) && b.is_char_boundary(b.len() - n)) {
        n -= 1;
    }
    n
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn places(old: &str, new: &str) -> Vec<(u64, String, u64)> {
        let edit = diff(old, new, STEPS);
        assert_eq!(edit.apply(old).as_deref(), Some(new));
        let mut inserted = edit.inserted.chars();
        edit.delta
            .edits()
            .iter()
            .map(|e| {
                let text = inserted.by_ref().take(e.insert as usize).collect();
                (e.keep, text, e.delete)
            })
            .collect()
    }

    fn place(keep: u64, insert: &str, delete: u64) -> (u64, String, u64) {
        (keep, insert.to_owned(), delete)
    }

    #[test]
    fn what_people_do() {
        assert_eq!(places("", ""), []);
        assert_eq!(places("", "abc"), [place(0, "abc", 0)]);
        assert_eq!(places("abc", ""), [place(0, "", 3)]);
        assert_eq!(places("the colour", "the color"), [place(8, "", 1)]);
        assert_eq!(
            places("one two three four", "one 2 three four five"),
            [place(4, "2", 3), place(11, " five", 0)]
        );
        // Two words that share letters are one replacement.
        assert_eq!(
            places("say hello now", "say world now"),
            [place(4, "world", 5)]
        );
        // Neighbours that are rewritten are one replacement.
        assert_eq!(
            places("a red fox ran", "a big dog ran"),
            [place(2, "big dog", 7)]
        );
        assert_eq!(places("x\na\ny\n", "x\ny\n"), [place(2, "", 2)]);
    }

    #[test]
    fn characters_are_whole() {
        // Neighbours that share bytes of their encodings.
        assert_eq!(places("ä", "å"), [place(0, "å", 1)]);
        assert_eq!(places("x€y", "x₭y"), [place(1, "₭", 1)]);
        assert_eq!(places("𝄞𝄞", "𝄞𝄢"), [place(1, "𝄢", 1)]);
        assert_eq!(places("e", "e\u{301}"), [place(1, "\u{301}", 0)]);
        assert_eq!(places("a\0b", "a\0\0b"), [place(2, "\0", 0)]);
        assert_eq!(
            places("我们今天去北京", "我们明天去上海"),
            [place(2, "明", 1), place(2, "上海", 2)]
        );
    }

    #[test]
    fn a_rewrite_is_one_replacement() {
        let old = "lorem ipsum dolor ".repeat(400);
        let new = "sed ut perspiciatis ".repeat(400);
        assert_eq!(places(&old, &new).len(), 1);
        // And so is what exceeds the steps.
        let old: String = (0..3_000).map(|n| format!("{n} ")).collect();
        let new: String = (0..3_000).rev().map(|n| format!("{n} ")).collect();
        assert_eq!(diff(&old, &new, 1_000).delta.edits().len(), 1);
        assert_eq!(diff(&old, &new, 1_000).apply(&old), Some(new));
    }

    #[test]
    fn an_edit_far_away_does_not_spoil_the_others() {
        let old: String = (0..20_000).map(|n| format!("word{n} ")).collect();
        let new = old.replace("word7 ", "seven ").replace("word19991 ", "");
        assert_eq!(places(&old, &new).len(), 2);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..Default::default() })]

        #[test]
        fn the_edit_makes_the_new_text(
            old in "[ab €ä𝄞\n\0\u{301}]{0,60}",
            new in "[ab €ä𝄞\n\0\u{301}]{0,60}",
            steps in 0u64..4_000,
        ) {
            let edit = diff(&old, &new, steps);
            prop_assert_eq!(edit.apply(&old), Some(new));
        }

        #[test]
        fn small_edits_stay_small(
            text in "([a-z]{1,6}[ ,\n]){100,200}",
            at in any::<prop::sample::Index>(),
            typed in "[a-z]{0,5}",
            delete in 0usize..5,
        ) {
            let at = at.index(text.len() - 5);
            let mut new = text.clone();
            new.replace_range(at..at + delete, &typed);
            let edit = diff(&text, &new, STEPS);
            prop_assert_eq!(edit.apply(&text), Some(new));
            prop_assert!(edit.delta.inserted() <= typed.len() as u64);
            prop_assert!(edit.delta.deleted() <= delete as u64);
        }
    }
}
