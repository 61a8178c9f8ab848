//! How a node and its partitions are doing, for people and for `--json`.
//!
//! The overview reads no file; a named partition's figures are counted in its file.

use std::sync::Arc;

use nuda_core::limits::CLOCK_AHEAD_MS;
use nuda_core::protocol::PeerState;
use nuda_core::site::Site;
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::consensus::explain;
use crate::error::Result;
use crate::node::Node;
use crate::partition::Partition;
use crate::partition::host::{Host, Live};
use crate::sql::{Counts, Waiting};

/// Figures of a file are counted for the overview too while there are no more than these.
const COUNTED: usize = 20;

/// A node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct NodeStatus {
    pub(crate) node: String,
    pub(crate) id: String,
    pub(crate) address: String,
    pub(crate) version: String,
    pub(crate) up_ms: u64,
    /// This clock minus the median of all nodes' clocks.
    pub(crate) clock_ahead_ms: i64,
    /// What needs a person.
    pub(crate) alarms: Vec<String>,
    pub(crate) nodes: Vec<KnownNode>,
    pub(crate) partitions: Vec<PartitionStatus>,
    pub(crate) counters: serde_json::Value,
    /// What applications were told of their commits, by level and outcome.
    pub(crate) commits: serde_json::Value,
}

/// Another node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct KnownNode {
    pub(crate) node: String,
    pub(crate) address: String,
    pub(crate) reachable: bool,
    pub(crate) incompatible: bool,
    pub(crate) failure: Option<String>,
    pub(crate) heard_ms_ago: Option<u64>,
}

/// A partition on this node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PartitionStatus {
    pub(crate) name: String,
    /// In one word: `ready`, `opening`, `busy`, `reseeding`, `failed`.
    pub(crate) state: String,
    pub(crate) reason: Option<String>,
    pub(crate) id: Option<String>,
    pub(crate) site: Option<String>,
    pub(crate) vector: Option<String>,
    pub(crate) members: Vec<String>,
    pub(crate) members_version: u64,
    pub(crate) applied: u64,
    pub(crate) durable: u64,
    pub(crate) collected: u64,
    pub(crate) peers: Vec<PeerLag>,
    /// What needs a person.
    pub(crate) alarms: Vec<String>,
    /// What fails now and is tried again: a full disk, a lock that is held for long.
    pub(crate) troubles: Vec<String>,
    /// Sites of which two variants of a changeset were shipped.
    pub(crate) stopped_sites: Vec<String>,
    /// What has arrived and cannot be applied yet, and why.
    pub(crate) waiting: Vec<Waiting>,
    /// The log of its strong transactions, if it has one.
    pub(crate) log: Option<LogStatus>,
    /// Why it has none.
    pub(crate) no_log: Option<String>,
    /// Counted in the file.
    pub(crate) counts: Option<Counts>,
}

/// The log of a partition's strong transactions, as seen from here.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LogStatus {
    pub(crate) group: String,
    pub(crate) home: String,
    pub(crate) voters: Vec<String>,
    /// Members beyond the voters: they have the log and do not vote.
    pub(crate) followers: Vec<String>,
    /// How often the partition has moved from one group to another.
    pub(crate) moves: u64,
    pub(crate) leader: Option<String>,
    pub(crate) term: u64,
    /// Whether this node's vote and acknowledgement count.
    pub(crate) votes: bool,
    /// Why this node takes no part any more.
    pub(crate) failure: Option<String>,
    /// The latest accepted transaction that this node knows.
    pub(crate) position: u64,
    /// The latest one in this node's file.
    pub(crate) applied: u64,
    /// On the leader: how many entries each other member's log is behind; null for one that has
    /// not been heard.
    pub(crate) behind: std::collections::BTreeMap<String, Option<u64>>,
    /// Quorum transactions that the log has accepted, as far as this node knows, and those in its file.
    pub(crate) quorum: u64,
    pub(crate) quorum_applied: u64,
    /// Commits of which an application of this node was told that nobody can say, and that are still
    /// undecided: ids for `nuda_txn_status`, the latest first.
    pub(crate) unknown: Vec<UnknownCommit>,
}

