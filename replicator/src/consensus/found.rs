//! Who founds groups, and who opens partitions in them.
//!
//! The node that founded a partition is its home. It puts the partition into its group of
//! exactly these voters, and founds that group if there is none: keeps it, asks every voter to
//! take part, gives the group its first members. Every voter must answer, and says which groups
//! of this home and these voters it holds: if there is one that the home does not know, the
//! home has lost its log, and may not begin another one beside it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nuda_core::certify::{Answer, Entry, Link};
use nuda_core::control::Reply;
use nuda_core::site::PartitionId;
use nuda_core::version_vector::VersionVector;

use super::group::Group;
use super::propose;
use super::types::GroupId;
use super::wire::{self, Call, Response};
use crate::error::{Error, Result};
use crate::node::Node;
use crate::partition::Partition;
use crate::transport::Route;

/// How often the home looks for partitions without a group.
const EVERY: Duration = Duration::from_millis(500);

/// How long opening a partition may take.
const OPENING: Duration = Duration::from_secs(5);

/// Looks for partitions that need a group, for as long as the node runs.
pub(crate) async fn run(node: Arc<Node>) {
    loop {
        tokio::time::sleep(EVERY).await;
        for partition in node.partitions.all() {
            let Some(id) = partition.id() else { continue };
            if node.consensus.of_partition(id).is_some() {
                continue;
            }
            if let Err(e) = open(&node, &partition, id).await {
                tracing::debug!(partition = %partition.name, error = %e, "has no log yet");
            }
        }
    }
}

/// Finds the group that orders a partition, at the members that know it. A voter that is not
/// in it has lost its log: it takes part again, under its new incarnation. Answers whether
/// there is such a group.
async fn rejoin(node: &Arc<Node>, id: PartitionId, members: &[String]) -> Result<bool> {
    let me = &node.me().name;
    let mut found = None;
    for member in members.iter().filter(|m| *m != me) {
        let body = wire::encode(&Call::Describe { partition: id.0 })?;
        if let Ok(answer) = node.call(member, Route::Consensus, body).await
            && let Response::Group(group, home, voters) = wire::decode(&answer)?
        {
            found = Some((group, home, voters));
            break;
        }
    }
    let Some((group, home, voters)) = found else {
        return Ok(false);
    };
    if !voters.contains(me) {
        return Ok(true);
    }
    let here = node
        .consensus
        .take_part(node, group, &home, &voters)
        .await?;
    if here.is_member() {
        return Ok(true);
    }
    let call = Call::Replace {
        group,
        name: me.clone(),
        incarnation: node.consensus.incarnation(),
    };
    let body = wire::encode(&call)?;
    for voter in voters.iter().filter(|v| *v != me) {
        let answer = node.call(voter, Route::Consensus, body.clone()).await;
        if let Ok(answer) = answer
            && let Response::Done = wire::decode(&answer)?
        {
            tracing::info!(%group, "votes again, with a new log");
            break;
        }
    }
    Ok(true)
}

/// What a partition's file says about its log.
struct Facts {
    is_home: bool,
    voters: Option<Vec<String>>,
    link: Link,
    base: VersionVector,
}

async fn open(node: &Arc<Node>, partition: &Arc<Partition>, id: PartitionId) -> Result<()> {
    let facts = node
        .on_partition(Arc::clone(partition), |node, at, host| {
            let live = host.live(node, at)?;
            let members = live.kept.members.clone();
            let base = live.collected.clone();
            let me = node.me().name.clone();
            let voters: Option<Vec<String>> =
                members.iter().map(|m| node.peers.name_of(m.node)).collect();
            let replica = host.replica(at)?;
            Ok(Facts {
                is_home: replica.founder()? == me,
                voters,
                link: replica.strong_link()?,
                base,
            })
        })
        .await?;
    let Some(mut voters) = facts.voters else {
        return Ok(());
    };
    voters.sort();
    if rejoin(node, id, &voters).await? || !facts.is_home {
        return Ok(());
    }
    let group = home_group(node, &voters).await?;
    let until = Instant::now() + OPENING;
    // After a restart this node may not know yet what its groups order.
    for other in node.consensus.all().iter().filter(|g| g.id != group.id) {
        if propose::is_ordered_by(node, other, id, until).await? {
            return Ok(());
        }
    }
    let entry = Entry::Open {
        partition: id,
        link: facts.link,
        base: facts.base,
    };
    match propose::append(node, &group, id, until, entry.encode()).await {
        Reply::Decided(Answer::Open, _) => {
            tracing::info!(partition = %partition.name, group = %group.id, "is ordered");
            Ok(())
        }
        Reply::NotCommitted(why) | Reply::Unknown(why) => Err(Error::retry(why)),
        _ => Err(Error::internal(
            "an unexpected answer to opening a partition",
        )),
    }
}

/// This node's group of these voters, founded if need be.
async fn home_group(node: &Arc<Node>, voters: &[String]) -> Result<Arc<Group>> {
    let me = &node.me().name;
    let mut begun = None;
    for group in node.consensus.all() {
        if group.home == *me && group.voters == voters {
            if group.is_founded().await? {
                return Ok(group);
            }
            begun = Some(group.id);
        }
    }
    let id = match begun {
        Some(id) => id,
        None => GroupId(
            (u128::from(crate::random::bits()) << 64 | u128::from(crate::random::bits()))
                .to_be_bytes(),
        ),
    };
    let group = node.consensus.take_part(node, id, me, voters).await?;
    let mut members = vec![(node.consensus.incarnation(), me.clone())];
    for voter in voters.iter().filter(|v| *v != me) {
        members.push((enlist(node, id, voter, voters).await?, voter.clone()));
    }
    group.found(members).await?;
    Ok(group)
}

/// Asks a voter to take part; answers its incarnation.
async fn enlist(node: &Arc<Node>, id: GroupId, voter: &str, voters: &[String]) -> Result<u64> {
    let call = Call::TakePart {
        id,
        home: node.me().name.clone(),
        voters: voters.to_vec(),
    };
    let body = wire::encode(&call)?;
    let answer = node.call(voter, Route::Consensus, body).await?;
    match wire::decode::<Response>(&answer)? {
        Response::TakesPart {
            incarnation,
            groups,
        } => match groups.iter().find(|g| node.consensus.group(**g).is_none()) {
            None => Ok(incarnation),
            Some(lost) => Err(Error::refused(format!(
                "{voter} holds the group {lost} that {} founded and does not know any more; this node has lost its consensus log and must join that group again",
                node.me().name
            ))),
        },
        _ => Err(Error::refused(format!("{voter} answered something else"))),
    }
}

/// Another node asks this one to take part in a group.
pub(crate) async fn asked_to_take_part(
    node: &Arc<Node>,
    id: GroupId,
    home: &str,
    voters: &[String],
) -> Result<Response> {
    if !voters.contains(&node.me().name) || !voters.iter().any(|v| v == home) {
        return Err(Error::refused(format!(
            "{} is not among those voters",
            node.me().name
        )));
    }
    // Those from before: a home that forgot one has lost its log.
    let mut groups: Vec<GroupId> = node
        .consensus
        .all()
        .iter()
        .filter(|g| g.home == home && g.voters == voters)
        .map(|g| g.id)
        .collect();
    if groups.is_empty() {
        groups.push(node.consensus.take_part(node, id, home, voters).await?.id);
    }
    Ok(Response::TakesPart {
        incarnation: node.consensus.incarnation(),
        groups,
    })
}
