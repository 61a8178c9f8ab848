//! The wire in production: HTTP/1.1, one kept connection per peer and direction, zstd bodies; and
//! for the ordered log a kept stream (`stream`), since a commit waits for every one of its calls.
//!
//! Answers are read with a bound, never trusted to be small. An answer that is no success
//! carries one line of text for people; its status says what the program makes of it.

use std::sync::Arc;
use std::time::Duration;

use reqwest::StatusCode;

use super::stream::Streams;
use super::{
    Answer, HEADER_CLOCK, HEADER_NODE, HEADER_NODE_ID, HEADER_PROTOCOL, PROTOCOL, Route, Transport,
    body,
};
use crate::clock;
use crate::dir::Identity;
use crate::error::{Error, Kind, Result};
use crate::metrics::Metrics;

/// The client side.
pub(crate) struct Http {
    client: reqwest::Client,
    streams: Arc<Streams>,
    timeout: Duration,
    me: Identity,
    metrics: Arc<Metrics>,
}

impl Http {
    /// A client that introduces itself as `me`.
    pub(crate) fn new(me: Identity, timeout: Duration, metrics: Arc<Metrics>) -> Result<Self> {
        let client = reqwest::Client::builder()
            // Peers are named by address; a proxy of the environment is for other traffic.
            .no_proxy()
            .http1_only()
            .tcp_nodelay(true)
            .connect_timeout(timeout.min(Duration::from_secs(3)))
            .timeout(timeout)
            .pool_max_idle_per_host(4)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|e| Error::internal(format!("cannot make an HTTP client; {e}")))?;
        Ok(Self {
            client,
            streams: Arc::default(),
            timeout,
            me,
            metrics,
        })
    }
}

impl Transport for Http {
    fn call(&self, address: String, route: Route, plain: Vec<u8>) -> Answer {
        let me = self.me.clone();
        let metrics = Arc::clone(&self.metrics);
        if route == Route::Consensus {
            let (streams, timeout) = (Arc::clone(&self.streams), self.timeout);
            return Box::pin(async move {
                let (answer, sent, received) = streams.call(&address, &me, &plain, timeout).await?;
                metrics.bytes_sent.add(sent as u64);
                metrics.bytes_received.add(received as u64);
                Ok(answer)
            });
        }
        let client = self.client.clone();
        Box::pin(async move {
            let packed = body::pack(&plain)?;
            drop(plain);
            metrics.bytes_sent.add(packed.len() as u64);
            let request = client
                .post(format!("http://{address}{}", route.path()))
                .header(HEADER_PROTOCOL, PROTOCOL)
                .header(HEADER_NODE, me.name)
                .header(HEADER_NODE_ID, me.id)
                .header(HEADER_CLOCK, clock::wall_ms())
                .body(packed);
            let response = request
                .send()
                .await
                .map_err(|e| unreachable_peer(&address, &e))?;
            let status = response.status();
            let (wire_limit, plain_limit) = route.bounds();
            let limit = if status.is_success() {
                wire_limit
            } else {
                4_096
            };
            let bytes = read_bounded(response, limit, &address).await?;
            metrics.bytes_received.add(bytes.len() as u64);
            if status.is_success() {
                body::unpack(&bytes, plain_limit).map_err(|e| e.during(&address))
            } else {
                Err(refusal(&address, status, &bytes))
            }
        })
    }
}

async fn read_bounded(
    mut response: reqwest::Response,
    limit: usize,
    address: &str,
) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|e| unreachable_peer(address, &e))?
    {
        if bytes.len() + chunk.len() > limit {
            return Err(Error::refused(format!(
                "the answer of {address} exceeds {limit} bytes"
            )));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn unreachable_peer(address: &str, error: &reqwest::Error) -> Error {
    // The outermost text only repeats the URL; the innermost says what happened.
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let cause = if error.is_timeout() {
        "no answer in time".to_owned()
    } else {
        cause.to_string()
    };
    let text = format!("cannot reach {address}; {cause}");
    if error.is_connect() {
        Error::unsent(text)
    } else {
        Error::retry(text)
    }
}

fn refusal(address: &str, status: StatusCode, text: &[u8]) -> Error {
    let text = String::from_utf8_lossy(text);
    let kind = match status {
        StatusCode::UPGRADE_REQUIRED => Kind::Incompatible,
        StatusCode::NOT_FOUND => Kind::NotFound,
        s if s.is_server_error() || s == StatusCode::TOO_MANY_REQUESTS => Kind::Retry,
        _ => Kind::Refused,
    };
    Error::new(kind, format!("{address} says: {}", text.trim()))
}
