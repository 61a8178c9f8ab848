//! What waits to be sent to each peer, and the one task per peer that sends it.
//!
//! Messages to one peer travel in order, one request at a time; what gathers meanwhile goes
//! as one body. A queue is bounded, and what does not fit is dropped: replication asks again.
//! A failed call tells every partition concerned, and the peer is left alone for a while that
//! doubles up to a bound.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nuda_core::site::PartitionId;
use tokio::sync::Notify;

use super::Route;
use super::wire::{Frame, Receipt};
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::node::Node;

struct Waiting {
    partition: Option<PartitionId>,
    frame: Frame,
}

#[derive(Default)]
struct Queue {
    messages: VecDeque<Waiting>,
    bytes: usize,
}

/// One peer's queue.
#[derive(Default)]
pub(crate) struct Outbox {
    queue: Mutex<Queue>,
    filled: Notify,
}

impl Outbox {
    fn push(&self, message: Waiting) -> bool {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = message.frame.bytes().len();
        if queue.messages.len() >= limits::OUTBOX_MESSAGES
            || (queue.bytes + bytes > limits::OUTBOX_BYTES && queue.bytes > 0)
        {
            return false;
        }
        queue.bytes += bytes;
        queue.messages.push_back(message);
        drop(queue);
        self.filled.notify_one();
        true
    }

    fn take(&self) -> Vec<Waiting> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken = Vec::new();
        let mut bytes = 0;
        while let Some(first) = queue.messages.front() {
            let size = first.frame.bytes().len();
            if bytes > 0 && bytes + size > limits::ENVELOPE_BYTES {
                break;
            }
            bytes += size;
            taken.extend(queue.messages.pop_front());
        }
        queue.bytes -= bytes;
        taken
    }
}

/// All peers' queues; a sending task begins with a peer's first message.
#[derive(Default)]
pub(crate) struct Outboxes {
    by_name: Mutex<HashMap<String, Arc<Outbox>>>,
}

impl Outboxes {
    /// Queues a frame for a peer; `partition` is who learns of a failure. Callable from any
    /// thread.
    pub(crate) fn send(
        &self,
        node: &Arc<Node>,
        to: &str,
        partition: Option<PartitionId>,
        frame: Frame,
    ) {
        let outbox = {
            let mut all = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
            match all.get(to) {
                Some(outbox) => Arc::clone(outbox),
                None => {
                    let outbox = Arc::new(Outbox::default());
                    all.insert(to.to_owned(), Arc::clone(&outbox));
                    let work = run(Arc::clone(node), to.to_owned(), Arc::clone(&outbox));
                    node.spawn(work);
                    outbox
                }
            }
        };
        if !outbox.push(Waiting { partition, frame }) {
            node.metrics.messages_dropped.add(1);
        }
    }
}

async fn run(node: Arc<Node>, name: String, outbox: Arc<Outbox>) {
    let mut pause = Duration::ZERO;
    loop {
        let batch = outbox.take();
        if batch.is_empty() {
            outbox.filled.notified().await;
            continue;
        }
        match send(&node, &name, &batch).await {
            Ok(receipt) => {
                pause = Duration::ZERO;
                node.heard(&name);
                node.refused_by(&name, receipt);
            }
            Err(e) => {
                node.failed(&name, &e);
                report(&node, &name, &batch, &e);
                pause = (pause * 2)
                    .max(Duration::from_millis(50))
                    .min(limits::BACKOFF_MAX);
                // A peer that calls or answers a greeting ends the pause.
                node.wait_for_peer(&name, pause).await;
            }
        }
    }
}

async fn send(node: &Arc<Node>, name: &str, batch: &[Waiting]) -> Result<Receipt> {
    let mut body = Vec::with_capacity(batch.iter().map(|w| w.frame.bytes().len() + 5).sum());
    for waiting in batch {
        waiting.frame.put(&mut body)?;
    }
    let answer = node.call(name, Route::Messages, body).await?;
    Ok(serde_json::from_slice(&answer)?)
}

fn report(node: &Arc<Node>, name: &str, batch: &[Waiting], error: &Error) {
    let mut told = Vec::new();
    for partition in batch.iter().filter_map(|w| w.partition) {
        if !told.contains(&partition) {
            told.push(partition);
            node.undelivered(
                partition,
                name,
                &error.to_string(),
                error.kind == Kind::Incompatible,
            );
        }
    }
}
