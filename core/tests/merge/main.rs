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
use world::Subject;

/// Runs `cases` random worlds and answers what happened in them, or what went wrong.
fn try_run(cases: u32, subject: Subject) -> Result<Tally, String> {
    let tally = RefCell::new(Tally::default());
    let config = Config {
        cases: cases.saturating_mul(times()),
        failure_persistence: None,
        // A negative control needs no smallest example.
        max_shrink_iters: if subject.forgets { 0 } else { 10_000 },
        ..Config::default()
    };
    let outcome = TestRunner::new(config).run(&world::script(subject), |script| {
        world::play(&script, &mut tally.borrow_mut());
        Ok(())
    });
    match outcome {
        Ok(()) => Ok(tally.into_inner()),
        Err(failure) => Err(failure.to_string()),
    }
}

fn run(cases: u32, subject: Subject) -> Tally {
    try_run(cases, subject).unwrap_or_else(|failure| panic!("{failure}"))
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

const COLLECTING: Subject = Subject {
    collecting: true,
    delete_wins: false,
    strong: false,
    forgets: false,
};

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
    assert_met(&run(10_000, Subject::default()), 1_000, &MERGES);
}

#[test]
fn collecting_changes_nothing() {
    let tally = run(20_000, COLLECTING);
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
    let subject = Subject {
        delete_wins: true,
        ..COLLECTING
    };
    assert_met(&run(10_000, subject), 1_000, &met);
}

#[test]
fn strong_transactions_beat_what_had_not_seen_them() {
    let subject = Subject {
        strong: true,
        ..COLLECTING
    };
    let tally = run(20_000, subject);
    assert_met(&tally, 1_000, &MERGES);
    let met = ["beaten by a strong write", "ended", "stale", "collect"];
    assert_met(&tally, 1_000, &met);
    assert_met(&tally, 1_000, &["a strong record stays"]);
}

#[test]
fn strong_edits_outlive_deletes_that_had_not_seen_them() {
    let subject = Subject {
        strong: true,
        delete_wins: true,
        ..COLLECTING
    };
    let met = ["revive", "gone", "ended", "beaten by a strong write"];
    assert_met(&run(10_000, subject), 500, &met);
}

#[test]
fn a_forgotten_strong_record_makes_replicas_differ() {
    let subject = Subject {
        strong: true,
        forgets: true,
        ..COLLECTING
    };
    let failure = try_run(20_000, subject).unwrap_err();
    assert!(failure.contains("row "), "{failure}");
}

#[test]
fn a_third_write_finds_out_that_it_won() {
    let mut tally = Tally::default();
    world::play(&world::late_third(false), &mut tally);
    let met = ["a strong record stays", "beaten by a strong write"];
    assert_met(&tally, 1, &met);
    let forgetful = || world::play(&world::late_third(true), &mut Tally::default());
    assert!(std::panic::catch_unwind(forgetful).is_err());
}

#[test]
fn an_image_outlives_the_delete_that_made_it() {
    let mut tally = Tally::default();
    world::play(&world::crossed_deletes(), &mut tally);
    let met = ["image moves on", "revive from a moved image"];
    assert_met(&tally, 1, &met);
}
