//! The command line's side of the control socket. Blocking: it has nothing else to do.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use super::{Line, Request};
use crate::dir::DataDir;
use crate::error::{Error, Kind, Result};

/// An answer larger than this is not the daemon's.
const ANSWER_BYTES: u64 = 256 << 20;

/// Waits until a daemon listens in `dir`: one that was just started may need a moment.
pub(crate) fn wait(dir: &DataDir, timeout: Duration, mut progress: impl FnMut(&str)) {
    let began = Instant::now();
    let mut told = false;
    while UnixStream::connect(dir.control_socket()).is_err() && began.elapsed() < timeout {
        if !told && began.elapsed() > Duration::from_secs(1) {
            told = true;
            progress(&format!(
                "waiting for the daemon of {}",
                dir.root().display()
            ));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Asks the daemon of `dir`; progress lines go to `progress`.
pub(crate) fn ask<T: DeserializeOwned>(
    dir: &DataDir,
    request: &Request,
    mut progress: impl FnMut(&str),
) -> Result<T> {
    let path = dir.control_socket();
    let mut stream = UnixStream::connect(&path).map_err(|e| {
        Error::retry(format!(
            "no daemon answers in {}; {e}; start one with `nuda serve --dir {}`, or name its directory with --dir or NUDA_DIR",
            dir.root().display(),
            dir.root().display()
        ))
    })?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let reader = BufReader::new(stream.take(ANSWER_BYTES));
    for line in reader.lines() {
        match serde_json::from_str::<Line>(&line?)? {
            Line::Progress(text) => progress(&text),
            Line::Done(value) => return Ok(serde_json::from_value(value)?),
            Line::Failed { not_found, text } => {
                let kind = if not_found {
                    Kind::NotFound
                } else {
                    Kind::Refused
                };
                return Err(Error::new(kind, text));
            }
        }
    }
    Err(Error::retry(
        "the daemon ended before it answered; see its log, and run the command again",
    ))
}
