//! Table-valued functions and read-only tables: a Rust iterator as an eponymous virtual table.
//!
//! A [`Source`] declares its columns (the trailing ones may be hidden parameters) and answers
//! rows one by one, so that a reader who stops early costs nothing more.

use std::ffi::{CString, c_void};
use std::os::raw::{c_char, c_int};
use std::ptr;
use std::rc::Rc;

use nuda_core::value::OwnedValue;
use sqlite3_ext::ffi;

use super::value::{Args, set_result};
use super::{guarded, leave_message};
use crate::connection::Connection;
use crate::error::{Error, Result};

/// Rows, one after the other.
pub(crate) trait Rows {
    /// The next row, or `None` at the end.
    fn next_row(&mut self) -> Result<Option<Vec<OwnedValue>>>;
}

/// Begins an answer for these parameters.
type Open = fn(&Rc<Connection>, &[OwnedValue]) -> Result<Box<dyn Rows>>;

/// What a table is in Rust.
pub(crate) struct Source {
    /// Name in SQL.
    pub(crate) name: &'static str,
    /// Visible columns.
    pub(crate) columns: &'static [&'static str],
    /// Parameters, as hidden columns; all optional (NULL).
    pub(crate) parameters: &'static [&'static str],
    /// Begins an answer.
    pub(crate) open: Open,
}

struct Registered {
    connection: Rc<Connection>,
    source: &'static Source,
}

#[repr(C)]
struct Table {
    base: ffi::sqlite3_vtab,
    connection: Rc<Connection>,
    source: &'static Source,
}

#[repr(C)]
struct Cursor {
    base: ffi::sqlite3_vtab_cursor,
    rows: Option<Box<dyn Rows>>,
    parameters: Vec<OwnedValue>,
    current: Option<Vec<OwnedValue>>,
    rowid: i64,
}

static METHODS: ffi::sqlite3_module = ffi::sqlite3_module {
    iVersion: 1,
    xCreate: None,
    xConnect: Some(connect),
    xBestIndex: Some(best_index),
    xDisconnect: Some(disconnect),
    xDestroy: None,
    xOpen: Some(open),
    xClose: Some(close),
    xFilter: Some(filter),
    xNext: Some(next),
    xEof: Some(eof),
    xColumn: Some(column),
    xRowid: Some(rowid),
    xUpdate: None,
    xBegin: None,
    xSync: None,
    xCommit: None,
    xRollback: None,
    xFindFunction: None,
    xRename: None,
    xSavepoint: None,
    xRelease: None,
    xRollbackTo: None,
    xShadowName: None,
    xIntegrity: None,
};

/// Registers a source on a connection.
pub(crate) fn register(connection: &Rc<Connection>, source: &'static Source) -> Result<()> {
    let name = CString::new(source.name).map_err(|_| Error::internal("a name with NUL"))?;
    let data = Box::new(Registered {
        connection: Rc::clone(connection),
        source,
    });
    // SAFETY: the handle is open; METHODS is static; SQLite frees `data` by `drop_data`.
    let code = unsafe {
        ffi::sqlite3_create_module_v2(
            connection.db().raw(),
            name.as_ptr(),
            &raw const METHODS,
            Box::into_raw(data).cast(),
            Some(drop_data),
        )
    };
    if code == ffi::SQLITE_OK {
        Ok(())
    } else {
        Err(connection.db().error(code))
    }
}

unsafe extern "C" fn drop_data(data: *mut c_void) {
    // SAFETY: made by Box::into_raw in `register`.
    drop(unsafe { Box::from_raw(data.cast::<Registered>()) });
}

