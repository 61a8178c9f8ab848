//! The capture triggers of a tracked table, as SQL.
//!
//! AFTER triggers hand the row to a capture table of exactly the width they need. A BEFORE
//! INSERT trigger tells of each row that may take the place of another, for which SQLite fires
//! no delete trigger, or hands over those that it finds itself, where more than the key can
//! collide; and it tells of keys that SQLite is about to invent. Rows too wide for one call are
//! handed over in pieces.

use nuda_core::value::{OwnedValue, Value};

use crate::canonical;
use crate::capture::Call;
use crate::constraints::Unique;
use crate::error::{Error, Result};
use crate::ffi::capture_table::MODULE;
use crate::ffi::db::Db;
use crate::rebuilt;
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

/// Whether capture tables can be created: in a commit they cannot, nor under a statement that
/// goes on afterwards. Then calls are padded to the width of those that are there, or handed
/// over in pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tables {
    Create,
    AsTheyAre,
}

/// Columns that a table can get before its calls need other capture tables.
const SPARE_COLUMNS: usize = 8;

/// Creates the triggers, and the capture tables that they write.
pub(crate) fn create(db: Db, table: &Table, invents_keys: bool, tables: Tables) -> Result<()> {
    let on = format!("ON {}", quote(&table.name));
    let [insert, update, delete, before_insert, before_update] = names(table.at.number);
    let row = |row: &str| -> Vec<String> { table.columns.iter().map(|c| c.read(row)).collect() };
    let columns = row("");
    let mut calls = Calls::new(db, table.at.number, tables)?;
    calls.width(1)?;
    calls.width((2 * (columns.len() + SPARE_COLUMNS) + 1).min(WIDEST))?;

    canonical::create(db, table)?;
    let body = calls.row((Call::Insert, Call::WideInsert), &[], &row("NEW."), "")?;
    db.exec(&format!(
        "CREATE TRIGGER {insert} AFTER INSERT {on} BEGIN {body} END"
    ))?;
    let body = calls.row((Call::Delete, Call::WideDelete), &row("OLD."), &[], "")?;
    db.exec(&format!(
        "CREATE TRIGGER {delete} AFTER DELETE {on} BEGIN {body} END"
    ))?;
    let body = calls.row(
        (Call::Update, Call::WideUpdate),
        &row("OLD."),
        &row("NEW."),
        "",
    )?;
    db.exec(&format!(
        "CREATE TRIGGER {update} AFTER UPDATE {on} BEGIN {body} END"
    ))?;

    let uniques = uniques(db, table)?;
    let announced = if uniques.is_empty() && !table.options.site_ranges {
        calls.announcement(table, invents_keys)?
    } else {
        None
    };
    let (condition, body) = match announced {
        Some(call) => (String::new(), call),
        None => calls.look(table, &columns, invents_keys, &uniques)?,
    };
    db.exec(&format!(
        "CREATE TRIGGER {before_insert} BEFORE INSERT {on} {condition} BEGIN {body} END"
    ))?;
    let mut keys: Vec<String> = table.key().map(|c| quote(&c.name)).collect();
    let moved: Vec<String> = keys.iter().map(|k| format!("{k} = OLD.{k}")).collect();
    let condition = format!(" AND NOT ({})", moved.join(" AND "));
    let collides = calls.collision(table, &columns, (&condition, &uniques))?;
    for unique in &uniques {
        keys.extend(unique.column_names().map(quote));
    }
    db.exec(&format!(
        "CREATE TRIGGER {before_update} BEFORE UPDATE OF {} {on} BEGIN {collides} END",
        keys.join(", ")
    ))?;
    keep_in_place(db, table)
}

/// A trigger that never fires and names the table: with it in the schema, SQLite refuses to
/// rename another table into the place of a dropped one, which is how tables are rebuilt, and
/// its message is the trigger's name.
fn keep_in_place(db: Db, table: &Table) -> Result<()> {
    let name = format!(
        "{} (write SELECT nuda_exec('ALTER TABLE ...'), or SELECT nuda_untrack({}) before you drop or \
         rebuild it)",
        guard_name(table.at.number),
        literal(&table.name)
    );
    db.exec(&format!(
        "CREATE TRIGGER {} AFTER DELETE ON nuda_state WHEN 0 BEGIN SELECT 1 FROM {}; END",
        quote(&name),
        quote(&table.name)
    ))
}

/// What besides its key a row of this table can collide by.
fn uniques(db: Db, table: &Table) -> Result<Vec<Unique>> {
    if table.options.is_strong || table.options.keep_first {
        return Unique::all(db, &table.name);
    }
    Ok(Vec::new())
}

