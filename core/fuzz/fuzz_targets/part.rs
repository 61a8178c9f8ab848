//! A part of a changeset as it comes from the network, with its header and body.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nuda_core::changeset::Part;
use nuda_core::row::BodyReader;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(part) = Part::decode(bytes) {
        assert_eq!(part.encode(), bytes);
        if let Ok(Some(header)) = part.header() {
            assert_eq!(header.dot, part.dot);
        }
        let mut reader = BodyReader::new(part.body);
        while let Ok(Some(_)) = reader.next_item() {}
    }
});
