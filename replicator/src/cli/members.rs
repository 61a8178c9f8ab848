//! `nuda members`: shows who holds a partition, and takes members away.

use std::process::ExitCode;

use clap::Args;

use crate::control::{Request, client};
use crate::error::Result;
use crate::task::members::Holders;

#[derive(Debug, Args)]
pub(super) struct Members {
    /// The partition.
    partition: String,
    /// Members to take away, by node name. Their files stay, and get nothing more.
    #[arg(long, value_delimiter = ',')]
    remove: Vec<String>,
    /// How long to wait until the others vote without them.
    #[arg(long, default_value_t = 15)]
    timeout_s: u64,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: super::Target,
}

impl Members {
    pub(super) fn run(self) -> Result<ExitCode> {
        let request = Request::Members {
            partition: self.partition,
            remove: self.remove,
            timeout_ms: self.timeout_s.saturating_mul(1_000),
        };
        let holders: Holders = client::ask(&self.target.dir(), &request, super::progress)?;
        if self.json {
            super::print_json(&holders)?;
        } else {
            show(&holders)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn show(holders: &Holders) -> Result<()> {
    super::print(&format!(
        "{} is on {}",
        holders.partition,
        holders.members.join(", ")
    ))?;
    if !holders.voters.is_empty() {
        super::print(&format!("voters: {}", holders.voters.join(", ")))?;
    }
    if !holders.followers.is_empty() {
        super::print(&format!("followers: {}", holders.followers.join(", ")))?;
    }
    if let Some(pending) = &holders.pending {
        super::print(pending)?;
    }
    Ok(())
}
