//! Rows that refer to each other: the step from state to state against the definition.
//!
//! A few rows are played through random histories: they are written with other references and other
//! values that are referred to, die, and are written again; some are out of their table for other
//! reasons, as rows that collide are. References go anywhere: to the row itself, in circles, to
//! rows that never were. After each step what is shown must be what the definition says.

#![allow(clippy::panic)]

use std::collections::BTreeMap;
use std::convert::Infallible;

use nuda_core::references::{Fate, Name, News, Node, Present, Want, all, settle};
use proptest::prelude::*;

/// A row as the test knows it.
#[derive(Debug, Clone)]
struct Row {
    node: Node,
    place: Place,
}

#[derive(Debug, Clone, PartialEq)]
enum Place {
    Table,
    /// Held back, and named for this.
    HeldBack(Want),
    /// Not settled yet.
    Out,
}

#[derive(Debug, Default)]
struct World {
    rows: BTreeMap<u8, Row>,
    news: News,
    written: Vec<u8>,
}

fn of(rows: impl Iterator<Item = Row>) -> Vec<Node> {
    rows.map(|row| row.node).collect()
}

impl Present for World {
    type Error = Infallible;

    fn is_offered(&mut self, want: &[u8]) -> Result<bool, Infallible> {
        Ok(self.rows.values().any(|row| {
            row.place == Place::Table && row.node.offers.iter().any(|offer| offer == want)
        }))
    }

    fn wanting(&mut self, offer: &[u8]) -> Result<Vec<Node>, Infallible> {
        let wants = |row: &&Row| row.node.wants.iter().any(|want| want == offer);
        let shown = self.rows.values().filter(|row| row.place == Place::Table);
        Ok(of(shown.filter(wants).cloned()))
    }

    fn named_for(&mut self, offer: &[u8]) -> Result<Vec<Node>, Infallible> {
        let named = |row: &&Row| row.place == Place::HeldBack(offer.to_vec());
        Ok(of(self.rows.values().filter(named).cloned()))
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// A row is written: what it wants, another value that it offers, whether it is out now.
    Written(u8, Vec<u8>, Option<u8>, bool),
    Died(u8),
    Settled,
}

fn step() -> impl Strategy<Value = Step> {
    let wants = prop::collection::vec(0u8..14, 0..3);
    let other = prop::option::weighted(0.4, 8u8..12);
    prop_oneof![
        5 => (0u8..8, wants, other, prop::bool::weighted(0.2))
            .prop_map(|(key, wants, other, out)| Step::Written(key, wants, other, out)),
        3 => (0u8..8).prop_map(Step::Died),
        4 => Just(Step::Settled),
    ]
}

/// What the applier does with a row and notes.
fn take(world: &mut World, step: &Step) {
    match step {
        Step::Written(key, wants, other, is_out) => {
            let taken = world.rows.iter().any(|(k, row)| {
                k != key && other.is_some_and(|other| row.node.offers.contains(&vec![other]))
            });
            let other = other.filter(|_| !taken);
            let node = Node {
                name: Name {
                    table: 1,
                    key: vec![*key],
                },
                wants: wants.iter().map(|want| vec![*want]).collect(),
                offers: [Some(*key), other]
                    .into_iter()
                    .flatten()
                    .map(|o| vec![o])
                    .collect(),
            };
            let before = world.rows.remove(key);
            let was_shown = before.as_ref().is_none_or(|row| row.place == Place::Table);
            let place = if *is_out || !was_shown {
                Place::Out
            } else {
                Place::Table
            };
            if let Some(row) = before.filter(|row| row.place == Place::Table) {
                let gone = row.node.offers.into_iter();
                world
                    .news
                    .gone
                    .extend(gone.filter(|o| place == Place::Out || !node.offers.contains(o)));
            }
            if place == Place::Table {
                world.news.come.extend(node.offers.clone());
                world.written.push(*key);
            }
            world.rows.insert(*key, Row { node, place });
        }
        Step::Died(key) => {
            if let Some(row) = world.rows.remove(key) {
                world.news.gone.extend(row.node.offers);
            }
        }
        Step::Settled => settled(world),
    }
}

fn settled(world: &mut World) {
    let mut news = std::mem::take(&mut world.news);
    let placed = |place| {
        world
            .rows
            .values()
            .filter(move |row| row.place == place)
            .cloned()
    };
    news.out = of(placed(Place::Out));
    let written = std::mem::take(&mut world.written);
    let written = written
        .iter()
        .filter_map(|key| world.rows.get(key).cloned());
    news.written = of(written.filter(|row| row.place == Place::Table));
    let Ok(fates) = settle(news, world);
    for (name, fate) in fates {
        let row = name.key.first().and_then(|key| world.rows.get_mut(key));
        let Some(row) = row else {
            panic!("{name:?} does not live");
        };
        row.place = match fate {
            Fate::Shown => Place::Table,
            Fate::HeldBack(n) => {
                Place::HeldBack(row.node.wants.get(n).cloned().unwrap_or_default())
            }
        };
    }
    check(world);
}

fn check(world: &World) {
    let living = of(world.rows.values().cloned());
    let wanted = all(&living);
    for row in world.rows.values() {
        let is_shown = row.place == Place::Table;
        assert_eq!(
            is_shown,
            wanted.contains(&row.node.name),
            "{row:?} in {world:?}"
        );
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
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let mut world = World::default();
        for step in &steps {
            take(&mut world, step);
        }
        settled(&mut world);
    }
}

#[test]
fn rows_that_hold_each_other_are_shown_together_and_go_together() {
    let node = |key: u8, wants: &[u8]| Node {
        name: Name {
            table: 1,
            key: vec![key],
        },
        wants: wants.iter().map(|want| vec![*want]).collect(),
        offers: vec![vec![key]],
    };
    let circle = [
        node(1, &[2]),
        node(2, &[3, 9]),
        node(3, &[1]),
        node(4, &[4]),
    ];
    let shown = all(&circle);
    assert_eq!(
        shown.len(),
        1,
        "only the one that refers to itself: 9 is missing"
    );
    let mut whole = circle.to_vec();
    whole.push(node(9, &[]));
    assert_eq!(all(&whole).len(), 5);
}
