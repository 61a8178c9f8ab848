//! Single decisions of the protocol, and its encoding. Whole runs live in `tests/simulation`.

use super::*;
use crate::changeset::Part;
use crate::site::{Dot, PartitionId};
use proptest::prelude::*;

const NOW: u64 = 1_000;

fn site(id: u64) -> Site {
    Site::from_u64(id).unwrap()
}

fn node(n: u64) -> NodeId {
    NodeId(n)
}

fn members(count: u64) -> Members {
    let member = |n| Member {
        node: node(n),
        joined: 1,
        excluded: false,
    };
    Members::new(1, (1..=count).map(member))
}

fn head(id: u64, seq: Seq, hash: u8) -> Head {
    Head {
        site: site(id),
        seq,
        hash: ChainHash([hash; 16]),
    }
}

fn opened(heads: Vec<Head>, members: Members) -> Opened {
    Opened {
        site: site(100),
        own_sites: vec![site(100)],
        heads,
        waiting: VersionVector::new(),
        durable: VersionVector::new(),
        floor: VersionVector::new(),
        collected: VersionVector::new(),
        members,
        life: None,
        entropy: 7,
    }
}

fn engine(heads: Vec<Head>) -> Replication {
    Replication::new(node(1), Config::default(), opened(heads, members(3)))
}

fn standing(heads: &[Head]) -> Standing {
    Standing {
        applied: heads.iter().map(|h| (h.site, h.seq)).collect(),
        members: members(3),
        ..Standing::default()
    }
}

/// Starts the engine and answers its question to node 2 with these heads.
fn meet(engine: &mut Replication, own: u64, heads: Vec<Head>) -> Vec<Command> {
    let asked = engine.handle(NOW, Event::Tick);
    answered(engine, &asked, own, heads)
}

/// Answers the question to node 2 that is among these commands.
fn answered(
    engine: &mut Replication,
    asked: &[Command],
    own: u64,
    heads: Vec<Head>,
) -> Vec<Command> {
    let question = asked.iter().find_map(|command| match command {
        Command::Send {
            to,
            message: Message::Vector { ask, .. },
        } if *to == node(2) => *ask,
        _ => None,
    });
    assert!(question.is_some(), "{asked:?}");
    let message = Message::Vector {
        ask: None,
        answer: question,
        own_sites: vec![site(own)],
        standing: standing(&heads),
        heads,
    };
    engine.handle(
        NOW + 5,
        Event::Received {
            from: node(2),
            message,
        },
    )
}

/// Changesets of a site after `after`, up to `upto`, are read for node 2.
fn assert_read(commands: &[Command], id: u64, after: Seq, upto: Seq) {
    let range = Range {
        site: site(id),
        after,
        upto,
        parts: 0,
    };
    let read = commands.iter().any(
        |c| matches!(c, Command::Read { peer, ranges, .. } if *peer == node(2) && ranges == &[range]),
    );
    assert!(read, "{commands:?}");
}

#[test]
fn own_changes_are_pushed_at_once() {
    let mut engine = engine(vec![head(100, 2, 1)]);
    let commands = meet(&mut engine, 200, vec![]);
    assert_read(&commands, 100, 0, 2);
}

/// An engine in whose file whole changesets wait.
fn engine_with(heads: Vec<Head>, waiting: VersionVector) -> Replication {
    let mut engine = engine(heads);
    engine.waiting = waiting;
    engine
}

