//! What the column types cost: texts and documents edited by plain UPDATEs.
//!
//! Each measure runs in processes of its own, as [`crate::measure`] says, and answers one number for
//! each side. What a build does not have yet, and recordings that are not there, are reported as
//! skipped.

use std::path::Path;
use std::process::Command;

use nuda_core::diff::text::{STEPS, diff};
use nuda_sql_tests::{friends, trace};
use rusqlite::{Connection, params};

use crate::Result;
use crate::finding::Finding;
use crate::measure::timed;
use crate::table::{Engine, open};
use crate::{median, references};

/// In the order of the table.
pub(crate) const NAMES: [&str; 8] = [
    "document",
    "edit",
    "paper",
    "friends",
    "rewrite",
    "state",
    "columns",
    "references",
];

/// What a child prints instead of a number.
const SKIPPED: &str = "skipped: ";

/// Measures one of them.
pub(crate) fn run(name: &'static str, quick: bool) -> Result<Vec<Finding>> {
    let count = count(name, quick);
    let measured = if has_plain_side(name) {
        both(name, count, repetitions(name, quick))?
    } else {
        child(name, Engine::Nuda, count)?.map(|nuda| (Vec::new(), nuda))
    };
    let (plain, nuda) = match measured {
        Ok(numbers) => numbers,
        Err(why) => return Ok(vec![Finding::skipped(name, name, &why)]),
    };
    let finding =
        |what: &str, unit: &'static str, value: f64| Finding::new(name, what, unit, value);
    let number = |n: usize| nuda.get(n).copied().unwrap_or(f64::NAN);
    let ratio = |n: usize| number(n) / plain.get(n).copied().unwrap_or(f64::NAN);
    Ok(match name {
        "document" => {
            let what = format!("{count} edits at one path of a DOC of 1 kB, times plain");
            vec![finding(&what, "", ratio(0)).must(3.0).aim(2.0)]
        }
        "edit" => {
            let what = "payload of an edit at one path of a DOC of 20 kB";
            vec![finding(what, "bytes", number(0)).must(120.0).aim(60.0)]
        }
        "paper" => {
            let merging = number(1) / plain.first().copied().unwrap_or(f64::NAN);
            let what = format!("{count} keystrokes of a paper: diff and merge, times SQLite");
            let whole = format!("{count} keystrokes of a paper, all of it, times plain");
            vec![
                finding(&what, "", merging).must(1.0),
                finding(&whole, "", ratio(0)),
            ]
        }
        "friends" => {
            let what = "two people's text of 26,078 edits, replayed and equal";
            vec![finding(what, "s CPU", number(0))]
        }
        "rewrite" => {
            let what = "total rewrite of a TEXTDOC of 50,000 characters, one UPDATE";
            vec![finding(what, "ms", number(0)).must(100.0).aim(30.0)]
        }
        "state" => ["text", "document"]
            .iter()
            .enumerate()
            .map(|(n, kind)| {
                let what =
                    format!("bookkeeping after {count} acknowledged edits of a {kind} of 1 kB");
                finding(&what, "bytes", number(n))
                    .must(4_096.0)
                    .aim(2_048.0)
            })
            .collect(),
        "references" => ["insert", "another parent for every tenth of", "delete"]
            .iter()
            .enumerate()
            .map(|(n, doing)| {
                let what = format!("{doing} {count} rows that refer to others, times plain");
                finding(&what, "", ratio(n))
            })
            .collect(),
        _ => {
            let what = format!("file of {count} rows, typed columns never edited, times LWW");
            vec![finding(&what, "", ratio(0)).must(1.05).aim(1.0)]
        }
    })
}

/// Whether the number is one times another.
fn has_plain_side(name: &str) -> bool {
    ["document", "paper", "columns", "references"].contains(&name)
}

/// How often each side is measured. Bytes are always the same.
fn repetitions(name: &str, quick: bool) -> usize {
    match (name, quick) {
        ("columns", _) => 1,
        ("paper", _) | (_, true) => 3,
        _ => 7,
    }
}

/// Numbers of one side, or why there are none.
type Numbers<T> = std::result::Result<T, String>;

