//! Scalar SQL functions: one trampoline for all.

use std::ffi::{CString, c_void};
use std::os::raw::c_int;
use std::rc::Rc;

use nuda_core::value::OwnedValue;
use sqlite3_ext::ffi;

use super::guarded;
use super::value::{Args, set_result};
use crate::connection::Connection;
use crate::error::{Error, Result};

/// What a scalar function is in Rust.
pub(crate) type Scalar = fn(&Rc<Connection>, Args<'_>) -> Result<OwnedValue>;

struct Registered {
    connection: Rc<Connection>,
    call: Scalar,
}

/// Registers `name` with `arity` arguments (-1: any number).
///
/// `innocuous` functions may run inside triggers and views of untrusted schemas; the others
/// only in statements that the application itself writes.
pub(crate) fn register(
    connection: &Rc<Connection>,
    name: &str,
    arity: i32,
    innocuous: bool,
    call: Scalar,
) -> Result<()> {
    let c_name = CString::new(name).map_err(|_| Error::internal("a name with NUL"))?;
    let risk = if innocuous {
        ffi::SQLITE_INNOCUOUS
    } else {
        ffi::SQLITE_DIRECTONLY
    };
    let data = Box::into_raw(Box::new(Registered {
        connection: Rc::clone(connection),
        call,
    }));
    // SAFETY: the handle is open; `data` is freed by `drop_registered`, which SQLite also
    // calls when the registration fails.
    let code = unsafe {
        ffi::sqlite3_create_function_v2(
            connection.db().raw(),
            c_name.as_ptr(),
            arity,
            ffi::SQLITE_UTF8 | risk,
            data.cast(),
            Some(call_function),
            None,
            None,
            Some(drop_registered),
        )
    };
    if code == ffi::SQLITE_OK {
        Ok(())
    } else {
        Err(connection.db().error(code))
    }
}

unsafe extern "C" fn drop_registered(data: *mut c_void) {
    // SAFETY: made by Box::into_raw in `register`; SQLite calls this once.
    drop(unsafe { Box::from_raw(data.cast::<Registered>()) });
}

unsafe extern "C" fn call_function(
    context: *mut ffi::sqlite3_context,
    argc: c_int,
    argv: *mut *mut ffi::sqlite3_value,
) {
    // SAFETY: SQLite passes the context and values of this call, and our own user data,
    // which lives as long as the function is registered.
    unsafe {
        let registered = &*ffi::sqlite3_user_data(context).cast::<Registered>();
        let args = Args::new(argc, argv);
        match guarded(|| (registered.call)(&registered.connection, args)) {
            Ok(value) => set_result(context, &value),
            Err(error) => {
                let text = error.to_string();
                let len = c_int::try_from(text.len()).unwrap_or(0);
                ffi::sqlite3_result_error(context, text.as_ptr().cast(), len);
                ffi::sqlite3_result_error_code(context, error.code);
            }
        }
    }
}