#[test]
fn what_waits_is_handed_on_and_never_said_to_be_durable() {
    let waiting: VersionVector = [(site(300), 3)].into_iter().collect();
    let mut engine = engine_with(vec![head(300, 1, 1)], waiting.clone());
    let commands = meet(&mut engine, 200, vec![head(300, 1, 1)]);
    assert!(!commands.iter().any(|c| matches!(c, Command::Read { .. })));
    let message = Message::Vector {
        ask: None,
        answer: None,
        own_sites: vec![site(200)],
        standing: standing(&[head(300, 1, 1)]),
        heads: vec![head(300, 1, 1)],
    };
    let from = node(2);
    let commands = engine.handle(NOW + 5_000, Event::Received { from, message });
    assert_read(&commands, 300, 1, 3);
    assert!(commands.iter().any(|c| matches!(c, Command::Secure { .. })));
    let commands = engine.handle(NOW + 5_001, Event::Secured(waiting.clone()));
    let standings: Vec<&Standing> = commands
        .iter()
        .filter_map(|command| match command {
            Command::Send { message, .. } => message.standing(),
            _ => None,
        })
        .collect();
    assert!(!standings.is_empty(), "{commands:?}");
    for standing in standings {
        assert_eq!(standing.durable.get(site(300)), 1);
        assert_eq!(standing.waiting, waiting);
    }
}

/// What waits may not have seen what would be collected.
#[test]
fn while_something_waits_nothing_more_may_be_collected() {
    let floor_with = |waiting: VersionVector| {
        let mut engine = engine_with(vec![head(300, 1, 1)], waiting);
        engine.members = members(1);
        engine.secured.members = members(1);
        engine.secured.durable = engine.applied.clone();
        engine.handle(NOW, Event::Tick);
        let commands = engine.handle(NOW + 60_000, Event::Tick);
        let floor = commands.into_iter().find_map(|command| match command {
            Command::Secure { floor, .. } => Some(floor),
            _ => None,
        });
        floor.unwrap_or_default().get(site(300))
    };
    assert_eq!(floor_with(VersionVector::new()), 1);
    assert_eq!(floor_with([(site(400), 3)].into_iter().collect()), 0);
}

#[test]
fn what_waits_at_a_peer_is_not_sent_again() {
    let mut engine = engine(vec![head(100, 2, 1)]);
    let commands = meet(&mut engine, 200, vec![]);
    assert!(commands.iter().any(|c| matches!(c, Command::Read { .. })));
    let parts = vec![PartBytes {
        dot: Dot {
            site: site(100),
            seq: 2,
        },
        part: 0,
        last: true,
        bytes: vec![],
    }];
    let peer = node(2);
    let commands = engine.handle(NOW + 6, Event::Read { peer, parts });
    let sent = commands.iter().find_map(|command| match command {
        Command::Send {
            message: Message::Push { batch, .. },
            ..
        } => Some(*batch),
        _ => None,
    });
    let mut standing = standing(&[]);
    standing.waiting = [(site(100), 2)].into_iter().collect();
    let message = Message::Ack {
        batch: sent.unwrap(),
        standing,
        partial: vec![],
        stop: None,
    };
    let from = peer;
    let commands = engine.handle(NOW + 7, Event::Received { from, message });
    assert!(!commands.iter().any(|c| matches!(c, Command::Read { .. })));
    let status = engine.status();
    let at_peer = status.peers.iter().find(|p| p.node == peer).unwrap();
    assert_eq!(at_peer.state, PeerState::Waiting);
    assert_eq!(at_peer.lacks, 2);
}

#[test]
fn what_waits_is_tried_again_until_it_is_applied() {
    let waiting: VersionVector = [(site(300), 3)].into_iter().collect();
    let mut engine = engine_with(vec![head(300, 1, 1)], waiting.clone());
    let tries = |commands: &[Command]| commands.contains(&Command::Retry);
    assert!(tries(&engine.handle(NOW, Event::Tick)));
    assert!(!tries(&engine.handle(NOW + 1, Event::Tick)));
    let still = Event::Retried {
        heads: vec![],
        waiting,
    };
    assert!(!tries(&engine.handle(NOW + 2, still)));
    assert!(engine.next_deadline().unwrap() <= NOW + 10_000);
    assert!(tries(&engine.handle(NOW + 10_000, Event::Tick)));
    let all = Event::Retried {
        heads: vec![head(300, 3, 3)],
        waiting: VersionVector::new(),
    };
    engine.handle(NOW + 10_001, all);
    assert_eq!(engine.status().applied, 3);
    assert!(!tries(&engine.handle(NOW + 60_000, Event::Tick)));
}

