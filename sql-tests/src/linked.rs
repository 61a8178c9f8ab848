//! A connection of rusqlite in this process, with the extension linked statically.

use std::sync::OnceLock;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

use crate::session::{Answer, Open, Session};

struct Linked(Connection);

/// Opens `open` with rusqlite. Its connections always have the extension.
pub(crate) fn open(open: &Open<'_>) -> Result<Box<dyn Session>, String> {
    static REGISTERED: OnceLock<Result<(), String>> = OnceLock::new();
    REGISTERED
        .get_or_init(|| {
            nuda::register_static(rusqlite::ffi::sqlite3_auto_extension).map_err(|e| e.to_string())
        })
        .clone()?;
    let flags = if open.read_only {
        OpenFlags::SQLITE_OPEN_READ_ONLY
    } else {
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE
    };
    let connection = Connection::open_with_flags(open.file, flags).map_err(|e| message(&e))?;
    Ok(Box::new(Linked(connection)))
}

fn message(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqliteFailure(_, Some(text)) => text.clone(),
        rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
        other => other.to_string(),
    }
}

impl Session for Linked {
    fn run(&mut self, statement: &str) -> Answer {
        let mut answer = Answer::default();
        if let Err(error) = collect(&self.0, statement, &mut answer.rows) {
            answer.error = Some(message(&error));
        }
        answer
    }
}

fn collect(connection: &Connection, sql: &str, found: &mut Vec<String>) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(sql)?;
    let width = statement.column_count();
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let mut texts = Vec::with_capacity(width);
        for column in 0..width {
            texts.push(match row.get_ref(column)? {
                ValueRef::Null => "NULL".to_owned(),
                ValueRef::Integer(n) => n.to_string(),
                ValueRef::Real(r) => format!("{r:?}"),
                ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
                    String::from_utf8_lossy(bytes).into_owned()
                }
            });
        }
        // A value may span lines, as it does in the shell.
        found.extend(texts.join("|").split('\n').map(str::to_owned));
    }
    Ok(())
}
