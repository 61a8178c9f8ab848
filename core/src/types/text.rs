//! An edit of a text: positions and the inserted characters.
//!
//! The unit is the Unicode scalar value. It is not what a reader takes for one character (an
//! accent may be a scalar of its own, a flag is two), so concurrent edits of the two halves of
//! such a character are both kept; and it is not a UTF-16 unit, so no edit ever cuts a surrogate
//! pair. A [`TextDelta`] has one encoding, and a keystroke takes 4 to 6 bytes:
//!
//! ```text
//! for each place: varint kept since the place before, varint deleted, sized inserted UTF-8
//! ```
//!
//! It ends with the bytes. Only the first place may keep 0, and each inserts or deletes something.

use crate::codec::{Reader, put_bytes, put_sized, put_varint};
use crate::diff;
use crate::error::DecodeError;
use crate::limits;
use crate::row::Cell;
use crate::value::Value;

use super::Unfit;
use super::sequence::Delta;

/// Whether the column can hold this value.
///
/// # Errors
/// It is neither NULL nor text in UTF-8.
pub fn check(value: Value<'_>) -> Result<(), Unfit> {
    match value {
        Value::Null => Ok(()),
        Value::Text(text) => match std::str::from_utf8(text) {
            Ok(_) => Ok(()),
            Err(error) => Err(format!(
                "the text is not UTF-8 at position {}",
                error.valid_up_to() + 1
            )),
        },
        _ => Err("only text and NULL are held; CAST the value AS TEXT".into()),
    }
}

/// The text that a value shows; none for NULL and for what is no text.
#[must_use]
pub(crate) fn shown<'v>(value: Value<'v>) -> Option<&'v str> {
    match value {
        Value::Text(text) => std::str::from_utf8(text).ok(),
        _ => None,
    }
}

/// Appends what an UPDATE ships: what was done to the text, or the value if one of them is NULL.
///
/// # Errors
/// The column cannot hold the new value.
pub fn edit(old: Value<'_>, new: Value<'_>, out: &mut Vec<u8>) -> Result<(), Unfit> {
    check(new)?;
    match (shown(old), shown(new)) {
        (Some(old), Some(new)) => {
            let mut bytes = Vec::new();
            diff::text::diff(old, new, diff::text::STEPS).encode(&mut bytes);
            Cell::Text(&bytes).encode(out);
        }
        _ => Cell::Value(new).encode(out),
    }
    Ok(())
}

/// The characters that an encoded edit inserts, if it does at one place only.
#[must_use]
pub(crate) fn only_insertion(edit: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader::new(edit);
    reader.varint("kept characters").ok()?;
    reader.varint("deleted characters").ok()?;
    let text = reader.sized("inserted characters", limits::VALUE_BYTES);
    text.ok().filter(|_| reader.is_empty())
}

/// An edit of a text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TextDelta {
    /// Where.
    pub delta: Delta,
    /// All that is inserted, one place after the other.
    pub inserted: String,
}

impl TextDelta {
    /// The same insertions at the places of an answer of
    /// [`Sequence`](super::sequence::Sequence). If the answer inserts nothing, because the same
    /// beginning is there already, neither does this.
    #[must_use]
    pub fn placed(self, delta: Delta) -> Self {
        let inserted = if delta.inserted() == 0 {
            String::new()
        } else {
            self.inserted
        };
        Self { delta, inserted }
    }

    /// The same edit of a text of `length` characters: what it deletes beyond does not exist.
    #[must_use]
    pub fn clipped(self, length: u64) -> Self {
        let mut delta = Delta::new();
        let mut left = length;
        for edit in self.delta.edits() {
            let kept = edit.keep.min(left);
            let deleted = edit.delete.min(left - kept);
            left -= kept + deleted;
            delta.keep(kept);
            delta.insert(edit.insert);
            delta.delete(deleted);
        }
        Self {
            delta: delta.end(),
            ..self
        }
    }

    /// The edit that puts `text` in the place of `length` characters.
    #[must_use]
    pub fn replacing(length: u64, text: &str) -> Self {
        let mut delta = Delta::new();
        delta.insert(count(text.as_bytes()));
        delta.delete(length);
        Self {
            delta,
            inserted: text.to_owned(),
        }
    }

    /// Does the edit. `None` if it does not fit the text.
    #[must_use]
    pub fn apply(&self, text: &str) -> Option<String> {
        let mut out = String::with_capacity(text.len().saturating_add(self.inserted.len()));
        let mut rest = text;
        let mut inserted = self.inserted.as_str();
        for edit in self.delta.edits() {
            out.push_str(take(&mut rest, edit.keep)?);
            out.push_str(take(&mut inserted, edit.insert)?);
            take(&mut rest, edit.delete)?;
        }
        out.push_str(rest);
        Some(out)
    }

    /// This edit and then `next` as one. `None` if `next` deletes or keeps more of what is
    /// inserted here than there is.
    #[must_use]
    pub fn then(&self, next: &Self) -> Option<Self> {
        Composer::new(self).compose(next)
    }

