//! The nodes this node knows: an address list that spreads by gossip and is kept on disk.
//!
//! An entry is replaced only by one of the same node id that started later; two ids under
//! one name are reported, never merged. What is known only while running (last contact, why
//! it failed, clock difference, faults) stays in memory. Nothing here sends.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nuda_core::limits::CLOCK_AHEAD_MS;
use nuda_core::protocol::NodeId;
use nuda_core::site::is_valid_name;

use crate::clock;
use crate::control::Faults;
use crate::dir::write_atomically;
use crate::error::{Error, Result};
use crate::limits;
use crate::transport::wire::NodeEntry;

/// What is known of a node while both run.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) entry: NodeEntry,
    /// When it last answered or called, by this node's monotonic clock.
    pub(crate) heard_ms: Option<u64>,
    /// Why the last call failed; `None` after a success.
    pub(crate) failure: Option<String>,
    /// Whether it speaks another protocol version.
    pub(crate) incompatible: bool,
    /// Its wall clock minus this node's monotonic one, in milliseconds: a jump of this node's
    /// wall clock shows at once.
    pub(crate) clock_ms: Option<i64>,
}

impl Peer {
    fn new(entry: &NodeEntry) -> Self {
        Self {
            entry: entry.clone(),
            heard_ms: None,
            failure: None,
            incompatible: false,
            clock_ms: None,
        }
    }
}

/// The address list.
pub(crate) struct Peers {
    me: NodeEntry,
    file: PathBuf,
    /// Two who learn something at once write the file one after the other.
    saving: Mutex<()>,
    known: Mutex<BTreeMap<String, Peer>>,
    /// For tests: traffic that is dropped.
    faults: Mutex<Faults>,
}

impl Peers {
    /// Reads the list that an earlier process kept.
    pub(crate) fn load(me: NodeEntry, file: PathBuf) -> Self {
        let kept: Vec<NodeEntry> = std::fs::read(&file)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        let peers = Self {
            me,
            file,
            saving: Mutex::default(),
            known: Mutex::default(),
            faults: Mutex::default(),
        };
        for entry in kept {
            if let Err(e) = peers.learn(&entry) {
                tracing::warn!(error = %e, "ignored an entry of the address list");
            }
        }
        peers
    }

    /// This node.
    pub(crate) fn me(&self) -> &NodeEntry {
        &self.me
    }

    /// Takes over what an entry knows better; whether it was news.
    pub(crate) fn learn(&self, entry: &NodeEntry) -> Result<bool> {
        if !is_valid_name(&entry.name) || entry.address.len() > 260 || entry.id.len() > 64 {
            return Err(Error::refused("malformed: a node without a valid name"));
        }
        if entry.name == self.me.name {
            return if entry.id == self.me.id {
                Ok(false)
            } else {
                Err(two_of_a_name(entry, &self.me))
            };
        }
        let mut known = self.lock();
        let full = known.len() >= limits::NODES;
        match known.get_mut(&entry.name) {
            Some(old) if old.entry.id != entry.id => {
                // Whoever answers at its address now, or answers while the other one does not,
                // has taken its place: the node lost its directory.
                let gone = old.entry.address == entry.address || old.failure.is_some();
                if !gone || old.entry.boot_ms >= entry.boot_ms {
                    return Err(two_of_a_name(entry, &old.entry));
                }
                tracing::warn!(node = %entry.name, address = %entry.address, "another directory answers under this name now");
                *old = Peer::new(entry);
                Ok(true)
            }
            Some(old) if old.entry.boot_ms >= entry.boot_ms => Ok(false),
            Some(old) => {
                let moved = old.entry.address != entry.address;
                old.entry = entry.clone();
                Ok(moved)
            }
            None if full => Err(Error::refused(format!(
                "the address list is full ({} nodes)",
                limits::NODES
            ))),
            None => {
                known.insert(entry.name.clone(), Peer::new(entry));
                Ok(true)
            }
        }
    }

    /// Keeps the list on disk.
    pub(crate) fn save(&self) -> Result<()> {
        let _turn = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        write_atomically(&self.file, &serde_json::to_vec_pretty(&self.entries())?)
    }

    /// All known nodes but this one.
    pub(crate) fn entries(&self) -> Vec<NodeEntry> {
        self.lock().values().map(|p| p.entry.clone()).collect()
    }

