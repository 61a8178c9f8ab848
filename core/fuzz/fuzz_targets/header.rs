//! A changeset's header.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nuda_core::changeset::Header;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(header) = Header::decode(bytes) {
        assert_eq!(header.encode(), bytes);
    }
});
