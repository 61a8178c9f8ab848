//! Claims of gigabytes cost nothing: memory is counted while hostile bytes are read.
//!
//! A program of its own, because it counts every allocation of the process, and one test,
//! because tests run side by side.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
// A global allocator can't be written without it.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use nuda_core::changeset::{Header, Part, read_vector};
use nuda_core::codec::{Reader, put_varint};
use nuda_core::limits;
use nuda_core::row::{BodyReader, Cell, TableRef, put_table};
use nuda_core::value::Value;

struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: both calls are passed on to the system's allocator with the caller's own layout;
// counting touches no memory but two atomics.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), SeqCst) + layout.size();
        PEAK.fetch_max(held, SeqCst);
        // SAFETY: the caller's contract is this call's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), SeqCst);
        // SAFETY: `memory` came from `alloc` above with this layout.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most that was held at once while `work` ran, beyond what was held before.
fn peak_of(work: impl FnOnce()) -> usize {
    let before = HELD.load(SeqCst);
    PEAK.store(before, SeqCst);
    work();
    PEAK.load(SeqCst) - before
}

fn with_length(prefix: &[u8], length: u64) -> Vec<u8> {
    let mut bytes = prefix.to_vec();
    put_varint(&mut bytes, length);
    bytes.extend_from_slice(&[0; 40]);
    bytes
}

fn read_body(body: &[u8]) {
    let mut reader = BodyReader::new(body);
    while let Ok(Some(_)) = reader.next_item() {}
}

#[test]
fn claims_cost_nothing() {
    let widest = {
        let mut out = Vec::new();
        let table = TableRef {
            number: 1,
            version: 1,
            definition: 0,
            key_columns: limits::KEY_COLUMNS,
            columns: limits::COLUMNS,
        };
        put_table(&mut out, &table);
        out
    };
    let update = [widest.as_slice(), &[2], &[0; limits::KEY_COLUMNS]].concat();
    let insert = [widest.as_slice(), &[1], &[0; 100]].concat();
    let header = [&[0u8], [0xff; 8].as_slice(), &[1, 1]].concat();
    let part = [
        b"NUDA\x01".as_slice(),
        &[9; 16],
        &[9; 8],
        &[1, 0, 0],
        &[7; 16],
    ]
    .concat();
    // 1,500 is within most bounds: only the bytes that are left refuse it.
    for claim in [
        1_500,
        1 << 20,
        1 << 27,
        1 << 31,
        1 << 32,
        3 << 32,
        1 << 63,
        u64::MAX,
    ] {
        for (prefix, read) in [
            (
                vec![2],
                (|b| assert!(Value::decode(&mut Reader::new(b)).is_err())) as fn(&[u8]),
            ),
            (vec![3], |b| {
                assert!(Cell::decode(&mut Reader::new(b)).is_err())
            }),
            (vec![], |b| {
                assert!(read_vector(&mut Reader::new(b)).is_err())
            }),
            (header.clone(), |b| assert!(Header::decode(b).is_err())),
            ([header.as_slice(), &[0]].concat(), |b| {
                assert!(Header::decode(b).is_err())
            }),
            (part.clone(), |b| assert!(Part::decode(b).is_err())),
            (vec![4], read_body),
            (update.clone(), read_body),
        ] {
            let bytes = with_length(&prefix, claim);
            let peak = peak_of(|| read(&bytes));
            assert!(
                peak < 8 << 10,
                "{peak} bytes for a claim of {claim} after {prefix:?}"
            );
        }
    }
    let peak = peak_of(|| read_body(&insert));
    assert!(peak < 8 << 10, "{peak} bytes for a row that is not there");

    // What is there costs a fixed multiple of its own size, one item at a time.
    let full = [widest.as_slice(), &[1], &vec![0; limits::COLUMNS], &[1]].concat();
    let peak = peak_of(|| read_body(&full.repeat(50)[..]));
    assert!(
        peak < (1 << 18) + 50 * full.len(),
        "{peak} bytes for the widest row"
    );
}
