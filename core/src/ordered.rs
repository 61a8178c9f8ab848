//! What a group knows of one partition, and how it decides on a proposal for it.
//!
//! A strong transaction is certified against the latest accepted one; a quorum transaction must
//! follow the latest of its lane and nothing else. Both may only have seen what is in the log, on
//! every member, or in the proposal. Nothing here knows ids or outcomes: [`crate::certify`] asks only
//! if there is none.

use std::collections::{BTreeMap, BTreeSet};

use crate::candidate::{Candidate, carried};
use crate::certify::{Flaw, Link, Outcome, Proposal, TxnId, put_link, read_link};
use crate::changeset::{Level, put_vector, read_vector};
use crate::codec::{Reader, put_varint};
use crate::error::DecodeError;
use crate::limits;
use crate::site::{Dot, PartitionId, Seq, Site};
use crate::version_vector::VersionVector;

/// Sites that have ended, and the last number of each that counts: 0 where nothing does.
pub type Fences = BTreeMap<Site, Seq>;

/// What a group knows of one partition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ordered {
    /// The latest accepted strong transaction.
    pub link: Link,
    /// Eventual changesets that the log holds, or that every member has; and quorum transactions.
    pub covered: VersionVector,
    /// What members may have collected: nothing is accepted that has not seen it.
    pub collected: VersionVector,
    /// How often it has moved from one group to another.
    pub moves: u64,
    /// The number of the latest decision on its transactions that a group before may have
    /// forgotten.
    pub forgotten: u64,
    /// The latest accepted quorum transaction of each lane.
    pub lanes: BTreeMap<Site, Link>,
    /// Nothing beyond this travels with a transaction, unless the log has it already.
    pub fences: Fences,
}

impl Ordered {
    /// The quorum transactions that were accepted.
    #[must_use]
    pub fn quorum(&self) -> VersionVector {
        let lanes = self.lanes.iter();
        lanes.map(|(lane, link)| (*lane, link.seq)).collect()
    }

    /// Everything that was accepted.
    #[must_use]
    pub fn accepted(&self) -> VersionVector {
        let mut accepted = self.quorum();
        accepted.set(Site::LOG_STRONG, self.link.seq);
        accepted
    }

    /// Members will collect this: every one of them has it.
    pub(crate) fn collect(&mut self, collected: &VersionVector) {
        self.collected.join(collected);
        self.covered.join(collected);
    }

    /// A replica begins anew. Of two snapshots it used the one that has less, if ever one was lost; what
    /// another has more came through the log.
    pub(crate) fn fence(&mut self, fences: &Fences) {
        for (site, upto) in fences {
            if self.fences.len() < limits::VECTOR_ENTRIES || self.fences.contains_key(site) {
                let least = self.fences.entry(*site).or_insert(*upto);
                *least = (*least).min(*upto);
            }
        }
    }

    /// Whether it may travel with a transaction.
    fn may_travel(&self, dot: Dot) -> bool {
        let fence = self.fences.get(&dot.site);
        fence.is_none_or(|upto| dot.seq <= self.covered.get(dot.site).max(*upto))
    }

    /// Whether what members have collected was seen by a proposal.
    fn is_in_time(&self, proposal: &Proposal) -> bool {
        proposal.seen.as_ref().is_none_or(|seen| {
            let mut all = proposal.base.clone();
            all.join(seen);
            all.covers(&self.collected)
        })
    }

