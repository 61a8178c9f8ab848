//! `nuda fault` (hidden): makes a daemon started with --allow-faults drop traffic with nodes, in both
//! directions or in one.

use std::process::ExitCode;

use clap::Args;

use crate::control::{Faults, Request, client};
use crate::error::Result;

#[derive(Debug, Args)]
pub(super) struct Fault {
    /// Nodes to drop all traffic with; none heals everything.
    #[arg(long, value_delimiter = ',')]
    cut: Vec<String>,
    /// Nodes that this one's calls do not reach.
    #[arg(long, value_delimiter = ',')]
    mute: Vec<String>,
    /// Nodes whose calls do not reach this one.
    #[arg(long, value_delimiter = ',')]
    deaf: Vec<String>,
    /// Nodes that never hear what became of their calls, which are carried out.
    #[arg(long, value_delimiter = ',')]
    unanswered: Vec<String>,
    /// The disk of this node's consensus log takes nothing.
    #[arg(long)]
    stall_log: bool,
    /// Nodes that hear from this one by the ordered log only.
    #[arg(long, value_delimiter = ',')]
    withheld: Vec<String>,
    #[command(flatten)]
    target: super::Target,
}

impl Fault {
    pub(super) fn run(self) -> Result<ExitCode> {
        let request = Request::Fault(Faults {
            cut: self.cut,
            mute: self.mute,
            deaf: self.deaf,
            unanswered: self.unanswered,
            stall_log: self.stall_log,
            withheld: self.withheld,
        });
        let _: serde_json::Value = client::ask(&self.target.dir(), &request, super::progress)?;
        Ok(ExitCode::SUCCESS)
    }
}
