//! Moves partitions whose members have changed into the group of their present members.
//!
//! The leader of a partition's group does it, or, where the leader is no member any more, the
//! new group's home. In order: the new group is found, or founded by its home; it notes that the
//! partition will come; a majority of its voters has the partition's file; the old group seals the
//! partition; a majority of the new voters has all of it on disk, up to the seal; the new group
//! takes it in; the old group lets go of what travelled. Every step may be done twice, and by
//! anybody (`nuda_core::moves`); a move that was begun is carried on by whoever leads the old group.
//!
//! Invariant: the new group accepts nothing before a majority of its voters has on disk what the
//! old one had accepted, and what that had seen. So a loss that both groups would outlive loses
//! nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nuda_core::certify::{Answer, Entry, Ordered};
use nuda_core::changeset::put_vector;
use nuda_core::control::Reply;
use nuda_core::moves::{Departed, Destination};
use nuda_core::site::{PartitionId, Site};
use nuda_core::version_vector::VersionVector;
use tokio::task::JoinSet;

use super::charter::{Charter, majority};
use super::found;
use super::group::{Appended, Group};
use super::lock;
use super::propose;
use super::types::GroupId;
use super::wire::{self, Call, Response};
use crate::error::{Error, Result};
use crate::node::Node;
use crate::partition::Partition;
use crate::transport::Route;

/// How long one step may take before all of it is tried again.
const STEP: Duration = Duration::from_secs(3);

/// The pause before a step is tried again.
const PAUSE: Duration = Duration::from_millis(25);

/// Looks at what this node's groups order, and moves what has to move.
pub(super) async fn look(node: &Arc<Node>) {
    for group in node.consensus.all() {
        if group.failure().is_some() {
            continue;
        }
        for (partition, departed) in group.on_their_way() {
            if (group.leads() || group.leader().is_none())
                && let Err(e) = carry_on(node, &group, partition, &departed).await
            {
                tracing::warn!(%partition, error = %e, "a move to another group is not done yet");
            }
        }
        for partition in group.partitions() {
            let Some(at) = node.partitions.by_id(partition) else {
                continue;
            };
            let Some(wanted) = wanted(node, &group, &at) else {
                continue;
            };
            if let Err(e) = begin(node, &group, &at, partition, &wanted).await {
                tracing::warn!(partition = %at.name, error = %e, "cannot move to the group of its present members yet");
            }
        }
    }
}

/// The charter under which a partition belongs now, if that is another one and this node's business.
fn wanted(node: &Node, group: &Group, at: &Partition) -> Option<Charter> {
    if node.consensus.is_held(&at.name) {
        return None;
    }
    let (members, known) = {
        let host = at.try_host()?;
        let list = host.live.as_ref()?.machine.members();
        let known = (group.id, list.version);
        if lock(&node.consensus.settled).get(&at.id()?) == Some(&known) {
            return None;
        }
        // By the time of joining.
        let mut members: Vec<(u64, String)> = list
            .iter()
            .map(|m| Some((m.joined, node.peers.name_of(m.node)?)))
            .collect::<Option<_>>()?;
        members.sort();
        let names = members.into_iter().map(|(_, name)| name);
        (names.collect::<Vec<String>>(), known)
    };
    let me = &node.me().name;
    let remaining = group.charter.voters.iter().find(|v| members.contains(v));
    let home = [&group.charter.home, me]
        .into_iter()
        .find(|name| members.contains(name))
        .or(remaining)
        .or(members.first())?;
    let wanted = Charter::of(home, &group.charter.voters, &members);
    if wanted == group.charter {
        lock(&node.consensus.settled).insert(at.id()?, known);
        return None;
    }
    let leader_has_left = group.leader().is_some_and(|name| !members.contains(&name));
    let is_mine = group.leads() || (leader_has_left && wanted.home == *me);
    is_mine.then_some(wanted)
}

