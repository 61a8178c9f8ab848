//! A text's edit: doing it, composing it, and its bytes, against plain code.

use nuda_core::types::sequence::Delta;
use nuda_core::types::text::{TextDelta, count};
use proptest::prelude::*;

/// Places of an edit of a text of some length: (skip, insert, delete).
type Places = Vec<(usize, String, usize)>;

fn places() -> impl Strategy<Value = Places> {
    prop::collection::vec((0usize..6, "[aä€\u{0}\u{301}𝄞]{0,3}", 0usize..5), 0..5)
}

fn delta(length: usize, places: &Places) -> TextDelta {
    let mut left = length;
    let mut out = TextDelta::default();
    for (skip, insert, delete) in places {
        let skip = (*skip).min(left);
        let delete = (*delete).min(left - skip);
        left -= skip + delete;
        out.delta.keep(skip as u64);
        out.delta.insert(count(insert.as_bytes()));
        out.delta.delete(delete as u64);
        out.inserted.push_str(insert);
    }
    out.delta = out.delta.end();
    out
}

fn plainly(text: &str, delta: &TextDelta) -> String {
    let mut rest = text.chars();
    let mut inserted = delta.inserted.chars();
    let mut out = String::new();
    for edit in delta.delta.edits() {
        out.extend(rest.by_ref().take(edit.keep as usize));
        out.extend(inserted.by_ref().take(edit.insert as usize));
        rest.by_ref().take(edit.delete as usize).for_each(drop);
    }
    out.extend(rest);
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn applying_and_composing(text in "[bß中\u{0}\u{1F600}]{0,20}", a in places(), b in places()) {
        let first = delta(text.chars().count(), &a);
        let middle = first.apply(&text).unwrap();
        prop_assert_eq!(&middle, &plainly(&text, &first));
        let second = delta(middle.chars().count(), &b);
        let end = second.apply(&middle).unwrap();
        let both = first.then(&second).unwrap();
        prop_assert_eq!(both.apply(&text).unwrap(), end);
        for edit in [first, second, both] {
            let mut bytes = Vec::new();
            edit.encode(&mut bytes);
            prop_assert_eq!(TextDelta::decode(&bytes), Ok(edit));
        }
    }

    #[test]
    fn any_bytes_are_one_form_or_refused(bytes in prop::collection::vec(0u8..8, 0..12)) {
        if let Ok(edit) = TextDelta::decode(&bytes) {
            let mut again = Vec::new();
            edit.encode(&mut again);
            prop_assert_eq!(again, bytes);
        }
    }

    #[test]
    fn counting(text in "[aä€𝄞]{0,2000}") {
        prop_assert_eq!(count(text.as_bytes()) as usize, text.chars().count());
    }
}

#[test]
fn what_does_not_fit_is_none() {
    let mut one = TextDelta::default();
    one.delta.keep(2);
    one.delta.delete(2);
    assert_eq!(one.apply("ä€1"), None);
    assert_eq!(one.apply("ä€12").as_deref(), Some("ä€"));
    let long = "€".repeat(1_000);
    assert_eq!(TextDelta::replacing(1_001, "x").apply(&long), None);
    assert_eq!(
        TextDelta::replacing(1_000, "x").apply(&long).as_deref(),
        Some("x")
    );
}

#[test]
fn a_keystroke_is_small() {
    let mut delta = Delta::new();
    delta.keep(90_000);
    delta.insert(1);
    let typed = TextDelta {
        delta,
        inserted: "x".to_owned(),
    };
    let mut bytes = Vec::new();
    typed.encode(&mut bytes);
    assert_eq!(bytes.len(), 6);
}
