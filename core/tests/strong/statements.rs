//! Statements that were run for clients share the outcome of their transaction, once.

use nuda_core::certify::{
    Answer, ENTRIES, Entry, Foreseen, Group, Link, Ordered, Outcome, Proposal, Statement, TxnId,
};
use nuda_core::changeset::{ChainHash, Header, Level, put_vector};
use nuda_core::codec::put_varint;
use nuda_core::hlc::Stamp;
use nuda_core::limits;
use nuda_core::moves::Destination;
use nuda_core::protocol::NodeId;
use nuda_core::site::{Dot, PartitionId, Seq, Site};
use nuda_core::version_vector::VersionVector;

use crate::world::{PARTITION, encode};

fn id(counter: u64) -> TxnId {
    TxnId {
        node: NodeId::of_name("a"),
        boot: 5,
        counter,
        born: 0,
    }
}

fn statement(counter: u64, result: &[u8]) -> Statement {
    Statement {
        id: id(counter),
        result: result.to_vec(),
    }
}

/// The writer of a chain of transactions.
#[derive(Default)]
struct Chain {
    seq: Seq,
    hash: ChainHash,
}

impl Chain {
    /// The next transaction, as if it were accepted.
    fn next(&mut self, counter: u64, statements: Vec<Statement>) -> Proposal {
        let (proposal, hash) = self.proposal(counter, statements);
        (self.seq, self.hash) = (self.seq + 1, hash);
        proposal
    }

    fn proposal(&self, counter: u64, statements: Vec<Statement>) -> (Proposal, ChainHash) {
        let seq = self.seq + 1;
        let header = Header {
            dot: Dot {
                site: Site::LOG_STRONG,
                seq,
            },
            stamp: Stamp::from_u64(seq + 1).unwrap(),
            level: Level::Strong,
            author: String::new(),
            rose: VersionVector::new(),
        };
        let (part, hash) = encode(&header, self.hash, b"rows");
        let proposal = Proposal {
            id: id(counter),
            base: VersionVector::new(),
            seen: None,
            dependencies: Vec::new(),
            changeset: vec![part],
            statements,
        };
        (proposal, hash)
    }
}

fn opened() -> Group {
    let mut group = Group::default();
    group.apply(&Entry::Open {
        partition: PARTITION,
        link: Link::default(),
        base: VersionVector::new(),
    });
    group
}

fn apply(group: &mut Group, proposal: &Proposal) -> Answer {
    let bytes = Entry::Propose(PARTITION, proposal.clone()).encode();
    group.apply(&Entry::decode(&bytes).unwrap())
}

fn accepted(seq: Seq) -> Answer {
    Answer::Decided(Outcome::Accepted(seq))
}

#[test]
fn statements_share_the_outcome_and_their_results_are_remembered() {
    let (mut group, mut chain) = (opened(), Chain::default());
    let first = chain.next(1, vec![statement(10, b"ten"), statement(11, b"eleven")]);
    assert_eq!(apply(&mut group, &first), accepted(1));
    for (counter, result) in [(10, &b"ten"[..]), (11, b"eleven")] {
        assert_eq!(group.outcome(id(counter)), Some(accepted(1)));
        assert_eq!(group.result(id(counter)), Some(result));
        // Too late for an abort, and a resend changes nothing.
        assert_eq!(
            group.apply(&Entry::Abort(PARTITION, id(counter))),
            accepted(1)
        );
    }
    assert_eq!(apply(&mut group, &first), accepted(1));
    let copy = Group::decode(&group.encode()).unwrap();
    assert_eq!(copy, group);
    assert_eq!(copy.result(id(11)), Some(&b"eleven"[..]));
}

#[test]
fn a_statement_is_never_run_into_the_log_twice() {
    let (mut group, mut chain) = (opened(), Chain::default());
    apply(&mut group, &chain.next(1, vec![statement(10, b"once")]));
    // Another leader has run it again, after the first one was committed.
    let (again, _) = chain.proposal(2, vec![statement(10, b"twice"), statement(11, b"x")]);
    let stale = Answer::Decided(Outcome::Stale(1));
    assert_eq!(
        group.foresee(PARTITION, &again),
        Some(Foreseen::Answer(stale))
    );
    assert_eq!(apply(&mut group, &again), stale);
    assert_eq!(group.result(id(10)), Some(&b"once"[..]));
    // The other one is undecided and may be run with others.
    assert_eq!(group.outcome(id(11)), None);
    assert_eq!(
        apply(&mut group, &chain.next(3, vec![statement(11, b"x")])),
        accepted(2)
    );
    // The same for one that was aborted before.
    group.apply(&Entry::Abort(PARTITION, id(12)));
    let (late, _) = chain.proposal(4, vec![statement(12, b"late")]);
    assert_eq!(apply(&mut group, &late), Answer::Decided(Outcome::Stale(2)));
    assert_eq!(group.partition(PARTITION).unwrap().link.seq, 2);
}

