//! Random worlds: a script of what users and the network do, and the playing of it.

use std::collections::BTreeMap;

use nuda_core::site::Site;
use nuda_core::types::sequence::Delta;
use nuda_core::types::text::{TextDelta, count};
use proptest::prelude::*;

use crate::model::{Model, Name, Set};
use crate::replica::{Change, Replica, Sent};

/// How often each interesting thing happened.
#[derive(Debug, Default, Clone)]
pub(crate) struct Tally(pub(crate) BTreeMap<&'static str, u64>);

impl Tally {
    /// Counts one.
    pub(crate) fn note(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }
}

/// What a user does to the text; positions are taken modulo what is there.
#[derive(Debug, Clone)]
pub(crate) enum Wish {
    /// One statement: places (skip, insert, delete).
    Edit(Vec<(usize, usize, usize)>),
    /// One statement for each of so many characters, forwards or backwards.
    Type(usize, usize, bool),
    /// One statement for each of so many characters.
    Erase(usize, usize, bool),
    /// The row is deleted and inserted again.
    Assign(usize),
}

/// One step of a script.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Write {
        at: usize,
        wish: Wish,
    },
    Deliver {
        at: usize,
        from: usize,
        count: usize,
    },
    CatchUp {
        at: usize,
    },
    Report {
        from: usize,
    },
    Collect {
        at: usize,
    },
    Store {
        at: usize,
    },
    /// Everybody gets everything and says so; one forgets.
    Quiet {
        at: usize,
    },
}

/// A world: members, steps, and the order in which the rest is delivered in the end.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    pub(crate) members: usize,
    pub(crate) steps: Vec<Step>,
    pub(crate) finish: Vec<(usize, usize)>,
}

/// Edits in a world: what a [`Set`] holds.
const EDITS: usize = 120;

fn wish(assigning: bool) -> impl Strategy<Value = Wish> {
    let places = prop::collection::vec((0usize..8, 0usize..4, 0usize..4), 1..4);
    // Most near the beginning, where they meet.
    let at = prop_oneof![3 => 0usize..4, 1 => 0usize..40];
    prop_oneof![
        4 => places.prop_map(Wish::Edit),
        4 => (at.clone(), 1usize..4, any::<bool>()).prop_map(|(at, n, f)| Wish::Type(at, n, f)),
        2 => (at, 1usize..4, any::<bool>()).prop_map(|(at, n, f)| Wish::Erase(at, n, f)),
        if assigning { 4 } else { 0 } => (0usize..4).prop_map(Wish::Assign),
    ]
}

fn step(members: usize, assigning: bool) -> impl Strategy<Value = Step> {
    let member = 0..members;
    prop_oneof![
        8 => (member.clone(), wish(assigning)).prop_map(|(at, wish)| Step::Write { at, wish }),
        8 => (member.clone(), member.clone(), 1usize..6)
            .prop_map(|(at, from, count)| Step::Deliver { at, from, count }),
        5 => member.clone().prop_map(|at| Step::CatchUp { at }),
        6 => member.clone().prop_map(|from| Step::Report { from }),
        5 => member.clone().prop_map(|at| Step::Collect { at }),
        2 => member.clone().prop_map(|at| Step::Store { at }),
        2 => member.prop_map(|at| Step::Quiet { at }),
    ]
}

/// All scripts.
pub(crate) fn script(assigning: bool) -> impl Strategy<Value = Script> {
    (3usize..=5).prop_flat_map(move |members| {
        let steps = prop::collection::vec(step(members, assigning), 10..90);
        let finish = prop::collection::vec((0..members, 0..members), 12);
        (steps, finish).prop_map(move |(steps, finish)| Script {
            members,
            steps,
            finish,
        })
    })
}

struct World<'t> {
    sites: Vec<Site>,
    replicas: Vec<Replica>,
    sent: BTreeMap<Site, Vec<Sent>>,
    model: Model,
    ledger: Ledger,
    edits: usize,
    typed: u32,
    tally: &'t mut Tally,
}

