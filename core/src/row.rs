//! The body of a changeset: a stream of changes, grouped by table.
//!
//! A body is read front to back; a part of a changeset ends between two items and names the
//! table it continues with. Columns are numbered with the primary key first, so a reader can
//! find the key without knowing the schema. Items:
//!
//! ```text
//! 00  TABLE   varint number, varint version, 8 bytes definition hash, varint key columns,
//!             varint columns: what follows belongs to this table
//! 01  INSERT  one cell for each column: a new life of the row; values are absolute
//! 02  UPDATE  the key's values, varint n, n x (varint column - previous column, cell)
//! 03  DELETE  the key's values
//! 04  SCHEMA  varint length, a definition (see `schema`): what follows may depend on it
//! ```
//!
//! A cell is a value (see [`crate::value`]); or, tagged `0x20`, a signed difference, which a
//! `COUNTER` ships; or, tagged `0x21`, the elements that an `ORSET` gained and lost
//! ([`crate::types::orset`]); or, tagged `0x22` or `0x23`, the sized edit of a text
//! ([`crate::types::text`]) or a document ([`crate::types::doc::edit`]), which is not looked into here. Types added later take further tags; a reader that meets an
//! unknown tag ([`DecodeError::is_newer`]) keeps the changeset as a whole and waits for an
//! upgrade. Whether a cell suits its column is for the applier to check
//! ([`crate::types::ColumnType::fits`]): this module knows no schema.

use crate::codec::{Reader, put_signed, put_sized, put_varint};
use crate::error::DecodeError;
use crate::limits;
use crate::types::orset;
use crate::value::{OwnedValue, Value};

const TABLE: u8 = 0x00;
const INSERT: u8 = 0x01;
const UPDATE: u8 = 0x02;
const DELETE: u8 = 0x03;
const SCHEMA: u8 = 0x04;
const DIFFERENCE: u8 = 0x20;

/// Which table, in which shape, the following changes belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TableRef {
    /// The table's number in its partition, given by `nuda_track`.
    pub number: u32,
    /// How often its definition has changed; from 1.
    pub version: u32,
    /// Hash of the definition: tells two forks of a version apart.
    pub definition: u64,
    /// Columns of the primary key; they come first.
    pub key_columns: usize,
    /// All replicated columns.
    pub columns: usize,
}

/// The new content of one column.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cell<'a> {
    /// A register's new value.
    Value(Value<'a>),
    /// What was added to a counter: within [`limits::DIFFERENCE`] either way, as the
    /// difference of two integers is. Sums of many, which never travel, may exceed it.
    Add(i128),
    /// What a set gained and lost.
    Set(orset::Edit<'a>),
    /// An edit of a text, encoded.
    Text(&'a [u8]),
    /// An edit of a document, encoded.
    Doc(&'a [u8]),
}

impl<'a> Cell<'a> {
    pub(crate) const SET: u8 = 0x21;
    const TEXT: u8 = 0x22;
    const DOC: u8 = 0x23;

    /// Appends the encoded form.
    pub fn encode(self, out: &mut Vec<u8>) {
        match self {
            Self::Value(value) => value.encode(out),
            Self::Add(n) => {
                out.push(DIFFERENCE);
                put_signed(out, n);
            }
            Self::Set(edit) => edit.encode(out),
            Self::Text(edit) => {
                out.push(Self::TEXT);
                put_sized(out, edit);
            }
            Self::Doc(edit) => {
                out.push(Self::DOC);
                put_sized(out, edit);
            }
        }
    }

    /// Reads one cell.
    ///
    /// # Errors
    /// Malformed or beyond the bounds.
    pub fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        match reader.byte("a cell")? {
            DIFFERENCE => {
                let n = reader.signed("a difference")?;
                if n.unsigned_abs() > u128::from(limits::DIFFERENCE) {
                    return Err(DecodeError::Invalid("a difference beyond 64 bits"));
                }
                Ok(Self::Add(n))
            }
            Self::SET => orset::Edit::decode(reader).map(Self::Set),
            Self::TEXT => reader
                .sized("an edit of a text", limits::VALUE_BYTES)
                .map(Self::Text),
            Self::DOC => reader
                .sized("an edit of a document", limits::VALUE_BYTES)
                .map(Self::Doc),
            tag => Value::decode_tagged(tag, reader).map(Self::Value),
        }
    }
}

/// A cell that owns its content.
#[derive(Debug, Clone, PartialEq)]
pub enum OwnedCell {
    /// See [`Cell::Value`].
    Value(OwnedValue),
    /// See [`Cell::Add`].
    Add(i128),
    /// See [`Cell::Set`].
    Set(orset::OwnedEdit),
    /// See [`Cell::Text`].
    Text(Vec<u8>),
    /// See [`Cell::Doc`].
    Doc(Vec<u8>),
}

impl OwnedCell {
    /// Borrows it.
    #[must_use]
    pub fn as_ref(&self) -> Cell<'_> {
        match self {
            Self::Value(value) => Cell::Value(value.as_ref()),
            Self::Add(n) => Cell::Add(*n),
            Self::Set(edit) => Cell::Set(edit.as_ref()),
            Self::Text(edit) => Cell::Text(edit),
            Self::Doc(edit) => Cell::Doc(edit),
        }
    }
}

impl From<Cell<'_>> for OwnedCell {
    fn from(cell: Cell<'_>) -> Self {
        match cell {
            Cell::Value(value) => Self::Value(value.into()),
            Cell::Add(n) => Self::Add(n),
            Cell::Set(edit) => Self::Set(edit.into()),
            Cell::Text(edit) => Self::Text(edit.to_vec()),
            Cell::Doc(edit) => Self::Doc(edit.to_vec()),
        }
    }
}

