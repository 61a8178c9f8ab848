//! Names: partitions, sites, sequence numbers, dots.
//!
//! A *site* is one incarnation of one replica: it changes whenever a sequence number could be
//! reused (a restored backup, a copied file, a reboot that may have lost commits). A *dot*
//! (site, seq) names one changeset for ever. Strong transactions of a partition are numbered by
//! the replicated log, under one reserved id. Quorum transactions are numbered by the log too,
//! but under the *lane* of the site that wrote them: two of different sites may be under way at
//! a time, and neither had seen the other.

use std::fmt;

/// Sequence number of a changeset within its site: dense, from 1. 0 means "none yet".
pub type Seq = u64;

/// One incarnation of one replica: 64 random bits, never 0, never a reserved id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Site(u64);

impl Site {
    /// Strong transactions, numbered by the partition's replicated log.
    pub const LOG_STRONG: Self = Self(1);
    /// Reserved; nothing is numbered under it.
    pub const LOG_QUORUM: Self = Self(2);
    const RESERVED: u64 = 16;
    const LANE: u64 = 1 << 63;

    /// A site from random bits; `None` for the few values that are reserved.
    #[must_use]
    pub fn from_random(bits: u64) -> Option<Self> {
        (bits >= Self::RESERVED).then_some(Self(bits))
    }

    /// A site as it came from a file or a message: pseudo-sites are allowed, 0 and the
    /// still unassigned reserved ids are not.
    #[must_use]
    pub fn from_u64(id: u64) -> Option<Self> {
        (id == 1 || id == 2 || id >= Self::RESERVED).then_some(Self(id))
    }

    /// The pseudo-site under which the log numbers this site's quorum transactions, and the other
    /// way round. `None` for the few sites that can have none.
    #[must_use]
    pub fn lane(self) -> Option<Self> {
        if self.is_log() {
            return None;
        }
        Self::from_random(self.0 ^ Self::LANE)
    }

    /// The id as a number.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }

    /// Whether this is an id of the replicated log, and no site's or lane's.
    #[must_use]
    pub fn is_log(self) -> bool {
        self.0 < Self::RESERVED
    }

    /// Reads the 16 hexadecimal digits that [`fmt::Display`] writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "log.strong" => Some(Self::LOG_STRONG),
            "log.quorum" => Some(Self::LOG_QUORUM),
            _ if text.len() == 16 && is_hex(text) => {
                u64::from_str_radix(text, 16).ok().and_then(Self::from_u64)
            }
            _ => None,
        }
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::LOG_STRONG => f.write_str("log.strong"),
            Self::LOG_QUORUM => f.write_str("log.quorum"),
            Self(id) => write!(f, "{id:016x}"),
        }
    }
}

/// One changeset: the `seq`-th of `site`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dot {
    /// Who wrote it.
    pub site: Site,
    /// Its number there.
    pub seq: Seq,
}

impl fmt::Display for Dot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.site, self.seq)
    }
}

/// A partition's identity: 128 random bits, made once by its founder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId(pub [u8; 16]);

impl PartitionId {
    /// Reads the 32 hexadecimal digits that [`fmt::Display`] writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 32 || !is_hex(text) {
            return None;
        }
        let number = u128::from_str_radix(text, 16).ok()?;
        Some(Self(number.to_be_bytes()))
    }
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// Digits only: the standard library's number parsers also take a sign.
fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// A name for a partition or node that is also a safe file name: 1 to 100 of
/// `A-Z a-z 0-9 _ - .`, beginning with a letter, digit or `_`.
#[must_use]
pub fn is_valid_name(name: &str) -> bool {
    let first_ok = name
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
    first_ok
        && name.len() <= 100
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn site_text_round_trips() {
        for id in [1, 2, 16, 255, u64::MAX] {
            let site = Site::from_u64(id).unwrap();
            assert_eq!(Site::parse(&site.to_string()), Some(site));
        }
        assert_eq!(Site::from_u64(0), None);
        assert_eq!(Site::from_u64(3), None);
        assert_eq!(Site::parse("0000000000000003"), None);
        assert_eq!(Site::parse("+00000000000001f"), None);
    }

    #[test]
    fn a_lane_is_nobodys_site_and_leads_back() {
        let site = Site::from_u64(300).unwrap();
        let lane = site.lane().unwrap();
        assert_ne!(lane, site);
        assert_eq!(lane.lane(), Some(site));
        for id in [1, 2, 1 << 63, (1 << 63) + 15] {
            assert_eq!(Site::from_u64(id).unwrap().lane(), None, "{id}");
        }
    }

    #[test]
    fn partition_text_round_trips() {
        let id = PartitionId(*b"\x00sixteen bytes\xfe\xff");
        assert_eq!(PartitionId::parse(&id.to_string()), Some(id));
        assert_eq!(PartitionId::parse(&format!("+{:031x}", 7)), None);
        assert_eq!(PartitionId::parse("7"), None);
    }

    #[test]
    fn names() {
        assert!(is_valid_name("org42"));
        assert!(!is_valid_name(".hidden"));
        assert!(!is_valid_name("a/b"));
        assert!(!is_valid_name(""));
    }
}
