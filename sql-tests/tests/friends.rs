//! Two people's real typing, concurrently on two replicas by plain UPDATEs: both end with the recorded
//! text, byte for byte.

// A test fails by panicking.
#![allow(clippy::unwrap_used, clippy::panic)]

use nuda_sql_tests::{friends, loud, trace};

#[test]
fn two_people_write_one_text() {
    let trace = match trace::load("friendsforever.json.gz") {
        Ok(trace) => trace,
        Err(why) => {
            loud::say(&format!("skipped: {why}"));
            return;
        }
    };
    friends::register().unwrap();
    let home = tempfile::tempdir().unwrap();
    let texts = friends::replay(&trace, home.path()).unwrap_or_else(|why| panic!("{why}"));
    for text in texts {
        assert!(
            text == trace.end,
            "{} and {} bytes",
            text.len(),
            trace.end.len()
        );
    }
}
