//! SQLite values as they travel: five storage classes, compact and self-delimiting.
//!
//! One tag byte, then the content. Integers take as many bytes as they need; short texts and
//! blobs carry their length in the tag. Values are equal exactly if their bytes are, which is
//! what change detection compares: 1 and 1.0 differ, and so do 0.0 and -0.0. Text is bytes
//! here: SQLite does not promise valid UTF-8, and what a column holds must arrive unchanged.
//!
//! ```text
//! 00           NULL
//! 01           REAL, 8 bytes big-endian IEEE 754
//! 02           TEXT, varint length, bytes
//! 03           BLOB, varint length, bytes
//! 10 + n       INTEGER, n (0..=8) bytes big-endian two's complement, n minimal
//! 20, 21       not values: differences (see [`crate::row`])
//! 40 + n       TEXT of n (0..=63) bytes
//! 80 + n       BLOB of n (0..=31) bytes
//! ```

use crate::codec::{Reader, put_bytes, put_varint};
use crate::error::DecodeError;
use crate::limits;

const NULL: u8 = 0x00;
const REAL: u8 = 0x01;
const TEXT: u8 = 0x02;
const BLOB: u8 = 0x03;
const INT: u8 = 0x10;
const SHORT_TEXT: u8 = 0x40;
const SHORT_TEXT_MAX: usize = 63;
const SHORT_BLOB: u8 = 0x80;
const SHORT_BLOB_MAX: usize = 31;
/// 2^63: the first real beyond the 64-bit integers.
const TWO_63: f64 = 9_223_372_036_854_775_808.0;

/// A borrowed SQLite value.
#[derive(Debug, Clone, Copy)]
pub enum Value<'a> {
    /// SQL NULL.
    Null,
    /// A 64-bit signed integer.
    Int(i64),
    /// An IEEE double; never NaN, which SQLite stores as NULL.
    Real(f64),
    /// Text as UTF-8 bytes, not necessarily valid.
    Text(&'a [u8]),
    /// Bytes.
    Blob(&'a [u8]),
}

impl<'a> Value<'a> {
    /// Appends the encoded form. The caller has checked [`limits::VALUE_BYTES`]; a NaN, which
    /// SQLite never hands out, is written as the NULL that SQLite would make of it.
    pub fn encode(self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.push(NULL),
            Self::Real(r) if r.is_nan() => out.push(NULL),
            Self::Int(n) => encode_int(n, out),
            Self::Real(r) => {
                out.push(REAL);
                out.extend_from_slice(&r.to_bits().to_be_bytes());
            }
            Self::Text(bytes) => encode_bytes(bytes, SHORT_TEXT, SHORT_TEXT_MAX, TEXT, out),
            Self::Blob(bytes) => encode_bytes(bytes, SHORT_BLOB, SHORT_BLOB_MAX, BLOB, out),
        }
    }

    /// Reads one value.
    ///
    /// # Errors
    /// Truncated, over [`limits::VALUE_BYTES`], or not in its shortest form.
    pub fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let tag = reader.byte("a value")?;
        Self::decode_tagged(tag, reader)
    }

    /// Reads the rest of a value whose tag was already read.
    ///
    /// # Errors
    /// As [`Value::decode`].
    pub fn decode_tagged(tag: u8, reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        match tag {
            NULL => Ok(Self::Null),
            REAL => {
                let bits = reader.array::<8>("a real")?;
                let real = f64::from_bits(u64::from_be_bytes(bits));
                if real.is_nan() {
                    return Err(DecodeError::Invalid("a real that is NaN"));
                }
                Ok(Self::Real(real))
            }
            TEXT => Ok(Self::Text(long_bytes(reader, SHORT_TEXT_MAX)?)),
            BLOB => Ok(Self::Blob(long_bytes(reader, SHORT_BLOB_MAX)?)),
            0x10..=0x18 => decode_int(usize::from(tag - INT), reader),
            0x40..=0x7f => Ok(Self::Text(
                reader.take(usize::from(tag - SHORT_TEXT), "a text")?,
            )),
            0x80..=0x9f => Ok(Self::Blob(
                reader.take(usize::from(tag - SHORT_BLOB), "a blob")?,
            )),
            _ => Err(DecodeError::Unknown("a value of this type")),
        }
    }

    /// The value as SQLite compares keys: a real that is a whole number equals the integer.
    #[must_use]
    pub fn canonical_key(self) -> Self {
        match self {
            // In this range the cast is exact for whole numbers.
            #[allow(clippy::cast_possible_truncation)]
            Self::Real(r) if (-TWO_63..TWO_63).contains(&r) && r.trunc() == r => {
                Self::Int(r as i64)
            }
            other => other,
        }
    }
}

