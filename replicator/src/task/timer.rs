//! One timer for all partitions: when the protocol of each must be called again.
//!
//! A thousand idle partitions are a thousand entries of one ordered set, not a thousand
//! sleeping tasks.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nuda_core::protocol::Event;
use tokio::sync::Notify;

use crate::clock;
use crate::node::Node;
use crate::partition::Job;

#[derive(Default)]
struct Entries {
    by_time: BTreeSet<(u64, String)>,
    by_name: HashMap<String, u64>,
}

/// Deadlines of partitions.
#[derive(Default)]
pub(crate) struct Timers {
    entries: Mutex<Entries>,
    earlier: Notify,
}

impl Timers {
    /// Sets or clears a partition's deadline.
    pub(crate) fn set(&self, name: &str, at_ms: Option<u64>) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let old = match at_ms {
            Some(at_ms) => entries.by_name.insert(name.to_owned(), at_ms),
            None => entries.by_name.remove(name),
        };
        if old == at_ms {
            return;
        }
        if let Some(old) = old {
            entries.by_time.remove(&(old, name.to_owned()));
        }
        if let Some(at_ms) = at_ms {
            let earliest = entries
                .by_time
                .first()
                .is_none_or(|(first, _)| at_ms < *first);
            entries.by_time.insert((at_ms, name.to_owned()));
            if earliest {
                self.earlier.notify_one();
            }
        }
    }

    /// Takes out what is due, and says when the next is.
    fn due(&self, now_ms: u64) -> (Vec<String>, Option<u64>) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let mut due = Vec::new();
        while let Some((at_ms, _)) = entries.by_time.first() {
            if *at_ms > now_ms {
                return (due, Some(*at_ms));
            }
            if let Some((_, name)) = entries.by_time.pop_first() {
                entries.by_name.remove(&name);
                due.push(name);
            }
        }
        (due, None)
    }
}

/// Posts a tick to every partition whose deadline has come.
pub(crate) async fn run(node: Arc<Node>) {
    loop {
        let now_ms = clock::now_ms();
        let (due, next) = node.timers.due(now_ms);
        for name in due {
            if let Some(partition) = node.partitions.get(&name) {
                partition.post(&node, Job::from(Event::Tick));
            }
        }
        // Far deadlines are slept on in pieces, so a clock that jumps costs little.
        let pause = next.map_or(60_000, |at_ms| {
            at_ms.saturating_sub(now_ms).clamp(1, 60_000)
        });
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(pause)) => {}
            () = node.timers.earlier.notified() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_deadline_per_partition() {
        let timers = Timers::default();
        timers.set("a", Some(10));
        timers.set("b", Some(5));
        timers.set("a", Some(7));
        timers.set("c", Some(6));
        timers.set("c", None);
        assert_eq!(timers.due(6), (vec!["b".to_owned()], Some(7)));
        assert_eq!(timers.due(100), (vec!["a".to_owned()], None));
        assert_eq!(timers.due(100), (vec![], None));
    }
}
