//! The daemon's side of the control socket.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

use super::{Line, Progress, Request};
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::node::Node;
use crate::{private_socket, status, task};

/// Answers requests until the node stops.
pub(crate) async fn run(node: Arc<Node>, listener: UnixListener) {
    let path = node.dir.control_socket();
    let connections = limits::CONTROL_CONNECTIONS;
    let name = "the control socket";
    private_socket::run(node, (listener, &path), connections, name, serve).await;
}

async fn serve(node: Arc<Node>, stream: UnixStream) -> Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = Vec::new();
    let bounded = reader.take(limits::CONTROL_LINE_BYTES as u64);
    let mut bounded = BufReader::new(bounded);
    let read = bounded.read_until(b'\n', &mut line);
    tokio::time::timeout(limits::HEADER_TIMEOUT, read)
        .await
        .map_err(|_| Error::retry("no request in time"))??;
    let (tell, mut told) = mpsc::channel(64);
    let worker = Arc::clone(&node);
    let mut work = tokio::spawn(async move {
        let request = serde_json::from_slice(&line)?;
        carry_out(&worker, request, &Progress(tell)).await
    });
    let done = loop {
        tokio::select! {
            biased;
            Some(text) = told.recv() => put(&mut writer, &Line::Progress(text)).await?,
            done = &mut work => break done?,
        }
    };
    let line = match done {
        Ok(value) => Line::Done(value),
        Err(e) => Line::Failed {
            not_found: e.kind == Kind::NotFound,
            text: e.to_string(),
        },
    };
    put(&mut writer, &line).await
}

async fn put(writer: &mut (impl AsyncWriteExt + Unpin), line: &Line) -> Result<()> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    writer.write_all(&bytes).await?;
    Ok(())
}

async fn carry_out(
    node: &Arc<Node>,
    request: Request,
    progress: &Progress,
) -> Result<serde_json::Value> {
    match request {
        Request::Create {
            name,
            on,
            from,
            timeout_ms,
        } => {
            let timeout = Duration::from_millis(timeout_ms);
            task::create::wait_for_nodes(node, &name, &on, timeout, progress).await?;
            let created = task::create::run(node, &name, &on, from, progress).await?;
            Ok(serde_json::to_value(created)?)
        }
        Request::Members {
            partition,
            remove,
            timeout_ms,
        } => {
            let timeout = Duration::from_millis(timeout_ms);
            let holders = task::members::run(node, &partition, &remove, timeout, progress).await?;
            Ok(serde_json::to_value(holders)?)
        }
        Request::Status { partition } => {
            let status = status::gather(node, partition.as_deref()).await?;
            Ok(serde_json::to_value(status)?)
        }
        Request::Verify {
            partition,
            timeout_ms,
        } => {
            let timeout = Duration::from_millis(timeout_ms);
            let found = task::verify::run(node, &partition, timeout, progress).await?;
            Ok(serde_json::to_value(found)?)
        }
        Request::Fault(_) if !node.config.allow_faults => Err(Error::refused(
            "this daemon takes no faults; start it with --allow-faults, for tests only",
        )),
        Request::Fault(faults) => {
            tracing::warn!(?faults, "traffic is cut");
            node.consensus.set_stalled(faults.stall_log);
            node.peers.set_faults(faults);
            Ok(serde_json::json!({}))
        }
    }
}
