//! The canonical form of JSON, and sets: what is refused, that there is one form, and that
//! large and hostile values cost neither a panic nor quadratic time.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use nuda_core::codec::Reader;
use nuda_core::json::{canonical, compare, elements};
use nuda_core::row::Cell;
use nuda_core::types::ColumnType;
use nuda_core::types::doc::column::NO_DOCUMENT;
use nuda_core::types::doc::rules::Rules;
use nuda_core::types::orset::{Net, Step};
use nuda_core::value::{OwnedValue, Value};
use proptest::prelude::*;

fn made(text: &str) -> String {
    String::from_utf8(canonical(text.as_bytes()).unwrap()).unwrap()
}

#[test]
fn one_form() {
    for (written, wanted) in [
        (" [ 1 , 2 ] ", "[1,2]"),
        (
            r#"{"b":1,"a":{"d":[],"c":{}}}"#,
            r#"{"a":{"c":{},"d":[]},"b":1}"#,
        ),
        (r#"{"b":1,"a":2,"c":3}"#, r#"{"a":2,"b":1,"c":3}"#),
        (
            r#""A\/\u00e9\u000a\u001f\"\\""#,
            "\"A/é\\n\\u001f\\\"\\\\\"",
        ),
        (r#""\ud83d\ude00 \ud83d \ude00""#, "\"😀 \\ud83d \\ude00\""),
        ("-0", "0"),
        ("-0.0", "-0.0"),
        ("1.50", "1.5"),
        ("1e2", "100.0"),
        ("9223372036854775807", "9223372036854775807"),
        ("9223372036854775808", "9.223372036854776e18"),
        ("1e999", "9e999"),
        ("true", "true"),
    ] {
        assert_eq!(made(written), wanted, "{written}");
        assert_eq!(made(wanted), wanted, "{wanted}");
    }
}

#[test]
fn what_is_no_json_is_refused_with_the_position() {
    for (text, at) in [
        ("", 1),
        ("[1,]", 4),
        ("[1 2]", 4),
        ("{\"a\":1,}", 8),
        ("{a:1}", 2),
        ("{\"a\" 1}", 6),
        ("{\"a\":1,\"b\":2,\"a\":3}", 19),
        ("[01]", 3),
        ("[1.]", 4),
        ("[1e]", 4),
        ("\"a", 3),
        ("\"\\x\"", 2),
        ("\"\\u12g4\"", 2),
        ("\"a\nb\"", 3),
        ("[1] 2", 5),
        ("nul", 1),
        ("'a'", 1),
    ] {
        assert_eq!(canonical(text.as_bytes()).unwrap_err().at, at, "{text}");
    }
    let broken = canonical(b"[\"ab\xff\"]").unwrap_err();
    assert_eq!(
        (broken.what, broken.at),
        ("a character that is not UTF-8", 5)
    );
    assert_eq!(
        elements(b"{}").unwrap_err().to_string(),
        "an array is wanted at position 1 of the JSON"
    );
}

#[test]
fn depth_is_bounded() {
    let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    assert!(canonical(nested(1_000).as_bytes()).is_ok());
    assert_eq!(
        canonical(nested(10_000).as_bytes()).unwrap_err().what,
        "nested too deeply"
    );
    let objects = format!("{}1{}", "{\"a\":".repeat(10_000), "}".repeat(10_000));
    assert!(canonical(objects.as_bytes()).is_err());
}

fn stored(text: &str) -> Result<Option<OwnedValue>, String> {
    ColumnType::OrSet.stored(Value::Text(text.as_bytes()))
}

#[test]
fn a_set_is_sorted_and_holds_each_element_once() {
    let wanted = r#"[null,false,true,-1,2,2.0,10,"a","b",[],{"a":1,"b":2}]"#;
    let written =
        r#"["b", 10, {"b":2, "a":1}, 2.0, "a", [], true, null, 2, -1, false, 2, "\u0061"]"#;
    assert_eq!(
        stored(written),
        Ok(Some(OwnedValue::Text(wanted.as_bytes().to_vec())))
    );
    assert_eq!(stored(wanted), Ok(None));
    assert!(stored("{}").is_err());
    assert!(ColumnType::OrSet.stored(Value::Int(1)).is_err());
    assert_eq!(ColumnType::OrSet.stored(Value::Null), Ok(None));
}

fn edit(old: &str, new: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let value = |text: &'static str| Value::Text(text.as_bytes());
    let (old, new) = (old.to_owned().leak(), new.to_owned().leak());
    assert!(
        ColumnType::OrSet
            .edit(value(old), value(new), &Rules::default(), &mut out)
            .unwrap()
    );
    out
}

fn applied(cell: &[u8], to: Value<'_>) -> OwnedValue {
    match Cell::decode(&mut Reader::new(cell)).unwrap() {
        Cell::Set(edit) => Step::all_of(edit).apply(to),
        _ => OwnedValue::Null,
    }
}

#[test]
fn sets_of_100_000_elements() {
    let list = |from: u32, to: u32| {
        let names: Vec<String> = (from..to)
            .rev()
            .map(|n| format!("\"element {n}\""))
            .collect();
        format!("[{}]", names.join(","))
    };
    let (old, new) = (list(0, 100_000), list(50_000, 150_000));
    let cell = edit(&old, &new);
    let Ok(Some(before)) = stored(&old) else {
        unreachable!()
    };
    let Ok(Some(after)) = stored(&new) else {
        unreachable!()
    };
    assert_eq!(applied(&cell, before.as_ref()), after);
    let mut net = Net::default();
    net.replace(before.as_ref(), after.as_ref());
    let mut again = Vec::new();
    net.encode(after.as_ref(), &mut again);
    assert_eq!(again, cell);
}

#[test]
fn an_unchanged_set_ships_nothing() {
    let mut out = Vec::new();
    let value = |text: &'static str| Value::Text(text.as_bytes());
    let shipped = ColumnType::OrSet.edit(
        value("[1,2]"),
        value("[2, 1, 1]"),
        &Rules::default(),
        &mut out,
    );
    assert_eq!((shipped, out.len()), (Ok(false), 0));
    let null = ColumnType::OrSet.edit(value("[]"), Value::Null, &Rules::default(), &mut out);
    assert_eq!(null, Ok(true), "no set is not an empty set");
}

fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<i64>().prop_map(|n| n.to_string()),
        any::<f64>()
            .prop_filter("JSON has no such number", |r| r.is_finite())
            .prop_map(|r| format!("{r:e}")),
        any::<Vec<char>>().prop_map(|c| {
            let escaped: String = c
                .iter()
                .map(|c| match c {
                    '"' | '\\' => format!("\\{c}"),
                    c if u32::from(*c) < 0x20 => format!("\\u{:04X}", u32::from(*c)),
                    c => c.to_string(),
                })
                .collect();
            format!("\"{escaped}\"")
        }),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(|v| format!("[ {}]", v.join(" ,"))),
            prop::collection::btree_map("[a-d]{1,2}", inner, 0..6).prop_map(|members| {
                let members: Vec<String> = members
                    .iter()
                    .rev()
                    .map(|(key, value)| format!("\"{key}\" : {value}"))
                    .collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 5_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_form_of_the_form_is_the_form(text in json()) {
        let once = canonical(text.as_bytes()).unwrap();
        prop_assert_eq!(canonical(&once).unwrap(), once);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..60), text in "[\\[\\]{}\",:0-9eu\\\\a. -]{0,40}") {
        for bytes in [bytes.as_slice(), text.as_bytes()] {
            if let Ok(once) = canonical(bytes) {
                prop_assert_eq!(canonical(&once).unwrap(), once);
            }
            let _ = elements(bytes);
        }
    }

    /// Sorting relies on it.
    #[test]
    fn the_order_is_total(values in prop::collection::vec(json(), 3)) {
        let values: Vec<Vec<u8>> = values.iter().map(|v| canonical(v.as_bytes()).unwrap()).collect();
        let [a, b, c] = values.as_slice() else { unreachable!() };
        prop_assert_eq!(compare(a, b), compare(b, a).reverse());
        if compare(a, b).is_le() && compare(b, c).is_le() {
            prop_assert!(compare(a, c).is_le());
        }
        prop_assert_eq!(compare(a, b).is_eq(), a == b);
    }

    #[test]
    fn an_edit_takes_one_set_to_the_other(
        old in prop::collection::vec(json(), 0..5),
        new in prop::collection::vec(json(), 0..5),
        both in prop::collection::vec(json(), 0..3),
    ) {
        let text = |v: &[String]| format!("[{}]", [v, &both].concat().join(","));
        let form = |text: &str| match stored(text).unwrap() {
            Some(form) => form,
            None => OwnedValue::Text(text.as_bytes().to_vec()),
        };
        let (old, new) = (form(&text(&old)), form(&text(&new)));
        if old != new {
            let mut cell = Vec::new();
            prop_assert!(ColumnType::OrSet.edit(old.as_ref(), new.as_ref(), &Rules::default(), &mut cell).unwrap());
            prop_assert_eq!(applied(&cell, old.as_ref()), new);
        }
    }
}

/// Who knows that two documents are in their form is told the same as who does not.
#[test]
fn the_edit_of_two_forms_is_that_of_their_spellings() {
    let doc = ColumnType::Doc;
    let spelled = [
        Value::Null,
        Value::Int(1),
        Value::Text(b"no document"),
        Value::Text(b"{\"a\": 1}"),
        Value::Text(b"{\"b\":[1,2,{\"c\":\"x\"}],\"a\":1}"),
        Value::Text(b"{\"a\":1,\"b\":[1,3,{\"c\":\"y\"}]}"),
        Value::Text(b"[1, 2]"),
        Value::Text(b"[1,2,[3]]"),
    ];
    let rules = Rules::default();
    for old in spelled {
        for new in spelled {
            let (mut edit, mut of_forms) = (Vec::new(), Vec::new());
            let edited = doc.edit(old, new, &rules, &mut edit);
            let Ok(form) = doc.stored(new) else {
                assert!(edited.is_err(), "{old:?} {new:?}");
                continue;
            };
            let new = form.as_ref().map_or(new, OwnedValue::as_ref);
            let before = doc.stored(old);
            let old = match &before {
                Ok(form) => form.as_ref().map_or(old, OwnedValue::as_ref),
                Err(_) => NO_DOCUMENT,
            };
            let found = doc.edit_forms(old, new, &rules, &mut of_forms);
            assert_eq!((edited, edit), (found, of_forms), "{old:?} {new:?}");
        }
    }
}
