//! The trampolines in a wrapped file's method table.
//!
//! Each one looks up the file's state, calls the inner method with the same file pointer, and tells the
//! safe modules what happened; the decisions are theirs. Methods that are not listed in [`intercept`]
//! (`xRead`, `xFetch`, `xSync`, ...) are the inner functions themselves.
//!
//! The invariants: the inner method's own result is what SQLite gets, whatever our bookkeeping does, save a
//! refused barrier (`SQLITE_INTERRUPT`; a BUSY code would make SQLite spin for ten seconds) and an
//! answered pragma; and no panic leaves this module.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::slice;

use sqlite::{sqlite3_file, sqlite3_int64, sqlite3_io_methods};
use sqlite3_ext::ffi as sqlite;

use super::table::{self, WrappedFile};
use super::{guard, sqlite_text};
use crate::host::VFS_NAME;
use crate::pragma::{self, Answer};

/// Slots of the wal-index, fixed by SQLite's format.
const WAL_WRITE_LOCK: c_int = 0;
const WAL_CHECKPOINT_LOCK: c_int = 1;
const WAL_RECOVER_LOCK: c_int = 2;
const WAL_READ_LOCK_0: c_int = 3;

/// Requests to `xShmLock` that we look at.
const LOCK_SHARED: c_int = sqlite::SQLITE_SHM_LOCK | sqlite::SQLITE_SHM_SHARED;
const UNLOCK_SHARED: c_int = sqlite::SQLITE_SHM_UNLOCK | sqlite::SQLITE_SHM_SHARED;
const LOCK_EXCLUSIVE: c_int = sqlite::SQLITE_SHM_LOCK | sqlite::SQLITE_SHM_EXCLUSIVE;
const UNLOCK_EXCLUSIVE: c_int = sqlite::SQLITE_SHM_UNLOCK | sqlite::SQLITE_SHM_EXCLUSIVE;

/// An inner `xShmLock`.
type ShmLock = unsafe extern "C" fn(*mut sqlite3_file, c_int, c_int, c_int) -> c_int;

/// Where a database header says how it is written and read; 2 in both bytes means WAL.
const HEADER_VERSIONS_OFFSET: sqlite3_int64 = 18;

/// The inner methods with ours in place of those we must see. What the inner table lacks stays absent.
pub(super) fn intercept(inner: sqlite3_io_methods) -> sqlite3_io_methods {
    sqlite3_io_methods {
        xClose: Some(close),
        xWrite: inner.xWrite.and(Some(write)),
        xLock: inner.xLock.and(Some(lock)),
        xUnlock: inner.xUnlock.and(Some(unlock)),
        xFileControl: inner.xFileControl.and(Some(file_control)),
        xShmMap: inner.xShmMap.and(Some(shm_map)),
        xShmLock: inner.xShmLock.and(Some(shm_lock)),
        xShmUnmap: inner.xShmUnmap.and(Some(shm_unmap)),
        ..inner
    }
}

/// By this a table is known to be ours.
#[inline]
pub(super) fn close_address() -> usize {
    close as *const () as usize
}

unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    guard(sqlite::SQLITE_OK, || {
        // SAFETY: SQLite closes a file once, and calls no method of it afterwards.
        unsafe {
            match table::unwrap(file).and_then(|inner| inner.xClose) {
                Some(close) => close(file),
                None => sqlite::SQLITE_OK,
            }
        }
    })
}

unsafe extern "C" fn write(
    file: *mut sqlite3_file,
    data: *const c_void,
    amount: c_int,
    offset: sqlite3_int64,
) -> c_int {
    guard(sqlite::SQLITE_IOERR_WRITE, || {
        // SAFETY: SQLite calls methods of open files only; the arguments go on as they came.
        unsafe {
            let Some(wrapped) = table::find(file) else {
                return sqlite::SQLITE_IOERR_WRITE;
            };
            let Some(write) = wrapped.inner.xWrite else {
                return sqlite::SQLITE_IOERR_WRITE;
            };
            wrapped.commits.db_written();
            write(file, data, amount, offset)
        }
    })
}