    /// The same with what is known while running.
    pub(crate) fn all(&self) -> Vec<Peer> {
        self.lock().values().cloned().collect()
    }

    /// Where a node is reached.
    pub(crate) fn address(&self, name: &str) -> Option<String> {
        self.lock().get(name).map(|p| p.entry.address.clone())
    }

    /// Whether a node answered when it was last called; this node itself is.
    pub(crate) fn is_reachable(&self, name: &str) -> bool {
        let answers = |peer: &Peer| peer.failure.is_none() && peer.heard_ms.is_some();
        name == self.me.name || self.lock().get(name).is_some_and(answers)
    }

    /// The name behind an id, this node's own included.
    pub(crate) fn name_of(&self, id: NodeId) -> Option<String> {
        if NodeId::of_name(&self.me.name) == id {
            return Some(self.me.name.clone());
        }
        self.lock()
            .keys()
            .find(|name| NodeId::of_name(name) == id)
            .cloned()
    }

    /// The node answered or called; whether it had failed before.
    pub(crate) fn heard(&self, name: &str, now_ms: u64) -> bool {
        match self.lock().get_mut(name) {
            Some(peer) => {
                let back = peer.failure.is_some() || peer.heard_ms.is_none();
                peer.heard_ms = Some(now_ms);
                peer.failure = None;
                peer.incompatible = false;
                back
            }
            None => false,
        }
    }

    /// A call to the node failed.
    pub(crate) fn failed(&self, name: &str, reason: &str, incompatible: bool) {
        if let Some(peer) = self.lock().get_mut(name) {
            peer.failure = Some(reason.to_owned());
            peer.incompatible = incompatible;
        }
    }

    /// Notes what a node's wall clock shows now; whether it is the first one that is known.
    pub(crate) fn set_clock(&self, name: &str, wall_ms: u64) -> bool {
        let offset = signed(wall_ms).saturating_sub(signed(clock::now_ms()));
        let mut known = self.lock();
        let first = known.values().all(|p| p.clock_ms.is_none());
        match known.get_mut(name) {
            Some(peer) => {
                peer.clock_ms = Some(offset);
                first
            }
            None => false,
        }
    }

    /// What the clocks of this node and its peers show in the median, milliseconds since 1970;
    /// `None` while no peer's is known. Of two the slower one: running ahead is what harms.
    pub(crate) fn agreed_ms(&self) -> Option<u64> {
        let now_ms = signed(clock::now_ms());
        let mut clocks: Vec<i64> = self.lock().values().filter_map(|p| p.clock_ms).collect();
        if clocks.is_empty() {
            return None;
        }
        clocks.push(signed(clock::wall_ms()).saturating_sub(now_ms));
        clocks.sort_unstable();
        let median = clocks.get((clocks.len() - 1) / 2)?;
        u64::try_from(median.saturating_add(now_ms)).ok()
    }

    /// How far this node's clock is ahead of what is agreed, in milliseconds.
    pub(crate) fn clock_ahead_ms(&self) -> i64 {
        self.agreed_ms().map_or(0, |agreed_ms| {
            signed(clock::wall_ms()).saturating_sub(signed(agreed_ms))
        })
    }

    /// How far a clock or a stamp is ahead of what is agreed, in milliseconds, if that is too far.
    pub(crate) fn ahead_ms(&self, wall_ms: u64) -> Option<u64> {
        let ahead_ms = wall_ms.saturating_sub(self.agreed_ms()?);
        (ahead_ms > CLOCK_AHEAD_MS).then_some(ahead_ms)
    }

