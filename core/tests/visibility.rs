//! Rows that compete for unique values: the step from state to state against the definition.
//!
//! A table is played through random histories: rows are born, get other values, die and are born
//! again. Some rows that are free are not shown all the same, as rows whose parent is missing
//! are. After each step what the step left must be what the definition says of the living rows.

use std::collections::BTreeMap;
use std::convert::Infallible;

use nuda_core::hlc::Stamp;
use nuda_core::merge::Rank;
use nuda_core::site::Site;
use nuda_core::visibility::{Birth, Fate, Living, Present, all, settle};
use proptest::prelude::*;

/// A row as the test knows it.
#[derive(Debug, Clone)]
struct Row {
    living: Living,
    fate: Fate,
    /// Free, and out of the table all the same.
    waits: bool,
    /// Out of the table since it was written, until it is settled.
    is_out: bool,
}

#[derive(Debug, Default)]
struct World {
    rows: BTreeMap<u8, Row>,
}

impl World {
    fn is_shown(row: &Row) -> bool {
        row.fate == Fate::Free && !row.waits && !row.is_out
    }
}

impl Present for World {
    type Error = Infallible;

    fn rivals(&mut self, row: &Living) -> Result<Vec<Living>, Infallible> {
        let shown = self.rows.values().filter(|other| Self::is_shown(other));
        let shares = |other: &&Row| other.living.claims.iter().any(|c| row.claims.contains(c));
        let not_itself = |other: &&Row| other.living.birth.key != row.birth.key;
        let rivals = shown.filter(shares).filter(not_itself);
        Ok(rivals.map(|other| other.living.clone()).collect())
    }

    fn held_back_by(&mut self, key: &[u8]) -> Result<Vec<Living>, Infallible> {
        let held = self.rows.values().filter(
            |row| matches!(&row.fate, Fate::HeldBack { by, .. } if by.key == key && !row.is_out),
        );
        Ok(held.map(|row| row.living.clone()).collect())
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// A life begins, perhaps over another one; at some stamp: births do not arrive in order.
    Born(u8, u8, Vec<Option<u8>>, bool),
    /// Other values.
    Changed(u8, Vec<Option<u8>>),
    Died(u8),
    /// What it waited for is there, or gone.
    Waits(u8, bool),
}

fn claims(values: &[Option<u8>]) -> Vec<Vec<u8>> {
    let claims = values.iter().enumerate();
    claims
        .filter_map(|(n, value)| Some(vec![u8::try_from(n).ok()?, (*value)?]))
        .collect()
}

fn values() -> impl Strategy<Value = Vec<Option<u8>>> {
    prop::collection::vec(prop::option::weighted(0.8, 0u8..4), 1..4)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u8..8, 0u8..6, values(), prop::bool::weighted(0.2))
            .prop_map(|(key, stamp, values, waits)| Step::Born(key, stamp, values, waits)),
        3 => (0u8..8, values()).prop_map(|(key, values)| Step::Changed(key, values)),
        2 => (0u8..8).prop_map(Step::Died),
        1 => (0u8..8, any::<bool>()).prop_map(|(key, waits)| Step::Waits(key, waits)),
    ]
}

fn birth(key: u8, stamp: u8) -> Birth {
    let stamp = Stamp::from_u64(u64::from(stamp)).unwrap_or_default();
    Birth {
        rank: Rank {
            stamp,
            site: Site::LOG_STRONG,
        },
        key: vec![key],
    }
}

/// What the applier does with a row: it is out of the table if it collides there, or was hidden.
fn write(world: &mut World, key: u8, living: Living, waits: bool) {
    let was_out = world
        .rows
        .get(&key)
        .is_some_and(|row| !World::is_shown(row));
    world.rows.remove(&key);
    let Ok(rivals) = world.rivals(&living);
    let row = Row {
        is_out: was_out || waits || !rivals.is_empty(),
        fate: Fate::Free,
        living,
        waits,
    };
    world.rows.insert(key, row);
}

fn take(world: &mut World, step: &Step) -> Option<u8> {
    match step {
        Step::Born(key, stamp, values, waits) => {
            let living = Living {
                birth: birth(*key, *stamp),
                claims: claims(values),
            };
            write(world, *key, living, *waits);
            Some(*key)
        }
        Step::Changed(key, values) => {
            let row = world.rows.get(key)?;
            let (mut living, waits) = (row.living.clone(), row.waits);
            living.claims = claims(values);
            write(world, *key, living, waits);
            Some(*key)
        }
        Step::Died(key) => world.rows.remove(key).map(|_| *key),
        Step::Waits(key, waits) => {
            let row = world.rows.get_mut(key)?;
            row.is_out |= row.waits;
            row.waits = *waits;
            Some(*key)
        }
    }
}

fn settled(world: &mut World, changed: &[u8]) {
    let waits = |row: &Row| row.fate == Fate::Free && row.waits;
    let out = world.rows.values().filter(|row| row.is_out || waits(row));
    let out: Vec<Living> = out.map(|row| row.living.clone()).collect();
    let changed: Vec<Vec<u8>> = changed.iter().map(|key| vec![*key]).collect();
    let Ok(fates) = settle(out, &changed, world);
    for (birth, fate) in fates {
        for row in world.rows.values_mut() {
            if row.living.birth == birth {
                row.fate = fate.clone();
                row.is_out = false;
            }
        }
    }
}

fn check(world: &World) {
    let living: Vec<Living> = world.rows.values().map(|row| row.living.clone()).collect();
    let wanted = all(&living);
    for row in world.rows.values() {
        let is_free = wanted.get(&row.living.birth) == Some(&Fate::Free);
        assert_eq!(row.fate == Fate::Free, is_free, "{row:?} in {world:?}");
        assert!(!row.is_out, "{row:?} was not settled");
        if let Fate::HeldBack { by, claim } = &row.fate {
            let holder = world.rows.values().find(|other| other.living.birth == *by);
            let shares = holder.is_some_and(|holder| {
                holder.fate == Fate::Free
                    && row
                        .living
                        .claims
                        .get(*claim)
                        .is_some_and(|c| holder.living.claims.contains(c))
            });
            assert!(shares, "{row:?} is held back by nobody");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 10_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn each_step_leaves_what_the_definition_says(
        steps in prop::collection::vec((step(), prop::bool::weighted(0.7)), 1..24),
    ) {
        let mut world = World::default();
        let mut changed = Vec::new();
        for (step, ends) in &steps {
            // One changeset writes a row once.
            if let Step::Born(key, ..) | Step::Changed(key, _) | Step::Died(key) | Step::Waits(key, _) = step
                && changed.contains(key)
            {
                continue;
            }
            changed.extend(take(&mut world, step));
            if *ends {
                settled(&mut world, &changed);
                changed.clear();
                check(&world);
            }
        }
        settled(&mut world, &changed);
        check(&world);
    }
}

#[test]
fn the_first_of_three_is_shown_and_a_hidden_row_keeps_nothing() {
    let row = |key: u8, values: &[Option<u8>]| Living {
        birth: birth(key, key),
        claims: claims(values),
    };
    let rows = [
        row(1, &[Some(1), None]),
        row(2, &[Some(1), Some(2)]),
        row(3, &[None, Some(2)]),
        row(4, &[Some(1), Some(3)]),
    ];
    let fates: Vec<bool> = all(&rows).into_values().map(|f| f == Fate::Free).collect();
    assert_eq!(fates, [true, false, true, false]);
}
