//! A changeset's body, item by item.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nuda_core::row::{BodyReader, Item, put_row, put_schema, put_table};

fuzz_target!(|bytes: &[u8]| {
    let mut reader = BodyReader::new(bytes);
    let mut again = Vec::new();
    while let Ok(Some(item)) = reader.next_item() {
        match item {
            Item::Table(table) => put_table(&mut again, &table),
            Item::Schema(definition) => put_schema(&mut again, definition),
            Item::Row(row) => put_row(&mut again, &row),
        }
        assert!(bytes.starts_with(&again));
    }
});
