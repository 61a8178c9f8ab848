//! `nuda status`: how a node and its partitions are doing.

use std::process::ExitCode;

use clap::Args;

use super::{ago, print};
use crate::control::{Request, client};
use crate::error::Result;
use crate::status::{NodeStatus, PartitionStatus};

#[derive(Debug, Args)]
pub(super) struct Status {
    /// One partition only.
    partition: Option<String>,
    /// Print everything as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: super::Target,
}

impl Status {
    pub(super) fn run(self) -> Result<ExitCode> {
        let request = Request::Status {
            partition: self.partition,
        };
        let status: NodeStatus = client::ask(&self.target.dir(), &request, super::progress)?;
        if self.json {
            super::print_json(&status)?;
        } else {
            show(&status)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn show(status: &NodeStatus) -> Result<()> {
    print(&format!(
        "node {} at {}, nuda {}, up {}",
        status.node,
        status.address,
        status.version,
        ago(status.up_ms)
    ))?;
    for alarm in &status.alarms {
        print(&format!("  ALARM: {alarm}"))?;
    }
    for node in &status.nodes {
        let how = match (&node.failure, node.heard_ms_ago) {
            _ if node.incompatible => "incompatible".to_owned(),
            (Some(failure), _) => format!("unreachable: {failure}"),
            (None, Some(ms)) => format!("heard {} ago", ago(ms)),
            (None, None) => "not heard yet".to_owned(),
        };
        print(&format!("  node {} at {}: {how}", node.node, node.address))?;
    }
    for partition in &status.partitions {
        show_partition(&status.node, partition)?;
    }
    if status.partitions.is_empty() {
        print("no partitions; make one with `nuda create NAME`")?;
    }
    Ok(())
}

fn show_partition(node: &String, p: &PartitionStatus) -> Result<()> {
    let reason = p.reason.as_deref().map(|r| format!(": {r}"));
    print(&format!(
        "partition {} ({}{}) on {}",
        p.name,
        p.state,
        reason.unwrap_or_default(),
        p.members.join(", ")
    ))?;
    let mut line = format!(
        "  {} changesets, {} durable, {} collected",
        p.applied, p.durable, p.collected
    );
    if let Some(counts) = &p.counts {
        line.push_str(&format!(
            "; log {} records, {} bytes; {} waiting, {} conflicts",
            counts.log_records, counts.log_bytes, counts.waiting, counts.conflicts
        ));
    }
    print(&line)?;
    if let Some(why) = &p.no_log {
        print(&format!("  strong: no log now: {why}"))?;
    }
    if let Some(log) = &p.log {
        print(&format!(
            "  strong: leader {}, term {}, position {}, {} in this file; voters {}",
            log.leader.as_deref().unwrap_or("unknown"),
            log.term,
            log.position,
            log.applied,
            log.voters.join(", ")
        ))?;
        if !log.followers.is_empty() {
            print(&format!("  followers: {}", log.followers.join(", ")))?;
        }
        if log.quorum > 0 {
            print(&format!(
                "  quorum: {} accepted, {} in this file",
                log.quorum, log.quorum_applied
            ))?;
        }
        for unknown in &log.unknown {
            print(&format!(
                "  UNKNOWN since {}: a commit of this node; SELECT nuda_txn_status('{}') settles it",
                ago(unknown.ms_ago),
                unknown.id
            ))?;
        }
        for (member, behind) in &log.behind {
            match behind {
                Some(0) => {}
                Some(entries) => print(&format!("  {member} lacks {entries} entries of the log"))?,
                None => print(&format!("  {member} has not been heard by the leader"))?,
            }
        }
        if let Some(failure) = &log.failure {
            print(&format!(
                "  ALARM: this node takes no part in strong transactions: {failure}; restart the daemon"
            ))?;
        } else if !log.votes && log.voters.contains(node) {
            print("  this node does not vote yet")?;
        }
    }
    for peer in &p.peers {
        let mut line = format!("  {:<12} {:<12} lag {}", peer.node, peer.state, peer.lacks);
        if peer.ahead > 0 {
            line.push_str(&format!(", {} to come", peer.ahead));
        }
        if let Some(ms) = peer.heard_ms_ago {
            line.push_str(&format!(", heard {} ago", ago(ms)));
        }
        if !peer.reason.is_empty() {
            line.push_str(&format!("; {}", peer.reason));
        }
        print(&line)?;
    }
    for waiting in &p.waiting {
        print(&format!(
            "  waiting: {} changesets of site {} from {}: {}",
            waiting.changesets, waiting.site, waiting.first, waiting.reason
        ))?;
    }
    for trouble in &p.troubles {
        print(&format!("  TROUBLE: {trouble}; it is tried again"))?;
    }
    for alarm in &p.alarms {
        print(&format!("  ALARM: {alarm}"))?;
    }
    Ok(())
}
