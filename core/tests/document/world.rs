//! Random worlds: members edit one document and exchange what they did.

use std::collections::BTreeMap;

use nuda_core::diff::json::diff;
use nuda_core::hlc::Stamp;
use nuda_core::site::{Dot, Site};
use nuda_core::types::doc::document::Json;
use nuda_core::types::doc::edit::Change;
use nuda_core::types::doc::merge::{Edited, Merge};
use nuda_core::types::doc::rules::{Path, Rules};
use nuda_core::version_vector::VersionVector;
use proptest::prelude::*;

use crate::integrate;
use crate::model::Model;
use crate::samples::{edit, json, small};
use crate::sequence::Set;

/// How often each interesting thing happened.
#[derive(Debug, Default, Clone)]
pub(crate) struct Tally(pub(crate) BTreeMap<&'static str, u64>);

impl Tally {
    fn note(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }
}

/// One step of a script.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Write {
        at: usize,
        way: u64,
        value: Json,
        /// Whether it is a strong one, which needs the place after all others.
        strong: bool,
    },
    /// From a member, or the strong ones if there is none of that number.
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
    /// Perhaps only what lies in the file is left after it.
    Collect {
        at: usize,
        forgets: bool,
    },
    Quiet {
        at: usize,
    },
    /// A member keeps its state as bytes for a moment.
    Store {
        at: usize,
    },
}

/// A world: members and steps.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    members: usize,
    steps: Vec<Step>,
}

fn step(members: usize) -> impl Strategy<Value = Step> {
    let member = 0..members;
    // Seldom the whole document.
    let way = (any::<u64>(), 0u64..16).prop_map(|(way, n)| match n {
        0 => way,
        _ => way / 16 * 16 + n % 12,
    });
    prop_oneof![
        9 => (member.clone(), way, prop_oneof![json(), small()], prop::bool::weighted(0.3))
            .prop_map(|(at, way, value, strong)| Step::Write { at, way, value, strong }),
        8 => (member.clone(), 0..=members, 1usize..6)
            .prop_map(|(at, from, count)| Step::Deliver { at, from, count }),
        4 => member.clone().prop_map(|at| Step::CatchUp { at }),
        6 => member.clone().prop_map(|from| Step::Report { from }),
        5 => (member.clone(), any::<bool>()).prop_map(|(at, forgets)| Step::Collect { at, forgets }),
        1 => member.clone().prop_map(|at| Step::Quiet { at }),
        3 => member.prop_map(|at| Step::Store { at }),
    ]
}

/// All scripts.
pub(crate) fn script() -> impl Strategy<Value = Script> {
    (3usize..=5).prop_flat_map(|members| {
        prop::collection::vec(step(members), 5..60).prop_map(move |steps| Script { members, steps })
    })
}

#[derive(Debug, Clone)]
struct Sent {
    dot: Dot,
    stamp: Stamp,
    seen: VersionVector,
    change: Change,
    number: usize,
}

impl Sent {
    /// All that it had seen.
    fn all_seen(&self) -> VersionVector {
        let mut seen = self.seen.clone();
        seen.set(self.dot.site, self.dot.seq - 1);
        seen
    }

    /// Up to where it knew the order of strong edits.
    fn position(&self) -> u64 {
        match self.dot.site {
            Site::LOG_STRONG => self.dot.seq,
            _ => self.seen.get(Site::LOG_STRONG),
        }
    }

    fn edited(&self) -> Edited<'_> {
        Edited {
            dot: self.dot,
            stamp: self.stamp,
            seen: &self.seen,
            change: &self.change,
        }
    }
}

#[derive(Debug)]
struct Replica {
    site: Site,
    vector: VersionVector,
    latest: Stamp,
    value: Json,
    applied: Set,
    log: Vec<Sent>,
    state: Option<Merge>,
    late: Vec<Sent>,
    /// What lies beside the log: of edits that were collected while one stayed that had not seen
    /// them.
    kept: Option<Merge>,
    reports: BTreeMap<Site, Vec<VersionVector>>,
}

impl Replica {
    fn catch_up(&mut self) {
        if let Some(state) = self.state.as_mut() {
            for sent in self.late.drain(..) {
                state.follow(&sent.edited());
            }
        }
    }

    fn apply(&mut self, sent: &Sent, tally: &mut Tally) {
        let saw = |other: &Sent| other.dot.site == sent.dot.site || sent.seen.contains(other.dot);
        if self.state.is_none() && self.log.iter().all(saw) {
            tally.note("plain");
            let value = sent.change.apply(Some(self.value.clone()));
            self.value = value.expect("it fits").expect("a document");
        } else {
            if self.state.is_none() {
                tally.note("built");
                self.build(tally);
            }
            self.catch_up();
            tally.note("integrated");
            let state = self.state.as_mut().unwrap();
            integrate(state, &sent.edited(), &mut self.value);
        }
        self.wrote(sent);
    }

