//! FOREIGN KEYs of eventual tables that are kept (the option `foreign_keys`): what refers to what.
//!
//! A *reference* is a FOREIGN KEY between two tracked tables, a *target* the columns that one names in
//! the table it refers to. What a row wants by a reference and what a row offers by a target are
//! bytes ([`nuda_core::references`]): the target's table and columns, and the values as the target's
//! collations compare them. A writer's SQLite may take '1' and 1 for equal where columns
//! have different affinities; such a spelling is refused where it is written
//! ([`crate::ancestors`]), so that here equal bytes are the only equality.
//!
//! The invariant: a reference is kept as soon as both its tables are tracked. That they are, and
//! that the rows agree with it by then, is seen to when a table is tracked
//! ([`crate::foreign_keys`]).

use std::rc::Rc;

use nuda_core::codec::{Reader, put_varint};
use nuda_core::references::{Name, Node, Want};
use nuda_core::sorted;
use nuda_core::value::{OwnedValue, Value};

use crate::births::key_bytes;
use crate::constraints::folded;
use crate::error::Result;
use crate::ffi::db::Db;
use crate::foreign_keys::ForeignKey;
use crate::sql::same_name;
use crate::tracked::{Table, quote};

/// Begins what a row wants, where else the key of a row stands: no value begins with it.
pub(crate) const WANT: u8 = 0xf0;

/// A column of a target: its position, and the collation it is compared by.
type TargetColumn = (usize, String);

/// What references name in a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// The table's number.
    pub(crate) table: u32,
    /// By position, ascending.
    columns: Vec<TargetColumn>,
    is_key: bool,
}

/// A FOREIGN KEY that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    /// The number of the table that it is in.
    pub(crate) child: u32,
    /// The columns that refer, in the order of the target's.
    pub(crate) columns: Vec<usize>,
    pub(crate) target: Rc<Target>,
}

/// All references between tracked tables.
#[derive(Debug, Clone, Default)]
pub(crate) struct References {
    all: Vec<Reference>,
    targets: Vec<Rc<Target>>,
}

