//! For tests: what the ordered log does where `crate::broken` says that a rule is broken.
//!
//! The state machine itself, `nuda_core::certify`, stays as it is: what it is told is falsified
//! before, and what it says after. Every member of a group must break the same rules.

use std::borrow::Cow;

use nuda_core::certify::{Answer, Entry, Group, Outcome, Proposal};
use nuda_core::changeset::{Header, Part};
use nuda_core::site::{PartitionId, Site};

use crate::broken::{Rule, is};

/// What a leader makes of a proposal before it is in the log.
pub(super) enum Early {
    /// As always.
    Kept,
    /// It goes into the log, in this form, and nobody waits for a turn.
    Append(Vec<u8>),
}

/// As the leader, with what is applied by now.
pub(super) fn early(group: &Group, partition: PartitionId, proposal: &Proposal) -> Early {
    let header = header(proposal);
    if is(Rule::Dependencies) {
        let mut bare = proposal.clone();
        bare.dependencies.clear();
        if let Some(header) = header {
            bare.base.join(&header.rose);
        }
        return Early::Append(Entry::Propose(partition, bare).encode());
    }
    let next = group.partition(partition).map_or(0, |o| o.link.seq) + 1;
    let is_next = |header: Header| header.dot.site == Site::LOG_STRONG && header.dot.seq == next;
    if is(Rule::Certification) && header.is_some_and(is_next) {
        return Early::Append(Entry::Propose(partition, proposal.clone()).encode());
    }
    if is(Rule::Deduplication) {
        return Early::Append(Entry::Propose(partition, proposal.clone()).encode());
    }
    Early::Kept
}

/// What the state machine is told.
pub(super) fn told<'a>(group: &Group, entry: &'a Entry) -> Cow<'a, Entry> {
    match entry {
        Entry::Propose(partition, proposal) if is(Rule::Deduplication) => {
            let mut fresh = proposal.clone();
            fresh.id.boot = fresh.id.boot.wrapping_add(1 + group.decided());
            fresh.id.born = group.decided();
            Cow::Owned(Entry::Propose(*partition, fresh))
        }
        _ => Cow::Borrowed(entry),
    }
}

/// What is made of its answer.
pub(super) fn answer(entry: &Entry, answer: Answer) -> Answer {
    match (entry, answer) {
        (Entry::Propose(_, proposal), Answer::Decided(Outcome::Stale(_)))
            if is(Rule::Certification) =>
        {
            header(proposal).map_or(answer, |header| {
                Answer::Decided(Outcome::Accepted(header.dot.seq))
            })
        }
        _ => answer,
    }
}

fn header(proposal: &Proposal) -> Option<Header> {
    let part = Part::decode(proposal.changeset.first()?).ok()?;
    part.header().ok()?
}
