//! Bodies between nodes: zstd, with a bound on both sides of the decompression.
//!
//! The bound on the decompressed size is checked while decompressing, so that a small
//! message that claims to be huge costs no more than the bound.

use std::io::Read;

use crate::error::{Error, Result};

/// Fast enough to beat loopback with text, and worth a third of the bytes.
const LEVEL: i32 = 1;

/// Compresses a body.
pub(crate) fn pack(plain: &[u8]) -> Result<Vec<u8>> {
    zstd::bulk::compress(plain, LEVEL)
        .map_err(|e| Error::internal(format!("cannot compress a message; {e}")))
}

/// Decompresses a body of at most `limit` bytes.
pub(crate) fn unpack(packed: &[u8], limit: usize) -> Result<Vec<u8>> {
    let bad = |e: std::io::Error| Error::refused(format!("the body is not zstd; {e}"));
    let mut decoder = zstd::stream::read::Decoder::with_buffer(packed).map_err(bad)?;
    // 128 MiB windows are the most that any level of the encoder above asks for.
    decoder.window_log_max(27).map_err(bad)?;
    let mut plain = Vec::new();
    let most = (limit as u64).saturating_add(1);
    decoder.take(most).read_to_end(&mut plain).map_err(bad)?;
    if plain.len() > limit {
        return Err(Error::refused(format!(
            "the body is larger than {limit} bytes when decompressed"
        )));
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bomb_costs_no_more_than_the_bound() {
        let bomb = pack(&vec![0; 50_000_000]).unwrap();
        assert!(bomb.len() < 20_000);
        assert!(unpack(&bomb, 1_000).is_err());
        assert_eq!(unpack(&bomb, 50_000_000).unwrap().len(), 50_000_000);
        assert!(unpack(b"not zstd at all", 1_000).is_err());
        assert!(unpack(&pack(b"").unwrap(), 10).unwrap().is_empty());
        let cut = pack(b"hello hello hello").unwrap();
        assert!(unpack(&cut[..cut.len() - 3], 1_000).is_err());
    }
}
