//! Fair turns, simulated: contenders near and far from the leader, each with one transaction after
//! the other on one partition. The negative control gives no turns.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use nuda_core::protocol::NodeId;
use nuda_core::turns::{Contender, LONGEST_MS, Permit, SHORTEST_MS, Turns};

use crate::rng::Rng;

/// From an entry's way into the log to its decision.
const COMMIT_MS: u64 = 3;

/// How long a run lasts.
const RUN_MS: u64 = 20_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// It begins a transaction on what it knows.
    Begin(usize),
    /// Its proposal, on this snapshot, is at the leader.
    Arrive(usize, u64),
    /// A majority has it.
    Decide(usize, u64),
    /// Somebody's turn may be over.
    Look,
}

struct Site {
    who: Contender,
    /// One way to the leader.
    way_ms: u64,
    /// Percent of losses after which it does something else for a while.
    gives_up: u64,
    won: u64,
    /// The longest that it went without winning, and since when.
    hungry_ms: u64,
    fed_ms: u64,
}

struct World {
    rng: Rng,
    fair: bool,
    now_ms: u64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    scheduled: u64,
    sites: Vec<Site>,
    turns: Turns,
    position: u64,
    /// When each position was reached.
    reached: Vec<u64>,
    /// Proposals that wait for a turn, and when somebody looks at them again.
    held: Vec<(usize, u64)>,
    look_ms: u64,
}

impl World {
    fn new(seed: u64, fair: bool, ways: &[(u64, u64)], calls: bool) -> Self {
        let site = |who, way_ms, gives_up| Site {
            who,
            way_ms,
            gives_up,
            won: 0,
            hungry_ms: 0,
            fed_ms: 0,
        };
        let mut sites: Vec<Site> = ways
            .iter()
            .enumerate()
            .map(|(n, (way, gives_up))| site(Contender::Node(NodeId(n as u64)), *way, *gives_up))
            .collect();
        if calls {
            sites.push(site(Contender::Calls, 0, 0));
        }
        let mut world = Self {
            rng: Rng::new(seed),
            fair,
            now_ms: 0,
            events: BinaryHeap::new(),
            scheduled: 0,
            turns: Turns::default(),
            position: 0,
            reached: vec![0],
            held: Vec::new(),
            look_ms: 0,
            sites,
        };
        for n in 0..world.sites.len() {
            world.after(n as u64, Event::Begin(n));
        }
        world
    }

    fn after(&mut self, ms: u64, event: Event) {
        self.scheduled += 1;
        let entry = (self.now_ms + ms, self.scheduled, event);
        self.events.push(Reverse(entry));
    }

    fn run(mut self) -> Vec<Site> {
        while let Some(Reverse((at, _, event))) = self.events.pop() {
            if at > RUN_MS {
                break;
            }
            self.now_ms = at;
            match event {
                Event::Begin(n) => self.begin(n),
                Event::Arrive(n, snapshot) => {
                    self.turns.arrived(self.sites[n].who, at);
                    self.held.push((n, snapshot));
                }
                Event::Decide(n, snapshot) => self.decide(n, snapshot),
                Event::Look => {}
            }
            self.look();
        }
        self.sites
    }

    fn begin(&mut self, n: usize) {
        let way = self.sites[n].way_ms;
        if self.sites[n].who == Contender::Calls
            && self.fair
            && let Permit::Wait(_) = self.turns.permit(Contender::Calls, self.now_ms)
        {
            // Not run in vain.
            return self.after(1, Event::Begin(n));
        }
        let known = self.now_ms.saturating_sub(way);
        let snapshot = self.reached.partition_point(|at| *at <= known) as u64 - 1;
        let think = self.rng.below(3);
        self.after(think + way, Event::Arrive(n, snapshot));
    }

    /// The leader looks at the proposals that it holds.
    fn look(&mut self) {
        for (n, snapshot) in std::mem::take(&mut self.held) {
            if snapshot < self.position {
                self.reject(n);
                continue;
            }
            let permit = match self.fair {
                true => self.turns.permit(self.sites[n].who, self.now_ms),
                false => Permit::Go,
            };
            match permit {
                Permit::Go => self.after(COMMIT_MS, Event::Decide(n, snapshot)),
                Permit::Wait(until) => {
                    assert!(until > self.now_ms && until <= self.now_ms + LONGEST_MS);
                    self.held.push((n, snapshot));
                    if self.look_ms != until {
                        self.look_ms = until;
                        self.after(until - self.now_ms, Event::Look);
                    }
                }
            }
        }
    }

