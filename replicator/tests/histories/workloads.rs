//! What applications are asked to do, decided by chance.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use crate::rng::Rng;

/// Accounts of the bank, and what they hold together.
pub(crate) const ACCOUNTS: usize = 4;
/// See [`ACCOUNTS`].
pub(crate) const SUM: i64 = 400;

/// A partition of its own for each: strong transactions of one partition exclude each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Workload {
    Lists,
    Registers,
    Bank,
    Sets,
    Mixed,
    Quorum,
}

/// All of them.
pub(crate) const ALL: [Workload; 6] = [
    Workload::Lists,
    Workload::Registers,
    Workload::Bank,
    Workload::Sets,
    Workload::Mixed,
    Workload::Quorum,
];

impl Workload {
    /// The partition's name.
    pub(crate) fn partition(self) -> &'static str {
        match self {
            Self::Lists => "lists",
            Self::Registers => "registers",
            Self::Bank => "bank",
            Self::Sets => "sets",
            Self::Mixed => "mixed",
            Self::Quorum => "quorum",
        }
    }

    /// Its tables, made on the founding node.
    pub(crate) fn tables(self) -> &'static str {
        match self {
            Self::Lists => {
                "CREATE TABLE list(id INTEGER PRIMARY KEY, elements TEXT NOT NULL);
                 SELECT nuda_track('list', 'strong');"
            }
            Self::Registers => {
                "CREATE TABLE register(id INTEGER PRIMARY KEY, value INTEGER);
                 SELECT nuda_track('register', 'strong');"
            }
            Self::Bank => {
                "CREATE TABLE account(id INTEGER PRIMARY KEY, balance INTEGER NOT NULL);
                 SELECT nuda_track('account', 'strong');
                 SELECT nuda_timeout(10000);
                 INSERT INTO account VALUES (0, 100), (1, 100), (2, 100), (3, 100);"
            }
            Self::Sets => {
                "CREATE TABLE item(number INTEGER PRIMARY KEY, id TEXT NOT NULL);
                 SELECT nuda_track('item', 'strong');
                 CREATE TABLE note(id TEXT PRIMARY KEY);
                 SELECT nuda_track('note');
                 CREATE TABLE tally(id INTEGER PRIMARY KEY, notes COUNTER);
                 SELECT nuda_track('tally');
                 INSERT INTO tally VALUES (1, 0);"
            }
            Self::Mixed => {
                "CREATE TABLE register(id INTEGER PRIMARY KEY, value INTEGER);
                 SELECT nuda_track('register');"
            }
            Self::Quorum => {
                "CREATE TABLE kept(id INTEGER PRIMARY KEY);
                 SELECT nuda_track('kept');
                 CREATE TABLE tally(id INTEGER PRIMARY KEY, kept COUNTER);
                 SELECT nuda_track('tally');
                 INSERT INTO tally VALUES (1, 0);"
            }
        }
    }

    /// A look whose success shows that everything is there.
    pub(crate) fn look(self) -> &'static str {
        match self {
            Self::Lists => "SELECT count(*) >= 0 FROM list",
            Self::Registers | Self::Mixed => "SELECT count(*) >= 0 FROM register",
            Self::Bank => "SELECT count(*) = 4 FROM account",
            Self::Sets | Self::Quorum => "SELECT count(*) = 1 FROM tally",
        }
    }
}

/// Numbers that are used once.
#[derive(Debug, Default)]
pub(crate) struct Fresh {
    last: AtomicU64,
    /// What somebody wrote last, and the token that it has to be seen with.
    carried: Mutex<Option<(u64, String)>>,
}

