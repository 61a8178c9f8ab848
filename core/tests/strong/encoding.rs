//! Entries and snapshots read back, and nothing else is read.

use nuda_core::certify::{Answer, Entry, Flaw, Group, Link, Outcome, Proposal, Statement, TxnId};
use nuda_core::codec::Reader;
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
        base,
    };
    vec![
        open,
        Entry::Propose(PartitionId([1; 16]), proposal),
        Entry::Abort(PartitionId([1; 16]), id(2)),
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
                assert!(bytes[0] == 1 || entry.encode() == bytes);
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
        group.apply(&Entry::Abort(PartitionId([1; 16]), ids[ids.len() - 1]));
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
        Answer::Decided(Outcome::Accepted(300)),
        Answer::Decided(Outcome::Stale(1)),
        Answer::Decided(Outcome::Aborted),
        Answer::Decided(Outcome::Refused(Flaw::Malformed)),
        Answer::Decided(Outcome::Refused(Flaw::Chain)),
        Answer::Decided(Outcome::Refused(Flaw::Dependencies)),
    ] {
        let mut bytes = Vec::new();
        answer.encode(&mut bytes);
        let mut r = Reader::new(&bytes);
        assert_eq!(Answer::decode(&mut r).unwrap(), answer);
        assert!(r.is_empty());
    }
}
