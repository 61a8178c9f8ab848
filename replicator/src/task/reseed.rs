//! Replaces the content of a replica that missed a collection by a donor's snapshot (R7).
//!
//! The file stays: pages are copied *into* it by the backup API, so open connections go on.
//! While the file's write lock is held, the old content is set aside; the copy that is then
//! committed says that it is this node's, under a site of its own, and what has to be
//! re-issued from which set-aside file. That is done in one transaction that also forgets
//! it, here or, after a crash, when the file is opened again. So no local write falls between
//! the steps, and none is made twice. What travelled with a transaction of the partition's log, or still might, is
//! fenced off there first. A set-aside file that cannot be re-issued is kept for
//! people, and said so in the status.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nuda_core::protocol::Members;
use nuda_core::site::{PartitionId, Seq, Site};
use nuda_core::version_vector::VersionVector;
use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use crate::clock;
use crate::error::{Error, Result};
use crate::limits;
use crate::node::Node;
use crate::partition::{Job, Partition};
use crate::sql::Replica;
use crate::transport::wire::{Ask, Fenced};

/// So often the partition's log is asked, and a snapshot must have what it has accepted.
const LOG_TRIES: u32 = 10;

/// Re-seeds `partition` from `donor`, if one is known, or from whichever other member can.
pub(crate) async fn run(
    node: Arc<Node>,
    partition: String,
    id: PartitionId,
    donor: Option<String>,
    reason: String,
) {
    tracing::warn!(partition, donor, reason, "re-seeding");
    let mut pause = Duration::from_millis(200);
    let mut donors: VecDeque<String> = donor.into_iter().collect();
    for tries in 0.. {
        // This replica can do nothing else until somebody has given it a snapshot.
        let donor = loop {
            if let Some(donor) = donors.pop_front() {
                break donor;
            }
            donors = members(&node, &partition).await;
            if donors.is_empty() {
                tokio::time::sleep(pause).await;
            }
        };
        // A log that lost what it had accepted does not hold this replica up for ever.
        let needs_log = tries < LOG_TRIES;
        match once(&node, &partition, id, &donor, needs_log).await {
            Ok(()) => {
                tracing::info!(partition, donor, "re-seeded");
                return;
            }
            Err(e) => tracing::warn!(partition, donor, error = %e, "cannot re-seed yet"),
        }
        node.wait_for_peer(&donor, pause).await;
        pause = (pause * 2).min(limits::BACKOFF_MAX);
    }
}

/// The other members that are known by name.
async fn members(node: &Arc<Node>, partition: &str) -> VecDeque<String> {
    let Ok(partition) = node.partitions.expect_name(partition) else {
        return VecDeque::new();
    };
    let found = node.on_partition(partition, |node, at, host| {
        let members = host.replica(at)?.kept()?.members;
        let others = members.iter().filter(|m| !m.excluded && m.node != node.id);
        Ok(others.filter_map(|m| node.peers.name_of(m.node)).collect())
    });
    found.await.unwrap_or_default()
}

/// The list version under which this node joined with the content that it has. The members' list may tell of the next one
/// already.
async fn joined(node: &Arc<Node>, partition: &Arc<Partition>) -> Result<u64> {
    let found = node.on_partition(Arc::clone(partition), |node, at, host| {
        let replica = host.replica(at)?;
        let life = replica.life(&node.me().name)?;
        let members = replica.kept()?.members;
        Ok(life.or(members.get(node.id).map(|m| m.joined)).unwrap_or(0))
    });
    found.await
}

async fn once(
    node: &Arc<Node>,
    name: &str,
    id: PartitionId,
    donor: &str,
    needs_log: bool,
) -> Result<()> {
    let partition = node.partitions.expect_name(name)?;
    let joined = joined(node, &partition).await?;
    let received = super::join::fetch(node, name, id, donor, Some(joined)).await?;
    let done = begin_from(node, &partition, (id, donor), &received, needs_log).await;
    super::join::remove_database(&received);
    done?;
    node.metrics.snapshots_installed.add(1);
    partition.post(node, Job::Wake);
    Ok(())
}