    fn decide(&mut self, n: usize, snapshot: u64) {
        if snapshot < self.position {
            return self.reject(n);
        }
        self.position += 1;
        self.reached.push(self.now_ms);
        let site = &mut self.sites[n];
        site.won += 1;
        site.hungry_ms = site.hungry_ms.max(self.now_ms - site.fed_ms);
        site.fed_ms = self.now_ms;
        let (who, way) = (site.who, site.way_ms);
        self.turns.won(who, self.now_ms);
        self.after(way, Event::Begin(n));
    }

    fn reject(&mut self, n: usize) {
        let site = &self.sites[n];
        let (who, way, gives_up) = (site.who, site.way_ms, site.gives_up);
        self.turns.lost(who, self.now_ms);
        let pause = if self.rng.chance(gives_up) { 2_000 } else { 0 };
        self.after(way + pause, Event::Begin(n));
    }
}

/// Whether each has at least a quarter of its fair share: of what it could do alone, divided by
/// all that want to.
fn is_fair(sites: &[Site]) -> bool {
    let share = |site: &Site| RUN_MS / (2 * site.way_ms + 1 + COMMIT_MS) / sites.len() as u64;
    sites.iter().all(|site| site.won * 4 >= share(site))
}

fn shares(sites: &[Site]) -> Vec<(u64, u64)> {
    sites.iter().map(|s| (s.won, s.hungry_ms)).collect()
}

#[test]
fn three_contenders_share_wherever_they_are() {
    let mut unfair = 0;
    for seed in 0..60 {
        let ways = [(0, 0), (1 + seed % 5, 0), (5 + seed, 0)];
        let sites = World::new(seed, true, &ways, false).run();
        assert!(is_fair(&sites), "seed {seed}: {:?}", shares(&sites));
        let all: u64 = sites.iter().map(|site| site.won).sum();
        assert!(all > 200, "seed {seed}: the turns cost too much: {all}");
        unfair += u32::from(!is_fair(&World::new(seed, false, &ways, false).run()));
    }
    assert!(unfair > 40, "without turns only {unfair} of 60 were unfair");
}

#[test]
fn neighbours_get_alike() {
    for seed in 0..40 {
        let sites = World::new(seed, true, &[(0, 0), (1, 0), (2, 0)], false).run();
        let least = sites.iter().map(|site| site.won).min().unwrap();
        let most = sites.iter().map(|site| site.won).max().unwrap();
        assert!(least * 2 > most, "seed {seed}: {:?}", shares(&sites));
    }
}

#[test]
fn a_stream_of_calls_starves_nobody_and_is_not_starved() {
    let mut unfair = 0;
    for seed in 0..60 {
        let ways = [(1, 0), (2 + seed, 0)];
        let sites = World::new(seed, true, &ways, true).run();
        assert!(is_fair(&sites), "seed {seed}: {:?}", shares(&sites));
        for site in &sites {
            assert!(site.hungry_ms < 6 * LONGEST_MS, "{:?}", shares(&sites));
        }
        unfair += u32::from(!is_fair(&World::new(seed, false, &ways, true).run()));
    }
    assert!(unfair > 40, "without turns only {unfair} of 60 were unfair");
}

#[test]
fn who_does_not_come_back_holds_up_the_others_for_a_moment_only() {
    for seed in 0..40 {
        let ways = [(0, 0), (1, 0), (1, 90)];
        let sites = World::new(seed, true, &ways, false).run();
        let busy: u64 = sites.iter().take(2).map(|site| site.won).sum();
        // Two that alternate need some 12 ms for both.
        assert!(busy > 1_500, "seed {seed}: {:?}", shares(&sites));
    }
}

#[test]
fn a_turn_goes_to_the_loser_and_ends_by_itself() {
    let [a, b] = [1, 2].map(|n| Contender::Node(NodeId(n)));
    let mut turns = Turns::default();
    assert_eq!(turns.permit(a, 0), Permit::Go);
    turns.won(a, 3);
    turns.lost(b, 4);
    let Permit::Wait(until) = turns.permit(a, 5) else {
        panic!("b has the turn");
    };
    assert!(until > 12);
    turns.arrived(b, 10);
    assert_eq!(turns.permit(b, 10), Permit::Go);
    turns.won(b, 12);
    assert_eq!(turns.permit(a, 12), Permit::Go, "it has waited");
    assert!(matches!(turns.permit(b, 12), Permit::Wait(_)));
    turns.won(a, 15);
    turns.won(b, 18);
    // It is known by now how soon b comes back: no longer is waited for it.
    turns.lost(b, 20);
    assert_eq!(turns.permit(a, 20), Permit::Wait(20 + SHORTEST_MS));
    assert_eq!(turns.permit(a, 20 + SHORTEST_MS), Permit::Go);
    assert!(matches!(turns.permit(b, 20 + SHORTEST_MS), Permit::Wait(_)));
}
