//! Bytes told by what they share with other bytes, their *base*.
//!
//! A log record of one row is mostly what the one before it was: the same table, the same key's
//! beginning, values of the same make. Told by that one it is a third as long, and how often the
//! log begins a page is what a small transaction costs beyond the row's own page. Nothing of this
//! travels: changesets and hashes are of the whole bytes.
//!
//! ```text
//! told    operations, to the end
//! operation  1 byte: 3 bits literal bytes (7: 7 more follow than the next varint says),
//!                    4 bits copied bytes (0: none, the last operation only; 1 to 14: 3 to 16;
//!                                         15: 17 more than a varint says),
//!                    1 bit: the place in the base moves
//!         [varint], literal bytes, [varint: zigzag of the move], [varint]
//! ```
//!
//! The place in the base goes along with both kinds of bytes, since what differs is mostly as long
//! as what it replaces; so a move is rare. Whoever reads gives a bound for the result.

use crate::codec::{Reader, put_varint};
use crate::error::DecodeError;

/// Neither the bytes nor their base are longer: what fills pages of its own gains nothing.
pub const TOLD_BYTES: usize = 4_096;

/// Fewer bytes in place are not worth an operation, nor fewer than four with a move.
const SHORTEST: usize = 3;
/// Counts in an operation's first byte from which on a varint follows.
const MANY_LITERAL: usize = 7;
const MANY_COPIED: usize = 15;

const SLOTS: usize = 512;

/// Bytes that others are told by.
#[derive(Debug, Clone)]
pub struct Base {
    bytes: Vec<u8>,
    /// Where four bytes of this hash stand, plus 1; 0: nowhere.
    places: Vec<u16>,
}

impl Base {
    /// Looks at what others are told by; `None` if it is too long.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > TOLD_BYTES {
            return None;
        }
        let mut places = vec![0; SLOTS];
        for (place, four) in (1..).zip(bytes.windows(4)) {
            let four = first_four(four).unwrap_or_default();
            if let Some(slot) = places.get_mut(slot(four)) {
                *slot = place;
            }
        }
        let bytes = bytes.to_vec();
        Some(Self { bytes, places })
    }

    /// The bytes themselves.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Tells `bytes`; `None` if they are too long.
    #[must_use]
    pub fn tell(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        if bytes.len() > TOLD_BYTES {
            return None;
        }
        let mut out = Vec::with_capacity(64);
        // The literal bytes begin at `from`; the place in the base that goes with it is `at`.
        let (mut from, mut at, mut next) = (0, 0, 0);
        while next < bytes.len() {
            let here = at + next - from;
            let Some((start, length)) = self.find(bytes, next, here) else {
                next += 1;
                continue;
            };
            let literal = bytes.get(from..next).unwrap_or_default();
            put(&mut out, literal, (here, start), length);
            next += length;
            (from, at) = (next, start + length);
        }
        if from < next {
            put(&mut out, bytes.get(from..).unwrap_or_default(), (at, at), 0);
        }
        Some(out)
    }

    /// Where the base has what stands at `next`, best at the place `here`, and how much of it.
    fn find(&self, bytes: &[u8], next: usize, here: usize) -> Option<(usize, usize)> {
        let rest = bytes.get(next..)?;
        let at = |start: usize| self.bytes.get(start..).unwrap_or_default();
        let Some(four) = first_four(rest) else {
            let length = common(at(here), rest);
            return (length >= SHORTEST).then_some((here, length));
        };
        if first_four(at(here)).is_none_or(|there| (there ^ four) & 0x00ff_ffff == 0) {
            let length = common(at(here), rest);
            if length >= SHORTEST {
                return Some((here, length));
            }
        }
        let place = self.places.get(slot(four)).copied().unwrap_or(0);
        let start = usize::from(place).checked_sub(1)?;
        if first_four(at(start)) != Some(four) {
            return None;
        }
        Some((start, common(at(start), rest)))
    }
}

fn first_four(bytes: &[u8]) -> Option<u32> {
    bytes
        .first_chunk::<4>()
        .map(|four| u32::from_le_bytes(*four))
}

/// Where the place of these four bytes is kept.
fn slot(four: u32) -> usize {
    (four.wrapping_mul(0x9e37_79b1) >> 23) as usize
}

