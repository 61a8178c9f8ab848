//! Taking notice of what applications committed: what the protocol then ships.
//!
//! Before the protocol hears of an own changeset, its stamp is judged by the clocks of the
//! peers (R16: once, here, and never by receivers), and its number is noted beside the file,
//! so that a file put back from a backup is known for one, by the extension too. While no
//! peer's clock is known nothing can be judged, but then no peer has said anything either:
//! every request brings its sender's clock.

use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use nuda_core::limits::CLOCK_AHEAD_MS;
use nuda_core::protocol::Head;
use nuda_core::site::{Seq, Site};
use rusqlite::Connection;

use super::Partition;
use super::host::Live;
use crate::error::{Error, Result};
use crate::node::Node;
use crate::sql::{self, Identity, Replica};

/// Which file is at a path: device and inode.
pub(crate) fn file_at(path: &Path) -> Option<(u64, u64)> {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.dev(), meta.ino()))
}

/// How far the own site was noted, if it is the present one; of another one nothing was.
pub(crate) fn noted(node: &Node, at: &Partition, identity: &Identity) -> Result<Seq> {
    let own = identity.vector.get(identity.site);
    let text = match std::fs::read_to_string(node.dir.head_note(&at.name)) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            // Nobody knows what was shipped: all of it may have been.
            note(node, at, identity.site, own)?;
            return Ok(own);
        }
        Err(e) => return Err(e.into()),
    };
    let noted = text.trim().split_once(' ').and_then(|(site, seq)| {
        let site = Site::parse(site)?;
        Some((site, seq.parse::<Seq>().ok()?))
    });
    Ok(match noted {
        Some((site, seq)) if site == identity.site => seq.min(own),
        Some(_) => 0,
        None => own,
    })
}

/// Notes that the own site was read up to `seq`. Always as many bytes in the same place, so
/// that a full disk does not matter; not synced, because after a power cut the file takes a
/// new site anyway.
pub(crate) fn note(node: &Node, at: &Partition, site: Site, seq: Seq) -> Result<()> {
    let file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o644)
        .open(node.dir.head_note(&at.name))?;
    Ok(file.write_all_at(format!("{site} {seq:020}\n").as_bytes(), 0)?)
}

/// Whether a file, as a connection reads it, has nothing of its own site that may still be re-stamped: a copy
/// would have it as it was, and that would be a second variant. What is beyond the agreed time at all
/// may be, together with what comes after it, unless what it follows is as late.
pub(crate) fn is_judged(node: &Node, live: &Live, file: &Connection) -> Result<bool> {
    let (site, seq, stamp_ms) = sql::newest_own(file)?;
    let known = live.vector.get(site);
    Ok(seq <= known
        || match node.peers.agreed_ms() {
            None => is_alone(node, live),
            Some(agreed_ms) => stamp_ms <= agreed_ms.max(sql::followed_ms(file, known)?),
        })
}

/// Gives what was written by a clock that is ahead, and was not shipped, stamps from the agreed time on.
fn stamp_again(
    node: &Node,
    at: &Partition,
    replica: &Replica,
    (known, agreed_ms): (Seq, u64),
) -> Result<()> {
    let stamp_ms = replica.stamp_ms()?;
    // What is shipped is followed, whatever it says: a new stamp would be no earlier.
    let allowed_ms = |r: &Replica| {
        let followed_ms = r.followed_ms(known)?;
        Ok::<_, Error>(followed_ms.max(agreed_ms))
    };
    let is_ahead = |allowed_ms: u64| stamp_ms > allowed_ms.saturating_add(CLOCK_AHEAD_MS);
    if !is_ahead(agreed_ms) || !is_ahead(allowed_ms(replica)?) {
        return Ok(());
    }
    replica.transaction(|r| r.restamp(known, allowed_ms(r)?))?;
    node.metrics.clock_ahead.add(1);
    tracing::warn!(
        partition = %at.name,
        ahead_ms = stamp_ms.saturating_sub(agreed_ms),
        "changes were stamped ahead of the other nodes' clocks; those that are not shipped yet are re-stamped; mend this machine's clock"
    );
    Ok(())
}

fn is_alone(node: &Node, live: &Live) -> bool {
    live.kept.members.iter().all(|m| m.node == node.id)
}

/// Judges and notes what the file has beyond what the protocol knows; the new head, unless
/// there is none, or it cannot be judged yet.
pub(crate) fn news(
    node: &Arc<Node>,
    at: &Partition,
    replica: &Replica,
    live: &Live,
    now: &Identity,
) -> Result<Option<Head>> {
    let site = now.site;
    let (known, own) = (live.vector.get(site), now.vector.get(site));
    if own <= known {
        return Ok(None);
    }
    match node.peers.agreed_ms() {
        None if is_alone(node, live) => {}
        None => return Ok(None),
        Some(agreed_ms) => stamp_again(node, at, replica, (known, agreed_ms))?,
    }
    note(node, at, site, own)?;
    node.consensus.told.committed_locally(own - known);
    let hash = replica.link(site, own)?.unwrap_or_default();
    Ok(Some(Head {
        site,
        seq: own,
        hash,
    }))
}
