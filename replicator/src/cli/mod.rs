//! The command line: what can be typed, one file per verb.
//!
//! Exit codes: 0 done, 1 not done (or, for `verify`, replicas differ), 2 not known (nobody
//! answered, wrong usage). Results go to standard output, progress and errors to standard
//! error.

mod create;
mod demo;
mod explain_conflict;
mod fault;
mod members;
mod serve;
mod status;
mod verify;
mod version;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::dir::DataDir;
use crate::error::{Error, Result};

#[derive(Debug, Parser)]
#[command(
    name = "nuda",
    version,
    about = "Replicates ordinary SQLite files among nodes",
    after_help = "Begin with:\n  nuda serve --dir a --listen 127.0.0.1:7101 &\n  nuda create org42 --dir a"
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run a node: serve every partition in a directory.
    Serve(serve::Serve),
    /// Make a partition, or add members to one.
    Create(create::Create),
    /// Show who holds a partition; take members away.
    Members(members::Members),
    /// Show how a node and its partitions are doing.
    Status(status::Status),
    /// Prove that all replicas of a partition are equal.
    Verify(verify::Verify),
    /// Tell what happened to a row: who wrote what when, what won, what lost, and why.
    ExplainConflict(explain_conflict::ExplainConflict),
    /// Watch three nodes replicate, part, crash and agree, in a temporary directory.
    Demo(demo::Demo),
    /// Show versions.
    Version(version::Version),
    /// For tests: drop traffic with some nodes.
    #[command(hide = true)]
    Fault(fault::Fault),
}

/// Which node the command line talks to.
#[derive(Debug, Clone, Args)]
struct Target {
    /// The node's directory.
    #[arg(long, env = "NUDA_DIR", default_value = ".")]
    dir: PathBuf,
}

impl Target {
    fn dir(&self) -> DataDir {
        DataDir::at(&self.dir)
    }
}

/// Runs what was typed.
pub(crate) fn run() -> ExitCode {
    let done = match Cli::parse().verb {
        Verb::Serve(verb) => verb.run(),
        Verb::Create(verb) => verb.run(),
        Verb::Members(verb) => verb.run(),
        Verb::Status(verb) => verb.run(),
        Verb::Verify(verb) => verb.run(),
        Verb::ExplainConflict(verb) => verb.run(),
        Verb::Demo(verb) => verb.run(),
        Verb::Version(verb) => verb.run(),
        Verb::Fault(verb) => verb.run(),
    };
    match done {
        Ok(code) => code,
        Err(e) => {
            eprintln!("nuda: {e}");
            ExitCode::from(if e.is_retry() { 2 } else { 1 })
        }
    }
}

/// Prints a line of a result. A closed pipe is the reader's choice, not an error.
fn print(text: &str) -> Result<()> {
    use std::io::Write;
    match writeln!(std::io::stdout().lock(), "{text}") {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::from(e)),
        _ => Ok(()),
    }
}

fn print_json(value: &impl serde::Serialize) -> Result<()> {
    print(&serde_json::to_string_pretty(value)?)
}

fn progress(text: &str) {
    eprintln!("{text}");
}

/// Milliseconds as a person says them.
fn ago(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..120_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        _ => format!("{} h", ms / 3_600_000),
    }
}
