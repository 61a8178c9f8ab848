//! The virtual table behind the capture triggers, as C sees it.
//!
//! A write-only table of a given width, created in the user's schema by `nuda_track`. Its
//! methods only forward to [`crate::capture`]: update buffers a change, sync writes the log
//! record inside the committing transaction, the savepoint methods move the buffer's end.
//! All capture tables of a connection share one buffer, and savepoint calls are idempotent,
//! so it does not matter how many of them take part in a transaction.

use std::ffi::{CStr, CString, c_void};
use std::fmt::Write;
use std::os::raw::{c_char, c_int};
use std::ptr;
use std::rc::Rc;

use sqlite3_ext::ffi;

use super::value::Args;
use super::{guarded, leave_message, owned_message};
use crate::connection::Connection;
use crate::error::{Error, Result};
use crate::sql::same_name;

/// The module's name. It is chosen so that SQLite's message to a connection without the
/// extension says what to do: "no such module: nuda (load the extension: .load ./libnuda)".
pub(crate) const MODULE: &str = "nuda (load the extension: .load ./libnuda)";

#[repr(C)]
struct Table {
    base: ffi::sqlite3_vtab,
    connection: Rc<Connection>,
    /// Whether this table is in the main database; NUDA captures no other.
    is_main: bool,
}

#[repr(C)]
struct Cursor {
    base: ffi::sqlite3_vtab_cursor,
}

static METHODS: ffi::sqlite3_module = ffi::sqlite3_module {
    iVersion: 2,
    xCreate: Some(connect),
    xConnect: Some(connect),
    xBestIndex: Some(best_index),
    xDisconnect: Some(disconnect),
    xDestroy: Some(disconnect),
    xOpen: Some(open),
    xClose: Some(close),
    xFilter: Some(filter),
    xNext: Some(next),
    xEof: Some(eof),
    xColumn: Some(column),
    xRowid: Some(rowid),
    xUpdate: Some(update),
    xBegin: Some(begin),
    xSync: Some(sync),
    xCommit: Some(commit),
    xRollback: Some(rollback),
    xFindFunction: None,
    xRename: None,
    xSavepoint: Some(savepoint),
    xRelease: Some(release),
    xRollbackTo: Some(rollback_to),
    xShadowName: None,
    xIntegrity: None,
};