#[test]
fn what_is_not_accepted_decides_nothing_on_its_statements() {
    let (mut group, mut chain) = (opened(), Chain::default());
    let (overtaken, _) = chain.proposal(1, vec![statement(10, b"x")]);
    apply(&mut group, &chain.next(2, Vec::new()));
    assert_eq!(
        apply(&mut group, &overtaken),
        Answer::Decided(Outcome::Stale(1))
    );
    assert_eq!((group.outcome(id(10)), group.result(id(10))), (None, None));
    for twice in [
        vec![statement(11, b"x"), statement(11, b"y")],
        vec![statement(3, b"its own name")],
    ] {
        let (malformed, _) = chain.proposal(3, twice);
        let answer = apply(&mut group.clone(), &malformed);
        assert!(
            matches!(answer, Answer::Decided(Outcome::Refused(_))),
            "{answer:?}"
        );
    }
}

#[test]
fn results_are_dropped_before_outcomes_and_alike_everywhere() {
    let (mut group, mut chain) = (opened(), Chain::default());
    let large = vec![7; limits::RESULT_BYTES];
    let count = (limits::RESULTS_BYTES / limits::RESULT_BYTES) as u64 + 2;
    for n in 0..count {
        let proposal = chain.next(100 + n, vec![statement(n, &large)]);
        assert_eq!(apply(&mut group, &proposal), accepted(n + 1));
        let copy = Group::decode(&group.encode()).unwrap();
        assert_eq!(copy, group, "a member that began from a snapshot");
    }
    assert_eq!(group.outcome(id(0)), Some(accepted(1)));
    assert_eq!((group.result(id(0)), group.result(id(1))), (None, None));
    assert!(group.result(id(count - 1)).is_some());
}

#[test]
fn entries_of_the_first_version_are_read() {
    let mut chain = Chain::default();
    let entry = Entry::Propose(PARTITION, chain.next(1, Vec::new()));
    let mut old = entry.encode();
    // Before there were statements, an entry ended with its changeset; and it did not say what its file
    // had, which now stands behind the partition, the id and an empty base.
    assert_eq!((old[0], old.pop()), (ENTRIES, Some(0)));
    assert_eq!(old.remove(2 + 16 + 18 + 1), 0);
    old[0] = 1;
    assert_eq!(Entry::decode(&old).unwrap(), entry);
    old[0] = ENTRIES + 1;
    assert!(Entry::decode(&old).is_err());
}

/// What versions 1 and 2 wrote of a group with one partition and one decision: version 1
/// without the last byte, which says that there is no result.
fn state_before_moves(version: u8, ordered: &Ordered, decided: TxnId) -> Vec<u8> {
    let mut out = vec![version];
    put_varint(&mut out, limits::OUTCOMES as u64);
    out.extend([1, 1]);
    out.extend(PARTITION.0);
    put_varint(&mut out, ordered.link.seq);
    out.extend(ordered.link.hash.0);
    put_varint(&mut out, ordered.link.stamp.get());
    put_vector(&mut out, &ordered.covered);
    out.push(1);
    decided.encode(&mut out);
    // Accepted, at position 1.
    out.extend([0, 1]);
    if version == 2 {
        out.push(0);
    }
    out
}

#[test]
fn states_of_earlier_versions_are_read() {
    let mut chain = Chain::default();
    let first = chain.next(1, Vec::new());
    let mut group = opened();
    group.apply(&Entry::Propose(PARTITION, first.clone()));
    for version in [1, 2] {
        let ordered = group.partition(PARTITION).unwrap();
        let old = state_before_moves(version, ordered, first.id);
        let mut read = Group::decode(&old).unwrap();
        assert_eq!(read.partition(PARTITION), group.partition(PARTITION));
        assert_eq!(read.outcome(first.id), Some(accepted(1)));
        assert_eq!(read.decided(), 1);
        // It moves with what was decided, although nobody wrote down whose that is.
        let seal = Entry::Seal(PARTITION, 1, Destination::default());
        assert_eq!(read.apply(&seal), Answer::Moved);
        let departed = read.departed(PARTITION).unwrap();
        let baggage = departed.baggage.as_ref().unwrap();
        assert_eq!(baggage.outcomes.len(), 1);
        for cut in 0..old.len() {
            assert!(Group::decode(&old[..cut]).is_err(), "{cut}");
        }
    }
    let mut state = group.encode();
    state[0] = ENTRIES + 1;
    assert!(Group::decode(&state).is_err());
}

#[test]
fn a_partition_that_is_not_here_decides_nothing() {
    let mut chain = Chain::default();
    let proposal = chain.next(1, vec![statement(10, b"x")]);
    let elsewhere = Entry::Propose(PartitionId([1; 16]), proposal);
    let mut group = opened();
    assert_eq!(group.apply(&elsewhere), Answer::NotHere);
    assert_eq!(group.outcome(id(10)), None);
}
