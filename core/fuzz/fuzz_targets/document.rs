//! A document's edit.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nuda_core::types::doc::document::Json;
use nuda_core::types::doc::edit::Change;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(value) = Json::parse(text)
    {
        assert_eq!(value.to_string(), text);
    }
    if let Ok(change) = Change::decode(bytes) {
        let mut again = Vec::new();
        change.encode(&mut again);
        assert_eq!(again, bytes);
        if let Ok(value) = Json::parse(r#"{"a":[1,{"b":2}],"c":{}}"#) {
            let _ = change.apply(Some(value));
        }
    }
});
