//! Random content of every kind, with a liking for the edges of the encodings.

use nuda_core::changeset::{ChainHash, Header, Level, Part};
use nuda_core::codec::Reader;
use nuda_core::hlc::Stamp;
use nuda_core::limits;
use nuda_core::row::{
    BodyReader, Cell, Change, Item, OwnedCell, RowChange, TableRef, put_row, put_schema, put_table,
};
use nuda_core::site::{Dot, PartitionId, Site};
use nuda_core::types::orset;
use nuda_core::value::OwnedValue;
use nuda_core::version_vector::VersionVector;
use proptest::collection::vec;
use proptest::prelude::*;

/// Numbers around which encodings change their length.
pub(crate) fn edges() -> Vec<i128> {
    let mut edges = vec![0];
    for power in [7, 8, 14, 15, 16, 21, 31, 32, 34, 47, 48, 63, 64, 126] {
        for near in -2..=2 {
            edges.extend([(1i128 << power) + near, -(1i128 << power) + near]);
        }
    }
    edges.extend([i128::MIN, i128::MIN + 1, i128::MAX - 1, i128::MAX]);
    edges
}

/// Any signed number, often an edge.
pub(crate) fn number() -> impl Strategy<Value = i128> {
    prop_oneof![prop::sample::select(edges()), any::<i128>(), -200i128..200]
}

fn wrapped<T>(make: impl Fn(i128) -> T) -> impl Strategy<Value = T>
where
    T: std::fmt::Debug,
{
    number().prop_map(make)
}

/// Any 64-bit number, often an edge.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub(crate) fn unsigned() -> impl Strategy<Value = u64> {
    wrapped(|n| n as u64)
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let lengths = vec![0usize, 1, 30, 31, 32, 62, 63, 64, 127, 128, 16_383, 16_384];
    prop_oneof![
        8 => vec(any::<u8>(), 0..40),
        1 => prop::sample::select(lengths).prop_flat_map(|n| vec(any::<u8>(), n)),
    ]
}

/// Any value.
#[allow(clippy::cast_possible_truncation)]
pub(crate) fn value() -> impl Strategy<Value = OwnedValue> {
    prop_oneof![
        Just(OwnedValue::Null),
        wrapped(|n| OwnedValue::Int(n as i64)),
        any::<u64>()
            .prop_map(f64::from_bits)
            .prop_filter("SQLite has no NaN", |r| !r.is_nan())
            .prop_map(OwnedValue::Real),
        prop::sample::select(vec![
            0.0,
            -0.0,
            1.0,
            f64::INFINITY,
            f64::MIN_POSITIVE,
            5e-324
        ])
        .prop_map(OwnedValue::Real),
        bytes().prop_map(OwnedValue::Text),
        bytes().prop_map(OwnedValue::Blob),
    ]
}

/// Any edit of a set, in the encoding's own order.
fn set_edit() -> impl Strategy<Value = OwnedCell> {
    let element = prop_oneof![
        "[a-c]{0,2}".prop_map(|s| format!("\"{s}\"").into_bytes()),
        (-20i64..20).prop_map(|n| n.to_string().into_bytes()),
        bytes(),
    ];
    let elements = vec((element, any::<bool>()), 0..5);
    (elements, any::<bool>()).prop_map(|(mut elements, leaves_null)| {
        elements.sort_by(|(a, _), (b, _)| nuda_core::json::compare(a, b));
        elements.dedup_by(|(a, _), (b, _)| a == b);
        let with = |wanted| -> Vec<&[u8]> {
            let some = elements.iter().filter(|(_, added)| *added == wanted);
            some.map(|(element, _)| element.as_slice()).collect()
        };
        let (added, removed) = (with(true), with(false));
        let mut out = Vec::new();
        orset::encode(leaves_null && added.is_empty(), &added, &removed, &mut out);
        OwnedCell::from(Cell::decode(&mut Reader::new(&out)).unwrap())
    })
}

/// Any cell that may travel.
pub(crate) fn cell() -> impl Strategy<Value = OwnedCell> {
    let limit = i128::from(limits::DIFFERENCE);
    prop_oneof![
        3 => value().prop_map(OwnedCell::Value),
        1 => number().prop_map(move |n| OwnedCell::Add(n.clamp(-limit, limit))),
        1 => set_edit(),
    ]
}

/// An item that owns its content; [`encode`] writes a list of them.
#[derive(Debug, Clone)]
pub(crate) enum OwnedItem {
    Table(TableRef),
    Insert(Vec<OwnedValue>, Vec<OwnedCell>),
    Update(Vec<OwnedValue>, Vec<(usize, OwnedCell)>),
    Delete(Vec<OwnedValue>),
    Schema(Vec<u8>),
}

impl OwnedItem {
    /// What a reader makes of it.
    pub(crate) fn as_item(&self) -> Item<'_> {
        match self {
            Self::Table(table) => Item::Table(*table),
            Self::Schema(definition) => Item::Schema(definition),
            Self::Insert(key, rest) => Item::Row(RowChange {
                key: key.iter().map(OwnedValue::as_ref).collect(),
                change: Change::Insert(
                    key.iter()
                        .map(|v| Cell::Value(v.as_ref()))
                        .chain(rest.iter().map(OwnedCell::as_ref))
                        .collect(),
                ),
            }),
            Self::Update(key, cells) => Item::Row(RowChange {
                key: key.iter().map(OwnedValue::as_ref).collect(),
                change: Change::Update(cells.iter().map(|(c, cell)| (*c, cell.as_ref())).collect()),
            }),
            Self::Delete(key) => Item::Row(RowChange {
                key: key.iter().map(OwnedValue::as_ref).collect(),
                change: Change::Delete,
            }),
        }
    }
}

