//! Before a read transaction begins: wait until the file is where the level wants it.
//!
//! It runs inside SQLite's locking code, before any lock is held, and uses the daemon's socket
//! and a second connection (`seen`) only. Read level strong asks what was acknowledged anywhere before now; level bounded
//! is content with a moment ago, and asks nobody while it has that. Write level strong
//! waits for what this node already knows, so that it does not begin on a snapshot that is
//! bound to be stale; it fails for nothing, certification catches the rest. Write level quorum
//! waits for nothing, unless the outcome of this connection's latest transaction is not known.

use std::time::{Duration, Instant};

use nuda_core::changeset::Level;
use nuda_core::control::{Ask, Reply, Request, Standing};
use nuda_core::version_vector::VersionVector;
use nuda_vfs::BarrierRefused;

use super::levels::Read;
use super::{Session, State, holders};

impl Session {
    /// Runs the barrier. Where it fails, what this process does itself is said as well.
    pub(crate) fn barrier(&self) -> Result<(), BarrierRefused> {
        self.wait().map_err(|mut refused| {
            if let Some(who) = holders::in_the_way(&self.file) {
                refused.message = format!("{}; {who}", refused.message);
            }
            refused
        })
    }

    fn wait(&self) -> Result<(), BarrierRefused> {
        let mut state = self.state();
        self.reach_log(&mut state)?;
        if state.read == Read::Session {
            state
                .reach_seen()
                .map_err(|why| refused(&format!("session read refused: {why}")))?;
        }
        Ok(())
    }

    /// Waits for the log, as the levels want.
    fn reach_log(&self, state: &mut State) -> Result<(), BarrierRefused> {
        if state.partition.is_none() {
            let asks = matches!(state.read, Read::Strong | Read::Bounded);
            if asks && self.socket.exists() {
                return Err(refused(
                    "this file has joined a cluster since the level was set; set \
                     nuda_read_consistency again",
                ));
            }
            return Ok(());
        }
        if state.read == Read::Strong {
            return match state.ask(Ask::ReachAll) {
                Some(Reply::Ready(_)) => {
                    state.reached();
                    Ok(())
                }
                Some(Reply::NotCommitted(why) | Reply::Unknown(why)) => {
                    Err(refused(&format!("strong read refused: {why}")))
                }
                _ => Err(refused("strong read refused: an unexpected answer")),
            };
        }
        if state.read == Read::Bounded {
            state.be_recent().map_err(|why| refused(&why))?;
        }
        if state.write == Level::Strong || state.in_doubt {
            state.ask(Ask::Standing);
            let known = state.standing.as_ref().map(Standing::accepted);
            state.after.join(&known.unwrap_or_default());
        }
        let after = state.after.clone();
        if !after.is_empty() && matches!(state.ask(Ask::Reach(after)), Some(Reply::Ready(_))) {
            state.reached();
        }
        Ok(())
    }
}

impl State {
    /// Level bounded: the file has what a majority had at a moment that is not too old. What was
    /// asked for once is good for all reads until then, since a file loses nothing.
    fn be_recent(&mut self) -> Result<(), String> {
        let began = Instant::now();
        let max_age = Duration::from_millis(self.max_staleness_ms);
        if self
            .asked
            .is_some_and(|asked| began.duration_since(asked) <= max_age)
        {
            return Ok(());
        }
        match self.ask(Ask::ReachRecent(self.max_staleness_ms)) {
            // The daemon counted from later than this.
            Some(Reply::Recent { age_us, .. }) => {
                self.asked = began.checked_sub(Duration::from_micros(age_us));
                Ok(())
            }
            Some(Reply::NotCommitted(why) | Reply::Unknown(why)) => {
                Err(format!("bounded read refused: {why}"))
            }
            _ => Err("bounded read refused: an unexpected answer".to_owned()),
        }
    }

    /// The file has all that was waited for.
    fn reached(&mut self) {
        self.after = VersionVector::new();
        self.in_doubt = false;
    }

    /// Asks the daemon about the partition; remembers where the log stands.
    pub(super) fn ask(&mut self, ask: Ask) -> Option<Reply> {
        let request = Request {
            partition: self.partition?,
            within_ms: self.timeout_ms,
            here: self.here.clone(),
            ask,
        };
        let reply = self.client.ask(&request);
        if let Reply::Ready(standing)
        | Reply::Decided(_, standing)
        | Reply::Lacks(standing)
        | Reply::Recent { standing, .. }
        | Reply::Executed { standing, .. } = &reply
        {
            self.standing = Some(standing.clone());
        }
        Some(reply)
    }
}

fn refused(why: &str) -> BarrierRefused {
    BarrierRefused {
        message: format!("nuda: {why}"),
    }
}
