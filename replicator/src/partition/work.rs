//! The commands that touch the partition's file, one function each.
//!
//! Each answers with the event that the protocol expects. A lock, a full disk or an I/O error
//! is never remembered as an outcome: the transaction is rolled back and the protocol asks
//! again. Nothing is reported as applied before COMMIT, or as durable before an fsync.

use std::sync::Arc;
use std::time::Instant;

use nuda_core::changeset::ChainHash;
use nuda_core::codec::put_sized;
use nuda_core::protocol::{Blocked, Command, Event, Head, PartBytes, Partial, Work};
use nuda_core::site::{Dot, Seq, Site};
use nuda_core::version_vector::VersionVector;

use super::Partition;
use super::host::Live;
use crate::consensus::deliver::Place;
use crate::error::{Error, Result};
use crate::limits;
use crate::node::Node;
use crate::sql::{Need, Outcome, Replica};

/// The kind under which a failure of this command is reported.
pub(crate) fn failure_of(command: &Command) -> Option<Work> {
    match command {
        Command::Read { peer, .. }
        | Command::ReadChain { peer, .. }
        | Command::CompareChain { peer, .. } => Some(Work::Read(*peer)),
        Command::Apply { .. } => Some(Work::Apply),
        Command::Retry => Some(Work::Retry),
        Command::Secure { .. } => Some(Work::Secure),
        Command::Collect(_) => Some(Work::Collect),
        Command::NewSite { .. } => Some(Work::NewSite),
        _ => None,
    }
}

/// What a command does, in the words of the status.
pub(crate) fn name_of(command: &Command) -> &'static str {
    match command {
        Command::Apply { .. } => "applying changes of others",
        Command::Retry => "applying what had to wait",
        Command::Secure { .. } => "making changes durable",
        Command::Collect(_) => "collecting the log",
        Command::NewSite { .. } => "taking a new site",
        _ => "reading the log",
    }
}

/// Why a command could not be carried out here and now.
pub(crate) fn trouble_of(done: &Result<Event>) -> Option<String> {
    match done {
        Ok(Event::Applied {
            blocked: Some(Blocked::Local(why)),
            ..
        }) => Some(why.clone()),
        Ok(_) => None,
        Err(e) => Some(e.to_string()),
    }
}

/// Carries out a command on the file.
pub(crate) fn on_file(
    node: &Arc<Node>,
    at: &Partition,
    replica: &Replica,
    live: &mut Live,
    command: Command,
) -> Result<Event> {
    match command {
        Command::Read {
            peer,
            ranges,
            limit_bytes,
        } => Ok(Event::Read {
            peer,
            parts: replica.read(&ranges, limit_bytes)?,
        }),
        Command::Apply {
            from,
            parts,
            must_cover,
            direct,
            direct_floor,
        } => {
            let must = MustCover::new(must_cover, direct, &direct_floor);
            let batch = apply(node, replica, &parts, &must);
            if let Some(blocked) = &batch.blocked {
                tracing::debug!(partition = %at.name, ?blocked, "a batch stopped");
            }
            arrived(node, at, replica, live, &batch.heads)?;
            let site = replica.site()?;
            if site != live.site {
                // Peers had more of our site than we: the file goes on under another one.
                tracing::warn!(partition = %at.name, old = %live.site, new = %site, "this file had lost commits that peers have; it writes under a new site");
                node.metrics.new_sites.add(1);
                live.own_site(replica, site)?;
            }
            crate::task::checkpoint::if_large(node, at, replica);
            let waiting = match batch.stored {
                Some((_, waiting)) => waiting,
                None => replica.waiting_vector()?,
            };
            Ok(Event::Applied {
                from,
                heads: batch.heads,
                waiting,
                partial: batch.partial,
                blocked: batch.blocked,
            })
        }
        Command::Retry => {
            let (heads, waiting) = retry(node, replica)?;
            arrived(node, at, replica, live, &heads)?;
            Ok(Event::Retried { heads, waiting })
        }
        Command::Secure { floor, members } => {
            // Names are for people and the extension; one that is not known yet comes later.
            let counting = members.iter().filter(|m| !m.excluded);
            let names: Option<Vec<String>> = counting.map(|m| node.peers.name_of(m.node)).collect();
            if live.kept.members != members {
                replica.drop_unstored()?;
            }
            if live.kept.floor != floor || live.kept.members != members || live.unnamed {
                replica.keep_standing(&floor, &members, names.as_deref())?;
                live.unnamed = names.is_none();
                live.kept.floor = floor;
                live.kept.members = members;
            }
            Ok(Event::Secured(replica.fsync(&at.path)?))
        }
        Command::Collect(frontier) => {
            let dropped = replica.collect(&frontier)?;
            node.metrics.collected.add(dropped);
            live.collected.join(&frontier);
            Ok(Event::Collected(frontier))
        }
        Command::NewSite { site, keep, reason } => {
            let split = Split { site, keep, reason };
            new_site(node, at, replica, live, &split)
        }
        Command::ReadChain {
            peer,
            site,
            upto,
            limit,
        } => Ok(Event::ReadChain {
            peer,
            site,
            links: read_chain(replica, site, upto, limit)?,
        }),
        Command::CompareChain { peer, site, links } => Ok(Event::CompareChain {
            peer,
            site,
            agree: agreement(replica, &live.collected, site, &links)?,
        }),
        Command::Send { .. }
        | Command::StopSite { .. }
        | Command::Reseed { .. }
        | Command::Seed(_) => Err(Error::internal("no work on a file")),
    }
}

