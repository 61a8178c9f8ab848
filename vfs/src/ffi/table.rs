//! A file's own method table, with our state right behind it.
//!
//! Wrapping a file allocates one table: the inner functions are copied into it *verbatim* (the file
//! pointer stays the same, so they find their own structure as before and cost nothing), save the few
//! that `methods` intercepts. The table is the head of [`WrappedFile`], so a trampoline finds its state by
//! `file->pMethods`. If somebody else (another copy of the extension) has put his table on top of ours,
//! that pointer is his; then the registry, keyed by the file pointer, finds it. The table never claims
//! a version or a method that the inner one lacks.
//!
//! The invariant: a `WrappedFile` lives from [`wrap`] to the file's `xClose`, which puts the inner table back
//! before it calls the inner `xClose`. SQLite uses one file from one thread at a time, so its cells need no lock.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::offset_of;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sqlite3_ext::ffi as sqlite;

use super::{guard, methods};
use crate::barrier::PassSlot;
use crate::commits::{CommitWatch, WAL_HEADER_WORDS, WalHeader};
use crate::hooks::{Origin, Shared};

/// Size of one region of the wal-index, fixed by SQLite's format.
const WAL_INDEX_REGION: c_int = 32 * 1024;

/// Newest version of `sqlite3_io_methods` we know the members of.
const NEWEST_VERSION: c_int = 3;

/// One wrapped file.
#[repr(C)]
pub(super) struct WrappedFile {
    /// What `file->pMethods` points to. Must stay the first member.
    methods: sqlite::sqlite3_io_methods,
    /// Its own address: tells our table from a copy of it that somebody else made.
    this: *const WrappedFile,
    /// The inner methods, as far as their version goes.
    pub(super) inner: sqlite::sqlite3_io_methods,
    /// What to put back at `xClose`.
    inner_table: *const sqlite::sqlite3_io_methods,
    pub(super) shared: Arc<Shared>,
    pub(super) commits: CommitWatch,
    pub(super) pass: PassSlot,
    /// A read mark is held: a read transaction is open.
    pub(super) reading: Cell<bool>,
    /// The checkpointer's lock is held.
    pub(super) checkpointing: Cell<bool>,
    /// First region of the wal-index while it is mapped.
    wal_index: Cell<*const AtomicU32>,
    /// The region may have been mapped before the file was adopted, and was not asked for since.
    wal_index_missed: Cell<bool>,
}

/// Wrapped files by address, for the case that our table is not the topmost one.
static WRAPPED: Mutex<BTreeMap<usize, usize>> = Mutex::new(BTreeMap::new());

/// The state of a wrapped file.
///
/// # Safety
/// `file` is open, and the result is not used after its `xClose`.
#[inline]
pub(super) unsafe fn find<'a>(file: *mut sqlite::sqlite3_file) -> Option<&'a WrappedFile> {
    // SAFETY: as the caller vouches.
    unsafe { find_on_top(file).or_else(|| find_below(file)) }
}

/// As [`find`], if our table is the topmost one, which it nearly always is. Never panics.
///
/// # Safety
/// As for [`find`].
#[inline]
pub(super) unsafe fn find_on_top<'a>(file: *mut sqlite::sqlite3_file) -> Option<&'a WrappedFile> {
    // SAFETY: an open file has a method table. If its xClose is ours, the table is the head of a
    // `WrappedFile` (nobody but `wrap` puts our function into one) unless somebody copied it, which
    // `this` tells.
    unsafe {
        let table = (*file).pMethods;
        if table.is_null() {
            return None;
        }
        match (*table).xClose {
            Some(close) if close as usize == methods::close_address() => {}
            _ => return None,
        }
        let wrapped = table.cast::<WrappedFile>();
        if ptr::eq((*wrapped).this, wrapped) {
            Some(&*wrapped)
        } else {
            None
        }
    }
}

