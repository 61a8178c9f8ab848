//! Random worlds: a script of what users and the network do, and the playing of it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use nuda_core::codec::Reader;
use nuda_core::hlc::Stamp;
use nuda_core::row::{Cell, Change};
use nuda_core::site::{Dot, Site};
use nuda_core::types::ColumnType;
use nuda_core::types::doc::rules::Rules;
use nuda_core::value::{OwnedValue, Value};
use proptest::prelude::*;

use crate::ledger::Ledger;
use crate::model::{COUNTER, Columns, History, MAXREG, MINREG, MVREG, Made, ORSET, Row};
use crate::replica::{Replica, Tally, Transaction};

/// What a user's statement does; whether it fits the row is found out when it is played.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wish {
    /// Insert the row, or set everything if it is there.
    Upsert(i64, i64),
    /// Set one register and maybe the other.
    Set(i64, Option<i64>),
    /// Add to the counter and maybe set a register.
    Add(i64, Option<i64>),
    /// Set the MAXREG or the MINREG; NULL if there is no number.
    Best(usize, Option<i64>),
    /// Set the MVREG.
    Many(Option<i64>),
    /// Put these of the first elements into the set, and take those out.
    Elements(u8, u8),
    /// Leave no set.
    NoSet,
    /// Touch the row without a change of values.
    Touch,
    /// Delete the row.
    Delete,
}

/// One step of a script.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// A transaction at a member whose clock shows `now_ms`.
    Write {
        /// Which member.
        at: usize,
        /// Its wall clock.
        now_ms: u64,
        /// Rows and wishes.
        wishes: Vec<(u8, Wish)>,
        /// Whether it is a strong one, which needs the place after all others.
        strong: bool,
    },
    /// A member applies what is ready, of one other site.
    Deliver {
        /// Which member.
        at: usize,
        /// Whose transactions; one more than there are members: the strong ones.
        from: usize,
        /// How many at most.
        count: usize,
    },
    /// A member applies one round of what is ready, of all sites.
    CatchUp {
        /// Which member.
        at: usize,
    },
    /// A member tells the others what it has applied.
    Report {
        /// Who tells.
        from: usize,
    },
    /// A member drops what is stable from its log.
    Collect {
        /// Which member.
        at: usize,
    },
}

/// A world: members, steps, and the order in which the rest is delivered in the end.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    members: usize,
    delete_wins: bool,
    /// Whether members forget strong records that they must not: the negative control.
    forgets: bool,
    steps: Vec<Step>,
    finish: Vec<(usize, usize)>,
}

fn wish() -> impl Strategy<Value = Wish> {
    prop_oneof![
        3 => (0i64..3, 0i64..3).prop_map(|(a, b)| Wish::Upsert(a, b)),
        3 => (0i64..3, prop::option::of(0i64..3)).prop_map(|(a, b)| Wish::Set(a, b)),
        3 => (-9i64..9, prop::option::of(0i64..3)).prop_map(|(n, b)| Wish::Add(n, b)),
        2 => (MAXREG..=MINREG, prop::option::weighted(0.9, 0i64..4))
            .prop_map(|(column, n)| Wish::Best(column, n)),
        1 => prop::option::weighted(0.9, 0i64..4).prop_map(Wish::Many),
        3 => (0u8..16, 0u8..16).prop_map(|(a, b)| Wish::Elements(a, b)),
        1 => Just(Wish::NoSet),
        1 => Just(Wish::Touch),
        5 => Just(Wish::Delete),
    ]
}

/// What a run of random worlds is about.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Subject {
    /// Members report and collect.
    pub(crate) collecting: bool,
    /// The table's option.
    pub(crate) delete_wins: bool,
    /// Some transactions are strong.
    pub(crate) strong: bool,
    /// See [`Script`].
    pub(crate) forgets: bool,
}

fn step(members: usize, subject: Subject) -> impl Strategy<Value = Step> {
    let member = 0..members;
    let from = 0..members + usize::from(subject.strong);
    let strongly = prop::bool::weighted(if subject.strong { 0.4 } else { 0.0 });
    // Reports and collections only where they are the subject.
    let (reports, collects) = if subject.collecting { (7, 5) } else { (0, 0) };
    prop_oneof![
        8 => (member.clone(), 0u64..6, prop::collection::vec((0u8..2, wish()), 1..4), strongly)
            .prop_map(|(at, now_ms, wishes, strong)| Step::Write { at, now_ms, wishes, strong }),
        12 => (member.clone(), from, 1usize..4)
            .prop_map(|(at, from, count)| Step::Deliver { at, from, count }),
        4 + reports => member.clone().prop_map(|at| Step::CatchUp { at }),
        reports => member.clone().prop_map(|from| Step::Report { from }),
        collects => member.prop_map(|at| Step::Collect { at }),
    ]
}

