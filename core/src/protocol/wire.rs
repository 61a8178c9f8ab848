//! The small pieces of which messages are made, written and read.
//!
//! Each `read_` reads what its `put_` wrote, checked against its bound; [`super::message`] says
//! how they add up.

use super::member::{Members, NodeId};
use super::message::{Partial, Refusal, Stop};
use crate::changeset::{ChainHash, put_vector, read_vector};
use crate::codec::{Reader, put_varint};
use crate::error::DecodeError;
use crate::limits;
use crate::site::{Dot, Seq, Site};

pub(super) fn put_all<T>(out: &mut Vec<u8>, items: &[T], put: impl Fn(&mut Vec<u8>, &T)) {
    put_varint(out, items.len() as u64);
    for item in items {
        put(out, item);
    }
}

pub(super) fn read_all<'a, T>(
    r: &mut Reader<'a>,
    limit: usize,
    read: impl Fn(&mut Reader<'a>) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let count = r.length("a list", limit)?;
    // Grown as items arrive: an item in memory may be larger than on the wire.
    let mut items = Vec::new();
    for _ in 0..count {
        items.push(read(r)?);
    }
    Ok(items)
}

pub(super) fn put_option(out: &mut Vec<u8>, number: Option<u64>) {
    out.push(u8::from(number.is_some()));
    if let Some(number) = number {
        put_varint(out, number);
    }
}

pub(super) fn read_option(r: &mut Reader<'_>) -> Result<Option<u64>, DecodeError> {
    match r.bounded("an option", 1)? {
        0 => Ok(None),
        _ => r.varint("a number").map(Some),
    }
}

pub(super) fn put_site(out: &mut Vec<u8>, site: Site) {
    out.extend_from_slice(&site.get().to_be_bytes());
}

pub(super) fn read_site(r: &mut Reader<'_>) -> Result<Site, DecodeError> {
    Site::from_u64(u64::from_be_bytes(r.array("a site")?))
        .ok_or(DecodeError::Invalid("a site that nobody can have"))
}

pub(super) fn read_seq(r: &mut Reader<'_>) -> Result<Seq, DecodeError> {
    r.bounded("a sequence number", limits::SEQ - 1)
}

pub(super) fn read_node(r: &mut Reader<'_>) -> Result<NodeId, DecodeError> {
    Ok(NodeId(u64::from_be_bytes(r.array("a node")?)))
}

pub(super) fn put_link(out: &mut Vec<u8>, link: &(Seq, ChainHash)) {
    put_varint(out, link.0);
    out.extend_from_slice(&link.1.0);
}

pub(super) fn read_link(r: &mut Reader<'_>) -> Result<(Seq, ChainHash), DecodeError> {
    Ok((read_seq(r)?, ChainHash(r.array("a hash")?)))
}

pub(super) fn put_partial(out: &mut Vec<u8>, partial: &Partial) {
    put_site(out, partial.dot.site);
    put_varint(out, partial.dot.seq);
    put_varint(out, u64::from(partial.parts));
}

pub(super) fn read_partial(r: &mut Reader<'_>) -> Result<Partial, DecodeError> {
    let site = read_site(r)?;
    let seq = read_seq(r)?;
    let parts = r.bounded("parts", u64::from(limits::PARTS))?;
    let parts = u32::try_from(parts).unwrap_or(u32::MAX);
    Ok(Partial {
        dot: Dot { site, seq },
        parts,
    })
}

pub(super) fn put_stop(out: &mut Vec<u8>, stop: Option<Stop>) {
    match stop {
        None => out.push(0),
        Some(Stop::Dependencies) => out.push(1),
        Some(Stop::Later) => out.push(2),
        Some(Stop::Fork(site)) => {
            out.push(3);
            put_site(out, site);
        }
    }
}

pub(super) fn read_stop(r: &mut Reader<'_>) -> Result<Option<Stop>, DecodeError> {
    Ok(match r.byte("a stop")? {
        0 => None,
        1 => Some(Stop::Dependencies),
        2 => Some(Stop::Later),
        3 => Some(Stop::Fork(read_site(r)?)),
        _ => return Err(DecodeError::Invalid("a stop of unknown kind")),
    })
}

pub(super) fn put_refusal(out: &mut Vec<u8>, refusal: &Refusal) {
    match refusal {
        Refusal::Stale(collected) => {
            out.push(0);
            put_vector(out, collected);
        }
        Refusal::StaleChange(dot) => {
            out.push(1);
            put_site(out, dot.site);
            put_varint(out, dot.seq);
        }
        Refusal::NotMember(members) => {
            out.push(2);
            members.encode(out);
        }
        Refusal::UnknownPartition => out.push(3),
    }
}

pub(super) fn read_refusal(r: &mut Reader<'_>) -> Result<Refusal, DecodeError> {
    Ok(match r.byte("a refusal")? {
        0 => Refusal::Stale(read_vector(r)?),
        1 => Refusal::StaleChange(Dot {
            site: read_site(r)?,
            seq: read_seq(r)?,
        }),
        2 => Refusal::NotMember(Members::decode(r)?),
        3 => Refusal::UnknownPartition,
        _ => return Err(DecodeError::Invalid("a refusal of unknown kind")),
    })
}
