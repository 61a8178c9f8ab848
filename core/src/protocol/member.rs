//! Who holds the partition: nodes, the versioned member list, and who is excluded.
//!
//! A list with a greater version replaces one with a smaller; exclusions are united, so that no
//! coordinator is needed to agree on who is away, and end only when the member joins again.
//! Invariant: no node excludes a member if no strict majority would be left, so two halves of
//! a cut network cannot exclude each other.

use std::fmt;

use crate::codec::{Reader, put_varint};
use crate::error::DecodeError;

/// Members of one partition: a full mesh beyond this would be the wrong design.
pub const MEMBERS: usize = 64;

/// A node: 64 bits of the hash of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

impl NodeId {
    /// The id of the node with this name.
    #[must_use]
    pub fn of_name(name: &str) -> Self {
        let hash = blake3::hash(name.as_bytes());
        Self(
            hash.as_bytes()
                .iter()
                .take(8)
                .fold(0, |id, byte| (id << 8) | u64::from(*byte)),
        )
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// One holder of the partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Which node.
    pub node: NodeId,
    /// The list's version when it (last) joined: reports of an earlier life do not count.
    pub joined: u64,
    /// Away for too long: nobody waits for it, and it must re-seed.
    pub excluded: bool,
}

/// The versioned member list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Members {
    /// Greater wins.
    pub version: u64,
    /// Ordered by node.
    list: Vec<Member>,
}

impl Members {
    /// A list of these members.
    #[must_use]
    pub fn new(version: u64, members: impl IntoIterator<Item = Member>) -> Self {
        let mut list: Vec<Member> = members.into_iter().collect();
        list.sort_by_key(|m| m.node);
        list.dedup_by_key(|m| m.node);
        list.truncate(MEMBERS);
        Self { version, list }
    }

    /// All members, also excluded ones.
    pub fn iter(&self) -> impl Iterator<Item = Member> + '_ {
        self.list.iter().copied()
    }

    /// The member on this node.
    #[must_use]
    pub fn get(&self, node: NodeId) -> Option<Member> {
        self.iter().find(|m| m.node == node)
    }

    /// Whether this node is a member that others wait for.
    #[must_use]
    pub fn counts(&self, node: NodeId) -> bool {
        self.get(node).is_some_and(|m| !m.excluded)
    }

    /// The next list, with `node` (again) a member that begins from a snapshot.
    #[must_use]
    pub fn joining(&self, node: NodeId) -> Self {
        let version = self.version + 1;
        let joined = Member {
            node,
            joined: version,
            excluded: false,
        };
        let others = self.iter().filter(|m| m.node != node);
        Self::new(version, others.chain([joined]))
    }

    /// The next list, without `node`.
    #[must_use]
    pub fn without(&self, node: NodeId) -> Self {
        Self::new(self.version + 1, self.iter().filter(|m| m.node != node))
    }

    /// Excludes `node`; false if no strict majority would be left.
    pub fn exclude(&mut self, node: NodeId) -> bool {
        let left = self
            .iter()
            .filter(|m| !m.excluded && m.node != node)
            .count();
        if left * 2 <= self.list.len() {
            return false;
        }
        for member in self.list.iter_mut().filter(|m| m.node == node) {
            member.excluded = true;
        }
        true
    }

    /// Takes over what `other` knows better; whether anything changed.
    pub fn learn(&mut self, other: &Self) -> bool {
        if other.version < self.version {
            return false;
        }
        let newer = other.version > self.version;
        let united = if newer {
            self.carried_over(other)
        } else {
            self.united(other)
        };
        let counting = united.iter().filter(|m| !m.excluded).count();
        if united == *self || (!newer && counting * 2 <= united.list.len()) {
            return false;
        }
        *self = united;
        true
    }

    /// The newer list, with our exclusions: only a new life ends one.
    fn carried_over(&self, newer: &Self) -> Self {
        let excluded = |m: &Member| {
            let mine = self.get(m.node);
            mine.is_some_and(|mine| mine.excluded && mine.joined == m.joined)
        };
        let list = newer.iter().map(|m| Member {
            excluded: m.excluded || excluded(&m),
            ..m
        });
        Self::new(newer.version, list)
    }

    /// The least list of this version that says what both say: later lives win, exclusions of
    /// one life stay.
    fn united(&self, other: &Self) -> Self {
        let of_both = self.iter().map(|mine| match other.get(mine.node) {
            Some(theirs) if theirs.joined > mine.joined => theirs,
            Some(theirs) if theirs.joined == mine.joined => Member {
                excluded: mine.excluded || theirs.excluded,
                ..mine
            },
            _ => mine,
        });
        let new = other.iter().filter(|m| self.get(m.node).is_none());
        Self::new(self.version, of_both.chain(new))
    }

    /// Whether this list says all that `other` says, so that its holder refuses whom `other`
    /// refuses.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.version == other.version && self.united(other) == *self
    }

    /// Appends the encoded form.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.version);
        put_varint(out, self.list.len() as u64);
        for member in &self.list {
            out.extend_from_slice(&member.node.0.to_be_bytes());
            put_varint(out, member.joined);
            out.push(u8::from(member.excluded));
        }
    }

    /// Reads an encoded list.
    ///
    /// # Errors
    /// Malformed, unordered, or beyond [`MEMBERS`].
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let version = r.varint("a member list")?;
        let count = r.length("a member list", MEMBERS)?;
        let mut list: Vec<Member> = Vec::with_capacity(count);
        for _ in 0..count {
            let node = NodeId(u64::from_be_bytes(r.array("a node")?));
            if list.last().is_some_and(|m| m.node >= node) {
                return Err(DecodeError::Invalid("a member list that is not in order"));
            }
            let joined = r.varint("a member")?;
            let excluded = r.bounded("a member", 1)? == 1;
            list.push(Member {
                node,
                joined,
                excluded,
            });
        }
        Ok(Self { version, list })
    }
}
