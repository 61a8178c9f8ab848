//! `nuda fault` (hidden): makes a daemon started with --allow-faults drop traffic with nodes.

use std::process::ExitCode;

use clap::Args;

use crate::control::{Request, client};
use crate::error::Result;

#[derive(Debug, Args)]
pub(super) struct Fault {
    /// Nodes to drop all traffic with; none heals everything.
    #[arg(long, value_delimiter = ',')]
    cut: Vec<String>,
    #[command(flatten)]
    target: super::Target,
}

impl Fault {
    pub(super) fn run(self) -> Result<ExitCode> {
        let request = Request::Fault { cut: self.cut };
        let _: serde_json::Value = client::ask(&self.target.dir(), &request, super::progress)?;
        Ok(ExitCode::SUCCESS)
    }
}
