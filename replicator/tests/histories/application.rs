//! An application: a process of its own with one connection, which does what it is told, one
//! transaction for a line on its standard input, and says how it ended.
//!
//! It is the ignored test `application` of the same program, or the same in Python
//! (`application.py`) with the loadable extension. The rule of the answers: `ok` only after
//! COMMIT has returned or `nuda_txn_status` has said so; `fail` only if the extension says that
//! nothing was changed, or if COMMIT was never reached; else `unknown`.

use std::io::BufRead;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, Error, ErrorCode, ffi, params};
use serde_json::{Value, json};

use crate::support;

/// Where an application finds its file.
pub(crate) const FILE: &str = "NUDA_PROOF_FILE";

/// How its commits of strong transactions are synced, if not fully. An eventual write has no other
/// disk, and is always synced.
pub(crate) const SYNC: &str = "NUDA_PROOF_SYNC";

/// What begins a line that is an answer; the test harness prints others.
pub(crate) const ANSWER: &str = "= ";

/// How long an unknown outcome is asked for.
const SETTLING: Duration = Duration::from_secs(20);

/// Does what comes on standard input until that ends.
pub(crate) fn serve() {
    let Ok(file) = std::env::var(FILE) else {
        return;
    };
    let conn = support::open(Path::new(&file));
    conn.busy_timeout(Duration::from_secs(2)).unwrap();
    let sync = std::env::var(SYNC).unwrap_or_else(|_| "FULL".to_owned());
    conn.pragma_update(None, "synchronous", sync).unwrap();
    let _: String = conn
        .query_row("SELECT nuda_timeout(1000)", [], |row| row.get(0))
        .unwrap();
    // The test harness may have begun a line: where tests run one after the other it does.
    println!();
    for line in std::io::stdin().lock().lines() {
        let asked: Value = serde_json::from_str(&line.unwrap()).unwrap();
        println!("{ANSWER}{}", carry_out(&conn, &asked));
    }
}

fn carry_out(conn: &Connection, asked: &Value) -> Value {
    if asked["do"] == "note" {
        conn.pragma_update(None, "synchronous", "FULL").unwrap();
        return transaction(conn, "BEGIN IMMEDIATE", || note(conn, asked));
    }
    let level = asked["level"].as_str().unwrap_or("strong");
    let set = "SELECT nuda_read_consistency(?)";
    let set: rusqlite::Result<String> = conn.query_row(set, [level], |row| row.get(0));
    if let Err(e) = set {
        return failed(&e);
    }
    if let Err(e) = bounds(conn, asked) {
        return failed(&e);
    }
    if asked["do"] == "beside" {
        conn.pragma_update(None, "synchronous", "FULL").unwrap();
    }
    if let Some(level) = asked["write"].as_str() {
        let set = "SELECT nuda_write_consistency(?)";
        let set: rusqlite::Result<String> = conn.query_row(set, [level], |row| row.get(0));
        if let Err(e) = set {
            return failed(&e);
        }
    }
    let begin = asked["begin"].as_str().unwrap_or("BEGIN IMMEDIATE");
    let answer = transaction(conn, begin, || match asked["do"].as_str() {
        Some("lists") => lists(conn, asked),
        Some("register") => register(conn, asked),
        Some("beside") => beside(conn, asked),
        Some("transfer") => transfer(conn, asked),
        Some("balances") => balances(conn),
        Some("keep") => keep(conn, asked),
        Some("kept") => kept(conn, asked),
        _ => add(conn, asked),
    });
    match asked["do"].as_str() {
        Some("keep") => with_token(conn, answer),
        _ => answer,
    }
}

/// How stale a bounded read may be, and what a read at level session must have.
fn bounds(conn: &Connection, asked: &Value) -> rusqlite::Result<()> {
    if let Some(ms) = asked["staleness_ms"].as_i64() {
        conn.query_row("SELECT nuda_max_staleness(?)", [ms], |_| Ok(()))?;
    }
    if let Some(token) = asked["token"].as_str() {
        conn.query_row("SELECT nuda_session(?)", [token], |_| Ok(()))?;
    }
    Ok(())
}