    /// Decides on a proposal from what the log holds so far.
    pub(crate) fn certify(&mut self, partition: PartitionId, proposal: &Proposal) -> Outcome {
        let Ok(changeset) = Candidate::read(partition, &proposal.changeset) else {
            return Outcome::Refused(Flaw::Malformed);
        };
        let is_strong = changeset.header.level == Level::Strong;
        let ids: BTreeSet<TxnId> = proposal.statements.iter().map(|s| s.id).collect();
        if ids.len() < proposal.statements.len()
            || ids.contains(&proposal.id)
            || !(ids.is_empty() || is_strong)
        {
            return Outcome::Refused(Flaw::Malformed);
        }
        let site = changeset.header.dot.site;
        let link = match is_strong {
            true => self.link,
            false => self.lanes.get(&site).copied().unwrap_or_default(),
        };
        let next = link.seq + 1;
        if changeset.header.dot.seq < next {
            return Outcome::Stale(link.seq);
        }
        let follows = changeset.header.dot.seq == next
            && changeset.previous == link.hash
            && changeset.header.stamp > link.stamp;
        if !follows || (link.seq == 0 && self.lanes.len() >= limits::LANES) {
            return Outcome::Refused(Flaw::Chain);
        }
        if !self.is_in_time(proposal) {
            return Outcome::Refused(Flaw::Late);
        }
        let Ok(carried) = carried(partition, &proposal.dependencies) else {
            return Outcome::Refused(Flaw::Malformed);
        };
        if !carried.iter().all(|dot| self.may_travel(*dot)) {
            return Outcome::Refused(Flaw::Fenced);
        }
        let mut covered = self.covered.clone();
        covered.join(&proposal.base);
        carried
            .iter()
            .for_each(|dot| covered.raise(dot.site, dot.seq));
        let mut before = covered.clone();
        before.raise(Site::LOG_STRONG, self.link.seq);
        if !before.covers(&changeset.header.rose) {
            return Outcome::Refused(Flaw::Dependencies);
        }
        let link = Link {
            seq: next,
            hash: changeset.hash,
            stamp: changeset.header.stamp,
        };
        if is_strong {
            self.link = link;
        } else {
            covered.raise(site, next);
            self.lanes.insert(site, link);
        }
        self.covered = covered;
        Outcome::Accepted(next)
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_link(out, &self.link);
        put_vector(out, &self.covered);
        put_vector(out, &self.collected);
        put_varint(out, self.moves);
        put_varint(out, self.forgotten);
        put_varint(out, self.lanes.len() as u64);
        for (lane, link) in &self.lanes {
            out.extend_from_slice(&lane.get().to_be_bytes());
            put_link(out, link);
        }
        put_fences(out, &self.fences);
    }

    /// Reads it; before the third version partitions did not move, before the fourth there were no
    /// lanes, before the fifth the log did not know what is collected, before the sixth there were no
    /// fences.
    pub(crate) fn decode(r: &mut Reader<'_>, version: u8) -> Result<Self, DecodeError> {
        let mut ordered = Self {
            link: read_link(r)?,
            covered: read_vector(r)?,
            collected: match version >= 5 {
                true => read_vector(r)?,
                false => VersionVector::new(),
            },
            ..Self::default()
        };
        if version >= 3 {
            ordered.moves = r.varint("a number of moves")?;
            ordered.forgotten = r.varint("a count of decisions")?;
        }
        if version < 4 {
            return Ok(ordered);
        }
        for _ in 0..r.length("lanes", limits::LANES)? {
            let lane = Site::from_u64(u64::from_be_bytes(r.array("a lane")?))
                .filter(|lane| ordered.lanes.last_key_value().is_none_or(|(l, _)| l < lane))
                .ok_or(DecodeError::Invalid("lanes that are not in order"))?;
            ordered.lanes.insert(lane, read_link(r)?);
        }
        if version >= 6 {
            ordered.fences = read_fences(r)?;
        }
        Ok(ordered)
    }
}

pub(crate) fn put_fences(out: &mut Vec<u8>, fences: &Fences) {
    put_varint(out, fences.len() as u64);
    for (site, upto) in fences {
        out.extend_from_slice(&site.get().to_be_bytes());
        put_varint(out, *upto);
    }
}

pub(crate) fn read_fences(r: &mut Reader<'_>) -> Result<Fences, DecodeError> {
    let mut fences = Fences::new();
    for _ in 0..r.length("fences", limits::VECTOR_ENTRIES)? {
        let site = Site::from_u64(u64::from_be_bytes(r.array("a site")?))
            .filter(|site| fences.last_key_value().is_none_or(|(last, _)| last < site))
            .ok_or(DecodeError::Invalid("sites that are not in order"))?;
        fences.insert(site, r.bounded("a number", limits::SEQ - 1)?);
    }
    Ok(fences)
}
