//! The extension's connections: one request, its answer, the next request.
//!
//! The socket belongs to the daemon's owner alone, as the command line's does. A frame's length
//! is checked before it is read.

use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::Duration;

use nuda_core::control::{Reply, Request, content_length};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use super::propose;
use crate::control::server::{make_private, remove_stale};
use crate::dir::DataDir;
use crate::error::{Error, Result};
use crate::limits;
use crate::node::Node;

/// Binds the socket, in place of one that an earlier process left.
pub(crate) fn bind(dir: &DataDir) -> Result<UnixListener> {
    let path = dir.strong_socket();
    remove_stale(&path)?;
    let listener = UnixListener::bind(&path)
        .map_err(|e| Error::refused(format!("cannot make {}; {e}", path.display())))?;
    make_private(&path)?;
    Ok(listener)
}

/// Answers the extension until the node stops.
pub(crate) async fn run(node: Arc<Node>, listener: UnixListener) {
    let owner = std::fs::metadata(node.dir.strong_socket()).map_or(0, |m| m.uid());
    let connections = Arc::new(Semaphore::new(limits::STRONG_CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let caller = stream.peer_cred().map(|c| c.uid());
        if !caller.is_ok_and(|uid| uid == owner || uid == 0) {
            tracing::warn!("refused a caller of another user on the extension's socket");
            continue;
        }
        let worker = Arc::clone(&node);
        node.spawn(async move {
            if let Err(e) = serve(&worker, stream).await {
                tracing::debug!(error = %e, "a connection of the extension ended");
            }
            drop(permit);
        });
    }
}

async fn serve(node: &Arc<Node>, mut stream: UnixStream) -> Result<()> {
    loop {
        let mut head = [0; 4];
        if stream.read_exact(&mut head).await.is_err() {
            return Ok(());
        }
        let length = content_length(head).map_err(|e| Error::refused(e.to_string()))?;
        let mut content = vec![0; length];
        stream.read_exact(&mut content).await?;
        let reply = match Request::decode(&content) {
            Ok(request) => propose::answer(node, request).await,
            Err(e) => Reply::NotCommitted(format!(
                "the daemon (nuda {}) cannot read the extension's question; {e}",
                env!("CARGO_PKG_VERSION")
            )),
        };
        stream.write_all(&reply.encode()).await?;
    }
}
