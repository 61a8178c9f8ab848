//! A [`Merge`] as it is kept beside its cell.
//!
//! It never travels and is never compared, but it is read from a file, so it is checked like
//! everything else.
//!
//! ```text
//! byte       version, 2
//! varint n   n edits, ascending: 8 bytes site, varint seq, varint stamp,
//!              varint position of the last strong transaction known (0 in version 1, without it)
//! node       varint n, n writes: varint edit, byte kind + 8 if it is alive,
//!              signed value (kind 0, an integer) or sum (2, an addition);
//!              kinds 1, 3, 4: another scalar, an object, a list
//!            varint n, n x varint edit: those that reset it
//!            varint n, n x (sized key as it is written, node), ascending
//!            byte 0 no list, or 1: sized state of a sequence,
//!              varint n, n x (varint step, node): elements by their number there
//! ```

use std::collections::BTreeMap;

use crate::codec::{Reader, put_signed, put_sized, put_varint};
use crate::error::DecodeError;
use crate::hlc::Stamp;
use crate::limits;
use crate::site::{Dot, Site};
use crate::sorted;
use crate::types::sequence::Sequence;

use super::document::{DEPTH, Json};
use super::merge::{Kind, List, Merge, Node, Place, Write};

const VERSION: u8 = 2;
/// Made before strong transactions wrote documents.
const WITHOUT_POSITIONS: u8 = 1;
const LIVE: u8 = 8;

impl Merge {
    /// Appends the encoded form.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        put_varint(out, self.edits.len() as u64);
        for (dot, place) in &self.edits {
            out.extend_from_slice(&dot.site.get().to_be_bytes());
            put_varint(out, dot.seq);
            put_varint(out, place.stamp.get());
            put_varint(out, place.position);
        }
        let dots: Vec<Dot> = self.edits.keys().copied().collect();
        put_node(out, &self.root, &dots);
    }

    /// Reads what [`Merge::encode`] wrote.
    ///
    /// # Errors
    /// Malformed, beyond the bounds, or not in its one form.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let version = reader.byte("a state")?;
        if ![VERSION, WITHOUT_POSITIONS].contains(&version) {
            return Err(DecodeError::Unknown("a document state of this version"));
        }
        let count = reader.length("edits", limits::VALUE_BYTES)?;
        let mut edits: Vec<(Dot, Place)> = Vec::new();
        for _ in 0..count {
            let edit = read_edit(&mut reader, version)?;
            if edits.last().is_some_and(|(last, _)| *last >= edit.0) {
                return Err(DecodeError::Invalid("edits out of order"));
            }
            edits.push(edit);
        }
        let root = read_node(&mut reader, &edits, 0)?;
        reader.end("a document state")?;
        Ok(Self {
            root,
            edits: sorted::map(edits),
        })
    }
}

fn put_dot(out: &mut Vec<u8>, dot: Dot, dots: &[Dot]) {
    put_varint(out, dots.binary_search(&dot).unwrap_or_default() as u64);
}

fn put_node(out: &mut Vec<u8>, node: &Node, dots: &[Dot]) {
    put_varint(out, node.writes.len() as u64);
    for write in &node.writes {
        put_dot(out, write.dot, dots);
        let (kind, number) = match write.kind {
            Kind::Integer(n) => (0, Some(i128::from(n))),
            Kind::Scalar => (1, None),
            Kind::Add(n) => (2, Some(n)),
            Kind::Object => (3, None),
            Kind::Array => (4, None),
        };
        out.push(kind + if write.is_live { LIVE } else { 0 });
        if let Some(number) = number {
            put_signed(out, number);
        }
    }
    put_varint(out, node.resets.len() as u64);
    for dot in &node.resets {
        put_dot(out, *dot, dots);
    }
    put_varint(out, node.members.len() as u64);
    for (key, member) in &node.members {
        put_sized(out, key.as_bytes());
        put_node(out, member, dots);
    }
    let Some(list) = &node.list else {
        out.push(0);
        return;
    };
    out.push(1);
    let mut order = list.order.clone();
    let numbers = order.renumber_elements();
    let mut bytes = Vec::new();
    order.encode(&mut bytes);
    put_sized(out, &bytes);
    let mut elements: Vec<(u64, &Node)> = list
        .elements
        .iter()
        .filter_map(|(id, node)| Some((numbers.of(*id)?, node)))
        .collect();
    sorted::by_key(&mut elements, |(id, _)| *id);
    put_varint(out, elements.len() as u64);
    let mut previous = 0;
    for (id, element) in elements {
        put_varint(out, id - previous);
        put_node(out, element, dots);
        previous = id;
    }
}