fn table() -> impl Strategy<Value = TableRef> {
    let columns = (1usize..4, 0usize..5);
    (any::<u32>(), any::<u32>(), any::<u64>(), columns).prop_map(
        |(number, version, definition, (key_columns, rest))| TableRef {
            number,
            version,
            definition,
            key_columns,
            columns: key_columns + rest,
        },
    )
}

fn row(table: TableRef) -> impl Strategy<Value = OwnedItem> {
    let key = vec(value(), table.key_columns);
    let rest = table.columns - table.key_columns;
    let cells = vec((any::<bool>(), cell()), rest);
    let first = table.key_columns;
    (0..3, key, cells).prop_map(move |(kind, key, cells)| match kind {
        0 => OwnedItem::Insert(key, cells.into_iter().map(|(_, cell)| cell).collect()),
        1 => {
            let numbered = (first..).zip(cells);
            let changed = numbered.filter(|(_, (changed, _))| *changed);
            OwnedItem::Update(key, changed.map(|(c, (_, cell))| (c, cell)).collect())
        }
        _ => OwnedItem::Delete(key),
    })
}

fn group() -> impl Strategy<Value = Vec<OwnedItem>> {
    let schema = prop::option::of(bytes().prop_map(OwnedItem::Schema));
    (
        table().prop_flat_map(|t| (Just(t), vec(row(t), 0..4))),
        schema,
    )
        .prop_map(|((table, rows), schema)| {
            let mut items = vec![OwnedItem::Table(table)];
            items.extend(rows);
            items.extend(schema);
            items
        })
}

/// Any body.
pub(crate) fn items() -> impl Strategy<Value = Vec<OwnedItem>> {
    vec(group(), 0..4).prop_map(|groups| groups.concat())
}

/// The encoded form of items.
pub(crate) fn encode<'a>(items: impl IntoIterator<Item = Item<'a>>) -> Vec<u8> {
    let mut out = Vec::new();
    for item in items {
        match item {
            Item::Table(table) => put_table(&mut out, &table),
            Item::Schema(definition) => put_schema(&mut out, definition),
            Item::Row(row) => put_row(&mut out, &row),
        }
    }
    out
}

/// All items of a body, or why not.
pub(crate) fn decode(body: &[u8]) -> Result<Vec<Item<'_>>, nuda_core::error::DecodeError> {
    let mut reader = BodyReader::new(body);
    let mut items = Vec::new();
    while let Some(item) = reader.next_item()? {
        items.push(item);
    }
    Ok(items)
}

fn site() -> impl Strategy<Value = Site> {
    let edge = prop::sample::select(vec![1, 2, 16, u64::MAX]);
    prop_oneof![1 => edge, 3 => 16u64..].prop_map(|n| Site::from_u64(n).unwrap())
}

fn dot() -> impl Strategy<Value = Dot> {
    let edge = prop::sample::select(vec![1, 127, 128, 1 << 14, 1 << 32, limits::SEQ - 1]);
    let seq = prop_oneof![edge, 1..limits::SEQ];
    (site(), seq).prop_map(|(site, seq)| Dot { site, seq })
}

/// Any header.
pub(crate) fn header() -> impl Strategy<Value = Header> {
    let level = prop::sample::select(vec![Level::Eventual, Level::Quorum, Level::Strong]);
    let author = prop_oneof!["", "[a-zé]{1,20}", Just("a".repeat(limits::AUTHOR_BYTES))];
    let rose = vec(dot(), 0..6);
    let stamp = unsigned().prop_map(|n| Stamp::from_u64(n & Stamp::MAX.get()).unwrap());
    (dot(), stamp, level, author, rose).prop_map(|(dot, stamp, level, author, rose)| {
        let mut rose: VersionVector = rose.into_iter().map(|d| (d.site, d.seq)).collect();
        rose.set(dot.site, 0);
        Header {
            dot,
            stamp,
            level,
            author,
            rose,
        }
    })
}

/// A part that owns its content.
#[derive(Debug, Clone)]
pub(crate) struct OwnedPart {
    header: Header,
    encoded: Vec<u8>,
    previous: ChainHash,
    partition: PartitionId,
    part: u32,
    last: Option<ChainHash>,
    body: Vec<u8>,
}

impl OwnedPart {
    /// Borrows it.
    pub(crate) fn as_ref(&self) -> Part<'_> {
        Part {
            partition: self.partition,
            dot: self.header.dot,
            part: self.part,
            first: (self.part == 0).then_some((self.previous, self.encoded.as_slice())),
            last: self.last,
            body: &self.body,
        }
    }

    /// What [`Part::header`] should answer.
    pub(crate) fn header(&self) -> Option<&Header> {
        (self.part == 0).then_some(&self.header)
    }
}

/// Any part.
pub(crate) fn part() -> impl Strategy<Value = OwnedPart> {
    let number = prop::sample::select(vec![0, 0, 1, 127, 128, limits::PARTS - 1]);
    let hash = any::<[u8; 16]>().prop_map(ChainHash);
    let last = prop::option::of(any::<[u8; 16]>().prop_map(ChainHash));
    let body = vec(any::<u8>(), 0..60);
    (header(), hash, any::<[u8; 16]>(), number, last, body).prop_map(
        |(header, previous, partition, part, last, body)| OwnedPart {
            encoded: header.encode(),
            header,
            previous,
            partition: PartitionId(partition),
            part,
            last,
            body,
        },
    )
}
