//! Changesets that a node cannot apply: kept, handed on, applied when that becomes possible.

// A test fails by panicking, in its helpers too.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use support::Nodes;
use support::definitions::define;

/// The author is gone, and the only node that has its changes cannot apply them.
#[test]
fn what_waits_at_a_node_reaches_the_others_from_there() {
    let mut nodes = Nodes::with_page(&["a", "b", "c"]);
    let b = nodes.open("b", "org");
    b.execute_batch("CREATE TABLE note(other)").unwrap();
    let a = nodes.open("a", "org");
    a.execute_batch("CREATE TABLE note(id TEXT PRIMARY KEY, n COUNTER)")
        .unwrap();
    define(&nodes, &a, "SELECT nuda_track('note')");
    {
        let c = nodes.open("c", "org");
        nodes.eventually("c has the table", |_| {
            c.prepare("SELECT n FROM note").ok().map(|_| ())
        });
    }
    nodes.kill("c");
    a.execute_batch("INSERT INTO note VALUES ('x', 1); UPDATE note SET n = n + 1")
        .unwrap();
    let kept: i64 = 2;
    nodes.eventually("b keeps them", |_| {
        let of_a = "SELECT count(*) FROM nuda_waiting w JOIN nuda_site s ON s.id = w.site
                    WHERE w.seen IS NOT NULL AND s.site <> 1 AND w.reason <> ''";
        let waiting: i64 = b.query_row(of_a, [], |row| row.get(0)).ok()?;
        (waiting >= kept).then_some(())
    });
    // Acknowledged as kept, so it is said so there and not sent again and again.
    nodes.eventually("a says what b keeps", |nodes| {
        let status = nodes.status("a");
        let peers = status["partitions"][0]["peers"].as_array()?.clone();
        let at_b = peers.iter().find(|peer| peer["node"] == "b")?;
        (at_b["state"] == "waiting").then_some(())
    });
    drop(a);
    nodes.kill("a");
    nodes.run("c");
    let c = nodes.open("c", "org");
    nodes.eventually("c has what only b kept", |_| {
        let n = c.query_row("SELECT n FROM note WHERE id = 'x'", [], |row| row.get(0));
        (n == Ok(2)).then_some(())
    });
    // What is in the way goes, and nobody sends it again.
    b.execute_batch("DROP TABLE note").unwrap();
    nodes.eventually("b applies what it kept", |_| {
        let n = b.query_row("SELECT n FROM note WHERE id = 'x'", [], |row| row.get(0));
        (n == Ok(2)).then_some(())
    });
    nodes.run("a");
    nodes.verify("a", "org");
}