/// Plays a script, checking each replica after each of its steps, and all in the end.
pub(crate) fn play(script: &Script, tally: &mut Tally) {
    let sites: Vec<Site> = (0..script.members)
        .map(|n| Site::from_u64(100 + n as u64).unwrap())
        .collect();
    let mut world = World {
        replicas: sites.iter().copied().map(Replica::new).collect(),
        sites,
        sent: BTreeMap::new(),
        model: Model::default(),
        ledger: Ledger::default(),
        edits: 0,
        typed: 0,
        tally,
    };
    for step in &script.steps {
        match step {
            Step::Write { at, wish } => world.write(*at, wish),
            Step::Deliver { at, from, count } => {
                world.deliver(*at, *from, *count);
            }
            Step::CatchUp { at } => {
                for from in 0..world.sites.len() {
                    world.deliver(*at, from, usize::MAX);
                }
            }
            Step::Report { from } => world.report(*from),
            Step::Collect { at } => world.collect(*at),
            Step::Quiet { at } => {
                world.deliver_all();
                for from in 0..world.sites.len() {
                    world.report(from);
                }
                world.collect(*at);
            }
            Step::Store { at } => world.replicas[*at].store(world.tally),
        }
    }
    world.finish(&script.finish);
}

impl World<'_> {
    fn write(&mut self, at: usize, wish: &Wish) {
        let length = |world: &Self| world.replicas[at].text.chars().count();
        match wish {
            Wish::Edit(places) => {
                let mut delta = Delta::new();
                let mut left = length(self);
                for (skip, insert, delete) in places {
                    let skip = (*skip).min(left);
                    let delete = (*delete).min(left - skip);
                    left -= skip + delete;
                    delta.keep(skip as u64);
                    delta.insert(*insert as u64);
                    delta.delete(delete as u64);
                }
                self.edit(at, delta);
            }
            Wish::Type(position, n, forwards) => {
                let position = position % (length(self) + 1);
                for k in 0..*n {
                    let mut delta = Delta::new();
                    delta.keep((position + if *forwards { k } else { 0 }) as u64);
                    delta.insert(1);
                    self.edit(at, delta);
                }
            }
            Wish::Erase(position, n, forwards) => {
                let mut position = position % (length(self) + 1);
                for _ in 0..*n {
                    if !*forwards {
                        let Some(before) = position.checked_sub(1) else {
                            return;
                        };
                        position = before;
                    }
                    if position >= length(self) {
                        return;
                    }
                    let mut delta = Delta::new();
                    delta.keep(position as u64);
                    delta.delete(1);
                    self.edit(at, delta);
                }
            }
            Wish::Assign(n) => self.assign(at, ["", "x", "yy", "zzz"][*n]),
        }
    }

    fn edit(&mut self, at: usize, delta: Delta) {
        let delta = delta.end();
        if self.edits >= EDITS || delta.is_empty() {
            return;
        }
        let saw = self.replicas[at].applied;
        let name = Name::Site(self.replicas[at].site.get());
        let number = self.edits;
        let mut inserted = String::new();
        let before: Vec<char> = self.replicas[at].text.chars().collect();
        let mut deleted = Vec::new();
        // The model works on the author's text as it was, plus what this edit typed.
        let (mut old, mut now) = (0, 0);
        let mut doomed = Vec::new();
        for edit in delta.edits() {
            let (keep, insert, delete) = (
                edit.keep as usize,
                edit.insert as usize,
                edit.delete as usize,
            );
            old += keep;
            now += keep;
            let text: String = (0..insert).map(|_| self.fresh()).collect();
            self.model.insert(saw, number, &name, now, &text);
            inserted.push_str(&text);
            now += insert;
            doomed.extend(now..now + delete);
            deleted.extend(&before[old..old + delete]);
            old += delete;
            now += delete;
        }
        // From the right, so that positions stay true.
        for position in doomed.into_iter().rev() {
            self.model.delete(saw | 1 << number, number, position);
        }
        let change = TextDelta { delta, inserted };
        self.ledger.book(number, saw, &change.inserted, &deleted);
        self.send(at, Change::Edit(change));
        let text = self.replicas[at].text.clone();
        self.ledger.shown(number, &text);
    }

    fn fresh(&mut self) -> char {
        self.typed += 1;
        // One, two, three and four bytes long.
        let base = [0x100, 0x4e00, 0x1_0000, 0xa1][self.typed as usize % 4];
        char::from_u32(base + self.typed).unwrap()
    }

    fn assign(&mut self, at: usize, text: &str) {
        if self.edits >= EDITS {
            return;
        }
        let saw = self.replicas[at].applied;
        let number = self.edits;
        self.model.delete_all(saw, number);
        if self.model.begin(saw, number, text) && !text.is_empty() {
            self.tally.note("counted once");
        }
        self.ledger.overwrite(number, saw);
        self.send(at, Change::Assign(text.to_owned()));
    }

    fn send(&mut self, at: usize, change: Change) {
        let replica = &mut self.replicas[at];
        let change = match change {
            Change::Edit(delta) => {
                let mut bytes = Vec::new();
                delta.encode(&mut bytes);
                assert_eq!(TextDelta::decode(&bytes).as_ref(), Ok(&delta));
                Change::Edit(delta)
            }
            other => other,
        };
        let sent = Sent {
            dot: replica.next_dot(),
            seen: replica.seen_of_others(),
            change,
            number: self.edits,
        };
        replica.write(&sent);
        self.sent.entry(sent.dot.site).or_default().push(sent);
        self.edits += 1;
        self.check(at);
    }

    fn deliver(&mut self, at: usize, from: usize, count: usize) -> bool {
        let site = self.sites[from];
        let mut any = false;
        for _ in 0..count {
            let replica = &mut self.replicas[at];
            let next = usize::try_from(replica.vector.get(site)).unwrap();
            let Some(sent) = self.sent.get(&site).and_then(|s| s.get(next)) else {
                break;
            };
            if !replica.is_ready_for(sent) {
                break;
            }
            replica.apply(sent, self.tally);
            any = true;
            self.check(at);
        }
        any
    }

    fn deliver_all(&mut self) {
        let pairs: Vec<(usize, usize)> = (0..self.sites.len())
            .flat_map(|at| (0..self.sites.len()).map(move |from| (at, from)))
            .collect();
        while pairs.iter().fold(false, |any, (at, from)| {
            any | self.deliver(*at, *from, usize::MAX)
        }) {}
    }

    fn report(&mut self, from: usize) {
        let site = self.sites[from];
        let report = self.replicas[from].vector.clone();
        for other in &mut self.replicas {
            other.hear(site, report.clone());
        }
    }

    fn collect(&mut self, at: usize) {
        self.replicas[at].collect(&self.sites, self.tally);
    }

    fn check(&self, at: usize) {
        let replica = &self.replicas[at];
        assert_eq!(
            replica.text,
            self.model.text(replica.applied),
            "at {}",
            replica.site
        );
    }

    fn finish(&mut self, order: &[(usize, usize)]) {
        for (at, from) in order {
            self.deliver(*at, *from, usize::MAX);
        }
        self.deliver_all();
        let first = &self.replicas[0];
        for replica in &self.replicas {
            assert_eq!(replica.vector, first.vector, "everything was delivered");
            assert_eq!(replica.text, first.text, "{} differs", replica.site);
        }
        self.ledger.audit(&first.text);
    }
}

