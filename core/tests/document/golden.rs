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
fn state() -> Vec<u8> {
    let mut state = Merge::new();
    let mut value = Json::parse(OLD).unwrap();
    let others = [
        r#"{"a":5,"list":[1,{"n":2},3,4],"old":{"k":[1]},"stock":{"x":9}}"#,
        r#"{"a":{},"list":[1,{"n":9},3],"old":null,"stock":{"x":"none"}}"#,
    ];
    for (n, new) in (1u64..).zip([NEW, others[0], others[1]]) {
        let edited = Edited {
            dot: Dot {
                site: Site::from_u64(0x1111 * n).unwrap(),
                seq: n,
            },
            stamp: Stamp::from_u64(1_000 * n).unwrap(),
            seen: &VersionVector::new(),
            change: &change(OLD, new),
        };
        integrate(&mut state, &edited, &mut value);
    }
    let mut bytes = Vec::new();
    state.encode(&mut bytes);
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
        ("state of three edits", state()),
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