/// Everything up to the seal.
async fn begin(
    node: &Arc<Node>,
    group: &Arc<Group>,
    at: &Partition,
    partition: PartitionId,
    wanted: &Charter,
) -> Result<()> {
    if let Some(away) = wanted.members().find(|name| !node.peers.is_reachable(name)) {
        tracing::debug!(partition = %at.name, away, "waits for a member before it moves");
        return Ok(());
    }
    let Some(ordered) = group.ordered(partition) else {
        return Ok(());
    };
    let to = provide(node, wanted).await?;
    let moves = ordered.moves + 1;
    match append_at(node, &to, &Entry::Expect(partition, moves)).await? {
        Answer::Expected => {}
        other => return Err(refused(&to, other)),
    }
    // What comes after this, the new voters fetch while the partition stands still.
    let before = so_far(node, partition, &ordered).await;
    on_disk(node, &to, partition, &before).await?;
    let entry = Entry::Seal(partition, moves, to.clone());
    match append(node, group, partition, &entry).await? {
        Answer::Moved => {}
        other => return Err(refused(&to, other)),
    }
    node.fault("sealed");
    tracing::info!(partition = %at.name, moves, voters = to.voters.join(","), "leaves its group");
    match group.departed(partition) {
        Some(departed) => carry_on(node, group, partition, &departed).await,
        None => Ok(()),
    }
}

/// Everything after the seal.
async fn carry_on(
    node: &Arc<Node>,
    group: &Arc<Group>,
    partition: PartitionId,
    departed: &Departed,
) -> Result<()> {
    let Some(baggage) = &departed.baggage else {
        return Ok(());
    };
    let all = so_far(node, partition, &baggage.ordered).await;
    on_disk(node, &departed.to, partition, &all).await?;
    let entry = Entry::Arrive(partition, baggage.clone());
    match append_at(node, &departed.to, &entry).await? {
        Answer::Open | Answer::Moved => {}
        other => return Err(refused(&departed.to, other)),
    }
    node.fault("arrived");
    tracing::info!(%partition, moves = departed.moves, voters = departed.to.voters.join(","), "is ordered by another group");
    append(
        node,
        group,
        partition,
        &Entry::Leave(partition, departed.moves),
    )
    .await?;
    Ok(())
}

fn refused(to: &Destination, answer: Answer) -> Error {
    Error::retry(format!(
        "the group of {} answers {answer:?}",
        to.voters.join(",")
    ))
}

/// What a file must have to be where the group is: the group's word, as far as this node's own file
/// knows the sites in it (a site that everybody has forgotten is nobody's; a lane of quorum writes is
/// never dropped: this file may not have its first one yet).
async fn so_far(node: &Arc<Node>, partition: PartitionId, ordered: &Ordered) -> VersionVector {
    let mut wanted = ordered.covered.clone();
    if let Some(at) = node.partitions.by_id(partition)
        && let Ok(here) = node
            .on_partition(at, |_, at, host| host.replica(at)?.vector())
            .await
    {
        let unknown: Vec<Site> = wanted
            .iter()
            .map(|(site, _)| site)
            .filter(|site| here.get(*site) == 0 && !ordered.lanes.contains_key(site))
            .collect();
        unknown.into_iter().for_each(|site| wanted.set(site, 0));
    }
    wanted.raise(Site::LOG_STRONG, ordered.link.seq);
    wanted
}

/// The group of a charter.
async fn provide(node: &Arc<Node>, charter: &Charter) -> Result<Destination> {
    let id = if charter.home == node.me().name {
        found::home_group(node, charter).await?.id
    } else {
        let call = Call::Provide {
            charter: charter.clone(),
        };
        let body = wire::encode(&call)?;
        match wire::decode(&node.call(&charter.home, Route::Consensus, body).await?)? {
            Response::Group(id, ..) => id,
            _ => return Err(Error::refused("an answer to another question")),
        }
    };
    Ok(destination(id, charter))
}

/// A group, as the log names it.
pub(super) fn destination(id: GroupId, charter: &Charter) -> Destination {
    Destination {
        group: id.0,
        home: charter.home.clone(),
        voters: charter.voters.clone(),
        followers: charter.followers.clone(),
    }
}

