//! Who founds groups, and who opens partitions in them.
//!
//! The node that founded a partition is its home. It puts the partition into its group of
//! exactly this charter, and founds that group if there is none: keeps it, asks every voter to
//! take part, gives the group its first members. Every voter must answer, and says which groups
//! of this charter it holds: if there is one that the home does not know, the
//! home has lost its log, and may not begin another one beside it. No partition is opened that
//! some voter knows in a group, or on its way to one. What changes later is in `moves`.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nuda_core::certify::{Answer, Entry, Link};
use nuda_core::control::Reply;
use nuda_core::site::PartitionId;
use nuda_core::version_vector::VersionVector;

use super::Known;
use super::charter::Charter;
use super::group::Group;
use super::propose;
use super::types::GroupId;
use super::wire::{self, Call, Response};
use crate::error::{Error, Kind, Result};
use crate::node::Node;
use crate::partition::Partition;
use crate::task::define;
use crate::transport::Route;

/// How often the home looks for partitions without a group.
const EVERY: Duration = Duration::from_millis(500);

/// How long a node is given to say that it is there.
const PROBE: Duration = Duration::from_secs(2);

/// So many looks pass until those that have a group are asked for again.
const ALL_EVERY: u64 = 20;

/// How long opening a partition may take.
const OPENING: Duration = Duration::from_secs(5);

/// Looks for partitions that need a group, or another one, for as long as the node runs.
pub(crate) async fn run(node: Arc<Node>) {
    // A thousand partitions that have a group cost nothing between two looks at all.
    let (mut ordered, mut handed_over) = (HashSet::new(), HashSet::new());
    for look in 0_u64.. {
        let told = tokio::time::timeout(EVERY, node.consensus.news.notified()).await;
        if told.is_ok() || look % ALL_EVERY == 0 {
            ordered.clear();
        }
        for partition in node.partitions.besides(&ordered) {
            let Some(id) = partition.id() else { continue };
            if node.consensus.of_partition(id).is_some() {
                node.consensus.note_unordered(id, None);
                if !handed_over.contains(&id) {
                    match define::hand_over(&node, &partition).await {
                        Ok(true) => drop(handed_over.insert(id)),
                        Ok(false) => {}
                        Err(e) => {
                            tracing::debug!(partition = %partition.name, error = %e, "not handed over yet");
                        }
                    }
                }
                if handed_over.contains(&id) {
                    ordered.insert(id);
                }
                continue;
            }
            if node.consensus.is_held(&partition.name) {
                continue;
            }
            let opened = open(&node, &partition, id).await;
            if let Err(e) = &opened {
                tracing::debug!(partition = %partition.name, error = %e, "has no log yet");
            }
            let why = opened.err().map(|e| e.to_string());
            node.consensus.note_unordered(id, why);
        }
        take_places(&node).await;
        super::moves::look(&node).await;
        super::retire::look(&node).await;
    }
}

/// Asks the members for the group that orders a partition; `None` if all that vote were asked, and
/// none knows one.
async fn ask_members(
    node: &Arc<Node>,
    id: PartitionId,
    charter: &Charter,
) -> Result<Option<Known>> {
    let me = &node.me().name;
    let body = wire::encode(&Call::Describe { partition: id.0 })?;
    let (mut silent, mut latest) = (None, None::<Known>);
    for member in charter.members().filter(|m| *m != me) {
        match node.call(member, Route::Consensus, body.clone()).await {
            Ok(answer) => match wire::decode(&answer)? {
                // Of two that were told, one has not heard of the last move.
                Response::Group(group, charter, moves)
                    if latest.as_ref().is_none_or(|known| known.moves < moves) =>
                {
                    latest = Some(Known {
                        group,
                        charter,
                        moves,
                    });
                }
                Response::Unsure => {
                    silent = Some(Error::retry(format!(
                        "{member} does not know yet what its groups order"
                    )));
                }
                _ => {}
            },
            Err(e) if e.kind == Kind::NotFound => {}
            Err(e) if charter.voters.contains(member) => silent = Some(e),
            Err(_) => {}
        }
    }
    match (latest, silent) {
        (None, Some(e)) => Err(e),
        (latest, _) => Ok(latest),
    }
}