fn guard_name(number: u32) -> String {
    format!("nuda_{number}_keeps_the_table")
}

/// Drops the triggers; capture tables stay, other tables use them.
pub(crate) fn drop_all(db: Db, number: u32) -> Result<()> {
    for name in names(number) {
        db.exec(&format!("DROP TRIGGER IF EXISTS main.{name}"))?;
    }
    canonical::drop_all(db, number)?;
    rebuilt::open_again(db, number)?;
    let guard = db.text(
        "SELECT name FROM main.sqlite_schema WHERE type = 'trigger' AND name GLOB ? || ' *'",
        &[Value::Text(guard_name(number).as_bytes())],
    )?;
    match guard {
        Some(name) => db.exec(&format!("DROP TRIGGER main.{}", quote(&name))),
        None => Ok(()),
    }
}

/// Makes the capture table that [`touch`] needs, where no table was ever tracked.
pub(crate) fn prepare(db: Db) -> Result<()> {
    db.exec(&format!(
        "CREATE VIRTUAL TABLE IF NOT EXISTS main.{} USING {}(1)",
        capture_table(1),
        quote(MODULE)
    ))
}

/// Makes a capture table take part in the transaction.
pub(crate) fn touch(db: Db) -> Result<()> {
    db.exec(&format!(
        "INSERT INTO main.{} VALUES ({})",
        capture_table(1),
        Call::Touch as i64
    ))
}

/// When such a BEFORE INSERT trigger has anything to do: the key is there, or is to be invented.
fn insert_needs_a_look(table: &Table, invents_keys: bool, uniques: &[Unique]) -> String {
    let keys: Vec<String> = table
        .key()
        .map(|c| format!("{0} = NEW.{0}", quote(&c.name)))
        .collect();
    let conditions = [keys.join(" AND ")];
    let there: Vec<String> = conditions
        .into_iter()
        .chain(uniques.iter().map(Unique::matches_new))
        .map(|condition| {
            let table = quote(&table.name);
            format!("EXISTS (SELECT 1 FROM {table} WHERE {condition})")
        })
        .collect();
    let there = there.join(" OR ");
    match table.key().next() {
        Some(key) if invents_keys => format!("NEW.{} = -1 OR {there}", quote(&key.name)),
        _ => there,
    }
}

/// Writes calls of capture tables.
struct Calls {
    db: Db,
    number: u32,
    tables: Tables,
    /// Widths of the capture tables that are there.
    widths: Vec<usize>,
}

impl Calls {
    fn new(db: Db, number: u32, tables: Tables) -> Result<Self> {
        let there = db.all(
            "SELECT substr(name, 14) FROM main.sqlite_schema WHERE name GLOB 'nuda_capture_[0-9]*'",
            &[],
        )?;
        let widths = there
            .iter()
            .filter_map(|row| match row.as_slice() {
                [OwnedValue::Text(width)] => String::from_utf8_lossy(width).parse().ok(),
                _ => None,
            })
            .collect();
        Ok(Self {
            db,
            number,
            tables,
            widths,
        })
    }

    fn code(&self, call: Call) -> i64 {
        (i64::from(self.number) << 4) | call as i64
    }

    /// The width of a capture table that takes calls of `width` values, if there can be one.
    fn width(&mut self, width: usize) -> Result<Option<usize>> {
        if self.tables == Tables::Create && width <= WIDEST && !self.widths.contains(&width) {
            self.db.exec(&format!(
                "CREATE VIRTUAL TABLE IF NOT EXISTS main.{} USING {}({width})",
                capture_table(width),
                quote(MODULE)
            ))?;
            self.widths.push(width);
        }
        let fitting = self.widths.iter().filter(|there| **there >= width);
        Ok(fitting.min().copied())
    }

    /// One call, if there is a capture table for it. `from` says of which rows; empty: of the
    /// trigger's.
    fn one(&mut self, call: Call, values: &[String], from: &str) -> Result<Option<String>> {
        let Some(width) = self.width(values.len() + 1)? else {
            return Ok(None);
        };
        let mut row = vec![self.code(call).to_string()];
        row.extend_from_slice(values);
        row.resize(width, "NULL".to_owned());
        let (table, row) = (capture_table(width), row.join(", "));
        Ok(Some(if from.is_empty() {
            format!("INSERT INTO {table} VALUES ({row});")
        } else {
            format!("INSERT INTO {table} SELECT {row} {from};")
        }))
    }

