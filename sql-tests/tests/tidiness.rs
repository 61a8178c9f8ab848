//! The code's own order: no forgotten files, no undocumented modules, nothing oversized, no
//! `unsafe` outside the `ffi` modules, no leftovers.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use nuda_sql_tests::place;

const FILE_LINES: usize = 700;
const FUNCTION_LINES: usize = 100;

fn sources() -> Vec<(String, String)> {
    let root = place::repository();
    let mut files = Vec::new();
    for part in ["core", "vfs", "ext", "replicator", "sql-tests", "benches"] {
        walk(&root.join(part), &mut files);
    }
    files.sort();
    files
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            let name = path.strip_prefix(&root).unwrap().display().to_string();
            (name, text)
        })
        .collect()
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() && name != "target" && name != "node_modules" {
            walk(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}

fn refuse(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

#[test]
fn every_module_says_what_it_is_for() {
    let silent: Vec<String> = sources()
        .into_iter()
        .filter(|(_, text)| {
            !text
                .lines()
                .find(|l| !l.trim().is_empty() && !l.starts_with("#!["))
                .is_some_and(|l| l.starts_with("//!"))
        })
        .map(|(name, _)| name)
        .collect();
    refuse("these files do not begin with a module doc", &silent);
}

#[test]
fn nothing_is_left_over() {
    // In pieces, so that this file does not find itself.
    let marks = [
        ["to", "do!("],
        ["unimpl", "emented!("],
        ["FIX", "ME"],
        ["TO", "DO"],
        ["XX", "X:"],
        ["db", "g!("],
    ]
    .map(|m| m.concat());
    let mut found = Vec::new();
    for (name, text) in sources() {
        for (n, line) in text.lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark.as_str())) {
                found.push(format!("{name}:{}: {}", n + 1, line.trim()));
            }
        }
    }
    refuse("leftover notes", &found);
}

#[test]
fn files_stay_readable() {
    let long: Vec<String> = sources()
        .iter()
        .map(|(name, text)| (name, text.lines().count()))
        .filter(|(_, lines)| *lines > FILE_LINES)
        .map(|(name, lines)| format!("{name}: {lines} lines"))
        .collect();
    refuse("files are too long", &long);
}

/// A function ends at the closing brace that is indented like its `fn`; rustfmt sees to that.
#[test]
fn functions_stay_readable() {
    let mut long = Vec::new();
    for (name, text) in sources() {
        let lines: Vec<&str> = text.lines().collect();
        for (start, line) in lines.iter().enumerate() {
            let bare = line.trim_start();
            let is_function = bare
                .split("fn ")
                .next()
                .is_some_and(|before| before.len() < bare.len() && is_qualifiers(before));
            if !is_function {
                continue;
            }
            let indent = line.len() - bare.len();
            let end = lines.iter().skip(start).position(|l| {
                l.starts_with('}') && indent == 0
                    || l.len() > indent
                        && l.get(..indent).is_some_and(|i| i.trim().is_empty())
                        && l.get(indent..).is_some_and(|r| r == "}")
            });
            if let Some(length) = end.filter(|length| *length > FUNCTION_LINES) {
                long.push(format!("{name}:{}: {length} lines: {bare}", start + 1));
            }
        }
    }
    refuse("functions are too long", &long);
}

fn is_qualifiers(text: &str) -> bool {
    text.split_whitespace().all(|word| {
        word.starts_with("pub")
            || word.starts_with("in")
            || matches!(word, "const" | "async" | "unsafe" | "extern" | "\"C\"")
    })
}

#[test]
fn unsafe_stays_in_ffi() {
    let mut found = Vec::new();
    for (name, text) in sources() {
        // Tests of those modules, and the shim that is linked into SQLite's test program.
        let exempt = name.contains("/ffi/")
            || name.contains("/ffi.rs")
            || name.contains("/tests/")
            || name.starts_with("sql-tests/upstream/")
            || name.contains("/fuzz/")
            || name.starts_with("benches/");
        if exempt {
            continue;
        }
        for (n, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"]
                .iter()
                .any(|form| code.contains(form))
            {
                found.push(format!("{name}:{}: {}", n + 1, line.trim()));
            }
        }
    }
    refuse("unsafe outside the ffi modules", &found);
}

#[test]
fn every_file_is_reached() {
    let root = place::repository();
    let mut forgotten = Vec::new();
    for part in ["core", "vfs", "ext", "replicator", "sql-tests", "benches"] {
        let src = root.join(part).join("src");
        let mut files = Vec::new();
        walk(&src, &mut files);
        let mut reached = BTreeSet::new();
        for start in ["lib.rs", "main.rs"] {
            reach(&src.join(start), &src, &mut reached);
        }
        // Further programs of the crate.
        let programs = src.join("bin");
        forgotten.extend(
            files
                .iter()
                .filter(|f| !reached.contains(*f) && !f.starts_with(&programs))
                .map(|f| f.display().to_string()),
        );
    }
    refuse("no module names these files", &forgotten);
}

fn reach(file: &Path, children: &Path, reached: &mut BTreeSet<PathBuf>) {
    let Ok(text) = std::fs::read_to_string(file) else {
        return;
    };
    if !reached.insert(file.to_path_buf()) {
        return;
    }
    for line in text.lines() {
        let line = line.trim();
        let Some((before, name)) = line.strip_suffix(';').and_then(|l| l.rsplit_once("mod "))
        else {
            continue;
        };
        if !is_qualifiers(before) {
            continue;
        }
        let folder = children.join(name);
        reach(&children.join(format!("{name}.rs")), &folder, reached);
        reach(&folder.join("mod.rs"), &folder, reached);
    }
}