    /// Makes the state of what lies in the file, in an order that is causal.
    fn build(&mut self, tally: &mut Tally) {
        if self.kept.is_some() {
            tally.note("built on what was kept");
        }
        self.state = Some(self.kept.clone().unwrap_or_default());
        self.late = self.log.clone();
        self.late.sort_by_key(|sent| (sent.stamp, sent.dot));
    }

    fn store(&mut self, tally: &mut Tally) {
        let Some(state) = &self.state else {
            return;
        };
        let mut bytes = Vec::new();
        state.encode(&mut bytes);
        let read = Merge::decode(&bytes).expect("what was encoded");
        let mut again = Vec::new();
        read.encode(&mut again);
        assert_eq!(bytes, again);
        self.state = Some(read);
        tally.note("state read back");
        // Any byte of it changed is refused, or is another state that can be worked with.
        let at = (bytes.len() * self.log.len() * 7 / 16) % bytes.len();
        bytes[at] ^= 1 << (at % 8);
        if let Ok(mut read) = Merge::decode(&bytes) {
            let mut again = Vec::new();
            read.encode(&mut again);
            assert_eq!(bytes, again);
            tally.note("hostile state");
            let mut value = self.value.clone();
            for sent in &self.log {
                integrate(&mut read, &sent.edited(), &mut value);
            }
            read.collapse(&self.vector);
        }
    }

    fn wrote(&mut self, sent: &Sent) {
        self.vector.set(sent.dot.site, sent.dot.seq);
        self.latest = self.latest.max(sent.stamp);
        self.applied |= 1 << sent.number;
        self.log.push(sent.clone());
    }

    /// A strong edit stays while one stays that had not seen it, and so does what saw it.
    fn keep_unseen_strong(&self, stable: &mut VersionVector) {
        let eventual = || self.log.iter().filter(|s| s.dot.site != Site::LOG_STRONG);
        let staying = eventual().filter(|sent| !stable.contains(sent.dot));
        let Some(known) = staying.map(Sent::position).min() else {
            return;
        };
        stable.set(Site::LOG_STRONG, stable.get(Site::LOG_STRONG).min(known));
        for sent in eventual().filter(|sent| sent.position() > known) {
            let Dot { site, seq } = sent.dot;
            stable.set(site, stable.get(site).min(seq - 1));
        }
    }

    /// Edits that stay may not have seen those that go: their state is kept.
    fn keep(&mut self, stable: &VersionVector, tally: &mut Tally) {
        let stays = |sent: &&Sent| !stable.contains(sent.dot);
        let staying = self.log.iter().filter(stays).map(Sent::all_seen);
        let unknowing: Vec<VersionVector> = staying.filter(|seen| !seen.covers(stable)).collect();
        let mut going: Vec<&Sent> = self.log.iter().filter(|sent| !stays(sent)).collect();
        going.sort_by_key(|sent| (sent.stamp, sent.dot));
        let kept = self.kept.take();
        if !unknowing.is_empty() {
            let mut state = kept.unwrap_or_default();
            for sent in going {
                state.follow(&sent.edited());
            }
            let mut seen = stable.clone();
            for known in &unknowing {
                seen.meet(known);
            }
            state.collapse(&seen);
            self.kept = Some(state).filter(|state| !state.is_trivial());
            if self.kept.is_some() {
                tally.note("kept");
            }
        }
    }

    fn collect(&mut self, members: &[Site], tally: &mut Tally) {
        let mut stable = self.vector.clone();
        for member in members.iter().filter(|m| **m != self.site) {
            let mut known = VersionVector::new();
            for report in self.reports.get(member).into_iter().flatten() {
                // Only if all that the member wrote before it reported is applied here.
                let written = [*member, Site::LOG_STRONG];
                if written
                    .iter()
                    .all(|site| self.vector.get(*site) >= report.get(*site))
                {
                    known.join(report);
                }
            }
            stable.meet(&known);
        }
        self.keep_unseen_strong(&mut stable);
        self.catch_up();
        self.keep(&stable, tally);
        self.log.retain(|sent| !stable.contains(sent.dot));
        if let Some(state) = self.state.as_mut() {
            state.collapse(&stable);
            tally.note("collapsed");
            if state.is_trivial() {
                tally.note("dropped as trivial");
                self.state = None;
            }
        }
    }
}

struct World<'t> {
    sites: Vec<Site>,
    replicas: Vec<Replica>,
    sent: BTreeMap<Site, Vec<Sent>>,
    model: Model,
    edits: usize,
    rules: Rules,
    tally: &'t mut Tally,
}