/// What follows from what was applied.
fn arrived(
    node: &Arc<Node>,
    at: &Partition,
    replica: &Replica,
    live: &mut Live,
    heads: &[Head],
) -> Result<()> {
    for head in heads {
        live.vector.raise(head.site, head.seq);
    }
    // Somebody may wait for it.
    let has = heads.iter().map(|head| (head.site, head.seq));
    let delivery = &node.consensus.delivery;
    delivery.reach(live.partition, &has.collect());
    if heads.iter().any(|head| head.site == Site::LOG_STRONG) {
        crate::task::define::look(node, at, replica)?;
    }
    Ok(())
}

/// Applies what waits and can be applied now.
fn retry(node: &Arc<Node>, replica: &Replica) -> Result<(Vec<Head>, VersionVector)> {
    let (applied, heads, waiting) = replica.transaction(|replica| {
        let before = replica.vector()?;
        let applied = replica.retry()?;
        let heads = replica.heads(&before, &replica.vector()?)?;
        Ok((applied, heads, replica.waiting_vector()?))
    })?;
    node.metrics.changesets_applied.add(applied);
    Ok((heads, waiting))
}

#[derive(Default)]
struct Batch {
    heads: Vec<Head>,
    /// What the file has applied, and up to where changesets wait in it; if it could be read.
    stored: Option<(VersionVector, VersionVector)>,
    partial: Vec<Partial>,
    /// What waits of what was sent.
    kept: Vec<Dot>,
    /// Some of it follows what is not here.
    lacking: bool,
    blocked: Option<Blocked>,
}

impl Batch {
    /// What its sender is to know if some of it was kept and does not count as stored.
    fn not_stored(&self) -> Option<Blocked> {
        let (applied, waiting) = self.stored.as_ref()?;
        let has = |dot: &Dot| waiting.contains(*dot) || applied.contains(*dot);
        let all = self.kept.iter().all(has);
        match (all, self.lacking) {
            (true, _) => None,
            (false, true) => Some(Blocked::Dependencies),
            (false, false) => Some(Blocked::Refused),
        }
    }
}