unsafe extern "C" fn lock(file: *mut sqlite3_file, level: c_int) -> c_int {
    guard(sqlite::SQLITE_IOERR_LOCK, || {
        // SAFETY: SQLite calls methods of open files only.
        let Some(wrapped) = (unsafe { table::find(file) }) else {
            return sqlite::SQLITE_IOERR_LOCK;
        };
        let Some(lock) = wrapped.inner.xLock else {
            return sqlite::SQLITE_IOERR_LOCK;
        };
        let mut pass = None;
        if level == sqlite::SQLITE_LOCK_SHARED && wrapped.shared.armed() {
            wrapped.pass.clear();
            match admit(wrapped) {
                Ok(admitted) => pass = Some(admitted),
                Err(refused) => return refused,
            }
        }
        // SAFETY: the inner method of this file with the arguments as they came.
        let rc = unsafe { lock(file, level) };
        if rc == sqlite::SQLITE_OK {
            wrapped.commits.db_locked(level);
            if let Some(pass) = pass {
                // If it is a WAL database, SQLite asks for a read mark next.
                wrapped.pass.keep(pass);
            }
        }
        rc
    })
}

unsafe extern "C" fn unlock(file: *mut sqlite3_file, level: c_int) -> c_int {
    guard(sqlite::SQLITE_IOERR_UNLOCK, || {
        // SAFETY: SQLite calls methods of open files only.
        let Some(wrapped) = (unsafe { table::find(file) }) else {
            return sqlite::SQLITE_IOERR_UNLOCK;
        };
        let Some(unlock) = wrapped.inner.xUnlock else {
            return sqlite::SQLITE_IOERR_UNLOCK;
        };
        // SAFETY: the inner method of this file with the arguments as they came.
        let rc = unsafe { unlock(file, level) };
        wrapped.pass.clear();
        report(wrapped, wrapped.commits.db_unlocked(level));
        rc
    })
}

unsafe extern "C" fn shm_map(
    file: *mut sqlite3_file,
    region: c_int,
    size: c_int,
    extend: c_int,
    memory: *mut *mut c_void,
) -> c_int {
    guard(sqlite::SQLITE_IOERR_SHMMAP, || {
        // SAFETY: SQLite calls methods of open files only; the arguments go on as they came, and on
        // success the inner method has filled `memory`.
        unsafe {
            let Some(wrapped) = table::find(file) else {
                return sqlite::SQLITE_IOERR_SHMMAP;
            };
            let Some(map) = wrapped.inner.xShmMap else {
                return sqlite::SQLITE_IOERR_SHMMAP;
            };
            let rc = map(file, region, size, extend, memory);
            if region == 0
                && (rc == sqlite::SQLITE_OK || rc == sqlite::SQLITE_READONLY)
                && !(*memory).is_null()
            {
                wrapped.mapped(*memory);
            }
            rc
        }
    })
}

unsafe extern "C" fn shm_unmap(file: *mut sqlite3_file, delete: c_int) -> c_int {
    guard(sqlite::SQLITE_IOERR, || {
        // SAFETY: SQLite calls methods of open files only; the arguments go on as they came.
        unsafe {
            let Some(wrapped) = table::find(file) else {
                return sqlite::SQLITE_IOERR;
            };
            let Some(unmap) = wrapped.inner.xShmUnmap else {
                return sqlite::SQLITE_IOERR;
            };
            wrapped.unmapped();
            wrapped.pass.clear();
            unmap(file, delete)
        }
    })
}

