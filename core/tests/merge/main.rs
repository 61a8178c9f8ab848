//! Merging, tested against its definition.
//!
//! Random members work on a few rows, exchange their transactions in random causal orders,
//! and drop what has become stable from their logs. After every step each replica must hold
//! what the naive [`model`] makes of the set of changes applied there; [`ledger`] asks
//! separately whether the users' intent survived. [`cases`] are the smallest examples.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod cases;
mod ledger;
mod model;
mod replica;
mod world;

use proptest::test_runner::{Config, TestRunner};
use replica::Tally;
use std::cell::RefCell;

/// Runs `cases` random worlds and answers what happened in them.
fn run(cases: u32, collecting: bool, delete_wins: bool) -> Tally {
    let tally = RefCell::new(Tally::default());
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let outcome = TestRunner::new(config).run(&world::script(collecting, delete_wins), |script| {
        world::play(&script, &mut tally.borrow_mut());
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
    tally.into_inner()
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

const MERGES: [&str; 8] = [
    "update",
    "revive",
    "insert",
    "insert among others",
    "hide",
    "survive",
    "hidden twice",
    "loss",
];

#[test]
fn replicas_agree_with_the_definition() {
    assert_met(&run(10_000, false, false), 1_000, &MERGES);
}

#[test]
fn collecting_changes_nothing() {
    let tally = run(20_000, true, false);
    assert_met(&tally, 1_000, &MERGES);
    assert_met(&tally, 1_000, &["collect", "image goes"]);
    assert_met(&tally, 50, &["image moves on"]);
}

#[test]
fn deletes_win_where_they_are_to() {
    let met = [
        "update",
        "insert",
        "insert among others",
        "hide",
        "survive",
        "gone",
        "collect",
    ];
    assert_met(&run(10_000, true, true), 1_000, &met);
}

#[test]
fn an_image_outlives_the_delete_that_made_it() {
    let mut tally = Tally::default();
    world::play(&world::crossed_deletes(), &mut tally);
    let met = ["image moves on", "revive from a moved image"];
    assert_met(&tally, 1, &met);
}
