//! Every case through the real shell, and the portable ones through every driver that is here.

use nuda_sql_tests::case::{self, Case};
use nuda_sql_tests::driver::Driver;
use nuda_sql_tests::golden;

fn run(driver: Driver, cases: &[Case]) {
    let version = match driver.version() {
        Ok(version) => version,
        Err(why) => {
            println!("skipped: {}: {why}", driver.name());
            return;
        }
    };
    let only = std::env::var("NUDA_CASE").unwrap_or_default();
    let cases: Vec<&Case> = cases
        .iter()
        .filter(|c| c.name.contains(&only) && (driver == Driver::Shell || c.portable))
        .collect();
    let failed: Vec<String> = cases
        .iter()
        .filter_map(|case| {
            let found = case.run(driver);
            golden::check(&case.path, &found, driver == Driver::Shell)
                .err()
                .map(|why| format!("{}: {why}", case.name))
        })
        .collect();
    println!(
        "{} (SQLite {version}): {} cases, {} failed",
        driver.name(),
        cases.len(),
        failed.len()
    );
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