async fn begin_from(
    node: &Arc<Node>,
    partition: &Arc<Partition>,
    (id, donor): (PartitionId, &str),
    received: &Path,
    needs_log: bool,
) -> Result<()> {
    let snapshot = received.to_owned();
    let earlier = node.on_partition(Arc::clone(partition), move |_, at, host| {
        let earlier = host.replica(at)?.all_sites()?;
        let upto = upto(&earlier, &snapshot, id)?;
        Ok((earlier, upto))
    });
    let (earlier, sites) = earlier.await?;
    let ask = Ask::Fence {
        name: partition.name.clone(),
        id: id.to_string(),
        sites,
    };
    let fenced: Result<Fenced> = node.ask(donor, &ask).await;
    let fenced = fenced.and_then(|fenced| {
        VersionVector::parse(&fenced.accepted)
            .ok_or_else(|| Error::retry(format!("{donor} answered something else about a fence")))
    });
    let accepted = match fenced {
        Err(e) if needs_log => return Err(e),
        Err(e) => {
            tracing::warn!(partition = %partition.name, error = %e, "re-seeding without the partition's log");
            None
        }
        Ok(accepted) => Some(accepted),
    };
    let fenced = Fence {
        earlier,
        accepted,
        needs_log,
    };
    let snapshot = received.to_owned();
    node.on_partition(Arc::clone(partition), move |node, at, host| {
        host.forget();
        let done = replace(node, at, &snapshot, fenced);
        host.forget();
        // The donor may have less of the replicated log than the file had.
        node.consensus.delivery.lost(id);
        done
    })
    .await
}

/// What the partition's log knows of this replica's earlier life.
struct Fence {
    /// All sites under which the replica ever wrote.
    earlier: String,
    /// What was accepted before, if the log was asked in time.
    accepted: Option<VersionVector>,
    needs_log: bool,
}

/// What the snapshot has of each of these sites: the rest is written again.
fn upto(sites: &str, snapshot: &Path, id: PartitionId) -> Result<Vec<(String, Seq)>> {
    let source = Replica::open(snapshot)?;
    if source.identity()?.partition != id {
        return Err(Error::refused("the snapshot is of another partition"));
    }
    let mut has = source.vector()?;
    has.join(&source.waiting_vector()?);
    let sites = sites.split(',').filter_map(Site::parse);
    Ok(sites
        .map(|site| (site.to_string(), has.get(site)))
        .collect())
}

fn replace(node: &Arc<Node>, at: &Partition, snapshot: &Path, fenced: Fence) -> Result<()> {
    let aside = node.dir.set_aside_file(&at.name, clock::wall_ms());
    let source = Replica::open(snapshot)?;
    // Still nobody else's: all that must be true of the copy from its first moment on.
    source.join(&node.me().name)?;
    let mut target = Replica::open(&at.path)?;
    if !is_up_to_date(&source.kept()?.members, &target.kept()?.members) {
        return Err(Error::retry(
            "the snapshot is older than the list of members",
        ));
    }
    let had = target.vector()?;
    // Without the log's word: the numbers that are the log's for certain.
    let strong = (Site::LOG_STRONG, had.get(Site::LOG_STRONG));
    let by_file = || [strong].into_iter().collect();
    let accepted = fenced.accepted.unwrap_or_else(by_file);
    has_accepted(&source.vector()?, &accepted, &had, fenced.needs_log)?;
    source.keep_earlier_sites(&fenced.earlier)?;
    let file = aside.file_name().unwrap_or_default().to_string_lossy();
    source.set_reissue(&file)?;
    copy_into(source.connection(), target.connection_mut(), || {
        // An application does that when it first writes after the machine has started.
        if Replica::open(&at.path)?.all_sites()? != fenced.earlier {
            return Err(Error::retry("this replica writes under a new site now"));
        }
        super::snapshot::copy_pages(&at.path, &aside)?;
        node.fault("set aside");
        Ok(())
    })?;
    node.fault("copied");
    finish(node, at, &target)
}

/// Whether a snapshot is not older than the list that this file knows. Under that this node has answered; and if it says
/// that the donor begins anew itself, the donor writes again what the snapshot has of it.
fn is_up_to_date(theirs: &Members, ours: &Members) -> bool {
    theirs.version > ours.version || theirs.covers(ours)
}