/// Whether a node answers now.
pub(crate) async fn answers(node: &Arc<Node>, name: &str, id: PartitionId) -> bool {
    let Ok(body) = wire::encode(&Call::Describe { partition: id.0 }) else {
        return false;
    };
    if name == node.me().name {
        return true;
    }
    let call = node.call(name, Route::Consensus, body);
    match tokio::time::timeout(PROBE, call).await {
        Ok(Ok(_)) => true,
        Ok(Err(e)) => e.kind == Kind::NotFound,
        Err(_) => false,
    }
}

/// Takes part in the group that orders a partition. A member that is not in it has lost its log:
/// it takes part again, under its new incarnation.
async fn rejoin(node: &Arc<Node>, group: GroupId, charter: &Charter) -> Result<()> {
    let me = &node.me().name;
    if !charter.names(me) {
        return Err(Error::retry(format!(
            "it is with {}, and has not moved to the group of its present members yet",
            charter.voters.join(", ")
        )));
    }
    let here = node.consensus.take_part(node, group, charter).await?;
    if here.has_its_place(me) {
        return Ok(());
    }
    let call = Call::Replace {
        group,
        name: me.clone(),
        incarnation: node.consensus.incarnation(),
    };
    let body = wire::encode(&call)?;
    for voter in charter.voters.iter().filter(|v| *v != me) {
        let Ok(answer) = node.call(voter, Route::Consensus, body.clone()).await else {
            continue;
        };
        match wire::decode(&answer)? {
            Response::Done => {
                tracing::info!(%group, "takes part again, with a new log");
                return Ok(());
            }
            Response::Retired => return Err(has_ended(node, group, voter)),
            _ => {}
        }
    }
    Err(Error::retry(format!(
        "no leader of the group of {} has put this node's new log in the place of its old one yet",
        charter.voters.join(", ")
    )))
}

/// Takes the old log's place where only the half of that was done: whoever led knows this node's new log, and has not
/// given it the vote.
async fn take_places(node: &Arc<Node>) {
    let me = &node.me().name;
    for group in node.consensus.all() {
        if group.is_member()
            && !group.has_its_place(me)
            && let Err(e) = rejoin(node, group.id, &group.charter).await
        {
            tracing::debug!(group = %group.id, error = %e, "does not vote yet");
        }
    }
}

/// A member says that a group has ended. One that has lost its log may have begun it anew meanwhile.
fn has_ended(node: &Node, group: GroupId, member: &str) -> Error {
    node.consensus.ended_elsewhere(group);
    Error::retry(format!("{member} says that the group {group} has ended"))
}

/// What a partition's file says about its log.
struct Facts {
    founder: String,
    /// By the time of joining; `None` if some name is not known yet.
    members: Option<Vec<String>>,
    /// Whether the list has only grown, so that it names all who ever held the partition.
    only_grew: bool,
    link: Link,
    base: VersionVector,
}