    /// Appends the encoded form.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut inserted = self.inserted.as_str();
        for edit in self.delta.edits() {
            put_varint(out, edit.keep);
            put_varint(out, edit.delete);
            put_sized(
                out,
                take(&mut inserted, edit.insert)
                    .unwrap_or_default()
                    .as_bytes(),
            );
        }
    }

    /// Reads what [`TextDelta::encode`] wrote.
    ///
    /// # Errors
    /// Malformed, beyond the bounds, or not in its one form.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        const LIMIT: u64 = limits::VALUE_BYTES as u64;
        let mut reader = Reader::new(bytes);
        let mut delta = Delta::new();
        let mut inserted = Vec::new();
        while !reader.is_empty() {
            let keep = reader.bounded("kept characters", LIMIT)?;
            let delete = reader.bounded("deleted characters", LIMIT)?;
            let text = reader.text("inserted characters", limits::VALUE_BYTES)?;
            if keep == 0 && !delta.is_empty() {
                return Err(DecodeError::Invalid("two edits at one place"));
            }
            if delete == 0 && text.is_empty() {
                return Err(DecodeError::Invalid("an edit that does nothing"));
            }
            delta.keep(keep);
            delta.insert(count(text.as_bytes()));
            delta.delete(delete);
            put_bytes(&mut inserted, text.as_bytes());
        }
        let inserted = String::from_utf8(inserted)
            .map_err(|_| DecodeError::Invalid("inserted characters that are not UTF-8"))?;
        Ok(Self { delta, inserted })
    }
}

/// Characters in valid UTF-8: bytes that do not continue one.
#[must_use]
#[inline(never)]
pub fn count(bytes: &[u8]) -> u64 {
    // Sums of a byte's width let the compiler count many bytes at once.
    bytes
        .chunks(192)
        .map(|chunk| {
            u64::from(
                chunk
                    .iter()
                    .map(|b| u8::from(!is_continuation(*b)))
                    .sum::<u8>(),
            )
        })
        .sum()
}

/// Whether this byte is not the first of its character.
#[must_use]
pub(crate) fn is_continuation(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}

/// Where the `n`-th character begins, or the end if there are exactly `n`.
#[inline(never)]
fn offset(text: &str, n: u64) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut rest = n;
    let mut at = 0;
    for chunk in bytes.chunks(192) {
        let here = count(chunk);
        if here > rest {
            break;
        }
        rest -= here;
        at += chunk.len();
    }
    for byte in bytes.get(at..)? {
        if !is_continuation(*byte) {
            if rest == 0 {
                break;
            }
            rest -= 1;
        }
        at += 1;
    }
    (rest == 0).then_some(at)
}

/// Takes the first `n` characters off `text`.
#[inline(never)]
fn take<'t>(text: &mut &'t str, n: u64) -> Option<&'t str> {
    if n == 0 {
        return Some("");
    }
    let (taken, rest) = text.split_at_checked(offset(text, n)?)?;
    *text = rest;
    Some(taken)
}

/// A piece of what an edit leaves behind.
#[derive(Debug, Clone, Copy)]
enum Piece<'t> {
    Keep(u64),
    Insert(u64, &'t str),
    Delete(u64),
}

/// Reads an edit as a stream of pieces, and writes the composed one.
struct Composer<'t> {
    pieces: Vec<Piece<'t>>,
    out: TextDelta,
}

impl<'t> Composer<'t> {
    fn new(first: &'t TextDelta) -> Self {
        let mut inserted = first.inserted.as_str();
        let mut pieces = Vec::with_capacity(first.delta.edits().len().saturating_mul(3));
        for edit in first.delta.edits() {
            let text = take(&mut inserted, edit.insert).unwrap_or_default();
            pieces.push(Piece::Keep(edit.keep));
            pieces.push(Piece::Insert(edit.insert, text));
            pieces.push(Piece::Delete(edit.delete));
        }
        pieces.reverse();
        Self {
            pieces,
            out: TextDelta::default(),
        }
    }

    fn compose(mut self, next: &TextDelta) -> Option<TextDelta> {
        let mut inserted = next.inserted.as_str();
        for edit in next.delta.edits() {
            self.over(edit.keep, false)?;
            self.put(take(&mut inserted, edit.insert)?, edit.insert);
            self.over(edit.delete, true)?;
        }
        while let Some(piece) = self.pieces.pop() {
            match piece {
                Piece::Keep(n) => self.out.delta.keep(n),
                Piece::Insert(n, text) => self.put(text, n),
                Piece::Delete(n) => self.out.delta.delete(n),
            }
        }
        self.out.delta = self.out.delta.end();
        Some(self.out)
    }

    fn put(&mut self, text: &str, n: u64) {
        self.out.delta.insert(n);
        self.out.inserted.push_str(text);
    }

    /// Keeps or deletes `n` characters of what the first edit left.
    fn over(&mut self, n: u64, delete: bool) -> Option<()> {
        let mut rest = n;
        while rest > 0 {
            // What follows the last place of the first edit is kept by it.
            match self.pieces.pop().unwrap_or(Piece::Keep(rest)) {
                Piece::Delete(n) => self.out.delta.delete(n),
                Piece::Keep(n) => {
                    let taken = n.min(rest);
                    if delete {
                        self.out.delta.delete(taken);
                    } else {
                        self.out.delta.keep(taken);
                    }
                    self.back(Piece::Keep(n - taken));
                    rest -= taken;
                }
                Piece::Insert(n, mut text) => {
                    let taken = n.min(rest);
                    let head = take(&mut text, taken)?;
                    if !delete {
                        self.put(head, taken);
                    }
                    self.back(Piece::Insert(n - taken, text));
                    rest -= taken;
                }
            }
        }
        Some(())
    }

    fn back(&mut self, piece: Piece<'t>) {
        if !matches!(piece, Piece::Keep(0) | Piece::Insert(0, _)) {
            self.pieces.push(piece);
        }
    }
}
