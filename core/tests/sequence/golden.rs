//! The bytes of deltas and states, kept in `core/tests/golden` for ever, and hostile ones.
//!
//! `NUDA_BLESS=1` rewrites the file after adding an entry; an entry that is there never changes.

use std::fmt::Write as _;

use nuda_core::site::{Dot, Site};
use nuda_core::types::sequence::{Delta, Sequence};
use nuda_core::types::text::{TextDelta, count};
use nuda_core::version_vector::VersionVector;
use proptest::prelude::*;

fn dot(site: u64, seq: u64) -> Dot {
    Dot {
        site: Site::from_u64(site).unwrap(),
        seq,
    }
}

fn text(places: &[(u64, &str, u64)]) -> Vec<u8> {
    let mut edit = TextDelta::default();
    for (keep, insert, delete) in places {
        edit.delta.keep(*keep);
        edit.delta.insert(count(insert.as_bytes()));
        edit.delta.delete(*delete);
        edit.inserted.push_str(insert);
    }
    let mut bytes = Vec::new();
    edit.encode(&mut bytes);
    bytes
}

fn shape(keep: u64, insert: u64, delete: u64) -> Delta {
    let mut delta = Delta::new();
    delta.keep(keep);
    delta.insert(insert);
    delta.delete(delete);
    delta
}

/// A state with every kind of run: stable, gone, typed both ways, erased both ways, shared.
fn state() -> Sequence {
    let (a, b, c) = (0x1111, 0x2222, 0x3333);
    let none = VersionVector::new();
    let mut state = Sequence::new(300);
    state.integrate(dot(a, 1), &none, &shape(10, 3, 5));
    state.integrate(dot(b, 1), &none, &shape(12, 2, 200));
    state.collapse(&[(Site::from_u64(a).unwrap(), 1)].into_iter().collect());
    let seen: VersionVector = [(Site::from_u64(a).unwrap(), 1)].into_iter().collect();
    for seq in 2..5 {
        state.integrate(dot(b, seq), &seen, &shape(20 + seq, 1, 0));
        state.integrate(dot(c, seq - 1), &seen, &shape(40 - seq, 0, 1));
    }
    state.assign(dot(a, 2), &none, 4, [0xab; 16]);
    state.assign(dot(c, 4), &seen, 4, [0xab; 16]);
    state
}

fn entries() -> Vec<(&'static str, Vec<u8>)> {
    let encoded = |state: Sequence| {
        let mut bytes = Vec::new();
        state.encode(&mut bytes);
        bytes
    };
    vec![
        ("delta that does nothing", text(&[])),
        ("delta of a keystroke", text(&[(1_000, "x", 0)])),
        ("delta of an erased character", text(&[(3, "", 1)])),
        (
            "delta of several places",
            text(&[(0, "ä", 2), (130, "𝄞\0", 0), (1, "", 300)]),
        ),
        ("state of nothing", encoded(Sequence::new(0))),
        ("state of a text", encoded(Sequence::new(1_000))),
        ("state of everything", encoded(state())),
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        write!(out, "{byte:02x}").unwrap();
        out
    })
}

#[test]
fn bytes_stay() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/sequences.hex");
    let mut made = String::new();
    for (name, bytes) in entries() {
        if name.starts_with("state") {
            let mut again = Vec::new();
            Sequence::decode(&bytes).unwrap().encode(&mut again);
            assert_eq!(again, bytes, "{name}");
        }
        writeln!(made, "{name} = {}", hex(&bytes)).unwrap();
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..Default::default() })]

    /// Cut, changed and stretched states are refused, or are one form and can be worked with.
    #[test]
    fn hostile_states(at in 0usize..400, byte in any::<u8>(), cut in 0usize..400, grow in any::<bool>()) {
        let mut bytes = Vec::new();
        state().encode(&mut bytes);
        let at = at % bytes.len();
        if grow {
            bytes.insert(at, byte);
        } else {
            bytes[at] = byte;
        }
        bytes.truncate(bytes.len().saturating_sub(cut.saturating_sub(350)));
        if let Ok(mut read) = Sequence::decode(&bytes) {
            let mut again = Vec::new();
            read.encode(&mut again);
            prop_assert_eq!(&again, &bytes);
            let visible = read.visible();
            let seen: VersionVector = [(Site::from_u64(0x2222).unwrap(), 3)].into_iter().collect();
            if let Some(answer) = read.integrate(dot(0x9999, 1), &seen, &shape(30, 2, 5)) {
                prop_assert!(answer.needs() <= visible);
            }
            read.renumber(Site::from_u64(0x2222).unwrap(), 2, Site::from_u64(0x4444).unwrap());
            read.collapse(&seen);
        }
    }
}
