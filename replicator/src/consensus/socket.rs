//! The extension's connections: one request, its answer, the next request.
//!
//! The socket belongs to the daemon's owner alone, as the command line's does. A frame's length
//! is checked before it is read.

use std::sync::Arc;

use nuda_core::control::{Reply, Request, content_length};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use super::propose;
use crate::error::{Error, Result};
use crate::limits;
use crate::node::Node;
use crate::private_socket;

/// Answers the extension until the node stops.
pub(crate) async fn run(node: Arc<Node>, listener: UnixListener) {
    let path = node.dir.strong_socket();
    let connections = limits::STRONG_CONNECTIONS;
    let name = "the extension's socket";
    private_socket::run(node, (listener, &path), connections, name, serve).await;
}

async fn serve(node: Arc<Node>, stream: UnixStream) -> Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = [0; 4];
        if stream.read_exact(&mut head).await.is_err() {
            return Ok(());
        }
        let length = content_length(head).map_err(|e| Error::refused(e.to_string()))?;
        let mut content = vec![0; length];
        stream.read_exact(&mut content).await?;
        let reply = match Request::decode(&content) {
            Ok(request) => propose::answer(&node, request).await,
            Err(e) => Reply::NotCommitted(format!(
                "the daemon (nuda {}) cannot read the extension's question; {e}",
                env!("CARGO_PKG_VERSION")
            )),
        };
        stream.write_all(&reply.encode()).await?;
    }
}