/// As [`find`], for a file that carries another table on top of ours.
///
/// # Safety
/// As for [`find`].
#[cold]
unsafe fn find_below<'a>(file: *mut sqlite::sqlite3_file) -> Option<&'a WrappedFile> {
    let address = registry().get(&(file as usize)).copied()?;
    // SAFETY: an address is in the registry only while its `WrappedFile` lives, which is until `xClose`.
    unsafe { (address as *const WrappedFile).as_ref() }
}

/// Wraps an open file, or finds that it is wrapped already.
///
/// # Safety
/// `file` is open, nobody else uses it during the call, and this library stays mapped.
pub(super) unsafe fn wrap(
    file: *mut sqlite::sqlite3_file,
    origin: Origin,
) -> Result<Arc<Shared>, c_int> {
    // SAFETY: the caller vouches for `file`.
    if let Some(wrapped) = unsafe { find(file) } {
        return Ok(Arc::clone(&wrapped.shared));
    }
    // SAFETY: an open file has a method table, of which a version tells the length.
    let (inner_table, inner) = unsafe {
        let table = (*file).pMethods;
        (table, known_methods(table))
    };
    if inner.xClose.is_none()
        || inner.xFileControl.is_none()
        || inner.xLock.is_none()
        || inner.xUnlock.is_none()
    {
        return Err(sqlite::SQLITE_MISUSE);
    }
    // SAFETY: these are the file's own methods, and it is open.
    let (inner_vfs, db_lock) = unsafe { (vfs_name(file, &inner), lock_level(file, &inner)) };
    let shared = Arc::new(Shared::new(origin, inner_vfs));
    let wrapped = Box::into_raw(Box::new(WrappedFile {
        methods: methods::intercept(inner),
        this: ptr::null(),
        inner,
        inner_table,
        shared: Arc::clone(&shared),
        commits: CommitWatch::new(db_lock),
        pass: PassSlot::default(),
        reading: Cell::new(false),
        checkpointing: Cell::new(false),
        wal_index: Cell::new(ptr::null()),
        wal_index_missed: Cell::new(origin == Origin::Adopted),
    }));
    registry().insert(file as usize, wrapped as usize);
    // SAFETY: `wrapped` was just made and is ours alone; the caller vouches that nobody uses the file.
    unsafe {
        (*wrapped).this = wrapped;
        (*file).pMethods = &raw const (*wrapped).methods;
    }
    Ok(shared)
}

/// Unwraps a file that is being closed and gives its inner `xClose`. The hooks are dropped.
///
/// # Safety
/// Called once, from the file's `xClose`, on its connection's thread.
pub(super) unsafe fn unwrap(file: *mut sqlite::sqlite3_file) -> Option<sqlite::sqlite3_io_methods> {
    let address = registry().remove(&(file as usize))?;
    // SAFETY: `wrap` made it with `Box::into_raw`; it just left the registry, and the file's table is
    // replaced before anything else happens, so nobody finds it again.
    let wrapped = unsafe {
        let wrapped = Box::from_raw(address as *mut WrappedFile);
        (*file).pMethods = wrapped.inner_table;
        wrapped
    };
    guard((), || {
        wrapped.shared.report_commits(wrapped.commits.closed());
    });
    guard((), || wrapped.shared.close());
    Some(wrapped.inner)
}

impl WrappedFile {
    /// SQLite mapped a region of the wal-index.
    pub(super) fn mapped(&self, region: *const c_void) {
        self.wal_index.set(region.cast());
        self.wal_index_missed.set(false);
    }

    /// SQLite unmapped the wal-index.
    pub(super) fn unmapped(&self) {
        self.wal_index.set(ptr::null());
        self.wal_index_missed.set(false);
    }