#[test]
fn foreign_changes_wait_for_their_turn() {
    let mut engine = engine(vec![head(300, 2, 1)]);
    let commands = meet(&mut engine, 200, vec![]);
    assert!(!commands.iter().any(|c| matches!(c, Command::Read { .. })));
    let due = engine.next_deadline().unwrap();
    assert!(due >= NOW + 1_000);
}

/// What a peer lost since it told its heads is no sign that it has another variant.
#[test]
fn a_peer_that_was_put_back_meanwhile_renumbers_nobody() {
    for (highest, is_compared) in [(5, true), (4, false)] {
        let mut engine = engine(vec![head(100, 5, 1)]);
        meet(&mut engine, 200, vec![head(100, 7, 9)]);
        let message = Message::Chain {
            site: site(100),
            links: vec![(highest, ChainHash([9; 16]))],
        };
        let from = node(2);
        let commands = engine.handle(NOW + 6, Event::Received { from, message });
        let compares = |c: &Command| matches!(c, Command::CompareChain { .. });
        assert_eq!(commands.iter().any(compares), is_compared, "{commands:?}");
    }
}

/// What arrives from node 2 of its site 200, numbered 1.
fn pushed() -> Event {
    let part = PartBytes {
        dot: Dot {
            site: site(200),
            seq: 1,
        },
        part: 0,
        last: true,
        bytes: vec![],
    };
    let message = Message::Push {
        batch: 1,
        standing: standing(&[head(200, 1, 1)]),
        parts: vec![part],
    };
    let from = node(2);
    Event::Received { from, message }
}

fn applies(commands: &[Command]) -> bool {
    commands.iter().any(|c| matches!(c, Command::Apply { .. }))
}

/// What a peer pushes may have seen another variant of our site than ours.
#[test]
fn nothing_of_a_peer_is_applied_before_chains_were_compared() {
    let mut same = engine(vec![head(100, 2, 1)]);
    let asked = same.handle(NOW, pushed());
    assert!(!applies(&asked));
    let compared = answered(&mut same, &asked, 200, vec![head(100, 2, 1)]);
    assert!(applies(&compared));
    let mut parted = engine(vec![head(100, 2, 1)]);
    let asked = parted.handle(NOW, pushed());
    assert!(!applies(&asked));
    let compared = answered(&mut parted, &asked, 200, vec![head(100, 3, 9)]);
    assert!(!applies(&compared));
    let links = vec![(2, ChainHash([9; 16])), (1, ChainHash([8; 16]))];
    let chain = Message::Chain {
        site: site(100),
        links,
    };
    let from = node(2);
    let message = chain;
    parted.handle(NOW + 6, Event::Received { from, message });
    assert!(!applies(&parted.handle(NOW + 7, pushed())));
}

#[test]
fn a_peer_that_knows_more_of_our_site_starts_a_chain_check() {
    let mut engine = engine(vec![head(100, 2, 1)]);
    let commands = meet(&mut engine, 200, vec![head(100, 5, 9)]);
    let request = Message::ChainRequest {
        site: site(100),
        upto: 2,
    };
    assert!(commands.contains(&Command::Send {
        to: node(2),
        message: request
    }));
    let links = vec![(2, ChainHash([9; 16])), (1, ChainHash([8; 16]))];
    let chain = Message::Chain {
        site: site(100),
        links,
    };
    engine.handle(
        NOW + 6,
        Event::Received {
            from: node(2),
            message: chain,
        },
    );
    let answer = Event::CompareChain {
        peer: node(2),
        site: site(100),
        agree: Some(1),
    };
    let commands = engine.handle(NOW + 7, answer);
    let renumbers = |c: &Command| matches!(c, Command::NewSite { keep: 1, .. });
    assert!(commands.iter().any(renumbers), "{commands:?}");
    let event = Event::NewSite {
        keep: head(100, 1, 8),
        head: head(101, 1, 3),
    };
    engine.handle(NOW + 8, event);
    assert_eq!(engine.status().applied, 2);
}

