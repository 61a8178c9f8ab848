//! The process's own CPU time, and children that do not outlive it: what the standard library
//! does not offer.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

/// User and system time of this process so far.
pub(crate) fn cpu_time() -> Duration {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the place is as large as the call demands; all-zero is a valid value of it, so
    // that a failure reads as no time.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    };
    of(usage.ru_utime) + of(usage.ru_stime)
}

fn of(time: libc::timeval) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let micros = u64::try_from(time.tv_usec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_micros(micros)
}

/// Lets a process that is about to be started end with the thread that starts it, even if that
/// is killed.
pub(crate) fn end_with_parent(command: &mut Command) {
    // SAFETY: between fork and exec only this one system call is made, which is
    // async-signal-safe and touches no memory.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
}
