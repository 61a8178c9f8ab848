//! A kept stream between two nodes, for calls on which commits wait.
//!
//! It begins as a request on the node's ordinary port that asks for an upgrade and is judged like
//! every other one. From then on both sides exchange frames. A call and its answer bear the same
//! number, so that many are under way at a time and none waits for the fsync of another.
//!
//! A frame: 4 bytes length of what follows the head (big-endian, checked before anything is
//! read), 8 bytes number, 1 byte kind, the body. A body that is worth it is compressed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Mutex as AsyncMutex, oneshot};

use super::{HEADER_NODE, HEADER_NODE_ID, HEADER_PROTOCOL, PROTOCOL, Route, body};
use crate::dir::Identity;
use crate::error::{Error, Kind, Result};

/// What the upgrade is called.
pub(crate) const UPGRADE: &str = "nuda-stream";

/// Bodies from here on are compressed.
const COMPRESSED_FROM: usize = 4 << 10;

/// The head of an answer to the request for an upgrade.
const HEAD_BYTES: usize = 4 << 10;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(3);

/// Room for frames that arrive together.
const BUFFER: usize = 64 << 10;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrameKind {
    /// A call, or an answer.
    Plain,
    /// The same, compressed.
    Packed,
    /// A refusal: its text.
    Refusal(Kind),
}

impl FrameKind {
    const REFUSALS: [Kind; 6] = [
        Kind::Retry,
        Kind::Unsent,
        Kind::Refused,
        Kind::NotFound,
        Kind::Incompatible,
        Kind::Internal,
    ];

    fn byte(self) -> u8 {
        match self {
            Self::Plain => 0,
            Self::Packed => 1,
            Self::Refusal(kind) => {
                let at = Self::REFUSALS.iter().position(|k| *k == kind);
                2 + at.and_then(|at| u8::try_from(at).ok()).unwrap_or(0)
            }
        }
    }

    fn of_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Plain),
            1 => Some(Self::Packed),
            n => {
                let kind = Self::REFUSALS.get(usize::from(n) - 2)?;
                Some(Self::Refusal(*kind))
            }
        }
    }
}

/// One frame.
pub(crate) struct Frame {
    pub(crate) number: u64,
    pub(crate) kind: FrameKind,
    bytes: Vec<u8>,
}

impl Frame {
    /// A frame's bytes: a call, or an answer or refusal to one.
    pub(crate) fn encode(number: u64, content: Result<&[u8]>) -> Result<Vec<u8>> {
        let packed;
        let text;
        let (kind, bytes): (_, &[u8]) = match content {
            Ok(plain) if plain.len() >= COMPRESSED_FROM => {
                packed = body::pack(plain)?;
                (FrameKind::Packed, &packed)
            }
            Ok(plain) => (FrameKind::Plain, plain),
            Err(e) => {
                text = e.to_string();
                (FrameKind::Refusal(e.kind), text.as_bytes())
            }
        };
        let length = u32::try_from(bytes.len()).map_err(|_| Error::refused("too large a call"))?;
        let mut frame = Vec::with_capacity(13 + bytes.len());
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(&number.to_be_bytes());
        frame.push(kind.byte());
        frame.extend_from_slice(bytes);
        Ok(frame)
    }

    /// Reads the next frame; `None` at the stream's end.
    pub(crate) async fn read(from: &mut (impl AsyncRead + Unpin)) -> Result<Option<Self>> {
        let mut head = [0; 13];
        if from.read_exact(&mut head).await.is_err() {
            return Ok(None);
        }
        let [l0, l1, l2, l3, number @ .., kind] = head;
        let length = usize::try_from(u32::from_be_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX);
        let (limit, _) = Route::Consensus.bounds();
        if length > limit {
            return Err(Error::refused(format!(
                "a frame of {length} bytes; at most {limit} are taken"
            )));
        }
        let kind =
            FrameKind::of_byte(kind).ok_or_else(|| Error::refused("a frame of unknown kind"))?;
        let mut bytes = Vec::new();
        // As it comes: a length that is only claimed costs nothing.
        let read = from.take(length as u64).read_to_end(&mut bytes).await?;
        if read < length {
            return Ok(None);
        }
        Ok(Some(Self {
            number: u64::from_be_bytes(number),
            kind,
            bytes,
        }))
    }

