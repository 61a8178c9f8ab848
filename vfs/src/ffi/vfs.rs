//! The default VFS `nuda`: a shell around the VFS that was the default before.
//!
//! It opens nothing itself. `xOpen` hands the original name pointer on (URI parameters stand behind the
//! name) and wraps what came back if it is a main database; everything else is passed to the inner
//! VFS with the inner VFS's own pointer, which the file then keeps. Methods that the inner VFS lacks stay absent.
//!
//! The invariant: once registered it is never changed, replaced or freed, as SQLite gives no way to know
//! who still uses it. Registering again, from this copy of the library or another, does nothing.

use std::ffi::{c_char, c_int, c_void};
use std::ptr;
use std::sync::{Mutex, PoisonError};

use sqlite::{sqlite3_file, sqlite3_filename, sqlite3_int64, sqlite3_syscall_ptr, sqlite3_vfs};
use sqlite3_ext::ffi as sqlite;

use super::{api, guard, table};
use crate::hooks::Origin;
use crate::host::{RegisterError, Registered};

/// Newest version of `sqlite3_vfs` we know the members of.
const NEWEST_VERSION: c_int = 3;

/// As [`crate::VFS_NAME`], for C.
const NAME: &std::ffi::CStr = c"nuda";

/// What `xDlSym` gives back.
type Symbol = Option<unsafe extern "C" fn(*mut sqlite3_vfs, *mut c_void, *const c_char)>;

/// Makes the VFS `nuda` the default one of this process, around the one that was. Connections opened from
/// now on go through it, unless they name another VFS. Does nothing if a VFS of that name exists.
pub fn register_default() -> Result<Registered, RegisterError> {
    static REGISTERING: Mutex<()> = Mutex::new(());
    if !api::ready() {
        return Err(RegisterError::NotInitialised);
    }
    let _one_at_a_time = REGISTERING.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: `init_api` succeeded; both take a name or NULL.
    let (existing, inner) = unsafe {
        (
            sqlite::sqlite3_vfs_find(NAME.as_ptr()),
            sqlite::sqlite3_vfs_find(ptr::null()),
        )
    };
    if !existing.is_null() {
        return Ok(Registered::Before);
    }
    if inner.is_null() {
        return Err(RegisterError::NoDefaultVfs);
    }
    // SAFETY: a registered VFS may be read, and stays registered while it is the default.
    let vfs = Box::into_raw(Box::new(unsafe { around(inner) }));
    // SAFETY: the new VFS is complete and lives for ever.
    let rc = unsafe { sqlite::sqlite3_vfs_register(vfs, 1) };
    if rc == sqlite::SQLITE_OK {
        return Ok(Registered::Now);
    }
    // SAFETY: SQLite refused it, so it is still ours alone.
    drop(unsafe { Box::from_raw(vfs) });
    Err(RegisterError::Refused(rc))
}

/// A VFS that passes everything on to `inner`.
///
/// # Safety
/// `inner` is a registered VFS that stays so.
unsafe fn around(inner: *mut sqlite3_vfs) -> sqlite3_vfs {
    // SAFETY: the caller vouches for it. Members after those of its version are not read: the reference is
    // taken to the members one by one, through the raw pointer.
    unsafe {
        let version = (*inner).iVersion.min(NEWEST_VERSION);
        sqlite3_vfs {
            iVersion: version,
            szOsFile: (*inner).szOsFile,
            mxPathname: (*inner).mxPathname,
            pNext: ptr::null_mut(),
            zName: NAME.as_ptr(),
            pAppData: inner.cast::<c_void>(),
            xOpen: (*inner).xOpen.and(Some(open)),
            xDelete: (*inner).xDelete.and(Some(delete)),
            xAccess: (*inner).xAccess.and(Some(access)),
            xFullPathname: (*inner).xFullPathname.and(Some(full_pathname)),
            xDlOpen: (*inner).xDlOpen.and(Some(dl_open)),
            xDlError: (*inner).xDlError.and(Some(dl_error)),
            xDlSym: (*inner).xDlSym.and(Some(dl_sym)),
            xDlClose: (*inner).xDlClose.and(Some(dl_close)),
            xRandomness: (*inner).xRandomness.and(Some(randomness)),
            xSleep: (*inner).xSleep.and(Some(sleep)),
            xCurrentTime: (*inner).xCurrentTime.and(Some(current_time)),
            xGetLastError: (*inner).xGetLastError.and(Some(get_last_error)),
            xCurrentTimeInt64: if version < 2 {
                None
            } else {
                (*inner).xCurrentTimeInt64.and(Some(current_time_int64))
            },
            xSetSystemCall: if version < 3 {
                None
            } else {
                (*inner).xSetSystemCall.and(Some(set_system_call))
            },
            xGetSystemCall: if version < 3 {
                None
            } else {
                (*inner).xGetSystemCall.and(Some(get_system_call))
            },
            xNextSystemCall: if version < 3 {
                None
            } else {
                (*inner).xNextSystemCall.and(Some(next_system_call))
            },
        }
    }
}

