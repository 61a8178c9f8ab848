//! Running the Python scripts of `scripts/`, which drive several replicas through a real driver.
//!
//! A script gets the extension's path first, says what it did line by line, and fails with an exit
//! code. Where there is no Python the test is reported as skipped.

use std::process::Command;

use crate::{loud, place};

/// Runs a script and panics with what it said if it fails.
pub fn run(script: &str, args: &[&str]) {
    let python = "/usr/bin/python3";
    let done = Command::new(python)
        .arg(place::here().join("scripts").join(script))
        .arg(place::extension())
        .args(args)
        .output();
    match done {
        Err(why) => loud::say(&format!("skipped: {script}: {python}: {why}")),
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

/// The same with the seeds of `NUDA_SEEDS`, as in `1000:500` for 500 from 1000 on, or else the `usual`
/// ones; then `options`.
pub fn run_seeds(script: &str, usual: &str, options: &[&str]) {
    let seeds = std::env::var("NUDA_SEEDS").unwrap_or_else(|_| usual.to_owned());
    let (first, count) = seeds.split_once(':').unwrap_or((&seeds, "1"));
    run(script, &[&[first, count], options].concat());
}
