//! Closes the connections of partitions that nobody used for a while, and forgets snapshots
//! that nobody fetched. Skips partitions that are at work.

use std::sync::Arc;

use crate::node::Node;

/// Looks for ever, at a fraction of the idle time.
pub(crate) async fn run(node: Arc<Node>) {
    let idle_ms = u64::try_from(node.config.idle_close.as_millis()).unwrap_or(u64::MAX);
    loop {
        tokio::time::sleep(node.config.idle_close / 2).await;
        let worker = Arc::clone(&node);
        let look = tokio::task::spawn_blocking(move || {
            for partition in worker.partitions.all() {
                if let Some(mut host) = partition.try_host() {
                    host.close_if_idle(idle_ms);
                }
            }
            worker.snapshots.expire();
        });
        if let Err(e) = look.await {
            tracing::error!(error = %e, "closing idle connections failed");
        }
    }
}