/// Once its own COMMIT has said that it is there, a write has a token.
fn with_token(conn: &Connection, mut answer: Value) -> Value {
    if answer.get("ok").is_some() && answer.get("settled").is_none() {
        let sql = "SELECT nuda_session()";
        let token: rusqlite::Result<String> = conn.query_row(sql, [], |row| row.get(0));
        answer["ok"] = json!({"token": token.ok()});
    }
    answer
}

fn transaction(
    conn: &Connection,
    begin: &str,
    work: impl FnOnce() -> rusqlite::Result<Value>,
) -> Value {
    let done = conn.execute_batch(begin).and_then(|()| work());
    let answer = match done {
        Ok(answer) => answer,
        Err(e) => {
            roll_back(conn);
            return failed(&e);
        }
    };
    let before = last_commit(conn);
    match conn.execute_batch("COMMIT") {
        Ok(()) => acknowledged(&before, &last_commit(conn), &answer),
        Err(e) => {
            roll_back(conn);
            refused(conn, &e, &answer)
        }
    }
}

fn roll_back(conn: &Connection) {
    if !conn.is_autocommit() {
        // It may have been rolled back by what failed.
        let _ = conn.execute_batch("ROLLBACK");
    }
}

fn failed(e: &Error) -> Value {
    json!({"fail": e.to_string()})
}

fn last_commit(conn: &Connection) -> Value {
    let sql = "SELECT nuda_last_commit()";
    let last: Option<String> = conn.query_row(sql, [], |row| row.get(0)).unwrap_or(None);
    last.and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default()
}

/// The answer, with its place if it wrote and has one.
fn acknowledged(before: &Value, last: &Value, answer: &Value) -> Value {
    if last["id"] == before["id"] {
        return json!({"ok": answer});
    }
    if last["level"] != "strong" {
        return json!({"ok": answer});
    }
    json!({"ok": answer, "position": last["position"]})
}

