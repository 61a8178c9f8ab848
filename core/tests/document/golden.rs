//! The bytes of edits and states, kept in `core/tests/golden` for ever.
//!
//! `NUDA_BLESS=1` rewrites the file after adding an entry; an entry that is there never changes.

use std::fmt::Write as _;

use nuda_core::diff::json::diff;
use nuda_core::hlc::Stamp;
use nuda_core::site::{Dot, Site};
use nuda_core::types::doc::document::Json;
use nuda_core::types::doc::edit::Change;
use nuda_core::types::doc::merge::{Edited, Merge};
use nuda_core::types::doc::rules::{Path, Rules};
use nuda_core::version_vector::VersionVector;

use crate::integrate;

const OLD: &str = r#"{"a":{"b":1},"list":[1,{"n":2},3],"old":null,"stock":{"x":5}}"#;
const NEW: &str = r#"{"a":{"b":"ä"},"list":[0,1,{"n":4}],"new":[1,{"z":{}}],"stock":{"x":2}}"#;

fn change(old: &str, new: &str) -> Change {
    let rules = Rules {
        counters: vec![Path::parse("$.stock.*").unwrap()],
        identities: Vec::new(),
    };
    let parse = |text| Json::parse(text).unwrap();
    diff(&parse(old), &parse(new), &rules, 10_000).unwrap()
}

/// A state with writes of every kind, alive and dead, and a list.
fn state_of(sites: &[Option<Site>; 3]) -> Merge {
    let mut state = Merge::new();
    let mut value = Json::parse(OLD).unwrap();
    let others = [
        r#"{"a":5,"list":[1,{"n":2},3,4],"old":{"k":[1]},"stock":{"x":9}}"#,
        r#"{"a":{},"list":[1,{"n":9},3],"old":null,"stock":{"x":"none"}}"#,
    ];
    for ((n, new), site) in (1u64..).zip([NEW, others[0], others[1]]).zip(sites) {
        let edited = Edited {
            dot: Dot {
                site: site.unwrap(),
                seq: n,
            },
            stamp: Stamp::from_u64(1_000 * n).unwrap(),
            seen: &VersionVector::new(),
            change: &change(OLD, new),
        };
        integrate(&mut state, &edited, &mut value);
    }
    state
}

fn state(sites: [Option<Site>; 3]) -> Vec<u8> {
    let mut bytes = Vec::new();
    state_of(&sites).encode(&mut bytes);
    let mut again = Vec::new();
    Merge::decode(&bytes).unwrap().encode(&mut again);
    assert_eq!(bytes, again);
    bytes
}

#[test]
fn bytes_stay() {
    let encoded = |change: Change| {
        let mut bytes = Vec::new();
        change.encode(&mut bytes);
        assert_eq!(Change::decode(&bytes), Ok(change));
        bytes
    };
    let entries = [
        (
            "edit that sets all",
            encoded(Change::Set(Json::parse(OLD).unwrap())),
        ),
        ("edit of many places", encoded(change(OLD, NEW))),
        ("edit of a list", encoded(change("[1,2,3]", "[0,2,3,4,5]"))),
        ("state of nothing", {
            let mut bytes = Vec::new();
            Merge::new().encode(&mut bytes);
            bytes
        }),
        (
            "state of three edits",
            state([0x1111, 0x2222, 0x3333].map(Site::from_u64)),
        ),
        (
            "state of three edits, one of them strong",
            state([
                Site::from_u64(0x1111),
                Some(Site::LOG_STRONG),
                Site::from_u64(0x3333),
            ]),
        ),
    ];
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/documents.hex");
    let mut made = String::new();
    for (name, bytes) in entries {
        let hex = bytes.iter().fold(String::new(), |mut out, byte| {
            write!(out, "{byte:02x}").unwrap();
            out
        });
        writeln!(made, "{name} = {hex}").unwrap();
    }
    if std::env::var_os("NUDA_BLESS").is_some_and(|v| v == "1") {
        std::fs::write(path, &made).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap();
    for (kept, made) in kept.lines().zip(made.lines()) {
        assert_eq!(kept, made, "NUDA_BLESS=1 rewrites it");
    }
    assert_eq!(kept.lines().count(), made.lines().count());
}

/// States that earlier builds kept: they stay readable, and are what they were.
#[test]
fn states_without_positions_are_read() {
    let mut expected = Vec::new();
    state_of(&[
        Site::from_u64(0x1111),
        Site::from_u64(0x2222),
        Site::from_u64(0x3333),
    ])
    .encode(&mut expected);
    let kept = include_str!("../golden/documents_1.hex");
    for line in kept.lines() {
        let (name, hex) = line.split_once(" = ").unwrap();
        let bytes: Vec<u8> = (0..hex.len() / 2)
            .map(|n| u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).unwrap())
            .collect();
        assert_eq!(bytes[0], 1, "{name}");
        let state = Merge::decode(&bytes).unwrap();
        let mut now = Vec::new();
        state.encode(&mut now);
        if name == "state of three edits" {
            assert_eq!(now, expected, "{name}");
        } else {
            assert_eq!(state, Merge::new(), "{name}");
        }
    }
    assert_eq!(kept.lines().count(), 2);
}

#[test]
fn the_deepest_document_can_be_merged() {
    let nested = |inner: &str| format!("{}{inner}{}", "{\"a\":".repeat(249), "}".repeat(249));
    let (old, new) = (nested("[1]"), nested("[1,2]"));
    let mut state = Merge::new();
    let mut value = Json::parse(&old).unwrap();
    for n in 0..2 {
        let edited = Edited {
            dot: Dot {
                site: Site::from_u64(100 + n).unwrap(),
                seq: 1,
            },
            stamp: Stamp::from_u64(1 + n).unwrap(),
            seen: &VersionVector::new(),
            change: &change(&old, &new),
        };
        integrate(&mut state, &edited, &mut value);
    }
    assert_eq!(value.to_string(), nested("[1,2,2]"));
    let mut bytes = Vec::new();
    state.encode(&mut bytes);
    let mut again = Vec::new();
    Merge::decode(&bytes).unwrap().encode(&mut again);
    assert!(bytes == again);
}
