//! Random writes on three replicas end equal, whatever was exchanged when.
//!
//! `NUDA_SEEDS=1000:5000` runs 5,000 seeds from 1000 on instead of the usual three hundred.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::process::Command;

use nuda_sql_tests::{loud, place};

#[test]
fn replicas_converge_whatever_was_exchanged_when() {
    converge(&[], "1:300");
}

#[test]
fn replicas_converge_with_strong_writes_among_eventual_ones() {
    converge(&["strong"], "1:100");
}

fn converge(options: &[&str], usual: &str) {
    let seeds = std::env::var("NUDA_SEEDS").unwrap_or_else(|_| usual.to_owned());
    let (first, count) = seeds.split_once(':').unwrap_or((&seeds, "1"));
    let python = "/usr/bin/python3";
    let done = Command::new(python)
        .arg(place::here().join("scripts/convergence.py"))
        .arg(place::extension())
        .args([first, count])
        .args(options)
        .output();
    match done {
        Err(why) => loud::say(&format!("skipped: convergence: {python}: {why}")),
        Ok(out) => {
            let said = String::from_utf8_lossy(&out.stdout);
            println!("{said}");
            assert!(
                out.status.success(),
                "{said}\n{}",
                String::from_utf8_lossy(&out.stderr)
            );
        }
    }
}
