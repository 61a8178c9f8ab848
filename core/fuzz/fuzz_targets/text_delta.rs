//! A text's edit.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nuda_core::types::text::TextDelta;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(edit) = TextDelta::decode(bytes) {
        let mut again = Vec::new();
        edit.encode(&mut again);
        assert_eq!(again, bytes);
        let text = "twelve chars";
        assert_eq!(edit.apply(text).is_some(), edit.delta.needs() <= 12);
    }
});
