//! `nuda demo`: three real nodes in a temporary directory.
use crate::error::Result;
use clap::Args;
use std::process::ExitCode;
#[derive(Debug, Args)]
pub(super) struct Demo {}
impl Demo {
    pub(super) fn run(self) -> Result<ExitCode> {
        Ok(ExitCode::SUCCESS)
    }
}