unsafe extern "C" fn shm_lock(
    file: *mut sqlite3_file,
    slot: c_int,
    count: c_int,
    request: c_int,
) -> c_int {
    // Each read transaction passes here twice. Nothing in this block can panic, so it goes without the
    // guard.
    // SAFETY: SQLite calls methods of open files only; the arguments go on as they came.
    unsafe {
        if slot >= WAL_READ_LOCK_0
            && let Some(wrapped) = table::find_on_top(file)
            && (request != LOCK_SHARED || !wrapped.shared.armed())
            && let Some(inner) = wrapped.inner.xShmLock
        {
            return lock_for_reading(wrapped, inner, (file, slot, count, request));
        }
    }
    guard(sqlite::SQLITE_IOERR_SHMLOCK, || {
        // SAFETY: SQLite calls methods of open files only, and this one when shared memory is open.
        unsafe {
            let Some(wrapped) = table::find(file) else {
                return sqlite::SQLITE_IOERR_SHMLOCK;
            };
            let Some(inner) = wrapped.inner.xShmLock else {
                return sqlite::SQLITE_IOERR_SHMLOCK;
            };
            if slot < WAL_READ_LOCK_0 {
                return lock_for_writing(wrapped, inner, (file, slot, count, request));
            }
            // A writer that restarts the log takes its read mark anew; no transaction begins there.
            if request == LOCK_SHARED
                && wrapped.shared.armed()
                && !wrapped.commits.holds_wal_write()
            {
                return begin_read(wrapped, inner, file, slot, count);
            }
            lock_for_reading(wrapped, inner, (file, slot, count, request))
        }
    })
}

/// The read marks: between lock and unlock of one a read transaction is open. Never panics.
///
/// # Safety
/// As for the `xShmLock` of an open file, of which `inner` is the inner one.
#[inline]
unsafe fn lock_for_reading(
    wrapped: &WrappedFile,
    inner: ShmLock,
    (file, slot, count, request): (*mut sqlite3_file, c_int, c_int, c_int),
) -> c_int {
    // SAFETY: as the caller vouches.
    let rc = unsafe { inner(file, slot, count, request) };
    if request == UNLOCK_SHARED {
        wrapped.reading.set(false);
    } else if request == LOCK_SHARED && rc == sqlite::SQLITE_OK {
        wrapped.reading.set(true);
    }
    rc
}

/// The slots of writer, checkpointer and recovery: commits show between lock and unlock of the first.
///
/// # Safety
/// As for the `xShmLock` of an open file, of which `inner` is the inner one.
unsafe fn lock_for_writing(
    wrapped: &WrappedFile,
    inner: ShmLock,
    (file, slot, count, request): (*mut sqlite3_file, c_int, c_int, c_int),
) -> c_int {
    if begins_by_writing(wrapped, slot, request) {
        // SAFETY: as the caller vouches.
        return unsafe { begin_write(wrapped, inner, file, count) };
    }
    wrapped.pass.clear();
    // SAFETY: as the caller vouches.
    unsafe {
        if slot == WAL_WRITE_LOCK && request == UNLOCK_EXCLUSIVE {
            // Before the release: the next writer may be in there right after it.
            let commits = wrapped.commits.wal_write_unlocked(wrapped.wal_header(file));
            tell_write_lock(wrapped, false);
            let rc = inner(file, slot, count, request);
            report(wrapped, commits);
            return rc;
        }
        let rc = inner(file, slot, count, request);
        if rc == sqlite::SQLITE_OK
            && slot <= WAL_CHECKPOINT_LOCK
            && WAL_CHECKPOINT_LOCK < slot + count
        {
            wrapped.checkpointing.set(request == LOCK_EXCLUSIVE);
        }
        if rc == sqlite::SQLITE_OK && request == LOCK_EXCLUSIVE {
            if slot == WAL_WRITE_LOCK {
                wrapped.commits.wal_write_locked(wrapped.wal_header(file));
                tell_write_lock(wrapped, true);
            }
            if slot <= WAL_RECOVER_LOCK && WAL_RECOVER_LOCK < slot + count {
                wrapped.commits.wal_recovery_locked();
            }
        }
        rc
    }
}

/// Whether a transaction begins with the writer's lock. SQLite built with `SQLITE_ENABLE_SETLK_TIMEOUT`
/// waits for that lock before it takes a read mark, if the transaction begins with a write.
fn begins_by_writing(wrapped: &WrappedFile, slot: c_int, request: c_int) -> bool {
    slot == WAL_WRITE_LOCK
        && request == LOCK_EXCLUSIVE
        && wrapped.shared.armed()
        && !wrapped.reading.get()
        && !wrapped.checkpointing.get()
}

