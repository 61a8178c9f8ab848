//! The capture buffer: what the running transaction has changed, in order of arrival.
//!
//! Events are only ever appended, so that a savepoint is a length and rolling back to it is a
//! truncation. Coalescing to the net effect per row happens when the buffer is written to the
//! log (see `net`), which is once per transaction, or earlier for a transaction that outgrows
//! [`nuda_core::limits::SPILL_BYTES`].

use std::rc::Rc;

/// What a captured event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A new row: one cell for each column.
    Insert,
    /// Changed columns: key values, count, (column step, cell) pairs.
    Update,
    /// A row that went: one value for each column.
    Delete,
    /// A table's definition; belongs to no row.
    Definition,
}

/// One event of the buffer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Event<'a> {
    pub(crate) kind: Kind,
    pub(crate) table: u32,
    /// Hash of table and key.
    pub(crate) row: u64,
    pub(crate) payload: &'a [u8],
    /// Of an update: the way back to old values (see [`crate::undo`]).
    pub(crate) undo: &'a [u8],
}

const HEADER: usize = 1 + 4 + 8 + 4 + 4;

/// A savepoint's place in the transaction.
#[derive(Debug, Clone)]
struct Mark {
    id: i32,
    parts: u32,
    length: usize,
    /// The buffer as it was, if a part was written to the log since: rolling back undoes
    /// that part, and with it what the buffer held before the savepoint.
    kept: Option<Rc<Vec<u8>>>,
}

/// Events of the running transaction that are not in the log yet.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    events: Vec<u8>,
    marks: Vec<Mark>,
    /// Parts of the record written to the log so far.
    parts: u32,
}

impl Buffer {
    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    pub(crate) fn parts(&self) -> u32 {
        self.parts
    }

    /// Appends an event.
    pub(crate) fn push(&mut self, kind: Kind, table: u32, row: u64, payload: &[u8], undo: &[u8]) {
        let kind = match kind {
            Kind::Insert => 1,
            Kind::Update => 2,
            Kind::Delete => 3,
            Kind::Definition => 4,
        };
        // A row is bounded by SQLite at 2^31 bytes.
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let room = HEADER + payload.len() + undo.len();
        self.events.reserve(room);
        let [t0, t1, t2, t3] = table.to_le_bytes();
        let [r0, r1, r2, r3, r4, r5, r6, r7] = row.to_le_bytes();
        let [l0, l1, l2, l3] = length(payload).to_le_bytes();
        let [u0, u1, u2, u3] = length(undo).to_le_bytes();
        let header: [u8; HEADER] = [
            kind, t0, t1, t2, t3, r0, r1, r2, r3, r4, r5, r6, r7, l0, l1, l2, l3, u0, u1, u2, u3,
        ];
        self.events.extend_from_slice(&header);
        self.events.extend_from_slice(payload);
        self.events.extend_from_slice(undo);
    }

    /// The numbers of the tables that events belong to.
    pub(crate) fn tables(&self) -> Vec<u32> {
        let mut tables = Vec::new();
        for event in self.iter() {
            if tables.last() != Some(&event.table) && !tables.contains(&event.table) {
                tables.push(event.table);
            }
        }
        tables
    }

