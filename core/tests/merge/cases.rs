//! The smallest example of each rule, for the reader.

use nuda_core::hlc::Stamp;
use nuda_core::merge::{Event, Lost, Plan, Reason, Rules, add, merge};
use nuda_core::row::{Cell, Change};
use nuda_core::site::{Dot, Site};
use nuda_core::types::{ColumnType, Write};
use nuda_core::value::Value;
use nuda_core::version_vector::VersionVector;

/// A key, a register, a counter; and a counter and a register that came later.
struct Narrow;

impl Rules for Narrow {
    fn column_type(&self, column: usize) -> ColumnType {
        if matches!(column, 2 | 3) {
            ColumnType::Counter
        } else {
            ColumnType::Lww
        }
    }
}

/// `change`, by the `seq`-th transaction of `site` at `stamp`, having seen nothing of others.
fn event<'a>(
    site: u64,
    seq: u64,
    index: u64,
    stamp: u64,
    seen: &'a VersionVector,
    change: Change<'static>,
) -> Event<'a> {
    Event {
        dot: Dot {
            site: Site::from_u64(site).unwrap(),
            seq,
        },
        index,
        stamp: Stamp::from_u64(stamp).unwrap(),
        seen,
        change,
    }
}

fn set(n: i64) -> Change<'static> {
    Change::Update(vec![(1, Cell::Value(Value::Int(n)))])
}

fn insert(n: i64, count: i128) -> Change<'static> {
    let int = |n| Cell::Value(Value::Int(n));
    Change::Insert(vec![int(7), int(n), Cell::Add(count)])
}

fn outcome<'a>(incoming: &Event<'a>, concurrent: &[Event<'a>]) -> (Plan<'a>, Vec<Lost<'a>>) {
    let mut lost = Vec::new();
    let plan = merge(incoming, concurrent, true, &Narrow, &mut lost);
    (plan, lost)
}

#[test]
fn an_equal_value_is_no_conflict() {
    let none = VersionVector::new();
    for (mine, theirs) in [(10, 20), (20, 10)] {
        let here = event(50, 1, 0, theirs, &none, set(5));
        let (_, lost) = outcome(
            &event(60, 1, 0, mine, &none, set(5)),
            std::slice::from_ref(&here),
        );
        assert_eq!(lost, []);
        let (_, lost) = outcome(
            &event(60, 1, 0, mine, &none, set(6)),
            std::slice::from_ref(&here),
        );
        assert_eq!(lost.len(), 1);
        assert_eq!(lost[0].winner.stamp.get(), 20);
        assert_eq!(lost[0].loser.stamp.get(), 10);
    }
}

#[test]
fn zero_and_minus_zero_are_two_values() {
    let none = VersionVector::new();
    let real = |r| Change::Update(vec![(1, Cell::Value(Value::Real(r)))]);
    let here = event(50, 1, 0, 10, &none, real(0.0));
    let (_, lost) = outcome(&event(60, 1, 0, 20, &none, real(-0.0)), &[here]);
    assert_eq!(lost.len(), 1);
}

#[test]
fn the_later_of_two_changes_of_one_transaction_counts() {
    let none = VersionVector::new();
    let early = event(60, 1, 2, 20, &none, set(1));
    let late = event(60, 1, 5, 20, &none, set(2));
    assert!(late.saw(&early) && !early.saw(&late));
    for log in [[early.clone(), late.clone()], [late.clone(), early.clone()]] {
        let (plan, lost) = outcome(&event(50, 1, 0, 10, &none, insert(9, 0)), &log);
        let Plan::Insert(columns) = plan else {
            panic!("{plan:?}")
        };
        assert_eq!(columns[1], (1, Write::Value(Value::Int(2))));
        assert_eq!(lost.len(), 1, "only the write that counts won");
        // The register already holds 2: setting 2 as well meets no conflict.
        let (plan, lost) = outcome(&event(50, 1, 0, 10, &none, set(2)), &log);
        assert_eq!((plan, lost), (Plan::Update(vec![]), vec![]));
    }
}

#[test]
fn an_overwritten_write_has_not_lost() {
    let none = VersionVector::new();
    let log = [
        event(60, 1, 0, 10, &none, set(1)),
        event(60, 2, 0, 20, &none, set(9)),
    ];
    let (_, lost) = outcome(&event(50, 1, 0, 30, &none, insert(9, 0)), &log);
    assert_eq!(lost, []);
}

