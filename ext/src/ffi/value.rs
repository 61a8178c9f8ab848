//! SQLite's values in and out: arguments of callbacks, results of functions.

use std::ffi::c_void;
use std::os::raw::c_int;
use std::slice;

use nuda_core::value::{OwnedValue, Value};
use sqlite3_ext::ffi;

/// Arguments of a callback, valid while it runs.
#[derive(Clone, Copy)]
pub(crate) struct Args<'a> {
    values: &'a [*mut ffi::sqlite3_value],
}

impl<'a> Args<'a> {
    /// # Safety
    /// `argv` holds `argc` valid values for the lifetime `'a`.
    pub(crate) unsafe fn new(argc: c_int, argv: *mut *mut ffi::sqlite3_value) -> Self {
        let len = usize::try_from(argc).unwrap_or(0);
        if len == 0 || argv.is_null() {
            return Self { values: &[] };
        }
        // SAFETY: the caller vouches for argv and argc.
        let values = unsafe { slice::from_raw_parts(argv, len) };
        Self { values }
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// The arguments after the first `n`.
    pub(crate) fn skip(self, n: usize) -> Self {
        Self {
            values: self.values.get(n..).unwrap_or_default(),
        }
    }

    /// The `i`-th argument; NULL where there is none.
    #[inline]
    pub(crate) fn get(&self, i: usize) -> Value<'a> {
        match self.values.get(i) {
            // SAFETY: the constructor's caller vouched for the values.
            Some(value) => unsafe { read(*value) },
            None => Value::Null,
        }
    }

    /// Whether two arguments are the same to the last bit: at half the price of reading both.
    #[inline]
    pub(crate) fn same(&self, i: usize, j: usize) -> bool {
        match (self.values.get(i), self.values.get(j)) {
            // SAFETY: the constructor's caller vouched for the values.
            (Some(a), Some(b)) => unsafe { same(*a, *b) },
            _ => self.get(i) == self.get(j),
        }
    }

    /// The `i`-th argument as text; `None` for NULL, other types, or invalid UTF-8.
    pub(crate) fn text(&self, i: usize) -> Option<&'a str> {
        match self.get(i) {
            Value::Text(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// The `i`-th argument as an integer.
    pub(crate) fn int(&self, i: usize) -> Option<i64> {
        match self.get(i) {
            Value::Int(n) => Some(n),
            _ => None,
        }
    }
}

/// # Safety
/// `value` is a valid, protected value that outlives `'a`.
unsafe fn read<'a>(value: *mut ffi::sqlite3_value) -> Value<'a> {
    // SAFETY: as promised by the caller; text and blob pointers live as long as the value,
    // which nobody converts in between.
    unsafe {
        match ffi::sqlite3_value_type(value) {
            ffi::SQLITE_INTEGER => Value::Int(ffi::sqlite3_value_int64(value)),
            ffi::SQLITE_FLOAT => Value::Real(ffi::sqlite3_value_double(value)),
            // Asked for its length, a text of another encoding becomes UTF-8. Asked for as a BLOB, it is
            // not copied for the NUL that a C string ends with.
            ffi::SQLITE_TEXT => {
                let len = ffi::sqlite3_value_bytes(value);
                Value::Text(bytes(ffi::sqlite3_value_blob(value), len))
            }
            ffi::SQLITE_BLOB => {
                let blob = ffi::sqlite3_value_blob(value);
                Value::Blob(bytes(blob, ffi::sqlite3_value_bytes(value)))
            }
            _ => Value::Null,
        }
    }
}

/// # Safety
/// As for [`read`], both.
unsafe fn same(a: *mut ffi::sqlite3_value, b: *mut ffi::sqlite3_value) -> bool {
    // SAFETY: as promised by the caller; nobody converts a value between asking for its length, which
    // settles its encoding, and reading so many bytes of it.
    unsafe {
        let kind = ffi::sqlite3_value_type(a);
        if kind != ffi::sqlite3_value_type(b) {
            return false;
        }
        match kind {
            ffi::SQLITE_INTEGER => ffi::sqlite3_value_int64(a) == ffi::sqlite3_value_int64(b),
            ffi::SQLITE_TEXT | ffi::SQLITE_BLOB => {
                let len = ffi::sqlite3_value_bytes(a);
                len == ffi::sqlite3_value_bytes(b)
                    && bytes(ffi::sqlite3_value_blob(a), len)
                        == bytes(ffi::sqlite3_value_blob(b), len)
            }
            _ => read(a) == read(b),
        }
    }
}

/// # Safety
/// `start` points to `len` bytes that outlive `'a`, or is null.
pub(crate) unsafe fn bytes<'a>(start: *const c_void, len: c_int) -> &'a [u8] {
    let len = usize::try_from(len).unwrap_or(0);
    if start.is_null() || len == 0 {
        return &[];
    }
    // SAFETY: as promised by the caller.
    unsafe { slice::from_raw_parts(start.cast(), len) }
}

/// Sets a function's or column's result.
///
/// # Safety
/// `context` is the context of the running callback.
pub(crate) unsafe fn set_result(context: *mut ffi::sqlite3_context, value: &OwnedValue) {
    // SAFETY: as promised by the caller; SQLITE_TRANSIENT makes SQLite copy the bytes.
    unsafe {
        match value {
            OwnedValue::Null => ffi::sqlite3_result_null(context),
            OwnedValue::Int(n) => ffi::sqlite3_result_int64(context, *n),
            OwnedValue::Real(r) => ffi::sqlite3_result_double(context, *r),
            OwnedValue::Text(b) => ffi::sqlite3_result_text64(
                context,
                b.as_ptr().cast(),
                b.len() as u64,
                ffi::sqlite_transient(),
                u8::try_from(ffi::SQLITE_UTF8).unwrap_or(1),
            ),
            OwnedValue::Blob(b) => ffi::sqlite3_result_blob64(
                context,
                b.as_ptr().cast(),
                b.len() as u64,
                ffi::sqlite_transient(),
            ),
        }
    }
}
