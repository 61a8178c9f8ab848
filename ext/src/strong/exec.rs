//! `nuda_exec(sql, args...)`: a strong transaction that runs where the leader is.
//!
//! Nothing of it runs on this connection: the daemon carries it to the leader, which runs those of
//! many clients in one go and brings the rows back through the log. This half names it, waits,
//! and answers. Whatever happens on the way, the id is the same, so that it is run once.
//!
//! The other half of it here: the leader's connection is told, before it commits, for whom it ran
//! what, and the proposal says so.

use std::time::Instant;

use nuda_core::certify::{Answer, Outcome, Statement, TxnId};
use nuda_core::changeset::Level;
use nuda_core::codec::Reader;
use nuda_core::control::{Ask, Execution, Reply};
use nuda_core::limits;
use nuda_core::protocol::NodeId;
use nuda_core::site::{Dot, Seq, Site};
use nuda_core::value::{OwnedValue, Value};

use super::commit::{not_committed, unknown};
use super::{Last, Session};
use crate::alter;
use crate::authority::Authority;
use crate::connection::Connection;
use crate::error::{Error, Result};
use crate::ffi::value::Args;
use crate::shadow;

/// How often an id that was made too long ago is replaced.
const TRIES: u32 = 3;

/// Runs it, and answers JSON.
pub(crate) fn exec(connection: &Connection, sql: &str, arguments: Args<'_>) -> Result<String> {
    let db = connection.db();
    if !db.is_autocommit() {
        return Err(Error::refused(
            "nuda_exec is a transaction of its own and cannot be part of one; end the open one first",
        ));
    }
    if db.is_writing() {
        return Err(Error::refused(
            "nuda_exec waits for this file, and the statement that calls it is writing the file; \
             call it in a SELECT",
        ));
    }
    let file = shadow::state(db)?;
    if alter::is_here(&file) && alter::changes_schema(sql) && arguments.len() == 0 {
        alter::alter(connection, sql, Authority::Here)?;
        return Ok("{\"changes\":0}".to_owned());
    }
    if file.node.is_empty() {
        return Err(Error::refused(
            "this file is in no cluster and has no leader; run the statement itself (nuda_exec \
             changes replicated tables here, and nothing else)",
        ));
    }
    let size = (0..arguments.len()).fold(sql.len(), |sum, n| match arguments.get(n) {
        Value::Text(bytes) | Value::Blob(bytes) => sum + bytes.len(),
        _ => sum,
    });
    if size > limits::STATEMENT_BYTES {
        return Err(Error::refused(format!(
            "this call has {size} bytes; nuda_exec takes {}; split it, or run it as a transaction here",
            limits::STATEMENT_BYTES
        )));
    }
    let values: Vec<OwnedValue> = (0..arguments.len())
        .map(|n| arguments.get(n).into())
        .collect();
    let session = connection.session();
    let mut mine = session.state();
    mine.partition = Some(file.partition);
    mine.learn_standing(Level::Strong)?;
    let node = NodeId::of_name(&file.node);
    let began = Instant::now();
    for _ in 0..TRIES {
        let id = mine.next_id(node);
        let execution = Execution {
            id,
            sql: sql.to_owned(),
            arguments: values.clone(),
        };
        return match mine.ask(Ask::Execute(execution)) {
            Some(Reply::Executed {
                position,
                is_here,
                result,
                standing,
            }) => {
                mine.last = Some(Last {
                    id: id.to_string(),
                    level: Level::Strong,
                    dot: Some(Dot {
                        site: Site::LOG_STRONG,
                        seq: position,
                    }),
                    acks: standing.voters / 2 + 1,
                    of: standing.voters,
                    micros: began.elapsed().as_micros(),
                    note: if is_here {
                        ""
                    } else {
                        "committed, will be applied"
                    },
                });
                if !is_here {
                    mine.after.raise(Site::LOG_STRONG, position);
                }
                Ok(answer(id, position, is_here, result))
            }
            Some(Reply::Failed { code, why }) => Err(Error::new(code, why)),
            Some(Reply::Decided(Answer::Expired, _)) => continue,
            Some(Reply::Decided(Answer::Decided(Outcome::Aborted), _)) => Err(not_committed(
                Level::Strong,
                "nuda_txn_status was asked first and aborted it",
            )),
            Some(Reply::NotCommitted(why)) => Err(not_committed(Level::Strong, &why)),
            Some(Reply::Unknown(why)) => Err(unknown(Level::Strong, id, &why)),
            _ => Err(not_committed(
                Level::Strong,
                "the daemon answers something else",
            )),
        };
    }
    Err(not_committed(
        Level::Strong,
        "its name grows old too quickly; try again",
    ))
}

/// What the leader answered, and where it is.
fn answer(id: TxnId, position: Seq, is_here: bool, result: Option<String>) -> String {
    let lost = || "{\"note\":\"committed; what it answered is not kept any more\"}".to_owned();
    let result = result.unwrap_or_else(lost);
    let open = result.strip_suffix('}').unwrap_or(&result);
    let note = if is_here {
        ""
    } else {
        ",\"note\":\"committed, will be applied\""
    };
    format!("{open},\"position\":{position},\"id\":\"{id}\"{note}}}")
}

impl Session {
    /// The running transaction is run for calls, for these so far.
    pub(crate) fn ran_for(&self, encoded: &[u8]) -> Result<()> {
        let mut reader = Reader::new(encoded);
        let statements = Statement::decode_all(&mut reader)?;
        reader.end("statements")?;
        self.state().ran_for = Some(statements);
        Ok(())
    }
}