    /// The header of the wal-index as it is now, if SQLite has mapped it.
    ///
    /// # Safety
    /// Called from `xShmLock` of this file, when its shared memory is open.
    pub(super) unsafe fn wal_header(&self, file: *mut sqlite::sqlite3_file) -> Option<WalHeader> {
        if self.wal_index_missed.replace(false) {
            // SAFETY: as the caller vouches.
            unsafe { self.map_missed(file) };
        }
        let words = self.wal_index.get();
        if words.is_null() {
            return None;
        }
        let mut header = [0; WAL_HEADER_WORDS];
        for (i, word) in header.iter_mut().enumerate() {
            // SAFETY: a region is far longer than the header, aligned to a page, and mapped until
            // `xShmUnmap`, which clears the pointer. Other processes write it: hence atomic loads, which
            // also suit a read-only mapping.
            *word = unsafe { (*words.add(i)).load(Ordering::Relaxed) };
        }
        Some(WalHeader(header))
    }

    /// Asks for the region that was mapped before we came. Nothing is created by it.
    ///
    /// # Safety
    /// As for [`Self::wal_header`].
    #[cold]
    unsafe fn map_missed(&self, file: *mut sqlite::sqlite3_file) {
        let Some(map) = self.inner.xShmMap else {
            return;
        };
        let mut region: *mut c_void = ptr::null_mut();
        // SAFETY: the file's own method on the file; shared memory is open, so the last 0 makes this a
        // look-up of what exists already.
        let rc = unsafe { map(file, 0, WAL_INDEX_REGION, 0, &raw mut region) };
        if !region.is_null() && (rc == sqlite::SQLITE_OK || rc == sqlite::SQLITE_READONLY) {
            self.wal_index.set(region.cast::<AtomicU32>());
        }
    }
}

/// The members that a table's version promises; the others are `None`, the version is one we know.
///
/// # Safety
/// `table` points to the methods of an open file.
unsafe fn known_methods(table: *const sqlite::sqlite3_io_methods) -> sqlite::sqlite3_io_methods {
    // SAFETY: all members are nullable function pointers or an integer, for which zero is valid.
    let mut known: sqlite::sqlite3_io_methods = unsafe { std::mem::zeroed() };
    // SAFETY: the version is the first member of every table.
    let version = unsafe { (*table).iVersion }.min(NEWEST_VERSION);
    let length = match version {
        ..=1 => offset_of!(sqlite::sqlite3_io_methods, xShmMap),
        2 => offset_of!(sqlite::sqlite3_io_methods, xFetch),
        _ => size_of::<sqlite::sqlite3_io_methods>(),
    };
    // SAFETY: a table of this version is at least this long, and `known` is as long as the newest.
    unsafe { ptr::copy_nonoverlapping(table.cast::<u8>(), (&raw mut known).cast::<u8>(), length) };
    known.iVersion = version;
    known
}

/// What the VFS below calls itself.
///
/// # Safety
/// `inner` are the methods of the open file `file`.
unsafe fn vfs_name(file: *mut sqlite::sqlite3_file, inner: &sqlite::sqlite3_io_methods) -> String {
    let mut name: *mut c_char = ptr::null_mut();
    // SAFETY: the request wants a place for one string in SQLite's memory, which is ours to free then.
    unsafe {
        if let Some(control) = inner.xFileControl
            && control(file, sqlite::SQLITE_FCNTL_VFSNAME, (&raw mut name).cast())
                == sqlite::SQLITE_OK
            && !name.is_null()
        {
            let text = CStr::from_ptr(name).to_string_lossy().into_owned();
            sqlite::sqlite3_free(name.cast());
            return text;
        }
    }
    String::from("unknown")
}

/// The lock a connection holds on its file; none if the VFS does not tell.
///
/// # Safety
/// As for [`vfs_name`].
unsafe fn lock_level(file: *mut sqlite::sqlite3_file, inner: &sqlite::sqlite3_io_methods) -> c_int {
    let mut level = sqlite::SQLITE_LOCK_NONE;
    // SAFETY: the request wants a place for one integer.
    unsafe {
        if let Some(control) = inner.xFileControl {
            control(
                file,
                sqlite::SQLITE_FCNTL_LOCKSTATE,
                (&raw mut level).cast(),
            );
        }
    }
    level
}

fn registry() -> MutexGuard<'static, BTreeMap<usize, usize>> {
    WRAPPED.lock().unwrap_or_else(PoisonError::into_inner)
}
