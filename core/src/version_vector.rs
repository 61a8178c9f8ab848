//! Version vectors: for each site, how many of its changesets have been seen.
//!
//! Since sequence numbers are dense and delivery is in order per site, one number per site
//! says it all. A missing entry means 0. Vectors form a lattice: [`VersionVector::join`] is
//! the least upper bound, [`VersionVector::meet`] the greatest lower bound, and `covers` is
//! the order.

use std::collections::BTreeMap;
use std::fmt;

use crate::limits;
use crate::site::{Dot, Seq, Site};

/// What has been seen of each site.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash)]
pub struct VersionVector {
    // No entry is 0, so that equal vectors are equal maps.
    seen: BTreeMap<Site, Seq>,
}

impl VersionVector {
    /// The vector that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many changesets of `site` have been seen.
    #[must_use]
    #[inline(never)]
    pub fn get(&self, site: Site) -> Seq {
        self.seen.get(&site).copied().unwrap_or(0)
    }

    /// Sets the entry of `site`.
    pub fn set(&mut self, site: Site, seq: Seq) {
        if seq == 0 {
            self.seen.remove(&site);
        } else {
            self.seen.insert(site, seq);
        }
    }

    /// Raises the entry of `site` to `seq` if that is more.
    #[inline(never)]
    pub fn raise(&mut self, site: Site, seq: Seq) {
        if seq > self.get(site) {
            self.set(site, seq);
        }
    }

    /// Whether the changeset `dot` has been seen.
    #[must_use]
    #[inline(never)]
    pub fn contains(&self, dot: Dot) -> bool {
        dot.seq <= self.get(dot.site)
    }

    /// Whether everything that `other` has seen has been seen here.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other.seen.iter().all(|(site, seq)| self.get(*site) >= *seq)
    }

    /// Sees everything that `other` has seen (pointwise maximum).
    pub fn join(&mut self, other: &Self) {
        for (site, seq) in &other.seen {
            self.raise(*site, *seq);
        }
    }

    /// Keeps only what `other` has seen too (pointwise minimum).
    pub fn meet(&mut self, other: &Self) {
        self.seen.retain(|site, seq| {
            *seq = (*seq).min(other.get(*site));
            *seq > 0
        });
    }

    /// The entries that are greater than those of `other`.
    #[must_use]
    pub fn beyond(&self, other: &Self) -> Self {
        let beyond = self.iter().filter(|(site, seq)| *seq > other.get(*site));
        beyond.collect()
    }

    /// The entries, ordered by site.
    pub fn iter(&self) -> impl Iterator<Item = (Site, Seq)> + '_ {
        self.seen.iter().map(|(site, seq)| (*site, *seq))
    }

    /// Number of sites seen.
    #[must_use]
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    /// Whether nothing has been seen.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// The total number of changesets seen: what a lag is measured in.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.seen
            .values()
            .fold(0, |sum, seq| sum.saturating_add(*seq))
    }

    /// Reads the text form, `site:seq,site:seq`; the empty text is the empty vector. `None`
    /// if it is malformed, names a site twice, or a number that no changeset can have.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut vector = Self::new();
        for entry in text.split(',').filter(|e| !e.is_empty()) {
            let (site, seq) = entry.rsplit_once(':')?;
            let site = Site::parse(site)?;
            let digits = seq.bytes().all(|b| b.is_ascii_digit());
            let seq: Seq = seq.parse().ok().filter(|n| digits && *n < limits::SEQ)?;
            if vector.get(site) != 0 {
                return None;
            }
            vector.set(site, seq);
        }
        Some(vector)
    }
}

impl FromIterator<(Site, Seq)> for VersionVector {
    fn from_iter<I: IntoIterator<Item = (Site, Seq)>>(entries: I) -> Self {
        let mut vector = Self::new();
        for (site, seq) in entries {
            vector.raise(site, seq);
        }
        vector
    }
}

impl fmt::Display for VersionVector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (site, seq)) in self.iter().enumerate() {
            if n > 0 {
                f.write_str(",")?;
            }
            write!(f, "{site}:{seq}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(entries: &[(u64, u64)]) -> VersionVector {
        entries
            .iter()
            .map(|(s, n)| (Site::from_u64(*s).unwrap(), *n))
            .collect()
    }

    #[test]
    fn lattice() {
        let a = vector(&[(20, 3), (21, 1)]);
        let b = vector(&[(20, 2), (22, 5)]);
        let mut up = a.clone();
        up.join(&b);
        assert_eq!(up, vector(&[(20, 3), (21, 1), (22, 5)]));
        assert!(up.covers(&a) && up.covers(&b) && !a.covers(&b));
        let mut down = a.clone();
        down.meet(&b);
        assert_eq!(down, vector(&[(20, 2)]));
    }

    #[test]
    fn text_round_trips() {
        for v in [vector(&[]), vector(&[(1, 7), (99, 1 << 33)])] {
            assert_eq!(VersionVector::parse(&v.to_string()), Some(v));
        }
        let a = "00000000000000aa";
        for bad in [
            "nonsense".to_owned(),
            format!("{a}:"),
            format!("{a}:+1"),
            format!("{a}:-1"),
            format!("{a}:1,{a}:2"),
            format!("{a}:{}", limits::SEQ),
        ] {
            assert_eq!(VersionVector::parse(&bad), None, "{bad}");
        }
    }
}
