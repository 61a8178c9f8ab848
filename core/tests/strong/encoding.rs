//! Entries and snapshots read back, and nothing else is read.

use std::fmt::Write as _;

use nuda_core::certify::{
    Answer, ENTRIES, Entry, Flaw, Group, Link, Ordered, Outcome, Proposal, Statement, TxnId,
};
use nuda_core::codec::Reader;
use nuda_core::moves::{Baggage, Decision, Destination};
use nuda_core::protocol::NodeId;
use nuda_core::site::{PartitionId, Site};
use nuda_core::version_vector::VersionVector;

use crate::rng::Rng;

fn id(counter: u64) -> TxnId {
    TxnId {
        node: NodeId::of_name("a"),
        boot: 77,
        counter,
        born: 0,
    }
}

fn entries() -> Vec<Entry> {
    let base: VersionVector = [(Site::from_u64(99).unwrap(), 4)].into_iter().collect();
    let proposal = Proposal {
        id: id(1),
        base: base.clone(),
        seen: Some([(Site::from_u64(98).unwrap(), 5)].into_iter().collect()),
        dependencies: vec![vec![1; 200]],
        changeset: vec![vec![2; 10], vec![]],
        statements: vec![Statement {
            id: id(9),
            result: b"{}".to_vec(),
        }],
    };
    let open = Entry::Open {
        partition: PartitionId([1; 16]),
        link: Link::default(),
        base: base.clone(),
    };
    let to = Destination {
        group: [7; 16],
        home: "a".to_owned(),
        voters: vec!["a".to_owned(), "b".to_owned()],
        followers: vec!["c".to_owned()],
    };
    let decisions = [
        (id(3), Outcome::Accepted(4), Some(b"{}".to_vec())),
        (id(4), Outcome::Aborted, None),
    ];
    let baggage = Baggage {
        ordered: Ordered {
            moves: 2,
            forgotten: 300,
            fences: [(Site::from_u64(99).unwrap(), 0)].into(),
            ..Ordered::default()
        },
        decided: 400,
        outcomes: decisions
            .into_iter()
            .map(|(id, outcome, result)| Decision {
                id,
                outcome,
                result,
            })
            .collect(),
    };
    let partition = PartitionId([1; 16]);
    let other = PartitionId([2; 16]);
    vec![
        open,
        Entry::Propose(partition, proposal),
        Entry::Abort(partition, id(2)),
        Entry::Seal(partition, 1, to),
        Entry::Arrive(other, baggage),
        Entry::Leave(partition, 1),
        Entry::Expect(partition, 2),
        Entry::Retire,
        Entry::Collect(partition, base),
        Entry::Fence(
            partition,
            [
                (Site::from_u64(1).unwrap(), 0),
                (Site::from_u64(99).unwrap(), 7),
            ]
            .into(),
        ),
    ]
}

#[test]
fn entries_round_trip_and_every_cut_is_noticed() {
    for entry in entries() {
        let bytes = entry.encode();
        assert_eq!(Entry::decode(&bytes).unwrap(), entry);
        for cut in 0..bytes.len() {
            assert!(Entry::decode(&bytes[..cut]).is_err(), "{cut}");
        }
    }
}

#[test]
fn hostile_bytes_are_errors() {
    let mut rng = Rng::new(4);
    for entry in entries() {
        let good = entry.encode();
        for _ in 0..2_000 {
            let mut bytes = good.clone();
            for _ in 0..=rng.below(3) {
                let at = rng.below(bytes.len() as u64) as usize;
                bytes[at] = rng.next() as u8;
            }
            if let Ok(entry) = Entry::decode(&bytes) {
                // Whatever it is: it is applied without harm, and encodes to itself, or to the
                // present version of itself.
                assert!(bytes[0] < ENTRIES || entry.encode() == bytes);
                Group::default().apply(&entry);
            }
            let _ = Group::decode(&bytes);
        }
    }
}

