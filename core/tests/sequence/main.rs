//! Sequences, tested against their definition.
//!
//! Random members edit one text, exchange their edits in random causal orders, drop what has
//! become stable, and keep a state only while they must, as an applier does ([`replica`]). After
//! every step each replica must hold what the naive [`model`] makes of the set of edits
//! applied there: a tree of single characters that keeps the whole history. The intent of every
//! author is checked separately. [`cases`] are the smallest examples.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod cases;
mod golden;
mod model;
mod replica;
mod texts;
mod world;

use proptest::test_runner::{Config, TestRunner};
use std::cell::RefCell;
use world::Tally;

fn run(cases: u32, assigning: bool) -> Tally {
    let tally = RefCell::new(Tally::default());
    let config = Config {
        cases: cases.saturating_mul(times()),
        failure_persistence: None,
        ..Config::default()
    };
    let outcome = TestRunner::new(config).run(&world::script(assigning), |script| {
        world::play(&script, &mut tally.borrow_mut());
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
    tally.into_inner()
}

/// More than is run each time: `NUDA_PROOF_TIMES=100`.
fn times() -> u32 {
    let told = std::env::var("NUDA_PROOF_TIMES");
    told.map_or(1, |times| {
        times.parse().expect("NUDA_PROOF_TIMES is a number")
    })
}

fn assert_met(tally: &Tally, least: u64, wanted: &[&str]) {
    for what in wanted {
        let times = tally.0.get(what).copied().unwrap_or(0);
        assert!(
            times >= least,
            "{what} happened only {times} times: {tally:?}"
        );
    }
}

const MET: [&str; 7] = [
    "plain",
    "built",
    "integrated",
    "integrated late",
    "collapsed",
    "dropped as trivial",
    "state read back",
];

#[test]
fn replicas_agree_with_the_definition() {
    assert_met(&run(10_000, false), 1_000, &MET);
}

#[test]
fn beginnings_of_rows_meet() {
    let tally = run(5_000, true);
    assert_met(&tally, 1_000, &MET);
    assert_met(&tally, 1_000, &["assigned"]);
    assert_met(&tally, 100, &["counted once"]);
}