impl Target {
    fn encode<'v>(&self, values: impl Iterator<Item = Option<Value<'v>>>) -> Option<Want> {
        let mut want = vec![WANT];
        want.extend_from_slice(&self.table.to_be_bytes());
        put_varint(&mut want, self.columns.len() as u64);
        for (position, _) in &self.columns {
            put_varint(&mut want, *position as u64);
        }
        for ((_, collation), value) in self.columns.iter().zip(values) {
            let mut space = Vec::new();
            folded(value?, collation, &mut space)?.encode(&mut want);
        }
        Some(want)
    }

    /// What a row of the table offers; nothing if a NULL is in it.
    pub(crate) fn offer(&self, row: &[OwnedValue]) -> Option<Want> {
        let values = self.columns.iter();
        self.encode(values.map(|(n, _)| row.get(*n).map(OwnedValue::as_ref)))
    }

    /// What a row of this key offers, where it is the key that is referred to.
    pub(crate) fn offer_of_key(&self, key: &[Value<'_>]) -> Option<Want> {
        let values = self.columns.iter();
        self.encode(values.map(|(n, _)| key.get(*n).copied()))
            .filter(|_| self.is_key)
    }

    /// Whether a change of these columns may change what is offered.
    pub(crate) fn names(&self, column: usize) -> bool {
        self.columns.iter().any(|(n, _)| *n == column)
    }

    /// The query for the row that offers some values.
    fn row_query(&self, table: &Table) -> String {
        let terms: Vec<String> = self
            .columns
            .iter()
            .zip(1..)
            .map(|((n, _), place)| format!("{} = ?{place}", name_of(table, *n)))
            .collect();
        select(table, &terms)
    }

    /// The row in its table that offers what a reference wants, by SQLite's own comparison.
    pub(crate) fn row(
        &self,
        db: Db,
        table: &Table,
        values: &[Value<'_>],
    ) -> Result<Option<Vec<OwnedValue>>> {
        db.first(&self.row_query(table), values)
    }
}

impl Reference {
    /// What a row wants by it; nothing if a NULL is in it.
    pub(crate) fn want(&self, row: &[OwnedValue]) -> Option<Want> {
        self.target.encode(
            self.columns
                .iter()
                .map(|n| row.get(*n).map(OwnedValue::as_ref)),
        )
    }

    /// The row's values that refer.
    pub(crate) fn values<'r>(&self, row: &'r [OwnedValue]) -> Vec<Value<'r>> {
        let values = self.columns.iter();
        values
            .map(|n| row.get(*n).map_or(Value::Null, OwnedValue::as_ref))
            .collect()
    }

    /// The names of the columns that refer.
    pub(crate) fn column_names(&self, child: &Table) -> Vec<String> {
        let name = |n: &usize| child.columns.get(*n).map(|column| column.name.clone());
        self.columns.iter().filter_map(name).collect()
    }

    /// The query for the rows in the child's table that may want some values.
    pub(crate) fn children_query(&self, child: &Table) -> String {
        let columns = self.columns.iter().zip(&self.target.columns).zip(1..);
        let terms: Vec<String> = columns
            .map(|((n, (_, collation)), place)| {
                format!(
                    "{} = ?{place} COLLATE {}",
                    name_of(child, *n),
                    quote(collation)
                )
            })
            .collect();
        select(child, &terms)
    }

    /// The query for the rows in the child's table whose parent is not in its own.
    pub(crate) fn orphans_query(&self, child: &Table, parent: &Table) -> String {
        let pairs: Vec<(String, String)> = self
            .columns
            .iter()
            .zip(&self.target.columns)
            .map(|(n, (target, _))| (name_of(child, *n), name_of(parent, *target)))
            .collect();
        let mut terms: Vec<String> = pairs
            .iter()
            .map(|(column, _)| format!("c.{column} IS NOT NULL"))
            .collect();
        // With the plus, the column's own affinity does not count, as in a FOREIGN KEY.
        let same: Vec<String> = pairs
            .iter()
            .map(|(column, target)| format!("p.{target} = +c.{column}"))
            .collect();
        terms.push(format!(
            "NOT EXISTS (SELECT 1 FROM {} p WHERE {})",
            parent.quoted(),
            same.join(" AND ")
        ));
        let columns: Vec<String> = child.columns.iter().map(|c| c.read("c.")).collect();
        format!(
            "SELECT {} FROM {} c WHERE {}",
            columns.join(", "),
            child.quoted(),
            terms.join(" AND ")
        )
    }
}

fn name_of(table: &Table, column: usize) -> String {
    table
        .columns
        .get(column)
        .map(|c| quote(&c.name))
        .unwrap_or_default()
}

fn select(table: &Table, terms: &[String]) -> String {
    format!(
        "SELECT {} FROM {} WHERE {}",
        table.column_list(),
        table.quoted(),
        terms.join(" AND ")
    )
}

impl References {
    /// Reads those of the tracked tables.
    pub(crate) fn load(db: Db, tables: &[Rc<Table>]) -> Result<Self> {
        let mut references = Self::default();
        for child in tables.iter().filter(|table| table.options.foreign_keys) {
            if child.drift.problem().is_some() {
                continue;
            }
            for key in ForeignKey::all(db, &child.name)? {
                let mut parents = tables.iter();
                let parent = parents.find(|table| same_name(&table.name, &key.parent));
                if let Some(parent) = parent
                    .filter(|parent| !parent.options.is_strong && parent.drift.problem().is_none())
                {
                    references.add(db, child, parent, &key);
                }
            }
        }
        Ok(references)
    }

