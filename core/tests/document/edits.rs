//! The edit between two documents.

use std::fmt::Write as _;

use nuda_core::diff::json::{between, diff};
use nuda_core::types::doc::document::Json;
use nuda_core::types::doc::edit::Change;
use nuda_core::types::doc::rules::{Path, Rules};
use proptest::prelude::*;

use crate::samples::{json, related};

const STEPS: u64 = 100_000;

fn parse(text: &str) -> Json {
    Json::parse(text).unwrap()
}

fn bytes(change: &Change) -> Vec<u8> {
    let mut out = Vec::new();
    change.encode(&mut out);
    out
}

/// The edit, after checking that it does what it should.
fn found(old: &str, new: &str, rules: &Rules) -> Change {
    let (old, new) = (parse(old), parse(new));
    let change = diff(&old, &new, rules, STEPS).expect("they differ");
    assert_eq!(change.apply(Some(old)), Ok(Some(new)));
    assert_eq!(Change::decode(&bytes(&change)).as_ref(), Ok(&change));
    change
}

/// A document of about 20,000 bytes.
fn large() -> String {
    let mut text = "{\"items\":[".to_owned();
    for n in 0..250 {
        let comma = if n == 0 { "" } else { "," };
        write!(
            text,
            "{comma}{{\"id\":{n},\"name\":\"item number {n}\",\"notes\":\"some words about it\",\"stock\":{}}}",
            n * 7
        )
        .unwrap();
    }
    text.push_str("],\"title\":\"all\"}");
    text
}

#[test]
fn an_edit_of_one_place_is_small() {
    let old = large();
    assert!(old.len() > 18_000, "{}", old.len());
    let new = old.replace("\"name\":\"item number 77\"", "\"name\":\"seven\"");
    let change = found(&old, &new, &Rules::default());
    assert!(bytes(&change).len() < 60, "{}", bytes(&change).len());
}

#[test]
fn an_element_at_the_front_is_one_insertion() {
    let old = large();
    let new = old.replace("{\"items\":[", "{\"items\":[{\"id\":-1},");
    let change = found(&old, &new, &Rules::default());
    assert!(bytes(&change).len() < 40, "{change:?}");
    let Change::List(moved) = found("[1,2,3,4]", "[2,3,4,1]", &Rules::default()) else {
        panic!("a list")
    };
    assert_eq!((moved.delta.inserted(), moved.delta.deleted()), (1, 1));
    // An append to the shortest list is an edit, too: it must merge with another one.
    let change = found("[]", "[1]", &Rules::default());
    assert!(matches!(change, Change::List(_)), "{change:?}");
}

#[test]
fn a_rewrite_is_the_new_value() {
    let list = |from: u32| -> String {
        let all: Vec<String> = (from..from + 100)
            .map(|n| format!("{{\"k{n}\":{n}}}"))
            .collect();
        format!("[{}]", all.join(","))
    };
    let change = found(&list(0), &list(500), &Rules::default());
    assert!(matches!(change, Change::Set(_)), "{change:?}");
}

#[test]
fn elements_that_changed_are_edited_inside() {
    let old = r#"[{"a":"a rather long text that stays as it is","n":1},{"b":2}]"#;
    let new = r#"[{"z":0},{"a":"a rather long text that stays as it is","n":5},{"b":2}]"#;
    let Change::List(list) = found(old, new, &Rules::default()) else {
        panic!("a list")
    };
    assert_eq!(list.inserted.len(), 1);
    assert_eq!(list.inside.keys().copied().collect::<Vec<_>>(), [0]);
}

#[test]
fn an_identity_finds_an_element_that_changed_altogether() {
    let rules = Rules {
        counters: Vec::new(),
        identities: vec![(Path::parse("$.rows").unwrap(), "id".to_owned())],
    };
    let old = r#"{"rows":[{"id":1,"text":"one"},{"id":2,"text":"two and some more"}]}"#;
    let new = r#"{"rows":[{"id":3,"text":"three"},{"id":2,"text":"anything else but that"}]}"#;
    let Change::Map(members) = found(old, new, &rules) else {
        panic!("an object")
    };
    let Change::List(list) = &members["\"rows\""] else {
        panic!("a list")
    };
    assert_eq!(list.inside.keys().copied().collect::<Vec<_>>(), [1]);
    assert_eq!(list.delta.inserted(), 1);
    assert_eq!(list.delta.deleted(), 1);
}

