//! Counters beyond 64 bits: the column shows the nearest value it can, and what it cannot show
//! is kept beside it, so that the sum stays the same on every replica whatever the order in
//! which its parts arrive. A local write cannot get there (SQLite would make the sum a REAL,
//! which is refused), only the sum of several nodes' writes can.

use nuda_core::merge;
pub(crate) use nuda_core::merge::shown as clamped;
use nuda_core::value::Value;

use crate::concurrent::RowName;
use crate::error::{Error, Result};
use crate::ffi::db::Db;

/// A counter column of a row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CounterCell<'a> {
    pub(crate) table: u32,
    pub(crate) key: &'a [Value<'a>],
    pub(crate) column: usize,
}

impl CounterCell<'_> {
    fn name(&self) -> Vec<u8> {
        RowName {
            table: self.table,
            key: self.key,
        }
        .cell(self.column)
    }
}

/// Adds to a counter that shows `count`; answers what it shows then.
pub(crate) fn add(db: Db, cell: &CounterCell<'_>, count: i64, added: i128) -> Result<i64> {
    let at_limit = count == i64::MAX || count == i64::MIN;
    let kept = if at_limit { read(db, cell)? } else { 0 };
    let sum = merge::add(i128::from(count) + kept, added);
    if at_limit || clamped_differs(sum) {
        set(db, cell, sum)?;
    }
    Ok(clamped(sum))
}

/// Keeps what the column cannot show of `sum`, and forgets what was kept before.
pub(crate) fn set(db: Db, cell: &CounterCell<'_>, sum: i128) -> Result<()> {
    let kept = sum - i128::from(clamped(sum));
    let name = cell.name();
    if kept == 0 {
        return db.run(
            "DELETE FROM main.nuda_excess WHERE cell = ?",
            &[Value::Blob(&name)],
        );
    }
    db.run(
        "INSERT OR REPLACE INTO main.nuda_excess(cell, kept) VALUES (?, ?)",
        &[Value::Blob(&name), Value::Text(kept.to_string().as_bytes())],
    )
}

fn clamped_differs(sum: i128) -> bool {
    i128::from(clamped(sum)) != sum
}

fn read(db: Db, cell: &CounterCell<'_>) -> Result<i128> {
    let kept = db.text(
        "SELECT kept FROM main.nuda_excess WHERE cell = ?",
        &[Value::Blob(&cell.name())],
    )?;
    match kept {
        None => Ok(0),
        Some(text) => text.parse().map_err(|_| Error::internal("nuda_excess")),
    }
}
