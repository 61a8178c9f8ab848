//! `docs/format.md` and the code say the same.

use nuda_core::changeset::{ChainHash, ChainHasher, FORMAT, Part};
use nuda_core::limits;

use crate::{golden, hex, samples};

fn document() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/format.md");
    std::fs::read_to_string(path).unwrap()
}

/// The bytes of the document's annotated example: what follows `#` in a line is for people.
fn example() -> Vec<u8> {
    let text = document();
    let (_, block) = text.split_once("```hex\n").expect("a block of bytes");
    let (block, _) = block.split_once("```").expect("its end");
    let digits: Vec<&str> = block
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default())
        .collect();
    hex::read(&digits.concat())
}

#[test]
fn the_example_is_what_the_code_writes() {
    let header = golden::example_header();
    let encoded = header.encode();
    let body = samples::encode(golden::example_body());
    let mut hasher = ChainHasher::new(ChainHash::START, &encoded);
    hasher.update(&body);
    let part = Part {
        partition: golden::example_partition(),
        dot: header.dot,
        part: 0,
        first: Some((ChainHash::START, &encoded)),
        last: Some(hasher.finish()),
        body: &body,
    };
    let bytes = example();
    assert_eq!(hex::write(&bytes), hex::write(&part.encode()));
    let read = Part::decode(&bytes).unwrap();
    assert_eq!(read, part);
    assert_eq!(read.header(), Ok(Some(header)));
    assert_eq!(samples::decode(read.body), Ok(golden::example_body()));
}

#[test]
fn the_bounds_are_those_of_the_code() {
    let text = document();
    let bounds: [(&str, u64); 12] = [
        ("PART_BYTES", limits::PART_BYTES as u64),
        ("PARTS", limits::PARTS.into()),
        ("SEQ", limits::SEQ),
        ("SITES", limits::SITES.into()),
        ("VALUE_BYTES", limits::VALUE_BYTES as u64),
        ("COLUMNS", limits::COLUMNS as u64),
        ("KEY_COLUMNS", limits::KEY_COLUMNS as u64),
        ("DEFINITION_BYTES", limits::DEFINITION_BYTES as u64),
        ("VECTOR_ENTRIES", limits::VECTOR_ENTRIES as u64),
        ("AUTHOR_BYTES", limits::AUTHOR_BYTES as u64),
        ("HEADER_BYTES", limits::HEADER_BYTES as u64),
        ("DIFFERENCE", limits::DIFFERENCE),
    ];
    for (name, bound) in bounds {
        let row = format!("| `{name}` | {bound} |");
        assert!(text.contains(&row), "docs/format.md has no row {row}");
    }
    assert!(text.contains(&format!("format version {FORMAT}")));
}
