//! Every case through the real shell, and the portable ones through every driver that is here.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Mutex;
use std::time::Instant;

use nuda_sql_tests::case::{self, Case};
use nuda_sql_tests::driver::Driver;
use nuda_sql_tests::{golden, loud};

/// Cases run at the same time; each has files of its own.
const WORKERS: usize = 3;

fn run(driver: Driver, cases: &[Case]) {
    let version = match driver.version() {
        Ok(version) => version,
        Err(why) => {
            loud::say(&format!("skipped: {}: {why}", driver.name()));
            return;
        }
    };
    let only = std::env::var("NUDA_CASE").unwrap_or_default();
    let cases: Vec<&Case> = cases
        .iter()
        .filter(|c| c.name.contains(&only) && (driver == Driver::Shell || c.portable))
        .collect();
    let started = Instant::now();
    let queue = Mutex::new(cases.iter());
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let Some(case) = queue.lock().unwrap().next() else {
                        break;
                    };
                    let found = case.run(driver);
                    if let Err(why) = golden::check(&case.path, &found, driver == Driver::Shell) {
                        failed.lock().unwrap().push(format!("{}: {why}", case.name));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    loud::say(&format!(
        "{} (SQLite {version}): {} cases, {} failed, {} s",
        driver.name(),
        cases.len(),
        failed.len(),
        started.elapsed().as_secs()
    ));
    assert!(
        failed.is_empty(),
        "{} (SQLite {version}); NUDA_BLESS=1 rewrites expectations\n{}",
        driver.name(),
        failed.join("\n")
    );
}

/// One test, so that expectations are written before other drivers are held against them.
#[test]
fn cases_answer_as_expected_through_every_driver() {
    let cases = case::all();
    assert!(cases.len() > 30, "only {} cases found", cases.len());
    for driver in Driver::ALL {
        run(driver, &cases);
    }
}