/// What happened to one row.
#[derive(Debug, Clone, PartialEq)]
pub enum Change<'a> {
    /// The row began a new life: one cell for every column, key first.
    Insert(Vec<Cell<'a>>),
    /// Some columns changed: (column, cell), ascending, never of the key. With none, it only
    /// keeps the row alive.
    Update(Vec<(usize, Cell<'a>)>),
    /// The row was deleted.
    Delete,
}

/// One change of one row.
#[derive(Debug, Clone, PartialEq)]
pub struct RowChange<'a> {
    /// The primary key's values.
    pub key: Vec<Value<'a>>,
    /// What happened.
    pub change: Change<'a>,
}

/// One item of a body.
#[derive(Debug, Clone, PartialEq)]
pub enum Item<'a> {
    /// The following changes belong to this table.
    Table(TableRef),
    /// A change of a row of the table named last.
    Row(RowChange<'a>),
    /// A change of the schema, in the encoding of [`crate::schema`].
    Schema(&'a [u8]),
}

/// Appends a TABLE item.
pub fn put_table(out: &mut Vec<u8>, table: &TableRef) {
    out.push(TABLE);
    put_varint(out, u64::from(table.number));
    put_varint(out, u64::from(table.version));
    out.extend_from_slice(&table.definition.to_be_bytes());
    put_varint(out, table.key_columns as u64);
    put_varint(out, table.columns as u64);
}

/// Appends a SCHEMA item.
pub fn put_schema(out: &mut Vec<u8>, definition: &[u8]) {
    out.push(SCHEMA);
    put_sized(out, definition);
}

/// Appends a row's change. An INSERT's key is its first cells; `row.key` is not looked at.
pub fn put_row(out: &mut Vec<u8>, row: &RowChange<'_>) {
    match &row.change {
        Change::Insert(cells) => {
            begin_insert(out);
            for cell in cells {
                cell.encode(out);
            }
        }
        Change::Update(cells) => {
            begin_update(out);
            for value in &row.key {
                value.encode(out);
            }
            put_varint(out, cells.len() as u64);
            let mut previous = 0;
            for (column, cell) in cells {
                put_varint(out, column.saturating_sub(previous) as u64);
                cell.encode(out);
                previous = *column;
            }
        }
        Change::Delete => {
            begin_delete(out);
            for value in &row.key {
                value.encode(out);
            }
        }
    }
}

/// Starts an INSERT; the caller appends one cell for each column.
pub fn begin_insert(out: &mut Vec<u8>) {
    out.push(INSERT);
}

/// Starts an UPDATE; the caller appends key values, count, and (column step, cell) pairs.
pub fn begin_update(out: &mut Vec<u8>) {
    out.push(UPDATE);
}

/// Starts a DELETE; the caller appends the key's values.
pub fn begin_delete(out: &mut Vec<u8>) {
    out.push(DELETE);
}

/// Reads a body, item by item.
#[derive(Debug, Clone)]
pub struct BodyReader<'a> {
    reader: Reader<'a>,
    table: Option<TableRef>,
}

impl<'a> BodyReader<'a> {
    /// Reads from the beginning of a body or of one part of it.
    #[must_use]
    pub fn new(body: &'a [u8]) -> Self {
        Self {
            reader: Reader::new(body),
            table: None,
        }
    }

    /// Reads on from `position`, where the table named last was `table`.
    #[must_use]
    pub fn resume(body: &'a [u8], position: usize, table: TableRef) -> Self {
        Self {
            reader: Reader::new(body.get(position..).unwrap_or_default()),
            table: Some(table),
        }
    }

    /// How many bytes are left: the next item begins that far from the end.
    #[must_use]
    pub fn left(&self) -> usize {
        self.reader.rest().len()
    }

    /// The next item, or `None` at the end.
    ///
    /// # Errors
    /// Malformed, beyond the bounds, or of a kind that only a newer version knows. What
    /// follows an error has no meaning: read no further.
    pub fn next_item(&mut self) -> Result<Option<Item<'a>>, DecodeError> {
        if self.reader.is_empty() {
            return Ok(None);
        }
        let item = match self.reader.byte("an item")? {
            TABLE => {
                let table = self.table_ref()?;
                self.table = Some(table);
                Item::Table(table)
            }
            SCHEMA => Item::Schema(
                self.reader
                    .sized("a definition", limits::DEFINITION_BYTES)?,
            ),
            kind => Item::Row(self.row(kind)?),
        };
        Ok(Some(item))
    }

    fn table_ref(&mut self) -> Result<TableRef, DecodeError> {
        let r = &mut self.reader;
        let small = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        let number = small(r.bounded("a table number", u64::from(u32::MAX))?);
        let version = small(r.bounded("a schema version", u64::from(u32::MAX))?);
        let definition = u64::from_be_bytes(r.array::<8>("a definition hash")?);
        let key_columns = r.bounded("key columns", limits::KEY_COLUMNS as u64)? as usize;
        let columns = r.bounded("columns", limits::COLUMNS as u64)? as usize;
        if key_columns == 0 || columns < key_columns {
            return Err(DecodeError::Invalid(
                "a table whose key exceeds its columns",
            ));
        }
        Ok(TableRef {
            number,
            version,
            definition,
            key_columns,
            columns,
        })
    }

    fn row(&mut self, kind: u8) -> Result<RowChange<'a>, DecodeError> {
        if !matches!(kind, INSERT | UPDATE | DELETE) {
            return Err(DecodeError::Unknown("an item of this kind"));
        }
        let table = self
            .table
            .ok_or(DecodeError::Invalid("a change before its table"))?;
        if kind == INSERT {
            return self.insert(&table);
        }
        let mut key = Vec::with_capacity(table.key_columns);
        for _ in 0..table.key_columns {
            key.push(Value::decode(&mut self.reader)?);
        }
        let change = if kind == DELETE {
            Change::Delete
        } else {
            Change::Update(self.updated(&table)?)
        };
        Ok(RowChange { key, change })
    }

    fn insert(&mut self, table: &TableRef) -> Result<RowChange<'a>, DecodeError> {
        if table.columns > self.reader.rest().len() {
            return Err(DecodeError::Truncated("a row"));
        }
        let mut key = Vec::with_capacity(table.key_columns);
        let mut cells = Vec::with_capacity(table.columns);
        for column in 0..table.columns {
            let cell = Cell::decode(&mut self.reader)?;
            if column < table.key_columns {
                match cell {
                    Cell::Value(value) => key.push(value),
                    _ => return Err(DecodeError::Invalid("a difference as a key")),
                }
            }
            cells.push(cell);
        }
        Ok(RowChange {
            key,
            change: Change::Insert(cells),
        })
    }

    fn updated(&mut self, table: &TableRef) -> Result<Vec<(usize, Cell<'a>)>, DecodeError> {
        let count = self.reader.length("changed columns", table.columns)?;
        let mut cells = Vec::with_capacity(count);
        let mut column = 0usize;
        for n in 0..count {
            let step = self.reader.bounded("a column", limits::COLUMNS as u64)? as usize;
            if n > 0 && step == 0 {
                return Err(DecodeError::Invalid("a column named twice"));
            }
            column += step;
            if column < table.key_columns || column >= table.columns {
                return Err(DecodeError::Invalid(
                    "a change of a column that is not there",
                ));
            }
            cells.push((column, Cell::decode(&mut self.reader)?));
        }
        Ok(cells)
    }
}
