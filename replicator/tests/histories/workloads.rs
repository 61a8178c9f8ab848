//! What applications are asked to do, decided by chance.

use std::sync::atomic::{AtomicU64, Ordering};

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
}

/// All of them.
pub(crate) const ALL: [Workload; 5] = [
    Workload::Lists,
    Workload::Registers,
    Workload::Bank,
    Workload::Sets,
    Workload::Mixed,
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
        }
    }

    /// A look whose success shows that everything is there.
    pub(crate) fn look(self) -> &'static str {
        match self {
            Self::Lists => "SELECT count(*) >= 0 FROM list",
            Self::Registers | Self::Mixed => "SELECT count(*) >= 0 FROM register",
            Self::Bank => "SELECT count(*) = 4 FROM account",
            Self::Sets => "SELECT count(*) = 1 FROM tally",
        }
    }
}

/// Numbers that are used once.
#[derive(Debug, Default)]
pub(crate) struct Fresh(AtomicU64);

impl Fresh {
    pub(crate) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
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
    }
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
    json!({"do": "register", "key": key, "op": op, "begin": begin})
}

/// Registers of an eventual table, written by strong transactions only.
pub(crate) fn strongly(mut asked: Value) -> Value {
    asked["write"] = "strong".into();
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