/// Applies a batch in transactions that are short, so that an application on this file waits
/// for none of them long, and leaves it a gap to get the write lock in.
fn apply(node: &Arc<Node>, replica: &Replica, parts: &[PartBytes], must: &MustCover) -> Batch {
    let mut whole = Batch::default();
    let mut rest = parts;
    loop {
        let (batch, taken) = apply_some(node, replica, rest, must);
        for head in batch.heads {
            whole.heads.retain(|h| h.site != head.site);
            whole.heads.push(head);
        }
        whole.stored = batch.stored.or(whole.stored);
        whole.partial = batch.partial;
        whole.kept.extend(batch.kept);
        whole.lacking |= batch.lacking;
        whole.blocked = batch.blocked;
        rest = rest.get(taken..).unwrap_or_default();
        if whole.blocked.is_none() && rest.is_empty() {
            whole.blocked = whole.not_stored();
        }
        if whole.blocked.is_some() || rest.is_empty() {
            return whole;
        }
        std::thread::sleep(limits::APPLY_GAP);
    }
}

/// Applies accepted transactions of the replicated log, each with what travelled with it, in
/// one transaction. What the file had `before` is left out; what it got since is a duplicate.
pub(crate) fn deliver(
    at: &Partition,
    replica: &Replica,
    before: &VersionVector,
    places: &[Place],
) -> Result<()> {
    replica.transaction(|replica| {
        let began = Instant::now();
        let mut list = Vec::new();
        for place in places.iter().filter(|place| !before.contains(place.dot)) {
            let Some(proposal) = place.proposal(at)? else {
                continue;
            };
            for part in proposal.dependencies.iter().chain(&proposal.changeset) {
                put_sized(&mut list, part);
                if list.len() >= limits::APPLY_LIST_BYTES {
                    deliver_list(replica, &mut list)?;
                }
            }
            if began.elapsed() >= limits::APPLY_TRANSACTION {
                break;
            }
        }
        deliver_list(replica, &mut list)
    })
}

fn deliver_list(replica: &Replica, list: &mut Vec<u8>) -> Result<()> {
    if list.is_empty() {
        return Ok(());
    }
    if let Some(outcome) = replica.apply_all(list)? {
        return Err(Error::internal(format!(
            "an accepted transaction cannot be applied; nuda_apply answered {}: {}; restore this replica from another node",
            outcome.status,
            outcome.reason.unwrap_or_default()
        )));
    }
    list.clear();
    Ok(())
}

/// One transaction; answers also how many parts it dealt with.
fn apply_some(
    node: &Arc<Node>,
    replica: &Replica,
    parts: &[PartBytes],
    must: &MustCover,
) -> (Batch, usize) {
    let done = replica.transaction(|replica| {
        let began = Instant::now();
        let before = replica.vector()?;
        let mut batch = Batch::default();
        let (mut applied, mut taken) = (0, 0);
        for part in parts {
            taken += 1;
            match replica.apply(&part.bytes, must.of(part)) {
                Ok(outcome) => {
                    applied += outcome.applied;
                    batch.blocked = judge(node, part, outcome, &mut batch);
                }
                // All of the transaction is rolled back and will come again.
                Err(e) if e.is_retry() => return Err(e),
                Err(e) => {
                    node.metrics.changesets_refused.add(1);
                    batch.blocked = Some(Blocked::Malformed(e.to_string()));
                }
            }
            let long = part.last && began.elapsed() >= limits::APPLY_TRANSACTION;
            if batch.blocked.is_some() || long {
                break;
            }
        }
        let now = replica.vector()?;
        batch.heads = replica.heads(&before, &now)?;
        batch.partial.retain(|p| !now.contains(p.dot));
        batch.stored = Some((now, replica.waiting_vector()?));
        Ok((batch, applied, taken))
    });
    match done {
        Ok((batch, applied, taken)) => {
            node.metrics.changesets_applied.add(applied);
            (batch, taken)
        }
        Err(e) => {
            node.metrics.apply_retries.add(1);
            let batch = Batch {
                blocked: Some(Blocked::Local(e.to_string())),
                ..Batch::default()
            };
            (batch, 0)
        }
    }
}

