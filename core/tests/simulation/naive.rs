//! The definition of a row's state, computed from the set of all its changes.
//!
//! Written from the prose in `nuda_core::merge`, without looking at its steps: no order of
//! delivery, no log, no collection. What the replicas hold must equal this.

use std::collections::BTreeMap;

use nuda_core::merge::Rank;
use nuda_core::site::Dot;

use crate::record::{Op, Record, Row};

struct Event<'a> {
    record: &'a Record,
    index: usize,
    op: &'a Op,
}

impl Event<'_> {
    fn saw(&self, other: &Event<'_>) -> bool {
        let (mine, theirs): (Dot, Dot) = (self.record.dot, other.record.dot);
        if mine.site == theirs.site {
            (theirs.seq, other.index) < (mine.seq, self.index)
        } else {
            self.record.seen.contains(theirs)
        }
    }

    fn order(&self) -> (Rank, u64, usize) {
        let rank = Rank {
            stamp: self.record.stamp,
            site: self.record.dot.site,
        };
        (rank, self.record.dot.seq, self.index)
    }
}

/// All visible rows, given all changesets.
pub(crate) fn rows(records: &[&Record]) -> BTreeMap<i64, Row> {
    let mut by_key: BTreeMap<i64, Vec<Event<'_>>> = BTreeMap::new();
    for record in records {
        for (index, (key, op)) in record.ops.iter().enumerate() {
            let event = Event { record, index, op };
            by_key.entry(*key).or_default().push(event);
        }
    }
    let mut rows = BTreeMap::new();
    for (key, events) in &by_key {
        if let Some(row) = row(events) {
            rows.insert(*key, row);
        }
    }
    rows
}

fn row(events: &[Event<'_>]) -> Option<Row> {
    let seen_by = |event: &Event<'_>, kind: fn(&Op) -> bool| {
        events
            .iter()
            .any(|other| kind(other.op) && other.saw(event))
    };
    let is_delete: fn(&Op) -> bool = |op| matches!(op, Op::Delete);
    let is_insert: fn(&Op) -> bool = |op| matches!(op, Op::Insert(_));
    let visible = events
        .iter()
        .any(|event| !is_delete(event.op) && !seen_by(event, is_delete));
    if !visible {
        return None;
    }
    let live: Vec<&Event<'_>> = events.iter().filter(|e| !seen_by(e, is_insert)).collect();
    let register = |of: fn(&Op) -> Option<i64>| {
        live.iter()
            .filter_map(|e| of(e.op).map(|value| (e.order(), value)))
            .max_by_key(|(order, _)| *order)
            .map_or(0, |(_, value)| value)
    };
    let a = register(|op| match op {
        Op::Insert(row) => Some(row.a),
        Op::Update { a, .. } => *a,
        Op::Delete => None,
    });
    let b = register(|op| match op {
        Op::Insert(row) => Some(row.b),
        Op::Update { b, .. } => *b,
        Op::Delete => None,
    });
    let n = live.iter().map(|e| e.op.added()).sum();
    Some(Row { a, b, n })
}
