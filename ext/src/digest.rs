//! `nuda_digest()`: proof of equality. One number for each tracked table that depends on its
//! rows and on nothing else, and the version vector for which it holds.
//!
//! A table's digest is the sum of its rows' hashes, so the order of rows does not matter and
//! rows that differ can be found by halves. Rows that live and are not shown count, as such.

use nuda_core::changeset::{ChainHash, ChainHasher};
use sqlite3_ext::ffi::SQLITE_BUSY;

use crate::changes::applied;
use crate::connection::Connection;
use crate::error::Result;
use crate::ffi::db::Db;
use crate::hidden;
use crate::json;
use crate::savepoint::in_savepoint;
use crate::shadow::{self, Sites};
use crate::tracked::Table;
use crate::visible;

/// The answer as JSON, all of one snapshot.
pub(crate) fn digest(connection: &Connection) -> Result<String> {
    let db = connection.db();
    in_savepoint(db, || {
        settle(connection)?;
        let state = shadow::state(db)?;
        let vector = applied(db, &state, &Sites::load(db)?)?;
        let mut total = 0u128;
        let mut tables = Vec::new();
        for table in connection.tables()?.sorted() {
            if let Some(why) = table.drift.problem() {
                // Equal to no other replica's digest, and it says why.
                let (name, why) = (json::text(&table.name), json::text(why));
                tables.push(format!("{{\"name\":{name},\"rows\":0,\"digest\":{why}}}"));
                total = total.wrapping_mul(31).wrapping_add(1);
                continue;
            }
            let (rows, sum) = table_digest(db, &table)?;
            total = total.wrapping_mul(31).wrapping_add(sum);
            tables.push(format!(
                "{{\"name\":{},\"rows\":{rows},\"digest\":\"{sum:032x}\"}}",
                json::text(&table.name)
            ));
        }
        Ok(format!(
            "{{\"vector\":{},\"digest\":\"{total:032x}\",\"tables\":[{}]}}",
            json::text(&vector.to_string()),
            tables.join(",")
        ))
    })
}

/// What is shown is what there is to compare. Where another connection writes just now it may not
/// be up to date, and the digest is that of no other replica.
fn settle(connection: &Connection) -> Result<()> {
    if connection.db().is_read_only() {
        return Ok(());
    }
    match visible::settle_own(connection) {
        Err(error) if error.code & 0xff == SQLITE_BUSY => Ok(()),
        other => other.map(drop),
    }
}

fn table_digest(db: Db, table: &Table) -> Result<(u64, u128)> {
    let sql = format!("SELECT {} FROM {}", table.column_list(), table.quoted());
    let mut query = db.prepare(&sql)?;
    query.bind(&[])?;
    let (mut rows, mut sum) = (0u64, 0u128);
    let mut bytes = Vec::new();
    while query.step()? {
        bytes.clear();
        for n in 0..table.columns.len() {
            query.value(n).encode(&mut bytes);
        }
        sum = sum.wrapping_add(hash(&bytes));
        rows += 1;
    }
    if table.may_hide() {
        for row in hidden::all(db, table.at.number)? {
            bytes.clear();
            for value in &row.values {
                value.as_ref().encode(&mut bytes);
            }
            bytes.push(HIDDEN);
            sum = sum.wrapping_add(hash(&bytes));
        }
    }
    Ok((rows, sum))
}

/// Ends a row that is not shown; no value begins with it.
const HIDDEN: u8 = 0xff;

fn hash(row: &[u8]) -> u128 {
    let mut hasher = ChainHasher::new(ChainHash::START, &[]);
    hasher.update(row);
    u128::from_be_bytes(hasher.finish().0)
}