fn judge(
    node: &Arc<Node>,
    part: &PartBytes,
    outcome: Outcome,
    batch: &mut Batch,
) -> Option<Blocked> {
    match outcome.status.as_str() {
        "applied" => None,
        "duplicate" => {
            node.metrics.changesets_duplicate.add(u64::from(part.last));
            None
        }
        "waiting" if !part.last => {
            // The rest of it follows.
            batch.partial.retain(|p| p.dot != part.dot);
            batch.partial.push(Partial {
                dot: part.dot,
                parts: part.part + 1,
            });
            None
        }
        // It is kept, and what follows it may be for other tables, or wait with it.
        "waiting" => {
            batch.partial.retain(|p| p.dot != part.dot);
            batch.kept.push(part.dot);
            batch.lacking |= !matches!(
                outcome.needs,
                Some(Need::Schema | Need::Upgrade | Need::Removal)
            );
            None
        }
        "stale" => {
            node.metrics.changesets_refused.add(1);
            Some(Blocked::Stale(part.dot))
        }
        "fork" => {
            node.metrics.changesets_refused.add(1);
            Some(Blocked::Fork(part.dot))
        }
        other => Some(Blocked::Local(format!("nuda_apply answered {other}"))),
    }
}

/// Where a site's numbers were used twice.
struct Split {
    site: Site,
    keep: Seq,
    reason: String,
}

fn new_site(
    node: &Arc<Node>,
    at: &Partition,
    replica: &Replica,
    live: &mut Live,
    split: &Split,
) -> Result<Event> {
    let Split { site, keep, reason } = split;
    tracing::warn!(partition = %at.name, %site, keep, reason, "continuing under a new site");
    replica.transaction(|replica| {
        // Decided for another site than the present one: nothing is left to renumber.
        if replica.site()? == *site {
            replica.new_site(*keep)?;
            node.metrics.new_sites.add(1);
        }
        Ok(())
    })?;
    let now = replica.identity()?;
    super::notice::note(node, at, now.site, now.vector.get(now.site))?;
    let head = |site: Site, seq: Seq| -> Result<Head> {
        let hash = replica.link(site, seq)?.unwrap_or(ChainHash::START);
        Ok(Head { site, seq, hash })
    };
    let event = Event::NewSite {
        keep: head(*site, now.vector.get(*site))?,
        head: head(now.site, now.vector.get(now.site))?,
    };
    live.vector = now.vector;
    live.own_site(replica, now.site)?;
    Ok(event)
}

fn read_chain(
    replica: &Replica,
    site: Site,
    upto: Seq,
    limit: usize,
) -> Result<Vec<(Seq, ChainHash)>> {
    let mut links = Vec::new();
    let mut stored = replica.vector()?;
    stored.join(&replica.waiting_vector()?);
    let mut seq = upto.min(stored.get(site));
    while seq > 0 && links.len() < limit {
        match replica.link(site, seq)? {
            Some(hash) => links.push((seq, hash)),
            None => break,
        }
        seq -= 1;
    }
    Ok(links)
}

fn agreement(
    replica: &Replica,
    collected: &VersionVector,
    site: Site,
    links: &[(Seq, ChainHash)],
) -> Result<Option<Seq>> {
    for (seq, hash) in links {
        if *seq <= collected.get(site) || replica.link(site, *seq)? == Some(*hash) {
            return Ok(Some(*seq));
        }
    }
    Ok(None)
}

/// What changesets must have seen to be merged here, as text for the extension.
struct MustCover {
    anyone: String,
    /// The sender's own sites, and what its own changesets must have seen.
    direct: Vec<Site>,
    sender: String,
}

impl MustCover {
    fn new(anyone: VersionVector, direct: Vec<Site>, direct_floor: &VersionVector) -> Self {
        let mut sender = anyone.clone();
        sender.join(direct_floor);
        Self {
            anyone: anyone.to_string(),
            direct,
            sender: sender.to_string(),
        }
    }

    fn of(&self, part: &PartBytes) -> &str {
        if self.direct.contains(&part.dot.site) {
            &self.sender
        } else {
            &self.anyone
        }
    }
}
