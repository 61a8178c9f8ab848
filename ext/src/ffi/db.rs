//! Running SQL on the connection that loaded the extension.
//!
//! [`Db`] borrows the connection's handle: it is only used inside callbacks, while SQLite
//! holds the connection's mutex and keeps the handle alive. [`Stmt`] owns a prepared
//! statement; cached ones are dropped before the connection closes (see `connection`).

use std::ffi::{CStr, CString, c_void};
use std::os::raw::c_int;
use std::ptr;
use std::sync::Arc;

use nuda_core::value::{OwnedValue, Value};
use sqlite3_ext::ffi;

use super::kept;
use super::value::bytes;
use crate::error::{Error, Result};

/// A connection's handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Db(*mut ffi::sqlite3);

/// The handle for the file's hooks, which SQLite calls while it holds the connection's mutex.
#[derive(Debug)]
pub(crate) struct SharedDb(Db);

// SAFETY: the handle is used in `pragma` and `total_changes` only, which SQLite calls from the thread
// that holds the connection's mutex, while the connection is open.
unsafe impl Send for SharedDb {}
// SAFETY: as above.
unsafe impl Sync for SharedDb {}

impl SharedDb {
    pub(crate) fn new(db: Db) -> Self {
        Self(db)
    }

    /// See [`Db::total_changes`].
    pub(crate) fn total_changes(&self) -> i32 {
        self.0.total_changes()
    }

    /// Answers `PRAGMA name[=value]` by the function of that name; `None` if it is none of ours.
    pub(crate) fn pragma(
        &self,
        name: &str,
        value: Option<&str>,
    ) -> Option<std::result::Result<String, String>> {
        use crate::strong::levels::{READ, STALENESS, TIMEOUT, WRITE};
        let name = [WRITE, READ, TIMEOUT, STALENESS]
            .into_iter()
            .find(|n| *n == name)?;
        let answer = match value {
            None => self.0.text(&format!("SELECT {name}()"), &[]),
            Some(value) => self.0.text(
                &format!("SELECT {name}(?)"),
                &[Value::Text(value.as_bytes())],
            ),
        };
        Some(match answer {
            Ok(answer) => Ok(answer.unwrap_or_default()),
            Err(error) => Err(error.to_string()),
        })
    }
}

impl Db {
    /// # Safety
    /// `raw` is an open connection that outlives every use of the result.
    pub(crate) unsafe fn from_raw(raw: *mut ffi::sqlite3) -> Self {
        Self(raw)
    }

    pub(crate) fn raw(self) -> *mut ffi::sqlite3 {
        self.0
    }

    /// The error that the connection remembers.
    #[cold]
    pub(crate) fn error(self, code: c_int) -> Error {
        // SAFETY: the handle is open; the message is copied before the next call.
        let message = unsafe { CStr::from_ptr(ffi::sqlite3_errmsg(self.0)) };
        Error::new(code, message.to_string_lossy())
    }

    /// Prepares a statement, or takes one that is kept (see [`super::kept`]).
    pub(crate) fn prepare(self, sql: &str) -> Result<Stmt> {
        if let Some((raw, text)) = kept::take(self, sql) {
            let kept = Some(text);
            return Ok(Stmt {
                db: self,
                raw,
                kept,
            });
        }
        let mut raw = ptr::null_mut();
        let len = c_int::try_from(sql.len()).map_err(|_| Error::refused("SQL too long"))?;
        // SAFETY: the handle is open, the text is `len` bytes long, the tail is not wanted.
        let code = unsafe {
            ffi::sqlite3_prepare_v2(
                self.0,
                sql.as_ptr().cast(),
                len,
                &raw mut raw,
                ptr::null_mut(),
            )
        };
        if code != ffi::SQLITE_OK || raw.is_null() {
            return Err(self.error(code));
        }
        let kept = kept::is_keepable(sql).then(|| sql.into());
        Ok(Stmt {
            db: self,
            raw,
            kept,
        })
    }

    /// Runs statements that answer no rows anybody wants.
    pub(crate) fn exec(self, sql: &str) -> Result<()> {
        let sql = CString::new(sql).map_err(|_| Error::refused("SQL with a NUL byte"))?;
        // SAFETY: the handle is open and the text ends in NUL; no callback, no message.
        let code = unsafe {
            ffi::sqlite3_exec(self.0, sql.as_ptr(), None, ptr::null_mut(), ptr::null_mut())
        };
        if code == ffi::SQLITE_OK {
            Ok(())
        } else {
            Err(self.error(code))
        }
    }

