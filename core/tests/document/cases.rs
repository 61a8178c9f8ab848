//! The smallest examples, each in every order of arrival: those of the documentation.

use nuda_core::diff::json::{between, diff};
use nuda_core::hlc::Stamp;
use nuda_core::site::{Dot, Site};
use nuda_core::types::doc::document::Json;
use nuda_core::types::doc::edit::Change;
use nuda_core::types::doc::merge::{Edited, Merge};
use nuda_core::types::doc::rules::{Path, Rules};
use nuda_core::version_vector::VersionVector;

use crate::integrate;

/// An edit of a site of its own: from one text to another, having seen some of the others, by
/// their numbers from 1. Its stamp is its number.
type Example<'t> = (&'t str, &'t str, &'t [u64]);

fn parse(text: &str) -> Json {
    Json::parse(text).unwrap()
}

fn site(n: u64) -> Site {
    Site::from_u64(100 + n).unwrap()
}

fn rules() -> Rules {
    Rules {
        counters: vec![Path::parse("$.stock.*").unwrap()],
        identities: Vec::new(),
    }
}

/// All orders that keep causes before effects.
fn orders(examples: &[Example<'_>]) -> Vec<Vec<usize>> {
    let mut found = vec![Vec::new()];
    for _ in examples {
        found = found
            .into_iter()
            .flat_map(|order: Vec<usize>| {
                let next = (0..examples.len()).filter(|n| !order.contains(n));
                let ready = next.filter(|n| {
                    let seen = examples[*n].2;
                    seen.iter().all(|s| order.contains(&(*s as usize - 1)))
                });
                ready
                    .map(|n| [order.as_slice(), &[n]].concat())
                    .collect::<Vec<_>>()
            })
            .collect();
    }
    found
}

/// What everybody ends with.
fn merged(base: &str, examples: &[Example<'_>]) -> String {
    let changes: Vec<Change> = examples
        .iter()
        .map(|(old, new, _)| diff(&parse(old), &parse(new), &rules(), 10_000).unwrap())
        .collect();
    merged_changes(base, examples, &changes)
}

fn merged_changes(base: &str, examples: &[Example<'_>], changes: &[Change]) -> String {
    let mut results: Vec<String> = orders(examples)
        .iter()
        .map(|order| {
            let mut state = Merge::new();
            let mut value = parse(base);
            for n in order {
                let seen: VersionVector = examples[*n].2.iter().map(|s| (site(*s), 1)).collect();
                let number = *n as u64 + 1;
                let edited = Edited {
                    dot: Dot {
                        site: site(number),
                        seq: 1,
                    },
                    stamp: Stamp::from_u64(number).unwrap(),
                    seen: &seen,
                    change: &changes[*n],
                };
                integrate(&mut state, &edited, &mut value);
            }
            value.to_string()
        })
        .collect();
    results.dedup();
    assert_eq!(results.len(), 1, "{results:?}");
    results.remove(0)
}

#[test]
fn different_keys_and_elements_both_survive() {
    let base = r#"{"list":[{"n":1},{"n":2}],"name":"x"}"#;
    let first = r#"{"list":[{"n":1},{"n":5}],"name":"x"}"#;
    let second = r#"{"list":[{"n":0},{"n":2},{"n":3}],"name":"y"}"#;
    assert_eq!(
        merged(base, &[(base, first, &[]), (base, second, &[])]),
        r#"{"list":[{"n":0},{"n":5},{"n":3}],"name":"y"}"#
    );
}

#[test]
fn both_appends_survive() {
    let edits: &[Example<'_>] = &[("[1]", "[1,2]", &[]), ("[1]", "[1,3]", &[])];
    assert_eq!(merged("[1]", edits), "[1,2,3]");
}

#[test]
fn the_same_missing_object_created_twice_is_one() {
    let edits: &[Example<'_>] = &[
        ("{}", r#"{"a":{"x":1,"z":1}}"#, &[]),
        ("{}", r#"{"a":{"y":2,"z":2}}"#, &[]),
    ];
    assert_eq!(merged("{}", edits), r#"{"a":{"x":1,"y":2,"z":2}}"#);
}

#[test]
fn counters_add_up() {
    let base = r#"{"stock":{"a":10}}"#;
    let edits: &[Example<'_>] = &[
        (base, r#"{"stock":{"a":7}}"#, &[]),
        (base, r#"{"stock":{"a":14}}"#, &[]),
    ];
    assert_eq!(merged(base, edits), r#"{"stock":{"a":11}}"#);
}

#[test]
fn a_removed_object_comes_back_with_the_concurrent_edits_only() {
    let base = r#"{"a":{"x":1,"y":2}}"#;
    let edits: &[Example<'_>] = &[(base, "{}", &[]), (base, r#"{"a":{"x":5,"y":2}}"#, &[])];
    assert_eq!(merged(base, edits), r#"{"a":{"x":5}}"#);
    // A removal inside is no edit that keeps it.
    let edits: &[Example<'_>] = &[(base, "{}", &[]), (base, r#"{"a":{"y":2}}"#, &[])];
    assert_eq!(merged(base, edits), "{}");
}

#[test]
fn a_scalar_against_an_object_is_won_by_the_later_one() {
    let base = r#"{"a":{"x":1}}"#;
    let object = r#"{"a":{"x":1,"y":2}}"#;
    let scalar = r#"{"a":5}"#;
    let edits: &[Example<'_>] = &[(base, object, &[]), (base, scalar, &[])];
    assert_eq!(merged(base, edits), r#"{"a":5}"#);
    let edits: &[Example<'_>] = &[(base, scalar, &[]), (base, object, &[])];
    assert_eq!(merged(base, edits), r#"{"a":{"y":2}}"#);
}

#[test]
fn a_deleted_element_stays_deleted() {
    let base = r#"[{"n":1},{"n":2,"t":"text"}]"#;
    let edits: &[Example<'_>] = &[
        (base, r#"[{"n":1}]"#, &[]),
        (base, r#"[{"n":1},{"n":9,"t":"text"}]"#, &[]),
    ];
    assert_eq!(merged(base, edits), r#"[{"n":1}]"#);
}

#[test]
fn a_moved_element_may_be_there_twice() {
    let base = "[1,2,3]";
    let edits: &[Example<'_>] = &[(base, "[2,3,1]", &[]), (base, "[2,1,3]", &[])];
    assert_eq!(merged(base, edits), "[2,1,3,1]");
}

#[test]
fn an_edit_that_lost_stays_lost() {
    // The second kills the first; the third removes the second, and the first does not return.
    let edits: &[Example<'_>] = &[
        ("{}", r#"{"a":1}"#, &[]),
        ("{}", r#"{"a":2}"#, &[]),
        (r#"{"a":2}"#, "{}", &[2]),
    ];
    assert_eq!(merged("{}", edits), "{}");
}

#[test]
fn a_list_that_was_reset_twice_is_read_by_those_who_saw_one() {
    // The list is removed while somebody appends; somebody else replaces what it is in; a
    // fourth one has seen the removal and the append.
    let base = r#"{"a":{"l":[0,0,0]}}"#;
    let edits: &[Example<'_>] = &[
        (base, r#"{"a":{}}"#, &[]),
        (base, r#"{"a":{"l":[0,0,0,1]}}"#, &[]),
        (base, r#"{"a":[]}"#, &[]),
        (r#"{"a":{"l":[1]}}"#, r#"{"a":{"l":[1,2]}}"#, &[1, 2]),
    ];
    assert_eq!(merged(base, edits), r#"{"a":{"l":[2]}}"#);
    let edits: &[Example<'_>] = &[
        (base, r#"{"a":{}}"#, &[]),
        (base, r#"{"a":{"l":[0,0,0,1]}}"#, &[]),
        (r#"{"a":{"l":[1]}}"#, r#"{"a":{"l":[1,2]}}"#, &[1, 2]),
    ];
    assert_eq!(merged(base, edits), r#"{"a":{"l":[1,2]}}"#);
}

#[test]
fn a_list_that_was_removed_and_set_concurrently() {
    // As above, but the third one sets the object with another list in it, knowing nothing.
    let base = r#"{"a":{"l":[0,0,0]}}"#;
    let edits: &[Example<'_>] = &[
        (base, r#"{"a":{}}"#, &[]),
        (base, r#"{"a":{"l":[0,0,0,1]}}"#, &[]),
        ("", "", &[]),
        (r#"{"a":{"l":[1]}}"#, r#"{"a":{"l":[1,2]}}"#, &[1, 2]),
    ];
    let changes: Vec<Change> = edits
        .iter()
        .map(|(old, new, _)| {
            let set = Change::Set(parse(r#"{"l":[9]}"#));
            let found = || diff(&parse(old), &parse(new), &rules(), 10_000).unwrap();
            if old.is_empty() {
                Change::Map([("\"a\"".to_owned(), set)].into())
            } else {
                found()
            }
        })
        .collect();
    let end = merged_changes(base, edits, &changes);
    assert_eq!(end, r#"{"a":{"l":[9,1,2]}}"#);
}

#[test]
fn a_renumbered_site_is_the_same_author() {
    let mut state = Merge::new();
    let mut value = parse("{}");
    let none = VersionVector::new();
    let follow =
        |state: &mut Merge, value: &mut Json, dot: Dot, seen: &VersionVector, new: &str| {
            let change = diff(value, &parse(new), &rules(), 10_000).unwrap();
            let edited = Edited {
                dot,
                stamp: Stamp::from_u64(dot.seq).unwrap(),
                seen,
                change: &change,
            };
            integrate(state, &edited, value);
        };
    let dot = |n, seq| Dot { site: site(n), seq };
    follow(&mut state, &mut value, dot(1, 4), &none, r#"{"a":[1]}"#);
    follow(
        &mut state,
        &mut value,
        dot(1, 5),
        &none,
        r#"{"a":[1,2],"b":1}"#,
    );
    state.renumber(site(1), 4, site(9));
    // Somebody who saw all of it removes it.
    let seen: VersionVector = [(site(1), 4), (site(9), 1)].into_iter().collect();
    follow(&mut state, &mut value, dot(2, 9), &seen, "{}");
    assert_eq!(value, parse("{}"));
    assert!(!state.is_trivial());
    let all: VersionVector = [(site(1), 4), (site(9), 1), (site(2), 9)]
        .into_iter()
        .collect();
    state.collapse(&all);
    assert!(state.is_trivial());
    assert_eq!(state, Merge::new());
}

/// A large changeset has parts, and so several edits of one document under one name.
#[test]
fn one_changeset_may_overrule_twice() {
    let site = |n: u64| Site::from_u64(n).unwrap();
    let dot = |n: u64| Dot {
        site: site(n),
        seq: 1,
    };
    let seen = VersionVector::new();
    let mut state = Merge::new();
    let mut value = parse(r#"{"a":[0]}"#);
    for (n, old, new) in [
        (100, r#"{"a":[0]}"#, r#"{"a":[0,1]}"#),
        (200, r#"{"a":[0]}"#, r#"{"a":1}"#),
        (200, r#"{"a":1}"#, r#"{"a":2}"#),
    ] {
        let change = diff(&parse(old), &parse(new), &Rules::default(), 10_000).unwrap();
        let edited = Edited {
            dot: dot(n),
            stamp: Stamp::from_u64(n).unwrap(),
            seen: &seen,
            change: &change,
        };
        integrate(&mut state, &edited, &mut value);
    }
    assert_eq!(value, parse(r#"{"a":2}"#));
    let mut bytes = Vec::new();
    state.encode(&mut bytes);
    let mut again = Vec::new();
    Merge::decode(&bytes).unwrap().encode(&mut again);
    assert_eq!(again, bytes);
}

/// Every step of the way recurses, on a thread of 2 MB.
#[test]
fn the_deepest_documents_are_merged() {
    const DEPTH: usize = nuda_core::limits::DOCUMENT_DEPTH;
    let site = |n: u64| Site::from_u64(n).unwrap();
    let maps = |inner: &str| format!("{}{inner}{}", "{\"a\":".repeat(DEPTH), "}".repeat(DEPTH));
    let lists = |inner: &str| format!("{}{inner}{}", "[0,".repeat(DEPTH), "]".repeat(DEPTH));
    for (old, new, other) in [
        (maps("1"), maps("2"), maps("3")),
        (lists("1"), lists("2"), lists("3")),
        ("{}".to_owned(), maps("2"), maps("3")),
    ] {
        let seen = VersionVector::new();
        let mut state = Merge::new();
        let mut value = parse(&old);
        for (n, to) in [(100, &new), (200, &other)] {
            let change = between(&old, to, &Rules::default()).unwrap();
            let mut bytes = Vec::new();
            change.encode(&mut bytes);
            assert_eq!(Change::decode(&bytes).as_ref(), Ok(&change));
            let dot = Dot {
                site: site(n),
                seq: 1,
            };
            let edited = Edited {
                dot,
                stamp: Stamp::from_u64(n).unwrap(),
                seen: &seen,
                change: &change,
            };
            integrate(&mut state, &edited, &mut value);
        }
        assert_eq!(value, parse(&other));
        let mut bytes = Vec::new();
        state.encode(&mut bytes);
        let mut state = Merge::decode(&bytes).unwrap();
        state.collapse(&VersionVector::from_iter([(site(100), 1)]));
        assert!(!state.is_trivial());
        let deeper = format!("[{new}]");
        assert!(Json::parse(&deeper).is_err());
    }
}
