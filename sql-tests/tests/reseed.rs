//! A member that missed a collection is re-seeded and loses nothing it had written.

use std::process::Command;

use nuda_sql_tests::place;

#[test]
fn a_reseeded_member_loses_nothing() {
    let python = "/usr/bin/python3";
    let done = Command::new(python)
        .arg(place::here().join("scripts/reseed.py"))
        .arg(place::extension())
        .output();
    match done {
        Err(why) => println!("skipped: re-seeding: {python}: {why}"),
        Ok(out) => assert!(
            out.status.success(),
            "{}{}",
            String::from_utf8_lossy(&out.stdout),
            String::from_utf8_lossy(&out.stderr)
        ),
    }
}