/// COMMIT has failed: what is known of it?
fn refused(conn: &Connection, e: &Error, answer: &Value) -> Value {
    let text = e.to_string();
    let code = match e {
        Error::SqliteFailure(e, _) => e.extended_code,
        _ => 0,
    };
    if code == ffi::SQLITE_BUSY_SNAPSHOT
        || text.contains("not committed")
        || e.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
    {
        return failed(e);
    }
    let id = text
        .split_once("nuda_txn_status('")
        .and_then(|(_, rest)| rest.split_once('\''));
    let Some((id, _)) = id else {
        return json!({"unknown": text});
    };
    let until = Instant::now() + SETTLING;
    loop {
        let sql = "SELECT nuda_txn_status(?)";
        let status: rusqlite::Result<String> = conn.query_row(sql, [id], |row| row.get(0));
        match status.as_deref() {
            Ok("committed") => return json!({"ok": answer, "settled": id}),
            Ok("aborted") => return json!({"fail": format!("{text}; settled: aborted")}),
            Ok(other) => return json!({"unknown": format!("{text}; {other}")}),
            Err(e) if Instant::now() > until => {
                return json!({"unknown": format!("{text}; {e}")});
            }
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

fn lists(conn: &Connection, asked: &Value) -> rusqlite::Result<Value> {
    let mut answers = Vec::new();
    for part in asked["ops"].as_array().into_iter().flatten() {
        let list = part[1].as_i64();
        if part[0] == "append" {
            let element = part[2].to_string();
            conn.prepare_cached(
                "INSERT INTO list(id, elements) VALUES (?1, ?2)
                 ON CONFLICT(id) DO UPDATE SET elements = elements || ',' || ?2",
            )?
            .execute(params![list, element])?;
            answers.push(part.clone());
            continue;
        }
        let mut query = conn.prepare_cached("SELECT elements FROM list WHERE id = ?")?;
        let mut rows = query.query([list])?;
        let elements: String = match rows.next()? {
            Some(row) => row.get(0)?,
            None => String::new(),
        };
        let elements: Value = serde_json::from_str(&format!("[{elements}]")).unwrap_or_default();
        answers.push(json!(["r", list, elements]));
    }
    Ok(answers.into())
}

fn register(conn: &Connection, asked: &Value) -> rusqlite::Result<Value> {
    let (key, op) = (asked["key"].as_i64(), &asked["op"]);
    let set = |value: &Value| {
        conn.execute(
            "INSERT INTO register(id, value) VALUES (?1, ?2)
             ON CONFLICT(id) DO UPDATE SET value = ?2",
            params![key, value.as_i64()],
        )
    };
    let find = || -> rusqlite::Result<Value> {
        let mut query = conn.prepare_cached("SELECT value FROM register WHERE id = ?")?;
        let mut rows = query.query([key])?;
        match rows.next()? {
            Some(row) => Ok(row.get::<_, Option<i64>>(0)?.into()),
            None => Ok(Value::Null),
        }
    };
    match op[0].as_str() {
        Some("write") => {
            set(&op[1])?;
            Ok(op.clone())
        }
        Some("swap") => {
            let found = find()?;
            set(&op[1])?;
            Ok(json!(["swap", op[1], found]))
        }
        _ => Ok(json!(["read", find()?])),
    }
}

/// A row that no strong transaction writes.
fn beside(conn: &Connection, asked: &Value) -> rusqlite::Result<Value> {
    let id = asked["id"].as_str();
    conn.execute("INSERT INTO register(id, value) VALUES (-?1, ?1)", [id])?;
    Ok(Value::Null)
}

fn transfer(conn: &Connection, asked: &Value) -> rusqlite::Result<Value> {
    let amount = asked["amount"].as_i64();
    let change = "UPDATE account SET balance = balance + ?2 WHERE id = ?1";
    conn.execute(change, params![asked["from"].as_i64(), amount.map(|n| -n)])?;
    conn.execute(change, params![asked["to"].as_i64(), amount])?;
    Ok(Value::Null)
}

fn balances(conn: &Connection) -> rusqlite::Result<Value> {
    let mut query = conn.prepare_cached("SELECT balance FROM account ORDER BY id")?;
    let rows = query.query_map([], |row| row.get::<_, i64>(0))?;
    let found: Vec<i64> = rows.collect::<rusqlite::Result<_>>()?;
    Ok(found.into())
}

/// SQLite picks the number: the same id may be there twice if it is applied twice.
fn add(conn: &Connection, asked: &Value) -> rusqlite::Result<Value> {
    conn.execute("INSERT INTO item(id) VALUES (?)", [asked["id"].as_str()])?;
    Ok(Value::Null)
}

/// The same on an eventual table, with a counter of all of them.
fn note(conn: &Connection, asked: &Value) -> rusqlite::Result<Value> {
    conn.execute("INSERT INTO note VALUES (?)", [asked["id"].as_str()])?;
    conn.execute("UPDATE tally SET notes = notes + 1", [])?;
    Ok(Value::Null)
}

/// A row and a count of all of them, whole or not at all.
fn keep(conn: &Connection, asked: &Value) -> rusqlite::Result<Value> {
    let sql = "INSERT INTO kept VALUES (CAST(? AS INTEGER))";
    conn.execute(sql, [asked["id"].as_str()])?;
    conn.execute("UPDATE tally SET kept = kept + 1", [])?;
    Ok(Value::Null)
}

/// What of them is there.
fn kept(conn: &Connection, asked: &Value) -> rusqlite::Result<Value> {
    let mut query = conn.prepare_cached("SELECT id FROM kept WHERE id >= ?")?;
    let rows = query.query_map([asked["from"].as_i64()], |row| row.get::<_, i64>(0))?;
    let ids: Vec<i64> = rows.collect::<rusqlite::Result<_>>()?;
    let sql = "SELECT (SELECT count(*) FROM kept), (SELECT kept FROM tally)";
    let (count, counted): (i64, i64) =
        conn.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(json!({"ids": ids, "count": count, "counted": counted}))
}
