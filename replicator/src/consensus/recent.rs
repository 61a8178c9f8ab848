//! Read level bounded: what a majority of the voters had at a moment not long ago.
//!
//! The voters are asked for all that their files and logs have, and the leader for what has been
//! acknowledged. What a majority answers is kept for each partition, with the moment before the
//! questions left. Whoever is content with an answer of that age costs no other node anything.
//! While such questions come, the voters are asked again in the background, before the answer has
//! become too old; when they end, so does that.
//!
//! The invariant: what is kept was said after the moment that is kept with it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nuda_core::control::Reply;
use nuda_core::site::PartitionId;
use nuda_core::version_vector::VersionVector;
use tokio::task::JoinSet;

use super::group::Group;
use super::propose;
use super::wire::{self, Call, Response};
use crate::broken::{self, Rule};
use crate::error::{Error, Result};
use crate::node::Node;
use crate::transport::Route;

/// Questions in the background come no closer than this.
const CLOSEST: Duration = Duration::from_millis(10);

/// How long they go on after the last one who wanted an answer, besides four times its patience.
const GO_ON: Duration = Duration::from_secs(1);

/// The pause after one that failed.
const RETRY: Duration = Duration::from_millis(100);

/// How long one of them may take.
const ASKING: Duration = Duration::from_secs(2);

/// What a majority had.
#[derive(Clone)]
struct Known {
    asked: Instant,
    has: VersionVector,
}

/// What is known of one partition, and who wants to know.
#[derive(Default)]
struct Asked {
    known: Mutex<Option<Known>>,
    /// Held while the voters are asked: whoever waits for it may find the answer there.
    asking: tokio::sync::Mutex<()>,
    /// When somebody wanted an answer last, and how old it might be.
    wanted: Mutex<Option<(Instant, Duration)>>,
    /// Whether they are asked in the background.
    running: AtomicBool,
}

/// What is known of all partitions.
#[derive(Default)]
pub(crate) struct Recent {
    partitions: Mutex<HashMap<PartitionId, Arc<Asked>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Brings the file to what a majority had when asked, at most `max_age` before this call.
pub(crate) async fn reach(
    node: &Arc<Node>,
    group: &Arc<Group>,
    partition: PartitionId,
    max_age: Duration,
    until: Instant,
) -> Reply {
    if broken::is(Rule::Staleness) {
        return Reply::Recent {
            standing: group.standing(partition),
            age_us: 0,
        };
    }
    let began = Instant::now();
    let asked = {
        let mut partitions = lock(&node.consensus.recent.partitions);
        Arc::clone(partitions.entry(partition).or_default())
    };
    asked.wanted(node, group, partition, max_age);
    let oldest = began.checked_sub(max_age).unwrap_or(began);
    let known = match asked.since(oldest) {
        Some(known) => known,
        None => {
            let left = until.saturating_duration_since(began);
            let asking = asked.ask(node, group, partition, (oldest, until));
            match tokio::time::timeout(left, asking).await {
                Ok(Ok(known)) => known,
                Ok(Err(why)) => return Reply::NotCommitted(why),
                Err(_) => {
                    return Reply::NotCommitted(
                        "a majority of the voters did not answer in time".to_owned(),
                    );
                }
            }
        }
    };
    match propose::reach(node, group, partition, &known.has, until).await {
        Reply::Ready(standing) => Reply::Recent {
            age_us: u64::try_from(known.asked.elapsed().as_micros()).unwrap_or(u64::MAX),
            standing,
        },
        other => other,
    }
}

impl Asked {
    /// What is known, if it was asked for at that moment or later.
    fn since(&self, oldest: Instant) -> Option<Known> {
        let known = lock(&self.known).clone();
        known.filter(|known| known.asked >= oldest)
    }

    /// Asks the voters, unless somebody else does it meanwhile.
    async fn ask(
        &self,
        node: &Arc<Node>,
        group: &Arc<Group>,
        partition: PartitionId,
        (oldest, until): (Instant, Instant),
    ) -> std::result::Result<Known, String> {
        let _turn = self.asking.lock().await;
        if let Some(known) = self.since(oldest) {
            return Ok(known);
        }
        // It may have moved since.
        let now = node.consensus.of_partition(partition);
        let group = now.as_ref().unwrap_or(group);
        let asked = Instant::now();
        let (acknowledged, has) = tokio::join!(
            propose::acknowledged(node, partition, until),
            majority(node, group, partition, until),
        );
        let mut has = has?;
        match acknowledged {
            Reply::Ready(standing) => has.join(&standing.accepted()),
            Reply::NotCommitted(why) | Reply::Unknown(why) => return Err(why),
            _ => return Err("the leader answers something else".to_owned()),
        }
        let known = Known { asked, has };
        *lock(&self.known) = Some(known.clone());
        Ok(known)
    }