#[test]
fn a_state_has_one_encoding() {
    let mut group = Group::keeping(3);
    for entry in entries() {
        group.apply(&entry);
    }
    let mut ids = Vec::new();
    for n in 10..15 {
        let born = group.decided();
        ids.push(TxnId { born, ..id(n) });
        group.apply(&Entry::Abort(PartitionId([2; 16]), ids[ids.len() - 1]));
    }
    let bytes = group.encode();
    let again = Group::decode(&bytes).unwrap();
    assert_eq!(again, group);
    assert_eq!(again.encode(), bytes);
    let aborted = Some(Answer::Decided(Outcome::Aborted));
    assert_eq!(again.outcome(ids[4]), aborted);
    assert_eq!(again.outcome(ids[0]), Some(Answer::Expired));
    for cut in 0..bytes.len() {
        assert!(Group::decode(&bytes[..cut]).is_err(), "{cut}");
    }
}

#[test]
fn answers_round_trip() {
    for answer in [
        Answer::Open,
        Answer::Expired,
        Answer::NotHere,
        Answer::Moved,
        Answer::Expected,
        Answer::Decided(Outcome::Accepted(300)),
        Answer::Decided(Outcome::Stale(1)),
        Answer::Decided(Outcome::Aborted),
        Answer::Decided(Outcome::Refused(Flaw::Malformed)),
        Answer::Decided(Outcome::Refused(Flaw::Chain)),
        Answer::Decided(Outcome::Refused(Flaw::Dependencies)),
        Answer::Decided(Outcome::Refused(Flaw::Late)),
        Answer::Decided(Outcome::Refused(Flaw::Fenced)),
    ] {
        let mut bytes = Vec::new();
        answer.encode(&mut bytes);
        let mut r = Reader::new(&bytes);
        assert_eq!(Answer::decode(&mut r).unwrap(), answer);
        assert!(r.is_empty());
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        write!(out, "{byte:02x}").unwrap();
        out
    })
}

#[test]
fn bytes_stay() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/entries.hex");
    let names = [
        "open", "propose", "abort", "seal", "arrive", "leave", "expect", "retire", "collect",
        "fence",
    ];
    let mut group = Group::keeping(3);
    let mut made = String::new();
    for (name, entry) in names.into_iter().zip(entries()) {
        writeln!(made, "{name} = {}", hex(&entry.encode())).unwrap();
        if name != "leave" {
            group.apply(&entry);
        }
    }
    writeln!(made, "state of a group = {}", hex(&group.encode())).unwrap();
    if std::env::var_os("NUDA_BLESS").is_some_and(|v| v == "1") {
        std::fs::write(path, &made).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap();
    for (kept, made) in kept.lines().zip(made.lines()) {
        assert_eq!(kept, made, "NUDA_BLESS=1 rewrites it");
    }
    assert_eq!(kept.lines().count(), made.lines().count());
}

/// What the third version wrote: no lanes.
#[test]
fn the_third_version_is_read() {
    is_read(3, 9, include_str!("../golden/entries_3.hex"));
}

/// What the fourth version wrote: nothing was collected through the log.
#[test]
fn the_fourth_version_is_read() {
    is_read(4, 9, include_str!("../golden/entries_4.hex"));
}

/// What the fifth version wrote: no fences.
#[test]
fn the_fifth_version_is_read() {
    is_read(5, 10, include_str!("../golden/entries_5.hex"));
}

fn is_read(version: u8, lines: usize, kept: &str) {
    let mut read = 0;
    for (name, digits) in kept.lines().filter_map(|line| line.split_once(" = ")) {
        let bytes: Vec<u8> = (0..digits.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
            .collect();
        assert_eq!(bytes[0], version);
        match name {
            "state of a group" => drop(Group::decode(&bytes).unwrap()),
            _ => drop(Entry::decode(&bytes).unwrap()),
        }
        read += 1;
    }
    assert_eq!(read, lines);
}