async fn open(node: &Arc<Node>, partition: &Arc<Partition>, id: PartitionId) -> Result<()> {
    let facts = node
        .on_partition(Arc::clone(partition), |node, at, host| {
            let live = host.live(node, at)?;
            let members = live.kept.members.clone();
            let base = live.collected.clone();
            let only_grew = members.version == members.iter().count() as u64;
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|m| m.joined);
            let members = members.into_iter().map(|m| node.peers.name_of(m.node));
            let members: Option<Vec<String>> = members.collect();
            let replica = host.replica(at)?;
            Ok(Facts {
                founder: replica.founder()?,
                members,
                only_grew,
                link: replica.strong_link()?,
                base,
            })
        })
        .await?;
    let Some(members) = facts.members else {
        return Ok(());
    };
    let me = &node.me().name;
    // A founder that is no member any more leaves this to whoever joined first.
    let founds = members.contains(&facts.founder);
    let home = if founds {
        Some(&facts.founder)
    } else {
        members.first()
    };
    let Some(home) = home.filter(|_| members.contains(me)) else {
        return Ok(());
    };
    let charter = Charter::of(home, &[], &members);
    // A group that the partition has left knows where it went then, and no later move.
    let there = ask_members(node, id, &charter).await?;
    let known = there.into_iter().chain(node.consensus.describe(id));
    if let Some(known) = known.max_by_key(|known| known.moves) {
        return rejoin(node, known.group, &known.charter).await;
    }
    if home != me {
        return Ok(());
    }
    let group = home_group(node, &charter).await?;
    let until = Instant::now() + OPENING;
    // After a restart this node may not know yet what its groups order.
    for other in node.consensus.all().iter().filter(|g| g.id != group.id) {
        // One that this node alone could found, and has not founded yet, orders nothing.
        let is_begun = other.charter.home != *me || other.is_founded().await?;
        let held_by = |name: &String| members.contains(name);
        if !is_begun || (facts.only_grew && !other.charter.members().all(held_by)) {
            continue;
        }
        if propose::has_ordered(node, other, id, until).await? {
            return Ok(());
        }
    }
    let entry = Entry::Open {
        partition: id,
        link: facts.link,
        base: facts.base,
    };
    match propose::append_to(node, &group, id, until, entry.encode()).await {
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

/// This node's group of this charter, founded if need be.
pub(super) async fn home_group(node: &Arc<Node>, charter: &Charter) -> Result<Arc<Group>> {
    let me = &node.me().name;
    if charter.home != *me || !charter.is_sound() {
        return Err(Error::refused(format!(
            "{me} is not the home of that group"
        )));
    }
    // Two who ask at once get the same one.
    let _turn = node.consensus.founding.lock().await;
    let mut begun = None;
    for group in node.consensus.all() {
        if group.charter == *charter && !group.is_idle().1 {
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
    let group = node.consensus.take_part(node, id, charter).await?;
    let mut members = vec![(node.consensus.incarnation(), me.clone())];
    for voter in charter.voters.iter().filter(|v| *v != me) {
        members.push((enlist(node, id, voter, charter).await?, voter.clone()));
    }
    group.found(members).await?;
    Ok(group)
}

/// Asks a member to take part; answers its incarnation.
pub(super) async fn enlist(
    node: &Arc<Node>,
    id: GroupId,
    member: &str,
    charter: &Charter,
) -> Result<u64> {
    let call = Call::TakePart {
        id,
        charter: charter.clone(),
    };
    let body = wire::encode(&call)?;
    let answer = node.call(member, Route::Consensus, body).await?;
    match wire::decode::<Response>(&answer)? {
        Response::TakesPart {
            incarnation,
            groups,
        } => match groups.iter().find(|g| node.consensus.group(**g).is_none()) {
            None => Ok(incarnation),
            Some(lost) => Err(Error::refused(format!(
                "{member} holds the group {lost} that {} founded and {} does not know any more; this node has lost its consensus log and must join that group again",
                charter.home,
                node.me().name
            ))),
        },
        Response::Retired => Err(has_ended(node, id, member)),
        _ => Err(Error::refused(format!("{member} answered something else"))),
    }
}

/// Another node asks this one to take part in a group.
pub(crate) async fn asked_to_take_part(
    node: &Arc<Node>,
    id: GroupId,
    charter: &Charter,
) -> Result<Response> {
    if !charter.names(&node.me().name) || !charter.is_sound() {
        return Err(Error::refused(format!(
            "{} is not among those members",
            node.me().name
        )));
    }
    // Those from before: a home that forgot one has lost its log.
    let mut groups: Vec<GroupId> = node
        .consensus
        .all()
        .iter()
        .filter(|g| g.charter == *charter && !g.is_idle().1)
        .map(|g| g.id)
        .collect();
    if groups.is_empty() && node.consensus.has_ended(id)? {
        return Ok(Response::Retired);
    }
    if groups.is_empty() {
        groups.push(node.consensus.take_part(node, id, charter).await?.id);
    }
    Ok(Response::TakesPart {
        incarnation: node.consensus.incarnation(),
        groups,
    })
}
