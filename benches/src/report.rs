//! What must be reached, what is aimed at, and how the numbers are printed.

use std::fmt::Write;

use serde_json::Value;

use crate::finding::{self, Finding};
use crate::measure::Measure;
use crate::table::Key;

/// Bounds of one measure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    must: f64,
    aim: Option<f64>,
}

/// Peak memory that a transaction may add, in bytes.
const MEMORY: f64 = 64.0 * MIB;
/// Size of the library with all types, in bytes, and what it is to become.
const LIBRARY: u64 = 2_200_000;
const LIBRARY_AIM: u64 = 1_600_000;
const MIB: f64 = 1024.0 * 1024.0;

impl Target {
    pub(crate) fn of(measure: Measure) -> Self {
        let (must, aim) = match measure {
            Measure::Insert => (3.0, 2.0),
            Measure::Single => (2.0, 1.4),
            Measure::Update => (3.0, 2.2),
            Measure::Delete => (8.0, 4.0),
            Measure::Apply => (3.0, 1.8),
            Measure::Wal => (2.0, 1.5),
            Measure::Size => (1.5, 1.25),
            Measure::Read => (1.03, 1.0),
            // For comparison: what no row-wise program reaches.
            Measure::Transfer => {
                return Self {
                    must: f64::INFINITY,
                    aim: None,
                };
            }
            Measure::Memory => {
                return Self {
                    must: MEMORY,
                    aim: None,
                };
            }
        };
        Self {
            must,
            aim: Some(aim),
        }
    }
}

/// One measure under one shape of key.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) measure: Measure,
    pub(crate) key: Key,
    /// Medians: microseconds or bytes.
    pub(crate) plain: f64,
    pub(crate) nuda: f64,
    pub(crate) target: Target,
    pub(crate) count: i64,
}

impl Line {
    /// What is compared with the target: a ratio, or for memory the difference.
    fn value(&self) -> f64 {
        if self.measure == Measure::Memory {
            (self.nuda - self.plain).max(0.0)
        } else {
            self.nuda / self.plain
        }
    }

    fn verdict(&self) -> &'static str {
        // Rounded as it is printed.
        let value = (self.value() * 100.0).round() / 100.0;
        match self.target.aim {
            _ if self.target.must.is_infinite() => "no bound",
            _ if value > self.target.must => "MISSED",
            Some(aim) if value > aim => "met",
            Some(_) => "aim met",
            None => "met",
        }
    }

    fn shown(&self, value: f64) -> String {
        if self.measure == Measure::Memory {
            format!("{:.1} MiB", value / MIB)
        } else {
            format!("{value:.2}")
        }
    }

    fn describe(&self) -> String {
        let n = self.count;
        match self.measure {
            Measure::Insert => format!("insert {n} rows x 8 columns, one transaction"),
            Measure::Single => format!("{n} single-row transactions"),
            Measure::Update => format!("update one column of {n} rows"),
            Measure::Delete => format!("delete {} rows", n * 2 / 5),
            Measure::Apply => format!("apply {n} rows, against copying them row by row"),
            Measure::Transfer => format!("apply {n} rows, against INSERT ... SELECT"),
            Measure::Wal => "WAL bytes per single-row transaction".to_owned(),
            Measure::Size => "file size, log collected".to_owned(),
            Measure::Read => "point reads by key, eventual".to_owned(),
            Measure::Memory => format!("peak memory added by a transaction of {n} rows"),
        }
    }

    fn unit(&self) -> &'static str {
        match self.measure {
            Measure::Wal | Measure::Size | Measure::Memory => "bytes",
            _ => "cpu_us",
        }
    }
}

/// One line while measuring.
pub(crate) fn progress(line: &Line) -> String {
    format!(
        "{:8} {:5} plain {:>12.0} nuda {:>12.0} {}: {}",
        line.measure.name(),
        line.key.name(),
        line.plain,
        line.nuda,
        line.unit(),
        line.shown(line.value()),
    )
}

/// The tables for people, those that have a row.
pub(crate) fn markdown(lines: &[Line], library: Option<u64>, findings: &[Finding]) -> String {
    let mut out = String::new();
    if !lines.is_empty() {
        out.push_str(&ratios(lines, library));
    }
    if !findings.is_empty() {
        let _ = writeln!(out, "\n{}", finding::HEAD);
        for finding in findings {
            let _ = writeln!(out, "{}", finding.row());
        }
    }
    out
}

fn ratios(lines: &[Line], library: Option<u64>) -> String {
    let mut out = String::from(
        "| CPU unless said otherwise, times plain SQLite | key | must | aim | measured | |\n\
         |---|---|---|---|---|---|\n",
    );
    for line in lines {
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} |",
            line.describe(),
            line.key.name(),
            Some(line.target.must)
                .filter(|must| must.is_finite())
                .map_or("-".to_owned(), |must| line.shown(must)),
            line.target
                .aim
                .map_or("-".to_owned(), |aim| line.shown(aim)),
            line.shown(line.value()),
            line.verdict(),
        );
    }
    let (size, verdict) = match library {
        Some(bytes) if bytes <= LIBRARY_AIM => (megabytes(bytes), "aim met"),
        Some(bytes) if bytes <= LIBRARY => (megabytes(bytes), "met"),
        Some(bytes) => (megabytes(bytes), "MISSED"),
        None => (
            "not built; run `cargo build --release` first".to_owned(),
            "skipped",
        ),
    };
    let _ = writeln!(
        out,
        "| size of libnuda.so | - | {} | {} | {size} | {verdict} |",
        megabytes(LIBRARY),
        megabytes(LIBRARY_AIM)
    );
    out
}

fn megabytes(bytes: u64) -> String {
    format!("{}.{:02} MB", bytes / 1_000_000, bytes % 1_000_000 / 10_000)
}

/// The same for programs.
pub(crate) fn json(lines: &[Line], library: Option<u64>, findings: &[Finding]) -> String {
    let entries: Vec<String> = lines
        .iter()
        .map(|line| {
            format!(
                "{{\"measure\":\"{}\",\"key\":\"{}\",\"count\":{},\"unit\":\"{}\",\
                 \"plain\":{},\"nuda\":{},\"value\":{},\"must\":{},\"aim\":{},\"verdict\":\"{}\"}}",
                line.measure.name(),
                line.key.name(),
                line.count,
                line.unit(),
                line.plain,
                line.nuda,
                line.value(),
                Some(line.target.must)
                    .filter(|must| must.is_finite())
                    .map_or("null".to_owned(), |must| must.to_string()),
                line.target
                    .aim
                    .map_or("null".to_owned(), |aim| aim.to_string()),
                line.verdict(),
            )
        })
        .collect();
    format!(
        "{{\"library_bytes\":{},\"lines\":[{}],\"daemons\":{}}}",
        library.map_or("null".to_owned(), |bytes| bytes.to_string()),
        entries.join(","),
        Value::Array(findings.iter().map(Finding::json).collect())
    )
}