#[test]
fn two_shipped_variants_stop_the_site() {
    let mut engine = engine(vec![head(300, 2, 1)]);
    let commands = meet(&mut engine, 200, vec![head(300, 2, 9)]);
    let dot = Dot {
        site: site(300),
        seq: 2,
    };
    assert!(commands.contains(&Command::StopSite { dot, peer: node(2) }));
    assert_eq!(engine.status().stopped_sites, vec![site(300)]);
}

#[test]
fn a_stranger_is_refused() {
    let mut engine = engine(vec![]);
    let message = Message::Pull {
        standing: standing(&[]),
        partial: vec![],
    };
    let commands = engine.handle(
        NOW,
        Event::Received {
            from: node(9),
            message,
        },
    );
    let refused = |c: &Command| matches!(c, Command::Send { to, message: Message::Refused(Refusal::NotMember(_)) } if *to == node(9));
    assert!(commands.iter().any(refused));
}

/// Whom it asks where they stand.
fn asked(commands: &[Command]) -> Vec<NodeId> {
    let question = |command: &Command| match command {
        Command::Send {
            to,
            message: Message::Vector { ask: Some(_), .. },
        } => Some(*to),
        _ => None,
    };
    commands.iter().filter_map(question).collect()
}

fn vector(from: u64, members: Members, answer: Option<u64>) -> Event {
    let message = Message::Vector {
        ask: None,
        answer,
        own_sites: vec![site(from * 100)],
        heads: vec![],
        standing: Standing {
            members,
            ..Standing::default()
        },
    };
    let from = node(from);
    Event::Received { from, message }
}

/// The answer of a member that does not know yet that it is one is void, and it is asked again soon.
#[test]
fn a_void_answer_is_not_waited_for() {
    let mut engine = engine(vec![]);
    engine.handle(NOW, Event::Tick);
    let joined = members(3).joining(node(4));
    let commands = engine.handle(NOW, Event::Members(joined));
    assert_eq!(asked(&commands), [node(4)]);
    let commands = engine.handle(NOW + 1, vector(4, members(3), None));
    let refused = |c: &Command| matches!(c, Command::Send { to, message: Message::Refused(Refusal::NotMember(_)) } if *to == node(4));
    assert!(commands.iter().any(refused), "{commands:?}");
    assert_eq!(asked(&commands), []);
    let soon = NOW + 1 + Config::default().backoff_ms.0;
    assert_eq!(asked(&engine.handle(soon, Event::Tick)), [node(4)]);
}

/// A file that was copied by hand learns that its node is a member, and says so when that is stored.
#[test]
fn a_new_list_is_told_as_soon_as_it_is_stored() {
    let opened = opened(vec![], members(3));
    let mut copied = Replication::new(node(4), Config::default(), opened);
    copied.handle(NOW, Event::Tick);
    let joined = members(3).joining(node(4));
    let commands = copied.handle(NOW + 1, vector(2, joined.clone(), None));
    let stores = |c: &Command| matches!(c, Command::Secure { members, .. } if *members == joined);
    assert!(commands.iter().any(stores), "{commands:?}");
    let commands = copied.handle(NOW + 2, Event::Secured(VersionVector::new()));
    assert_eq!(asked(&commands), [node(1), node(2), node(3)]);
}