/// What the users meant: every character typed by an edit is a different one.
#[derive(Debug, Default)]
struct Ledger {
    /// Who typed it.
    typed: BTreeMap<char, usize>,
    /// Deleted by somebody who saw it.
    deleted: BTreeMap<char, usize>,
    /// Each edit's characters in the order in which its author saw them, among those he saw.
    orders: Vec<String>,
    edits: BTreeMap<usize, Set>,
}

impl Ledger {
    fn book(&mut self, number: usize, saw: Set, inserted: &str, deleted: &[char]) {
        self.edits.insert(number, saw);
        self.typed.extend(inserted.chars().map(|c| (c, number)));
        self.deleted.extend(deleted.iter().map(|c| (*c, number)));
        let fresh = count(inserted.as_bytes());
        assert_eq!(fresh as usize, inserted.chars().count());
    }

    /// An assignment deletes all that it saw.
    fn overwrite(&mut self, number: usize, saw: Set) {
        for (c, by) in &self.typed {
            if saw & 1 << by != 0 {
                self.deleted.insert(*c, number);
            }
        }
    }

    fn shown(&mut self, _number: usize, text: &str) {
        self.orders.push(text.to_owned());
    }

    /// What was typed and not deleted is there, nothing deleted is, and all that an author saw
    /// stands in the order in which he saw it.
    fn audit(&self, text: &str) {
        for c in self.typed.keys() {
            let wanted = !self.deleted.contains_key(c);
            assert_eq!(text.contains(*c), wanted, "{c} in {text}");
        }
        let place: BTreeMap<char, usize> = text.chars().enumerate().map(|(n, c)| (c, n)).collect();
        for seen in &self.orders {
            let places: Vec<usize> = seen
                .chars()
                .filter(|c| self.typed.contains_key(c))
                .filter_map(|c| place.get(&c).copied())
                .collect();
            assert!(places.is_sorted(), "{seen} became {text}");
        }
    }
}
