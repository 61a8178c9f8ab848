//! The README's examples, executed as they stand there.
//!
//! Blocks tagged `sql` go through the shell one after the other, blocks tagged `sh` through
//! bash, with free ports in place of those written there; `no-test` exempts a block. A comment
//! `-- => x` or `# => x` says what must be among the lines printed.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use nuda_sql_tests::place;

fn blocks(tag: &str) -> Vec<String> {
    let text = std::fs::read_to_string(place::repository().join("README.md")).unwrap();
    let mut found = Vec::new();
    let mut block: Option<String> = None;
    for line in text.lines() {
        match (&mut block, line.strip_prefix("```")) {
            (None, Some(info)) => block = Some(format!("{info}\n")),
            (Some(content), None) => {
                content.push_str(line);
                content.push('\n');
            }
            (Some(content), Some(_)) => {
                if let Some(body) = content.strip_prefix(&format!("{tag}\n")) {
                    found.push(body.to_owned());
                }
                block = None;
            }
            (None, None) => {}
        }
    }
    assert!(!found.is_empty(), "no ```{tag} block in README.md");
    found
}

fn expect(block: &str, said: &str) {
    for line in block.lines() {
        if let Some((_, wanted)) = line.split_once(" => ") {
            assert!(
                said.lines().any(|l| l.trim() == wanted.trim()),
                "{wanted:?} is not among\n{said}"
            );
        }
    }
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    symlink(place::extension(), folder.path().join("libnuda.so")).unwrap();
    folder
}

fn run(program: &str, args: &[&str], folder: &Path, script: &str) -> String {
    let bin = place::program();
    let bin = bin.parent().unwrap().display().to_string();
    let path = std::env::var("PATH").unwrap_or_default();
    let input = folder.join("script");
    std::fs::write(&input, script).unwrap();
    let log = folder.join("log");
    let out = std::fs::File::create(&log).unwrap();
    let status = Command::new(program)
        .args(args)
        .current_dir(folder)
        .env("PATH", format!("{bin}:{path}"))
        .stdin(std::fs::File::open(&input).unwrap())
        .stdout(Stdio::from(out.try_clone().unwrap()))
        .stderr(Stdio::from(out))
        .status();
    let said = std::fs::read_to_string(&log).unwrap();
    match status {
        Ok(status) => assert!(status.success(), "{program} failed:\n{said}"),
        Err(why) => panic!("{program}: {why}"),
    }
    said
}

#[test]
fn the_sql_of_the_readme_answers_as_it_says() {
    let folder = folder();
    let script = blocks("sql").concat();
    let said = run(
        "sqlite3",
        &["-batch", "-bail", "a.db"],
        folder.path(),
        &script,
    );
    expect(&script, &said);
}

#[test]
fn the_walk_through_of_the_readme_works() {
    let folder = folder();
    for block in blocks("sh") {
        let mut script = block.clone();
        // Ports that no client's end of a connection takes by chance before the nodes do.
        let first = 10_000 + u16::try_from(std::process::id() % 10_000).unwrap();
        let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
        for (n, port) in (first..).filter(is_free).take(3).enumerate() {
            script = script.replace(&format!(":710{}", n + 1), &format!(":{port}"));
        }
        let script =
            format!("set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null; wait' EXIT\n{script}\n");
        let said = run("bash", &["-s"], folder.path(), &script);
        println!("{said}");
        expect(&block, &said);
    }
}