/// A commit whose outcome is not known.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct UnknownCommit {
    pub(crate) id: String,
    pub(crate) ms_ago: u64,
}

/// A member as seen from here.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PeerLag {
    pub(crate) node: String,
    pub(crate) state: String,
    pub(crate) reason: String,
    /// Changesets that we have and it lacks.
    pub(crate) lacks: u64,
    /// Changesets that it has and we lack.
    pub(crate) ahead: u64,
    pub(crate) heard_ms_ago: Option<u64>,
    /// Changesets it reported as durable.
    pub(crate) reported: u64,
}

/// Gathers the status of the node, or of one partition of it.
pub(crate) async fn gather(node: &Arc<Node>, partition: Option<&str>) -> Result<NodeStatus> {
    let chosen = match partition {
        Some(name) => vec![node.partitions.expect_name(name)?],
        None => node.partitions.all(),
    };
    let counted = partition.is_some() || chosen.len() <= COUNTED;
    let mut partitions = Vec::with_capacity(chosen.len());
    if counted {
        for partition in chosen {
            let found = node.on_partition(partition, |node, at, host| {
                let failure = host.live(node, at).err();
                let mut status = of(node, at, host);
                match failure {
                    Some(e) => {
                        status.state = "failed".to_owned();
                        status.reason = Some(e.to_string());
                    }
                    None => {
                        let replica = host.replica(at)?;
                        status.counts = replica.counts().ok();
                        status.waiting = replica.waiting().unwrap_or_default();
                        status.alarms.extend(replica.problems().unwrap_or_default());
                    }
                }
                Ok(status)
            });
            partitions.push(found.await?);
        }
    } else {
        for partition in chosen {
            partitions.push(match partition.try_host() {
                Some(host) => of(node, &partition, &host),
                None => empty(&partition, "busy"),
            });
        }
    }
    Ok(NodeStatus {
        node: node.me().name.clone(),
        id: node.identity.id.clone(),
        address: node.me().address.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        up_ms: clock::now_ms(),
        clock_ahead_ms: node.peers.clock_ahead_ms(),
        alarms: clock_alarm(node).into_iter().collect(),
        nodes: nodes(node),
        partitions,
        counters: node.metrics.json(),
        commits: node.consensus.told.json(),
    })
}

fn clock_alarm(node: &Node) -> Option<String> {
    let ahead_ms = node.peers.clock_ahead_ms();
    (ahead_ms.unsigned_abs() > CLOCK_AHEAD_MS).then(|| {
        let seconds = ahead_ms.unsigned_abs() / 1_000;
        let (where_to, harm) = if ahead_ms > 0 {
            ("ahead of", "what is written here is re-stamped")
        } else {
            (
                "behind",
                "what is written here loses against earlier writes elsewhere",
            )
        };
        format!(
            "this node's clock is {seconds} s {where_to} the other nodes'; {harm}; mend the clock"
        )
    })
}

fn nodes(node: &Node) -> Vec<KnownNode> {
    let now_ms = clock::now_ms();
    node.peers
        .all()
        .into_iter()
        .map(|peer| KnownNode {
            node: peer.entry.name,
            address: peer.entry.address,
            reachable: peer.failure.is_none() && peer.heard_ms.is_some(),
            incompatible: peer.incompatible,
            failure: peer.failure,
            heard_ms_ago: peer.heard_ms.map(|at| now_ms.saturating_sub(at)),
        })
        .collect()
}

fn empty(partition: &Partition, state: &str) -> PartitionStatus {
    PartitionStatus {
        name: partition.name.clone(),
        state: state.to_owned(),
        reason: None,
        id: partition.id().map(|id| id.to_string()),
        site: None,
        vector: None,
        members: Vec::new(),
        members_version: 0,
        applied: 0,
        durable: 0,
        collected: 0,
        peers: Vec::new(),
        alarms: Vec::new(),
        troubles: Vec::new(),
        stopped_sites: Vec::new(),
        waiting: Vec::new(),
        log: None,
        no_log: None,
        counts: None,
    }
}

