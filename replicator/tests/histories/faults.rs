//! What goes wrong, decided by the seed: done, kept for a while, undone.

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant};

use crate::applications::Running;
use crate::cluster::{Cluster, NAMES, SMALL, clock_file};
use crate::members;
use crate::power;
use crate::rng::Rng;

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// kill -9 of these daemons; they are started again.
    Kill(Vec<String>),
    /// The same with whoever leads.
    KillLeader,
    /// SIGSTOP and SIGCONT of a daemon.
    Freeze(String),
    /// kill -9 of an application.
    KillApplication(usize),
    /// SIGSTOP and SIGCONT of an application.
    FreezeApplication(usize),
    /// Nothing passes between this node and the others; its applications go on.
    Isolate(String),
    /// The same with whoever leads: it thinks so for a while.
    IsolateLeader,
    /// This node's calls reach nobody; it is called and answers.
    Mute(String),
    /// Calls of the others do not reach this node; its own do reach them.
    Deaf(String),
    /// What the others ask of this node is done, and they never hear so.
    Unanswered(String),
    /// The clock of a node and its applications jumps by so many seconds.
    Clock(String, i64),
    /// The disk of the node with a small one is full.
    FullDisk,
    /// These machines lose their power, at the same moment.
    Power(Vec<String>),
    /// A node loses its directory, and comes back with an empty one.
    Wipe(String),
    /// A node is removed from the members of a partition, and added again. Which partition: that number,
    /// of those that there are. After so many milliseconds the leader is killed, if it is.
    Members(String, u64, Option<u64>),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// What kinds there are, as they are named on the command line.
pub(crate) const KINDS: [&str; 15] = [
    "kill",
    "kill-leader",
    "restart",
    "freeze",
    "kill-application",
    "freeze-application",
    "isolate",
    "isolate-leader",
    "one-way",
    "unanswered",
    "clock",
    "full-disk",
    "wipe",
    "members",
    "members-kill-leader",
];

/// Kinds for which every node needs a disk of its own; a plan has either these among its faults, or
/// the full disk.
pub(crate) const POWER: [&str; 3] = ["power-one", "power-two", "power-all"];

/// Decides on a fault of this kind.
pub(crate) fn of_kind(kind: &str, rng: &mut Rng, applications: usize) -> Fault {
    let name = || NAMES.map(str::to_owned);
    let one = (*rng.one_of(&name())).clone();
    let client = usize::try_from(rng.below(applications as u64)).unwrap();
    match kind {
        // One, or two: then nothing is decided until one is back.
        "kill" if rng.chance(60) => Fault::Kill(vec![one]),
        "kill" => Fault::Kill(name().into_iter().filter(|n| *n != one).collect()),
        "kill-leader" => Fault::KillLeader,
        "restart" => Fault::Kill(name().to_vec()),
        "freeze" => Fault::Freeze(one),
        "kill-application" => Fault::KillApplication(client),
        "freeze-application" => Fault::FreezeApplication(client),
        "isolate" => Fault::Isolate(one),
        "isolate-leader" => Fault::IsolateLeader,
        "one-way" if rng.chance(50) => Fault::Mute(one),
        "one-way" => Fault::Deaf(one),
        "unanswered" => Fault::Unanswered(one),
        "clock" => {
            let seconds = *rng.one_of(&[-7_200, -90, -5, 5, 90, 7_200]);
            Fault::Clock(one, seconds)
        }
        "full-disk" => Fault::FullDisk,
        "wipe" => Fault::Wipe(one),
        "members" => Fault::Members(one, rng.below(60), None),
        "members-kill-leader" => Fault::Members(one, rng.below(60), Some(rng.below(600))),
        "power-one" => Fault::Power(vec![one]),
        "power-two" => Fault::Power(name().into_iter().filter(|n| *n != one).collect()),
        "power-all" => Fault::Power(name().to_vec()),
        other => panic!("there is no fault {other}; there are {KINDS:?} and {POWER:?}"),
    }
}

/// A fault that is being kept up.
pub(crate) struct Active {
    fault: Fault,
    /// The node that it was about, once that is known.
    node: Option<String>,
    /// Which fault of the run it is.
    number: usize,
}

/// Does it. `None` if it cannot be done here.
pub(crate) fn begin(
    cluster: &mut Cluster,
    running: &Running,
    fault: &Fault,
    number: usize,
) -> Option<Active> {
    let mut node = None;
    match fault {
        Fault::Kill(names) => names.iter().for_each(|name| cluster.nodes.kill(name)),
        Fault::KillLeader => {
            let leader = leader(cluster);
            cluster.nodes.kill(&leader);
            node = Some(leader);
        }
        Fault::Freeze(name) => cluster.nodes.signal(name, "-STOP"),
        Fault::KillApplication(client) => {
            running.signal(*client, "-KILL");
        }
        Fault::FreezeApplication(client) => {
            running.signal(*client, "-STOP");
        }
        Fault::Isolate(name) => faulty(cluster, name, "--cut"),
        Fault::IsolateLeader => {
            let leader = leader(cluster);
            faulty(cluster, &leader, "--cut");
            node = Some(leader);
        }
        Fault::Mute(name) => faulty(cluster, name, "--mute"),
        Fault::Deaf(name) => faulty(cluster, name, "--deaf"),
        Fault::Unanswered(name) => faulty(cluster, name, "--unanswered"),
        Fault::Clock(name, seconds) => {
            if !cluster.has_clocks {
                return None;
            }
            set_clock(cluster, name, *seconds);
        }
        Fault::FullDisk => {
            if !cluster.has_small {
                return None;
            }
            // As much as there is, which is less.
            let _ = std::fs::write(filler(cluster), vec![0u8; 128 << 20]);
        }
        Fault::Power(names) => {
            if !power::cut(cluster, running, names) {
                return None;
            }
        }
        Fault::Wipe(name) => members::wipe(cluster, running, name),
        Fault::Members(name, which, kills) => {
            let about = (name.as_str(), partition(cluster, *which));
            node = members::remove(cluster, running, about, *kills);
        }
    }
    Some(Active {
        fault: fault.clone(),
        node,
        number,
    })
}