unsafe extern "C" fn open(
    vfs: *mut sqlite3_vfs,
    name: sqlite3_filename,
    file: *mut sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    guard(sqlite::SQLITE_CANTOPEN, || {
        // SAFETY: `vfs` is ours, so `pAppData` is the inner VFS; the arguments go on as they came. After
        // a successful open nobody but this call knows the file yet.
        unsafe {
            let inner = (*vfs).pAppData.cast::<sqlite3_vfs>();
            let Some(inner_open) = (*inner).xOpen else {
                return sqlite::SQLITE_CANTOPEN;
            };
            let rc = inner_open(inner, name, file, flags, out_flags);
            if rc == sqlite::SQLITE_OK
                && flags & sqlite::SQLITE_OPEN_MAIN_DB != 0
                && !(*file).pMethods.is_null()
            {
                // A file that can't be wrapped is used as it is; attaching to it says why.
                guard((), || {
                    let _ = table::wrap(file, Origin::OpenedByVfs);
                });
            }
            rc
        }
    })
}

/// Defines trampolines that pass a call on to the inner VFS: name, arguments, result, and the result on
/// a panic or an absent method.
macro_rules! pass_on {
    ($($name:ident => $member:ident($($arg:ident: $type:ty),*) -> $result:ty, else $otherwise:expr;)*) => {$(
        unsafe extern "C" fn $name(vfs: *mut sqlite3_vfs, $($arg: $type),*) -> $result {
            guard($otherwise, || {
                // SAFETY: `vfs` is ours, so `pAppData` is the inner VFS, of which this method was
                // found present within its version; the arguments go on as they came.
                unsafe {
                    let inner = (*vfs).pAppData.cast::<sqlite3_vfs>();
                    match (*inner).$member {
                        Some(method) => method(inner, $($arg),*),
                        None => $otherwise,
                    }
                }
            })
        }
    )*};
}

pass_on! {
    delete => xDelete(name: *const c_char, sync_dir: c_int) -> c_int, else sqlite::SQLITE_IOERR_DELETE;
    access => xAccess(name: *const c_char, flags: c_int, out: *mut c_int) -> c_int, else sqlite::SQLITE_IOERR_ACCESS;
    full_pathname => xFullPathname(name: *const c_char, length: c_int, out: *mut c_char) -> c_int,
        else sqlite::SQLITE_CANTOPEN;
    dl_open => xDlOpen(name: *const c_char) -> *mut c_void, else ptr::null_mut();
    dl_error => xDlError(length: c_int, out: *mut c_char) -> (), else ();
    dl_sym => xDlSym(handle: *mut c_void, symbol: *const c_char) -> Symbol, else None;
    dl_close => xDlClose(handle: *mut c_void) -> (), else ();
    randomness => xRandomness(length: c_int, out: *mut c_char) -> c_int, else 0;
    sleep => xSleep(microseconds: c_int) -> c_int, else 0;
    current_time => xCurrentTime(out: *mut f64) -> c_int, else sqlite::SQLITE_ERROR;
    get_last_error => xGetLastError(length: c_int, out: *mut c_char) -> c_int, else 0;
    current_time_int64 => xCurrentTimeInt64(out: *mut sqlite3_int64) -> c_int, else sqlite::SQLITE_ERROR;
    set_system_call => xSetSystemCall(name: *const c_char, call: sqlite3_syscall_ptr) -> c_int,
        else sqlite::SQLITE_NOTFOUND;
    get_system_call => xGetSystemCall(name: *const c_char) -> sqlite3_syscall_ptr, else None;
    next_system_call => xNextSystemCall(name: *const c_char) -> *const c_char, else ptr::null();
}
