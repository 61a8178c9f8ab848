//! Changesets as the model knows them, and their way into and out of real encoded parts.

use std::rc::Rc;

use nuda_core::changeset::{ChainHash, ChainHasher, Header, Level, Part};
use nuda_core::hlc::Stamp;
use nuda_core::merge::Event;
use nuda_core::protocol::PartBytes;
use nuda_core::row::{BodyReader, Cell, Change, Item, RowChange, TableRef, put_row, put_table};
use nuda_core::site::{Dot, PartitionId};
use nuda_core::value::Value;
use nuda_core::version_vector::VersionVector;

use crate::rng::Rng;

/// A chain hash as a name: what tells two variants of one dot apart.
pub(crate) type Id = [u8; 16];

pub(crate) const PARTITION: PartitionId = PartitionId([7; 16]);

/// Two registers and a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Row {
    pub(crate) a: i64,
    pub(crate) b: i64,
    pub(crate) n: i128,
}

/// A change of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Op {
    Insert(Row),
    Update {
        a: Option<i64>,
        b: Option<i64>,
        n: Option<i128>,
    },
    Delete,
}

impl Op {
    /// What it adds to the counter.
    pub(crate) fn added(&self) -> i128 {
        match self {
            Self::Insert(row) => row.n,
            Self::Update { n, .. } => n.unwrap_or(0),
            Self::Delete => 0,
        }
    }

    fn change(&self, key: i64) -> Change<'static> {
        match self {
            Self::Insert(row) => Change::Insert(vec![
                Cell::Value(Value::Int(key)),
                Cell::Value(Value::Int(row.a)),
                Cell::Value(Value::Int(row.b)),
                Cell::Add(row.n),
            ]),
            Self::Update { a, b, n } => {
                let mut cells = Vec::new();
                cells.extend(a.map(|a| (1, Cell::Value(Value::Int(a)))));
                cells.extend(b.map(|b| (2, Cell::Value(Value::Int(b)))));
                cells.extend(n.map(|n| (3, Cell::Add(n))));
                Change::Update(cells)
            }
            Self::Delete => Change::Delete,
        }
    }

    fn of(change: &RowChange<'_>) -> (i64, Self) {
        let Value::Int(key) = change.key[0] else {
            panic!("a key that is no integer")
        };
        let mut a = None;
        let mut b = None;
        let mut n = None;
        let mut set = |column: usize, cell: &Cell<'_>| match (column, cell) {
            (1, Cell::Value(Value::Int(v))) => a = Some(*v),
            (2, Cell::Value(Value::Int(v))) => b = Some(*v),
            (3, Cell::Add(v)) => n = Some(*v),
            _ => {}
        };
        let op = match &change.change {
            Change::Delete => Self::Delete,
            Change::Update(cells) => {
                cells.iter().for_each(|(column, cell)| set(*column, cell));
                Self::Update { a, b, n }
            }
            Change::Insert(cells) => {
                cells
                    .iter()
                    .enumerate()
                    .for_each(|(column, cell)| set(column, cell));
                let row = Row {
                    a: a.unwrap(),
                    b: b.unwrap(),
                    n: n.unwrap(),
                };
                Self::Insert(row)
            }
        };
        (key, op)
    }
}

/// A changeset in the log.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) dot: Dot,
    pub(crate) stamp: Stamp,
    /// All it had seen of other sites.
    pub(crate) seen: VersionVector,
    pub(crate) hash: ChainHash,
    pub(crate) previous: ChainHash,
    /// The version of the table that it needs.
    pub(crate) needs: u32,
    pub(crate) ops: Vec<(i64, Op)>,
    pub(crate) parts: Vec<PartBytes>,
}

impl Record {
    pub(crate) fn event(&self, index: usize) -> Event<'_> {
        let (key, op) = &self.ops[index];
        Event {
            dot: self.dot,
            index: index as u64,
            stamp: self.stamp,
            seen: &self.seen,
            change: op.change(*key),
        }
    }
}

fn table(version: u32) -> TableRef {
    TableRef {
        number: 1,
        version,
        definition: 99,
        key_columns: 1,
        columns: 4,
    }
}

pub(crate) fn encode(
    dot: Dot,
    stamp: Stamp,
    (seen, before): (VersionVector, &VersionVector),
    previous: ChainHash,
    needs: u32,
    ops: Vec<(i64, Op)>,
    rng: &mut Rng,
) -> Rc<Record> {
    let rose = seen
        .iter()
        .filter(|(site, seq)| *seq > before.get(*site))
        .collect();
    let header = Header {
        dot,
        stamp,
        level: Level::Eventual,
        author: String::new(),
        rose,
    }
    .encode();
    // One part, or one for each row.
    let split = rng.chance(30);
    let mut bodies = vec![Vec::new()];
    for (n, (key, op)) in ops.iter().enumerate() {
        if n > 0 && split {
            bodies.push(Vec::new());
        }
        let body = bodies.last_mut().unwrap();
        if body.is_empty() {
            put_table(body, &table(needs));
        }
        put_row(
            body,
            &RowChange {
                key: vec![Value::Int(*key)],
                change: op.change(*key),
            },
        );
    }
    let mut hasher = ChainHasher::new(previous, &header);
    bodies.iter().for_each(|body| hasher.update(body));
    let hash = hasher.finish();
    let count = bodies.len();
    let parts = bodies.iter().enumerate().map(|(n, body)| {
        let part = Part {
            partition: PARTITION,
            dot,
            part: n as u32,
            first: (n == 0).then_some((previous, header.as_slice())),
            last: (n + 1 == count).then_some(hash),
            body,
        };
        PartBytes::new(part.encode()).unwrap()
    });
    let parts = parts.collect();
    Rc::new(Record {
        dot,
        stamp,
        seen,
        hash,
        previous,
        needs,
        ops,
        parts,
    })
}

/// The record of all its parts; `None` if these are of two variants, which their hash says.
pub(crate) fn decode(parts: Vec<PartBytes>, before: &VersionVector) -> Option<Rc<Record>> {
    let (mut ops, mut needs) = (Vec::new(), 0);
    let mut start = None;
    let mut end = None;
    for bytes in &parts {
        let part = Part::decode(&bytes.bytes).unwrap();
        if let Some((previous, header)) = part.first {
            let decoded = Header::decode(header).unwrap();
            start = Some((decoded, previous, ChainHasher::new(previous, header)));
        }
        start.as_mut().unwrap().2.update(part.body);
        end = part.last.or(end);
        let mut reader = BodyReader::new(part.body);
        while let Some(item) = reader.next_item().unwrap() {
            match item {
                Item::Row(change) => ops.push(Op::of(&change)),
                Item::Table(at) => needs = at.version,
                Item::Schema(_) => {}
            }
        }
    }
    let (header, previous, hasher) = start.unwrap();
    let hash = hasher.finish();
    if Some(hash) != end {
        return None;
    }
    let mut seen = before.clone();
    seen.join(&header.rose);
    Some(Rc::new(Record {
        dot: header.dot,
        stamp: header.stamp,
        seen,
        hash,
        previous,
        needs,
        ops,
        parts,
    }))
}
