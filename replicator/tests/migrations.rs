//! The migrations of Alembic and Django against real daemons, as a deployment would run them:
//! what adds just works, what rebuilds is stopped with the way out, and the way out works.
//!
//! The tools are Python packages in `target/drivers/venv`, where `.ci/run` installs them; without
//! them these tests say that they were skipped.

// A test fails by panicking, in its helpers too.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rusqlite::{Connection, Result};

use support::{NUDA, Nodes};

const NAMES: [&str; 2] = ["a", "b"];

/// A Python that has the package and loads the extension.
struct Tool {
    name: &'static str,
    python: PathBuf,
    extension: PathBuf,
}

impl Tool {
    fn find(name: &'static str) -> Option<Self> {
        let built = Path::new(NUDA).parent()?;
        let python = built.parent()?.join("drivers/venv/bin/python");
        let extension = built.join("libnuda.so");
        let can = format!(
            "import {name}, sqlite3; c = sqlite3.connect(':memory:'); c.enable_load_extension(True)"
        );
        let is_there = Command::new(&python).args(["-c", &can]).output();
        if is_there.is_ok_and(|done| done.status.success()) && extension.is_file() {
            return Some(Self {
                name,
                python,
                extension,
            });
        }
        support::skipped(&format!(
            "migrations: no {name} in {} (or no libnuda.so, which cargo build makes); .ci/run installs it",
            python.display()
        ));
        None
    }

    fn upgrade(&self, nodes: &Nodes, node: &str, target: &str) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/migrations/upgrade.py");
        Command::new(&self.python)
            .arg("-B")
            .arg(script)
            .arg(self.name)
            .arg(nodes.file(node, "org"))
            .arg(&self.extension)
            .arg(target)
            .output()
            .unwrap()
    }

    /// As a deployment would, again where nobody led.
    fn upgrade_ok(&self, nodes: &Nodes, node: &str, target: &str) {
        nodes.eventually(target, |nodes| {
            let done = self.upgrade(nodes, node, target);
            let error = String::from_utf8_lossy(&done.stderr);
            let is_done = done.status.success();
            assert!(
                is_done || error.contains("not committed"),
                "{target} at {node}: {error}"
            );
            is_done.then_some(())
        });
    }

    fn upgrade_stopped(&self, nodes: &Nodes, node: &str, target: &str) {
        let done = self.upgrade(nodes, node, target);
        let error = String::from_utf8_lossy(&done.stderr);
        assert!(!done.status.success(), "{target}");
        assert!(error.contains("SELECT nuda_exec("), "{error}");
    }
}

/// Two nodes whose definitions go through the log.
fn ordered() -> Nodes {
    let nodes = Nodes::start(&NAMES);
    nodes.nuda_ok("a", &["create", "org", "--on", "a,b"]);
    for name in NAMES {
        let conn = nodes.open(name, "org");
        nodes.eventually("definitions go through the log", |_| {
            let sql = "SELECT ordered FROM nuda_state";
            conn.query_row(sql, [], |row| row.get(0))
                .is_ok_and(|ordered: bool| ordered)
                .then_some(())
        });
    }
    nodes
}

fn text(conn: &Connection, sql: &str) -> Result<String> {
    conn.query_row(sql, [], |row| row.get(0))
}

/// Waits until both nodes answer this.
fn both(nodes: &Nodes, sql: &str, expected: &str) {
    for name in NAMES {
        let conn = nodes.open(name, "org");
        nodes.eventually(&format!("{sql} is {expected} at {name}"), |_| {
            (text(&conn, sql).as_deref() == Ok(expected)).then_some(())
        });
    }
}

#[test]
fn alembic() {
    let Some(alembic) = Tool::find("alembic") else {
        return;
    };
    let nodes = ordered();
    let version = "SELECT group_concat(version_num) FROM alembic_version";
    alembic.upgrade_ok(&nodes, "b", "m1");
    both(&nodes, version, "m1");
    let (a, b) = (nodes.open("a", "org"), nodes.open("b", "org"));
    a.execute_batch("INSERT INTO customer VALUES ('1', 'Ada', '0')")
        .unwrap();
    // Columns and indexes, from the other node; what it did is known here, and not done again.
    alembic.upgrade_ok(&nodes, "a", "m2");
    both(&nodes, version, "m2");
    alembic.upgrade_ok(&nodes, "b", "m2");
    let emails = "SELECT count(*) || max(email) FROM customer INDEXED BY customer_email
        WHERE email = ''";
    both(&nodes, emails, "1");
    // Batch mode.
    alembic.upgrade_stopped(&nodes, "b", "m3_rebuilt");
    both(&nodes, version, "m2");
    b.execute_batch("UPDATE customer SET email = 'a@b' WHERE id = '1'")
        .unwrap();
    alembic.upgrade_ok(&nodes, "b", "m3");
    both(&nodes, version, "m3");
    both(&nodes, "SELECT full_name || email FROM customer", "Adaa@b");
    let fax = text(&a, "SELECT fax FROM customer").unwrap_err();
    assert!(fax.to_string().contains("no such column"), "{fax}");
    nodes.verify("a", "org");
}

#[test]
fn django() {
    let Some(django) = Tool::find("django") else {
        return;
    };
    let nodes = ordered();
    django.upgrade_ok(&nodes, "b", "0001_item");
    both(&nodes, "SELECT count(*) || '' FROM shop_item", "0");
    let a = nodes.open("a", "org");
    a.execute_batch("INSERT INTO shop_item(id, name) VALUES ('1', 'chair')")
        .unwrap();
    django.upgrade_ok(&nodes, "b", "0002_colour");
    both(
        &nodes,
        "SELECT name || coalesce(colour, '?') FROM shop_item",
        "chair?",
    );
    // What b did is known here, and not done again.
    let last = "SELECT name FROM django_migrations ORDER BY id DESC LIMIT 1";
    both(&nodes, last, "0002_colour");
    django.upgrade_ok(&nodes, "a", "0002_colour");
    django.upgrade_ok(&nodes, "a", "0003_label");
    both(&nodes, "SELECT label FROM shop_item", "chair");
    both(&nodes, last, "0003_label");
    // A field that may not be NULL: Django rebuilds the table.
    django.upgrade_stopped(&nodes, "b", "0004_weight");
    a.execute_batch("UPDATE shop_item SET colour = 'red'")
        .unwrap();
    both(&nodes, "SELECT label || colour FROM shop_item", "chairred");
    nodes.verify("a", "org");
}
