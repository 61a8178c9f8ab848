//! Wiped nodes, restored backups and files copied by hand: nothing diverges, no number is used
//! twice, and what others have comes back.

// A test fails by panicking, in its helpers too.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::path::{Path, PathBuf};

use rusqlite::Connection;
use support::definitions::make_tables;
use support::outcomes::{commit_sql, read};
use support::{Nodes, count, insert, open};

fn many(conn: &Connection, what: &str, n: usize) {
    for i in 0..n {
        insert(conn, &format!("{what} {i}"));
        conn.execute("UPDATE page SET hits = hits + 1 WHERE id = 'hits'", [])
            .unwrap();
    }
}

fn hits(conn: &Connection) -> i64 {
    let sql = "SELECT hits FROM page WHERE id = 'hits'";
    conn.query_row(sql, [], |r| r.get(0)).unwrap()
}

/// Three nodes that agree, and a backup of c's file from before its last `n` writes.
fn with_backup(n: usize) -> (Nodes, PathBuf) {
    let nodes = Nodes::with_page(&["a", "b", "c"]);
    let c = nodes.open("c", "org");
    insert(&c, "hits");
    many(&c, "before", 10);
    let backup = nodes.home.path().join("backup.db");
    c.execute("VACUUM INTO ?", [backup.to_str().unwrap()])
        .unwrap();
    many(&c, "after", n);
    nodes.verify("a", "org");
    (nodes, backup)
}

/// Puts a file in the place of a database as people do: `cp`, and away with the companions.
fn put_back(backup: &Path, file: &Path) {
    for suffix in ["-wal", "-shm"] {
        let mut companion = file.as_os_str().to_owned();
        companion.push(suffix);
        let _ = std::fs::remove_file(companion);
    }
    std::fs::copy(backup, file).unwrap();
}

/// All replicas are equal and hold so many rows and hits; nothing is stopped.
fn agree(nodes: &Nodes, rows: i64, total: i64) {
    nodes.verify("a", "org");
    for node in ["a", "b", "c"] {
        let conn = nodes.open(node, "org");
        assert_eq!((count(&conn), hits(&conn)), (rows, total), "{node}");
        let none = |nodes: &Nodes, what: &str| {
            let status = nodes.status(node);
            status["partitions"][0][what].as_array().unwrap().is_empty()
        };
        assert!(none(nodes, "stopped_sites"), "{}", nodes.logs());
        nodes.eventually("no alarm", |nodes| none(nodes, "alarms").then_some(()));
    }
}

#[test]
fn a_file_that_cannot_be_switched_to_wal_says_so_until_it_can() {
    let (mut nodes, backup) = with_backup(1);
    nodes.kill("c");
    put_back(&backup, &nodes.file("c", "org"));
    let holder = Connection::open(nodes.file("c", "org")).unwrap();
    holder
        .execute_batch("BEGIN; SELECT count(*) FROM page")
        .unwrap();
    nodes.run("c");
    nodes.eventually("it says so", |nodes| {
        let says = "the file is in journal_mode delete";
        let reason = nodes.status("c")["partitions"][0]["reason"].to_string();
        reason.contains(says).then_some(())
    });
    holder.execute_batch("COMMIT").unwrap();
    agree(&nodes, 1 + 11, 1 + 11);
}

#[test]
fn a_wiped_node_comes_back_under_its_name() {
    let (mut nodes, _) = with_backup(5);
    nodes.kill("c");
    std::fs::remove_dir_all(nodes.dir("c")).unwrap();
    nodes.run("c");
    nodes.eventually("c holds it again", |nodes| {
        nodes.file("c", "org").exists().then_some(())
    });
    let c = nodes.open("c", "org");
    many(&c, "wiped", 3);
    drop(c);
    agree(&nodes, 1 + 15 + 3, 1 + 15 + 3);
}

#[test]
fn a_backup_is_put_back_while_the_daemon_is_down() {
    let (mut nodes, backup) = with_backup(10);
    nodes.stop("c");
    put_back(&backup, &nodes.file("c", "org"));
    // The application is faster than the daemon.
    many(&nodes.open("c", "org"), "restored", 7);
    nodes.run("c");
    agree(&nodes, 1 + 20 + 7, 1 + 20 + 7);
}

