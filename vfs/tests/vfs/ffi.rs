//! What the tests need from C: the entry point, raw attaching, file controls, a foreign method table.
//!
//! Everything unsafe of the test program is here, behind functions that are safe to call with a live
//! `rusqlite::Connection`.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;
use std::sync::{Arc, Once};

use nuda_vfs::{AttachError, Attached, ConnectionHooks, InitError};
use rusqlite::{Connection, ffi};

use crate::{AutoAttached, Recorder};

thread_local! {
    /// Whether connections opened by this thread are attached while they are opened, as the extension does.
    static AUTO: RefCell<Option<AutoAttached>> = const { RefCell::new(None) };
}

unsafe extern "C" fn entry(
    db: *mut ffi::sqlite3,
    _message: *mut *mut c_char,
    api: *const ffi::sqlite3_api_routines,
) -> c_int {
    // SAFETY: this is what SQLite passed, and it is linked into the program.
    unsafe { nuda_vfs::init_api(api.cast_mut().cast()) }.unwrap();
    AUTO.with_borrow_mut(|auto| {
        if let Some(list) = auto {
            let recorder = Arc::new(Recorder::default());
            // SAFETY: SQLite is opening this connection on this thread.
            if let Ok(attached) = unsafe { nuda_vfs::attach(db.cast(), recorder.clone()) } {
                list.push((attached, recorder));
            }
        }
    });
    ffi::SQLITE_OK
}

/// Registers the entry point and has it called once.
pub(crate) fn initialise() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: `entry` has the signature of an extension's entry point.
        let rc = unsafe { ffi::sqlite3_auto_extension(Some(entry)) };
        assert_eq!(rc, ffi::SQLITE_OK);
        drop(Connection::open_in_memory().unwrap());
    });
}

/// Attaches whatever `open` opens, from within the opening.
pub(crate) fn with_auto_attach<R>(open: impl FnOnce() -> R) -> (R, AutoAttached) {
    initialise();
    AUTO.set(Some(Vec::new()));
    let result = open();
    (result, AUTO.take().unwrap())
}

pub(crate) fn attach(
    conn: &Connection,
    hooks: Arc<dyn ConnectionHooks>,
) -> Result<Attached, AttachError> {
    // SAFETY: a live connection of the SQLite that was initialised, used by this thread.
    unsafe { nuda_vfs::attach(conn.handle().cast(), hooks) }
}

/// A way to run SQL on a connection from within its own hooks, which can't own it.
pub(crate) fn own_connection(conn: &Connection) -> impl Fn(&str) + Send + use<> {
    // SAFETY: only its address is kept here.
    let address = unsafe { conn.handle() } as usize;
    move |sql| {
        let sql = CString::new(sql).unwrap();
        // SAFETY: hooks run only while their connection lives, on the thread that uses it.
        let rc = unsafe {
            ffi::sqlite3_exec(
                address as *mut ffi::sqlite3,
                sql.as_ptr(),
                None,
                ptr::null_mut(),
                ptr::null_mut(),
            )
        };
        assert_eq!(rc, ffi::SQLITE_OK);
    }
}

/// What a second SQLite library in the process would do.
pub(crate) fn init_with_other_api() -> Result<(), InitError> {
    let other = Box::leak(Box::new([0u8; 8192])).as_mut_ptr();
    // SAFETY: it must be refused by its address, before it is read; it is readable all the same.
    unsafe { nuda_vfs::init_api(other.cast()) }
}

/// The name of the file's VFS stack.
pub(crate) fn vfs_name(conn: &Connection) -> String {
    let mut name: *mut c_char = ptr::null_mut();
    // SAFETY: the request wants a place for a string, which is to be freed then.
    unsafe {
        let rc = control(conn, ffi::SQLITE_FCNTL_VFSNAME, (&raw mut name).cast());
        assert_eq!(rc, ffi::SQLITE_OK);
        let text = CStr::from_ptr(name).to_str().unwrap().to_owned();
        ffi::sqlite3_free(name.cast());
        text
    }
}

/// Address of the method table of the main database's file.
pub(crate) fn methods_of(conn: &Connection) -> usize {
    // SAFETY: a live connection with an open file.
    unsafe { (*file(conn)).pMethods as usize }
}

/// What the table claims: (version, has shared memory, has memory mapping).
pub(crate) fn shape_of(conn: &Connection) -> (c_int, bool, bool) {
    // SAFETY: a live connection with an open file; members beyond the version are not looked at.
    unsafe {
        let methods = (*file(conn)).pMethods;
        let version = (*methods).iVersion;
        (
            version,
            version >= 2 && (*methods).xShmMap.is_some(),
            version >= 3 && (*methods).xFetch.is_some(),
        )
    }
}

