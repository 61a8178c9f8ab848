//! What people really typed, replayed.
//!
//! The recordings lie outside of the repository, in `../shared/data` beside it (or where
//! `NUDA_TRACES` says): editing traces as github.com/josephg/editing-traces publishes them. Where
//! they are not present, the tests say `skipped:` and check nothing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::io::Read as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nuda_core::diff::text::{STEPS, diff};
use nuda_core::site::{Dot, Site};
use nuda_core::types::sequence::{Delta, Sequence};
use nuda_core::types::text::{TextDelta, count};
use nuda_core::version_vector::VersionVector;

fn trace(name: &str) -> Option<serde_json::Value> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data");
    let folder = std::env::var_os("NUDA_TRACES").map_or(beside.into(), PathBuf::from);
    let Ok(file) = std::fs::File::open(folder.join(name)) else {
        println!("skipped: {name} is not in {}", folder.display());
        return None;
    };
    let mut text = String::new();
    flate2::read::GzDecoder::new(file)
        .read_to_string(&mut text)
        .unwrap();
    Some(serde_json::from_str(&text).unwrap())
}

fn number(value: &serde_json::Value) -> usize {
    usize::try_from(value.as_u64().unwrap()).unwrap()
}

/// The patches of one transaction as one edit.
fn edit(transaction: &serde_json::Value) -> TextDelta {
    let mut all = TextDelta::default();
    for patch in transaction["patches"].as_array().unwrap() {
        let inserted = patch[2].as_str().unwrap().to_owned();
        let mut delta = Delta::new();
        delta.keep(number(&patch[0]) as u64);
        delta.insert(count(inserted.as_bytes()));
        delta.delete(number(&patch[1]) as u64);
        let delta = delta.end();
        all = all.then(&TextDelta { delta, inserted }).unwrap();
    }
    all
}

#[derive(Debug, Clone)]
struct Sent {
    dot: Dot,
    seen: VersionVector,
    edit: TextDelta,
}

/// One of the two writers.
#[derive(Debug)]
struct Writer {
    site: Site,
    text: String,
    vector: VersionVector,
    log: Vec<Sent>,
    state: Option<Sequence>,
    late: Vec<Sent>,
}

#[derive(Debug, Default)]
struct Tally {
    built: usize,
    integrated: usize,
    most_runs: usize,
    most_bytes: usize,
}

impl Writer {
    fn new(site: Site) -> Self {
        Self {
            site,
            text: String::new(),
            vector: VersionVector::new(),
            log: Vec::new(),
            state: None,
            late: Vec::new(),
        }
    }

    fn write(&mut self, edit: TextDelta) -> Sent {
        let mut seen = self.vector.clone();
        let seq = seen.get(self.site) + 1;
        seen.set(self.site, 0);
        let dot = Dot {
            site: self.site,
            seq,
        };
        self.text = edit.apply(&self.text).expect("a recorded edit fits");
        let sent = Sent { dot, seen, edit };
        self.vector.set(self.site, seq);
        self.log.push(sent.clone());
        if self.state.is_some() {
            self.late.push(sent.clone());
        }
        sent
    }

    fn apply(&mut self, sent: &Sent, tally: &mut Tally) {
        let saw = |other: &Sent| other.dot.site == sent.dot.site || sent.seen.contains(other.dot);
        if self.state.is_none() && self.log.iter().all(saw) {
            self.text = sent.edit.apply(&self.text).expect("an edit that fits");
        } else {
            if self.state.is_none() {
                tally.built += 1;
                let (inserted, deleted) = self.log.iter().fold((0, 0), |(i, d), sent| {
                    (
                        i + sent.edit.delta.inserted(),
                        d + sent.edit.delta.deleted(),
                    )
                });
                let length = count(self.text.as_bytes()) + deleted - inserted;
                self.state = Some(Sequence::new(length));
                self.late = self.log.clone();
            }
            let state = self.state.as_mut().unwrap();
            for late in self.late.drain(..) {
                state
                    .integrate(late.dot, &late.seen, &late.edit.delta)
                    .unwrap();
            }
            let answer = state
                .integrate(sent.dot, &sent.seen, &sent.edit.delta)
                .expect("an edit that fits");
            tally.integrated += 1;
            tally.most_runs = tally.most_runs.max(state.runs());
            self.text = sent.edit.clone().placed(answer).apply(&self.text).unwrap();
        }
        self.vector.set(sent.dot.site, sent.dot.seq);
        self.log.push(sent.clone());
    }