/// How many bytes are equal at the beginning.
fn common(a: &[u8], b: &[u8]) -> usize {
    let mut equal = 0;
    let (mut a, mut b) = (a, b);
    while let (Some((x, a_rest)), Some((y, b_rest))) =
        (a.split_first_chunk::<8>(), b.split_first_chunk::<8>())
    {
        let differ = u64::from_le_bytes(*x) ^ u64::from_le_bytes(*y);
        if differ != 0 {
            return equal + (differ.trailing_zeros() / 8) as usize;
        }
        equal += 8;
        (a, b) = (a_rest, b_rest);
    }
    equal + a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

/// Appends an operation; `length` is 0 or at least [`SHORTEST`].
fn put(out: &mut Vec<u8>, literal: &[u8], (here, start): (usize, usize), length: usize) {
    let literals = literal.len().min(MANY_LITERAL);
    let copied = length.saturating_sub(SHORTEST - 1).min(MANY_COPIED);
    let moved = here != start;
    // The counts are below 8 and 16.
    #[allow(clippy::cast_possible_truncation)]
    out.push((literals << 5 | copied << 1 | usize::from(moved)) as u8);
    if literals == MANY_LITERAL {
        put_varint(out, (literal.len() - MANY_LITERAL) as u64);
    }
    out.extend_from_slice(literal);
    if moved {
        let (away, back) = (start.abs_diff(here) as u64, start < here);
        put_varint(out, (away << 1) - u64::from(back));
    }
    if copied == MANY_COPIED {
        put_varint(out, (length + 1 - SHORTEST - MANY_COPIED) as u64);
    }
}

/// What [`Base::tell`] was given.
///
/// # Errors
/// Malformed, or not told by this base.
pub fn whole(base: &[u8], told: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let mut reader = Reader::new(told);
    let mut out = Vec::new();
    let mut at = 0usize;
    let count = |reader: &mut Reader<'_>| {
        let n = reader.bounded("told bytes", TOLD_BYTES as u64)?;
        Ok::<usize, DecodeError>(usize::try_from(n).unwrap_or(TOLD_BYTES))
    };
    while !reader.is_empty() {
        let operation = usize::from(reader.byte("an operation")?);
        let mut literals = operation >> 5;
        if literals == MANY_LITERAL {
            literals += count(&mut reader)?;
        }
        out.extend_from_slice(reader.take(literals, "literal bytes")?);
        at += literals;
        if operation & 1 != 0 {
            at = moved(at, reader.varint("a move")?)?;
        }
        let mut copied = match operation >> 1 & 15 {
            0 if reader.is_empty() => 0,
            0 => return Err(DecodeError::Invalid("an operation that copies nothing")),
            copied => copied + SHORTEST - 1,
        };
        if copied == MANY_COPIED + SHORTEST - 1 {
            copied += count(&mut reader)?;
        }
        let end = at.saturating_add(copied);
        let bytes = if copied == 0 {
            Some(&[][..])
        } else {
            base.get(at..end)
        };
        out.extend_from_slice(bytes.ok_or(DecodeError::Truncated("what bytes are told by"))?);
        at = end;
        if out.len() > TOLD_BYTES {
            return Err(DecodeError::TooLarge {
                what: "told bytes",
                claimed: out.len() as u64,
                limit: TOLD_BYTES as u64,
            });
        }
    }
    Ok(out)
}

/// The place after a move, which is never 0.
fn moved(at: usize, by: u64) -> Result<usize, DecodeError> {
    let away = usize::try_from(by / 2 + by % 2).unwrap_or(usize::MAX);
    let place = match by % 2 {
        0 if by > 0 => at.checked_add(away),
        1 => at.checked_sub(away),
        _ => None,
    };
    place
        .filter(|place| *place <= TOLD_BYTES)
        .ok_or(DecodeError::Invalid("a move out of what bytes are told by"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn few() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(0u8..4, 0..120)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..Default::default() })]

        #[test]
        fn what_is_told_is_told_whole(base in few(), pieces in proptest::collection::vec((few(), 0usize..120, 0usize..120), 0..5)) {
            let mut bytes = Vec::new();
            for (own, from, length) in pieces {
                bytes.extend(own);
                bytes.extend(base.iter().skip(from).take(length));
            }
            let told = Base::new(&base).unwrap().tell(&bytes).unwrap();
            prop_assert_eq!(whole(&base, &told).unwrap(), bytes);
        }

        #[test]
        fn hostile_bytes_are_bounded(base in few(), told in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(bytes) = whole(&base, &told) {
                prop_assert!(bytes.len() <= TOLD_BYTES);
            }
        }
    }

    #[test]
    fn rows_alike_are_short() {
        let row = |n: u32| {
            format!(
                "\u{1}\u{12}{n:05}Jitem number {n}made for measuring, {:08x}",
                n * 77
            )
        };
        let base = Base::new(row(1_000).as_bytes()).unwrap();
        let told = base.tell(row(1_001).as_bytes()).unwrap();
        assert_eq!(whole(base.bytes(), &told).unwrap(), row(1_001).as_bytes());
        assert!(told.len() < 20, "{told:?}");
    }

    #[test]
    fn long_ones_are_not_told() {
        let long = vec![7; TOLD_BYTES + 1];
        assert!(Base::new(&long).is_none());
        assert!(Base::new(b"").unwrap().tell(&long).is_none());
        // As many bytes as there may be, and one more.
        let base = Base::new(&long[1..]).unwrap();
        let mut told = base.tell(&long[1..]).unwrap();
        assert_eq!(whole(base.bytes(), &told).unwrap(), &long[1..]);
        told.extend([1 << 5, 9]);
        assert!(matches!(
            whole(base.bytes(), &told),
            Err(DecodeError::TooLarge { .. })
        ));
    }

    /// Files hold these: they are read for ever.
    #[test]
    fn the_bytes_are_kept() {
        let base = b"\x00\x01\x01abcdefgh\x01\x03\x01\x11\x07Cada";
        let bytes = b"\x00\x01\x01abcdefgh\x01\x03\x01\x11\x09Eemilia, abcdefgh and more of it";
        let written = Base::new(base).unwrap().tell(bytes).unwrap();
        let hex: String = written.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "1aeb040945656d696c69612c20612be00820616e64206d6f7265206f66206974"
        );
        assert_eq!(whole(base, &written).unwrap(), bytes);
    }
}