#[test]
fn a_new_life_adds_the_increments_that_it_did_not_see() {
    let none = VersionVector::new();
    let more = Change::Update(vec![(2, Cell::Add(3))]);
    let here = event(60, 1, 0, 10, &none, more);
    let (plan, _) = outcome(&event(50, 1, 0, 20, &none, insert(9, 10)), &[here]);
    let Plan::Insert(columns) = plan else {
        panic!("{plan:?}")
    };
    assert_eq!(columns[2], (2, Write::Add(13)));
}

#[test]
fn columns_that_the_insert_did_not_know_are_merged_too() {
    let none = VersionVector::new();
    let wide = Change::Update(vec![
        (3, Cell::Add(4)),
        (4, Cell::Value(Value::Text(b"new"))),
    ]);
    let wider = Change::Update(vec![(3, Cell::Add(1)), (4, Cell::Value(Value::Null))]);
    let log = [
        event(60, 1, 0, 10, &none, wide),
        event(70, 1, 0, 5, &none, wider),
    ];
    let (plan, _) = outcome(&event(50, 1, 0, 20, &none, insert(9, 0)), &log);
    let Plan::Insert(columns) = plan else {
        panic!("{plan:?}")
    };
    assert_eq!(columns[3], (3, Write::Add(5)));
    assert_eq!(columns[4], (4, Write::Value(Value::Text(b"new"))));
}

#[test]
fn sums_do_not_depend_on_order_even_when_they_overflow() {
    let parts = [i128::MAX, 7, i128::MIN, -1, i128::MAX];
    let forward = parts.iter().fold(0, |sum, n| add(sum, *n));
    let backward = parts.iter().rev().fold(0, |sum, n| add(sum, *n));
    assert_eq!(forward, backward);
}

/// Known and meant: an INSERT that did not see a deleted life joins it instead of replacing
/// it, as any concurrent edit does.
#[test]
fn an_insert_joins_a_deleted_life_that_it_did_not_see() {
    let none = VersionVector::new();
    let log = [
        event(60, 1, 0, 30, &none, insert(1, 5)),
        event(60, 2, 0, 40, &none, Change::Delete),
    ];
    let mut lost = Vec::new();
    let incoming = event(50, 1, 0, 20, &none, insert(2, 3));
    let Plan::Insert(columns) = merge(&incoming, &log, false, &Narrow, &mut lost) else {
        panic!("an insert is always visible")
    };
    assert_eq!(columns[1], (1, Write::Value(Value::Int(1))));
    assert_eq!(columns[2], (2, Write::Add(8)));
}

/// `change`, by the strong transaction at `position`.
fn strong<'a>(
    position: u64,
    stamp: u64,
    seen: &'a VersionVector,
    change: Change<'static>,
) -> Event<'a> {
    event(Site::LOG_STRONG.get(), position, 0, stamp, seen, change)
}

fn knowing(site: u64, seq: u64, position: u64) -> VersionVector {
    let mut seen = VersionVector::new();
    seen.set(Site::LOG_STRONG, position);
    if seq > 0 {
        seen.set(Site::from_u64(site).unwrap(), seq);
    }
    seen
}

/// A write that had not seen the strong one, one that saw only the former, one that saw only the
/// latter: whoever arrives last, the third wins, and the two others beat nobody.
#[test]
fn a_strong_write_beats_a_chain_that_had_not_seen_it() {
    let (none, after) = (VersionVector::new(), knowing(0, 0, 1));
    let chained = knowing(50, 1, 0);
    let first = event(50, 1, 0, 90, &none, set(1));
    let second = event(60, 1, 0, 99, &chained, set(2));
    let order = strong(1, 20, &none, set(3));
    let third = event(70, 1, 0, 30, &after, set(4));
    let kept = Plan::Update(vec![]);
    let written = |n| Plan::Update(vec![(1, Write::Value(Value::Int(n)))]);
    let by_all = [first.clone(), second.clone(), order.clone(), third.clone()];
    for turn in 0..4 {
        let mut log = by_all.to_vec();
        log.rotate_left(turn);
        let but = |event: &Event<'_>| -> Vec<Event<'_>> {
            let mut rest = log.clone();
            rest.retain(|other| other.dot != event.dot);
            rest
        };
        assert_eq!(outcome(&third, &but(&third)).0, written(4));
        assert_eq!(outcome(&second, &but(&second)).0, kept);
        let (plan, lost) = outcome(&first, &[order.clone(), third.clone()]);
        assert_eq!(plan, kept);
        assert_eq!(lost[0].reason, Reason::Strong);
        let (plan, lost) = outcome(&order, &[first.clone(), second.clone()]);
        assert_eq!(plan, written(3));
        assert_eq!((lost.len(), lost[0].value), (1, Value::Int(2)));
    }
}