    /// How many bytes travelled.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The body, or what the other side refused.
    pub(crate) fn content(self, whose: &str) -> Result<Vec<u8>> {
        match self.kind {
            FrameKind::Plain => Ok(self.bytes),
            FrameKind::Packed => body::unpack(&self.bytes, Route::Consensus.bounds().1),
            FrameKind::Refusal(kind) => {
                let text = String::from_utf8_lossy(&self.bytes);
                Err(Error::new(kind, format!("{whose} says: {}", text.trim())))
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who waits for which answer; `None` once the stream has ended.
type Waiting = Mutex<Option<HashMap<u64, oneshot::Sender<Frame>>>>;

/// This node's end of a stream.
struct Stream {
    writer: AsyncMutex<OwnedWriteHalf>,
    waiting: Arc<Waiting>,
    next: AtomicU64,
}

/// The stream to one address, while there is one.
type Slot = Arc<AsyncMutex<Option<Arc<Stream>>>>;

/// The streams that this node has opened, by address.
#[derive(Default)]
pub(crate) struct Streams {
    open: Mutex<HashMap<String, Slot>>,
}

impl Streams {
    /// Calls the node at `address` and brings its answer.
    pub(crate) async fn call(
        &self,
        address: &str,
        me: &Identity,
        plain: &[u8],
        within: Duration,
    ) -> Result<(Vec<u8>, usize, usize)> {
        let stream = self.stream(address, me).await?;
        let number = stream.next.fetch_add(1, Ordering::Relaxed);
        let frame = Frame::encode(number, Ok(plain))?;
        let sent = frame.len();
        let (tell, told) = oneshot::channel();
        match lock(&stream.waiting).as_mut() {
            Some(waiting) => waiting.insert(number, tell),
            None => {
                return Err(Error::unsent(format!(
                    "cannot reach {address}; it has gone"
                )));
            }
        };
        let asked = async {
            stream.writer.lock().await.write_all(&frame).await.ok()?;
            told.await.ok()
        };
        match tokio::time::timeout(within, asked).await {
            Ok(Some(frame)) => {
                let received = frame.len();
                Ok((frame.content(address)?, sent, received))
            }
            Ok(None) => Err(Error::retry(format!(
                "cannot reach {address}; the connection was lost"
            ))),
            Err(_) => {
                if let Some(waiting) = lock(&stream.waiting).as_mut() {
                    waiting.remove(&number);
                }
                Err(Error::retry(format!(
                    "cannot reach {address}; no answer in time"
                )))
            }
        }
    }

    async fn stream(&self, address: &str, me: &Identity) -> Result<Arc<Stream>> {
        let slot = Arc::clone(lock(&self.open).entry(address.to_owned()).or_default());
        let mut slot = slot.lock().await;
        if let Some(stream) = slot.as_ref().filter(|s| lock(&s.waiting).is_some()) {
            return Ok(Arc::clone(stream));
        }
        *slot = None;
        let opened = match tokio::time::timeout(CONNECT, open(address, me)).await {
            Ok(opened) => opened,
            Err(_) => Err(Error::unsent(format!(
                "cannot reach {address}; no answer in time"
            ))),
        };
        match opened {
            Ok(stream) => Ok(Arc::clone(slot.insert(stream))),
            Err(e) => {
                lock(&self.open).remove(address);
                Err(e)
            }
        }
    }
}

/// Connects and asks for the upgrade. Nothing was asked before it is there.
async fn open(address: &str, me: &Identity) -> Result<Arc<Stream>> {
    let unreachable = |e: std::io::Error| Error::unsent(format!("cannot reach {address}; {e}"));
    let mut stream = TcpStream::connect(address).await.map_err(unreachable)?;
    stream.set_nodelay(true).map_err(unreachable)?;
    let request = format!(
        "GET {} HTTP/1.1\r\nhost: {address}\r\nconnection: upgrade\r\nupgrade: {UPGRADE}\r\n\
         {HEADER_PROTOCOL}: {PROTOCOL}\r\n{HEADER_NODE}: {}\r\n{HEADER_NODE_ID}: {}\r\n\r\n",
        Route::Consensus.path(),
        me.name,
        me.id
    );
    let asked = stream.write_all(request.as_bytes()).await;
    asked.map_err(unreachable)?;
    let (reader, writer) = stream.into_split();
    let mut reader = BufReader::with_capacity(BUFFER, reader);
    accepted(&mut reader, address).await?;
    let waiting: Arc<Waiting> = Arc::new(Mutex::new(Some(HashMap::new())));
    let answers = Arc::clone(&waiting);
    tokio::spawn(async move {
        while let Ok(Some(frame)) = Frame::read(&mut reader).await {
            let asker = lock(&answers)
                .as_mut()
                .and_then(|waiting| waiting.remove(&frame.number));
            if let Some(asker) = asker {
                let _ = asker.send(frame);
            }
        }
        // Whoever waits is told by the end of the channel.
        *lock(&answers) = None;
    });
    Ok(Arc::new(Stream {
        writer: AsyncMutex::new(writer),
        waiting,
        next: AtomicU64::new(1),
    }))
}

/// Reads the answer to the request for an upgrade.
async fn accepted(reader: &mut BufReader<OwnedReadHalf>, address: &str) -> Result<()> {
    let mut head = reader.take(HEAD_BYTES as u64);
    let mut status = String::new();
    head.read_line(&mut status).await?;
    let code = status.split(' ').nth(1).unwrap_or_default().to_owned();
    let (mut line, mut length) = (String::new(), 0);
    loop {
        line.clear();
        if head.read_line(&mut line).await? == 0 {
            return Err(Error::unsent(format!("cannot reach {address}; it hung up")));
        }
        let text = line.trim_end().to_ascii_lowercase();
        if let Some(value) = text.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        if text.is_empty() {
            break;
        }
    }
    if code == "101" {
        return Ok(());
    }
    let mut why = Vec::new();
    let _ = head.take(length).read_to_end(&mut why).await;
    let kind = match code.as_str() {
        "426" => Kind::Incompatible,
        "404" => Kind::NotFound,
        "400" => Kind::Refused,
        _ => Kind::Unsent,
    };
    let why = String::from_utf8_lossy(&why);
    Err(Error::new(kind, format!("{address} says: {}", why.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_round_trip_and_lengths_are_checked() {
        let large = vec![7; COMPRESSED_FROM + 1];
        for plain in [&b""[..], b"short", &large] {
            let bytes = Frame::encode(9, Ok(plain)).unwrap();
            let frame = Frame::read(&mut bytes.as_slice()).await.unwrap().unwrap();
            assert_eq!(frame.number, 9);
            assert_eq!(frame.content("b").unwrap(), plain);
            for cut in 0..bytes.len() {
                let read = Frame::read(&mut &bytes[..cut]).await.unwrap();
                assert!(read.is_none(), "{cut}");
            }
        }
        for kind in FrameKind::REFUSALS {
            let bytes = Frame::encode(1, Err(Error::new(kind, "why"))).unwrap();
            let frame = Frame::read(&mut bytes.as_slice()).await.unwrap().unwrap();
            let error = frame.content("b").unwrap_err();
            assert_eq!(
                (error.kind, error.to_string()),
                (kind, "b says: why".into())
            );
        }
        assert!(Frame::read(&mut [255; 20].as_slice()).await.is_err());
        let unknown = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 99];
        assert!(Frame::read(&mut unknown.as_slice()).await.is_err());
    }
}