/// The default VFS of the process.
pub(crate) fn default_vfs() -> String {
    // SAFETY: a registered VFS has a name.
    unsafe { CStr::from_ptr((*ffi::sqlite3_vfs_find(ptr::null())).zName) }
        .to_str()
        .unwrap()
        .to_owned()
}

/// System calls as the VFS of that name lists them.
pub(crate) fn system_calls(vfs: &str) -> Vec<String> {
    let vfs = CString::new(vfs).unwrap();
    let mut calls = Vec::new();
    // SAFETY: unix VFSs are of version 3, and so is one that forwards to them.
    unsafe {
        let vfs = ffi::sqlite3_vfs_find(vfs.as_ptr());
        let next = (*vfs).xNextSystemCall.unwrap();
        let mut name = next(vfs, ptr::null());
        while !name.is_null() {
            calls.push(CStr::from_ptr(name).to_str().unwrap().to_owned());
            name = next(vfs, name);
        }
    }
    calls
}

/// Whether the connection is in a write transaction.
pub(crate) fn has_write_lock(conn: &Connection) -> bool {
    // SAFETY: a live connection.
    unsafe { ffi::sqlite3_txn_state(conn.handle(), c"main".as_ptr()) == ffi::SQLITE_TXN_WRITE }
}

/// A method table as another extension would put it on top: ours copied, with its own `xClose`.
#[repr(C)]
struct Foreign {
    methods: ffi::sqlite3_io_methods,
    /// Where ours keeps its own address: must not be taken for it.
    noise: [usize; 4],
    below: *const ffi::sqlite3_io_methods,
}

/// Asks for one slot of the wal-index as SQLite does. The connection has read something before, and
/// holds no lock there but those got by this.
pub(crate) fn shm_lock(conn: &Connection, slot: c_int, request: c_int) -> c_int {
    // SAFETY: a live connection with an open file whose shared memory is open.
    unsafe {
        let file = file(conn);
        (*(*file).pMethods).xShmLock.unwrap()(file, slot, 1, request)
    }
}

unsafe extern "C" fn foreign_close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: only `put_foreign_table` installs this, at the head of a leaked `Foreign`.
    unsafe {
        let foreign = (*file).pMethods.cast::<Foreign>();
        (*file).pMethods = (*foreign).below;
        ((*(*file).pMethods).xClose.unwrap())(file)
    }
}

/// Puts a foreign table on top of the file's. With `own_close` unset it even keeps our `xClose`.
pub(crate) fn put_foreign_table(conn: &Connection, own_close: bool) {
    // SAFETY: a live connection that nobody else uses; the table is never freed.
    unsafe {
        let file = file(conn);
        let below = (*file).pMethods;
        let mut methods = ptr::read(below);
        if own_close {
            methods.xClose = Some(foreign_close);
        }
        (*file).pMethods = ptr::from_mut(Box::leak(Box::new(Foreign {
            methods,
            noise: [1; 4],
            below,
        })))
        .cast();
    }
}

/// Replaces the main database by an empty one in memory.
pub(crate) fn deserialize(conn: &Connection) {
    // SAFETY: an image of no bytes, allocated by SQLite as it demands.
    let rc = unsafe {
        let image = ffi::sqlite3_malloc64(512).cast::<u8>();
        ffi::sqlite3_deserialize(
            conn.handle(),
            c"main".as_ptr(),
            image,
            0,
            512,
            ffi::SQLITE_DESERIALIZE_FREEONCLOSE | ffi::SQLITE_DESERIALIZE_RESIZEABLE,
        )
    };
    assert_eq!(rc, ffi::SQLITE_OK);
}

unsafe fn file(conn: &Connection) -> *mut ffi::sqlite3_file {
    let mut file: *mut ffi::sqlite3_file = ptr::null_mut();
    // SAFETY: the request wants a place for a pointer.
    let rc = unsafe { control(conn, ffi::SQLITE_FCNTL_FILE_POINTER, (&raw mut file).cast()) };
    assert_eq!(rc, ffi::SQLITE_OK);
    file
}

unsafe fn control(conn: &Connection, op: c_int, arg: *mut c_void) -> c_int {
    // SAFETY: a live connection; the caller knows what `op` wants.
    unsafe { ffi::sqlite3_file_control(conn.handle(), ptr::null(), op, arg) }
}
