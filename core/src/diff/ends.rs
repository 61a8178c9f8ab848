//! What two byte strings have in common at their beginnings and at their ends.
//!
//! Compared in strides, since most of what is asked about is equal for long.

/// Bytes compared at once.
const STRIDE: usize = 64;

/// How many bytes are equal at the beginning.
#[must_use]
pub fn head(a: &[u8], b: &[u8]) -> usize {
    let strides = a.chunks_exact(STRIDE).zip(b.chunks_exact(STRIDE));
    let n = strides.take_while(|(a, b)| a == b).count() * STRIDE;
    let (a, b) = (
        a.get(n..).unwrap_or_default(),
        b.get(n..).unwrap_or_default(),
    );
    n + a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// How many bytes are equal at the end.
#[must_use]
pub fn tail(a: &[u8], b: &[u8]) -> usize {
    let strides = a.rchunks_exact(STRIDE).zip(b.rchunks_exact(STRIDE));
    let n = strides.take_while(|(a, b)| a == b).count() * STRIDE;
    let rest = |bytes: &'_ [u8]| bytes.len() - n;
    let (a, b) = (
        a.get(..rest(a)).unwrap_or_default(),
        b.get(..rest(b)).unwrap_or_default(),
    );
    let pairs = a.iter().rev().zip(b.iter().rev());
    n + pairs.take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..Default::default() })]

        #[test]
        fn as_if_counted_one_by_one(
            same in proptest::collection::vec(0u8..3, 0..200),
            mut a in proptest::collection::vec(0u8..3, 0..70),
            mut b in proptest::collection::vec(0u8..3, 0..70),
        ) {
            let equal = |a: &[u8], b: &[u8]| a.iter().zip(b).take_while(|(a, b)| a == b).count();
            let (mut before_a, mut before_b) = (same.clone(), same.clone());
            before_a.extend(&a);
            before_b.extend(&b);
            prop_assert_eq!(head(&before_a, &before_b), equal(&before_a, &before_b));
            a.extend(&same);
            b.extend(&same);
            let at_end = tail(&a, &b);
            a.reverse();
            b.reverse();
            prop_assert_eq!(at_end, equal(&a, &b));
        }
    }
}