/// Whether a snapshot has what the partition's log has accepted. What nobody has is not waited for any longer when the
/// log is needed no more; what the file *had* is never given up.
fn has_accepted(
    has: &VersionVector,
    accepted: &VersionVector,
    had: &VersionVector,
    needs_log: bool,
) -> Result<()> {
    let lacks = accepted.iter().filter(|(site, seq)| has.get(*site) < *seq);
    let lacks: VersionVector = lacks.collect();
    if lacks.iter().any(|(site, _)| has.get(site) < had.get(site)) {
        return Err(Error::retry(format!(
            "the snapshot lacks {lacks} of the partition's log, and this file, which it would replace, has more of that"
        )));
    }
    if needs_log && !lacks.is_empty() {
        return Err(Error::retry(format!(
            "the snapshot lacks {lacks}, which the partition's log has accepted"
        )));
    }
    Ok(())
}

/// Re-issues what is due in this file, if anything is, and lets go of what was set aside.
pub(crate) fn finish(node: &Arc<Node>, at: &Partition, replica: &Replica) -> Result<()> {
    let Some(file) = replica.reissue_due()? else {
        node.dir.clear_set_aside(&at.name);
        return Ok(());
    };
    let aside = node.dir.set_aside(&file)?;
    let reissued = if aside.is_file() {
        replica.reissue(&aside)
    } else {
        Err(Error::refused(format!("{} is gone", aside.display())))
    };
    match reissued {
        Ok(()) => {
            // What the set-aside file held must not be lost with it at a power cut.
            replica.fsync(&at.path)?;
            node.fault("re-issued");
            super::join::remove_database(&aside);
            Ok(())
        }
        Err(e) if e.is_retry() => Err(e),
        Err(e) => {
            let kept = node.dir.keep_set_aside(&aside)?;
            let note = format!(
                "changes that only this replica had could not be re-issued after it was re-seeded: {e}; they are kept in {}",
                kept.display()
            );
            tracing::error!(partition = %at.name, "{note}");
            replica.reissue_failed(&note)
        }
    }
}

/// Copies all pages of `source` into `target`; `first` runs once the target is locked.
fn copy_into(
    source: &Connection,
    target: &mut Connection,
    first: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let backup = Backup::new(source, target)?;
    // A step of no pages takes the target's write lock and copies nothing.
    let mut tries = 0;
    while matches!(backup.step(0)?, StepResult::Busy | StepResult::Locked) {
        tries += 1;
        if tries > 100 {
            return Err(Error::retry("the file is locked by a long transaction"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    first()?;
    super::snapshot::step_all(&backup)
}

#[cfg(test)]
mod tests {
    use nuda_core::protocol::NodeId;

    use super::*;

    fn vector(text: &str) -> VersionVector {
        VersionVector::parse(text).unwrap_or_default()
    }

    #[test]
    fn a_snapshot_of_a_donor_that_has_begun_anew_since_is_not_taken() {
        let [a, b, c] = ["a", "b", "c"].map(NodeId::of_name);
        let list = Members::default().joining(a).joining(b).joining(c);
        let later = list.joining(b);
        assert!(is_up_to_date(&list, &list));
        assert!(is_up_to_date(&later, &list));
        assert!(!is_up_to_date(&list, &later));
    }

    #[test]
    fn what_the_log_has_accepted_is_not_given_up() {
        let accepted = vector("log.strong:7");
        let asked = |has: &str, had: &str, needs_log| {
            has_accepted(&vector(has), &accepted, &vector(had), needs_log).is_ok()
        };
        assert!(asked("log.strong:7", "log.strong:5", true));
        assert!(
            asked("log.strong:8", "log.strong:9", true),
            "it comes from the log"
        );
        // The donor has it soon, or nobody has it any more.
        assert!(!asked("log.strong:6", "log.strong:5", true));
        assert!(asked("log.strong:6", "log.strong:6", false));
        // This file alone has it.
        assert!(!asked("log.strong:6", "log.strong:7", true));
        assert!(!asked("log.strong:6", "log.strong:7", false));
    }
}
