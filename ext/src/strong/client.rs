//! The daemon's socket, as a blocking client: one question, its answer.
//!
//! The connection stays open between questions. A question that could not be sent whole has
//! not been read by anybody; after that, silence means that nobody knows.

use std::io::{BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use nuda_core::control::{Reply, Request, content_length};

/// The daemon answers in the time that the question gives it; this is for the way.
const SLACK: Duration = Duration::from_millis(500);

/// Most answers are shorter, and read at once.
const ANSWER: usize = 1_024;

/// A connection to the daemon, made when first needed.
#[derive(Debug)]
pub(super) struct Client {
    path: PathBuf,
    /// With the patience that it was told.
    stream: Option<(UnixStream, Duration)>,
}

impl Client {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, stream: None }
    }

    /// Asks; every failure is one of the answers.
    pub(super) fn ask(&mut self, request: &Request) -> Reply {
        let frame = request.encode();
        let within = Duration::from_millis(request.within_ms) + SLACK;
        // A kept connection may belong to a daemon that has ended: then a fresh one is tried.
        let kept = self.stream.take();
        let sent = kept
            .and_then(|(stream, told)| {
                let told = (told != within).then(|| be_patient(&stream, within));
                told.transpose().ok()?;
                send(stream, &frame).ok()
            })
            .map_or_else(|| self.connect(&frame, within), Ok);
        let mut stream = match sent {
            Ok(stream) => stream,
            Err(e) => {
                return Reply::NotCommitted(format!(
                    "no daemon answers at {}; {e}; start it with `nuda serve`; nothing was changed",
                    self.path.display()
                ));
            }
        };
        match receive(&mut stream) {
            Ok(reply) => {
                self.stream = Some((stream, within));
                reply
            }
            Err(e) => Reply::Unknown(format!("the daemon did not answer; {e}")),
        }
    }

    fn connect(&self, frame: &[u8], within: Duration) -> std::io::Result<UnixStream> {
        let stream = UnixStream::connect(&self.path)?;
        be_patient(&stream, within)?;
        send(stream, frame)
    }
}

fn be_patient(stream: &UnixStream, within: Duration) -> std::io::Result<()> {
    stream.set_write_timeout(Some(within))?;
    stream.set_read_timeout(Some(within))
}

fn send(mut stream: UnixStream, frame: &[u8]) -> std::io::Result<UnixStream> {
    // A daemon that has ended has closed its end: seen before anything is sent.
    if is_closed(&stream)? {
        return Err(std::io::ErrorKind::ConnectionReset.into());
    }
    stream.write_all(frame)?;
    Ok(stream)
}

fn is_closed(stream: &UnixStream) -> std::io::Result<bool> {
    stream.set_nonblocking(true)?;
    let mut reader = stream;
    let read = reader.read(&mut [0; 1]);
    stream.set_nonblocking(false)?;
    Ok(!matches!(read, Err(e) if e.kind() == std::io::ErrorKind::WouldBlock))
}

fn receive(stream: &mut UnixStream) -> std::io::Result<Reply> {
    let bad = |e: nuda_core::error::DecodeError| std::io::Error::other(e.to_string());
    // Nothing but the answer comes: no byte is left in it.
    let mut stream = BufReader::with_capacity(ANSWER, stream);
    let mut head = [0; 4];
    stream.read_exact(&mut head)?;
    let mut content = vec![0; content_length(head).map_err(bad)?];
    stream.read_exact(&mut content)?;
    Reply::decode(&content).map_err(bad)
}
