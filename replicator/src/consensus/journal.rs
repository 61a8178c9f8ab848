//! The journal: what the log file is about to get, on disk a moment earlier.
//!
//! A commit of SQLite with a sync costs the write of whole pages, and the sync waits for the file
//! system's own journal because the file's times and length change. One write into a file that
//! has all its blocks already, and the sync of its data alone, take less than half of that. So
//! entries go here first; the log file takes them later, many in one transaction and without a
//! sync of its own.
//!
//! A record is one batch: 16 bytes checksum, 8 bytes number, 4 bytes length, then rows of 8 bytes
//! key, 4 bytes length and body, all little-endian. Numbers ascend by one. Whoever reads stops at the
//! first record that is damaged, of another incarnation, or out of turn: a torn end, which nobody was told
//! of, or what was there before the writer went back to the beginning. That it does only when
//! the log file has everything on disk, and the file says up to which number.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use crate::broken::{Rule, is};

/// Bytes of the file, all of them allocated from the beginning.
const CAPACITY: usize = 4 << 20;

/// Bytes before the rows of a record.
const HEAD: usize = 16 + 8 + 4;

/// Keys and bodies of entries.
pub(super) type Rows = Vec<(i64, Arc<[u8]>)>;

/// The file, and where the next record goes.
pub(super) struct Journal {
    file: File,
    incarnation: u64,
    at: usize,
    next: u64,
}

impl Journal {
    /// Opens the file, or makes it. Answers also what it holds beyond record `upto`, in order;
    /// it is kept until [`Journal::begin_anew`].
    pub(super) fn open(path: &Path, incarnation: u64, upto: u64) -> io::Result<(Self, Vec<Rows>)> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        let mut bytes = Vec::new();
        (&mut file).take(CAPACITY as u64).read_to_end(&mut bytes)?;
        if bytes.len() < CAPACITY {
            fill(&file, path, bytes.len())?;
        }
        let (mut found, mut next, mut at) = (Vec::new(), None, 0);
        while let Some((number, rows, length)) =
            record(bytes.get(at..).unwrap_or_default(), incarnation)
            && next.is_none_or(|next| next == number)
        {
            if number > upto {
                found.push(rows);
            }
            next = Some(number + 1);
            at += length;
        }
        let next = next.unwrap_or(0).max(upto + 1);
        let journal = Self {
            file,
            incarnation,
            at,
            next,
        };
        Ok((journal, found))
    }

    /// The number of the latest record.
    pub(super) fn latest(&self) -> u64 {
        self.next - 1
    }

    /// Writes a record, and returns when the disk has it. False: there is no room, and nothing was written.
    pub(super) fn append<'a>(
        &mut self,
        rows: impl Iterator<Item = &'a (i64, Arc<[u8]>)>,
    ) -> io::Result<bool> {
        let mut bytes = vec![0; HEAD];
        for (key, body) in rows {
            let length = u32::try_from(body.len()).map_err(io::Error::other)?;
            bytes.extend_from_slice(&key.to_le_bytes());
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(body);
            if bytes.len() > CAPACITY - self.at {
                return Ok(false);
            }
        }
        let length = u32::try_from(bytes.len() - HEAD).map_err(io::Error::other)?;
        let sum = checksum(
            self.incarnation,
            self.next,
            bytes.get(HEAD..).unwrap_or_default(),
        );
        let head = [&sum[..], &self.next.to_le_bytes(), &length.to_le_bytes()].concat();
        if let Some(place) = bytes.get_mut(..HEAD) {
            place.copy_from_slice(&head);
        }
        // Taken also if this fails: half of the record may be there.
        let at = self.at;
        self.at += bytes.len();
        self.next += 1;
        self.file.write_all_at(&bytes, at as u64)?;
        if !is(Rule::Fsync) {
            self.file.sync_data()?;
        }
        Ok(true)
    }

    /// The log file has everything on disk, up to [`Journal::latest`]: the room is free again.
    pub(super) fn begin_anew(&mut self) {
        self.at = 0;
    }
}