/// Both sides, measured alternately: the medians.
fn both(name: &str, count: usize, times: usize) -> Result<Numbers<(Vec<f64>, Vec<f64>)>> {
    let (mut plain, mut nuda) = (Vec::new(), Vec::new());
    for _ in 0..times {
        for (engine, all) in [(Engine::Plain, &mut plain), (Engine::Nuda, &mut nuda)] {
            match child(name, engine, count)? {
                Ok(numbers) => all.push(numbers),
                Err(why) => return Ok(Err(why)),
            }
        }
    }
    Ok(Ok((medians(&plain), medians(&nuda))))
}

/// Of each number, the median of all runs.
fn medians(runs: &[Vec<f64>]) -> Vec<f64> {
    let width = runs.first().map_or(0, Vec::len);
    let of_all = |n: usize| runs.iter().filter_map(|run| run.get(n).copied()).collect();
    (0..width).map(|n| median(of_all(n))).collect()
}

fn count(name: &str, quick: bool) -> usize {
    let whole = match name {
        "paper" => 50_000,
        "columns" => 100_000,
        "references" => 50_000,
        _ => 10_000,
    };
    if quick { whole / 10 } else { whole }
}

/// Measures one side in a process of its own.
fn child(name: &str, engine: Engine, count: usize) -> Result<Numbers<Vec<f64>>> {
    let directory = tempfile::tempdir()?;
    let output = Command::new(std::env::current_exe()?)
        .args(["typed", name, engine.name(), &count.to_string()])
        .arg(directory.path())
        .output()?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(format!("{name}: {why}").into());
    }
    let said = String::from_utf8(output.stdout)?;
    if let Some(why) = said.trim().strip_prefix(SKIPPED) {
        return Ok(Err(why.to_owned()));
    }
    let numbers = said.split_whitespace().map(str::parse);
    Ok(Ok(numbers.collect::<std::result::Result<_, _>>()?))
}

/// The child's side: `typed NAME ENGINE COUNT DIRECTORY`.
pub(crate) fn answer(args: &[String]) -> Result<()> {
    let [name, engine, count, directory] = args else {
        return Err("typed needs four arguments".into());
    };
    let engine = if engine == "plain" {
        Engine::Plain
    } else {
        Engine::Nuda
    };
    let (count, directory) = (count.parse()?, Path::new(directory));
    // The plain side of this one is a tracked table, too.
    if engine == Engine::Nuda || name == "columns" {
        friends::register()?;
    }
    let numbers = match name.as_str() {
        "document" => document(engine, count, directory),
        "edit" => edit(directory),
        "paper" => paper(engine, count, directory),
        "friends" => two_people(directory),
        "rewrite" => rewrite(directory),
        "state" => state(count, directory),
        "references" => references::measure(engine, count, directory),
        _ => columns(engine, count, directory),
    };
    match numbers {
        Ok(numbers) => {
            let words: Vec<String> = numbers.iter().map(f64::to_string).collect();
            println!("{}", words.join(" "));
        }
        Err(e) if is_missing(&e.to_string()) => println!("{SKIPPED}{e}"),
        Err(e) => return Err(e),
    }
    Ok(())
}

fn is_missing(why: &str) -> bool {
    why.contains("not built yet") || why.contains("NUDA_TRACES")
}

/// A file with one table of `columns`, tracked where there is something to track it.
fn table(directory: &Path, engine: Engine, columns: &str) -> Result<Connection> {
    let db = open(&directory.join("bench.db"))?;
    db.execute_batch(&format!("CREATE TABLE note({columns})"))?;
    if engine == Engine::Nuda {
        db.execute_batch(
            "SELECT nuda_init('bench'); SELECT nuda_join('a'); SELECT nuda_set_members(1, 'a');",
        )?;
        db.query_row("SELECT nuda_track('note')", [], |_| Ok(()))?;
    }
    Ok(db)
}

/// An object of about so many bytes: `{"k0": {"n": 0, "text": "..."}, ...}`.
fn object(bytes: usize) -> String {
    let member =
        |n: usize| format!("\"k{n}\":{{\"n\":{n},\"text\":\"what is said under {n:06}\"}}");
    let members: Vec<String> = (0..bytes / member(100).len()).map(member).collect();
    format!("{{{}}}", members.join(","))
}

const EDIT: &str = "UPDATE note SET doc = json_set(doc, '$.k7.n', ?) WHERE id = 1";