/// All scripts.
pub(crate) fn script(subject: Subject) -> impl Strategy<Value = Script> {
    (3usize..=5).prop_flat_map(move |members| {
        let length = if subject.collecting { 30..120 } else { 10..70 };
        let steps = prop::collection::vec(step(members, subject), length);
        let sites = members + usize::from(subject.strong);
        let finish = prop::collection::vec((0..members, 0..sites), 12);
        (steps, finish).prop_map(move |(steps, finish)| Script {
            members,
            delete_wins: subject.delete_wins,
            forgets: subject.forgets,
            steps,
            finish,
        })
    })
}

/// Why a strong record stays: an eventual write of a great stamp had not seen it and lost. It is not
/// stable when the strong one is, and then meets a third one of a lesser stamp, which had seen the
/// strong one. Who forgot that one takes the great stamp for the winner.
pub(crate) fn late_third(forgets: bool) -> Script {
    let write = |at, now_ms, n, strong| Step::Write {
        at,
        now_ms,
        wishes: vec![(0, Wish::Set(n, None))],
        strong,
    };
    let deliver = |at, from| Step::Deliver { at, from, count: 9 };
    let (log, everybody) = (3, 0..3);
    let mut steps = vec![Step::Write {
        at: 0,
        now_ms: 1,
        wishes: vec![(0, Wish::Upsert(0, 0))],
        strong: false,
    }];
    steps.extend(everybody.clone().map(|at| deliver(at, 0)));
    steps.extend([
        write(1, 90, 1, false),
        write(0, 2, 2, true),
        deliver(0, 1),
        deliver(1, log),
        deliver(2, log),
    ]);
    steps.extend(everybody.map(|from| Step::Report { from }));
    steps.extend([
        Step::Collect { at: 0 },
        write(2, 3, 3, false),
        deliver(0, 2),
    ]);
    Script {
        members: 3,
        delete_wins: false,
        forgets,
        steps,
        finish: Vec::new(),
    }
}

/// Why images move: two deletes cross with two edits that each saw only one of, the delete
/// that hid the row at member 0 is stable first, and an edit that did not see the other one
/// still arrives.
pub(crate) fn crossed_deletes() -> Script {
    let write = |at, wish| Step::Write {
        at,
        now_ms: 1,
        wishes: vec![(0, wish)],
        strong: false,
    };
    let deliver = |at, from| Step::Deliver { at, from, count: 9 };
    let mut steps = vec![
        write(0, Wish::Upsert(1, 1)),
        deliver(1, 0),
        deliver(2, 0),
        deliver(3, 0),
        write(1, Wish::Set(2, None)),
        write(2, Wish::Add(5, None)),
        write(1, Wish::Delete),
        deliver(3, 2),
        write(3, Wish::Delete),
        // Member 0 is hidden by member 1's delete, and knows both.
        deliver(0, 2),
        deliver(0, 3),
        deliver(0, 1),
        // Everybody has that delete; member 2 does not have the other.
        deliver(2, 1),
        deliver(3, 1),
    ];
    steps.extend((0..4).map(|from| Step::Report { from }));
    steps.push(Step::Collect { at: 0 });
    steps.push(write(2, Wish::Add(7, None)));
    steps.push(deliver(0, 2));
    Script {
        members: 4,
        delete_wins: false,
        forgets: false,
        steps,
        finish: Vec::new(),
    }
}

struct World<'t> {
    /// The members'.
    sites: Vec<Site>,
    replicas: Vec<Replica>,
    sent: BTreeMap<Site, Vec<Transaction>>,
    history: History,
    ledger: Ledger,
    turn: usize,
    tally: &'t mut Tally,
}

