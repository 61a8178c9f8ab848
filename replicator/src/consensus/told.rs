//! What the applications of this node were told of their commits: how many, by level and outcome,
//! and which of them as *unknown* that are not settled yet.
//!
//! Invariant: every answer to a proposal or a call is counted once, under what it said. That it
//! was unknown is shown until the log has decided, or until too many others are.

use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use nuda_core::certify::{Answer, Outcome, Proposal, TxnId};
use nuda_core::control::{Ask, Reply};
use nuda_core::site::{PartitionId, Site};

use crate::metrics::Counter;

/// Unknown outcomes that are remembered, of all partitions together.
const REMEMBERED: usize = 256;

/// The levels that are told apart, as metrics name them.
const LEVELS: [&str; 3] = ["eventual", "quorum", "strong"];

/// How a commit may end, as metrics name it.
const OUTCOMES: [&str; 4] = ["committed", "overtaken", "not_committed", "unknown"];

/// At which level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Eventual,
    Quorum,
    Strong,
}

/// What was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Committed,
    Overtaken,
    NotCommitted,
    Unknown,
}

/// What an application asked that ends with a commit or without.
pub(super) struct Asked {
    level: Level,
    id: TxnId,
}

/// A commit whose application was told that nobody can say.
#[derive(Debug, Clone)]
pub(crate) struct Unknown {
    pub(crate) partition: PartitionId,
    pub(crate) id: TxnId,
    pub(crate) since: Instant,
}

/// What was told since the process began.
#[derive(Default)]
pub(crate) struct Told {
    commits: [[Counter; OUTCOMES.len()]; LEVELS.len()],
    unknown: Mutex<VecDeque<Unknown>>,
}

impl Asked {
    /// `None` for questions that commit nothing.
    pub(super) fn of(ask: &Ask) -> Option<Self> {
        match ask {
            Ask::Propose { proposal, .. } => Some(Self {
                level: level(proposal),
                id: proposal.id,
            }),
            Ask::Execute(execution) => Some(Self {
                level: Level::Strong,
                id: execution.id,
            }),
            _ => None,
        }
    }
}

fn level(proposal: &Proposal) -> Level {
    match proposal.dot() {
        Some(dot) if dot.site != Site::LOG_STRONG => Level::Quorum,
        _ => Level::Strong,
    }
}

/// `None` if the question will be asked again.
fn end(reply: &Reply) -> Option<End> {
    Some(match reply {
        Reply::Decided(Answer::Decided(Outcome::Accepted(_)), _) | Reply::Executed { .. } => {
            End::Committed
        }
        Reply::Decided(Answer::Decided(Outcome::Stale(_)), _) => End::Overtaken,
        Reply::Decided(..) | Reply::NotCommitted(_) | Reply::Failed { .. } => End::NotCommitted,
        Reply::Unknown(_) => End::Unknown,
        Reply::Lacks(_) | Reply::Ready(_) | Reply::Recent { .. } => return None,
    })
}

impl Told {
    /// An application gets this answer.
    pub(super) fn answered(&self, partition: PartitionId, asked: &Asked, reply: &Reply) {
        let Some(end) = end(reply) else { return };
        self.count(asked.level, end, 1);
        if end == End::Unknown {
            let mut unknown = self.unknown();
            unknown.retain(|known| known.id != asked.id);
            unknown.truncate(REMEMBERED - 1);
            unknown.push_front(Unknown {
                partition,
                id: asked.id,
                since: Instant::now(),
            });
        }
    }

    /// So many eventual transactions were found in a file.
    pub(crate) fn committed_locally(&self, transactions: u64) {
        self.count(Level::Eventual, End::Committed, transactions);
    }

    /// The unknown ones of a partition that are still undecided, the latest first.
    pub(crate) fn undecided(
        &self,
        partition: PartitionId,
        is_decided: impl Fn(TxnId) -> bool,
    ) -> Vec<Unknown> {
        let mut unknown = self.unknown();
        unknown.retain(|known| known.partition != partition || !is_decided(known.id));
        let of_it = unknown.iter().filter(|known| known.partition == partition);
        of_it.cloned().collect()
    }

    /// Prometheus text.
    pub(crate) fn exposition(&self) -> String {
        let mut text = String::from(
            "# HELP nuda_commits_total Commits of this node's applications, by level and by what they were told.\n\
             # TYPE nuda_commits_total counter\n",
        );
        for (level, outcome, counter) in self.all() {
            let _ = writeln!(
                text,
                "nuda_commits_total{{level=\"{level}\",outcome=\"{outcome}\"}} {}",
                counter.get()
            );
        }
        text
    }

    /// The same for `status --json`: outcomes by level.
    pub(crate) fn json(&self) -> serde_json::Value {
        let mut levels = serde_json::Map::new();
        for (level, outcome, counter) in self.all() {
            let of_level = levels
                .entry(level)
                .or_insert_with(|| serde_json::Map::new().into());
            if let Some(of_level) = of_level.as_object_mut() {
                of_level.insert(outcome.to_owned(), counter.get().into());
            }
        }
        levels.into()
    }

    fn all(&self) -> impl Iterator<Item = (&'static str, &'static str, &Counter)> {
        LEVELS
            .iter()
            .zip(&self.commits)
            .flat_map(|(level, of_level)| {
                let outcomes = OUTCOMES.iter().zip(of_level);
                outcomes
                    // An eventual commit that is told of has happened.
                    .filter(|(outcome, _)| *level != "eventual" || **outcome == "committed")
                    .map(|(outcome, counter)| (*level, *outcome, counter))
            })
    }

    fn count(&self, level: Level, end: End, n: u64) {
        let of_level = self.commits.get(level as usize);
        if let Some(counter) = of_level.and_then(|ends| ends.get(end as usize)) {
            counter.add(n);
        }
    }

    fn unknown(&self) -> std::sync::MutexGuard<'_, VecDeque<Unknown>> {
        self.unknown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
