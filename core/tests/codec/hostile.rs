//! Bytes that are damaged, cut short, made up or from a newer version.
//!
//! Nothing may panic, and what is accepted must be the one encoding of what it says.

use nuda_core::changeset::{FORMAT, Header, Part, read_vector};
use nuda_core::codec::Reader;
use nuda_core::error::DecodeError;
use nuda_core::row::Cell;
use nuda_core::value::Value;
use proptest::prelude::*;

use crate::{hex, samples};

/// Reads `bytes` as everything they could be; what is understood must encode to them again.
fn try_everything(bytes: &[u8]) -> u32 {
    let mut accepted = 0;
    let mut note = |same: bool| {
        assert!(same, "a second encoding: {}", hex::write(bytes));
        accepted += 1;
    };
    if let Ok(part) = Part::decode(bytes) {
        note(part.encode() == bytes);
        let _ = part.header();
    }
    if let Ok(header) = Header::decode(bytes) {
        note(header.encode() == bytes);
    }
    if let Ok(items) = samples::decode(bytes) {
        note(samples::encode(items) == bytes);
    }
    let mut r = Reader::new(bytes);
    if let Ok(cell) = Cell::decode(&mut r) {
        let mut again = Vec::new();
        cell.encode(&mut again);
        note(again == bytes[..bytes.len() - r.rest().len()]);
    }
    let mut r = Reader::new(bytes);
    if let Ok(vector) = read_vector(&mut r) {
        let mut again = Vec::new();
        nuda_core::changeset::put_vector(&mut again, &vector);
        note(again == bytes[..bytes.len() - r.rest().len()]);
    }
    accepted
}

/// A sequence of numbers that looks random and is the same every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.roll() % n
    }
}

#[test]
#[allow(clippy::cast_possible_truncation)]
fn random_bytes_never_panic() {
    let mut dice = Dice(1);
    let mut accepted = 0u32;
    for _ in 0..200_000 {
        let len = dice.below(80);
        // Half of them of small bytes, which are tags, counts and lengths more often.
        let top = if dice.below(2) == 0 { 256 } else { 6 };
        let mut bytes: Vec<u8> = (0..len).map(|_| dice.below(top) as u8).collect();
        if dice.below(2) == 0 {
            bytes.splice(0..0, *b"NUDA\x01");
        }
        accepted += try_everything(&bytes);
    }
    assert!(accepted > 10_000, "only {accepted} were understood");
}

#[test]
fn numbers_have_one_encoding() {
    for (bytes, ok) in [
        ("00", true),
        ("8000", false),
        ("ff7f", true),
        ("ff00", false),
        ("ffffffffffffffffff01", true),
        ("ffffffffffffffffff02", false),
        ("ffffffffffffffffffff01", false),
        ("80808080808080808000", false),
    ] {
        assert_eq!(
            Reader::new(&hex::read(bytes)).varint("n").is_ok(),
            ok,
            "{bytes}"
        );
    }
    let full = format!("{}03", "ff".repeat(18));
    assert_eq!(Reader::new(&hex::read(&full)).signed("n"), Ok(i128::MIN));
    for bad in [
        format!("{}04", "ff".repeat(18)),
        format!("{}01", "ff".repeat(19)),
    ] {
        assert!(Reader::new(&hex::read(&bad)).signed("n").is_err(), "{bad}");
    }
    for bad in [
        "1100",
        "11ff00",
        "12007f",
        "12ff80",
        "0201aa",
        "0301aa",
        "017ff8000000000000",
    ] {
        let bytes = hex::read(bad);
        let outcome = Value::decode(&mut Reader::new(&bytes));
        // "11ff00" is -1 and a byte more, which is not the value's business.
        assert_eq!(outcome.is_ok(), bad == "11ff00", "{bad}");
    }
}