fn of(node: &Node, partition: &Partition, host: &Host) -> PartitionStatus {
    let troubles = host.troubles();
    let Some(live) = &host.live else {
        return PartitionStatus {
            troubles,
            ..empty(partition, "opening")
        };
    };
    let status = live.machine.status();
    let now_ms = clock::now_ms();
    let peers = status.peers.into_iter().map(|peer| PeerLag {
        node: node.name_of(peer.node),
        state: word(peer.state).to_owned(),
        reason: peer.reason,
        lacks: peer.lacks,
        ahead: peer.ahead,
        heard_ms_ago: peer.last_contact_ms.map(|at| now_ms.saturating_sub(at)),
        reported: peer.reported,
    });
    let mut alarms = live.alarms.clone();
    alarms.extend(live.kept.lost.clone());
    if !live.kept.members.counts(node.id) && status.must_reseed.is_none() {
        alarms.push(format!(
            "{} is no member of it: nothing written here reaches anybody; add it with `nuda create {} --on ...,{}` at a member, or remove the file",
            node.me().name, partition.name, node.me().name
        ));
    }
    alarms.extend(
        status
            .stopped_sites
            .iter()
            .map(|site| format!("site {site} is stopped: two variants of a change exist")),
    );
    let state = if status.must_reseed.is_some() {
        "reseeding"
    } else {
        "ready"
    };
    let mut members: Vec<String> = live
        .kept
        .members
        .iter()
        .map(|m| node.name_of(m.node))
        .collect();
    members.sort();
    let log = log(node, live);
    let no_log = match log {
        None => Some(explain::no_log(node, live.partition)),
        Some(_) => None,
    };
    PartitionStatus {
        reason: status.must_reseed,
        site: Some(live.site.to_string()),
        vector: Some(live.vector.to_string()),
        members,
        members_version: live.kept.members.version,
        applied: status.applied,
        durable: status.durable,
        collected: status.collected,
        peers: peers.collect(),
        alarms,
        troubles,
        stopped_sites: status
            .stopped_sites
            .iter()
            .map(ToString::to_string)
            .collect(),
        log,
        no_log,
        ..empty(partition, state)
    }
}

fn log(node: &Node, live: &Live) -> Option<LogStatus> {
    let group = node.consensus.of_partition(live.partition)?;
    let standing = group.standing(live.partition);
    let is_decided = |id| group.outcome(id).is_some();
    let unknown = node.consensus.told.undecided(live.partition, is_decided);
    let lanes = || standing.quorum.iter();
    Some(LogStatus {
        group: group.id.to_string(),
        home: group.charter.home.clone(),
        voters: group.charter.voters.clone(),
        followers: group.charter.followers.clone(),
        moves: group.moves(live.partition).unwrap_or(0),
        leader: group.leader(),
        term: group.term(),
        votes: group.votes(),
        failure: group.failure(),
        position: standing.position,
        applied: live.vector.get(Site::LOG_STRONG),
        behind: group.behind().into_iter().collect(),
        quorum: lanes().map(|(_, seq)| seq).sum(),
        quorum_applied: lanes().map(|(lane, _)| live.vector.get(lane)).sum(),
        unknown: unknown
            .into_iter()
            .map(|unknown| UnknownCommit {
                id: unknown.id.to_string(),
                ms_ago: u64::try_from(unknown.since.elapsed().as_millis()).unwrap_or(u64::MAX),
            })
            .collect(),
    })
}

fn word(state: PeerState) -> &'static str {
    match state {
        PeerState::InSync => "in sync",
        PeerState::CatchingUp => "catching up",
        PeerState::Unreachable => "unreachable",
        PeerState::Waiting => "waiting",
        PeerState::Incompatible => "incompatible",
        PeerState::MustReseed => "must re-seed",
        PeerState::NotMember => "joining",
    }
}
