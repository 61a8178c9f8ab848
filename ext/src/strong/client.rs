//! The daemon's socket, as a blocking client: one question, its answer.
//!
//! The connection stays open between questions. A question that could not be sent whole has
//! not been read by anybody; after that, silence means that nobody knows.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use nuda_core::control::{Reply, Request, content_length};

/// The daemon answers in the time that the question gives it; this is for the way.
const SLACK: Duration = Duration::from_millis(500);

/// A connection to the daemon, made when first needed.
#[derive(Debug)]
pub(super) struct Client {
    path: PathBuf,
    stream: Option<UnixStream>,
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
            .and_then(|stream| send(stream, &frame, within).ok())
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
                self.stream = Some(stream);
                reply
            }
            Err(e) => Reply::Unknown(format!("the daemon did not answer; {e}")),
        }
    }

    fn connect(&self, frame: &[u8], within: Duration) -> std::io::Result<UnixStream> {
        send(UnixStream::connect(&self.path)?, frame, within)
    }
}

fn send(mut stream: UnixStream, frame: &[u8], within: Duration) -> std::io::Result<UnixStream> {
    stream.set_write_timeout(Some(within))?;
    stream.set_read_timeout(Some(within))?;
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
    let mut head = [0; 4];
    stream.read_exact(&mut head)?;
    let mut content = vec![0; content_length(head).map_err(bad)?];
    stream.read_exact(&mut content)?;
    Reply::decode(&content).map_err(bad)
}