unsafe extern "C" fn connect(
    db: *mut ffi::sqlite3,
    data: *mut c_void,
    _argc: c_int,
    _argv: *const *const c_char,
    table: *mut *mut ffi::sqlite3_vtab,
    _message: *mut *mut c_char,
) -> c_int {
    // SAFETY: SQLite passes our module data and a place for the table.
    unsafe {
        let registered = &*data.cast::<Registered>();
        let source = registered.source;
        let hidden = source.parameters.iter().map(|p| format!("\"{p}\" HIDDEN"));
        let columns: Vec<String> = source
            .columns
            .iter()
            .map(|c| format!("\"{c}\""))
            .chain(hidden)
            .collect();
        let sql = format!("CREATE TABLE rows({})", columns.join(","));
        let Ok(sql) = CString::new(sql) else {
            return ffi::SQLITE_INTERNAL;
        };
        let code = ffi::sqlite3_declare_vtab(db, sql.as_ptr());
        if code != ffi::SQLITE_OK {
            return code;
        }
        *table = Box::into_raw(Box::new(Table {
            base: ffi::sqlite3_vtab {
                pModule: ptr::null(),
                nRef: 0,
                zErrMsg: ptr::null_mut(),
            },
            connection: Rc::clone(&registered.connection),
            source,
        }))
        .cast();
        super::kept::connected(registered.connection.db());
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn disconnect(table: *mut ffi::sqlite3_vtab) -> c_int {
    // SAFETY: made by `connect`.
    let table = unsafe { Box::from_raw(table.cast::<Table>()) };
    let _ = guarded(|| {
        table.connection.forget_statements();
        super::kept::disconnected(table.connection.db());
        Ok(())
    });
    ffi::SQLITE_OK
}

/// Every equality on a parameter is passed to `filter`, in the order of the parameters; the
/// bits of idxNum say which ones are there.
unsafe extern "C" fn best_index(
    table: *mut ffi::sqlite3_vtab,
    info: *mut ffi::sqlite3_index_info,
) -> c_int {
    // SAFETY: SQLite passes a connected table and arrays of nConstraint elements.
    unsafe {
        let this = &*table.cast::<Table>();
        let first = this.source.columns.len();
        let count = usize::try_from((*info).nConstraint).unwrap_or(0);
        let mut given = 0;
        let mut position = 0;
        for parameter in 0..this.source.parameters.len() {
            for n in 0..count {
                let constraint = &*(*info).aConstraint.add(n);
                if usize::try_from(constraint.iColumn) != Ok(first + parameter)
                    || c_int::from(constraint.op) != ffi::SQLITE_INDEX_CONSTRAINT_EQ
                {
                    continue;
                }
                if constraint.usable == 0 {
                    return ffi::SQLITE_CONSTRAINT;
                }
                position += 1;
                given |= 1 << parameter;
                let usage = &mut *(*info).aConstraintUsage.add(n);
                usage.argvIndex = position;
                usage.omit = 1;
                break;
            }
        }
        (*info).idxNum = given;
        (*info).estimatedCost = 1_000.0;
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn open(
    _table: *mut ffi::sqlite3_vtab,
    cursor: *mut *mut ffi::sqlite3_vtab_cursor,
) -> c_int {
    let made = Box::new(Cursor {
        base: ffi::sqlite3_vtab_cursor {
            pVtab: ptr::null_mut(),
        },
        rows: None,
        parameters: Vec::new(),
        current: None,
        rowid: 0,
    });
    // SAFETY: SQLite passes a place for the cursor.
    unsafe { *cursor = Box::into_raw(made).cast() };
    ffi::SQLITE_OK
}

unsafe extern "C" fn close(cursor: *mut ffi::sqlite3_vtab_cursor) -> c_int {
    // SAFETY: made by `open`.
    let cursor = unsafe { Box::from_raw(cursor.cast::<Cursor>()) };
    let _ = guarded(|| {
        drop(cursor);
        Ok(())
    });
    ffi::SQLITE_OK
}

/// Runs a step of a cursor; an error leaves its text in the table.
///
/// # Safety
/// `cursor` is open on a connected table.
unsafe fn with(
    cursor: *mut ffi::sqlite3_vtab_cursor,
    body: impl FnOnce(&mut Cursor, &Table) -> Result<()>,
) -> c_int {
    // SAFETY: as promised by the caller; SQLite set pVtab when it opened the cursor.
    unsafe {
        let table = (*cursor).pVtab;
        let this = &mut *cursor.cast::<Cursor>();
        match guarded(|| body(this, &*table.cast::<Table>())) {
            Ok(()) => ffi::SQLITE_OK,
            Err(error) => {
                leave_message(table, &error);
                error.code
            }
        }
    }
}

unsafe extern "C" fn filter(
    cursor: *mut ffi::sqlite3_vtab_cursor,
    given: c_int,
    _text: *const c_char,
    argc: c_int,
    argv: *mut *mut ffi::sqlite3_value,
) -> c_int {
    // SAFETY: SQLite passes an open cursor and argc values.
    unsafe {
        let args = Args::new(argc, argv);
        with(cursor, |cursor, table| {
            let mut next = 0;
            cursor.parameters = (0..table.source.parameters.len())
                .map(|parameter| {
                    if given & (1 << parameter) == 0 {
                        return OwnedValue::Null;
                    }
                    next += 1;
                    args.get(next - 1).into()
                })
                .collect();
            let mut rows = (table.source.open)(&table.connection, &cursor.parameters)?;
            cursor.current = rows.next_row()?;
            cursor.rows = Some(rows);
            cursor.rowid = 1;
            Ok(())
        })
    }
}

unsafe extern "C" fn next(cursor: *mut ffi::sqlite3_vtab_cursor) -> c_int {
    // SAFETY: SQLite passes an open cursor.
    unsafe {
        with(cursor, |cursor, _| {
            cursor.current = match &mut cursor.rows {
                Some(rows) => rows.next_row()?,
                None => None,
            };
            cursor.rowid += 1;
            Ok(())
        })
    }
}

unsafe extern "C" fn eof(cursor: *mut ffi::sqlite3_vtab_cursor) -> c_int {
    // SAFETY: SQLite passes an open cursor.
    c_int::from(unsafe { (*cursor.cast::<Cursor>()).current.is_none() })
}

unsafe extern "C" fn column(
    cursor: *mut ffi::sqlite3_vtab_cursor,
    context: *mut ffi::sqlite3_context,
    n: c_int,
) -> c_int {
    // SAFETY: SQLite passes an open cursor and the context for the answer.
    unsafe {
        let cursor = &*cursor.cast::<Cursor>();
        let n = usize::try_from(n).unwrap_or(usize::MAX);
        let row = cursor.current.as_deref().unwrap_or_default();
        let value = row
            .get(n)
            .or_else(|| cursor.parameters.get(n.wrapping_sub(row.len())));
        set_result(context, value.unwrap_or(&OwnedValue::Null));
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn rowid(cursor: *mut ffi::sqlite3_vtab_cursor, rowid: *mut i64) -> c_int {
    // SAFETY: SQLite passes an open cursor and a place for the rowid.
    unsafe { *rowid = (*cursor.cast::<Cursor>()).rowid };
    ffi::SQLITE_OK
}
