//! Listens for wake-ups: a datagram on `wake.sock` is the name of a file that was written.
//!
//! Nothing is trusted: a name that is no partition here is ignored, and a wake-up only makes
//! the daemon look. A burst at one partition is one look.

use std::sync::Arc;

use tokio::net::UnixDatagram;

use crate::dir::DataDir;
use crate::error::{Error, Result};
use crate::limits;
use crate::node::Node;
use crate::partition::Job;

/// Binds the socket, in place of one that an earlier process left.
pub(crate) fn bind(dir: &DataDir) -> Result<UnixDatagram> {
    let path = dir.wake_socket();
    crate::private_socket::remove_stale(&path)?;
    let socket = UnixDatagram::bind(&path).map_err(|e| {
        Error::refused(format!(
            "cannot make {}; {e}; choose a shorter --dir",
            path.display()
        ))
    })?;
    crate::private_socket::make_private(&path)?;
    Ok(socket)
}

/// Looks at every partition that is named.
pub(crate) async fn run(node: Arc<Node>, socket: UnixDatagram) {
    let mut buffer = vec![0; limits::WAKE_BYTES];
    loop {
        let Ok(len) = socket.recv(&mut buffer).await else {
            tokio::time::sleep(limits::BACKOFF_MAX).await;
            continue;
        };
        let Some(name) = buffer
            .get(..len)
            .and_then(|bytes| std::str::from_utf8(bytes).ok())
            .map(|text| text.rsplit('/').next().unwrap_or(text))
            .and_then(DataDir::partition_of)
        else {
            continue;
        };
        node.metrics.wakeups.add(1);
        match node.partitions.get(name) {
            Some(partition) => {
                partition.post(&node, Job::Wake);
            }
            None => super::scan::enter(&node, name),
        }
    }
}
