//! The server between nodes, and the pages for operators.
//!
//! Accepts a bounded number of connections, each with a deadline for its request's head and
//! body. Every request is judged in this order: protocol version, size as it travels, size
//! when decompressed, form, partition. A refusal is one line of text. Handlers queue work and
//! answer; they never wait for a partition's file, except where the answer is in it.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use nuda_core::protocol::{Envelope, EnvelopeError, Event, NodeId, Summary};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::wire::{Frame, Hello, Piece, Receipt, Refused, RefusedKind};
use super::{
    HEADER_CLOCK, HEADER_NODE, HEADER_PROTOCOL, PROTOCOL, Route, answers, body, stream_server,
};
use crate::error::{Error, Kind, Result};
use crate::health;
use crate::limits;
use crate::node::Node;
use crate::partition::Job;
use crate::task;

/// Bodies beyond this are unpacked on a blocking thread.
const LARGE: usize = 64 << 10;

/// Serves until the node stops, then lets the connections finish.
pub(crate) async fn run(node: Arc<Node>, listener: TcpListener) {
    let connections = Arc::new(Semaphore::new(limits::CONNECTIONS));
    let service = TowerToHyperService::new(router(Arc::clone(&node)));
    loop {
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else {
            return;
        };
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(e) => {
                    tracing::warn!(error = %e, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            () = node.stopped() => return,
        };
        let _ = stream.set_nodelay(true);
        let service = service.clone();
        let stopping = Arc::clone(&node);
        tokio::spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(limits::HEADER_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            let mut connection = std::pin::pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = stopping.stopped() => {
                    connection.as_mut().graceful_shutdown();
                    connection.as_mut().await
                }
            };
            if let Err(e) = ended {
                tracing::trace!(error = %e, "a connection ended early");
            }
            drop(permit);
        });
    }
}

fn router(node: Arc<Node>) -> Router {
    let mut router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics));
    let stream = |State(node): State<Arc<Node>>, request: Request| async move {
        let judged = caller(&node, request.headers());
        judged
            .and_then(|from| stream_server::upgrade(&node, from, request))
            .unwrap_or_else(|e| refusal(&node, Route::Consensus, &e))
    };
    router = router.route(Route::Consensus.path(), get(stream));
    for route in Route::POSTED {
        router = router.route(
            route.path(),
            post(
                move |State(node): State<Arc<Node>>, request: Request| async move {
                    answer(node, route, request).await
                },
            ),
        );
    }
    router.with_state(node)
}