#[test]
fn a_restored_node_meets_first_who_knows_less() {
    let nodes = Nodes::with_page(&["a", "b", "c"]);
    let c = nodes.open("c", "org");
    insert(&c, "hits");
    many(&c, "before", 10);
    let backup = nodes.home.path().join("backup.db");
    c.execute("VACUUM INTO ?", [backup.to_str().unwrap()])
        .unwrap();
    nodes.verify("a", "org");
    // Only a gets what c writes now.
    nodes.nuda_ok("b", &["fault", "--cut", "a,c"]);
    many(&c, "after", 10);
    let a = nodes.open("a", "org");
    nodes.eventually("a has it", |_| (count(&a) == 21).then_some(()));
    drop((a, c));
    let mut nodes = nodes;
    nodes.stop("c");
    put_back(&backup, &nodes.file("c", "org"));
    many(&nodes.open("c", "org"), "restored", 7);
    // And only b gets what the restored c ships.
    nodes.nuda_ok("a", &["fault", "--cut", "b,c"]);
    nodes.nuda_ok("b", &["fault", "--cut", "a"]);
    nodes.run("c");
    let b = nodes.open("b", "org");
    nodes.eventually("b has it", |_| (count(&b) >= 18).then_some(()));
    drop(b);
    nodes.nuda_ok("a", &["fault"]);
    nodes.nuda_ok("b", &["fault"]);
    agree(&nodes, 1 + 20 + 7, 1 + 20 + 7);
}

#[test]
fn a_backup_is_put_back_while_the_daemon_is_up() {
    let (nodes, backup) = with_backup(10);
    let file = nodes.file("c", "org");
    // By rename: whoever has the old file open cannot notice.
    let fresh = nodes.dir("c").join("fresh");
    std::fs::copy(&backup, &fresh).unwrap();
    for suffix in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(nodes.dir("c").join(format!("org.db{suffix}")));
    }
    std::fs::rename(&fresh, &file).unwrap();
    many(&nodes.open("c", "org"), "restored", 7);
    many(&nodes.open("a", "org"), "meanwhile", 7);
    agree(&nodes, 1 + 20 + 14, 1 + 20 + 14);
}

#[test]
fn a_strong_read_knows_a_file_that_was_put_back() {
    let nodes = Nodes::start(&["a", "b", "c"]);
    nodes.nuda_ok("a", &["create", "org", "--on", "a,b,c"]);
    let a = nodes.open("a", "org");
    make_tables(
        &nodes,
        &a,
        "CREATE TABLE page(id TEXT PRIMARY KEY, hits INTEGER);
         SELECT nuda_track('page', 'strong');
         INSERT INTO page VALUES ('hits', 0);",
    );
    let read_strongly = |conn: &Connection| -> rusqlite::Result<i64> {
        let level = "SELECT nuda_timeout(20000), nuda_read_consistency('strong')";
        conn.query_row(level, [], |_| Ok(()))?;
        let sql = "SELECT hits FROM page WHERE id = 'hits'";
        conn.query_row(sql, [], |row| row.get(0))
    };
    let c = nodes.open("c", "org");
    nodes.eventually("c has the table", |_| {
        (read_strongly(&c).ok()? == 0).then_some(())
    });
    let backup = nodes.home.path().join("backup.db");
    c.execute("VACUUM INTO ?", [backup.to_str().unwrap()])
        .unwrap();
    for _ in 0..10 {
        commit_sql(&nodes, &a, "UPDATE page SET hits = hits + 1");
    }
    // From here on c's daemon knows that its file has them.
    assert_eq!(read(&nodes, || read_strongly(&c)), 10);
    drop(c);
    let fresh = nodes.dir("c").join("fresh");
    std::fs::copy(&backup, &fresh).unwrap();
    for suffix in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(nodes.dir("c").join(format!("org.db{suffix}")));
    }
    std::fs::rename(&fresh, nodes.file("c", "org")).unwrap();
    let c = nodes.open("c", "org");
    assert_eq!(
        read(&nodes, || read_strongly(&c)),
        10,
        "a strong read of a file that lacks what it promises"
    );
    nodes.verify("a", "org");
}

#[test]
fn a_file_is_copied_to_another_node_by_hand() {
    let mut nodes = Nodes::with_page(&["a", "b"]);
    let a = nodes.open("a", "org");
    insert(&a, "hits");
    many(&a, "first", 5);
    nodes.verify("a", "org");
    let copy = nodes.home.path().join("copy.db");
    a.execute("VACUUM INTO ?", [copy.to_str().unwrap()])
        .unwrap();
    nodes.run("c");
    std::fs::copy(&copy, nodes.file("c", "org")).unwrap();
    let c = open(&nodes.file("c", "org"));
    many(&c, "copied", 4);
    many(&a, "second", 5);
    nodes.eventually("c says that it is no member", |nodes| {
        let status = nodes.status("c");
        let alarm = status["partitions"][0]["alarms"][0].as_str()?.to_owned();
        alarm.contains("nuda create org --on").then_some(())
    });
    assert_eq!(
        count(&a),
        11,
        "nothing of a node that is no member is taken"
    );
    nodes.nuda_ok("a", &["create", "org", "--on", "a,b,c"]);
    agree(&nodes, 1 + 14, 1 + 14);
    // Over a member's own file, which had more.
    nodes.stop("c");
    drop(c);
    put_back(&copy, &nodes.file("c", "org"));
    many(&nodes.open("c", "org"), "again", 2);
    nodes.run("c");
    agree(&nodes, 1 + 16, 1 + 16);
}