/// Allocates what is missing, so that no later write changes anything but content.
fn fill(file: &File, path: &Path, from: usize) -> io::Result<()> {
    let mut to = file;
    io::Seek::seek(&mut to, io::SeekFrom::Start(from as u64))?;
    to.write_all(&vec![0; CAPACITY - from])?;
    file.sync_all()?;
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

/// The record at the beginning of `bytes`, and its length.
fn record(bytes: &[u8], incarnation: u64) -> Option<(u64, Rows, usize)> {
    let (sum, rest) = bytes.split_first_chunk::<16>()?;
    let (number, rest) = rest.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (number, length) = (
        u64::from_le_bytes(*number),
        u32::from_le_bytes(*length) as usize,
    );
    let content = rest.get(..length)?;
    if checksum(incarnation, number, content) != *sum {
        return None;
    }
    let (mut rows, mut rest) = (Vec::new(), content);
    while !rest.is_empty() {
        let (key, after) = rest.split_first_chunk::<8>()?;
        let (length, after) = after.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length) as usize;
        rows.push((i64::from_le_bytes(*key), after.get(..length)?.into()));
        rest = after.get(length..)?;
    }
    Some((number, rows, HEAD + length))
}

fn checksum(incarnation: u64, number: u64, content: &[u8]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&incarnation.to_le_bytes());
    hasher.update(&number.to_le_bytes());
    hasher.update(content);
    let mut sum = [0; 16];
    hasher.finalize_xof().fill(&mut sum);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(key: i64, bytes: usize) -> Rows {
        vec![(key, vec![7; bytes].into()), (key + 1, vec![].into())]
    }

    fn keys(found: &[Rows]) -> Vec<i64> {
        found.iter().map(|rows| rows[0].0).collect()
    }

    #[test]
    fn what_was_appended_is_found_beyond_what_is_known() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("j");
        let (mut journal, found) = Journal::open(&path, 5, 0).unwrap();
        assert!(found.is_empty());
        for key in 1..=3 {
            assert!(journal.append(rows(key, 100).iter()).unwrap());
        }
        assert_eq!(journal.latest(), 3);
        assert_eq!(path.metadata().unwrap().len(), CAPACITY as u64);
        let (journal, found) = Journal::open(&path, 5, 1).unwrap();
        assert_eq!(found, [rows(2, 100), rows(3, 100)]);
        assert_eq!(journal.latest(), 3);
        let (journal, found) = Journal::open(&path, 5, 9).unwrap();
        assert!(found.is_empty() && journal.latest() == 9);
        let (_, found) = Journal::open(&path, 6, 0).unwrap();
        assert!(found.is_empty(), "of another incarnation");
    }

    #[test]
    fn a_torn_end_is_the_end_wherever_it_is_torn() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("j");
        let (mut journal, _) = Journal::open(&path, 5, 0).unwrap();
        journal.append(rows(1, 10).iter()).unwrap();
        let first = journal.at;
        journal.append(rows(2, 10).iter()).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for at in first..journal.at {
            let mut torn = whole.clone();
            torn[at] ^= 0x10;
            std::fs::write(&path, &torn).unwrap();
            let (again, found) = Journal::open(&path, 5, 0).unwrap();
            assert_eq!((keys(&found), again.latest()), (vec![1], 1), "{at}");
        }
    }

    #[test]
    fn what_was_there_before_the_beginning_anew_is_not_found_again() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("j");
        let (mut journal, _) = Journal::open(&path, 5, 0).unwrap();
        for key in 1..=4 {
            journal.append(rows(key, 10).iter()).unwrap();
        }
        journal.begin_anew();
        // All in the log file, and nothing new yet.
        let (again, found) = Journal::open(&path, 5, 4).unwrap();
        assert!(found.is_empty() && again.latest() == 4);
        // Of the same length as the first: what follows looks whole, and is out of turn.
        journal.append(rows(5, 10).iter()).unwrap();
        let (again, found) = Journal::open(&path, 5, 4).unwrap();
        assert_eq!((keys(&found), again.latest()), (vec![5], 5));
    }

    #[test]
    fn a_full_journal_takes_nothing_until_it_begins_anew() {
        let home = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(&home.path().join("j"), 5, 0).unwrap();
        assert!(journal.append(rows(1, CAPACITY - 200).iter()).unwrap());
        assert!(!journal.append(rows(2, 200).iter()).unwrap());
        assert_eq!(journal.latest(), 1);
        journal.begin_anew();
        assert!(journal.append(rows(2, 200).iter()).unwrap());
        assert!(!journal.append(rows(3, CAPACITY).iter()).unwrap());
    }
}
