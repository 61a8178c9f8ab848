//! Where two canonical JSON texts differ, found without building their trees.
//!
//! What both have at their beginnings and ends is compared byte by byte. The tokens before the
//! difference tell which containers are open there, those in the difference which of them it
//! leaves; so it lies in a few neighbouring members of one container. All is linear in the
//! texts, whatever their depth. What is found is sound for canonical texts only; where it is not
//! found, whoever asks compares the trees.

use crate::plain::plain;

use super::ends;

/// A container that is open at some place.
#[derive(Debug, Clone, Copy)]
struct Frame {
    is_object: bool,
    /// Where the present member begins.
    start: usize,
    /// How many are before it.
    index: u64,
    /// Its key, with its quotes.
    key: (usize, usize),
}

/// A step from a container to the one in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Into<'t> {
    /// By key, with its quotes.
    Member(&'t str),
    /// By place.
    Element(u64),
}

/// A member of an object, with its key, or an element, without.
pub(super) type Part<'t> = (&'t str, &'t str);

/// Where two documents differ.
#[derive(Debug)]
pub(super) struct Place<'t> {
    /// The way to the container.
    pub(super) way: Vec<Into<'t>>,
    pub(super) is_object: bool,
    /// Members before the difference.
    pub(super) before: u64,
    /// Members from the first to the last that differ.
    pub(super) old: Vec<Part<'t>>,
    pub(super) new: Vec<Part<'t>>,
}

/// Finds where two different canonical texts differ. `stops` says of a list, by the way to it, that
/// its elements are to be compared as such; `None` if the whole differs.
pub(super) fn place<'t>(
    old: &'t str,
    new: &'t str,
    stops: impl Fn(&[Into<'t>]) -> bool,
) -> Option<Place<'t>> {
    let head = ends::head(old.as_bytes(), new.as_bytes());
    let most = old.len().min(new.len()) - head;
    let tail = ends::tail(old.as_bytes(), new.as_bytes()).min(most);
    let ends = (old.len() - tail, new.len() - tail);
    let mut frames = Vec::new();
    let at = opened(old, head, &mut frames)?;
    let left = closed(old, at, ends.0)?.max(closed(new, at, ends.1)?);
    frames.truncate(frames.len().checked_sub(left)?);
    let mut way = Vec::new();
    let mut container = None;
    for (n, frame) in frames.iter().enumerate() {
        container = Some(*frame);
        let is_last = n + 1 == frames.len();
        if is_last || (!frame.is_object && stops(&way)) {
            break;
        }
        way.push(if frame.is_object {
            Into::Member(old.get(frame.key.0..frame.key.1)?)
        } else {
            Into::Element(frame.index)
        });
    }
    let frame = container?;
    let (old, new) = parts((old, new), ends, &frame)?;
    Some(Place {
        way,
        is_object: frame.is_object,
        before: frame.index,
        old,
        new,
    })
}

/// Reads what is before `until`; answers that place, or where the string begins that reaches beyond.
/// A word or number may be left in its midst: it neither opens nor closes anything.
fn opened(text: &str, until: usize, frames: &mut Vec<Frame>) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < until {
        match bytes.get(at)? {
            b'"' => {
                let end = string_end(bytes, at)?;
                if end > until {
                    break;
                }
                let frame = frames.last_mut()?;
                if frame.is_object && frame.start == at {
                    frame.key = (at, end);
                }
                at = end;
                continue;
            }
            open @ (b'{' | b'[') => frames.push(Frame {
                is_object: *open == b'{',
                start: at + 1,
                index: 0,
                key: (at + 1, at + 1),
            }),
            b'}' | b']' => drop(frames.pop()),
            b',' => {
                let frame = frames.last_mut()?;
                frame.index += 1;
                frame.start = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    Some(at)
}

/// How many of the containers that are open at `from` are closed before `until`.
fn closed(text: &str, from: usize, until: usize) -> Option<usize> {
    let (mut at, mut inside, mut left) = (from, 0usize, 0);
    while at < until {
        match text.as_bytes().get(at)? {
            b'{' | b'[' => inside += 1,
            b'}' | b']' if inside == 0 => left += 1,
            b'}' | b']' => inside -= 1,
            _ => {}
        }
        at = token_end(text, at)?;
    }
    // What is open in the difference is closed behind it, perhaps by what is equal there.
    Some(left)
}

/// Behind the string that begins at `at`.
fn string_end(bytes: &[u8], at: usize) -> Option<usize> {
    let mut at = at + 1;
    loop {
        let rest = bytes.get(at..)?;
        let next = plain(rest);
        at += next + 1;
        if *rest.get(next)? == b'"' {
            return Some(at);
        }
        at += 1;
    }
}

fn token_end(text: &str, at: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    match bytes.get(at)? {
        b'{' | b'[' | b'}' | b']' | b',' | b':' => Some(at + 1),
        b'"' => string_end(bytes, at),
        _ => {
            let rest = bytes.get(at..)?;
            let is_end = |c: &u8| matches!(c, b',' | b'}' | b']');
            Some(at + rest.iter().position(is_end).unwrap_or(rest.len()))
        }
    }
}

fn value_end(text: &str, from: usize) -> Option<usize> {
    let (mut at, mut inside) = (from, 0usize);
    loop {
        match text.as_bytes().get(at)? {
            b'{' | b'[' => inside += 1,
            b'}' | b']' => inside = inside.checked_sub(1)?,
            _ => {}
        }
        at = token_end(text, at)?;
        if inside == 0 {
            return Some(at);
        }
    }
}

/// The members of both texts from the present one on, until what is left of both is the same.
fn parts<'t>(
    (old, new): (&'t str, &'t str),
    (old_end, new_end): (usize, usize),
    frame: &Frame,
) -> Option<(Vec<Part<'t>>, Vec<Part<'t>>)> {
    let (mut in_old, mut in_new) = (frame.start, frame.start);
    let (mut from_old, mut from_new) = (Vec::new(), Vec::new());
    loop {
        let (left_old, left_new) = (old.len() - in_old, new.len() - in_new);
        if in_old >= old_end && in_new >= new_end && left_old == left_new {
            return Some((from_old, from_new));
        }
        if left_old >= left_new {
            in_old = next(old, in_old, frame, &mut from_old)?;
        }
        if left_new >= left_old {
            in_new = next(new, in_new, frame, &mut from_new)?;
        }
    }
}

/// Reads the next member; answers where it ends.
fn next<'t>(text: &'t str, at: usize, frame: &Frame, parts: &mut Vec<Part<'t>>) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut start = at;
    if at > frame.start && bytes.get(at) == Some(&b',') {
        start += 1;
    }
    let mut key = "";
    if frame.is_object {
        if bytes.get(start) != Some(&b'"') {
            return None;
        }
        let end = token_end(text, start)?;
        key = text.get(start..end)?;
        start = end + 1;
    }
    let end = value_end(text, start)?;
    parts.push((key, text.get(start..end)?));
    Some(end)
}
