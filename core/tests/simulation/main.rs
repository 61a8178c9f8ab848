//! Whole runs of replication in a simulated bad world; one seed replays everything.
//!
//! Three or five model replicas (`replica`) are driven by the real state machine over a
//! network that loses, repeats, delays and reorders messages and is cut one way or both
//! (`world`), with crashes, power cuts, restored backups, clocks an hour apart, exclusions and
//! re-seeding, and a table whose newer versions reach them at different times. After healing all replicas must hold equal rows, vectors and changesets, with
//! empty logs; the rows must equal the definition (`naive`) and the tally rows the sum of all
//! increments that were not lost with a disk. Replicas assert causal order and exactly-once.
//!
//! A run ends early, and green, when two *shipped* variants of one changeset are reported: that
//! needs an operator.
//!
//! `NUDA_SEEDS=1000` runs more seeds, `NUDA_SEED_FROM=5000` other ones, `NUDA_SEED=17` only that
//! one; `NUDA_VERBOSE=1` shows all state of a run that found no rest. The tests `breaking_*`
//! break one rule each and demand that the simulation notices. Red were, when this was written:
//!
//! | broken rule | red runs |
//! |---|---|
//! | deduplication | 12 of 12 |
//! | the lookup of concurrent changes | 11 of 12 |
//! | the frontier: one peer's word instead of all | 10 of 12 |
//! | the refusal of late changes | 20 of 150 |

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
#![allow(clippy::cast_possible_wrap, clippy::cast_possible_truncation)]

mod naive;
mod record;
mod replica;
mod rng;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use record::{Op, Record};
use world::{Stats, TALLY, World};

/// A rule that is broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// Nothing is broken.
    None,
    /// Changesets are applied whenever they arrive.
    Dedup,
    /// Merging ignores concurrent changes.
    Concurrency,
    /// A log record is dropped when any one peer has it.
    Frontier,
    /// Late changes are accepted.
    Stale,
}

/// Seeds that once found a bug.
const FOUND: &[u64] = &[
    0, 8, 16, 28, 126, 132, 138, 148, 149, 192, 235, 254, 257, 274, 1141, 1205, 1406, 1450, 1891,
    1946, 2473, 2739, 6448, 9779, 10163,
];

fn tally(record: &Record) -> i128 {
    let counted = record.ops.iter().filter(|(key, _)| TALLY.contains(key));
    counted.map(|(_, op): &(i64, Op)| op.added()).sum()
}

/// One run.
fn run(seed: u64, sabotage: Sabotage) -> Stats {
    let mut world = World::new(seed, sabotage);
    let rested = world.run();
    if world.evidence {
        return world.stats;
    }
    assert!(rested, "seed {seed}: no rest\n{}", world.describe());
    let first = &world.nodes[0].file;
    for node in &world.nodes {
        assert_eq!(node.file.rows, first.rows, "seed {seed}: rows differ");
        assert_eq!(
            node.file.applied, first.applied,
            "seed {seed}: changesets differ"
        );
        assert!(node.file.images.is_empty(), "seed {seed}: images left");
    }
    assert_eq!(
        world.vector().total() as usize,
        first.applied.len(),
        "seed {seed}: vector"
    );
    let records: Vec<&Record> = first
        .applied
        .iter()
        .map(|hash| &*world.registry[hash])
        .collect();
    assert_eq!(
        first.rows,
        naive::rows(&records),
        "seed {seed}: not what the definition says"
    );
    let mut sum = 0;
    for (hash, record) in &world.registry {
        let present = first.applied.contains(hash);
        let moved = world.moved.contains_key(hash);
        if present {
            assert!(!moved, "seed {seed}: {} counts twice", record.dot);
            sum += tally(record);
        } else if !moved && tally(record) != 0 {
            assert!(
                world.lost.contains(hash),
                "seed {seed}: {} was lost",
                record.dot
            );
        }
    }
    let held: i128 = TALLY.iter().map(|key| first.rows[key].n).sum();
    assert_eq!(held, sum, "seed {seed}: increments lost");
    world.stats
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn replicas_converge() {
    let seeds: Vec<u64> = match number("NUDA_SEED") {
        Some(seed) => vec![seed],
        None => {
            let from = number("NUDA_SEED_FROM").unwrap_or(0);
            let random = from..from + number("NUDA_SEEDS").unwrap_or(200);
            FOUND.iter().copied().chain(random).collect()
        }
    };
    let mut total = Stats::default();
    let mut failed = Vec::new();
    let count = seeds.len();
    for seed in seeds {
        match catch_unwind(AssertUnwindSafe(|| run(seed, Sabotage::None))) {
            Ok(stats) => total.add(&stats),
            Err(_) => failed.push(seed),
        }
    }
    println!("{count} seeds: {total:?}");
    assert!(
        failed.is_empty(),
        "failing seeds, replay with NUDA_SEED=n: {failed:?}"
    );
    if count >= 100 {
        let exercised = [
            total.collected,
            total.reseeds,
            total.renumbered,
            total.restores,
            total.waited,
            total.handed_on,
        ];
        assert!(
            exercised.iter().all(|n| *n > 0),
            "something was never exercised: {total:?}"
        );
        assert!(
            total.evidence * 10 < count as u64,
            "too many runs end early: {total:?}"
        );
    }
}

fn is_noticed(sabotage: Sabotage, seeds: std::ops::Range<u64>) {
    let count = seeds.end - seeds.start;
    let red: Vec<u64> = seeds
        .filter(|seed| catch_unwind(|| run(*seed, sabotage)).is_err())
        .collect();
    println!(
        "{sabotage:?}: red in {} of {count} runs: {red:?}",
        red.len()
    );
    assert!(!red.is_empty(), "{sabotage:?} goes unnoticed");
}

#[test]
fn breaking_deduplication_is_noticed() {
    is_noticed(Sabotage::Dedup, 0..12);
}

#[test]
fn breaking_the_lookup_of_concurrent_changes_is_noticed() {
    is_noticed(Sabotage::Concurrency, 0..12);
}

#[test]
fn breaking_the_frontier_is_noticed() {
    is_noticed(Sabotage::Frontier, 0..12);
}

#[test]
fn breaking_the_refusal_of_late_changes_is_noticed() {
    is_noticed(Sabotage::Stale, 10..35);
}
