//! Replication of one partition on one node: events in, commands out.
//!
//! In reading order: [`event`] (what goes in and out), [`member`] (who takes part),
//! [`message`] (what nodes say), [`status`] (what humans see).
//! No I/O and no clock in here: every event comes with the host's time in milliseconds (any
//! monotonic origin), and [`Replication::next_deadline`] says when the host must call again at
//! the latest.
//!
//! A host wraps it like this: open the file, [`Replication::new`]; feed every event to
//! [`Replication::handle`] and carry out the returned commands in order; sleep until
//! `next_deadline`; now and then compare [`Replication::digest`] of all partitions with each
//! peer by one [`Summary`], and feed [`Event::Compared`].

pub mod event;
pub mod member;
pub mod message;
pub mod status;

pub use event::{Blocked, Command, Config, Event, Head, Opened, Range, Work};
pub use member::{Member, Members, NodeId};
pub use message::{Envelope, EnvelopeError, Message, PROTOCOL, PartBytes, Partial, Summary};
pub use status::{PeerState, PeerStatus, Status};

/// The state machine.
#[derive(Debug)]
pub struct Replication {
    me: NodeId,
    config: Config,
    opened: Opened,
}

impl Replication {
    /// Replication of the partition whose file was found as `opened`, on the node `me`.
    #[must_use]
    pub fn new(me: NodeId, config: Config, opened: Opened) -> Self {
        Self { me, config, opened }
    }

    /// Takes a fact, answers with what to do, in order.
    pub fn handle(&mut self, now_ms: u64, event: Event) -> Vec<Command> {
        let _ = (now_ms, event);
        Vec::new()
    }

    /// When to give [`Event::Tick`] if nothing else happens; `None`: not at all.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        None
    }

    /// Equal on two nodes whose replicas have the same changesets and reported the same.
    #[must_use]
    pub fn digest(&self) -> u64 {
        0
    }

    /// For humans.
    #[must_use]
    pub fn status(&self) -> Status {
        let _ = (&self.me, &self.config, &self.opened);
        Status {
            peers: Vec::new(),
            applied: 0,
            durable: 0,
            collected: 0,
            must_reseed: None,
            stopped_sites: Vec::new(),
        }
    }
}