/// Waits until a majority of a group's voters has this on disk, in the partition's file.
async fn on_disk(
    node: &Arc<Node>,
    to: &Destination,
    partition: PartitionId,
    vector: &VersionVector,
) -> Result<()> {
    let mut asked = JoinSet::new();
    for voter in to.voters.clone() {
        let (node, vector) = (Arc::clone(node), vector.clone());
        asked.spawn(async move {
            let answer = ask_disk(&node, &voter, partition, &vector).await;
            (voter, answer)
        });
    }
    let (mut have, mut lack) = (0, Vec::new());
    while let Some(answer) = asked.join_next().await {
        match answer? {
            (_, Ok(())) => have += 1,
            (voter, Err(e)) => lack.push(format!("{voter}: {e}")),
        }
        if have >= majority(to.voters.len()) {
            return Ok(());
        }
    }
    Err(Error::retry(format!(
        "{have} of {} voters have the partition's file on disk; {}",
        to.voters.len(),
        lack.join("; ")
    )))
}

async fn ask_disk(
    node: &Arc<Node>,
    voter: &str,
    partition: PartitionId,
    vector: &VersionVector,
) -> Result<()> {
    if voter == node.me().name {
        return has_on_disk(node, partition, vector).await;
    }
    let mut encoded = Vec::new();
    put_vector(&mut encoded, vector);
    let body = wire::encode(&Call::OnDisk {
        partition: partition.0,
        vector: encoded,
    })?;
    let call = node.call(voter, Route::Consensus, body);
    let answer = tokio::time::timeout(STEP * 2, call)
        .await
        .map_err(|_| Error::retry("no answer in time"))??;
    match wire::decode(&answer)? {
        Response::Done => Ok(()),
        _ => Err(Error::refused("an answer to another question")),
    }
}

/// Waits until this node has this on disk, in the partition's file.
pub(super) async fn has_on_disk(
    node: &Arc<Node>,
    partition: PartitionId,
    vector: &VersionVector,
) -> Result<()> {
    let until = Instant::now() + STEP;
    loop {
        let synced = node.consensus.delivery.synced(node, partition, vector);
        let left = until.saturating_duration_since(Instant::now());
        match tokio::time::timeout(left, synced).await {
            Ok(Ok(synced)) if synced.covers(vector) => return Ok(()),
            Ok(Err(e)) if !e.is_retry() => return Err(e),
            Ok(_) => tokio::time::sleep(PAUSE).await,
            Err(_) => return Err(Error::retry("the file is not there yet")),
        }
    }
}

/// Puts an entry into the log of a group that this node is in.
async fn append(
    node: &Arc<Node>,
    group: &Arc<Group>,
    partition: PartitionId,
    entry: &Entry,
) -> Result<Answer> {
    let until = Instant::now() + STEP;
    match propose::append_to(node, group, partition, until, entry.encode()).await {
        Reply::Decided(answer, _) => Ok(answer),
        Reply::NotCommitted(why) | Reply::Unknown(why) => Err(Error::retry(why)),
        _ => Err(Error::internal("an unexpected answer to a move")),
    }
}

/// Puts an entry into the log of a group that this node may not be in.
async fn append_at(node: &Arc<Node>, to: &Destination, entry: &Entry) -> Result<Answer> {
    let until = Instant::now() + STEP;
    let mut why = "none of its voters leads".to_owned();
    loop {
        for voter in &to.voters {
            let left = until.saturating_duration_since(Instant::now());
            let call = Call::Append {
                group: GroupId(to.group),
                entry: entry.encode(),
                within_ms: u64::try_from(left.as_millis()).unwrap_or(0),
            };
            match propose::ask_voter(node, voter, call, left).await {
                Appended::Reply(Reply::Decided(answer, _)) => return Ok(answer),
                Appended::Reply(Reply::NotCommitted(reason) | Reply::Unknown(reason))
                | Appended::Refused(reason)
                | Appended::Unknown(reason) => why = reason,
                Appended::Reply(_) | Appended::NotLeader => {}
            }
        }
        if Instant::now() >= until {
            return Err(Error::retry(format!(
                "the group of {} does not answer; {why}",
                to.voters.join(",")
            )));
        }
        tokio::time::sleep(PAUSE).await;
    }
}
