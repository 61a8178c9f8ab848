//! A process in which no SQLite was accepted: every door says so, and nothing is called.
//!
//! No SQLite is linked here; the API table is made up, and all it can say is its version.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Arc;

use nuda_vfs::{AttachError, BarrierRefused, ConnectionHooks, InitError, RegisterError};
use sqlite3_ext::ffi::sqlite3_api_routines;

struct Nothing;

impl ConnectionHooks for Nothing {
    fn pragma(&self, _name: &str, _arg: Option<&str>) -> Option<Result<String, String>> {
        None
    }

    fn read_barrier(&self) -> Result<(), BarrierRefused> {
        Ok(())
    }

    fn committed(&self) {}
}

unsafe extern "C" fn old_version() -> c_int {
    3_036_000
}

#[test]
fn hosts_are_refused_and_nothing_is_called() {
    // SAFETY: NULL is allowed.
    let refusal = unsafe { nuda_vfs::init_api(ptr::null_mut()) };
    assert_eq!(refusal, Err(InitError::NoApi));
    let mut old = MaybeUninit::<sqlite3_api_routines>::zeroed();
    // SAFETY: all members are nullable functions, for which zero is valid; the table outlives the call.
    let refusal = unsafe {
        (*old.as_mut_ptr()).libversion_number = Some(old_version);
        nuda_vfs::init_api(old.as_mut_ptr())
    };
    assert_eq!(refusal, Err(InitError::TooOld { version: 3_036_000 }));

    assert_eq!(
        nuda_vfs::register_default(),
        Err(RegisterError::NotInitialised)
    );
    // SAFETY: refused before the connection is looked at.
    let attached = unsafe { nuda_vfs::attach(ptr::null_mut(), Arc::new(Nothing)) };
    assert_eq!(attached.unwrap_err(), AttachError::NotInitialised);
}
