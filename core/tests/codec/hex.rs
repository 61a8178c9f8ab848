//! Hexadecimal text, as golden files and the documentation hold it.

/// The digits of `bytes`.
pub(crate) fn write(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Reads digits; white space between bytes is skipped.
pub(crate) fn read(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| {
            c.to_digit(16)
                .unwrap_or_else(|| panic!("{c:?} is no digit"))
        })
        .collect();
    assert_eq!(digits.len() % 2, 0, "half a byte in {text:?}");
    digits
        .chunks(2)
        .map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap())
        .collect()
}