/// Plays a script, checking each replica after each of its steps, and all in the end.
pub(crate) fn play(script: &Script, tally: &mut Tally) {
    let sites: Vec<Site> = (0..script.members)
        .map(|n| Site::from_u64(100 + n as u64).unwrap())
        .collect();
    let replica = |site: &Site| Replica {
        site: *site,
        vector: VersionVector::new(),
        latest: Stamp::BASELINE,
        value: Json::Object(BTreeMap::new()),
        applied: 0,
        log: Vec::new(),
        state: None,
        late: Vec::new(),
        kept: None,
        reports: BTreeMap::new(),
    };
    let mut world = World {
        replicas: sites.iter().map(replica).collect(),
        sites,
        sent: BTreeMap::new(),
        model: Model::default(),
        edits: 0,
        rules: Rules {
            counters: ["$.a", "$.b.*", "$.*.*.c"]
                .map(|p| Path::parse(p).unwrap())
                .into(),
            identities: Vec::new(),
        },
        tally,
    };
    // Everybody has the empty document.
    world.write(0, Change::Set(Json::Object(BTreeMap::new())), false);
    world.deliver_all();
    for step in &script.steps {
        match step {
            Step::Write {
                at,
                way,
                value,
                strong,
            } => world.edit(*at, *way, value, *strong),
            Step::Deliver { at, from, count } => drop(world.deliver(*at, *from, *count)),
            Step::CatchUp { at } => {
                for from in 0..=world.sites.len() {
                    world.deliver(*at, from, usize::MAX);
                }
            }
            Step::Report { from } => world.report(*from),
            Step::Collect { at, forgets } => {
                world.replicas[*at].collect(&world.sites, world.tally);
                if *forgets {
                    world.replicas[*at].state = None;
                    world.replicas[*at].late.clear();
                }
            }
            Step::Store { at } => world.replicas[*at].store(world.tally),
            Step::Quiet { at } => {
                world.deliver_all();
                for from in 0..world.sites.len() {
                    world.report(from);
                }
                world.replicas[*at].collect(&world.sites, world.tally);
            }
        }
    }
    world.deliver_all();
    let first = &world.replicas[0];
    for replica in &world.replicas {
        assert_eq!(replica.value, first.value, "{} differs", replica.site);
    }
}

impl World<'_> {
    fn edit(&mut self, at: usize, way: u64, value: &Json, strong: bool) {
        let old = self.replicas[at].value.clone();
        let mut new = old.clone();
        edit(&mut new, way, value.clone());
        if let Some(change) = diff(&old, &new, &self.rules, 1_000)
            && self.write(at, change, strong)
        {
            assert_eq!(self.replicas[at].value, new);
        }
    }

    /// Whose edits the `from`-th are.
    fn site(&self, from: usize) -> Site {
        self.sites.get(from).copied().unwrap_or(Site::LOG_STRONG)
    }

    /// Answers whether it was done.
    fn write(&mut self, at: usize, change: Change, strong: bool) -> bool {
        if self.edits >= 100 {
            return false;
        }
        let site = if strong {
            Site::LOG_STRONG
        } else {
            self.site(at)
        };
        let replica = &mut self.replicas[at];
        let stamp = Stamp::next(replica.latest, (self.edits % 3) as u64).unwrap();
        let mut seen = replica.vector.clone();
        let seq = seen.get(site) + 1;
        if seq <= self.sent.get(&site).map_or(0, |sent| sent.len() as u64) {
            // Another one was first.
            self.tally.note("stale");
            return false;
        }
        seen.set(site, 0);
        let sent = Sent {
            dot: Dot { site, seq },
            stamp,
            seen,
            change,
            number: self.edits,
        };
        let rank = (sent.position(), stamp.get(), site.get());
        self.model.record(replica.applied, rank, &sent.change);
        let value = sent.change.apply(Some(replica.value.clone()));
        replica.value = value.expect("it fits").expect("a document");
        if replica.state.is_some() {
            replica.late.push(sent.clone());
        }
        replica.wrote(&sent);
        self.sent.entry(sent.dot.site).or_default().push(sent);
        self.edits += 1;
        self.check(at);
        true
    }

    fn deliver(&mut self, at: usize, from: usize, count: usize) -> bool {
        let site = self.site(from);
        let mut any = false;
        for _ in 0..count {
            let replica = &mut self.replicas[at];
            let next = usize::try_from(replica.vector.get(site)).unwrap();
            let Some(sent) = self.sent.get(&site).and_then(|s| s.get(next)) else {
                break;
            };
            if !replica.vector.covers(&sent.seen) {
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
            .flat_map(|at| (0..=self.sites.len()).map(move |from| (at, from)))
            .collect();
        while pairs.iter().fold(false, |any, (at, from)| {
            any | self.deliver(*at, *from, usize::MAX)
        }) {}
    }

    fn report(&mut self, from: usize) {
        let site = self.sites[from];
        let report = self.replicas[from].vector.clone();
        for other in &mut self.replicas {
            other.reports.entry(site).or_default().push(report.clone());
        }
    }

    fn check(&self, at: usize) {
        let replica = &self.replicas[at];
        let wanted = self.model.value(replica.applied).expect("a document");
        assert_eq!(
            replica.value.to_string(),
            wanted.to_string(),
            "at {}",
            replica.site
        );
    }
}