    /// Somebody wants an answer: from now on the voters are asked in the background, too.
    fn wanted(
        self: &Arc<Self>,
        node: &Arc<Node>,
        group: &Arc<Group>,
        partition: PartitionId,
        max_age: Duration,
    ) {
        *lock(&self.wanted) = Some((Instant::now(), max_age));
        if self.running.swap(true, Ordering::Relaxed) {
            return;
        }
        let (asked, asker, group) = (Arc::clone(self), Arc::clone(node), Arc::clone(group));
        node.spawn(async move {
            while let Some(pause) = asked.pause() {
                tokio::time::sleep(pause).await;
                let now = Instant::now();
                let limits = (now, now + ASKING);
                if let Err(why) = asked.ask(&asker, &group, partition, limits).await {
                    tracing::debug!(%partition, why, "the voters were asked in vain");
                    tokio::time::sleep(RETRY).await;
                }
            }
            asked.running.store(false, Ordering::Relaxed);
        });
    }

    /// How long to wait before the voters are asked again; `None` if nobody wants to know.
    fn pause(&self) -> Option<Duration> {
        let (last, max_age) = (*lock(&self.wanted))?;
        if last.elapsed() > max_age * 4 + GO_ON {
            return None;
        }
        let age = lock(&self.known)
            .as_ref()
            .map(|known| known.asked.elapsed());
        let left = (max_age / 2).saturating_sub(age.unwrap_or_default());
        Some(left.max(CLOSEST))
    }
}

/// What a majority of the voters has; this node's own file is one of them and lacks nothing here.
async fn majority(
    node: &Arc<Node>,
    group: &Arc<Group>,
    partition: PartitionId,
    until: Instant,
) -> std::result::Result<VersionVector, String> {
    let call = Call::Holds {
        partition: partition.0,
    };
    let body = wire::encode(&call).map_err(|e| e.to_string())?;
    let needed = group.charter.voters.len() / 2 + 1;
    let mut heard = 0;
    let mut answers = JoinSet::new();
    for voter in group.charter.voters.clone() {
        if voter == node.me().name {
            heard += 1;
            continue;
        }
        let (node, body) = (Arc::clone(node), body.clone());
        answers.spawn(async move { ask_voter(&node, &voter, body).await });
    }
    let mut has = VersionVector::new();
    let until = tokio::time::Instant::from_std(until);
    while heard < needed {
        let answer = tokio::time::timeout_at(until, answers.join_next()).await;
        match answer {
            Ok(Some(Ok(Ok(theirs)))) => {
                has.join(&theirs);
                heard += 1;
            }
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => {
                return Err(format!(
                    "{heard} of {} voters said what they have, which is no majority; see `nuda status`",
                    group.charter.voters.len()
                ));
            }
        }
    }
    Ok(has)
}

async fn ask_voter(node: &Arc<Node>, voter: &str, body: Vec<u8>) -> Result<VersionVector> {
    let answer = node.call(voter, Route::Consensus, body).await?;
    match wire::decode(&answer)? {
        Response::Holds(text) => VersionVector::parse(&text)
            .ok_or_else(|| Error::refused(format!("{voter} answered no vector"))),
        _ => Err(Error::refused(format!("{voter} answered something else"))),
    }
}

/// What this node's file and log have of a partition.
pub(crate) async fn held(node: &Arc<Node>, partition: PartitionId) -> Result<Response> {
    let missing = || Error::not_found("the partition is not on this node");
    let at = node.partitions.by_id(partition).ok_or_else(missing)?;
    let file = node.on_partition(at, |_, at, host| host.replica(at)?.vector());
    let mut has = file.await?;
    if let Some(group) = node.consensus.of_partition(partition) {
        has.join(&group.standing(partition).accepted());
    }
    Ok(Response::Holds(has.to_string()))
}
