//! Running one client's SQL in the leader's transaction: what it may do, and what it answers.
//!
//! It may read what it likes and write replicated tables, or, in a call of its own, change tables;
//! what its triggers write besides is theirs, as on every member. Its changes travel as rows, so random() and the clock are harmless. What it
//! may not: anything whose effect would stay on this node, and anything that ends the
//! transaction, which is not its own.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use nuda_core::control::{Execution, Reply};
use nuda_core::limits::RESULT_BYTES;
use nuda_core::value::OwnedValue;
use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, Statement};
use serde_json::{Map, Value as Json};

use crate::error::Result;
use crate::sql::Replica;

/// SQLite looks at the deadline every so many steps of its machine.
const STEPS: i32 = 10_000;

/// Statements that stay prepared.
const PREPARED: usize = 128;

/// Why a statement failed, in SQLite's words.
pub(super) struct Failure {
    pub(super) code: i32,
    pub(super) why: String,
}

/// What a client's SQL is judged by while it is prepared.
#[derive(Default)]
struct Judge {
    judging: AtomicBool,
    rules: Mutex<Rules>,
}

#[derive(Default)]
struct Rules {
    replicated: HashSet<String>,
    refused: Option<String>,
}

/// The connection on which clients' statements are run.
pub(super) struct Runner {
    replica: Replica,
    judge: Arc<Judge>,
    until: Arc<Mutex<Option<Instant>>>,
    schema: i64,
}

impl Runner {
    /// Opens the file.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let mut replica = Replica::open(path)?;
        let judge = Arc::new(Judge::default());
        let until: Arc<Mutex<Option<Instant>>> = Arc::default();
        let conn = replica.connection_mut();
        conn.set_prepared_statement_cache_capacity(PREPARED);
        // As on every member: what references strong tables is strong.
        conn.pragma_update(None, "foreign_keys", true)?;
        let (asked, deadline) = (Arc::clone(&judge), Arc::clone(&until));
        conn.authorizer(Some(move |context: AuthContext<'_>| asked.judge(&context)))?;
        let is_over = move || {
            let until = *deadline.lock().unwrap_or_else(PoisonError::into_inner);
            until.is_some_and(|until| Instant::now() >= until)
        };
        conn.progress_handler(STEPS, Some(is_over))?;
        Ok(Self {
            replica,
            judge,
            until,
            schema: -1,
        })
    }

    pub(super) fn connection(&self) -> &Connection {
        self.replica.connection()
    }

    pub(super) fn replica(&self) -> &Replica {
        &self.replica
    }

    /// Inside the transaction: which tables are replicated.
    pub(super) fn look_at_schema(&mut self) -> Result<()> {
        let conn = self.replica.connection();
        let schema = conn.query_row("PRAGMA schema_version", [], |row| row.get(0))?;
        if self.schema == schema {
            return Ok(());
        }
        // What was judged by another schema is judged again.
        conn.flush_prepared_statement_cache();
        let mut query = conn.prepare("SELECT lower(name) FROM nuda_tables")?;
        let names = query.query_map([], |row| row.get(0))?;
        self.judge.rules().replicated = names.collect::<rusqlite::Result<_>>()?;
        self.schema = schema;
        Ok(())
    }

    /// Changes tables: the extension does it, which knows what replicas have to agree on.
    fn alter(&self, execution: &Execution) -> rusqlite::Result<String> {
        if !execution.arguments.is_empty() {
            return Err(wrong(
                "a statement that changes tables takes no values".to_owned(),
            ));
        }
        let conn = self.connection();
        conn.query_row("SELECT nuda_alter(?)", [&execution.sql], |_| Ok(()))?;
        Answer::default().text()
    }

    /// Runs it; answers JSON.
    pub(super) fn run(
        &self,
        execution: &Execution,
        until: Instant,
    ) -> std::result::Result<String, Failure> {
        let set = |until| *self.until.lock().unwrap_or_else(PoisonError::into_inner) = until;
        set(Some(until));
        let ran = if changes_schema(&execution.sql) {
            self.alter(execution)
        } else {
            self.run_all(execution)
        };
        set(None);
        self.judge.judging.store(false, Ordering::Relaxed);
        let refused = self.judge.rules().refused.take();
        ran.map_err(|e| match refused {
            Some(why) => Failure { code: 1, why },
            None => failure(&e),
        })
    }

    fn run_all(&self, execution: &Execution) -> rusqlite::Result<String> {
        let conn = self.connection();
        let mut values = execution.arguments.as_slice();
        let mut answer = Answer::default();
        self.judge.judging.store(true, Ordering::Relaxed);
        match conn.prepare_cached(&execution.sql) {
            Ok(mut statement) => self.step(&mut statement, &mut values, &mut answer)?,
            Err(rusqlite::Error::MultipleStatement) => {
                let mut batch = rusqlite::Batch::new(conn, &execution.sql);
                while let Some(mut statement) = batch.next()? {
                    self.step(&mut statement, &mut values, &mut answer)?;
                    self.judge.judging.store(true, Ordering::Relaxed);
                }
            }
            Err(e) => return Err(e),
        }
        if !values.is_empty() {
            return Err(wrong(format!("{} values too many", values.len())));
        }
        answer.text()
    }

    /// Runs one statement, which takes as many of the values as it has parameters.
    fn step(
        &self,
        statement: &mut Statement<'_>,
        values: &mut &[OwnedValue],
        answer: &mut Answer,
    ) -> rusqlite::Result<()> {
        // From here on SQLite prepares only what we need ourselves.
        self.judge.judging.store(false, Ordering::Relaxed);
        let count = statement.parameter_count();
        let Some((mine, rest)) = values.split_at_checked(count) else {
            let missing = count - values.len();
            return Err(wrong(format!("{missing} values too few")));
        };
        *values = rest;
        for (n, value) in mine.iter().enumerate() {
            statement.raw_bind_parameter(n + 1, bound(value))?;
        }
        let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
        let mut rows = statement.raw_query();
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let mut fields = Map::new();
            for (n, name) in names.iter().enumerate() {
                let value = row.get_ref(n)?;
                answer.bytes += name.len() + size(value);
                fields.insert(name.clone(), json(value));
            }
            if answer.bytes > RESULT_BYTES / 2 {
                return Err(wrong(
                    "it answers too much; read with SELECT instead".to_owned(),
                ));
            }
            found.push(Json::Object(fields));
        }
        drop(rows);
        if !names.is_empty() {
            answer.rows = Some(found);
        }
        if !statement.readonly() {
            answer.changes += self.connection().changes();
        }
        Ok(())
    }
}