async fn readyz(State(node): State<Arc<Node>>) -> Response {
    match health::unready(&node) {
        None => "ready\n".into_response(),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

async fn metrics(State(node): State<Arc<Node>>) -> Response {
    let text = tokio::task::spawn_blocking(move || health::exposition(&node)).await;
    match text {
        Ok(text) => ([("content-type", "text/plain; version=0.0.4")], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn answer(node: Arc<Node>, route: Route, request: Request) -> Response {
    let limit = node.config.request_timeout;
    let worker = Arc::clone(&node);
    let answered = tokio::time::timeout(limit, handle(&worker, route, request)).await;
    let answered = answered.unwrap_or_else(|_| Err(Error::retry("the request took too long")));
    match answered.and_then(|plain| body::pack(&plain)) {
        Ok(packed) => Body::from(packed).into_response(),
        Err(e) => refusal(&node, route, &e),
    }
}

fn refusal(node: &Node, route: Route, e: &Error) -> Response {
    let status = match e.kind {
        Kind::Retry | Kind::Unsent => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Refused => StatusCode::BAD_REQUEST,
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Incompatible => StatusCode::UPGRADE_REQUIRED,
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    };
    match e.kind {
        Kind::Incompatible => node.metrics.requests_incompatible.add(1),
        Kind::Retry | Kind::Unsent => {}
        _ => node.metrics.requests_refused.add(1),
    }
    tracing::debug!(path = route.path(), error = %e, "refused");
    (status, format!("{e}\n")).into_response()
}

async fn handle(node: &Arc<Node>, route: Route, request: Request) -> Result<Vec<u8>> {
    let from = caller(node, request.headers())?;
    let (wire_limit, plain_limit) = route.bounds();
    let packed = axum::body::to_bytes(request.into_body(), wire_limit)
        .await
        .map_err(|e| {
            Error::refused(format!(
                "cannot read the body; {e}; at most {wire_limit} bytes are taken"
            ))
        })?;
    node.metrics.bytes_received.add(packed.len() as u64);
    let plain = if packed.len() > LARGE {
        tokio::task::spawn_blocking(move || body::unpack(&packed, plain_limit)).await??
    } else {
        body::unpack(&packed, plain_limit)?
    };
    let answer = carry_out(node, route, &from, plain).await;
    if node.peers.is_unanswered(&from) {
        return Err(Error::retry("the answer is cut off by `nuda fault`"));
    }
    answer
}

async fn carry_out(node: &Arc<Node>, route: Route, from: &str, plain: Vec<u8>) -> Result<Vec<u8>> {
    match route {
        Route::Hello => {
            let hello: Hello = serde_json::from_slice(&plain)?;
            task::gossip::learn(node, &hello, 0)?;
            Ok(serde_json::to_vec(&task::gossip::hello(node))?)
        }
        Route::Messages => {
            node.heard(from);
            let (node, from) = (Arc::clone(node), from.to_owned());
            let work = move || messages(&node, &from, &plain);
            // Summaries compare a thousand partitions: not on an async thread.
            let receipt = tokio::task::spawn_blocking(work).await??;
            Ok(serde_json::to_vec(&receipt)?)
        }
        Route::Ask => answers::answer(node, from, &plain).await,
        Route::Consensus => Err(Error::refused("the ordered log has a stream of its own")),
        Route::Piece => {
            let piece: Piece = serde_json::from_slice(&plain)?;
            let node = Arc::clone(node);
            tokio::task::spawn_blocking(move || node.snapshots.piece(&piece.token, piece.offset))
                .await?
        }
    }
}

/// Who calls, if it speaks our version and traffic with it is not cut.
fn caller(node: &Arc<Node>, headers: &HeaderMap) -> Result<String> {
    let text = |name| headers.get(name).and_then(|v| v.to_str().ok());
    let version = text(HEADER_PROTOCOL).unwrap_or("none");
    if version != PROTOCOL.to_string() {
        return Err(Error::new(
            Kind::Incompatible,
            format!(
                "{} speaks protocol {PROTOCOL} of nuda {}, the request speaks {}; upgrade the older of the two",
                node.me().name,
                env!("CARGO_PKG_VERSION"),
                version.chars().take(20).collect::<String>().escape_debug()
            ),
        ));
    }
    let name = text(HEADER_NODE).unwrap_or_default();
    if !nuda_core::site::is_valid_name(name) {
        return Err(Error::refused("the request does not say which node calls"));
    }
    if node.peers.is_cut_from(name) {
        return Err(Error::retry("traffic is cut by `nuda fault`"));
    }
    // Before anything it brings is looked at: own changes are judged by it.
    if let Some(wall_ms) = text(HEADER_CLOCK).and_then(|ms| ms.parse().ok()) {
        node.clock_of(name, wall_ms);
    }
    Ok(name.to_owned())
}

fn messages(node: &Arc<Node>, from: &str, body: &[u8]) -> Result<Receipt> {
    let mut receipt = Receipt::default();
    for frame in Frame::read_all(body)? {
        match frame {
            Frame::Envelope(bytes) => receipt.refused.extend(envelope(node, from, &bytes)?),
            Frame::Summary(bytes) => {
                let summary = Summary::decode(&bytes).map_err(|e| Error::refused(e.to_string()))?;
                if summary.from == NodeId::of_name(from) {
                    receipt
                        .refused
                        .extend(task::compare::received(node, &summary));
                }
            }
        }
    }
    Ok(receipt)
}

fn envelope(node: &Arc<Node>, from: &str, bytes: &[u8]) -> Result<Option<Refused>> {
    let envelope = match Envelope::decode(bytes) {
        Ok(envelope) => envelope,
        Err(e @ EnvelopeError::Version { partition, .. }) => {
            node.metrics.requests_incompatible.add(1);
            if let Some(partition) = node.partitions.by_id(partition) {
                let event = Event::Incompatible {
                    peer: NodeId::of_name(from),
                    reason: e.to_string(),
                };
                partition.post(node, Job::from(event));
            }
            return Ok(Some(Refused {
                partition: partition.to_string(),
                reason: e.to_string(),
                kind: RefusedKind::Incompatible,
            }));
        }
        Err(EnvelopeError::Malformed(e)) => return Err(Error::refused(e.to_string())),
    };
    if envelope.to != node.id || envelope.from != NodeId::of_name(from) {
        return Err(Error::refused(format!(
            "a message from {} to {} reached {} from {from}; an address list is wrong",
            node.name_of(envelope.from),
            node.name_of(envelope.to),
            node.me().name
        )));
    }
    let Some(partition) = node.partitions.by_id(envelope.partition) else {
        return Ok(Some(task::compare::not_held(node, envelope.partition)));
    };
    let event = Event::Received {
        from: envelope.from,
        message: envelope.message,
    };
    if partition.post(node, Job::from(event)) {
        return Ok(None);
    }
    node.metrics.messages_dropped.add(1);
    Ok(Some(Refused {
        partition: envelope.partition.to_string(),
        reason: format!("{} has too much to do", node.me().name),
        kind: RefusedKind::Later,
    }))
}
