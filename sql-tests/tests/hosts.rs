//! What the extension says to the SQLite that loads it: a readable refusal if that is too old, a warning if it has
//! the bug that loses transactions at a checkpoint.
//!
//! Debian's Python with its own SQLite, and with those that `scripts/old-sqlite.sh` has built.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::process::Command;

use nuda_sql_tests::{loud, place};

/// Loads the extension in Python; prints SQLite's version, and then `nuda_debug()` or why it cannot be loaded.
const ASK: &str = "
import sqlite3, sys
print(sqlite3.sqlite_version)
db = sqlite3.connect(sys.argv[2])
db.enable_load_extension(True)
try:
    db.load_extension(sys.argv[1])
    print(db.execute('SELECT nuda_debug()').fetchone()[0])
except sqlite3.OperationalError as error:
    print('refused:', error)
    print(db.execute('SELECT 1').fetchone()[0])
";

/// What `ASK` prints under the SQLite in `folder`, or Debian's own; `None` if that is not here.
fn ask(version: Option<&str>) -> Option<(String, String)> {
    let mut command = Command::new("/usr/bin/python3");
    if let Some(version) = version {
        let folder = place::target()
            .join("drivers")
            .join(format!("sqlite-{version}"));
        if !folder.join("libsqlite3.so.0").exists() {
            loud::say(&format!(
                "skipped: SQLite {version} is not built; sql-tests/scripts/old-sqlite.sh builds it"
            ));
            return None;
        }
        command.env("LD_LIBRARY_PATH", folder);
    }
    let folder = tempfile::tempdir().unwrap();
    let out = command
        .args(["-c", ASK])
        .arg(place::extension().with_extension(""))
        .arg(folder.path().join("a.db"))
        .output();
    let Ok(out) = out else {
        loud::say("skipped: no /usr/bin/python3");
        return None;
    };
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let Some((found, said)) = text.trim().split_once('\n') else {
        let why = String::from_utf8_lossy(&out.stderr);
        if why.contains("enable_load_extension") {
            loud::say("skipped: this Python loads no extensions");
            return None;
        }
        panic!("{text}{why}");
    };
    if let Some(version) = version {
        assert_eq!(found, version, "Python took another SQLite");
    }
    Some((found.to_owned(), said.to_owned()))
}

#[test]
fn an_old_host_is_refused_in_words() {
    let Some((_, said)) = ask(Some("3.36.0")) else {
        return;
    };
    let expected = "nuda: SQLite 3.36.0 is too old; nuda needs 3.37.0 or later; upgrade SQLite";
    assert!(said.contains(expected), "{said}");
    assert!(said.ends_with("\n1"), "the connection goes on: {said}");
}

#[test]
fn the_oldest_hosts_load_it_and_are_warned() {
    for version in ["3.37.0", "3.38.2", "3.39.2"] {
        if let Some((_, said)) = ask(Some(version)) {
            assert!(said.contains("WAL-reset bug"), "{version}: {said}");
        }
    }
}

/// Of two hosts that are here in any case one may have the bug and the other not.
#[test]
fn hosts_with_the_wal_reset_bug_are_warned_and_others_are_not() {
    let warned = |debug: &str| !debug.contains("\"warning\":null");
    if let Some((version, said)) = ask(None) {
        assert_eq!(warned(&said), has_the_bug(&version), "{version}: {said}");
    }
    nuda::register_static(rusqlite::ffi::sqlite3_auto_extension).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let linked = rusqlite::Connection::open(folder.path().join("b.db")).unwrap();
    let said: String = linked
        .query_row("SELECT nuda_debug()", [], |row| row.get(0))
        .unwrap();
    let version = rusqlite::version();
    assert_eq!(warned(&said), has_the_bug(version), "{version}: {said}");
}

fn has_the_bug(version: &str) -> bool {
    let numbers: Vec<u32> = version.split('.').map(|n| n.parse().unwrap()).collect();
    match numbers.as_slice() {
        [3, 44, patch] => *patch < 6,
        [3, 50, patch] => *patch < 7,
        [3, 51, patch] => *patch < 3,
        [3, minor, _] => *minor < 51,
        _ => false,
    }
}
