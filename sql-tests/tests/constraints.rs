//! Random writes that break each other's constraints, on three replicas: all end equal, and show
//! what the definition says.
//!
//! `NUDA_SEEDS=1000:500` runs 500 seeds from 1000 on instead of the usual thirty.
#![allow(clippy::unwrap_used, clippy::panic)]

use nuda_sql_tests::script::{run, run_seeds};

#[test]
fn hidden_rows_survive_what_happens_to_a_file() {
    run("hidden_rows.py", &[]);
}

#[test]
fn constraints_hold_on_all_replicas_whatever_was_exchanged_when() {
    run_seeds("constraints.py", "1:30", &[]);
}
