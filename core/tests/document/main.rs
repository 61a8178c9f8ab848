//! Documents: the edit between two of them, its bytes, doing it, and what concurrent ones amount
//! to, tested against its definition ([`model`]).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod cases;
mod edits;
mod golden;
mod model;
mod samples;
#[allow(dead_code, reason = "texts need more of it than lists do")]
#[path = "../sequence/model.rs"]
mod sequence;
mod strong;
mod world;

use nuda_core::types::doc::document::Json;
use nuda_core::types::doc::merge::{Edited, Merge};
use proptest::test_runner::{Config, TestRunner};
use std::cell::RefCell;
use world::Tally;

/// Takes in an edit of a document that is there; none of these tests removes the whole.
fn integrate(state: &mut Merge, edited: &Edited<'_>, value: &mut Json) {
    let mut slot = Some(value.clone());
    state.integrate(edited, &mut slot, &mut Vec::new());
    *value = slot.unwrap_or_else(|| Json::Object(std::collections::BTreeMap::new()));
}

#[test]
fn replicas_agree_with_the_definition() {
    let tally = RefCell::new(Tally::default());
    let config = Config {
        cases: 5_000,
        failure_persistence: None,
        ..Config::default()
    };
    let outcome = TestRunner::new(config).run(&world::script(), |script| {
        world::play(&script, &mut tally.borrow_mut());
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
    let tally = tally.into_inner();
    for (what, least) in [
        ("plain", 500),
        ("built", 500),
        ("built on what was kept", 20),
        ("stale", 500),
        ("integrated", 500),
        ("collapsed", 500),
        ("dropped as trivial", 500),
        ("state read back", 500),
        ("hostile state", 500),
    ] {
        let times = tally.0.get(what).copied().unwrap_or(0);
        assert!(
            times >= least,
            "{what} happened only {times} times: {tally:?}"
        );
    }
}
