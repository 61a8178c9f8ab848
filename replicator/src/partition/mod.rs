//! One partition on this node: a queue of events, and a host that works them off.
//!
//! The decisions are `nuda_core::protocol::Replication`'s; `host` carries them out on a
//! blocking thread, one at a time per partition, and only while there is something to do: a
//! partition with an empty queue has no task and no timer of its own, and after a while no
//! connection. Invariant: `running` is true exactly while a worker will look at the queue
//! again, so no event is left behind.

pub(crate) mod host;
pub(crate) mod notice;
pub(crate) mod work;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use nuda_core::protocol::{Event, Message};
use nuda_core::site::{Dot, PartitionId};
use nuda_core::version_vector::VersionVector;

use crate::limits;
use crate::node::Node;
use crate::task::define::Defining;
use host::Host;

/// What a worker finds in the queue.
#[derive(Debug)]
pub(crate) enum Job {
    /// The file may have changed.
    Wake,
    /// A fact for the protocol.
    Event(Box<Event>),
}

impl From<Event> for Job {
    fn from(event: Event) -> Self {
        Self::Event(Box::new(event))
    }
}

#[derive(Debug, Default)]
struct Queue {
    jobs: VecDeque<Job>,
    bytes: usize,
    /// A burst of wake-ups is one.
    wake: bool,
    running: bool,
}

/// A partition of this node.
pub(crate) struct Partition {
    /// Its name, which is its file's name.
    pub(crate) name: String,
    /// Its file.
    pub(crate) path: PathBuf,
    id: OnceLock<PartitionId>,
    queue: Mutex<Queue>,
    host: Mutex<Host>,
    /// What the protocol knows that the file has: read by those who must not wait for the worker.
    noticed: Mutex<VersionVector>,
    /// Whether what plain DDL did is being proposed.
    pub(crate) defining: Defining,
}

impl Partition {
    pub(crate) fn new(name: String, path: PathBuf) -> Self {
        Self {
            name,
            path,
            id: OnceLock::new(),
            queue: Mutex::default(),
            host: Mutex::default(),
            noticed: Mutex::default(),
            defining: Defining::default(),
        }
    }

    /// Its id, once the file has been opened for the first time.
    pub(crate) fn id(&self) -> Option<PartitionId> {
        self.id.get().copied()
    }

    /// Notes the id found in the file; false if another one was found before.
    pub(crate) fn set_id(&self, id: PartitionId) -> bool {
        *self.id.get_or_init(|| id) == id
    }

    /// The protocol knows of all these changes.
    pub(crate) fn set_noticed(&self, vector: &VersionVector) {
        let mut noticed = self.noticed.lock().unwrap_or_else(PoisonError::into_inner);
        noticed.clone_from(vector);
    }

    /// Whether the protocol knows of all these changes.
    pub(crate) fn has_noticed(&self, changes: &[Dot]) -> bool {
        let noticed = self.noticed.lock().unwrap_or_else(PoisonError::into_inner);
        changes.iter().all(|dot| noticed.contains(*dot))
    }

    /// Queues a job; false if the queue is full. Callable from any thread.
    pub(crate) fn post(self: &Arc<Self>, node: &Arc<Node>, job: Job) -> bool {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = size(&job);
        match job {
            Job::Wake => queue.wake = true,
            job => {
                let full = queue.jobs.len() >= limits::QUEUE_EVENTS
                    || (bytes > 0 && queue.bytes > 0 && queue.bytes + bytes > limits::QUEUE_BYTES);
                if full {
                    return false;
                }
                queue.bytes += bytes;
                queue.jobs.push_back(job);
            }
        }
        if !std::mem::replace(&mut queue.running, true) {
            let (partition, node) = (Arc::clone(self), Arc::clone(node));
            let runtime = node.runtime.clone();
            runtime.spawn_blocking(move || partition.drain(&node));
        }
        true
    }

    fn next(&self) -> Option<Job> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut queue.wake) {
            return Some(Job::Wake);
        }
        let job = queue.jobs.pop_front();
        match &job {
            Some(job) => queue.bytes = queue.bytes.saturating_sub(size(job)),
            None => queue.running = false,
        }
        job
    }

    fn drain(self: Arc<Self>, node: &Arc<Node>) {
        let mut host = self.host();
        while let Some(job) = self.next() {
            if let Err(e) = host.work(node, &self, job) {
                tracing::warn!(partition = %self.name, error = %e, "put off");
            }
        }
        node.timers.set(&self.name, host.deadline());
    }

    /// The host, for those who need its connection on their own (blocking) thread.
    pub(crate) fn host(&self) -> MutexGuard<'_, Host> {
        match self.host.lock() {
            Ok(host) => host,
            Err(poisoned) => {
                // A worker panicked half-way: begin again from what the file says.
                let mut host = poisoned.into_inner();
                *host = Host::default();
                self.host.clear_poison();
                host
            }
        }
    }

    /// The host, unless a worker has it.
    pub(crate) fn try_host(&self) -> Option<MutexGuard<'_, Host>> {
        self.host.try_lock().ok()
    }
}

fn size(job: &Job) -> usize {
    let Job::Event(event) = job else { return 0 };
    match event.as_ref() {
        Event::Received {
            message: Message::Push { parts, .. },
            ..
        } => parts.iter().map(|p| p.bytes.len()).sum(),
        _ => 0,
    }
}