impl Fresh {
    pub(crate) fn next(&self) -> u64 {
        self.last.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn now(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }

    fn carried(&self) -> MutexGuard<'_, Option<(u64, String)>> {
        self.carried.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the token of an acknowledged write for whoever reads next, wherever that is.
    pub(crate) fn carry(&self, asked: &Value, answer: &Value) {
        let id = asked["id"].as_str().and_then(|id| id.parse().ok());
        if let (Some(id), Some(token)) = (id, answer["token"].as_str()) {
            *self.carried() = Some((id, token.to_owned()));
        }
    }

    /// All list ids used so far.
    pub(crate) fn lists(&self) -> std::ops::Range<u64> {
        0..self.now() / 60 + 3
    }
}

/// What comes next.
pub(crate) fn next(workload: Workload, rng: &mut Rng, fresh: &Fresh) -> Value {
    match workload {
        Workload::Lists => lists(rng, fresh),
        Workload::Registers => register(rng, fresh),
        Workload::Bank => bank(rng),
        Workload::Sets => {
            let verb = if rng.chance(50) { "add" } else { "note" };
            json!({"do": verb, "id": format!("{verb} {}", fresh.next())})
        }
        Workload::Mixed if rng.chance(40) => beside(&fresh.next().to_string()),
        Workload::Mixed => strongly(register(rng, fresh)),
        Workload::Quorum => quorum(rng, fresh),
    }
}

/// How stale bounded reads may be.
const STALENESS_MS: u64 = 300;

/// Half of them write, the others look from wherever they are.
fn quorum(rng: &mut Rng, fresh: &Fresh) -> Value {
    let level = match rng.below(10) {
        0..5 => return keep(fresh.next()),
        5..7 => json!({"level": "strong"}),
        7 => json!({"level": "bounded", "staleness_ms": STALENESS_MS}),
        8 => json!({"level": "eventual"}),
        _ => match fresh.carried().clone() {
            Some((id, token)) => json!({"level": "session", "token": token, "must": id}),
            None => json!({"level": "session"}),
        },
    };
    let from = level["must"].as_u64().unwrap_or_else(|| fresh.now());
    kept(level, from)
}

/// A row and a count of all of them, at level quorum.
pub(crate) fn keep(id: u64) -> Value {
    json!({"do": "keep", "id": id.to_string(), "level": "eventual", "write": "quorum"})
}

/// A look at the latest of them.
pub(crate) fn kept(mut level: Value, from: u64) -> Value {
    level["do"] = "kept".into();
    level["begin"] = "BEGIN".into();
    level["from"] = from.saturating_sub(100).into();
    level
}

/// One to four appends and reads of three lists, which are left for others when they are long.
fn lists(rng: &mut Rng, fresh: &Fresh) -> Value {
    let base = fresh.now() / 60;
    let mut ops = Vec::new();
    let mut writes = false;
    for _ in 0..=rng.below(4) {
        let list = base + rng.below(3);
        if rng.chance(50) {
            writes = true;
            ops.push(json!(["append", list, fresh.next()]));
        } else {
            ops.push(json!(["r", list]));
        }
    }
    // A write may also begin as a read.
    let begin = if writes && rng.chance(80) {
        "BEGIN IMMEDIATE"
    } else {
        "BEGIN"
    };
    json!({"do": "lists", "begin": begin, "ops": ops})
}

/// A register is left for another one after 40 writes: its history stays short enough to be
/// searched.
fn register(rng: &mut Rng, fresh: &Fresh) -> Value {
    let value = fresh.next();
    let key = value / 40;
    let op = match rng.below(10) {
        0..5 => json!(["read"]),
        5..7 => json!(["write", value]),
        _ => json!(["swap", value]),
    };
    let begin = if op[0] == "read" {
        "BEGIN"
    } else {
        "BEGIN IMMEDIATE"
    };
    let mut asked = json!({"do": "register", "key": key, "op": op, "begin": begin});
    if asked["op"][0] == "read" && rng.chance(30) {
        asked["level"] = "bounded".into();
        asked["staleness_ms"] = STALENESS_MS.into();
    }
    asked
}

/// Registers of an eventual table, written by strong transactions only.
pub(crate) fn strongly(mut asked: Value) -> Value {
    asked["write"] = "strong".into();
    asked["level"] = "strong".into();
    asked
}

/// An eventual write of a row beside the registers.
pub(crate) fn beside(id: &str) -> Value {
    json!({"do": "beside", "id": id, "level": "eventual", "write": "eventual"})
}

fn bank(rng: &mut Rng) -> Value {
    match rng.below(10) {
        0..5 => {
            let from = rng.below(ACCOUNTS as u64);
            let to = (from + 1 + rng.below(ACCOUNTS as u64 - 1)) % ACCOUNTS as u64;
            json!({"do": "transfer", "from": from, "to": to, "amount": 1 + rng.below(20)})
        }
        // A prefix of the order, which may be an old one: its sum is the same.
        5..7 => json!({"do": "balances", "begin": "BEGIN", "level": "eventual"}),
        _ => json!({"do": "balances", "begin": "BEGIN"}),
    }
}
