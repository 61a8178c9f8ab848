//! What is written is read back, and nothing else encodes the same content.

use nuda_core::changeset::{Header, Part, put_vector, read_vector};
use nuda_core::codec::{Reader, put_signed, put_varint};
use nuda_core::limits;
use nuda_core::row::Cell;
use nuda_core::value::{OwnedValue, Value};
use proptest::prelude::*;

use crate::samples;

fn encoded_value(value: Value<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    value.encode(&mut out);
    out
}

#[test]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn every_edge_of_every_number() {
    for n in samples::edges() {
        let mut out = Vec::new();
        put_signed(&mut out, n);
        let mut r = Reader::new(&out);
        assert_eq!(r.signed("n"), Ok(n));
        assert!(r.is_empty());

        out.clear();
        put_varint(&mut out, n as u64);
        let mut r = Reader::new(&out);
        assert_eq!(r.varint("n"), Ok(n as u64));
        assert!(r.is_empty());

        let bytes = encoded_value(Value::Int(n as i64));
        let mut r = Reader::new(&bytes);
        assert_eq!(Value::decode(&mut r), Ok(Value::Int(n as i64)));
        assert!(r.is_empty());
    }
}

#[test]
fn integers_take_the_bytes_they_need() {
    let lengths = [
        (0, 1),
        (-1, 2),
        (127, 2),
        (-128, 2),
        (128, 3),
        (-129, 3),
        (1 << 31, 6),
        (-(1 << 31), 5),
        (i64::MAX, 9),
        (i64::MIN, 9),
    ];
    for (n, len) in lengths {
        assert_eq!(encoded_value(Value::Int(n)).len(), len, "{n}");
    }
}

#[test]
fn a_nan_is_written_as_null() {
    assert_eq!(
        encoded_value(Value::Real(f64::NAN)),
        encoded_value(Value::Null)
    );
}

#[test]
fn keys_compare_as_sqlite_compares_them() {
    let two_63 = 9_223_372_036_854_775_808.0;
    let below = 9_223_372_036_854_774_784.0;
    assert_eq!(Value::Real(-0.0).canonical_key(), Value::Int(0));
    assert_eq!(Value::Real(-two_63).canonical_key(), Value::Int(i64::MIN));
    assert_eq!(
        Value::Real(below).canonical_key(),
        Value::Int(9_223_372_036_854_774_784)
    );
    for other in [two_63, 0.5, f64::INFINITY, f64::NEG_INFINITY, 1e300] {
        assert_eq!(Value::Real(other).canonical_key(), Value::Real(other));
    }
}

#[test]
fn a_difference_is_bounded() {
    let limit = i128::from(limits::DIFFERENCE);
    for (n, fits) in [
        (limit, true),
        (-limit, true),
        (i128::from(i64::MIN) - i128::from(i64::MAX), true),
        (limit + 1, false),
        (-limit - 1, false),
        (i128::MAX, false),
        (i128::MIN, false),
    ] {
        let mut out = Vec::new();
        Cell::Add(n).encode(&mut out);
        assert_eq!(Cell::decode(&mut Reader::new(&out)).is_ok(), fits, "{n}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 4_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn numbers(n in samples::number(), m in samples::unsigned()) {
        let mut out = Vec::new();
        put_signed(&mut out, n);
        put_varint(&mut out, m);
        let mut r = Reader::new(&out);
        prop_assert_eq!(r.signed("n"), Ok(n));
        prop_assert_eq!(r.varint("m"), Ok(m));
        prop_assert!(r.end("all").is_ok());
    }

    #[test]
    fn values(value in samples::value(), other in samples::value()) {
        let bytes = encoded_value(value.as_ref());
        let mut r = Reader::new(&bytes);
        let read = Value::decode(&mut r).unwrap();
        prop_assert_eq!(read, value.as_ref());
        prop_assert!(r.is_empty());
        prop_assert_eq!(OwnedValue::from(read), value.clone());
        let equal_bytes = bytes == encoded_value(other.as_ref());
        prop_assert_eq!(value == other, equal_bytes);
    }

    #[test]
    fn cells(cell in samples::cell()) {
        let mut out = Vec::new();
        cell.as_ref().encode(&mut out);
        let mut r = Reader::new(&out);
        prop_assert_eq!(Cell::decode(&mut r).unwrap(), cell.as_ref());
        prop_assert!(r.is_empty());
    }

    #[test]
    fn bodies(items in samples::items()) {
        let bytes = samples::encode(items.iter().map(samples::OwnedItem::as_item));
        let read = samples::decode(&bytes).unwrap();
        let meant: Vec<_> = items.iter().map(samples::OwnedItem::as_item).collect();
        prop_assert_eq!(&read, &meant);
        prop_assert_eq!(samples::encode(read), bytes);
    }

    #[test]
    fn headers(header in samples::header()) {
        let bytes = header.encode();
        prop_assert_eq!(Header::decode(&bytes).unwrap(), header);
        prop_assert!(bytes.len() <= limits::HEADER_BYTES);
    }

    #[test]
    fn vectors(header in samples::header()) {
        let mut out = Vec::new();
        put_vector(&mut out, &header.rose);
        let mut r = Reader::new(&out);
        prop_assert_eq!(read_vector(&mut r).unwrap(), header.rose);
        prop_assert!(r.is_empty());
    }

    #[test]
    fn parts(part in samples::part()) {
        let bytes = part.as_ref().encode();
        let read = Part::decode(&bytes).unwrap();
        prop_assert_eq!(&read, &part.as_ref());
        prop_assert_eq!(read.header().unwrap(), part.header().cloned());
        prop_assert_eq!(read.encode(), bytes);
    }
}