#[test]
fn counters_ship_differences() {
    let rules = Rules {
        counters: vec![Path::parse("$.stock.*").unwrap()],
        identities: Vec::new(),
    };
    let old = r#"{"other":5,"stock":{"a":5,"b":7}}"#;
    let new = r#"{"other":6,"stock":{"a":2,"b":7}}"#;
    let Change::Map(members) = found(old, new, &rules) else {
        panic!("an object")
    };
    assert_eq!(members["\"other\""], Change::Set(parse("6")));
    let Change::Map(stock) = &members["\"stock\""] else {
        panic!("an object")
    };
    assert_eq!(stock["\"a\""], Change::Add(-3));
    // Also where the difference takes more bytes than the document.
    let stock = r#"{"stock":{"a":1}}"#;
    let change = found(stock, r#"{"stock":{"a":3}}"#, &rules);
    assert!(matches!(change, Change::Map(_)), "{change:?}");
}

#[test]
fn paths() {
    for bad in [
        "", "a", "$a", "$.", "$..a", "$.a.", "$.a[0]", "$.\"a", "$.b c",
    ] {
        assert_eq!(Path::parse(bad), None, "{bad}");
    }
    assert!(Path::parse("$").is_some());
    assert!(Path::parse("$.a.*.\"b c\"").is_some());
}

#[test]
fn what_does_not_fit_is_refused() {
    let change = found(
        r#"{"a":["a rather long text","and another one",1]}"#,
        r#"{"a":["a rather long text","and another one",2]}"#,
        &Rules::default(),
    );
    for other in ["1", "[]", r#"{"a":1}"#, r#"{"a":[1]}"#, "{}"] {
        assert!(change.apply(Some(parse(other))).is_err(), "{other}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn the_edit_makes_the_new_document((old, new) in related(), steps in 0u64..300) {
        match diff(&old, &new, &Rules::default(), steps) {
            None => prop_assert_eq!(old, new),
            Some(change) => {
                let encoded = bytes(&change);
                prop_assert!(encoded.len() <= bytes(&Change::Set(new.clone())).len() + 64);
                prop_assert_eq!(change.apply(Some(old)), Ok(Some(new)));
                prop_assert_eq!(Change::decode(&encoded), Ok(change));
            }
        }
    }

    /// The same found in the texts, where trees are made of what differs only.
    #[test]
    fn the_edit_between_two_texts((old, new) in related(), named in any::<bool>()) {
        let mut rules = Rules::default();
        if named {
            rules.identities = ["$", "$.a", "$.*", "$.*.*"]
                .map(|path| (Path::parse(path).unwrap(), "b".to_owned()))
                .into();
        }
        let (before, after) = (old.to_string(), new.to_string());
        match between(&before, &after, &rules) {
            None => prop_assert_eq!(old, new),
            Some(change) => {
                let encoded = bytes(&change);
                prop_assert!(encoded.len() <= after.len() + 80);
                let trees = diff(&old, &new, &rules, STEPS).map_or(0, |change| bytes(&change).len());
                prop_assert!(encoded.len() <= trees + 40, "{} {}", encoded.len(), trees);
                prop_assert_eq!(change.apply(Some(old)), Ok(Some(new)));
                prop_assert_eq!(Change::decode(&encoded), Ok(change));
            }
        }
    }

    #[test]
    fn any_two_documents(old in json(), new in json()) {
        let text = old.to_string();
        prop_assert_eq!(Json::parse(&text), Ok(old.clone()));
        if let Some(change) = diff(&old, &new, &Rules::default(), STEPS) {
            prop_assert_eq!(change.apply(Some(old)), Ok(Some(new)));
        } else {
            prop_assert_eq!(old, new);
        }
    }

    /// Changed bytes are refused, or are one form.
    #[test]
    fn hostile_edits((old, new) in related(), at in any::<prop::sample::Index>(), byte in 0u8..40) {
        let Some(change) = diff(&old, &new, &Rules::default(), STEPS) else {
            return Ok(());
        };
        let mut encoded = bytes(&change);
        let at = at.index(encoded.len());
        encoded[at] = byte;
        if let Ok(change) = Change::decode(&encoded) {
            prop_assert_eq!(bytes(&change), encoded);
            let _ = change.apply(Some(old));
        }
    }
}

#[test]
fn depth_is_bounded() {
    // A map in a map in a map: 03 01 01 61, and so on, and a value in the end.
    let nested = |n: usize| {
        let mut bytes = b"\x03\x01\x01a".repeat(n);
        bytes.extend_from_slice(b"\x00\x011");
        bytes
    };
    assert!(Change::decode(&nested(200)).is_ok());
    assert!(Change::decode(&nested(300)).is_err());
    assert!(Change::decode(&nested(1_000_000)).is_err());
}

#[test]
fn nothing_happens_inside_a_deleted_element() {
    // One place: keep 0, delete 1, insert none; one change: at element 0 or 1, SET 1.
    assert!(Change::decode(b"\x04\x01\x00\x01\x00\x01\x00\x00\x011").is_err());
    assert!(Change::decode(b"\x04\x01\x00\x01\x00\x01\x01\x00\x011").is_ok());
}

#[test]
fn lists_in_lists_with_much_in_the_innermost() {
    // The steps are used up on the way: what is deeper is taken in order.
    let nested = |inner: &str| format!("{}{inner}{}", "[0,".repeat(240), "]".repeat(240));
    let much = "x".repeat(200_000);
    let old = nested(&format!("\"{much}\""));
    let new = nested(&format!("\"{much}y\""));
    let change = diff(&parse(&old), &parse(&new), &Rules::default(), STEPS).unwrap();
    assert_eq!(change.apply(Some(parse(&old))), Ok(Some(parse(&new))));
}