/// Plays a script, checking each replica after each of its steps, and all in the end.
pub(crate) fn play(script: &Script, tally: &mut Tally) {
    let sites: Vec<Site> = (0..script.members)
        .map(|n| Site::from_u64(100 + n as u64).unwrap())
        .collect();
    let columns = Columns {
        delete_wins: script.delete_wins,
    };
    let mut world = World {
        replicas: sites
            .iter()
            .map(|s| Replica::new(*s, columns, !script.forgets))
            .collect(),
        sites,
        sent: BTreeMap::new(),
        history: History::new(script.delete_wins),
        ledger: Ledger::default(),
        turn: 0,
        tally,
    };
    for step in &script.steps {
        match step {
            Step::Write {
                at,
                now_ms,
                wishes,
                strong,
            } => world.write(*at, *now_ms, wishes, *strong),
            Step::Deliver { at, from, count } => {
                world.deliver(*at, *from, *count);
            }
            Step::CatchUp { at } => {
                for from in 0..=world.sites.len() {
                    world.deliver(*at, from, usize::MAX);
                }
            }
            Step::Report { from } => {
                let site = world.sites[*from];
                let report = world.replicas[*from].vector.clone();
                for other in &mut world.replicas {
                    other.hear(site, report.clone());
                }
            }
            Step::Collect { at } => world.collect(*at),
        }
    }
    world.finish(&script.finish);
}

impl World<'_> {
    /// Whose transactions the `from`-th are.
    fn site(&self, from: usize) -> Site {
        self.sites.get(from).copied().unwrap_or(Site::LOG_STRONG)
    }

    fn write(&mut self, at: usize, now_ms: u64, wishes: &[(u8, Wish)], strong: bool) {
        if !self.history.has_room(wishes.len()) {
            return;
        }
        let site = if strong {
            Site::LOG_STRONG
        } else {
            self.site(at)
        };
        let replica = &mut self.replicas[at];
        let dot = Dot {
            site,
            seq: replica.next_seq(site),
        };
        if dot.seq <= self.sent.get(&site).map_or(0, |sent| sent.len() as u64) {
            // Another one was first: refused by the log.
            self.tally.note("stale");
            return;
        }
        let stamp = Stamp::next(replica.latest, now_ms).unwrap();
        let seen = replica.seen_of_others(site);
        let mut known = replica.applied;
        let (mut changes, mut knew) = (Vec::new(), Vec::new());
        for (key, wish) in wishes {
            let Some(change) = fitting(*key, *wish, replica.visible.get(key)) else {
                continue;
            };
            replica.write(dot, stamp, changes.len() as u64, *key, &change);
            let number = self.history.record(Made {
                key: *key,
                change: change.clone(),
                stamp,
                site: dot.site,
                saw: known,
            });
            knew.push(known);
            known |= crate::model::one(number);
            changes.push((*key, change, number));
        }
        for (n, ((key, change, number), known)) in changes.iter().zip(knew).enumerate() {
            let goes_on = changes.iter().skip(n + 1).any(|(other, ..)| other == key);
            let by = (stamp, dot.site, goes_on);
            self.ledger.book(*key, change, by, *number, known);
        }
        if changes.is_empty() {
            return;
        }
        let transaction = Transaction {
            dot,
            stamp,
            seen,
            changes,
        };
        replica.wrote(&transaction);
        self.sent.entry(dot.site).or_default().push(transaction);
        self.check(at);
    }

    fn deliver(&mut self, at: usize, from: usize, count: usize) -> bool {
        let site = self.site(from);
        let mut any = false;
        for _ in 0..count {
            let replica = &mut self.replicas[at];
            let next = usize::try_from(replica.vector.get(site)).unwrap();
            let Some(transaction) = self.sent.get(&site).and_then(|s| s.get(next)) else {
                break;
            };
            if !replica.is_ready_for(transaction) {
                break;
            }
            self.turn += 1;
            replica.apply(transaction, self.turn, self.tally);
            any = true;
            self.check(at);
        }
        any
    }

    fn collect(&mut self, at: usize) {
        self.replicas[at].collect(&self.sites, self.tally);
        self.check(at);
    }

    /// The replica holds what the definition says.
    fn check(&self, at: usize) {
        let replica = &self.replicas[at];
        for key in 0..2 {
            let state = self.history.state(key, replica.applied);
            let shown = replica.visible.get(&key);
            assert_eq!(
                shown.is_some(),
                state.visible,
                "row {key} at {}",
                replica.site
            );
            // What a strong DELETE ended does not come back, and its image is not kept up.
            let image = replica.image(key).filter(|_| state.row.is_some());
            if let Some(held) = shown.or(image) {
                assert_eq!(
                    Some(held),
                    state.row.as_ref(),
                    "row {key} at {}",
                    replica.site
                );
            }
        }
    }

    fn finish(&mut self, order: &[(usize, usize)]) {
        for (at, from) in order {
            self.deliver(*at, *from, usize::MAX);
        }
        let pairs: Vec<(usize, usize)> = (0..self.sites.len())
            .flat_map(|at| (0..=self.sites.len()).map(move |from| (at, from)))
            .collect();
        while pairs.iter().fold(false, |any, (at, from)| {
            any | self.deliver(*at, *from, usize::MAX)
        }) {}
        let first = &self.replicas[0];
        for replica in &self.replicas {
            assert_eq!(replica.vector, first.vector, "everything was delivered");
            assert_eq!(replica.visible, first.visible, "{} differs", replica.site);
        }
        for (key, row) in &first.visible {
            self.ledger.audit(*key, row);
        }
    }
}