/// Takes the writer's lock with the barrier in front; the read mark that follows needs no other.
///
/// # Safety
/// As for the `xShmLock` of an open file, of which `inner` is the inner one.
#[cold]
unsafe fn begin_write(
    wrapped: &WrappedFile,
    inner: ShmLock,
    file: *mut sqlite3_file,
    count: c_int,
) -> c_int {
    let pass = match admit(wrapped) {
        Ok(pass) => pass,
        Err(refused) => return refused,
    };
    // SAFETY: the inner method of this file with the arguments as they came.
    let rc = unsafe { inner(file, WAL_WRITE_LOCK, count, LOCK_EXCLUSIVE) };
    if rc == sqlite::SQLITE_OK {
        // SAFETY: called from `xShmLock`.
        wrapped
            .commits
            .wal_write_locked(unsafe { wrapped.wal_header(file) });
        tell_write_lock(wrapped, true);
    } else if rc & 0xff == sqlite::SQLITE_BUSY {
        // SQLite goes on with a read mark, and asks for this lock again afterwards.
        wrapped.pass.keep(pass);
    }
    rc
}

/// Locks a read mark with the barrier in front.
///
/// # Safety
/// As for the `xShmLock` of an open file, of which `inner` is the inner one.
#[cold]
unsafe fn begin_read(
    wrapped: &WrappedFile,
    inner: ShmLock,
    file: *mut sqlite3_file,
    slot: c_int,
    count: c_int,
) -> c_int {
    // SAFETY: called from `xShmLock`.
    let before = unsafe { wrapped.wal_header(file) };
    let pass = match admit(wrapped) {
        Ok(pass) => pass,
        Err(refused) => return refused,
    };
    // SAFETY: the inner method of this file with the arguments as they came.
    let rc = unsafe { inner(file, slot, count, LOCK_SHARED) };
    // SQLite chose its snapshot before it asked, and starts over if the header has moved since then.
    // SAFETY: called from `xShmLock`.
    let moved = before.is_some() && unsafe { wrapped.wal_header(file) } != before;
    wrapped.reading.set(rc == sqlite::SQLITE_OK);
    if rc & 0xff == sqlite::SQLITE_BUSY || (rc == sqlite::SQLITE_OK && moved) {
        wrapped.pass.keep(pass);
    }
    rc
}

/// Runs the barrier, or finds it passed; else the code to give to SQLite.
fn admit(wrapped: &WrappedFile) -> Result<crate::barrier::Pass, c_int> {
    let admitted = guard(None, || Some(wrapped.pass.admit(&wrapped.shared)));
    match admitted {
        Some(Ok(pass)) => Ok(pass),
        Some(Err(_)) => Err(sqlite::SQLITE_INTERRUPT),
        None => {
            wrapped.shared.refuse(String::from(
                "read barrier: internal error (panic); see the process's error output",
            ));
            Err(sqlite::SQLITE_INTERRUPT)
        }
    }
}

/// Reports commits; a panic there must not turn into a failed unlock.
#[inline]
fn report(wrapped: &WrappedFile, commits: u32) {
    if commits > 0 {
        guard((), || wrapped.shared.report_commits(commits));
    }
}

/// Tells who holds the write lock; a panic there must not turn into a failed lock or unlock.
#[inline]
fn tell_write_lock(wrapped: &WrappedFile, is_held: bool) {
    guard((), || wrapped.shared.report_write_lock(is_held));
}