    /// Forgets what the other one, whose edits up to `by` are here, had seen by then.
    fn collect(&mut self, by: &Sent, tally: &mut Tally) {
        let mut stable = by.seen.clone();
        stable.set(by.dot.site, by.dot.seq);
        self.log.retain(|sent| !stable.contains(sent.dot));
        if let Some(state) = self.state.as_mut() {
            for late in self.late.drain(..) {
                state
                    .integrate(late.dot, &late.seen, &late.edit.delta)
                    .unwrap();
            }
            let mut bytes = Vec::new();
            state.encode(&mut bytes);
            tally.most_bytes = tally.most_bytes.max(bytes.len());
            state.collapse(&stable);
            if state.is_trivial() {
                self.state = None;
            }
        }
    }
}

/// Two people write one document at the same time.
#[test]
fn friends_forever() {
    let Some(trace) = trace("friendsforever.json.gz") else {
        return;
    };
    let transactions = trace["txns"].as_array().unwrap();
    let mut writers = [10, 11].map(|n| Writer::new(Site::from_u64(n + 10).unwrap()));
    let mut sent: [Vec<Sent>; 2] = [Vec::new(), Vec::new()];
    // Who wrote each transaction, and as which of his.
    let mut places: Vec<(usize, usize)> = Vec::new();
    let mut tally = Tally::default();
    let started = Instant::now();
    for transaction in transactions {
        let agent = number(&transaction["agent"]);
        let other = 1 - agent;
        for parent in transaction["parents"].as_array().unwrap() {
            let (author, last) = places[number(parent)];
            if author == other {
                ship(&mut writers[agent], &sent[other], last + 1, &mut tally);
            }
        }
        let written = writers[agent].write(edit(transaction));
        places.push((agent, sent[agent].len()));
        sent[agent].push(written);
    }
    let [first, second] = &mut writers;
    ship(first, &sent[1], sent[1].len(), &mut tally);
    ship(second, &sent[0], sent[0].len(), &mut tally);
    println!("{tally:?} in {:?}", started.elapsed());
    assert_eq!(writers[0].text, writers[1].text);
    assert_eq!(writers[0].text, trace["endContent"].as_str().unwrap());
    assert!(tally.built > 100 && tally.integrated > 1_000, "{tally:?}");
}

/// Gives `to` the other one's transactions up to the `last`-th.
fn ship(to: &mut Writer, sent: &[Sent], last: usize, tally: &mut Tally) {
    let Some(site) = sent.first().map(|sent| sent.dot.site) else {
        return;
    };
    let have = usize::try_from(to.vector.get(site)).unwrap();
    let Some(new) = sent.get(have..last) else {
        return;
    };
    for sent in new {
        to.apply(sent, tally);
    }
    if let Some(latest) = new.last() {
        to.collect(latest, tally);
    }
}

/// One person writes a paper, and the program stores the whole text at each keystroke.
#[test]
fn a_paper_of_whole_values() {
    const KEYSTROKES: usize = 50_000;
    let Some(trace) = trace("automerge-paper.json.gz") else {
        return;
    };
    let mut written = String::new();
    let mut copy = String::new();
    let (mut finding, mut doing, mut bytes) = (Duration::ZERO, Duration::ZERO, 0);
    for transaction in trace["txns"].as_array().unwrap().iter().take(KEYSTROKES) {
        let new = edit(transaction).apply(&written).unwrap();
        let started = Instant::now();
        let found = diff(&written, &new, STEPS);
        finding += started.elapsed();
        let mut encoded = Vec::new();
        found.encode(&mut encoded);
        bytes += encoded.len();
        let started = Instant::now();
        copy = found.apply(&copy).unwrap();
        doing += started.elapsed();
        assert_eq!(copy, new);
        written = new;
    }
    println!(
        "{KEYSTROKES} keystrokes up to {} bytes: found in {finding:?}, done in {doing:?}, {bytes} bytes of edits",
        written.len()
    );
    assert!(bytes < KEYSTROKES * 8, "{bytes} bytes of edits");
}
