//! Random writes on three replicas end equal, whatever was exchanged when.
//!
//! `NUDA_SEEDS=1000:5000` runs 5,000 seeds from 1000 on instead of the usual three hundred.
#![allow(clippy::unwrap_used, clippy::panic)]

use nuda_sql_tests::script::run_seeds;

#[test]
fn replicas_converge_whatever_was_exchanged_when() {
    run_seeds("convergence.py", "1:300", &[]);
}

#[test]
fn replicas_converge_with_strong_writes_among_eventual_ones() {
    run_seeds("convergence.py", "1:100", &["strong"]);
}
