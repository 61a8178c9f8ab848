//! Strings in JSON are mostly characters that stand for themselves: skipping these eight at a time.

/// How many bytes are before the first quote, backslash or control character, of which strings
/// consist that are written as they are; all, if there is none.
#[must_use]
#[inline]
pub(crate) fn plain(text: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 0xff;
    const HIGH: u64 = ONES * 0x80;
    let mut at = 0;
    let mut rest = text;
    // Eight at a time. The lowest high bit that is set is right in each of the three: a borrow
    // comes from a byte that is below.
    while let Some((eight, after)) = rest.split_first_chunk::<8>() {
        let bytes = u64::from_le_bytes(*eight);
        let zero = |x: u64| x.wrapping_sub(ONES) & !x;
        let control = bytes.wrapping_sub(ONES * 0x20) & !bytes;
        let quote = zero(bytes ^ (ONES * u64::from(b'"')));
        let backslash = zero(bytes ^ (ONES * u64::from(b'\\')));
        let found = (control | quote | backslash) & HIGH;
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
        rest = after;
    }
    let ends = |c: &u8| matches!(c, b'"' | b'\\' | 0..0x20);
    at + rest.iter().position(ends).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..Default::default() })]

        #[test]
        fn as_if_read_one_by_one(
            text in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..40),
                proptest::collection::vec(0x1fu8..0x25, 0..40),
                proptest::collection::vec(prop_oneof![4 => 0x60u8..0xff, 1 => 0x5bu8..0x5e], 0..40),
            ],
        ) {
            let ends = |c: &u8| matches!(c, b'"' | b'\\' | 0..0x20);
            prop_assert_eq!(plain(&text), text.iter().position(ends).unwrap_or(text.len()));
        }
    }
}