    /// Runs one statement with values bound.
    pub(crate) fn run(self, sql: &str, values: &[Value<'_>]) -> Result<()> {
        let mut statement = self.prepare(sql)?;
        statement.bind(values)?;
        while statement.step()? {}
        Ok(())
    }

    /// The first row of a query, if there is one.
    pub(crate) fn first(self, sql: &str, values: &[Value<'_>]) -> Result<Option<Vec<OwnedValue>>> {
        let mut statement = self.prepare(sql)?;
        statement.bind(values)?;
        Ok(if statement.step()? {
            Some(statement.row())
        } else {
            None
        })
    }

    /// All rows of a small query.
    pub(crate) fn all(self, sql: &str, values: &[Value<'_>]) -> Result<Vec<Vec<OwnedValue>>> {
        let mut statement = self.prepare(sql)?;
        statement.bind(values)?;
        let mut rows = Vec::new();
        while statement.step()? {
            rows.push(statement.row());
        }
        Ok(rows)
    }

    /// The first column of the first row as an integer; 0 if there is none.
    pub(crate) fn int(self, sql: &str, values: &[Value<'_>]) -> Result<i64> {
        let mut statement = self.prepare(sql)?;
        statement.bind(values)?;
        Ok(if statement.step()? {
            statement.int(0)
        } else {
            0
        })
    }

    /// The first column of the first row as text, unless NULL or missing.
    pub(crate) fn text(self, sql: &str, values: &[Value<'_>]) -> Result<Option<String>> {
        let mut statement = self.prepare(sql)?;
        statement.bind(values)?;
        Ok(if statement.step()? {
            statement.text(0)
        } else {
            None
        })
    }

    /// Whether no transaction is open.
    pub(crate) fn is_autocommit(self) -> bool {
        // SAFETY: the handle is open.
        unsafe { ffi::sqlite3_get_autocommit(self.0) != 0 }
    }

    pub(crate) fn last_insert_rowid(self) -> i64 {
        // SAFETY: the handle is open.
        unsafe { ffi::sqlite3_last_insert_rowid(self.0) }
    }

    pub(crate) fn set_last_insert_rowid(self, rowid: i64) {
        // SAFETY: the handle is open.
        unsafe { ffi::sqlite3_set_last_insert_rowid(self.0, rowid) }
    }

    /// Rows changed by the statement that ended last.
    pub(crate) fn changes(self) -> i32 {
        // SAFETY: the handle is open.
        unsafe { ffi::sqlite3_changes(self.0) }
    }

    /// Rows changed since the connection was opened, by statements and triggers' steps that ended.
    pub(crate) fn total_changes(self) -> i32 {
        // SAFETY: the handle is open.
        unsafe { ffi::sqlite3_total_changes(self.0) }
    }

    /// Changes with every commit to the main database's file that this connection has seen, its own
    /// among them.
    pub(crate) fn data_version(self) -> Option<u32> {
        let mut version = 0u32;
        // SAFETY: the handle is open, the name ends in NUL, and this question is answered with 32 bits.
        let code = unsafe {
            ffi::sqlite3_file_control(
                self.0,
                c"main".as_ptr(),
                ffi::SQLITE_FCNTL_DATA_VERSION,
                (&raw mut version).cast(),
            )
        };
        (code == ffi::SQLITE_OK).then_some(version)
    }

    /// The conflict policy of the statement whose row is being captured.
    pub(crate) fn replaces(self) -> bool {
        // SAFETY: only called from inside a virtual table's update method.
        unsafe { ffi::sqlite3_vtab_on_conflict(self.0) == ffi::SQLITE_REPLACE }
    }

    /// Whether a statement that writes is being run. SAVEPOINT itself counts as none.
    pub(crate) fn is_writing(self) -> bool {
        // SAFETY: the handle is open, and the statements are its own.
        unsafe {
            let mut statement = ffi::sqlite3_next_stmt(self.0, ptr::null_mut());
            while !statement.is_null() {
                if ffi::sqlite3_stmt_busy(statement) != 0
                    && ffi::sqlite3_stmt_readonly(statement) == 0
                {
                    return true;
                }
                statement = ffi::sqlite3_next_stmt(self.0, statement);
            }
        }
        false
    }

    /// Path of the main database's file; empty for a temporary or in-memory one.
    pub(crate) fn path(self) -> String {
        // SAFETY: the handle is open; the name is copied at once.
        unsafe {
            let name = ffi::sqlite3_db_filename(self.0, c"main".as_ptr());
            if name.is_null() {
                String::new()
            } else {
                CStr::from_ptr(name).to_string_lossy().into_owned()
            }
        }
    }

    /// Whether the main database cannot be written.
    pub(crate) fn is_read_only(self) -> bool {
        // SAFETY: the handle is open.
        unsafe { ffi::sqlite3_db_readonly(self.0, c"main".as_ptr()) == 1 }
    }

    /// Switches a connection setting and answers how it was.
    pub(crate) fn switch(self, setting: Setting, on: bool) -> Result<bool> {
        let was = self.is_on(setting)?;
        if was != on {
            let mut now: c_int = 0;
            // SAFETY: these settings take an int and a pointer to an int.
            let code = unsafe {
                ffi::sqlite3_db_config()(self.0, setting.op(), c_int::from(on), &raw mut now)
            };
            if code != ffi::SQLITE_OK {
                return Err(self.error(code));
            }
        }
        Ok(was)
    }

    /// Whether a connection setting is on.
    pub(crate) fn is_on(self, setting: Setting) -> Result<bool> {
        let mut now: c_int = 0;
        // SAFETY: -1 asks without changing.
        let code =
            unsafe { ffi::sqlite3_db_config()(self.0, setting.op(), -1 as c_int, &raw mut now) };
        if code == ffi::SQLITE_OK {
            Ok(now != 0)
        } else {
            Err(self.error(code))
        }
    }

    /// The declared collation of a column of the main database.
    pub(crate) fn collation(self, table: &str, column: &str) -> Option<String> {
        let (table, column) = (CString::new(table).ok()?, CString::new(column).ok()?);
        let mut collation = ptr::null();
        // SAFETY: names end in NUL; unwanted answers are null; the answer is copied at once.
        unsafe {
            let code = ffi::sqlite3_table_column_metadata(
                self.0,
                c"main".as_ptr(),
                table.as_ptr(),
                column.as_ptr(),
                ptr::null_mut(),
                &raw mut collation,
                ptr::null_mut(),
                ptr::null_mut(),
                ptr::null_mut(),
            );
            (code == ffi::SQLITE_OK && !collation.is_null())
                .then(|| CStr::from_ptr(collation).to_string_lossy().into_owned())
        }
    }
}

/// A setting of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setting {
    /// Whether triggers fire.
    Triggers,
    /// Whether foreign keys are enforced.
    ForeignKeys,
}

impl Setting {
    fn op(self) -> c_int {
        match self {
            Self::Triggers => ffi::SQLITE_DBCONFIG_ENABLE_TRIGGER,
            Self::ForeignKeys => ffi::SQLITE_DBCONFIG_ENABLE_FKEY,
        }
    }
}

/// A prepared statement.
#[derive(Debug)]
pub(crate) struct Stmt {
    db: Db,
    raw: *mut ffi::sqlite3_stmt,
    /// Its text, if it is given back after use.
    kept: Option<Arc<str>>,
}

impl Stmt {
    /// Starts over with these values for the parameters; they are copied.
    #[inline(never)]
    pub(crate) fn bind(&mut self, values: &[Value<'_>]) -> Result<()> {
        self.reset();
        for (n, value) in values.iter().enumerate() {
            // SAFETY: SQLITE_TRANSIENT makes SQLite copy the bytes before the call returns.
            unsafe { self.bind_one(n, *value, ffi::sqlite_transient())? };
        }
        Ok(())
    }

    /// Binds parameter `n` (from 0).
    ///
    /// # Safety
    /// Without a `destructor` (SQLITE_STATIC) the value outlives its binding.
    unsafe fn bind_one(
        &mut self,
        n: usize,
        value: Value<'_>,
        destructor: Option<unsafe extern "C" fn(*mut c_void)>,
    ) -> Result<()> {
        let n = c_int::try_from(n + 1).unwrap_or(c_int::MAX);
        // SAFETY: the statement is alive and reset; the caller vouches for the bytes.
        let code = unsafe {
            match value {
                Value::Null => ffi::sqlite3_bind_null(self.raw, n),
                Value::Int(i) => ffi::sqlite3_bind_int64(self.raw, n, i),
                Value::Real(r) => ffi::sqlite3_bind_double(self.raw, n, r),
                Value::Text(b) => ffi::sqlite3_bind_text64(
                    self.raw,
                    n,
                    b.as_ptr().cast(),
                    b.len() as u64,
                    destructor,
                    u8::try_from(ffi::SQLITE_UTF8).unwrap_or(1),
                ),
                Value::Blob(b) => ffi::sqlite3_bind_blob64(
                    self.raw,
                    n,
                    b.as_ptr().cast(),
                    b.len() as u64,
                    destructor,
                ),
            }
        };
        if code == ffi::SQLITE_OK {
            Ok(())
        } else {
            Err(self.db.error(code))
        }
    }

    /// Runs to the next row; `false` at the end.
    #[inline(never)]
    pub(crate) fn step(&mut self) -> Result<bool> {
        // SAFETY: the statement is alive.
        match unsafe { ffi::sqlite3_step(self.raw) } {
            ffi::SQLITE_ROW => Ok(true),
            ffi::SQLITE_DONE => Ok(false),
            _ => {
                // SAFETY: the handle is open.
                let code = unsafe { ffi::sqlite3_extended_errcode(self.db.0) };
                let error = self.db.error(code);
                self.reset();
                Err(error)
            }
        }
    }

    /// Ends the current run; the statement can be used again.
    pub(crate) fn reset(&mut self) {
        // SAFETY: the statement is alive; its last error was already reported by step.
        unsafe {
            ffi::sqlite3_reset(self.raw);
        }
    }

    /// Binds without copying, runs to the end, and lets go of the values.
    pub(crate) fn run(&mut self, values: &[Value<'_>]) -> Result<()> {
        self.reset();
        let result = self.run_bound(values);
        self.reset();
        // SAFETY: the statement is alive. Nothing stays bound, so nothing can dangle.
        unsafe {
            ffi::sqlite3_clear_bindings(self.raw);
        }
        result
    }

    fn run_bound(&mut self, values: &[Value<'_>]) -> Result<()> {
        for (n, value) in values.iter().enumerate() {
            // SAFETY: `run` clears the bindings before the values' borrow ends, on every path.
            unsafe { self.bind_one(n, *value, None)? };
        }
        while self.step()? {}
        Ok(())
    }

    pub(crate) fn columns(&self) -> usize {
        // SAFETY: the statement is alive.
        usize::try_from(unsafe { ffi::sqlite3_column_count(self.raw) }).unwrap_or(0)
    }

    /// Column `n` of the current row, borrowed until the next step.
    pub(crate) fn value(&self, n: usize) -> Value<'_> {
        let n = c_int::try_from(n).unwrap_or(c_int::MAX);
        // SAFETY: the statement is alive; pointers live until the next step, which needs
        // `&mut self` and so cannot happen while the value is borrowed.
        unsafe {
            match ffi::sqlite3_column_type(self.raw, n) {
                ffi::SQLITE_INTEGER => Value::Int(ffi::sqlite3_column_int64(self.raw, n)),
                ffi::SQLITE_FLOAT => Value::Real(ffi::sqlite3_column_double(self.raw, n)),
                // In this order, and as a BLOB: see the arguments of callbacks.
                ffi::SQLITE_TEXT => {
                    let len = ffi::sqlite3_column_bytes(self.raw, n);
                    Value::Text(bytes(ffi::sqlite3_column_blob(self.raw, n), len))
                }
                ffi::SQLITE_BLOB => {
                    let blob = ffi::sqlite3_column_blob(self.raw, n);
                    Value::Blob(bytes(blob, ffi::sqlite3_column_bytes(self.raw, n)))
                }
                _ => Value::Null,
            }
        }
    }

    pub(crate) fn int(&self, n: usize) -> i64 {
        match self.value(n) {
            Value::Int(i) => i,
            _ => 0,
        }
    }

    pub(crate) fn text(&self, n: usize) -> Option<String> {
        match self.value(n) {
            Value::Text(b) => Some(String::from_utf8_lossy(b).into_owned()),
            _ => None,
        }
    }

    #[inline(never)]
    pub(crate) fn blob(&self, n: usize) -> &[u8] {
        match self.value(n) {
            Value::Blob(b) => b,
            _ => &[],
        }
    }

    /// The current row, copied.
    pub(crate) fn row(&self) -> Vec<OwnedValue> {
        (0..self.columns()).map(|n| self.value(n).into()).collect()
    }
}

impl Drop for Stmt {
    fn drop(&mut self) {
        if let Some(sql) = self.kept.take() {
            return kept::give(self.db, sql, self.raw);
        }
        // SAFETY: prepared by `Db::prepare`, finalized once.
        unsafe {
            ffi::sqlite3_finalize(self.raw);
        }
    }
}
