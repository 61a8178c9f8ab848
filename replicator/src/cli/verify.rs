//! `nuda verify`: exit code 0 if all replicas are equal, 1 if they differ, 2 if not known.

use std::process::ExitCode;

use clap::Args;

use super::print;
use crate::control::{Request, client};
use crate::error::Result;
use crate::task::verify::{Verdict, Verification};

#[derive(Debug, Args)]
pub(super) struct Verify {
    /// The partition.
    partition: String,
    /// How long to wait until all members have seen the same changes.
    #[arg(long, default_value_t = 30)]
    timeout_s: u64,
    /// Print the proof as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: super::Target,
}

impl Verify {
    pub(super) fn run(self) -> Result<ExitCode> {
        let request = Request::Verify {
            partition: self.partition,
            timeout_ms: self.timeout_s.saturating_mul(1_000),
        };
        let asked = client::ask(&self.target.dir(), &request, super::progress);
        let found: Verification = match asked {
            Ok(found) => found,
            // Nothing was compared.
            Err(e) => {
                eprintln!("nuda: {e}");
                return Ok(ExitCode::from(2));
            }
        };
        if self.json {
            super::print_json(&found)?;
        } else {
            show(&found)?;
        }
        Ok(ExitCode::from(match found.verdict {
            Verdict::Equal => 0,
            Verdict::Different => 1,
            Verdict::Unknown => 2,
        }))
    }
}

fn show(found: &Verification) -> Result<()> {
    let word = match found.verdict {
        Verdict::Equal => "equal",
        Verdict::Different => "DIFFERENT",
        Verdict::Unknown => "not known",
    };
    print(&format!("{}: {word}: {}", found.partition, found.why))?;
    for member in &found.members {
        match (&member.answer, &member.error) {
            (Some(digest), _) => print(&format!(
                "  {:<12} digest {} of {} rows in {} tables",
                member.node,
                digest.digest,
                digest.tables.iter().map(|t| t.rows).sum::<u64>(),
                digest.tables.len()
            ))?,
            (None, error) => print(&format!(
                "  {:<12} {}",
                member.node,
                error.as_deref().unwrap_or("no answer")
            ))?,
        }
    }
    for table in &found.differing {
        print(&format!("  table {} differs:", table.table))?;
        for (node, here) in &table.on {
            match here {
                Some((rows, digest)) => print(&format!("    {node}: {rows} rows, {digest}"))?,
                None => print(&format!("    {node}: no such table"))?,
            }
        }
    }
    Ok(())
}
