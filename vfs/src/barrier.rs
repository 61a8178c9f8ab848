//! The read barrier: when it runs, and when it may be spared because it has just run.
//!
//! SQLite begins a read transaction by locking a read mark of the wal-index (WAL) or the file itself
//! (rollback journal); the barrier runs before that lock is asked for, so that whatever it waits for may
//! still write. Built with `SQLITE_ENABLE_SETLK_TIMEOUT`, SQLite begins a transaction that writes at once by
//! the writer's lock instead, and the barrier runs before that one. One beginning can ask more than once: the first access to a WAL database locks the file and
//! then a read mark, and SQLite starts over when the wal-index header moved meanwhile, which a
//! barrier that let changes in makes certain. Repeating the barrier there would never end under load, so a
//! *pass* carries it over to the next request of the same beginning.
//!
//! The invariant: a pass is never used by a later transaction. It is made only when SQLite is bound to ask
//! again, dies with any other lock traffic, with re-arming and after [`PASS_LIFETIME`], and is used
//! once. When in doubt the barrier runs again: that costs time, never a promise.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::hooks::Shared;

/// Bound on carrying a pass over. SQLite gives up a beginning without any visible sign only after about
/// ten seconds of retries; a pass far younger than that can't outlive its beginning.
const PASS_LIFETIME: Duration = Duration::from_secs(1);

/// A barrier that has run for the read transaction now beginning.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pass {
    /// When the barrier itself returned; kept when the pass is carried over again.
    at: Instant,
    /// Arming at that moment: a pass from before a change of level is worth nothing.
    arming: u32,
}

/// The pass waiting to be used, if any.
#[derive(Debug, Default)]
pub(crate) struct PassSlot(Cell<Option<Pass>>);

/// The barrier refused; the message is with the hooks' owner.
#[derive(Debug)]
pub(crate) struct Refused;

impl PassSlot {
    /// Keeps a pass for the request that SQLite is bound to make next.
    pub(crate) fn keep(&self, pass: Pass) {
        self.0.set(Some(pass));
    }

    /// Forgets the pass: something else than a repeated request happened.
    pub(crate) fn clear(&self) {
        self.0.set(None);
    }

    /// Lets one request through: by the pass that waits, else by running the barrier.
    pub(crate) fn admit(&self, shared: &Shared) -> Result<Pass, Refused> {
        let arming = shared.arming();
        if let Some(pass) = self.0.take()
            && pass.arming == arming
            && pass.at.elapsed() < PASS_LIFETIME
        {
            return Ok(pass);
        }
        shared.run_barrier()?;
        Ok(Pass {
            at: Instant::now(),
            arming,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::hooks::{BarrierRefused, ConnectionHooks, Origin};

    #[derive(Default)]
    struct Count(AtomicU32);

    impl ConnectionHooks for Count {
        fn pragma(&self, _name: &str, _arg: Option<&str>) -> Option<Result<String, String>> {
            None
        }

        fn read_barrier(&self) -> Result<(), BarrierRefused> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }

        fn committed(&self) {}
    }

    #[test]
    fn a_pass_serves_one_request_of_its_own_arming_and_time() {
        let shared = Arc::new(Shared::new(Origin::Adopted, String::from("unix")));
        let hooks = Arc::new(Count::default());
        let runs = || hooks.0.load(Ordering::Relaxed);
        let attached = shared.plug(1, hooks.clone()).unwrap();
        attached.arm_barrier(true);
        let slot = PassSlot::default();

        let pass = slot.admit(&shared).unwrap();
        // However long this machine stands still.
        let pass = Pass {
            at: pass.at + PASS_LIFETIME * 1_000,
            ..pass
        };
        slot.keep(pass);
        slot.admit(&shared).unwrap();
        assert_eq!(runs(), 1, "spared once");
        let pass = slot.admit(&shared).unwrap();
        assert_eq!(runs(), 2, "and not again");

        slot.keep(pass);
        slot.clear();
        let pass = slot.admit(&shared).unwrap();
        assert_eq!(runs(), 3, "cleared");

        slot.keep(pass);
        attached.arm_barrier(false);
        attached.arm_barrier(true);
        let pass = slot.admit(&shared).unwrap();
        assert_eq!(runs(), 4, "armed anew");

        let stale = Pass {
            at: pass.at.checked_sub(PASS_LIFETIME).unwrap(),
            ..pass
        };
        slot.keep(stale);
        slot.admit(&shared).unwrap();
        assert_eq!(runs(), 5, "too old");
    }
}