    /// One call if it fits, pieces and a closing call otherwise.
    fn row(
        &mut self,
        (call, wide): (Call, Call),
        old: &[String],
        new: &[String],
        from: &str,
    ) -> Result<String> {
        let together: Vec<String> = if old.is_empty() || new.is_empty() {
            old.iter().chain(new).cloned().collect()
        } else {
            let pairs = old.iter().zip(new);
            pairs.flat_map(|(o, n)| [o.clone(), n.clone()]).collect()
        };
        if let Some(text) = self.one(call, &together, from)? {
            return Ok(text);
        }
        if self.tables == Tables::Create {
            self.width(WIDEST)?;
        }
        // A piece begins with the call and the side.
        let fits = self
            .widths
            .iter()
            .max()
            .map_or(0, |widest| widest.saturating_sub(2));
        if fits == 0 {
            return Err(Error::internal("no capture table"));
        }
        let mut body = String::new();
        for (side, values) in [("0", old), ("1", new)] {
            for piece in values.chunks(fits) {
                let mut values = vec![side.to_owned()];
                values.extend_from_slice(piece);
                body.push_str(&self.one(Call::Piece, &values, from)?.unwrap_or_default());
                body.push(' ');
            }
        }
        body.push_str(&self.one(wide, &[], from)?.unwrap_or_default());
        Ok(body)
    }

    /// The call before an INSERT whose row can collide by its key only: what is there is read if,
    /// and only if, the statement replaces. To look each time costs more than to tell of each row, and
    /// so does a capture table that is wider than what there is to tell.
    fn announcement(&mut self, table: &Table, invents_keys: bool) -> Result<Option<String>> {
        let mut values: Vec<String> = table
            .key()
            .map(|c| format!("NEW.{}", quote(&c.name)))
            .collect();
        if invents_keys {
            values.push("1".to_owned());
        }
        self.one(Call::Announce, &values, "")
    }

    /// The condition and body of a BEFORE INSERT trigger that looks for itself.
    fn look(
        &mut self,
        table: &Table,
        columns: &[String],
        invents_keys: bool,
        uniques: &[Unique],
    ) -> Result<(String, String)> {
        let row: Vec<String> = table.columns.iter().map(|c| c.read("NEW.")).collect();
        let invented = if invents_keys {
            self.invented_key(table, &row)?
        } else {
            String::new()
        };
        let collides = self.collision(table, columns, ("", uniques))?;
        let when = insert_needs_a_look(table, invents_keys, uniques);
        Ok((format!("WHEN {when}"), format!("{invented}{collides}")))
    }

    /// In a BEFORE trigger, a rowid that SQLite is about to choose reads as -1. Where such
    /// keys are invented for the site, a row may have to be put in the way: all of it is told.
    fn invented_key(&mut self, table: &Table, row: &[String]) -> Result<String> {
        let Some(key) = table.key().next() else {
            return Ok(String::new());
        };
        let row = if table.options.site_ranges { row } else { &[] };
        let from = format!("WHERE NEW.{} = -1", quote(&key.name));
        let calls = self.row((Call::Invent, Call::WideInvent), &[], row, &from)?;
        Ok(format!("{calls} "))
    }

    /// The rows that the new one collides with, if there are such: by the key, and by each unique
    /// index. A row is told once.
    fn collision(
        &mut self,
        table: &Table,
        columns: &[String],
        (condition, uniques): (&str, &[Unique]),
    ) -> Result<String> {
        let keys: Vec<String> = table
            .key()
            .map(|c| format!("{0} = NEW.{0}", quote(&c.name)))
            .collect();
        let mut told = vec![format!("({})", keys.join(" AND "))];
        let from = format!("FROM {} WHERE", quote(&table.name));
        let by_key = format!("{from} {}{condition}", told.join(""));
        let mut body = self.row((Call::Collides, Call::WideCollides), columns, &[], &by_key)?;
        for unique in uniques {
            let other: Vec<String> = told
                .iter()
                .map(|t| format!(" AND {t} IS NOT TRUE"))
                .collect();
            let found = format!(
                "{from} {}{}{condition}",
                unique.matches_new(),
                other.join("")
            );
            body.push(' ');
            if unique.is_partial {
                let call = self.one(Call::MayCollide, &[], &found)?;
                body.push_str(&call.ok_or_else(|| Error::internal("no capture table"))?);
            } else {
                let calls = (Call::Collides, Call::WideCollides);
                body.push_str(&self.row(calls, columns, &[], &found)?);
                told.push(unique.matches_new());
            }
        }
        Ok(body)
    }
}
