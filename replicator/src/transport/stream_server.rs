//! The other end of a kept stream: calls are answered as they come, each on its own.
//!
//! The request for the upgrade is judged like any other. A stream that was accepted is asked
//! for cuts at every call, because it may be older than the cut.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::Response;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};

use super::stream::{Frame, UPGRADE};
use crate::consensus;
use crate::error::{Error, Result};
use crate::limits;
use crate::node::Node;

/// Answers the request for a stream, and serves it from then on.
pub(crate) fn upgrade(node: &Arc<Node>, from: String, request: Request) -> Result<Response> {
    let wanted = request.headers().get(header::UPGRADE);
    if wanted.is_none_or(|name| name != UPGRADE) {
        return Err(Error::refused(format!(
            "this page is the stream between nodes; ask for the upgrade {UPGRADE}"
        )));
    }
    let permit = Arc::clone(&node.streams)
        .try_acquire_owned()
        .map_err(|_| Error::retry("too many streams"))?;
    let upgrading = hyper::upgrade::on(request);
    let serving = Arc::clone(node);
    node.spawn(async move {
        let Ok(upgraded) = upgrading.await else {
            return;
        };
        let Ok(parts) = upgraded.downcast::<TokioIo<TcpStream>>() else {
            return;
        };
        let read = parts.read_buf;
        let ended = serve(serving, from, parts.io.into_inner(), &read, permit).await;
        if let Err(e) = ended {
            tracing::debug!(error = %e, "a stream ended early");
        }
    });
    Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "upgrade")
        .header(header::UPGRADE, UPGRADE)
        .body(Body::empty())
        .map_err(|e| Error::internal(e.to_string()))
}

async fn serve(
    node: Arc<Node>,
    from: String,
    stream: TcpStream,
    read: &[u8],
    _permit: OwnedSemaphorePermit,
) -> Result<()> {
    let (reader, writer) = stream.into_split();
    let mut reader = BufReader::new(read.chain(reader));
    let writer = Arc::new(Mutex::new(writer));
    let calls = Arc::new(Semaphore::new(limits::STREAM_CALLS));
    while let Some(frame) = Frame::read(&mut reader).await? {
        node.metrics.bytes_received.add(frame.len() as u64);
        let Ok(permit) = Arc::clone(&calls).acquire_owned().await else {
            return Ok(());
        };
        let (number, whose) = (frame.number, from.clone());
        let (node, writer) = (Arc::clone(&node), Arc::clone(&writer));
        tokio::spawn(async move {
            let answered = answer(&node, frame, &whose).await;
            let content = answered.as_deref().map_err(Clone::clone);
            match Frame::encode(number, content) {
                // The other side asks again where it matters.
                Ok(bytes) => drop(writer.lock().await.write_all(&bytes).await),
                Err(e) => tracing::warn!(error = %e, "an answer cannot be sent"),
            }
            drop(permit);
        });
    }
    Ok(())
}

async fn answer(node: &Arc<Node>, frame: Frame, from: &str) -> Result<Vec<u8>> {
    if node.peers.is_cut_from(from) {
        return Err(Error::retry("traffic is cut by `nuda fault`"));
    }
    let plain = frame.content(from)?;
    let limit = node.config.request_timeout;
    let answer = tokio::time::timeout(limit, consensus::propose::called(node, &plain))
        .await
        .unwrap_or_else(|_| Err(Error::retry("the request took too long")));
    if node.peers.is_unanswered(from) {
        return Err(Error::retry("the answer is cut off by `nuda fault`"));
    }
    answer
}