fn read_edit(reader: &mut Reader<'_>, version: u8) -> Result<(Dot, Place), DecodeError> {
    let site = u64::from_be_bytes(reader.array::<8>("a site")?);
    let site = Site::from_u64(site).ok_or(DecodeError::Invalid("a site"))?;
    let seq = reader.bounded("a sequence number", limits::SEQ - 1)?;
    let stamp = Stamp::from_u64(reader.varint("a stamp")?);
    let position = match version {
        WITHOUT_POSITIONS => 0,
        _ => reader.bounded("a position", limits::SEQ - 1)?,
    };
    match stamp {
        Some(stamp) if seq > 0 => Ok((Dot { site, seq }, Place { stamp, position })),
        _ => Err(DecodeError::Invalid("an edit that nobody made")),
    }
}

fn read_dot(reader: &mut Reader<'_>, edits: &[(Dot, Place)]) -> Result<(Dot, Place), DecodeError> {
    let number = reader.varint("an edit")?;
    usize::try_from(number)
        .ok()
        .and_then(|n| edits.get(n))
        .copied()
        .ok_or(DecodeError::Invalid("an edit that is not listed"))
}

fn read_write(reader: &mut Reader<'_>, edits: &[(Dot, Place)]) -> Result<Write, DecodeError> {
    let (dot, _) = read_dot(reader, edits)?;
    let byte = reader.byte("a write")?;
    let kind = match byte & !LIVE {
        0 => Kind::Integer(
            i64::try_from(reader.signed("an integer")?)
                .map_err(|_| DecodeError::Invalid("an integer beyond 64 bits"))?,
        ),
        1 => Kind::Scalar,
        2 => Kind::Add(reader.signed("an addition")?),
        3 => Kind::Object,
        4 => Kind::Array,
        _ => return Err(DecodeError::Invalid("a write of this kind")),
    };
    Ok(Write {
        dot,
        kind,
        is_live: byte & LIVE != 0,
    })
}

fn read_node(
    reader: &mut Reader<'_>,
    edits: &[(Dot, Place)],
    depth: usize,
) -> Result<Node, DecodeError> {
    if depth > DEPTH + 1 {
        return Err(DecodeError::Invalid("a state nested too deeply"));
    }
    let mut node = Node::default();
    for _ in 0..reader.length("writes", limits::VALUE_BYTES)? {
        node.writes.push(read_write(reader, edits)?);
    }
    for _ in 0..reader.length("resets", limits::VALUE_BYTES)? {
        node.resets.push(read_dot(reader, edits)?.0);
    }
    for _ in 0..reader.length("members", limits::VALUE_BYTES)? {
        let key = reader.text("a key", limits::VALUE_BYTES)?;
        let is_key = key.starts_with('"') && Json::parse(key).is_ok();
        let ascends = node
            .members
            .last_key_value()
            .is_none_or(|(last, _)| last.as_str() < key);
        if !is_key || !ascends {
            return Err(DecodeError::Invalid("keys that do not ascend"));
        }
        let member = read_node(reader, edits, depth + 1)?;
        node.members.insert(key.to_owned(), member);
    }
    node.list = match reader.byte("a list")? {
        0 => None,
        1 => Some(read_list(reader, edits, depth)?),
        _ => return Err(DecodeError::Invalid("a list of this kind")),
    };
    Ok(node)
}

fn read_list(
    reader: &mut Reader<'_>,
    edits: &[(Dot, Place)],
    depth: usize,
) -> Result<List, DecodeError> {
    let order = Sequence::decode(reader.sized("a sequence", limits::VALUE_BYTES)?)?;
    let mut elements = BTreeMap::new();
    let mut id = 0u64;
    for n in 0..reader.length("elements", limits::VALUE_BYTES)? {
        let step = reader.varint("an element")?;
        id = match id.checked_add(step) {
            Some(id) if (n == 0 || step > 0) && order.contains(id) => id,
            _ => return Err(DecodeError::Invalid("an element that is not there")),
        };
        elements.insert(id, read_node(reader, edits, depth + 1)?);
    }
    Ok(List { order, elements })
}
