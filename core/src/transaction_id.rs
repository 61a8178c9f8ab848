//! Names of transactions: made where a transaction begins, decided on in the log, asked for later.
//!
//! Invariant: an id is never used for two attempts, so that a second arrival of one is known.

use std::fmt;

use crate::codec::{Reader, put_varint};
use crate::error::DecodeError;
use crate::protocol::NodeId;

/// The name of one attempt to commit: never used for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TxnId {
    /// Whose client made it.
    pub node: NodeId,
    /// Random, of the connection that made it.
    pub boot: u64,
    /// Counted by that connection.
    pub counter: u64,
    /// Decisions of the group that its author knew of: it is decided after them.
    pub born: u64,
}

impl TxnId {
    /// Reads what [`fmt::Display`] writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut fields = text.split('-');
        let mut next = |digits: usize| {
            let field = fields.next()?;
            let whole = field.len() == digits && field.bytes().all(|b| b.is_ascii_hexdigit());
            u64::from_str_radix(field, 16).ok().filter(|_| whole)
        };
        let id = Self {
            node: NodeId(next(16)?),
            boot: next(16)?,
            counter: next(8)?,
            born: next(16)?,
        };
        fields.next().is_none().then_some(id)
    }

    /// Appends the encoded form.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.node.0.to_be_bytes());
        out.extend_from_slice(&self.boot.to_be_bytes());
        put_varint(out, self.counter);
        put_varint(out, self.born);
    }

    /// Reads an encoded id.
    ///
    /// # Errors
    /// Malformed.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            node: NodeId(u64::from_be_bytes(r.array("a transaction id")?)),
            boot: u64::from_be_bytes(r.array("a transaction id")?),
            counter: r.bounded("a transaction id", u64::from(u32::MAX))?,
            born: r.varint("a transaction id")?,
        })
    }
}

impl fmt::Display for TxnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            node,
            boot,
            counter,
            born,
        } = self;
        write!(f, "{node}-{boot:016x}-{counter:08x}-{born:016x}")
    }
}
