//! Who may change what is replicated, and how: the definitions of all tables have one order.
//!
//! Without a cluster, and until the partition has its log, one node alone defines tables: the
//! founder, whose own changesets carry the definitions. Once the log is there, the founder hands
//! over: a last changeset of its own says so, and each file remembers it with the changeset.
//! From there on any node defines, by strong transactions, of which no two are concurrent.
//! Whoever has seen the hand-over has seen every definition before it, because changesets of
//! one site arrive in order; whoever has not may not define. So no two definitions are ever
//! concurrent, and a table's versions are numbered without gaps.

use nuda_core::value::Value;

use crate::capture;
use crate::connection::Connection;
use crate::definition::SchemaChange;
use crate::error::{Error, Result};
use crate::ffi::db::Db;
use crate::savepoint::atomically;
use crate::shadow::{self, State};
use crate::triggers;

/// Who defines tables, as this file knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Authority {
    /// This node alone.
    Here,
    /// Any node, by a strong transaction.
    Log,
    /// Another node alone.
    Founder,
}

/// Who defines tables in this file.
pub(crate) fn of(state: &State) -> Authority {
    if state.is_ordered {
        Authority::Log
    } else if state.founder == state.node {
        Authority::Here
    } else {
        Authority::Founder
    }
}

/// The same, read from the file.
pub(crate) fn read(db: Db) -> Result<Authority> {
    Ok(of(&shadow::state(db)?))
}

/// Refuses to define tables where another node does.
pub(crate) fn demand(state: &State, what: &str) -> Result<()> {
    match of(state) {
        Authority::Here | Authority::Log => Ok(()),
        Authority::Founder => Err(Error::refused(format!(
            "only the founding node {} {what} until the partition has its log, which it makes when \
             all members are reachable; run it there, or try again later",
            state.founder
        ))),
    }
}

/// `nuda_hand_over()`: from here on definitions go through the log. Only the founder's word
/// counts. Answers whether that is so in this file.
pub(crate) fn hand_over(connection: &Connection) -> Result<bool> {
    let db = connection.db();
    let state = shadow::state(db)?;
    if state.is_ordered || state.node.is_empty() || state.founder != state.node {
        return Ok(state.is_ordered);
    }
    atomically(db, || {
        triggers::prepare(db)?;
        triggers::touch(db)?;
        capture::define(connection, &SchemaChange::HandOver.encode())?;
        accept(db)
    })?;
    connection.forget_tables();
    Ok(true)
}

/// Remembers that definitions go through the log.
pub(crate) fn accept(db: Db) -> Result<()> {
    db.run("UPDATE main.nuda_state SET ordered = ?", &[Value::Int(1)])
}