fn document(engine: Engine, count: usize, directory: &Path) -> Result<Vec<f64>> {
    let db = table(directory, engine, "id INTEGER PRIMARY KEY, doc DOC TEXT")?;
    db.execute("INSERT INTO note VALUES (1, ?)", [object(1_000)])?;
    let mut update = db.prepare(EDIT)?;
    let time = timed(|| {
        for n in 0..count {
            update.execute([i64::try_from(n)? + 100])?;
        }
        Ok(())
    })?;
    Ok(vec![time])
}

/// Bytes of the record: header and changes.
fn edit(directory: &Path) -> Result<Vec<f64>> {
    let db = table(
        directory,
        Engine::Nuda,
        "id INTEGER PRIMARY KEY, doc DOC TEXT",
    )?;
    db.execute("INSERT INTO note VALUES (1, ?)", [object(20_000)])?;
    db.execute(EDIT, [4_711])?;
    let sql = "SELECT length(header) + length(body) FROM nuda_log ORDER BY id DESC LIMIT 1";
    Ok(vec![db.query_row(sql, [], |row| row.get(0))?])
}

/// Every keystroke an UPDATE of the whole text. Beside that, what finding and doing the edits takes,
/// by itself.
fn paper(engine: Engine, count: usize, directory: &Path) -> Result<Vec<f64>> {
    let trace = trace::load("automerge-paper.json.gz")?;
    let db = table(directory, engine, "id INTEGER PRIMARY KEY, body TEXTDOC")?;
    db.execute("INSERT INTO note VALUES (1, '')", [])?;
    let mut update = db.prepare("UPDATE note SET body = ? WHERE id = 1")?;
    let (mut text, mut copy) = (String::new(), String::new());
    let (mut all, mut merging) = (0.0, 0.0);
    for edit in trace.edits.iter().take(count) {
        let old = text.clone();
        edit.apply(&mut text);
        all += timed(|| {
            update.execute([&text])?;
            Ok(())
        })?;
        if engine == Engine::Nuda {
            merging += timed(|| {
                let found = diff(&old, &text, STEPS);
                copy = found.apply(&copy).ok_or("an edit that does not fit")?;
                Ok(())
            })?;
        }
    }
    let stored: String = db.query_row("SELECT body FROM note", [], |row| row.get(0))?;
    if stored != text || engine == Engine::Nuda && copy != text {
        return Err("the text is another one".into());
    }
    Ok(vec![all, merging])
}

fn two_people(directory: &Path) -> Result<Vec<f64>> {
    let trace = trace::load("friendsforever.json.gz")?;
    let time = timed(|| {
        let texts = friends::replay(&trace, directory)?;
        match texts.iter().all(|text| *text == trace.end) {
            true => Ok(()),
            false => Err("the text is not the recorded one".into()),
        }
    })?;
    Ok(vec![time / 1e6])
}

/// Words that have nothing to do with those of another seed.
fn prose(seed: u64, characters: usize) -> String {
    let mut text = String::with_capacity(characters + 16);
    let mut n = seed;
    while text.len() < characters {
        n = n
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        text.push_str(&format!("{:x} ", n >> (40 + (n >> 60))));
    }
    text.truncate(characters);
    text
}