/// A replica whose life is over ships nothing of it, also when its file is opened again meanwhile.
#[test]
fn a_life_that_is_over_is_not_gone_on_with() {
    let begins = |list: Members, life| {
        let mut opened = opened(vec![head(100, 2, 1)], list);
        opened.life = life;
        let mut engine = Replication::new(node(1), Config::default(), opened);
        let commands = engine.handle(NOW, Event::Tick);
        let seeds = |c: &Command| matches!(c, Command::Reseed { donor, .. } if *donor != node(1));
        let begins = commands.iter().any(seeds);
        assert_eq!(engine.status().must_reseed.is_some(), begins);
        assert_eq!(asked(&commands).is_empty(), begins);
        begins
    };
    let first = members(3);
    let again = first.joining(node(1));
    let life = first.get(node(1)).map(|m| m.joined);
    assert!(!begins(first.clone(), life));
    assert!(begins(again.clone(), life));
    assert!(!begins(again.clone(), again.get(node(1)).map(|m| m.joined)));
    assert!(!begins(again, None));
    // It was removed, told so, and opened again before it was added.
    let removed = first.without(node(1));
    assert!(!begins(removed.clone(), life));
    assert!(begins(removed.joining(node(1)), life));
}

#[test]
fn refusals_are_checked_before_they_are_believed() {
    let mut engine = engine(vec![head(100, 2, 1)]);
    let seen: VersionVector = [(site(100), 2)].into_iter().collect();
    let late = Message::Refused(Refusal::Stale(seen));
    engine.handle(
        NOW,
        Event::Received {
            from: node(2),
            message: late,
        },
    );
    assert_eq!(engine.status().must_reseed, None);
    let gone: VersionVector = [(site(300), 1)].into_iter().collect();
    let true_claim = Message::Refused(Refusal::Stale(gone));
    let commands = engine.handle(
        NOW,
        Event::Received {
            from: node(2),
            message: true_claim,
        },
    );
    assert!(commands.iter().any(|c| matches!(c, Command::Reseed { .. })));
    assert_eq!(engine.next_deadline(), None);
}

#[test]
fn an_idle_partition_sleeps() {
    let mut engine = engine(vec![]);
    meet(&mut engine, 200, vec![]);
    engine.handle(
        NOW + 6,
        Event::Compared {
            peer: node(2),
            equal: true,
        },
    );
    let reason = || "cut".to_owned();
    for round in 0..20 {
        engine.handle(
            NOW + 7 + round,
            Event::Unreachable {
                peer: node(3),
                reason: reason(),
            },
        );
    }
    let due = engine.next_deadline().unwrap();
    assert!(due > NOW + 5_000, "wakes at {due}");
}

#[test]
fn an_incompatible_peer_does_not_stop_the_others() {
    let mut engine = engine(vec![head(100, 1, 1)]);
    engine.handle(NOW, Event::Tick);
    let reason = "node 3 speaks protocol 9".to_owned();
    engine.handle(
        NOW,
        Event::Incompatible {
            peer: node(3),
            reason: reason.clone(),
        },
    );
    let status = engine.status();
    let third = status.peers.iter().find(|p| p.node == node(3)).unwrap();
    assert_eq!(
        (third.state, &third.reason),
        (PeerState::Incompatible, &reason)
    );
    engine.handle(NOW + 60_000, Event::Tick);
    let commands = engine.handle(NOW + 61_000, Event::Tick);
    let to = |n| move |c: &Command| matches!(c, Command::Send { to, .. } if *to == node(n));
    assert!(commands.iter().any(to(2)) && !commands.iter().any(to(3)));
}

#[test]
fn member_lists_unite_in_any_order() {
    let base = Members::new(
        1,
        (1..=5).map(|n| Member {
            node: node(n),
            joined: 1,
            excluded: false,
        }),
    );
    let mut a = base.clone();
    assert!(a.exclude(node(1)));
    let mut b = base.clone();
    assert!(b.exclude(node(2)));
    let (mut ab, mut ba) = (a.clone(), b.clone());
    assert!(ab.learn(&b) && ba.learn(&a));
    assert_eq!(ab, ba);
    assert!(ab.covers(&a) && ab.covers(&b) && !a.covers(&ab));
    assert!(!ab.clone().exclude(node(3)), "a majority must be left");
    let rejoined = ab.joining(node(1));
    assert!(rejoined.counts(node(1)) && !rejoined.counts(node(2)));
    // A newer list that did not know of the exclusion does not end it.
    let mut c = a.clone();
    assert!(c.learn(&base.joining(node(6))));
    assert!(!c.counts(node(1)) && c.counts(node(6)));
}