/// The change that a statement makes to a row that is there or not: what capture records.
fn fitting(key: u8, wish: Wish, row: Option<&Row>) -> Option<Change<'static>> {
    let int = |n: i64| Cell::Value(Value::Int(n));
    let counted = |n: i64| Cell::Add(i128::from(n));
    let number = |n: Option<i64>| n.map_or(Value::Null, Value::Int);
    let Some(row) = row else {
        let Wish::Upsert(a, b) = wish else {
            return None;
        };
        let set: Vec<&[u8]> = [b"0".as_slice(), b"1", b"2"][..a.unsigned_abs() as usize].into();
        let set = format!("[{}]", String::from_utf8(set.join(&b',')).unwrap());
        return Some(Change::Insert(vec![
            int(i64::from(key)),
            int(a),
            int(b),
            counted(a + 2 * b),
            int(a),
            int(b),
            int(a + b),
            Cell::Value(if b == 0 {
                Value::Null
            } else {
                Value::Text(kept(set.into_bytes()))
            }),
        ]));
    };
    let changed = |column: usize, value: Value<'static>| {
        (row.shown[column - MAXREG].as_ref() != value)
            .then(|| Change::Update(vec![(column, Cell::Value(value))]))
    };
    match wish {
        Wish::Upsert(a, b) => Some(Change::Update(vec![(1, int(a)), (2, int(b))])),
        Wish::Set(a, b) => {
            let second = b.map(|b| (2, int(b)));
            Some(Change::Update(
                [(1, int(a))].into_iter().chain(second).collect(),
            ))
        }
        Wish::Add(n, b) => {
            let first = b.map(|b| (2, int(b)));
            let cells = first.into_iter().chain([(COUNTER, counted(n))]);
            Some(Change::Update(cells.collect()))
        }
        Wish::Best(column, n) => changed(column, number(n)),
        Wish::Many(n) => changed(MVREG, number(n)),
        Wish::Elements(add, remove) => {
            let now = match &row.shown[ORSET - MAXREG] {
                OwnedValue::Text(text) => String::from_utf8(text.clone()).unwrap(),
                _ => String::new(),
            };
            let stays = |n: u8| add & (1 << n) != 0 || now.contains(char::from(b'0' + n));
            let after: Vec<String> = (0u8..4)
                .filter(|n| stays(*n) && remove & !add & (1 << n) == 0)
                .map(|n| n.to_string())
                .collect();
            edited(
                row,
                Value::Text(format!("[{}]", after.join(",")).as_bytes()),
            )
        }
        Wish::NoSet => edited(row, Value::Null),
        Wish::Touch => Some(Change::Update(Vec::new())),
        Wish::Delete => Some(Change::Delete),
    }
}

fn edited(row: &Row, new: Value<'_>) -> Option<Change<'static>> {
    let old = row.shown[ORSET - MAXREG].as_ref();
    let mut bytes = Vec::new();
    if !ColumnType::OrSet
        .edit(old, new, &Rules::default(), &mut bytes)
        .unwrap()
    {
        return None;
    }
    let cell = Cell::decode(&mut Reader::new(kept(bytes))).unwrap();
    Some(Change::Update(vec![(ORSET, cell)]))
}

/// Keeps bytes for ever, once each: changes of these worlds own nothing.
fn kept(bytes: Vec<u8>) -> &'static [u8] {
    thread_local! {
        static KEPT: RefCell<BTreeSet<&'static [u8]>> = const { RefCell::new(BTreeSet::new()) };
    }
    KEPT.with_borrow_mut(|all| {
        if let Some(known) = all.get(bytes.as_slice()) {
            return *known;
        }
        let leaked: &'static [u8] = Box::leak(bytes.into_boxed_slice());
        all.insert(leaked);
        leaked
    })
}