    /// What a column of either is called cannot be told while one of the tables is damaged.
    fn add(&mut self, db: Db, child: &Table, parent: &Table, key: &ForeignKey) {
        let positions = key.columns.iter().map(|(from, to)| {
            let collation = db.collation(&parent.name, to);
            let collation = collation.unwrap_or_else(|| "BINARY".to_owned());
            Some((child.position(from)?, (parent.position(to)?, collation)))
        });
        let Some(mut pairs) = positions.collect::<Option<Vec<(usize, TargetColumn)>>>() else {
            return;
        };
        sorted::by_key(&mut pairs, |(_, (position, _))| *position);
        let (columns, target): (Vec<usize>, Vec<TargetColumn>) = pairs.into_iter().unzip();
        let target = Target {
            table: parent.at.number,
            is_key: target.iter().all(|(n, _)| *n < parent.at.key_columns),
            columns: target,
        };
        let known = self
            .targets
            .iter()
            .find(|known| ***known == target)
            .cloned();
        let target = known.unwrap_or_else(|| {
            let target = Rc::new(target);
            self.targets.push(Rc::clone(&target));
            target
        });
        self.all.push(Reference {
            child: child.at.number,
            columns,
            target,
        });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Reference> {
        self.all.iter()
    }

    /// Whether a table refers, or is referred to.
    pub(crate) fn concern(&self, table: u32) -> bool {
        self.all
            .iter()
            .any(|r| r.child == table || r.target.table == table)
    }

    /// Those in a table.
    pub(crate) fn of(&self, table: u32) -> impl Iterator<Item = &Reference> {
        self.all
            .iter()
            .filter(move |reference| reference.child == table)
    }

    /// Those to a table.
    pub(crate) fn to(&self, table: u32) -> impl Iterator<Item = &Reference> {
        self.all
            .iter()
            .filter(move |reference| reference.target.table == table)
    }

    /// What is referred to in a table.
    pub(crate) fn targets(&self, table: u32) -> impl Iterator<Item = &Rc<Target>> {
        self.targets
            .iter()
            .filter(move |target| target.table == table)
    }

    /// Whether what a row offers may change while its key does not.
    pub(crate) fn name_values(&self, table: u32) -> bool {
        self.targets(table).any(|target| !target.is_key)
    }

    /// What a row offers, and wants.
    pub(crate) fn node(&self, table: &Table, row: &[OwnedValue]) -> Node {
        let key: Vec<Value<'_>> = row
            .iter()
            .take(table.at.key_columns)
            .map(OwnedValue::as_ref)
            .collect();
        let number = table.at.number;
        Node {
            name: Name {
                table: number,
                key: key_bytes(&key),
            },
            wants: self.of(number).filter_map(|r| r.want(row)).collect(),
            offers: self.targets(number).filter_map(|t| t.offer(row)).collect(),
        }
    }

    /// The reference by which a row has one of its wants.
    pub(crate) fn behind(&self, table: u32, row: &[OwnedValue], want: usize) -> Option<&Reference> {
        let mut wanting = self
            .of(table)
            .filter(|reference| reference.want(row).is_some());
        wanting.nth(want)
    }

    /// The target that a want is of, and the values wanted.
    pub(crate) fn decode(&self, want: &[u8]) -> Result<Option<(&Rc<Target>, Vec<OwnedValue>)>> {
        let mut reader = Reader::new(want);
        if reader.byte("a want")? != WANT {
            return Ok(None);
        }
        let table = u32::from_be_bytes(reader.array("a table's number")?);
        let count = reader.length("columns", want.len())?;
        let mut positions = Vec::with_capacity(count);
        for _ in 0..count {
            positions.push(reader.length("a column", nuda_core::limits::COLUMNS)?);
        }
        let mut values = Vec::with_capacity(count);
        while !reader.is_empty() {
            values.push(OwnedValue::from(Value::decode(&mut reader)?));
        }
        let target = self.targets(table).find(|target| {
            let known = target.columns.iter().map(|(n, _)| n);
            known.eq(positions.iter())
        });
        Ok(target.map(|target| (target, values)))
    }
}
