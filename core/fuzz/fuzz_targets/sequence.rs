//! A sequence's state as it is kept beside its cell, and an edit that meets it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nuda_core::site::{Dot, Site};
use nuda_core::types::sequence::{Delta, Sequence};
use nuda_core::version_vector::VersionVector;

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut state) = Sequence::decode(bytes) else {
        return;
    };
    let mut again = Vec::new();
    state.encode(&mut again);
    assert_eq!(again, bytes);
    let Some(site) = Site::from_u64(99) else {
        return;
    };
    let mut delta = Delta::new();
    delta.keep(3);
    delta.insert(2);
    delta.delete(4);
    let visible = state.visible();
    let seen = VersionVector::new();
    if let Some(answer) = state.integrate(Dot { site, seq: 1 }, &seen, &delta) {
        assert!(answer.needs() <= visible);
    }
    state.collapse(&seen);
});
