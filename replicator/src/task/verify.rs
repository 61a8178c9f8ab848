//! Proves that all replicas of a partition are equal, or names what differs.
//!
//! Each member is asked for its version vector and the digest of its rows, both from one read
//! transaction. Replicas with equal vectors must have equal digests; so it waits until the
//! vectors are equal, and compares then. A member that cannot be asked makes the answer
//! *unknown*, never *equal*.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::control::Progress;
use crate::error::{Error, Result};
use crate::node::Node;
use crate::partition::Partition;
use crate::sql::Digest;
use crate::transport::wire::Ask;

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// Same changes, same rows, on all members.
    Equal,
    /// Same changes, different rows.
    Different,
    /// Not found out in time.
    Unknown,
}

/// The proof, or what is missing for it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Verification {
    pub(crate) partition: String,
    pub(crate) verdict: Verdict,
    /// In one sentence.
    pub(crate) why: String,
    /// Tables whose rows differ, with what each member has.
    pub(crate) differing: Vec<DifferingTable>,
    pub(crate) members: Vec<Member>,
    pub(crate) waited_ms: u64,
}

/// A table that is not the same everywhere.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct DifferingTable {
    pub(crate) table: String,
    /// Member, rows, digest; `None` where the table is missing.
    pub(crate) on: Vec<(String, Option<(u64, String)>)>,
}

/// One member's answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Member {
    pub(crate) node: String,
    pub(crate) answer: Option<Digest>,
    pub(crate) error: Option<String>,
}

/// Compares all members until the answer is certain or time is up.
pub(crate) async fn run(
    node: &Arc<Node>,
    name: &str,
    timeout: Duration,
    progress: &Progress,
) -> Result<Verification> {
    let partition = node.partitions.expect_name(name)?;
    let names = super::create::members(node, &partition).await?;
    if !names.contains(&node.me().name) {
        return Err(Error::refused(format!(
            "{} is no member of {name} any more",
            node.me().name
        )));
    }
    let began = Instant::now();
    let mut told = Instant::now();
    let mut pause = Duration::from_millis(20);
    loop {
        // Asked again each time: the list, and who is behind an id, may become known meanwhile.
        let names = super::create::members(node, &partition).await?;
        let left = timeout.saturating_sub(began.elapsed());
        let members = ask_all(node, &partition, &names, left).await;
        let (verdict, why) = judge(&members);
        if verdict != Verdict::Unknown || began.elapsed() >= timeout {
            return Ok(Verification {
                partition: name.to_owned(),
                verdict,
                why,
                differing: differing(&members, verdict),
                members,
                waited_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            });
        }
        if told.elapsed() > Duration::from_secs(1) {
            told = Instant::now();
            progress.say(format!("waiting: {why}"));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(500));
    }
}

async fn ask_all(
    node: &Arc<Node>,
    partition: &Arc<Partition>,
    names: &[String],
    left: Duration,
) -> Vec<Member> {
    let mut asked = Vec::new();
    for name in names {
        let (node, partition, name) = (Arc::clone(node), Arc::clone(partition), name.clone());
        asked.push(tokio::spawn(async move {
            let limit = left.max(Duration::from_millis(500));
            let answer = match tokio::time::timeout(limit, ask(&node, partition, &name)).await {
                Ok(answer) => answer,
                Err(_) => Err(Error::retry(format!("{name} did not answer in time"))),
            };
            let (answer, error) = match answer {
                Ok(digest) => (Some(digest), None),
                Err(e) => (None, Some(e.to_string())),
            };
            Member {
                node: name,
                answer,
                error,
            }
        }));
    }
    let mut members = Vec::new();
    for handle in asked {
        if let Ok(member) = handle.await {
            members.push(member);
        }
    }
    members
}

async fn ask(node: &Arc<Node>, partition: Arc<Partition>, name: &str) -> Result<Digest> {
    if name == node.me().name {
        return node
            .on_partition(partition, |_, at, host| host.replica(at)?.digest())
            .await;
    }
    let ask = Ask::Digest {
        name: partition.name.clone(),
        id: partition.id().map(|id| id.to_string()).unwrap_or_default(),
    };
    node.ask(name, &ask).await
}

fn judge(members: &[Member]) -> (Verdict, String) {
    if let Some(silent) = members.iter().find(|m| m.answer.is_none()) {
        let error = silent.error.clone().unwrap_or_default();
        return (Verdict::Unknown, format!("{}: {error}", silent.node));
    }
    let answers: Vec<(&str, &Digest)> = members
        .iter()
        .filter_map(|m| Some((m.node.as_str(), m.answer.as_ref()?)))
        .collect();
    let Some((first_name, first)) = answers.first() else {
        return (Verdict::Unknown, "nobody was asked".to_owned());
    };
    if let Some((name, _)) = answers.iter().find(|(_, d)| d.vector != first.vector) {
        return (
            Verdict::Unknown,
            format!("{first_name} and {name} have not seen the same changes yet"),
        );
    }
    match answers.iter().find(|(_, d)| d.digest != first.digest) {
        Some((name, _)) => (
            Verdict::Different,
            format!("{first_name} and {name} have seen the same changes and hold different rows"),
        ),
        None => (
            Verdict::Equal,
            format!(
                "{} replicas have seen the same changes and hold the same rows",
                answers.len()
            ),
        ),
    }
}

fn differing(members: &[Member], verdict: Verdict) -> Vec<DifferingTable> {
    if verdict != Verdict::Different {
        return Vec::new();
    }
    let mut tables: BTreeMap<&str, ()> = BTreeMap::new();
    let answers = || members.iter().filter_map(|m| Some((m, m.answer.as_ref()?)));
    for (_, digest) in answers() {
        tables.extend(digest.tables.iter().map(|t| (t.name.as_str(), ())));
    }
    let mut found = Vec::new();
    for table in tables.keys() {
        let on: Vec<(String, Option<(u64, String)>)> = answers()
            .map(|(member, digest)| {
                let here = digest.tables.iter().find(|t| t.name == *table);
                let here = here.map(|t| (t.rows, t.digest.clone()));
                (member.node.clone(), here)
            })
            .collect();
        let first = on.first().map(|(_, here)| here.clone());
        if on.iter().any(|(_, here)| Some(here) != first.as_ref()) {
            found.push(DifferingTable {
                table: (*table).to_owned(),
                on,
            });
        }
    }
    found
}