fn rewrite(directory: &Path) -> Result<Vec<f64>> {
    let db = table(
        directory,
        Engine::Nuda,
        "id INTEGER PRIMARY KEY, body TEXTDOC",
    )?;
    db.execute("INSERT INTO note VALUES (1, ?)", [prose(1, 50_000)])?;
    let mut times = Vec::new();
    for seed in 2..7 {
        let text = prose(seed, 50_000);
        let time = timed(|| {
            db.execute("UPDATE note SET body = ? WHERE id = 1", [&text])?;
            Ok(())
        })?;
        times.push(time / 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok(times.get(2).copied().into_iter().collect())
}

/// Two replicas edit one text at the same time, and others one document; in the end both have
/// reported everything.
fn state(count: usize, directory: &Path) -> Result<Vec<f64>> {
    let text = "UPDATE note SET body = substr(body, 1, ?1) || ?2 || substr(body, ?1 + 2)";
    let document = "UPDATE note SET body = json_set(body, '$.k' || (?1 % 17) || '.n', ?1, \
                    '$.k' || (?1 % 13) || '.text', 'what is said under ' || ?2)";
    let (text_of, document_of) = (prose(1, 1_000), object(1_000));
    let mut bytes = Vec::new();
    for (kind, first_value, edit) in [
        ("TEXTDOC", text_of, text),
        ("DOC TEXT", document_of, document),
    ] {
        let place = directory.join(kind);
        std::fs::create_dir(&place)?;
        bytes.push(state_of(count, &place, (kind, &first_value, edit))?);
    }
    Ok(bytes)
}

fn state_of(
    count: usize,
    directory: &Path,
    (kind, first_value, edit): (&str, &str, &str),
) -> Result<f64> {
    let columns = format!("id INTEGER PRIMARY KEY, body {kind}");
    let first = table(directory, Engine::Nuda, &columns)?;
    first.execute("INSERT INTO note VALUES (1, ?)", [first_value])?;
    first.execute_batch("SELECT nuda_set_members(2, 'a,b'); PRAGMA wal_checkpoint(TRUNCATE);")?;
    let copy = directory.join("copy.db");
    std::fs::copy(directory.join("bench.db"), &copy)?;
    let second = open(&copy)?;
    second.execute_batch("SELECT nuda_join('b')")?;
    let both = [(&first, "a"), (&second, "b")];
    for n in 0..count {
        let at = i64::try_from(n * 7_919 % 900)?;
        let letter = char::from(b'a' + u8::try_from(n % 26)?).to_string();
        let (db, _) = both.get(n % 2).ok_or("two replicas")?;
        db.execute(edit, params![at, letter])?;
        if n % 100 == 99 {
            exchange(&both)?;
        }
    }
    // What was collected last is told once more, so that both know it.
    exchange(&both)?;
    exchange(&both)?;
    let shown = "SELECT body FROM note";
    let value = |db: &Connection| db.query_row(shown, [], |row| row.get::<_, String>(0));
    if value(&first)? != value(&second)? {
        return Err("two replicas that differ".into());
    }
    let sql = "SELECT (SELECT coalesce(sum(length(cell) + length(state)), 0) FROM nuda_cell)
             + (SELECT coalesce(sum(length(body) + coalesce(length(header), 0)), 0) FROM nuda_log)";
    Ok(first.query_row(sql, [], |row| row.get(0))?)
}

fn exchange(both: &[(&Connection, &str); 2]) -> Result<()> {
    let [first, second] = both;
    let vector = |db: &Connection| -> Result<String> {
        Ok(db.query_row("SELECT nuda_version_vector()", [], |row| row.get(0))?)
    };
    for ((from, _), (to, _)) in [(first, second), (second, first)] {
        let since = vector(to)?;
        let mut query = from.prepare("SELECT changeset FROM nuda_changes_since(?)")?;
        let found = query.query_map([since], |row| row.get::<_, Vec<u8>>(0))?;
        for changeset in found.collect::<rusqlite::Result<Vec<_>>>()? {
            to.query_row("SELECT nuda_apply(?)", [changeset], |_| Ok(()))?;
        }
    }
    for ((at, _), (other, name)) in [(first, second), (second, first)] {
        let known = vector(other)?;
        let sql = "SELECT nuda_acknowledge(?, ?), nuda_collect()";
        at.query_row(sql, params![name, known], |_| Ok(()))?;
    }
    Ok(())
}

/// Bytes of the file; the plain side has registers only.
fn columns(engine: Engine, count: usize, directory: &Path) -> Result<Vec<f64>> {
    let types = match engine {
        Engine::Plain => ["INTEGER", "TEXT", "TEXT", "TEXT", "INTEGER"],
        Engine::Nuda => [
            "COUNTER",
            "ORSET",
            "TEXTDOC",
            "MVREG TEXT",
            "MAXREG INTEGER",
        ],
    };
    let names = ["votes", "tags", "body", "owner", "best"];
    let columns: Vec<String> = names
        .iter()
        .zip(types)
        .map(|(n, t)| format!("{n} {t}"))
        .collect();
    let declared = format!("id INTEGER PRIMARY KEY, {}", columns.join(", "));
    let db = table(directory, Engine::Nuda, &declared)?;
    db.execute_batch("BEGIN")?;
    let mut insert =
        db.prepare("INSERT INTO note VALUES (?1, ?1, '[\"a\",\"b\"]', ?2, 'ann', 3)")?;
    for n in 0..i64::try_from(count)? {
        insert.execute(params![n, format!("a body of some length, number {n}")])?;
    }
    drop(insert);
    db.execute_batch("COMMIT; SELECT nuda_collect(); VACUUM; PRAGMA wal_checkpoint(TRUNCATE);")?;
    let pages = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()";
    Ok(vec![db.query_row(pages, [], |row| row.get(0))?])
}
