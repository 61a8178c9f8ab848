//! The entry points: `.load ./libnuda`, and the same for programs that link the library.

use std::os::raw::{c_char, c_int};
use std::ptr;
use std::rc::Rc;

use sqlite3_ext::ffi;

use super::db::Db;
use super::{capture_table, guarded};
use crate::connection::Connection;
use crate::error::{Error, Result};
use crate::functions;

/// What SQLite calls when it loads `libnuda.so`. The library's only exported symbol.
///
/// # Safety
/// Called by SQLite with an open connection, a place for a message, and its routines.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sqlite3_nuda_init(
    db: *mut ffi::sqlite3,
    message: *mut *mut c_char,
    api: *mut ffi::sqlite3_api_routines,
) -> c_int {
    // SAFETY: as promised by the caller.
    unsafe {
        match guarded(|| load(db, api)) {
            // A VFS and an auto-extension must stay mapped.
            Ok(()) => ffi::SQLITE_OK_LOAD_PERMANENTLY,
            Err(error) => {
                report(message, api, &error.to_string());
                ffi::SQLITE_ERROR
            }
        }
    }
}

/// What SQLite calls for every later connection of the process: never fails, since an
/// application's own connection must open whatever we think of it.
unsafe extern "C" fn on_open(
    db: *mut ffi::sqlite3,
    _message: *mut *mut c_char,
    api: *mut ffi::sqlite3_api_routines,
) -> c_int {
    // SAFETY: SQLite calls this with an open connection and its routines.
    let loaded = guarded(|| unsafe { load(db, api) });
    if loaded.is_ok() {
        // Opening fails with whatever error the connection remembers, also one that was only met
        // on the way: a file that another process is recovering cannot be read now.
        // SAFETY: as above; the routines were accepted.
        let _ = guarded(|| unsafe { Db::from_raw(db) }.exec(""));
    }
    ffi::SQLITE_OK
}

/// # Safety
/// `db` is an open connection of the SQLite whose routines are `api`.
unsafe fn load(db: *mut ffi::sqlite3, api: *mut ffi::sqlite3_api_routines) -> Result<()> {
    // SAFETY: as promised by the caller.
    unsafe {
        nuda_vfs::init_api(api).map_err(|error| Error::refused(error.to_string()))?;
        nuda_vfs::register_default().map_err(|error| Error::refused(error.to_string()))?;
        ffi::sqlite3_auto_extension(Some(std::mem::transmute::<
            unsafe extern "C" fn(
                *mut ffi::sqlite3,
                *mut *mut c_char,
                *mut ffi::sqlite3_api_routines,
            ) -> c_int,
            unsafe extern "C" fn(),
        >(on_open)));
        let db = Db::from_raw(db);
        if is_loaded(db) {
            return Ok(());
        }
        let connection = Connection::new(db);
        capture_table::register(&connection)?;
        functions::register_all(&connection)?;
        attach(&connection);
        connection.look_for_replica();
    }
    Ok(())
}

/// Loading twice, or a second copy of the library, is harmless: the first one stays.
fn is_loaded(db: Db) -> bool {
    db.prepare("SELECT nuda_version()").is_ok()
}

/// Plugs the connection into its file. A database without a file has nothing to watch; why it
/// was not attached shows in `nuda_debug()`.
fn attach(connection: &Rc<Connection>) {
    // SAFETY: SQLite holds the connection open during its load; this library stays mapped.
    let attached = unsafe { nuda_vfs::attach(connection.db().raw(), connection.signal()) };
    connection.set_attached(attached);
}

/// The host's version, as `3045001`.
pub(crate) fn host_version() -> c_int {
    // SAFETY: a constant function of the host.
    unsafe { ffi::sqlite3_libversion_number() }
}

/// Leaves a message that SQLite frees.
///
/// # Safety
/// `message` is null or a place for a message; `api` is null or the host's routines.
unsafe fn report(message: *mut *mut c_char, api: *mut ffi::sqlite3_api_routines, text: &str) {
    // SAFETY: as promised by the caller. The host's own allocator is asked directly: the load
    // may have failed before its routines were accepted.
    unsafe {
        if message.is_null() || api.is_null() {
            return;
        }
        let Some(malloc) = (*api).malloc else { return };
        let Ok(size) = c_int::try_from(text.len() + 1) else {
            return;
        };
        let copy = malloc(size).cast::<u8>();
        if !copy.is_null() {
            ptr::copy_nonoverlapping(text.as_ptr(), copy, text.len());
            *copy.add(text.len()) = 0;
            *message = copy.cast();
        }
    }
}

/// `sqlite3_auto_extension`, in the types of whatever bindings the program uses for a
/// connection (`D`) and the routines (`R`).
pub type AutoExtension<D, R> = unsafe extern "C" fn(Option<Entry<D, R>>) -> c_int;

type Entry<D, R> = unsafe extern "C" fn(*mut D, *mut *mut c_char, *const R) -> c_int;

/// See [`crate::register_static`].
pub(crate) fn register_static<D, R>(auto_extension: AutoExtension<D, R>) -> Result<()> {
    // SAFETY: the entry point takes what SQLite hands to an extension's init; the bindings'
    // types only name the same pointers differently.
    let code = unsafe {
        auto_extension(Some(std::mem::transmute::<
            unsafe extern "C" fn(
                *mut ffi::sqlite3,
                *mut *mut c_char,
                *mut ffi::sqlite3_api_routines,
            ) -> c_int,
            Entry<D, R>,
        >(on_open)))
    };
    if code == ffi::SQLITE_OK {
        Ok(())
    } else {
        Err(Error::refused(format!(
            "SQLite refused the extension (code {code})"
        )))
    }
}

/// `sqlite3_config`.
pub type Configure = unsafe extern "C" fn(c_int, ...) -> c_int;

/// See [`crate::without_memory_statistics`].
pub(crate) fn without_memory_statistics(configure: Configure) -> bool {
    // SAFETY: this option takes one int; SQLite refuses it once it has been initialised.
    let code = unsafe { configure(ffi::SQLITE_CONFIG_MEMSTATUS, 0 as c_int) };
    code == ffi::SQLITE_OK
}
