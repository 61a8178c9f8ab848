//! What the daemon counts, and how it is shown to Prometheus.
//!
//! Counters only go up and cost one relaxed addition. Gauges are computed from the node's
//! state when somebody looks, so an idle daemon computes nothing.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only rises.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Everything counted since the process began.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// Parts of changesets sent to peers.
    pub(crate) parts_shipped: Counter,
    /// Changesets of other sites applied.
    pub(crate) changesets_applied: Counter,
    /// Changesets that arrived again.
    pub(crate) changesets_duplicate: Counter,
    /// Changesets refused: malformed, stale, forked.
    pub(crate) changesets_refused: Counter,
    /// Batches put off because the file was locked or the disk full.
    pub(crate) apply_retries: Counter,
    /// Log records deleted because every member has them.
    pub(crate) collected: Counter,
    /// Bodies sent, compressed.
    pub(crate) bytes_sent: Counter,
    /// Bodies received, compressed.
    pub(crate) bytes_received: Counter,
    /// Messages thrown away because a queue was full.
    pub(crate) messages_dropped: Counter,
    /// Requests refused: too large, malformed, of an unknown partition.
    pub(crate) requests_refused: Counter,
    /// Requests of another protocol version.
    pub(crate) requests_incompatible: Counter,
    /// Wake-ups from writers.
    pub(crate) wakeups: Counter,
    /// Snapshots handed out.
    pub(crate) snapshots_served: Counter,
    /// Snapshots installed.
    pub(crate) snapshots_installed: Counter,
    /// Times own changesets were renumbered under a new site.
    pub(crate) new_sites: Counter,
    /// Times own changes were re-stamped because the clock was ahead of the peers.
    pub(crate) clock_ahead: Counter,
    /// Write-ahead logs checkpointed by the daemon.
    pub(crate) checkpoints: Counter,
}

impl Metrics {
    fn counters(&self) -> [(&'static str, &'static str, &Counter); 17] {
        [
            (
                "parts_shipped",
                "Parts of changesets sent",
                &self.parts_shipped,
            ),
            (
                "changesets_applied",
                "Changesets applied",
                &self.changesets_applied,
            ),
            (
                "changesets_duplicate",
                "Changesets that arrived again",
                &self.changesets_duplicate,
            ),
            (
                "changesets_refused",
                "Changesets refused",
                &self.changesets_refused,
            ),
            ("apply_retries", "Batches put off", &self.apply_retries),
            ("collected", "Log records deleted", &self.collected),
            ("bytes_sent", "Bodies sent, compressed", &self.bytes_sent),
            (
                "bytes_received",
                "Bodies received, compressed",
                &self.bytes_received,
            ),
            (
                "messages_dropped",
                "Messages dropped at a full queue",
                &self.messages_dropped,
            ),
            (
                "requests_refused",
                "Requests refused",
                &self.requests_refused,
            ),
            (
                "requests_incompatible",
                "Requests of another protocol version",
                &self.requests_incompatible,
            ),
            ("wakeups", "Wake-ups from writers", &self.wakeups),
            (
                "snapshots_served",
                "Snapshots handed out",
                &self.snapshots_served,
            ),
            (
                "snapshots_installed",
                "Snapshots installed",
                &self.snapshots_installed,
            ),
            ("new_sites", "Own changesets renumbered", &self.new_sites),
            (
                "clock_ahead",
                "Own clock found ahead of the peers",
                &self.clock_ahead,
            ),
            (
                "checkpoints",
                "Write-ahead logs checkpointed",
                &self.checkpoints,
            ),
        ]
    }

    /// The counters by name, for `status --json`.
    pub(crate) fn json(&self) -> serde_json::Value {
        self.counters()
            .into_iter()
            .map(|(name, _, counter)| (name.to_owned(), counter.get().into()))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }

    /// Prometheus text of the counters.
    pub(crate) fn exposition(&self) -> String {
        let mut text = String::new();
        for (name, help, counter) in self.counters() {
            let _ = writeln!(
                text,
                "# HELP nuda_{name}_total {help}.\n# TYPE nuda_{name}_total counter\nnuda_{name}_total {}",
                counter.get()
            );
        }
        text
    }
}

/// Appends one gauge with its samples: (labels, value).
pub(crate) fn gauge(text: &mut String, name: &str, help: &str, samples: &[(String, u64)]) {
    let _ = writeln!(text, "# HELP nuda_{name} {help}.\n# TYPE nuda_{name} gauge");
    for (labels, value) in samples {
        let _ = writeln!(text, "nuda_{name}{labels} {value}");
    }
}
