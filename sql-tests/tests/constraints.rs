//! Random writes that break each other's constraints, on three replicas: all end equal, and show
//! what the definition says.
//!
//! `NUDA_SEEDS=1000:500` runs 500 seeds from 1000 on instead of the usual thirty.
#![allow(clippy::unwrap_used, clippy::panic)]

use nuda_sql_tests::script::run;

#[test]
fn hidden_rows_survive_what_happens_to_a_file() {
    run("hidden_rows.py", &[]);
}

#[test]
fn constraints_hold_on_all_replicas_whatever_was_exchanged_when() {
    let seeds = std::env::var("NUDA_SEEDS").unwrap_or_else(|_| "1:30".to_owned());
    let (first, count) = seeds.split_once(':').unwrap_or((&seeds, "1"));
    run("constraints.py", &[first, count]);
}
