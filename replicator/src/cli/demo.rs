//! `nuda demo`: watch three nodes replicate, part, crash and agree.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::demo;
use crate::error::Result;

#[derive(Debug, Args)]
pub(super) struct Demo {
    /// An existing SQLite file to begin with; it is copied, never changed.
    #[arg(long)]
    from: Option<PathBuf>,
    /// How long the writers write.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u64).range(3..=3600))]
    seconds: u64,
    /// Keep the nodes' directories.
    #[arg(long)]
    keep: bool,
}

impl Demo {
    pub(super) fn run(self) -> Result<ExitCode> {
        let equal = demo::run(self.from, Duration::from_secs(self.seconds), self.keep)?;
        Ok(if equal {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}