/// Whether a call changes tables: it is a transaction of its own.
pub(super) fn changes_schema(sql: &str) -> bool {
    let first = sql.split_whitespace().next().unwrap_or_default();
    ["ALTER", "CREATE", "DROP"]
        .iter()
        .any(|word| first.eq_ignore_ascii_case(word))
}

/// What is answered.
#[derive(Default)]
struct Answer {
    changes: u64,
    /// Of the last statement that answers rows.
    rows: Option<Vec<Json>>,
    bytes: usize,
}

impl Answer {
    fn text(self) -> rusqlite::Result<String> {
        let mut fields = Map::new();
        fields.insert("changes".to_owned(), self.changes.into());
        if let Some(rows) = self.rows {
            fields.insert("rows".to_owned(), Json::Array(rows));
        }
        let text = Json::Object(fields).to_string();
        if text.len() > RESULT_BYTES {
            return Err(wrong(
                "it answers too much; read with SELECT instead".to_owned(),
            ));
        }
        Ok(text)
    }
}

fn size(value: ValueRef<'_>) -> usize {
    match value {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.len(),
        _ => 8,
    }
}

fn json(value: ValueRef<'_>) -> Json {
    match value {
        ValueRef::Null => Json::Null,
        ValueRef::Integer(i) => i.into(),
        ValueRef::Real(r) => r.into(),
        ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned().into(),
        ValueRef::Blob(bytes) => crate::sql::to_hex(bytes).into(),
    }
}

fn bound(value: &OwnedValue) -> ToSqlOutput<'_> {
    match value {
        OwnedValue::Null => ToSqlOutput::Owned(Value::Null),
        OwnedValue::Int(i) => ToSqlOutput::Owned(Value::Integer(*i)),
        OwnedValue::Real(r) => ToSqlOutput::Owned(Value::Real(*r)),
        OwnedValue::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text)),
        OwnedValue::Blob(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
    }
}

/// A failure that SQLite did not find.
fn wrong(why: String) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(1), Some(why))
}

impl From<Failure> for Reply {
    fn from(Failure { code, why }: Failure) -> Self {
        Self::Failed { code, why }
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        failure(&error)
    }
}

fn failure(error: &rusqlite::Error) -> Failure {
    match error {
        rusqlite::Error::SqliteFailure(code, why) => Failure {
            code: code.extended_code,
            why: why.clone().unwrap_or_else(|| code.to_string()),
        },
        rusqlite::Error::SqlInputError { error, msg, .. } => Failure {
            code: error.extended_code,
            why: msg.clone(),
        },
        other => Failure {
            code: 1,
            why: other.to_string(),
        },
    }
}

impl Judge {
    fn rules(&self) -> std::sync::MutexGuard<'_, Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn judge(&self, context: &AuthContext<'_>) -> Authorization {
        if !self.judging.load(Ordering::Relaxed) || context.accessor.is_some() {
            return Authorization::Allow;
        }
        let mut rules = self.rules();
        let refused = match context.action {
            AuthAction::Select | AuthAction::Read { .. } | AuthAction::Recursive => None,
            AuthAction::Insert { table_name }
            | AuthAction::Delete { table_name }
            | AuthAction::Update { table_name, .. }
                if !table_name.starts_with("sqlite_") =>
            {
                let name = table_name.to_ascii_lowercase();
                (!rules.replicated.contains(&name)).then(|| {
                    format!(
                        "nuda_exec writes replicated tables, and {table_name} is none; write it \
                         where you are"
                    )
                })
            }
            AuthAction::Function { function_name } => {
                let ours = function_name.starts_with("nuda_") && function_name != "nuda_uuid7";
                ours.then(|| format!("{function_name} is not for nuda_exec; call it where you are"))
            }
            AuthAction::Transaction { .. } | AuthAction::Savepoint { .. } => Some(
                "what nuda_exec runs is one transaction already; leave BEGIN, COMMIT and \
                 savepoints out"
                    .to_owned(),
            ),
            _ => Some(
                "nuda_exec changes rows of replicated tables, or tables (ALTER TABLE, CREATE INDEX, DROP \
                 INDEX, DROP TABLE, in a call of their own); do anything else where you are"
                    .to_owned(),
            ),
        };
        match refused {
            None => Authorization::Allow,
            Some(why) => {
                rules.refused.get_or_insert(why);
                Authorization::Deny
            }
        }
    }
}