/// Registers the module on a connection.
pub(crate) fn register(connection: &Rc<Connection>) -> Result<()> {
    let name = CString::new(MODULE).map_err(|_| Error::internal("a name with NUL"))?;
    let data = Box::into_raw(Box::new(Rc::clone(connection)));
    // SAFETY: the handle is open; METHODS is static; SQLite frees `data` by `drop_data`,
    // also when the registration fails.
    let code = unsafe {
        ffi::sqlite3_create_module_v2(
            connection.db().raw(),
            name.as_ptr(),
            &raw const METHODS,
            data.cast(),
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
    drop(unsafe { Box::from_raw(data.cast::<Rc<Connection>>()) });
}

unsafe extern "C" fn connect(
    db: *mut ffi::sqlite3,
    data: *mut c_void,
    argc: c_int,
    argv: *const *const c_char,
    table: *mut *mut ffi::sqlite3_vtab,
    message: *mut *mut c_char,
) -> c_int {
    // SAFETY: SQLite passes our module data, argc strings, and places for the answers.
    unsafe {
        let connection = &*data.cast::<Rc<Connection>>();
        let arg = |n: usize| {
            (n < usize::try_from(argc).unwrap_or(0))
                .then(|| CStr::from_ptr(*argv.add(n)).to_string_lossy().into_owned())
        };
        let result = guarded(|| {
            let width = arg(3)
                .and_then(|w| w.trim().parse::<usize>().ok())
                .unwrap_or(0);
            if width == 0 || width > 2_000 {
                return Err(Error::refused(
                    "a capture table needs a width from 1 to 2000",
                ));
            }
            let mut sql = String::from("CREATE TABLE capture(");
            for n in 0..width {
                let _ = write!(sql, "{}c{n}", if n > 0 { "," } else { "" });
            }
            sql.push(')');
            CString::new(sql).map_err(|_| Error::internal("a declaration with NUL"))
        });
        match result {
            Ok(sql) => {
                let code = ffi::sqlite3_declare_vtab(db, sql.as_ptr());
                if code != ffi::SQLITE_OK {
                    return code;
                }
                ffi::sqlite3_vtab_config()(db, ffi::SQLITE_VTAB_INNOCUOUS);
                ffi::sqlite3_vtab_config()(db, ffi::SQLITE_VTAB_CONSTRAINT_SUPPORT, 1 as c_int);
                *table = Box::into_raw(Box::new(Table {
                    base: ffi::sqlite3_vtab {
                        pModule: ptr::null(),
                        nRef: 0,
                        zErrMsg: ptr::null_mut(),
                    },
                    connection: Rc::clone(connection),
                    is_main: arg(1).is_some_and(|schema| same_name(&schema, "main")),
                }))
                .cast();
                super::kept::connected(connection.db());
                ffi::SQLITE_OK
            }
            Err(error) => {
                *message = owned_message(&error.to_string());
                error.code
            }
        }
    }
}

unsafe extern "C" fn disconnect(table: *mut ffi::sqlite3_vtab) -> c_int {
    // SAFETY: made by `connect`; SQLite disconnects once.
    let table = unsafe { Box::from_raw(table.cast::<Table>()) };
    let _ = guarded(|| {
        table.connection.forget_statements();
        super::kept::disconnected(table.connection.db());
        Ok(())
    });
    ffi::SQLITE_OK
}

/// Runs a method of the shared capture; an error leaves its text in the table.
///
/// # Safety
/// `table` was made by `connect` and is connected.
unsafe fn with(table: *mut ffi::sqlite3_vtab, body: impl FnOnce(&Table) -> Result<()>) -> c_int {
    // SAFETY: as promised by the caller.
    unsafe {
        let this = &*table.cast::<Table>();
        match guarded(|| body(this)) {
            Ok(()) => ffi::SQLITE_OK,
            Err(error) => {
                leave_message(table, &error);
                error.code
            }
        }
    }
}

unsafe extern "C" fn update(
    table: *mut ffi::sqlite3_vtab,
    argc: c_int,
    argv: *mut *mut ffi::sqlite3_value,
    rowid: *mut i64,
) -> c_int {
    // SAFETY: SQLite passes a connected table, its values, and a place for the rowid.
    unsafe {
        *rowid = 0;
        let args = Args::new(argc, argv);
        with(table, |this| {
            if args.len() < 3 {
                return Err(Error::refused(
                    "capture tables are written by triggers only",
                ));
            }
            if !this.is_main {
                return Err(Error::refused(
                    "this partition is attached; open its file as the main database to write it",
                ));
            }
            this.connection.captured(args.skip(2))
        })
    }
}

unsafe extern "C" fn begin(table: *mut ffi::sqlite3_vtab) -> c_int {
    // SAFETY: SQLite passes a connected table.
    unsafe { with(table, |_| Ok(())) }
}

unsafe extern "C" fn sync(table: *mut ffi::sqlite3_vtab) -> c_int {
    // SAFETY: SQLite passes a connected table.
    unsafe { with(table, |this| this.connection.flush_capture()) }
}

unsafe extern "C" fn commit(table: *mut ffi::sqlite3_vtab) -> c_int {
    // SAFETY: SQLite passes a connected table.
    unsafe {
        with(table, |this| {
            this.connection.capture_committed();
            Ok(())
        })
    }
}

unsafe extern "C" fn rollback(table: *mut ffi::sqlite3_vtab) -> c_int {
    // SAFETY: SQLite passes a connected table.
    unsafe {
        with(table, |this| {
            this.connection.capture_rolled_back();
            Ok(())
        })
    }
}

unsafe extern "C" fn savepoint(table: *mut ffi::sqlite3_vtab, id: c_int) -> c_int {
    // SAFETY: SQLite passes a connected table.
    unsafe { with(table, |this| this.connection.capture_savepoint(id)) }
}

unsafe extern "C" fn release(table: *mut ffi::sqlite3_vtab, id: c_int) -> c_int {
    // SAFETY: SQLite passes a connected table.
    unsafe { with(table, |this| this.connection.capture_release(id)) }
}

unsafe extern "C" fn rollback_to(table: *mut ffi::sqlite3_vtab, id: c_int) -> c_int {
    // SAFETY: SQLite passes a connected table.
    unsafe {
        with(table, |this| {
            this.connection.capture_rollback_to(id);
            Ok(())
        })
    }
}

// Reading a capture table answers no rows.

unsafe extern "C" fn best_index(
    _table: *mut ffi::sqlite3_vtab,
    _info: *mut ffi::sqlite3_index_info,
) -> c_int {
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
    });
    // SAFETY: SQLite passes a place for the cursor.
    unsafe { *cursor = Box::into_raw(made).cast() };
    ffi::SQLITE_OK
}

unsafe extern "C" fn close(cursor: *mut ffi::sqlite3_vtab_cursor) -> c_int {
    // SAFETY: made by `open`.
    drop(unsafe { Box::from_raw(cursor.cast::<Cursor>()) });
    ffi::SQLITE_OK
}

unsafe extern "C" fn filter(
    _cursor: *mut ffi::sqlite3_vtab_cursor,
    _number: c_int,
    _text: *const c_char,
    _argc: c_int,
    _argv: *mut *mut ffi::sqlite3_value,
) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn next(_cursor: *mut ffi::sqlite3_vtab_cursor) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn eof(_cursor: *mut ffi::sqlite3_vtab_cursor) -> c_int {
    1
}

unsafe extern "C" fn column(
    _cursor: *mut ffi::sqlite3_vtab_cursor,
    _context: *mut ffi::sqlite3_context,
    _n: c_int,
) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn rowid(_cursor: *mut ffi::sqlite3_vtab_cursor, rowid: *mut i64) -> c_int {
    // SAFETY: SQLite passes a place for the rowid.
    unsafe { *rowid = 0 };
    ffi::SQLITE_OK
}