unsafe extern "C" fn file_control(file: *mut sqlite3_file, op: c_int, arg: *mut c_void) -> c_int {
    guard(sqlite::SQLITE_ERROR, || {
        // SAFETY: SQLite calls methods of open files only, and the meaning of `arg` follows from `op`.
        unsafe {
            let Some(wrapped) = table::find(file) else {
                return sqlite::SQLITE_NOTFOUND;
            };
            let Some(inner) = wrapped.inner.xFileControl else {
                return sqlite::SQLITE_NOTFOUND;
            };
            match op {
                sqlite::SQLITE_FCNTL_PRAGMA => {
                    answer_pragma(wrapped, file, arg.cast::<*mut c_char>())
                }
                sqlite::SQLITE_FCNTL_VFSNAME => {
                    let rc = inner(file, op, arg);
                    if rc == sqlite::SQLITE_OK {
                        prefix_name(arg.cast::<*mut c_char>());
                    }
                    rc
                }
                sqlite::SQLITE_FCNTL_COMMIT_PHASETWO => {
                    let rc = inner(file, op, arg);
                    report(
                        wrapped,
                        wrapped.commits.commit_announced(|| says_wal(wrapped, file)),
                    );
                    rc
                }
                _ => inner(file, op, arg),
            }
        }
    })
}

/// `SQLITE_FCNTL_PRAGMA`: name and argument come in the second and third place, the answer goes to the first.
///
/// # Safety
/// `places` is the array that SQLite passes with this file control.
unsafe fn answer_pragma(
    wrapped: &WrappedFile,
    file: *mut sqlite3_file,
    places: *mut *mut c_char,
) -> c_int {
    // SAFETY: the second place is always a string, the third a string or NULL; both outlive the call.
    let (name, arg) = unsafe {
        let places = slice::from_raw_parts(places, 3);
        let [_, name, arg] = places else {
            return sqlite::SQLITE_NOTFOUND;
        };
        let arg = if arg.is_null() {
            None
        } else {
            Some(CStr::from_ptr(*arg).to_bytes())
        };
        (CStr::from_ptr(*name).to_string_lossy(), arg)
    };
    let answer = guard(None, || Some(pragma::answer(&wrapped.shared, &name, arg)));
    let answer =
        answer.unwrap_or_else(|| Answer::Failure(format!("PRAGMA {name}: internal error (panic)")));
    let inner = || match wrapped.inner.xFileControl {
        // SAFETY: the inner method of this file with the arguments as they came.
        Some(control) => unsafe { control(file, sqlite::SQLITE_FCNTL_PRAGMA, places.cast()) },
        None => sqlite::SQLITE_NOTFOUND,
    };
    let (rc, text) = match answer {
        Answer::NotOurs => return inner(),
        Answer::Nobody => match inner() {
            sqlite::SQLITE_NOTFOUND => (sqlite::SQLITE_ERROR, pragma::nobody_message(&name)),
            known => return known,
        },
        Answer::Row(text) => (sqlite::SQLITE_OK, text),
        Answer::Failure(text) => (sqlite::SQLITE_ERROR, text),
    };
    let text = sqlite_text(&text);
    if text.is_null() {
        return sqlite::SQLITE_NOMEM;
    }
    // SAFETY: the first place takes a string in SQLite's memory, which SQLite frees.
    unsafe { *places = text };
    rc
}

/// Turns the inner VFS's name into `nuda/<name>`.
///
/// # Safety
/// `place` holds NULL or a string in SQLite's memory, as after `SQLITE_FCNTL_VFSNAME`.
unsafe fn prefix_name(place: *mut *mut c_char) {
    // SAFETY: the caller vouches for the place; the old string is ours to free once it is replaced.
    unsafe {
        let inner = *place;
        if inner.is_null() {
            return;
        }
        let name = sqlite_text(&format!(
            "{VFS_NAME}/{}",
            CStr::from_ptr(inner).to_string_lossy()
        ));
        if !name.is_null() {
            *place = name;
            sqlite::sqlite3_free(inner.cast());
        }
    }
}

/// Whether the database header says WAL. Asked only while the connection holds the file exclusively.
///
/// # Safety
/// The file is open.
unsafe fn says_wal(wrapped: &WrappedFile, file: *mut sqlite3_file) -> bool {
    let Some(read) = wrapped.inner.xRead else {
        return false;
    };
    let mut versions = [0u8; 2];
    // SAFETY: the inner method of this open file, with room for two bytes.
    let rc = unsafe {
        read(
            file,
            versions.as_mut_ptr().cast(),
            2,
            HEADER_VERSIONS_OFFSET,
        )
    };
    rc == sqlite::SQLITE_OK && versions == [2, 2]
}