    /// For tests: drops this traffic and no other.
    pub(crate) fn set_faults(&self, faults: Faults) {
        *self.faults() = faults;
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether calls to this node are dropped.
    pub(crate) fn is_cut_to(&self, name: &str) -> bool {
        let faults = self.faults();
        has(&faults.cut, name) || has(&faults.mute, name)
    }

    /// Whether calls from this node are dropped.
    pub(crate) fn is_cut_from(&self, name: &str) -> bool {
        let faults = self.faults();
        has(&faults.cut, name) || has(&faults.deaf, name)
    }

    /// Whether answers to this node are dropped.
    pub(crate) fn is_unanswered(&self, name: &str) -> bool {
        has(&self.faults().unanswered, name)
    }

    /// Whether this node hears only the ordered log of us.
    pub(crate) fn is_withheld_from(&self, name: &str) -> bool {
        has(&self.faults().withheld, name)
    }

    /// Whether calls to the node at this address are dropped.
    pub(crate) fn is_address_cut(&self, address: &str) -> bool {
        let name = self
            .lock()
            .values()
            .find(|p| p.entry.address == address)
            .map(|p| p.entry.name.clone());
        name.is_some_and(|name| self.is_cut_to(&name))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Peer>> {
        // Every change of the list is whole: a panic elsewhere leaves it usable.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn has(names: &[String], name: &str) -> bool {
    names.iter().any(|n| n == name)
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

fn two_of_a_name(new: &NodeEntry, old: &NodeEntry) -> Error {
    Error::refused(format!(
        "two nodes are called {}: one at {}, one at {}; start the newer one with another --name",
        old.name, old.address, new.address
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, id: &str, address: &str, boot_ms: u64) -> NodeEntry {
        NodeEntry {
            name: name.into(),
            id: id.into(),
            address: address.into(),
            boot_ms,
        }
    }

    #[test]
    fn the_later_start_wins_and_names_are_unique() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("nodes.json");
        let peers = Peers::load(entry("a", "1", "x:1", 1), file.clone());
        assert!(peers.learn(&entry("b", "2", "x:2", 5)).unwrap());
        assert!(!peers.learn(&entry("b", "2", "x:3", 4)).unwrap());
        assert_eq!(peers.address("b").as_deref(), Some("x:2"));
        assert!(peers.learn(&entry("b", "2", "x:3", 6)).unwrap());
        assert!(peers.learn(&entry("b", "9", "x:4", 7)).is_err());
        assert!(peers.learn(&entry("a", "9", "x:4", 7)).is_err());
        assert!(!peers.learn(&entry("a", "1", "x:1", 1)).unwrap());
        assert!(peers.learn(&entry("../b", "2", "x:2", 5)).is_err());
        // A node that lost its directory comes back where it was, or elsewhere once it is missed.
        assert!(peers.learn(&entry("b", "9", "x:3", 7)).unwrap());
        assert!(peers.learn(&entry("b", "2", "x:5", 8)).is_err());
        peers.failed("b", "gone", false);
        assert!(peers.learn(&entry("b", "2", "x:3", 8)).unwrap());
        peers.save().unwrap();
        let again = Peers::load(entry("a", "1", "x:1", 2), file);
        assert_eq!(again.address("b").as_deref(), Some("x:3"));
        assert_eq!(again.name_of(NodeId::of_name("b")).as_deref(), Some("b"));
    }

    #[test]
    fn many_who_save_at_once_disturb_nobody() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("nodes.json");
        let peers = Peers::load(entry("a", "1", "x:1", 1), file.clone());
        std::thread::scope(|scope| {
            for n in 0..8 {
                let peers = &peers;
                scope.spawn(move || {
                    for boot in 0..20 {
                        let news = entry(&format!("b{n}"), "2", &format!("x:{boot}"), boot + 1);
                        peers.learn(&news).unwrap();
                        peers.save().unwrap();
                    }
                });
            }
        });
        let again = Peers::load(entry("a", "1", "x:1", 2), file);
        assert_eq!(again.entries().len(), 8);
        assert!(again.entries().iter().all(|e| e.address == "x:19"));
    }

    #[test]
    fn one_wrong_clock_is_outvoted() {
        let home = tempfile::tempdir().unwrap();
        let peers = Peers::load(entry("a", "1", "x:1", 1), home.path().join("nodes.json"));
        assert_eq!(peers.clock_ahead_ms(), 0);
        for name in ["b", "c"] {
            peers.learn(&entry(name, name, "x:2", 1)).unwrap();
        }
        let hour = 3_600_000;
        let now = clock::wall_ms();
        // A machine that stands still meanwhile is no matter.
        let near = |ms: i64| (peers.clock_ahead_ms() - ms).abs() < hour as i64 / 10;
        assert!(peers.set_clock("b", now + hour));
        assert!(near(0), "of two clocks the slower one counts");
        assert!(!peers.set_clock("c", now));
        assert!(near(0));
        peers.set_clock("b", now - hour);
        assert!(near(0));
        peers.set_clock("c", now - hour);
        assert!(near(3_600_000));
    }
}
