//! A state as it is kept beside its cell.
//!
//! It never travels and is never compared, but it is read from a file, so it is checked like
//! everything else. Elements are numbered in the order of the list, from 0.
//!
//! ```text
//! byte        version, 1
//! varint n    n sites of 8 bytes, ascending, each used below
//! n x varint  the latest edit of each site that is not stable, 0 for none
//! runs up to the end:
//!   byte      0 stable, 1 stable and gone, 2 typed, 3 shared beginning
//!   varint    length, from 1
//!   2:        dots
//!   3:        16 bytes key, varint n, n x (varint site, varint seq), ascending
//!   2, 3:     varint distance to the left origin, 0 for the beginning;
//!             varint distance from the last element to the right origin, 0 for the end
//!   0, 2, 3:  varint n, n x dots: the deletes, ascending
//! dots        varint 3 * site + step + 1, varint seq
//! ```

use std::collections::BTreeSet;

use crate::codec::{Reader, put_varint};
use crate::error::DecodeError;
use crate::limits;
use crate::site::{Dot, Site};

use super::run::{Author, Dots, Origin, Run};
use super::{Sequence, UNKNOWN};

const VERSION: u8 = 1;
const STABLE: u8 = 0;
const GONE: u8 = 1;
const TYPED: u8 = 2;
const SHARED: u8 = 3;
/// Far more than any history inserts into one cell, and sums of it stay in 64 bits.
const ELEMENTS: u64 = UNKNOWN << 2;

impl Sequence {
    /// Appends the encoded form.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut ordered = self.clone();
        ordered.renumber_elements();
        let sites: Vec<Site> = ordered.sites().into_iter().collect();
        out.push(VERSION);
        put_varint(out, sites.len() as u64);
        for site in &sites {
            out.extend_from_slice(&site.get().to_be_bytes());
        }
        for site in &sites {
            put_varint(out, ordered.edits.get(*site));
        }
        for run in &ordered.runs {
            put_run(out, run, &sites);
        }
    }

    /// Reads what [`Sequence::encode`] wrote.
    ///
    /// # Errors
    /// Malformed, beyond the bounds, or not in its one form.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        if reader.byte("a state")? != VERSION {
            return Err(DecodeError::Unknown("a sequence state of this version"));
        }
        let sites = read_sites(&mut reader)?;
        let mut state = Self::new(0);
        for site in &sites {
            let latest = reader.bounded("a sequence number", limits::SEQ - 1)?;
            state.edits.set(*site, latest);
        }
        while !reader.is_empty() {
            let run = read_run(&mut reader, &sites, state.next_id)?;
            state.next_id = state.next_id.saturating_add(run.len);
            if state.next_id > ELEMENTS {
                return Err(DecodeError::TooLarge {
                    what: "a sequence",
                    claimed: state.next_id,
                    limit: ELEMENTS,
                });
            }
            state.runs.push(run);
        }
        let beyond = |origin: Origin| origin.is_some_and(|id| id >= state.next_id);
        if state.runs.iter().any(|run| beyond(run.right)) {
            return Err(DecodeError::Invalid("a right origin beyond the end"));
        }
        if state.sites().len() != sites.len() {
            return Err(DecodeError::Invalid("a site that is not used"));
        }
        state.compacted = state.runs.len();
        Ok(state)
    }

    fn sites(&self) -> BTreeSet<Site> {
        let mut sites = BTreeSet::new();
        sites.extend(self.edits.iter().map(|(site, _)| site));
        for run in &self.runs {
            match &run.author {
                Author::Stable => {}
                Author::Typed(dots) => {
                    sites.insert(dots.site);
                }
                Author::Shared { dots, .. } => sites.extend(dots.iter().map(|d| d.site)),
            }
            sites.extend(run.deletes.iter().map(|d| d.site));
        }
        sites
    }
}

fn number(sites: &[Site], site: Site) -> u64 {
    sites.binary_search(&site).unwrap_or_default() as u64
}

fn put_dots(out: &mut Vec<u8>, dots: Dots, sites: &[Site]) {
    let step = match dots.step {
        0 => 1,
        1 => 2,
        _ => 0,
    };
    put_varint(out, number(sites, dots.site) * 3 + step);
    put_varint(out, dots.seq);
}