    /// The events, oldest first.
    pub(crate) fn iter(&self) -> Iter<'_> {
        Iter { rest: &self.events }
    }

    /// A savepoint was opened. One that is already known keeps its place: a second capture
    /// table that joins the transaction later reports it again.
    pub(crate) fn savepoint(&mut self, id: i32) {
        if !self.marks.iter().any(|mark| mark.id == id) {
            self.marks.push(Mark {
                id,
                parts: self.parts,
                length: self.events.len(),
                kept: None,
            });
        }
    }

    /// The innermost savepoint that is open.
    pub(crate) fn innermost(&self) -> Option<i32> {
        self.marks.iter().map(|mark| mark.id).max()
    }

    /// Savepoint `id` and all inner ones ended.
    pub(crate) fn release(&mut self, id: i32) {
        self.marks.retain(|mark| mark.id < id);
    }

    /// Everything since savepoint `id` was undone. A savepoint that is not known was opened
    /// before the first event of the transaction.
    pub(crate) fn rollback_to(&mut self, id: i32) {
        match self.marks.iter().find(|mark| mark.id == id).cloned() {
            None => {
                self.events.clear();
                self.parts = 0;
            }
            Some(mark) if mark.parts == self.parts => self.events.truncate(mark.length),
            Some(mark) => {
                self.parts = mark.parts;
                self.events.clear();
                if let Some(kept) = &mark.kept {
                    let kept = kept.get(..mark.length).unwrap_or_default();
                    self.events.extend_from_slice(kept);
                }
            }
        }
        self.marks.retain(|mark| mark.id <= id);
    }

    /// The buffer's content went to the log as the next part.
    pub(crate) fn spilled(&mut self) {
        let parts = self.parts;
        let needed = |mark: &Mark| mark.parts == parts && mark.length > 0;
        if self.marks.iter().any(needed) {
            let kept = Rc::new(std::mem::take(&mut self.events));
            for mark in self.marks.iter_mut().filter(|mark| needed(mark)) {
                mark.kept = Some(Rc::clone(&kept));
            }
        }
        self.events.clear();
        self.parts += 1;
    }

    /// The transaction ended. A large buffer is given back.
    pub(crate) fn reset(&mut self) {
        self.marks.clear();
        self.parts = 0;
        if self.events.capacity() > nuda_core::limits::SPILL_BYTES / 4 {
            self.events = Vec::new();
        } else {
            self.events.clear();
        }
    }
}

/// Iterates over events.
#[derive(Debug, Clone)]
pub(crate) struct Iter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Iter<'a> {
    type Item = Event<'a>;

    fn next(&mut self) -> Option<Event<'a>> {
        let (header, rest) = self.rest.split_first_chunk::<HEADER>()?;
        let [
            kind,
            t0,
            t1,
            t2,
            t3,
            r0,
            r1,
            r2,
            r3,
            r4,
            r5,
            r6,
            r7,
            l0,
            l1,
            l2,
            l3,
            u0,
            u1,
            u2,
            u3,
        ] = *header;
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let (payload, rest) = rest.split_at_checked(length)?;
        let length = u32::from_le_bytes([u0, u1, u2, u3]) as usize;
        let (undo, rest) = rest.split_at_checked(length)?;
        self.rest = rest;
        Some(Event {
            kind: match kind {
                1 => Kind::Insert,
                2 => Kind::Update,
                3 => Kind::Delete,
                _ => Kind::Definition,
            },
            table: u32::from_le_bytes([t0, t1, t2, t3]),
            row: u64::from_le_bytes([r0, r1, r2, r3, r4, r5, r6, r7]),
            payload,
            undo,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(buffer: &Buffer) -> Vec<u64> {
        buffer.iter().map(|event| event.row).collect()
    }

    #[test]
    fn savepoints_truncate() {
        let mut buffer = Buffer::default();
        buffer.push(Kind::Insert, 1, 10, b"a", b"");
        buffer.savepoint(0);
        buffer.push(Kind::Update, 1, 11, b"bb", b"");
        buffer.savepoint(1);
        buffer.push(Kind::Delete, 1, 12, b"", b"");
        buffer.rollback_to(1);
        assert_eq!(rows(&buffer), [10, 11]);
        buffer.rollback_to(0);
        assert_eq!(rows(&buffer), [10]);
        buffer.rollback_to(0);
        assert_eq!(rows(&buffer), [10]);
    }

    #[test]
    fn unknown_savepoint_means_the_beginning() {
        let mut buffer = Buffer::default();
        buffer.push(Kind::Insert, 1, 10, b"a", b"");
        buffer.rollback_to(3);
        assert!(buffer.is_empty());
    }

    #[test]
    fn a_late_joiner_does_not_move_a_mark() {
        let mut buffer = Buffer::default();
        buffer.savepoint(0);
        buffer.push(Kind::Insert, 1, 10, b"a", b"");
        buffer.savepoint(0);
        buffer.rollback_to(0);
        assert!(buffer.is_empty());
    }

    #[test]
    fn rollback_undoes_a_part_and_restores_what_it_held() {
        let mut buffer = Buffer::default();
        buffer.push(Kind::Insert, 1, 10, b"a", b"");
        buffer.savepoint(0);
        buffer.push(Kind::Insert, 1, 11, b"b", b"");
        buffer.spilled();
        buffer.push(Kind::Insert, 1, 12, b"c", b"");
        buffer.spilled();
        assert_eq!(buffer.parts(), 2);
        buffer.rollback_to(0);
        assert_eq!((buffer.parts(), rows(&buffer)), (0, vec![10]));
    }
}
