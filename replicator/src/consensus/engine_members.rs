//! Who is in a group, as the engine sees it: incarnations come and go, names stay.
//!
//! A voter that has lost its log is another one for the engine: it is taken in as a learner,
//! catches up, and then takes the old one's place in one change of the membership. The old one
//! counts until a majority of the old voters and a majority of the new ones have agreed to that,
//! so no majority is ever smaller than the charter's. Followers are learners for good.

use std::collections::BTreeSet;

use openraft::{BasicNode, ChangeMembers, Membership};

use super::engine;
use super::group::Group;
use crate::error::{Error, Result};

impl Group {
    fn membership(&self) -> Membership<u64, BasicNode> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        metrics.membership_config.membership().clone()
    }

    /// As the leader: puts a member's new incarnation in the place of the one it lost. False if
    /// another node leads.
    pub(crate) async fn replace(&self, name: &str, incarnation: u64) -> Result<bool> {
        if !self.leads() {
            return Ok(false);
        }
        if !self.charter.names(name) {
            return Err(Error::refused(format!("{name} is not in this group")));
        }
        let members = self.membership();
        let votes = self.charter.voters.iter().any(|voter| voter == name);
        if members.get_node(&incarnation).is_some()
            && (!votes || members.voter_ids().any(|id| id == incarnation))
        {
            return Ok(true);
        }
        self.raft
            .add_learner(incarnation, BasicNode::new(name), votes)
            .await
            .map_err(engine)?;
        let is_lost = |id: &u64| {
            let known = members.get_node(id);
            *id != incarnation && known.is_some_and(|node| node.addr == name)
        };
        let change = if votes {
            let kept = members.voter_ids().filter(|id| !is_lost(id));
            ChangeMembers::ReplaceAllVoters(kept.chain([incarnation]).collect())
        } else {
            let lost: BTreeSet<u64> = members.learner_ids().filter(is_lost).collect();
            ChangeMembers::RemoveNodes(lost)
        };
        self.raft
            .change_membership(change, false)
            .await
            .map_err(engine)?;
        tracing::warn!(group = %self.id, member = name, incarnation = format!("{incarnation:016x}"), "has a new log and takes part again");
        Ok(true)
    }

    /// Followers that the engine does not know yet.
    pub(super) fn followers_missing(&self) -> Vec<String> {
        let members = self.membership();
        let known = |name: &&String| !members.nodes().any(|(_, node)| node.addr == **name);
        self.charter
            .followers
            .iter()
            .filter(known)
            .cloned()
            .collect()
    }

    /// As the leader: takes a follower in.
    pub(super) async fn admit(&self, name: &str, incarnation: u64) -> Result<()> {
        self.raft
            .add_learner(incarnation, BasicNode::new(name), false)
            .await
            .map_err(engine)?;
        tracing::info!(group = %self.id, follower = name, "follows");
        Ok(())
    }

    /// As the leader: how many entries each other member's log is behind; `None` for one that has
    /// not been heard yet.
    pub(crate) fn behind(&self) -> Vec<(String, Option<u64>)> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let members = metrics.membership_config.membership();
        let last = metrics.last_log_index.unwrap_or(0);
        let Some(replication) = &metrics.replication else {
            return Vec::new();
        };
        let others = replication.iter().filter(|(id, _)| **id != self.me);
        others
            .filter_map(|(id, matched)| {
                let name = members.get_node(id)?.addr.clone();
                Some((name, matched.map(|at| last.saturating_sub(at.index))))
            })
            .collect()
    }
}

/// Whether an incarnation counts in every majority that is needed. Nobody does as long as nothing is known.
pub(super) fn counts(members: &Membership<u64, BasicNode>, incarnation: u64) -> bool {
    let needed = members.get_joint_config();
    !needed.is_empty() && needed.iter().all(|voters| voters.contains(&incarnation))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_incarnation_counts_once_the_old_one_does_not() {
        let of = |configs: &[[u64; 3]]| {
            let configs: Vec<BTreeSet<u64>> = configs.iter().map(|c| (*c).into()).collect();
            let nodes: BTreeSet<u64> = configs.iter().flatten().copied().collect();
            Membership::new(configs, nodes)
        };
        assert!(!counts(&Membership::default(), 1), "an empty log");
        assert!(counts(&of(&[[1, 2, 3]]), 1));
        let changing = of(&[[1, 2, 3], [9, 2, 3]]);
        assert_eq!(
            [1, 9, 2].map(|id| counts(&changing, id)),
            [false, false, true]
        );
        assert!(counts(&of(&[[9, 2, 3]]), 9));
    }
}
