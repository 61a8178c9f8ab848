//! The bytes of format version 1, kept in `core/tests/golden` for ever.
//!
//! Each file holds one kind of thing, a line `name = bytes` each. The content is built here,
//! must encode to those bytes, and those bytes must decode to it. Run once with
//! `NUDA_BLESS=1` to rewrite the files after adding an entry; an entry that is there never
//! changes, or replicas of two versions stop understanding each other.

use std::fmt::Write as _;
use std::path::PathBuf;

use nuda_core::changeset::{ChainHash, ChainHasher, Header, Level, Part, put_vector, read_vector};
use nuda_core::codec::{Reader, put_signed, put_varint};
use nuda_core::hlc::Stamp;
use nuda_core::limits;
use nuda_core::row::{Cell, Change, Item, RowChange, TableRef};
use nuda_core::site::{Dot, PartitionId, Site};
use nuda_core::types::orset;
use nuda_core::value::Value;
use nuda_core::version_vector::VersionVector;

use crate::{hex, samples};

/// Compares (name, bytes) with the file, or rewrites it.
fn check(file: &str, entries: &[(String, Vec<u8>)]) {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "golden", file]
        .iter()
        .collect();
    let mut text = String::new();
    for (name, bytes) in entries {
        writeln!(text, "{name} = {}", hex::write(bytes)).unwrap();
    }
    if std::env::var_os("NUDA_BLESS").is_some_and(|v| v == "1") {
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    for (kept, made) in golden.lines().zip(text.lines()) {
        assert_eq!(kept, made, "{file} (NUDA_BLESS=1 rewrites it)");
    }
    assert_eq!(golden.lines().count(), entries.len(), "{file}");
}

/// Checks that each `thing` is what its own bytes decode to, then the bytes.
fn check_all<T: PartialEq + std::fmt::Debug>(
    file: &str,
    things: Vec<(String, T)>,
    encode: impl Fn(&T) -> Vec<u8>,
    decodes_to: impl Fn(&[u8], &T) -> bool,
) {
    let mut entries = Vec::new();
    for (name, thing) in things {
        let bytes = encode(&thing);
        assert!(decodes_to(&bytes, &thing), "{file}: {name}");
        entries.push((name, bytes));
    }
    check(file, &entries);
}

fn named<T>(name: &str, thing: T) -> (String, T) {
    (name.to_owned(), thing)
}

#[test]
fn numbers() {
    let edges = samples::edges();
    let unsigned = edges.iter().filter_map(|n| u64::try_from(*n).ok());
    check_all(
        "varints.hex",
        unsigned.map(|n| (n.to_string(), n)).collect(),
        |n| {
            let mut out = Vec::new();
            put_varint(&mut out, *n);
            out
        },
        |bytes, n| Reader::new(bytes).varint("n") == Ok(*n),
    );
    check_all(
        "signed.hex",
        edges.iter().map(|n| (n.to_string(), *n)).collect(),
        |n| {
            let mut out = Vec::new();
            put_signed(&mut out, *n);
            out
        },
        |bytes, n| Reader::new(bytes).signed("n") == Ok(*n),
    );
}

#[test]
fn values() {
    let short = [7u8; 63];
    let long = [7u8; 130];
    let mut things = vec![named("null", Value::Null)];
    for n in samples::edges() {
        if let Ok(n) = i64::try_from(n) {
            things.push((format!("integer {n}"), Value::Int(n)));
        }
    }
    for r in [
        0.0,
        -0.0,
        1.5,
        -2.0,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MAX,
        5e-324,
    ] {
        things.push((format!("real {r:?}"), Value::Real(r)));
    }
    for len in [0, 1, 31, 32, 63] {
        things.push((format!("text of {len}"), Value::Text(&short[..len])));
        things.push((format!("blob of {len}"), Value::Blob(&short[..len])));
    }
    for len in [64, 127, 128, 130] {
        things.push((format!("text of {len}"), Value::Text(&long[..len])));
        things.push((format!("blob of {len}"), Value::Blob(&long[..len])));
    }
    things.push(named("text, not UTF-8", Value::Text(&[0xff, 0x00, 0xfe])));
    check_all(
        "values.hex",
        things,
        |value| {
            let mut out = Vec::new();
            value.encode(&mut out);
            out
        },
        |bytes, value| Value::decode(&mut Reader::new(bytes)) == Ok(*value),
    );
}