fn samples() -> Vec<Message> {
    let part = Part {
        partition: PartitionId([1; 16]),
        dot: Dot {
            site: site(100),
            seq: 3,
        },
        part: 1,
        first: None,
        last: Some(ChainHash([2; 16])),
        body: b"body",
    };
    let partial = vec![Partial {
        dot: part.dot,
        parts: 2,
    }];
    let at = standing(&[head(100, 300, 1), head(200, 1 << 33, 2)]);
    let vector = at.applied.clone();
    let vector_message = Message::Vector {
        ask: Some(u64::MAX),
        answer: None,
        own_sites: vec![site(1), site(100)],
        heads: vec![head(100, 127, 1), head(200, 128, 2)],
        standing: at.clone(),
    };
    let mut all = vec![
        vector_message,
        Message::Push {
            batch: 1,
            standing: at.clone(),
            parts: vec![PartBytes::new(part.encode()).unwrap()],
        },
        Message::Pull {
            standing: at.clone(),
            partial: partial.clone(),
        },
        Message::ChainRequest {
            site: site(100),
            upto: 4,
        },
        Message::Chain {
            site: site(100),
            links: vec![(4, ChainHash([3; 16]))],
        },
        Message::Refused(Refusal::Stale(vector)),
        Message::Refused(Refusal::StaleChange(part.dot)),
        Message::Refused(Refusal::NotMember(members(2))),
        Message::Refused(Refusal::UnknownPartition),
    ];
    for stop in [
        None,
        Some(Stop::Dependencies),
        Some(Stop::Later),
        Some(Stop::Fork(site(100))),
    ] {
        all.push(Message::Ack {
            batch: 9,
            standing: at.clone(),
            partial: partial.clone(),
            stop,
        });
    }
    all
}

fn envelope(message: Message) -> Envelope {
    Envelope {
        partition: PartitionId([1; 16]),
        from: node(1),
        to: node(2),
        message,
    }
}

#[test]
fn messages_round_trip_and_truncated_ones_are_errors() {
    for message in samples() {
        let sent = envelope(message);
        let bytes = sent.encode();
        assert_eq!(Envelope::decode(&bytes).as_ref(), Ok(&sent));
        // A part takes the rest of its bytes, but its length is written before it.
        for len in 0..bytes.len() {
            assert!(
                Envelope::decode(&bytes[..len]).is_err(),
                "{len} bytes of {sent:?}"
            );
        }
    }
    let summary = Summary {
        from: node(1),
        digests: vec![(PartitionId([1; 16]), 5)],
    };
    assert_eq!(Summary::decode(&summary.encode()).as_ref(), Ok(&summary));
}

#[test]
fn another_version_names_its_sender() {
    let mut bytes = envelope(Message::Refused(Refusal::UnknownPartition)).encode();
    bytes[4] = 9;
    let error = Envelope::decode(&bytes).unwrap_err();
    let expected = EnvelopeError::Version {
        partition: PartitionId([1; 16]),
        from: node(1),
        version: 9,
    };
    assert_eq!(error, expected);
}

proptest! {
    #[test]
    fn damaged_messages_never_panic(which in 0usize..13, at in 0usize..400, byte: u8) {
        let all = samples();
        let mut bytes = envelope(all[which % all.len()].clone()).encode();
        let at = at % bytes.len();
        bytes[at] = byte;
        if let Ok(read) = Envelope::decode(&bytes) {
            prop_assert_eq!(read.encode(), bytes);
        }
    }
}
