//! A full disk at the daemon and at the application, and write-ahead logs that stay bounded.

// A test fails by panicking, in its helpers too.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::time::{Duration, Instant};

use support::{Mounted, Nodes, count, insert, open};

#[test]
fn a_full_disk() {
    let mut nodes = Nodes::with_page(&["a", "b"]);
    let dir = nodes.dir("c");
    std::fs::create_dir(&dir).unwrap();
    let path = dir.to_str().unwrap().to_owned();
    if !support::succeeds("mount", &["-t", "tmpfs", "-o", "size=12m", "tmpfs", &path]) {
        support::skipped("a full disk: a tmpfs cannot be mounted (not root?)");
        return;
    }
    let _mounted = Mounted(dir.clone());
    nodes.run("c");
    nodes.nuda_ok("a", &["create", "org", "--on", "a,b,c"]);
    let (a, c) = (nodes.open("a", "org"), nodes.open("c", "org"));
    insert(&a, "first");
    nodes.verify("a", "org");
    let filler = dir.join("filler");
    let mut all = vec![0u8; 16 << 20];
    let written = std::fs::write(&filler, &all);
    assert!(written.is_err(), "the disk is full");
    all.clear();

    // The application: the error says so, and nothing of the transaction stays.
    let before = count(&c);
    c.execute_batch("BEGIN").unwrap();
    let failed = c.execute(
        "INSERT INTO page VALUES ('large', hex(zeroblob(400000)), 1)",
        [],
    );
    let failed = failed.and_then(|_| c.execute_batch("COMMIT")).unwrap_err();
    assert_eq!(
        failed.sqlite_error_code(),
        Some(rusqlite::ErrorCode::DiskFull),
        "{failed}"
    );
    if !c.is_autocommit() {
        c.execute_batch("ROLLBACK").unwrap();
    }
    assert_eq!(count(&c), before);

    // The daemon: it says so, and loses nothing.
    for n in 0..20 {
        a.execute(
            "INSERT INTO page VALUES (?, hex(randomblob(20000)), 1)",
            [format!("big {n}")],
        )
        .unwrap();
    }
    // It tries again and again, and other troubles come and go.
    nodes.eventually("the status says why c is behind", |nodes| {
        let status = nodes.status("c");
        let troubles = status["partitions"][0]["troubles"].to_string();
        let shown = nodes.nuda_ok("c", &["status"]);
        (troubles.contains("full") && shown.contains("TROUBLE: applying")).then_some(())
    });
    std::fs::remove_file(&filler).unwrap();
    // By itself, once there is space.
    nodes.verify("a", "org");
    assert_eq!(count(&c), 21);
    insert(&c, "again");
    nodes.verify("a", "org");
    nodes.eventually("the trouble is over", |nodes| {
        let status = nodes.status("c");
        let troubles = status["partitions"][0]["troubles"].as_array()?.len();
        (troubles == 0).then_some(())
    });
}

/// Pages of the write-ahead log that are not in the file yet.
fn behind(conn: &rusqlite::Connection) -> i64 {
    let sql = "PRAGMA wal_checkpoint(NOOP)";
    conn.query_row(sql, [], |row| {
        Ok(row.get::<_, i64>(1)? - row.get::<_, i64>(2)?)
    })
    .unwrap()
}

/// Nobody else checkpoints: neither at the writer's node nor at the one that only applies.
#[test]
fn write_ahead_logs_stay_bounded() {
    let nodes = Nodes::with_page_and(&["a", "b"], &["--checkpoint-pages", "200"]);
    let conns = ["a", "b"].map(|name| nodes.open(name, "org"));
    for conn in &conns {
        conn.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
    }
    let [a, _] = &conns;
    let mut largest = [0; 2];
    let writes = 600;
    for n in 0..writes {
        a.execute(
            "INSERT INTO page VALUES (?, hex(zeroblob(8000)), 1)",
            [n.to_string()],
        )
        .unwrap();
        for (at, node) in ["a", "b"].iter().enumerate() {
            let wal = nodes.dir(node).join("org.db-wal");
            let bytes = std::fs::metadata(wal).map_or(0, |m| m.len());
            largest[at] = bytes.max(largest[at]);
        }
        // An application is not a tight loop for ever: the daemons get the time that they need.
        let began = Instant::now();
        while conns.iter().any(|conn| behind(conn) > 300) && began.elapsed().as_secs() < 5 {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    nodes.verify("a", "org");
    // Each write is more than five pages of 4 KiB, twice (row and log record).
    let written = writes * 2 * 16_000;
    for bytes in largest {
        assert!(bytes < written / 3, "{largest:?} of {written}");
    }
    for node in ["a", "b"] {
        let checkpoints = nodes.status(node)["counters"]["checkpoints"].as_u64();
        assert!(checkpoints > Some(0), "{node}");
        let conn = open(&nodes.file(node, "org"));
        let sound: String = conn
            .query_row("PRAGMA integrity_check", [], |r| r.get(0))
            .unwrap();
        assert_eq!(sound, "ok");
    }
}