/// Undoes it.
pub(crate) fn end(cluster: &mut Cluster, running: &Running, active: &Active) {
    match &active.fault {
        Fault::Kill(names) => {
            // All at once: they need each other to be found.
            names.iter().for_each(|name| cluster.nodes.spawn(name));
            names.iter().for_each(|name| cluster.nodes.found(name));
        }
        Fault::KillLeader => active.node.iter().for_each(|name| cluster.nodes.run(name)),
        Fault::Freeze(name) => cluster.nodes.signal(name, "-CONT"),
        Fault::KillApplication(_) => {}
        Fault::FreezeApplication(client) => {
            running.signal(*client, "-CONT");
        }
        Fault::Isolate(name) | Fault::Mute(name) | Fault::Deaf(name) | Fault::Unanswered(name) => {
            heal(cluster, name)
        }
        Fault::IsolateLeader => active.node.iter().for_each(|name| heal(cluster, name)),
        Fault::Clock(name, _) => set_clock(cluster, name, 0),
        Fault::FullDisk => {
            let _ = std::fs::remove_file(filler(cluster));
        }
        Fault::Power(names) => power::boot(cluster, running, names, active.number),
        Fault::Wipe(name) => members::come_back(cluster, running, name),
        Fault::Members(name, which, _) => {
            let about = (name.as_str(), partition(cluster, *which));
            members::add(cluster, running, about, active.node.as_ref());
        }
    }
}

/// Faults of these kinds, one after the other, until the time is over.
pub(crate) fn keep_going(
    cluster: &mut Cluster,
    running: &Running,
    plan: (&[String], u64, usize),
    until: Instant,
) -> BTreeSet<String> {
    let (kinds, seed, applications) = plan;
    let mut rng = Rng::stream(seed, 0);
    let mut done = BTreeSet::new();
    let mut bag: Vec<String> = Vec::new();
    let began = Instant::now();
    let mut number = 0;
    while Instant::now() < until && !kinds.is_empty() {
        pause(&mut rng, 300..900);
        // Every kind before any comes again.
        if bag.is_empty() {
            bag = kinds.to_vec();
        }
        let at = usize::try_from(rng.below(bag.len() as u64)).unwrap();
        let kind = bag.swap_remove(at);
        let fault = of_kind(&kind, &mut rng, applications);
        println!("{:6.2} s  {fault}", began.elapsed().as_secs_f64());
        number += 1;
        let Some(active) = begin(cluster, running, &fault, number) else {
            continue;
        };
        done.insert(kind);
        pause(&mut rng, 600..1_800);
        end(cluster, running, &active);
    }
    println!("{:6.2} s  no more faults", began.elapsed().as_secs_f64());
    done
}

/// A fault lasts as long as the seed says.
fn pause(rng: &mut Rng, ms: std::ops::Range<u64>) {
    let ms = ms.start + rng.below(ms.end - ms.start);
    std::thread::sleep(Duration::from_millis(ms));
}

/// Who leads, when somebody does.
fn leader(cluster: &Cluster) -> String {
    cluster.nodes.eventually("a leader", |nodes| {
        NAMES.iter().find_map(|name| {
            let status = nodes.status(name);
            let log = &status["partitions"][0]["log"];
            // One that was deposed names another one, or nobody.
            let leader = log["leader"].as_str()?;
            NAMES.contains(&leader).then(|| leader.to_owned())
        })
    })
}

/// One of the partitions.
fn partition(cluster: &Cluster, which: u64) -> &'static str {
    let count = cluster.partitions.len() as u64;
    cluster.partitions[usize::try_from(which % count).unwrap()]
}

fn faulty(cluster: &Cluster, name: &str, how: &str) {
    let others: Vec<&str> = NAMES.into_iter().filter(|n| *n != name).collect();
    cluster
        .nodes
        .nuda_ok(name, &["fault", how, &others.join(",")]);
}

fn heal(cluster: &Cluster, name: &str) {
    cluster.nodes.nuda_ok(name, &["fault"]);
}

/// In one step: the clock is read at any moment.
fn set_clock(cluster: &Cluster, name: &str, seconds: i64) {
    let file = clock_file(&cluster.nodes, name);
    let new = file.with_extension("new");
    std::fs::write(&new, format!("{seconds:+}\n")).unwrap();
    std::fs::rename(new, file).unwrap();
}

fn filler(cluster: &Cluster) -> std::path::PathBuf {
    cluster.nodes.dir(SMALL).join("filler")
}
