//! Who founds a group, who votes in it, and who follows it.
//!
//! A group's charter never changes; a partition whose members change moves to the group of another
//! one. At most five vote: each more would make every commit wait for more disks and outlive
//! hardly more failures. Further members follow: they have the log, propose and read as all do,
//! and nobody waits for them. Pure; names are kept in order, so that equal charters are equal.

use serde::{Deserialize, Serialize};

/// Nodes that vote, at most.
pub(crate) const VOTERS: usize = 5;

/// A group's description.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Charter {
    /// The node that founds it.
    pub(crate) home: String,
    /// Names of those that vote, in order.
    pub(crate) voters: Vec<String>,
    /// Names of those that follow, in order.
    pub(crate) followers: Vec<String>,
}

impl Charter {
    /// The charter of these members, in the order in which they joined: whoever votes `now` goes
    /// on voting. `home` is a member.
    pub(crate) fn of(home: &str, now: &[String], members: &[String]) -> Self {
        let mut voters = vec![home.to_owned()];
        let present = now.iter().filter(|name| members.contains(name));
        for name in present.chain(members) {
            if voters.len() < VOTERS && !voters.contains(name) {
                voters.push(name.clone());
            }
        }
        let follows = |name: &&String| !voters.contains(name);
        let mut followers: Vec<String> = members.iter().filter(follows).cloned().collect();
        voters.sort();
        followers.sort();
        Self {
            home: home.to_owned(),
            voters,
            followers,
        }
    }

    /// All names.
    pub(crate) fn members(&self) -> impl Iterator<Item = &String> {
        self.voters.iter().chain(&self.followers)
    }

    /// Whether this node is in it.
    pub(crate) fn names(&self, name: &str) -> bool {
        self.members().any(|member| member == name)
    }

    /// Whether it can be one: whoever founds it votes.
    pub(crate) fn is_sound(&self) -> bool {
        self.voters.contains(&self.home) && self.voters.len() <= VOTERS
    }
}

/// The least number of voters that is a majority.
pub(crate) fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn five_vote_and_whoever_votes_goes_on() {
        let all = Charter::of("b", &[], &names("a b c d e f g"));
        assert_eq!(all.voters, names("a b c d e"));
        assert_eq!(all.followers, names("f g"));
        // A home that joined late votes, too.
        let late = Charter::of("g", &[], &names("a b c d e f g"));
        assert_eq!(late.voters, names("a b c d g"));
        let one_less = Charter::of("b", &all.voters, &names("0 b c d e f g"));
        assert_eq!(one_less.voters, names("0 b c d e"));
        let stays = Charter::of("b", &names("b f g"), &names("a b c f g"));
        assert_eq!(stays.voters, names("a b c f g"));
        assert!(all.is_sound() && all.names("g") && !all.names("h"));
    }

    #[test]
    fn a_majority_is_more_than_half() {
        assert_eq!([1, 2, 3, 4, 5].map(majority), [1, 2, 2, 3, 3]);
    }
}
