//! The capture triggers of a tracked table, as SQL.
//!
//! AFTER triggers hand the row to a capture table of exactly the width they need. A BEFORE
//! INSERT trigger hands over the row that a REPLACE is about to remove, for which SQLite fires
//! no delete trigger, and refuses keys that SQLite invents. Rows too wide for one call are
//! handed over in pieces.

use nuda_core::value::Value;

use crate::capture::Call;
use crate::error::Result;
use crate::ffi::capture_table::MODULE;
use crate::ffi::db::Db;
use crate::tracked::{Table, literal, quote};

/// Values in one call; SQLite allows 2,000 columns in a virtual table.
const WIDEST: usize = 1_900;

/// Name of a capture table.
fn capture_table(width: usize) -> String {
    format!("nuda_capture_{width}")
}

/// Names of the triggers of table `number`.
pub(crate) fn names(number: u32) -> [String; 5] {
    [
        "insert",
        "update",
        "delete",
        "before_insert",
        "before_update",
    ]
    .map(|event| format!("nuda_{number}_{event}"))
}

/// Creates the triggers, and the capture tables that they write.
pub(crate) fn create(db: Db, table: &Table, invents_keys: bool) -> Result<()> {
    let on = format!("ON {}", quote(&table.name));
    let [insert, update, delete, before_insert, before_update] = names(table.at.number);
    let columns: Vec<String> = table.columns.iter().map(|c| quote(&c.name)).collect();
    let row = |row: &str| {
        columns
            .iter()
            .map(|c| format!("{row}.{c}"))
            .collect::<Vec<_>>()
    };
    let interleaved = columns
        .iter()
        .flat_map(|c| [format!("OLD.{c}"), format!("NEW.{c}")]);
    let mut calls = Calls {
        db,
        number: table.at.number,
    };

    let body = calls.whole_row(Call::Insert, Call::WideInsert, &[], &row("NEW"))?;
    db.exec(&format!(
        "CREATE TRIGGER {insert} AFTER INSERT {on} BEGIN {body} END"
    ))?;

    let body = calls.whole_row(Call::Delete, Call::WideDelete, &row("OLD"), &[])?;
    db.exec(&format!(
        "CREATE TRIGGER {delete} AFTER DELETE {on} BEGIN {body} END"
    ))?;

    let both: Vec<String> = interleaved.collect();
    let body = if both.len() < WIDEST {
        calls.one(Call::Update, &both)?
    } else {
        calls.whole_row(Call::WideUpdate, Call::WideUpdate, &row("OLD"), &row("NEW"))?
    };
    db.exec(&format!(
        "CREATE TRIGGER {update} AFTER UPDATE {on} BEGIN {body} END"
    ))?;

    let invented = if invents_keys {
        refuse_invented_key(table)
    } else {
        String::new()
    };
    let collides = calls.collision(table, "")?;
    db.exec(&format!(
        "CREATE TRIGGER {before_insert} BEFORE INSERT {on} WHEN {} \
         BEGIN {invented}{collides} END",
        insert_needs_a_look(table, invents_keys)
    ))?;
    let keys: Vec<String> = table.key().map(|c| quote(&c.name)).collect();
    let moved: Vec<String> = keys.iter().map(|k| format!("{k} = OLD.{k}")).collect();
    let collides = calls.collision(table, &format!(" AND NOT ({})", moved.join(" AND ")))?;
    db.exec(&format!(
        "CREATE TRIGGER {before_update} BEFORE UPDATE OF {} {on} BEGIN {collides} END",
        keys.join(", ")
    ))
}

/// Drops the triggers; capture tables stay, other tables use them.
pub(crate) fn drop_all(db: Db, number: u32) -> Result<()> {
    for name in names(number) {
        db.exec(&format!("DROP TRIGGER IF EXISTS main.{name}"))?;
    }
    Ok(())
}

/// Creates the capture tables that a table of this many columns needs.
pub(crate) fn prepare_for(db: Db, columns: usize) -> Result<()> {
    let calls = Calls { db, number: 0 };
    for width in [columns + 1, 2 * columns + 1] {
        if width <= WIDEST {
            calls.table(width)?;
        }
    }
    Ok(())
}

/// Makes a capture table take part in the transaction.
pub(crate) fn touch(db: Db) -> Result<()> {
    let calls = Calls { db, number: 0 };
    let table = calls.table(1)?;
    db.exec(&format!(
        "INSERT INTO main.{table} VALUES ({})",
        Call::Touch as i64
    ))
}