#[test]
fn what_is_newer_is_told_from_what_is_broken() {
    let table = "00 01 01 0000000000000000 01 02";
    for newer in ["05", "ff", "7f00"] {
        let bytes = hex::read(newer);
        assert!(samples::decode(&bytes).unwrap_err().is_newer(), "{newer}");
    }
    for newer in [
        " 01 1101 2f",
        " 02 1101 01 01 c0",
        " 02 1101 01 01 21 02 00 00",
        " 01 19 00",
        " 06",
    ] {
        let bytes = hex::read(&format!("{table}{newer}"));
        assert!(samples::decode(&bytes).unwrap_err().is_newer(), "{newer}");
    }
    for broken in [
        " 01 11",                               // cut
        " 02 1101 01 00 00",                    // a change of the key
        " 02 1101 01 02 00",                    // a column that is not there
        " 02 1101 02 01 00 00 00",              // a column twice
        " 01 2002 00",                          // a difference as a key
        " 02 1101 01 01 21 00 02 0132 0131 00", // elements out of order
        " 02 1101 01 01 21 00 02 0131 0131 00", // an element twice
        " 02 1101 01 01 21 00 01 0131 01 0131", // added and removed
        " 02 1101 01 01 21 01 01 0131 00",      // added to no set
        " 02 1101 01 01 21 00 05 0131",         // cut
    ] {
        let bytes = hex::read(&format!("{table}{broken}"));
        assert!(!samples::decode(&bytes).unwrap_err().is_newer(), "{broken}");
    }
    assert_eq!(
        samples::decode(&[3]),
        Err(DecodeError::Invalid("a change before its table"))
    );
    for (key, columns) in [("00", "02"), ("02", "01"), ("41", "41")] {
        let bytes = hex::read(&format!("00 01 01 0000000000000000 {key} {columns}"));
        assert!(samples::decode(&bytes).is_err(), "{key} of {columns}");
    }
    assert!(Header::decode(&[3]).unwrap_err().is_newer());
}

#[test]
fn foreign_and_newer_parts() {
    assert_eq!(Part::decode(b""), Err(DecodeError::BadMagic));
    assert_eq!(
        Part::decode(b"SQLite format 3\0"),
        Err(DecodeError::BadMagic)
    );
    assert_eq!(Part::decode(b"NUDA\x02"), Err(DecodeError::Version(2)));
    assert!(Part::decode(&[b"NUDA", [FORMAT].as_slice()].concat()).is_err());
    for error in [
        DecodeError::BadMagic,
        DecodeError::Version(9),
        DecodeError::Unknown("a thing"),
        DecodeError::Invalid("a thing"),
        DecodeError::Trailing("a thing"),
        DecodeError::Truncated("a thing"),
    ] {
        assert!(!error.to_string().contains('\n'));
        assert!(error.to_string().len() > 10);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_header_cut_short_is_refused(header in samples::header()) {
        let bytes = header.encode();
        for end in 0..bytes.len() {
            prop_assert!(Header::decode(&bytes[..end]).is_err());
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        prop_assert_eq!(Header::decode(&longer), Err(DecodeError::Trailing("a header")));
    }

    #[test]
    fn a_value_cut_short_is_refused(cell in samples::cell()) {
        let mut bytes = Vec::new();
        cell.as_ref().encode(&mut bytes);
        for end in 0..bytes.len() {
            prop_assert!(Cell::decode(&mut Reader::new(&bytes[..end])).is_err());
        }
    }

    /// A body cut between two items is a shorter body; its hash tells. Anywhere else it is
    /// refused.
    #[test]
    fn a_body_cut_short_is_refused_or_shorter(items in samples::items()) {
        let all: Vec<_> = items.iter().map(samples::OwnedItem::as_item).collect();
        let bytes = samples::encode(all.clone());
        for end in 0..bytes.len().min(400) {
            if let Ok(read) = samples::decode(&bytes[..end]) {
                prop_assert!(read.len() < all.len());
                prop_assert_eq!(read.as_slice(), &all[..read.len()]);
            }
        }
    }

    /// A part's frame cut short is refused; what follows it is body, to the end.
    #[test]
    fn a_part_cut_short_is_refused_or_shorter(part in samples::part()) {
        let bytes = part.as_ref().encode();
        let frame = bytes.len() - part.as_ref().body.len();
        for end in 0..bytes.len() {
            match Part::decode(&bytes[..end]) {
                Ok(read) => {
                    prop_assert!(end >= frame);
                    prop_assert_eq!(read.body, &part.as_ref().body[..end - frame]);
                }
                Err(_) => prop_assert!(end < frame),
            }
        }
    }

    #[test]
    fn flipped_bits_never_panic(
        part in samples::part(),
        items in samples::items(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0u8..8), 1..4),
    ) {
        let body = samples::encode(items.iter().map(samples::OwnedItem::as_item));
        let header = part.header().map(Header::encode).unwrap_or_default();
        for mut bytes in [part.as_ref().encode(), body, header] {
            for (at, bit) in &flips {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] ^= 1 << bit;
                    try_everything(&bytes);
                }
            }
        }
    }
}
