//! Histories: what real applications were told by three real daemons while things went wrong, and
//! whether any order of strictly serializable transactions explains it.
//!
//! In reading order: `workloads` (what is asked), `application` and `applications` (processes that
//! do it), `history` (what was asked and told), `cluster`, `faults`, `power`, `members`, `run` (all of that
//! together), `check` (pure checkers). `docs/testing.md` says how to run it for long and how to
//! repeat a run.

// A test fails by panicking, in its helpers too.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod application;
mod applications;
mod check;
mod cluster;
mod faults;
mod history;
mod members;
mod power;
mod rng;
mod run;
#[path = "../support/mod.rs"]
mod support;
mod workloads;

use std::time::Duration;

use run::Plan;
use workloads::Workload;

#[test]
#[ignore = "run by the other tests, as an application"]
fn application() {
    application::serve();
}

/// Every kind of fault in a minute, from a fixed seed.
#[test]
fn short() {
    let _ = Plan::short().run().unwrap_or_else(|why| panic!("{why}"));
}

/// One machine, two and all at once lose their power.
#[test]
fn power() {
    let _alone = support::power::alone();
    let _ = Plan::power(12).run().unwrap_or_else(|why| panic!("{why}"));
}

/// The same where nothing is synced: that must be noticed.
#[test]
fn power_without_fsync() {
    if cfg!(not(debug_assertions)) {
        support::skipped("negative controls: a release build keeps every rule");
        return;
    }
    let _alone = support::power::alone();
    let mut plan = Plan::power(6);
    plan.faults.retain(|kind| kind == "power-all");
    plan.envs
        .push(("NUDA_BROKEN".to_owned(), "fsync".to_owned()));
    plan.healing = Duration::from_secs(10);
    plan.must_fail();
}

/// Bounded reads that ask nobody, on nodes that are cut off: that must be noticed.
#[test]
fn bounded_reads_without_asking() {
    if cfg!(not(debug_assertions)) {
        support::skipped("negative controls: a release build keeps every rule");
        return;
    }
    let mut plan = Plan::short();
    plan.lasts = Duration::from_secs(8);
    plan.workloads = vec![Workload::Registers, Workload::Quorum];
    plan.faults = vec!["isolate".to_owned()];
    plan.envs
        .push(("NUDA_BROKEN".to_owned(), "staleness".to_owned()));
    plan.must_fail();
}

/// `NUDA_PROOF_SECONDS=600 NUDA_PROOF_SEED=7 cargo test -p nuda-replicator --test histories soak -- --ignored --nocapture`
#[test]
#[ignore = "as long as NUDA_PROOF_SECONDS says"]
fn soak() {
    let _ = Plan::from_environment()
        .run()
        .unwrap_or_else(|why| panic!("{why}"));
}
