//! Random bits for names that must not collide. The operating system's, nothing cleverer.

use std::fs::File;
use std::io::Read;

/// 128 random bits as 32 hexadecimal digits.
pub(crate) fn hex128() -> String {
    let mut bytes = [0u8; 16];
    let read = File::open("/dev/urandom").and_then(|mut f| f.read_exact(&mut bytes));
    if read.is_err() {
        // Without the device: time and process are unique on one machine, which is all that
        // is left to go by.
        let nanos = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |d| d.as_nanos());
        bytes = (nanos ^ (u128::from(std::process::id()) << 96)).to_be_bytes();
    }
    format!("{:032x}", u128::from_be_bytes(bytes))
}

/// 64 random bits.
pub(crate) fn bits() -> u64 {
    let text = hex128();
    u64::from_str_radix(text.get(..16).unwrap_or_default(), 16).unwrap_or(1)
}
