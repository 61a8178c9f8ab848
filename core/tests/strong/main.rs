//! Strong transactions simulated: nodes with files and clients, leaders that come and go, a log
//! whose entries are lost, doubled and reordered until they are committed. One seed replays
//! everything.
//!
//! The negative controls break the state machine on purpose and must be caught.

// A test fails by panicking, in its helpers too.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod encoding;
mod lanes;
mod moves;
mod rng;
mod statements;
mod turns;
mod world;

use std::panic::catch_unwind;

use world::{Broken, World};

const SEEDS: u64 = 300;

fn run(seed: u64, broken: Broken, window: usize) -> u64 {
    let mut world = World::new(seed, broken, window);
    for _ in 0..1_500 {
        world.step();
    }
    world.settle();
    world.check();
    world.accepted()
}

#[test]
fn every_acknowledged_transaction_is_there_once_and_in_order() {
    let mut accepted = 0;
    for seed in 0..SEEDS {
        accepted += run(seed, Broken::Nothing, 1_000);
    }
    assert!(accepted > SEEDS * 10, "too little happened: {accepted}");
}

#[test]
fn forgotten_outcomes_are_expired_and_never_accepted_again() {
    for seed in 0..SEEDS {
        run(seed, Broken::Nothing, 6);
    }
}

/// Of 40 seeds, how many catch a broken machine.
fn caught(broken: Broken) -> usize {
    let fails = |seed: &u64| catch_unwind(|| run(*seed, broken, 1_000)).is_err();
    (0..40).filter(fails).count()
}

#[test]
fn broken_machines_are_caught() {
    // The panics of the seeds that catch it are what is wanted: they are not printed. One
    // test after the other: they share the hook.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let machines = [
        Broken::CertifiedWhenProposed,
        Broken::NoDeduplication,
        Broken::NoDependencies,
    ]
    .map(|broken| (broken, caught(broken)));
    let lanes = lanes::caught_lanes();
    let moves = moves::caught_moves();
    std::panic::set_hook(hook);
    for (broken, caught) in machines {
        assert!(caught > 20, "{broken:?} was caught by {caught} of 40 seeds");
    }
    for (broken, caught, least) in lanes {
        println!("{broken:?}: caught by {caught} of 40 seeds");
        assert!(
            caught >= least,
            "{broken:?} was caught by {caught} of 40 seeds"
        );
    }
    for (broken, caught) in moves {
        println!("{broken:?}: caught by {caught} of 120 seeds");
        assert!(caught > 8, "{broken:?} was caught by {caught} of 120 seeds");
    }
}
