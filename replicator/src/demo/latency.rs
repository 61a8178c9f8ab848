//! A stopwatch from a commit on one node to its being visible on another.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::params;

use super::writer::open;
use crate::error::{Error, Result};

/// What was measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Latency {
    p50: Duration,
    p99: Duration,
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |d: Duration| d.as_secs_f64() * 1_000.0;
        write!(f, "p50 {:.1} ms, p99 {:.1} ms", ms(self.p50), ms(self.p99))
    }
}

/// Commits `probes` times in one file and waits for each in the other.
pub(super) fn measure(from: &Path, to: &Path, probes: u64) -> Result<Latency> {
    let (writer, reader) = (open(from)?, open(to)?);
    let mut seen = reader.prepare("SELECT 1 FROM demo_page WHERE id = ? AND title = ?")?;
    let mut times = Vec::new();
    writer.execute("INSERT INTO demo_page VALUES ('probe', '', '', 0)", [])?;
    for n in 0..probes {
        let title = n.to_string();
        writer.execute(
            "UPDATE demo_page SET title = ? WHERE id = 'probe'",
            params![title],
        )?;
        let committed = Instant::now();
        while !seen.exists(params!["probe", title])? {
            if committed.elapsed() > Duration::from_secs(10) {
                return Err(Error::retry("a change did not arrive within 10 s"));
            }
            std::thread::sleep(Duration::from_micros(100));
        }
        times.push(committed.elapsed());
        std::thread::sleep(Duration::from_millis(5));
    }
    times.sort_unstable();
    let at = |percent: usize| {
        times
            .get(times.len() * percent / 100)
            .copied()
            .unwrap_or_default()
    };
    Ok(Latency {
        p50: at(50),
        p99: at(99),
    })
}