impl PartialEq for Value<'_> {
    /// Equal exactly if the encoded forms are: reals by their bits.
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::Real(a), Self::Real(b)) => a.to_bits() == b.to_bits(),
            (Self::Text(a), Self::Text(b)) | (Self::Blob(a), Self::Blob(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Value<'_> {}

/// An owned SQLite value.
#[derive(Debug, Clone)]
pub enum OwnedValue {
    /// SQL NULL.
    Null,
    /// See [`Value::Int`].
    Int(i64),
    /// See [`Value::Real`].
    Real(f64),
    /// See [`Value::Text`].
    Text(Vec<u8>),
    /// See [`Value::Blob`].
    Blob(Vec<u8>),
}

impl OwnedValue {
    /// Borrows it.
    #[must_use]
    pub fn as_ref(&self) -> Value<'_> {
        match self {
            Self::Null => Value::Null,
            Self::Int(n) => Value::Int(*n),
            Self::Real(r) => Value::Real(*r),
            Self::Text(b) => Value::Text(b),
            Self::Blob(b) => Value::Blob(b),
        }
    }
}

impl PartialEq for OwnedValue {
    fn eq(&self, other: &Self) -> bool {
        self.as_ref() == other.as_ref()
    }
}

impl Eq for OwnedValue {}

impl From<Value<'_>> for OwnedValue {
    fn from(value: Value<'_>) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Int(n) => Self::Int(n),
            Value::Real(r) => Self::Real(r),
            Value::Text(b) => Self::Text(b.to_vec()),
            Value::Blob(b) => Self::Blob(b.to_vec()),
        }
    }
}

/// Bytes that `n` needs: leading bytes that only repeat the sign are left out, and 0 takes
/// none at all.
fn int_bytes(n: i64) -> usize {
    if n == 0 {
        return 0;
    }
    let magnitude = if n < 0 { !n } else { n };
    (65 - magnitude.leading_zeros() as usize).div_ceil(8)
}

fn encode_int(n: i64, out: &mut Vec<u8>) {
    let len = int_bytes(n);
    #[allow(clippy::cast_possible_truncation)]
    out.push(INT + len as u8);
    out.extend_from_slice(n.to_be_bytes().get(8 - len..).unwrap_or_default());
}

fn decode_int<'a>(len: usize, reader: &mut Reader<'a>) -> Result<Value<'a>, DecodeError> {
    let bytes = reader.take(len, "an integer")?;
    let negative = bytes.first().is_some_and(|b| b & 0x80 != 0);
    let n = bytes
        .iter()
        .fold(if negative { -1 } else { 0 }, |n: i64, b| {
            (n << 8) | i64::from(*b)
        });
    if int_bytes(n) != len {
        return Err(DecodeError::Invalid("an integer not in its shortest form"));
    }
    Ok(Value::Int(n))
}

fn encode_bytes(bytes: &[u8], short: u8, short_max: usize, long: u8, out: &mut Vec<u8>) {
    if bytes.len() <= short_max {
        #[allow(clippy::cast_possible_truncation)]
        out.push(short + bytes.len() as u8);
    } else {
        out.push(long);
        put_varint(out, bytes.len() as u64);
    }
    put_bytes(out, bytes);
}

fn long_bytes<'a>(reader: &mut Reader<'a>, short_max: usize) -> Result<&'a [u8], DecodeError> {
    let len = reader.length("a value", limits::VALUE_BYTES)?;
    if len <= short_max {
        return Err(DecodeError::Invalid("a length not in its shortest form"));
    }
    reader.take(len, "a value")
}
