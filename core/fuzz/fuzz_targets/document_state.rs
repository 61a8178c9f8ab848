//! A document's state as it is kept beside its cell.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nuda_core::types::doc::merge::Merge;
use nuda_core::version_vector::VersionVector;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(mut state) = Merge::decode(bytes) {
        let mut again = Vec::new();
        state.encode(&mut again);
        assert_eq!(again, bytes);
        state.collapse(&VersionVector::new());
    }
});
