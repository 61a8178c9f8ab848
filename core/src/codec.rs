//! The only reader of untrusted bytes: a cursor that checks before it allocates.
//!
//! Every length is compared with its bound and with the bytes that are left before anything
//! is taken. Varints are little-endian base 128 in their shortest form, so that a number has
//! one encoding and a changeset one hash.

use crate::error::DecodeError;

/// Appends `n` as a varint (LEB128).
#[allow(clippy::cast_possible_truncation)]
#[inline(never)]
pub fn put_varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Appends a signed 128-bit number: zigzag, then varint.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub fn put_signed(out: &mut Vec<u8>, n: i128) {
    let mut z = ((n << 1) ^ (n >> 127)) as u128;
    while z >= 0x80 {
        out.push(z as u8 | 0x80);
        z >>= 7;
    }
    out.push(z as u8);
}

/// Appends bytes as they are.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(bytes);
}

/// Appends a length and the bytes.
#[inline(never)]
pub fn put_sized(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A cursor over untrusted bytes.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the beginning of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether everything has been read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// What has not been read.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// One byte.
    ///
    /// # Errors
    /// At the end of the bytes.
    pub fn byte(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        let (first, rest) = self
            .rest
            .split_first()
            .ok_or(DecodeError::Truncated(what))?;
        self.rest = rest;
        Ok(*first)
    }

    /// `len` bytes, borrowed.
    ///
    /// # Errors
    /// If fewer are left.
    pub fn take(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or(DecodeError::Truncated(what))?;
        self.rest = rest;
        Ok(taken)
    }

    /// `N` bytes, copied.
    ///
    /// # Errors
    /// If fewer are left.
    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(DecodeError::Truncated(what))?;
        self.rest = rest;
        Ok(*taken)
    }

    /// A varint.
    ///
    /// # Errors
    /// Truncated, beyond 64 bits, or not in its shortest form.
    pub fn varint(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        let mut n = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte(what)?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(DecodeError::Invalid("a number beyond 64 bits"));
            }
            n |= bits << shift;
            if byte < 0x80 {
                return shortest(byte, shift).map(|()| n);
            }
        }
        Err(DecodeError::Invalid("a number beyond 64 bits"))
    }

    /// A signed number as [`put_signed`] writes it.
    ///
    /// # Errors
    /// As [`Reader::varint`], for 128 bits.
    #[allow(clippy::cast_possible_wrap)]
    pub fn signed(&mut self, what: &'static str) -> Result<i128, DecodeError> {
        let mut z = 0u128;
        for shift in (0..128).step_by(7) {
            let byte = self.byte(what)?;
            let bits = u128::from(byte & 0x7f);
            if shift == 126 && bits > 3 {
                return Err(DecodeError::Invalid("a number beyond 128 bits"));
            }
            z |= bits << shift;
            if byte < 0x80 {
                return shortest(byte, shift).map(|()| ((z >> 1) as i128) ^ -((z & 1) as i128));
            }
        }
        Err(DecodeError::Invalid("a number beyond 128 bits"))
    }

    /// A varint that must not exceed `limit`.
    ///
    /// # Errors
    /// As [`Reader::varint`], or too large.
    #[inline(never)]
    pub fn bounded(&mut self, what: &'static str, limit: u64) -> Result<u64, DecodeError> {
        let n = self.varint(what)?;
        if n > limit {
            return Err(DecodeError::TooLarge {
                what,
                claimed: n,
                limit,
            });
        }
        Ok(n)
    }

    /// A length or count: bounded by `limit`, and by the bytes that are left (everything
    /// that is counted takes at least one).
    ///
    /// # Errors
    /// Too large, or truncated.
    #[inline(never)]
    pub fn length(&mut self, what: &'static str, limit: usize) -> Result<usize, DecodeError> {
        let n = self.bounded(what, limit as u64)?;
        match usize::try_from(n) {
            Ok(n) if n <= self.rest.len() => Ok(n),
            _ => Err(DecodeError::Truncated(what)),
        }
    }

    /// A length and that many bytes.
    ///
    /// # Errors
    /// As [`Reader::length`].
    #[inline(never)]
    pub fn sized(&mut self, what: &'static str, limit: usize) -> Result<&'a [u8], DecodeError> {
        let len = self.length(what, limit)?;
        self.take(len, what)
    }

    /// A length and that many bytes of UTF-8.
    ///
    /// # Errors
    /// As [`Reader::sized`], or not UTF-8.
    #[inline(never)]
    pub fn text(&mut self, what: &'static str, limit: usize) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.sized(what, limit)?)
            .map_err(|_| DecodeError::Invalid("a name that is not UTF-8"))
    }

    /// Nothing may be left.
    ///
    /// # Errors
    /// If something is.
    pub fn end(&self, what: &'static str) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::Trailing(what))
        }
    }
}

fn shortest(last: u8, shift: u32) -> Result<(), DecodeError> {
    if last == 0 && shift > 0 {
        Err(DecodeError::Invalid("a number not in its shortest form"))
    } else {
        Ok(())
    }
}