fn put_run(out: &mut Vec<u8>, run: &Run, sites: &[Site]) {
    let kind = match &run.author {
        Author::Stable if run.gone => GONE,
        Author::Stable => STABLE,
        Author::Typed(_) => TYPED,
        Author::Shared { .. } => SHARED,
    };
    out.push(kind);
    put_varint(out, run.len);
    match &run.author {
        Author::Stable => {}
        Author::Typed(dots) => put_dots(out, *dots, sites),
        Author::Shared { key, dots } => {
            out.extend_from_slice(key);
            put_varint(out, dots.len() as u64);
            for dot in dots {
                put_varint(out, number(sites, dot.site));
                put_varint(out, dot.seq);
            }
        }
    }
    if !run.is_stable() {
        put_varint(out, run.left.map_or(0, |id| run.id.saturating_sub(id)));
        let last = run.last_id();
        put_varint(out, run.right.map_or(0, |id| id.saturating_sub(last)));
    }
    if kind != GONE {
        put_varint(out, run.deletes.len() as u64);
        for dots in &run.deletes {
            put_dots(out, *dots, sites);
        }
    }
}

fn read_sites(reader: &mut Reader<'_>) -> Result<Vec<Site>, DecodeError> {
    let count = reader.length("sites", limits::VECTOR_ENTRIES)?;
    let mut sites: Vec<Site> = Vec::with_capacity(count);
    for _ in 0..count {
        let id = u64::from_be_bytes(reader.array::<8>("a site")?);
        let site = Site::from_u64(id).ok_or(DecodeError::Invalid("a site"))?;
        if sites.last().is_some_and(|last| *last >= site) {
            return Err(DecodeError::Invalid("sites out of order"));
        }
        sites.push(site);
    }
    Ok(sites)
}

fn read_seq(reader: &mut Reader<'_>) -> Result<u64, DecodeError> {
    match reader.bounded("a sequence number", limits::SEQ - 1)? {
        0 => Err(DecodeError::Invalid("sequence number 0")),
        seq => Ok(seq),
    }
}

fn read_dots(reader: &mut Reader<'_>, sites: &[Site], len: u64) -> Result<Dots, DecodeError> {
    let packed = reader.varint("dots")?;
    let site = usize::try_from(packed / 3)
        .ok()
        .and_then(|n| sites.get(n))
        .ok_or(DecodeError::Invalid("a site that is not listed"))?;
    let step = match packed % 3 {
        0 => -1,
        1 => 0,
        _ => 1,
    };
    let dots = Dots {
        site: *site,
        seq: read_seq(reader)?,
        step,
    };
    let last = dots.at(len - 1);
    let descends_too_far = step == -1 && dots.seq < len;
    if (len == 1 && step != 0) || last >= limits::SEQ || descends_too_far {
        return Err(DecodeError::Invalid("dots that nobody gives"));
    }
    Ok(dots)
}

fn read_run(reader: &mut Reader<'_>, sites: &[Site], id: u64) -> Result<Run, DecodeError> {
    let kind = reader.byte("a run")?;
    let len = match reader.bounded("a run's length", ELEMENTS)? {
        0 => return Err(DecodeError::Invalid("an empty run")),
        len => len,
    };
    let mut run = Run::stable(id, len);
    match kind {
        STABLE => {}
        GONE => run.gone = true,
        TYPED => run.author = Author::Typed(read_dots(reader, sites, len)?),
        SHARED => run.author = read_shared(reader, sites)?,
        _ => return Err(DecodeError::Invalid("a run of this kind")),
    }
    if !run.is_stable() {
        run.left = match reader.varint("a left origin")? {
            0 => None,
            distance => Some(
                id.checked_sub(distance)
                    .ok_or(DecodeError::Invalid("a left origin before the beginning"))?,
            ),
        };
        run.right = match reader.bounded("a right origin", ELEMENTS)? {
            0 => None,
            distance => Some(run.last_id().saturating_add(distance)),
        };
    }
    if kind != GONE {
        let count = reader.length("deletes", limits::VECTOR_ENTRIES)?;
        for _ in 0..count {
            let dots = read_dots(reader, sites, len)?;
            if run.deletes.last().is_some_and(|last| *last >= dots) {
                return Err(DecodeError::Invalid("deletes out of order"));
            }
            run.deletes.push(dots);
        }
    }
    Ok(run)
}

fn read_shared(reader: &mut Reader<'_>, sites: &[Site]) -> Result<Author, DecodeError> {
    let key = reader.array::<16>("a content's name")?;
    let count = reader.length("who inserted it", limits::VECTOR_ENTRIES)?;
    let mut dots: Vec<Dot> = Vec::new();
    for _ in 0..count {
        let site = reader.bounded("a site's number", limits::VECTOR_ENTRIES as u64)?;
        let dot = Dot {
            site: *usize::try_from(site)
                .ok()
                .and_then(|n| sites.get(n))
                .ok_or(DecodeError::Invalid("a site that is not listed"))?,
            seq: read_seq(reader)?,
        };
        if dots.last().is_some_and(|last| *last >= dot) {
            return Err(DecodeError::Invalid("dots out of order"));
        }
        dots.push(dot);
    }
    if dots.is_empty() {
        return Err(DecodeError::Invalid("a beginning of nobody"));
    }
    Ok(Author::Shared { key, dots })
}