#[test]
fn cells() {
    let most = i128::from(limits::DIFFERENCE);
    let mut things = vec![
        named("a value", Cell::Value(Value::Int(300))),
        named("no value", Cell::Value(Value::Null)),
    ];
    for n in [0, 1, -1, 63, 64, -64, -65, 1 << 32, most, -most] {
        things.push((format!("difference {n}"), Cell::Add(n)));
    }
    let mut edits = Vec::new();
    for (leaves_null, added, removed) in [
        (false, vec![b"\"a\"".as_slice()], vec![]),
        (
            false,
            vec![b"2", b"10", b"\"b\""],
            vec![b"null".as_slice(), b"[1,{}]"],
        ),
        (true, vec![], vec![b"\"a\""]),
        (true, vec![], vec![]),
        (false, vec![], vec![]),
    ] {
        let mut bytes = Vec::new();
        orset::encode(leaves_null, &added, &removed, &mut bytes);
        edits.push(bytes);
    }
    for (n, bytes) in edits.iter().enumerate() {
        let cell = Cell::decode(&mut Reader::new(bytes)).unwrap();
        things.push((format!("set {n}"), cell));
    }
    things.push(named("edit of a text", Cell::Text(b"\xe8\x07\x00\x01x")));
    things.push(named(
        "edit of a document",
        Cell::Doc(b"\x03\x01\x01a\x00\x012"),
    ));
    check_all(
        "cells.hex",
        things,
        |cell| {
            let mut out = Vec::new();
            cell.encode(&mut out);
            out
        },
        |bytes, cell| Cell::decode(&mut Reader::new(bytes)) == Ok(*cell),
    );
}

fn table(key_columns: usize, columns: usize) -> TableRef {
    TableRef {
        number: 1,
        version: 1,
        definition: 0x0123_4567_89ab_cdef,
        key_columns,
        columns,
    }
}

fn row<'a>(key: &[Value<'a>], change: Change<'a>) -> Item<'a> {
    Item::Row(RowChange {
        key: key.to_vec(),
        change,
    })
}

fn insert<'a>(key: &[Value<'a>], rest: &[Cell<'a>]) -> Item<'a> {
    let cells = key
        .iter()
        .map(|v| Cell::Value(*v))
        .chain(rest.iter().copied());
    row(key, Change::Insert(cells.collect()))
}

/// The body that `docs/format.md` spells out.
pub(crate) fn example_body() -> Vec<Item<'static>> {
    let int = |n| Value::Int(n);
    vec![
        Item::Table(table(1, 3)),
        insert(&[int(7)], &[Cell::Value(Value::Text(b"Ada")), Cell::Add(5)]),
        row(&[int(300)], Change::Update(vec![(2, Cell::Add(-3))])),
        row(&[int(9)], Change::Delete),
    ]
}

/// The header that `docs/format.md` spells out.
pub(crate) fn example_header() -> Header {
    Header {
        dot: Dot {
            site: Site::from_u64(0xaaaa_0000_0000_0001).unwrap(),
            seq: 1,
        },
        stamp: Stamp::from_u64(1_000 << 16).unwrap(),
        level: Level::Eventual,
        author: "ada".to_owned(),
        rose: [(Site::from_u64(0xbbbb_0000_0000_0002).unwrap(), 300)]
            .into_iter()
            .collect(),
    }
}

/// The partition that `docs/format.md` spells out.
pub(crate) fn example_partition() -> PartitionId {
    PartitionId([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15])
}