/// When the BEFORE INSERT trigger has anything to do: the key is there, or is to be invented.
fn insert_needs_a_look(table: &Table, invents_keys: bool) -> String {
    let keys: Vec<String> = table
        .key()
        .map(|c| format!("{0} = NEW.{0}", quote(&c.name)))
        .collect();
    let there = format!(
        "EXISTS (SELECT 1 FROM {} WHERE {})",
        quote(&table.name),
        keys.join(" AND ")
    );
    match table.key().next() {
        Some(key) if invents_keys => format!("NEW.{} = -1 OR {there}", quote(&key.name)),
        _ => there,
    }
}

/// In a BEFORE trigger, a rowid that SQLite is about to choose reads as -1.
fn refuse_invented_key(table: &Table) -> String {
    let Some(key) = table.key().next() else {
        return String::new();
    };
    let text = format!(
        "nuda: {0}.{1} would be numbered by SQLite, and another node may number another row the \
         same; give {1} a value, or declare it TEXT and use nuda_uuid7()",
        table.name, key.name
    );
    format!(
        "SELECT RAISE(ABORT, {}) WHERE NEW.{} = -1; ",
        literal(&text),
        quote(&key.name)
    )
}

/// Writes calls of capture tables, creating the tables as needed.
struct Calls {
    db: Db,
    number: u32,
}

impl Calls {
    fn code(&self, call: Call) -> i64 {
        (i64::from(self.number) << 4) | call as i64
    }

    fn table(&self, width: usize) -> Result<String> {
        let name = capture_table(width);
        let there = self.db.int(
            "SELECT count(*) FROM main.sqlite_schema WHERE name = ?",
            &[Value::Text(name.as_bytes())],
        )?;
        if there > 0 {
            return Ok(name);
        }
        self.db.exec(&format!(
            "CREATE VIRTUAL TABLE IF NOT EXISTS main.{name} USING {}({width})",
            quote(MODULE)
        ))?;
        Ok(name)
    }

    fn one(&mut self, call: Call, values: &[String]) -> Result<String> {
        let table = self.table(values.len() + 1)?;
        Ok(format!(
            "INSERT INTO {table} VALUES ({}, {});",
            self.code(call),
            values.join(", ")
        ))
    }

    /// One call if it fits, pieces and a closing call otherwise.
    fn whole_row(
        &mut self,
        call: Call,
        wide: Call,
        old: &[String],
        new: &[String],
    ) -> Result<String> {
        let values = if old.is_empty() { new } else { old };
        if values.len() < WIDEST && (old.is_empty() || new.is_empty()) {
            return self.one(call, values);
        }
        let mut body = String::new();
        for (side, values) in [(0, old), (1, new)] {
            for piece in values.chunks(WIDEST) {
                let table = self.table(piece.len() + 2)?;
                let code = self.code(Call::Piece);
                let values = piece.join(", ");
                body.push_str(&format!(
                    "INSERT INTO {table} VALUES ({code}, {side}, {values}); "
                ));
            }
        }
        let table = self.table(1)?;
        body.push_str(&format!(
            "INSERT INTO {table} VALUES ({});",
            self.code(wide)
        ));
        Ok(body)
    }

    /// The row that the new key collides with, if there is one.
    fn collision(&mut self, table: &Table, condition: &str) -> Result<String> {
        let keys: Vec<String> = table
            .key()
            .map(|c| format!("{0} = NEW.{0}", quote(&c.name)))
            .collect();
        let columns = table.column_list();
        let name = quote(&table.name);
        let condition = format!("WHERE {}{condition}", keys.join(" AND "));
        if table.columns.len() < WIDEST {
            let capture = self.table(table.columns.len() + 1)?;
            let code = self.code(Call::Collides);
            return Ok(format!(
                "INSERT INTO {capture} SELECT {code}, {columns} FROM {name} {condition};"
            ));
        }
        // Too wide for one call: REPLACE on such a table is refused rather than missed.
        let text = format!(
            "nuda: {}: too many columns to replace a row; use UPDATE",
            table.name
        );
        Ok(format!(
            "SELECT RAISE(ABORT, {}) FROM {name} {condition};",
            literal(&text)
        ))
    }
}
