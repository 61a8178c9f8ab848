//! Shows who holds a partition, and takes members away.
//!
//! A removed member keeps its file and gets nothing more; the partition moves to the group of
//! those that remain (`consensus::moves`). What would leave the partition without a majority is
//! refused before anything is changed: the old group must be able to let go of it, and the new
//! one to begin. Doing it again changes nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nuda_core::protocol::{Event, NodeId};
use nuda_core::site::PartitionId;
use serde::{Deserialize, Serialize};

use super::create;
use crate::consensus::charter::majority;
use crate::consensus::found;
use crate::control::Progress;
use crate::error::{Error, Result};
use crate::node::Node;
use crate::partition::Partition;

/// Who holds a partition.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Holders {
    pub(crate) partition: String,
    /// All members.
    pub(crate) members: Vec<String>,
    /// Those whose votes and acknowledgements count for strong transactions; none without a log.
    pub(crate) voters: Vec<String>,
    pub(crate) followers: Vec<String>,
    /// What is not done yet, and goes on by itself.
    pub(crate) pending: Option<String>,
}

/// Takes `remove` from the members of `name`, and answers who is left.
pub(crate) async fn run(
    node: &Arc<Node>,
    name: &str,
    remove: &[String],
    timeout: Duration,
    progress: &Progress,
) -> Result<Holders> {
    let at = node.partitions.expect_name(name)?;
    let members = create::members(node, &at).await?;
    if !remove.is_empty() {
        keep_founder(node, &at, remove).await?;
        check(node, &at, &members, remove).await?;
        let (left, unknown) = take_away(node, &at, remove).await?;
        if !left.is_empty() {
            progress.say(format!("{} left {name}", left.join(", ")));
        }
        if !unknown.is_empty() {
            progress.say(format!(
                "{} is no member of {name} as far as {} knows",
                unknown.join(", "),
                node.me().name
            ));
        }
    }
    let began = Instant::now();
    let mut told = false;
    while is_behind(node, &at, remove) && began.elapsed() < timeout {
        if !told && began.elapsed() > Duration::from_secs(1) {
            told = true;
            progress.say("waiting for the voters to change");
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    let mut holders = Holders {
        partition: name.to_owned(),
        members: create::members(node, &at).await?,
        ..Holders::default()
    };
    if let Some(id) = at.id()
        && let Some(known) = node.consensus.describe(id)
    {
        (holders.voters, holders.followers) = (known.charter.voters, known.charter.followers);
    }
    if is_behind(node, &at, remove) {
        holders.pending = Some(format!(
            "the voters are still {}; they change when a majority of them and all remaining members answer",
            holders.voters.join(", ")
        ));
    }
    Ok(holders)
}

/// Whether somebody that was removed still votes.
fn is_behind(node: &Node, at: &Partition, remove: &[String]) -> bool {
    let known = at.id().and_then(|id| node.consensus.describe(id));
    let is_moving = at
        .id()
        .is_some_and(|id| node.consensus.of_partition(id).is_none());
    known.is_some_and(|k| is_moving || remove.iter().any(|name| k.charter.names(name)))
}

/// A founder that still is to leave tables to the log stays while it can be asked for that.
async fn keep_founder(node: &Arc<Node>, at: &Arc<Partition>, remove: &[String]) -> Result<()> {
    let Some(id) = at.id() else { return Ok(()) };
    let (founder, is_ordered) = node
        .on_partition(Arc::clone(at), |_, at, host| {
            let replica = host.replica(at)?;
            Ok((replica.founder()?, replica.is_ordered()?))
        })
        .await?;
    if is_ordered || !remove.contains(&founder) || !found::answers(node, &founder, id).await {
        return Ok(());
    }
    Err(Error::refused(format!(
        "{founder} founded {} and alone changes its tables until the partition has its log, which is made \
         when all members are reachable; without {founder} nobody could; start the members that are \
         away, or remove those first, and then {founder}",
        at.name
    )))
}

/// What can be refused before anything is changed.
async fn check(
    node: &Arc<Node>,
    at: &Partition,
    members: &[String],
    remove: &[String],
) -> Result<()> {
    let me = &node.me().name;
    if remove.contains(me) {
        return Err(Error::refused(format!(
            "{me} cannot remove itself; run this at a member that stays, with --dir"
        )));
    }
    let Some(id) = at.id() else { return Ok(()) };
    let Some(known) = node.consensus.describe(id) else {
        return Ok(());
    };
    let voters = known.charter.voters;
    let silent = silent(node, id, voters.iter()).await;
    let answer = voters.len() - silent.len();
    if answer < majority(voters.len()) {
        return Err(Error::refused(format!(
            "{answer} of the {} voters of {} answer ({} do not), and it takes a majority of them to change who votes; start one of them first",
            voters.len(),
            at.name,
            silent.join(", ")
        )));
    }
    let remaining = members.iter().filter(|name| !remove.contains(name));
    let silent = self::silent(node, id, remaining).await;
    if !silent.is_empty() {
        return Err(Error::refused(format!(
            "{} would remain in {} and does not answer; those that remain must begin a group together; start it first, or remove it too",
            silent.join(", "),
            at.name
        )));
    }
    Ok(())
}

/// Which of these nodes do not answer now.
async fn silent(
    node: &Arc<Node>,
    id: PartitionId,
    names: impl Iterator<Item = &String>,
) -> Vec<String> {
    let mut silent = Vec::new();
    for name in names {
        if !found::answers(node, name, id).await {
            silent.push(name.clone());
        }
    }
    silent
}

/// Takes members off the list; answers which were on it and which were not.
async fn take_away(
    node: &Arc<Node>,
    at: &Arc<Partition>,
    remove: &[String],
) -> Result<(Vec<String>, Vec<String>)> {
    let names = remove.to_vec();
    let parted = node.on_partition(Arc::clone(at), move |node, at, host| {
        let (mut left, mut unknown) = (Vec::new(), Vec::new());
        for name in names {
            let id = NodeId::of_name(&name);
            let list = host.live(node, at)?.machine.members().clone();
            if list.get(id).is_none() {
                unknown.push(name);
                continue;
            }
            if list.iter().count() < 2 {
                return Err(Error::refused(format!(
                    "{} would have no member left",
                    at.name
                )));
            }
            host.feed(node, at, Event::Members(list.without(id)))?;
            left.push(name);
        }
        Ok((left, unknown))
    });
    let parted = parted.await?;
    node.consensus.look_again();
    Ok(parted)
}
