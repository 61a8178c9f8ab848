//! `nuda create`: makes a partition, or adds members to one.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::control::{Request, client};
use crate::error::Result;
use crate::task::create::Created;

#[derive(Debug, Args)]
pub(super) struct Create {
    /// The partition's name; its file is DIR/NAME.db on every member.
    name: String,
    /// The members, by node name; this node alone if not given.
    #[arg(long, value_delimiter = ',')]
    on: Vec<String>,
    /// An existing SQLite file whose content the partition begins with. It is not changed.
    #[arg(long)]
    from: Option<PathBuf>,
    /// How long to wait until the daemon answers and has heard of all members.
    #[arg(long, default_value_t = 15)]
    timeout_s: u64,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: super::Target,
}

impl Create {
    pub(super) fn run(self) -> Result<ExitCode> {
        let from = self.from.map(std::path::absolute).transpose()?;
        let timeout = Duration::from_secs(self.timeout_s);
        let request = Request::Create {
            name: self.name,
            on: self.on,
            from,
            timeout_ms: self.timeout_s.saturating_mul(1_000),
        };
        client::wait(&self.target.dir(), timeout, super::progress);
        let created: Created = client::ask(&self.target.dir(), &request, super::progress)?;
        if self.json {
            super::print_json(&created)?;
        } else {
            show(&created)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn show(created: &Created) -> Result<()> {
    super::print(&format!(
        "{} {} on {}",
        created.partition,
        if created.new { "is made" } else { "is" },
        created.members.join(", ")
    ))?;
    if !created.tracked.is_empty() {
        super::print(&format!(
            "replicated tables: {}",
            created.tracked.join(", ")
        ))?;
    }
    for (_, reason) in &created.untracked {
        super::print(&format!("not replicated: {reason}"))?;
    }
    for (_, reason) in &created.unkept {
        super::print(&format!("replicated without its FOREIGN KEYs: {reason}"))?;
    }
    for node in &created.pending {
        super::print(&format!(
            "{node} is not reachable now; it gets the partition when it comes back"
        ))?;
    }
    Ok(())
}
