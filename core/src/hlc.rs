//! The hybrid logical clock (Kulkarni et al., 2014): one stamp per transaction.
//!
//! A stamp is 48 bits of milliseconds since 1970 and 16 bits of counter. It is greater than
//! every stamp its transaction could have seen, and close to physical time when clocks are
//! sane. Ties between sites are broken by the site id, never by the value, so that two
//! transactions that meet on several cells win or lose as a unit.

use std::fmt;

/// A point in hybrid logical time. 0 is the stamp of baseline rows: older than every write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Stamp(u64);

impl Stamp {
    /// The stamp of rows that were there before replication began.
    pub const BASELINE: Self = Self(0);
    /// The greatest stamp: SQLite stores it as a signed 64-bit integer.
    pub const MAX: Self = Self(i64::MAX as u64);

    /// A stamp from its stored form; `None` beyond [`Stamp::MAX`].
    #[must_use]
    pub fn from_u64(raw: u64) -> Option<Self> {
        (raw <= Self::MAX.0).then_some(Self(raw))
    }

    /// The stored form.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }

    /// The physical part: milliseconds since 1970.
    #[must_use]
    pub fn millis(self) -> u64 {
        self.0 >> 16
    }

    /// The stamp of a new transaction: after `latest` (the greatest stamp seen here) and not
    /// before the wall clock. `None` once the clock is exhausted (year 6429), an error for
    /// the writer rather than a wrapped stamp.
    #[must_use]
    pub fn next(latest: Self, now_ms: u64) -> Option<Self> {
        let physical = now_ms.checked_mul(1 << 16)?;
        let next = physical.max(latest.0.checked_add(1)?);
        Self::from_u64(next)
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.millis(), self.0 & 0xffff)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_wall_clock_and_never_goes_back() {
        let first = Stamp::next(Stamp::BASELINE, 1_000).unwrap();
        assert_eq!(first.millis(), 1_000);
        let second = Stamp::next(first, 999).unwrap();
        assert!(second > first);
        assert_eq!(second.millis(), 1_000);
    }

    #[test]
    fn counter_overflow_carries_into_the_milliseconds() {
        let full = Stamp::from_u64((5 << 16) | 0xffff).unwrap();
        assert_eq!(Stamp::next(full, 0).unwrap().millis(), 6);
    }

    #[test]
    fn exhaustion_is_an_error() {
        assert_eq!(Stamp::next(Stamp::MAX, 0), None);
        assert_eq!(Stamp::next(Stamp::BASELINE, u64::MAX), None);
    }
}
