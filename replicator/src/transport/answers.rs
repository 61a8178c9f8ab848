//! Answers to the questions of other daemons.

use std::sync::Arc;

use nuda_core::certify::Fences;
use nuda_core::protocol::{Event, NodeId};
use nuda_core::site::{PartitionId, Site, is_valid_name};

use super::wire::{Ask, Done, Fenced};
use crate::consensus::fence;
use crate::error::{Error, Result};
use crate::node::Node;
use crate::partition::notice;

/// How often a snapshot is begun until all in it is judged, while applications write.
const JUDGED_IN: u32 = 20;

/// Answers one question.
pub(crate) async fn answer(node: &Arc<Node>, from: &str, body: &[u8]) -> Result<Vec<u8>> {
    match serde_json::from_slice::<Ask>(body)? {
        Ask::Digest { name, id } => {
            let partition = node.partitions.expect(&name, &id)?;
            let digest = node
                .on_partition(partition, |_, partition, host| {
                    host.replica(partition)?.digest()
                })
                .await?;
            Ok(serde_json::to_vec(&digest)?)
        }
        Ask::Invite { name, id } => {
            invited(node, from, name, &id)?;
            Ok(serde_json::to_vec(&Done {})?)
        }
        Ask::Snapshot { name, id, joined } => {
            let partition = node.partitions.expect(&name, &id)?;
            let joiner = NodeId::of_name(from);
            let from = from.to_owned();
            let offer = node
                .on_partition(partition, move |node, partition, host| {
                    let live = host.live(node, partition)?;
                    let members = live.kept.members.clone();
                    let since = members.get(joiner).map(|m| m.joined);
                    if since.is_some() && since == joined {
                        // It begins anew: all members must know first.
                        host.feed(node, partition, Event::Members(members.joining(joiner)))?;
                    }
                    let seeds = host
                        .live
                        .as_ref()
                        .is_some_and(|l| l.machine.may_seed(joiner));
                    if !seeds {
                        return Err(Error::retry(format!(
                            "not all members of {} know yet that {from} joins",
                            partition.name
                        )));
                    }
                    for _ in 0..JUDGED_IN {
                        let live = host.live(node, partition)?;
                        let is_judged = |file: &_| notice::is_judged(node, live, file);
                        let offer = node.snapshots.prepare(node, partition, is_judged)?;
                        if let Some(offer) = offer {
                            return Ok(offer);
                        }
                        host.look(node, partition)?;
                    }
                    Err(Error::retry(format!(
                        "changes of {} are being re-stamped here",
                        partition.name
                    )))
                })
                .await?;
            Ok(serde_json::to_vec(&offer)?)
        }
        Ask::Fence { name, id, sites } => {
            let malformed = || Error::refused("malformed: a fence");
            let id = PartitionId::parse(&id).ok_or_else(malformed)?;
            node.partitions.expect(&name, &id.to_string())?;
            let sites = sites.into_iter().map(|(site, upto)| {
                let upto = Some(upto).filter(|n| *n < nuda_core::limits::SEQ)?;
                Some((Site::parse(&site)?, upto))
            });
            let sites: Option<Fences> = sites.collect();
            let accepted = fence::put(node, id, sites.ok_or_else(malformed)?).await?;
            let accepted = accepted.to_string();
            Ok(serde_json::to_vec(&Fenced { accepted })?)
        }
        Ask::SnapshotDone { token } => {
            node.snapshots.done(&token);
            Ok(serde_json::to_vec(&Done {})?)
        }
    }
}

fn invited(node: &Arc<Node>, from: &str, name: String, id: &str) -> Result<()> {
    if !is_valid_name(&name) {
        return Err(Error::refused(
            "an invitation to a partition without a valid name",
        ));
    }
    let id = PartitionId::parse(id)
        .ok_or_else(|| Error::refused("an invitation without a partition id"))?;
    let file = node.dir.partition_file(&name)?;
    match node.partitions.get(&name) {
        // The donor's list says that this node begins anew; its own machine asks for that.
        Some(partition) if partition.id() == Some(id) && file.exists() => Ok(()),
        Some(partition) if partition.id().is_some_and(|own| own != id) => {
            node.partitions.expect(&name, &id.to_string()).map(|_| ())
        }
        _ if file.exists() => Err(Error::retry(format!(
            "{} has a file {name}.db that is not opened yet",
            node.me().name
        ))),
        _ => {
            node.join(name, id, from.to_owned());
            Ok(())
        }
    }
}