#[test]
fn items() {
    let int = |n| Value::Int(n);
    let two = [Value::Text(b"k"), int(-1)];
    let wide = TableRef {
        number: u32::MAX,
        version: 300,
        definition: u64::MAX,
        key_columns: limits::KEY_COLUMNS,
        columns: limits::COLUMNS,
    };
    let many = vec![
        (2, Cell::Add(1)),
        (3, Cell::Value(Value::Null)),
        (140, Cell::Add(-1)),
    ];
    let things = vec![
        named("example", example_body()),
        named("widest table", vec![Item::Table(wide)]),
        named(
            "schema",
            vec![Item::Schema(b"CREATE TABLE t(a INTEGER PRIMARY KEY)")],
        ),
        named("empty schema", vec![Item::Schema(b"")]),
        named(
            "key only",
            vec![Item::Table(table(1, 1)), insert(&[int(1)], &[])],
        ),
        named(
            "two key columns",
            vec![
                Item::Table(table(2, 200)),
                row(&two, Change::Update(many)),
                row(&two, Change::Update(vec![])),
                row(&two, Change::Delete),
            ],
        ),
        named(
            "two tables",
            vec![
                Item::Table(table(1, 2)),
                insert(&[Value::Real(0.5)], &[Cell::Value(Value::Null)]),
                Item::Schema(b"-- later"),
                Item::Table(TableRef {
                    number: 2,
                    ..table(2, 2)
                }),
                insert(&two, &[]),
            ],
        ),
    ];
    check_all(
        "items.hex",
        things,
        |items| samples::encode(items.iter().cloned()),
        |bytes, items| samples::decode(bytes).as_ref() == Ok(items),
    );
}

fn vector(entries: &[(u64, u64)]) -> VersionVector {
    let site = |id| Site::from_u64(id).unwrap();
    entries.iter().map(|(id, seq)| (site(*id), *seq)).collect()
}

#[test]
fn vectors() {
    let things = vec![
        named("empty", vector(&[])),
        named("one", vector(&[(16, 1)])),
        named("log sites", vector(&[(1, 127), (2, 128)])),
        named(
            "greatest",
            vector(&[(16, 1 << 14), (u64::MAX, limits::SEQ - 1)]),
        ),
    ];
    check_all(
        "vectors.hex",
        things,
        |vector| {
            let mut out = Vec::new();
            put_vector(&mut out, vector);
            out
        },
        |bytes, vector| read_vector(&mut Reader::new(bytes)).as_ref() == Ok(vector),
    );
}

#[test]
fn headers() {
    let things = vec![
        named("example", example_header()),
        named(
            "baseline, nobody, nothing seen",
            Header {
                stamp: Stamp::BASELINE,
                author: String::new(),
                rose: vector(&[]),
                ..example_header()
            },
        ),
        named(
            "strong",
            Header {
                dot: Dot {
                    site: Site::LOG_STRONG,
                    seq: limits::SEQ - 1,
                },
                stamp: Stamp::MAX,
                level: Level::Strong,
                author: "ü".repeat(64),
                rose: vector(&[(2, 5), (16, 1), (u64::MAX, 1 << 33)]),
            },
        ),
        named(
            "quorum",
            Header {
                dot: Dot {
                    site: Site::LOG_QUORUM,
                    seq: 128,
                },
                level: Level::Quorum,
                ..example_header()
            },
        ),
    ];
    check_all("headers.hex", things, Header::encode, |bytes, header| {
        Header::decode(bytes).as_ref() == Ok(header)
    });
}

#[test]
fn parts_and_hashes() {
    let header = example_header().encode();
    let body = samples::encode(example_body());
    let previous = ChainHash([0x5a; 16]);
    let hash = |previous, pieces: &[&[u8]]| {
        let mut hasher = ChainHasher::new(previous, &header);
        for piece in pieces {
            hasher.update(piece);
        }
        hasher.finish()
    };
    let part = |part, first: Option<ChainHash>, last, body| Part {
        partition: example_partition(),
        dot: example_header().dot,
        part,
        first: first.map(|previous| (previous, header.as_slice())),
        last,
        body,
    };
    let (half, rest) = body.split_at(body.len() / 2);
    assert_eq!(hash(previous, &[&body]), hash(previous, &[half, rest]));
    let whole = hash(ChainHash::START, &[&body]);
    let split = hash(previous, &[&body]);
    let things = vec![
        named("whole", part(0, Some(ChainHash::START), Some(whole), &body)),
        named(
            "empty",
            part(
                0,
                Some(ChainHash::START),
                Some(hash(ChainHash::START, &[])),
                &[],
            ),
        ),
        named("first", part(0, Some(previous), None, half)),
        named("middle", part(1, None, None, &[])),
        named("last", part(limits::PARTS - 1, None, Some(split), rest)),
    ];
    check_all("parts.hex", things, Part::encode, |bytes, part| {
        Part::decode(bytes).as_ref() == Ok(part)
    });
    let names = [
        named("whole", whole.0.to_vec()),
        named("after another", split.0.to_vec()),
    ];
    check("hashes.hex", &names);
}
