//! Members that lose everything and come back, and partitions whose members change, while the
//! applications of the others work.
//!
//! An operator who does this takes the node's applications away first (its files go, or get nothing more),
//! and lets a node that is given up on purpose hand over what only it has: an eventual write is as safe as the
//! disk that it is on. Nobody waits for anything else: strong and quorum transactions go on meanwhile, and
//! nothing of what was acknowledged may be missing.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::applications::Running;
use crate::cluster::{Cluster, NAMES};
use crate::support::{NUDA, Nodes};

/// The node's applications end, and none begins there.
fn leave(running: &Running, name: &str) {
    running.off(&[name.to_owned()]);
    // Applications are numbered node by node within each workload.
    let is_here = |client: &usize| NAMES[client % NAMES.len()] == name;
    for client in (0..running.clients()).filter(is_here) {
        running.signal(client, "-KILL");
    }
}

/// The node loses its directory: files, log, and who it was.
pub(crate) fn wipe(cluster: &mut Cluster, running: &Running, name: &str) {
    // Of three logs two must be left: one that was lost before has to be in its place again.
    cluster
        .nodes
        .eventually("all vote on all partitions", |nodes| {
            let vote = |name: &str| {
                let status = nodes.status(name);
                let mut partitions = status["partitions"].as_array()?.iter();
                let vote = partitions.all(|p| p["log"]["votes"] == true);
                vote.then_some(())
            };
            NAMES.into_iter().try_for_each(vote)
        });
    leave(running, name);
    for partition in &cluster.partitions {
        let has = vector(&cluster.nodes, name, partition);
        cluster
            .nodes
            .eventually("the others have what it has", |nodes| {
                let others = NAMES.into_iter().filter(|other| *other != name);
                let mut others = others.map(|other| vector(nodes, other, partition));
                let covers = |there: BTreeMap<String, u64>| {
                    has.iter().all(|(site, seq)| there.get(site) >= Some(seq))
                };
                others.all(covers).then_some(())
            });
    }
    cluster.nodes.kill(name);
    // The directory itself may be a mounted disk.
    for entry in std::fs::read_dir(cluster.nodes.dir(name)).unwrap() {
        let path = entry.unwrap().path();
        let removed = match path.is_dir() {
            true => std::fs::remove_dir_all(&path),
            false => std::fs::remove_file(&path),
        };
        removed.unwrap();
    }
}

/// It comes back under its name and gets its partitions again.
pub(crate) fn come_back(cluster: &mut Cluster, running: &Running, name: &str) {
    cluster.nodes.run(name);
    for partition in &cluster.partitions {
        cluster.nodes.eventually("it holds it again", |nodes| {
            nodes.file(name, partition).exists().then_some(())
        });
    }
    running.on(&[name.to_owned()]);
}

/// What a file has.
fn vector(nodes: &Nodes, name: &str, partition: &str) -> BTreeMap<String, u64> {
    let conn = nodes.open(name, partition);
    let sql = "SELECT nuda_version_vector()";
    let text: String = nodes.eventually("a vector", |_| {
        conn.query_row(sql, [], |row| row.get(0)).ok()
    });
    let entries = text.split(',').filter_map(|entry| entry.split_once(':'));
    let entries = entries.map(|(site, seq)| (site.to_owned(), seq.parse().unwrap()));
    entries.collect()
}

/// A partition moves to the group of the other two; if `kills` says after how many milliseconds, its leader
/// is killed meanwhile. Answers who was.
pub(crate) fn remove(
    cluster: &mut Cluster,
    running: &Running,
    (name, partition): (&str, &str),
    kills: Option<u64>,
) -> Option<String> {
    leave(running, name);
    let mut removing = Command::new(NUDA)
        .args(["members", partition, "--remove", name, "--dir"])
        .arg(cluster.nodes.dir(stays(name)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let killed = kills.map(|after_ms| {
        let leader = leader(&cluster.nodes, partition);
        std::thread::sleep(Duration::from_millis(after_ms));
        cluster.nodes.kill(&leader);
        leader
    });
    // Whatever it says: it is done again, and then it must succeed.
    let _ = removing.wait();
    killed
}

/// Whoever was killed comes back; the removal is seen through, and then the member is added again.
pub(crate) fn add(
    cluster: &mut Cluster,
    running: &Running,
    (name, partition): (&str, &str),
    killed: Option<&String>,
) {
    killed.into_iter().for_each(|name| cluster.nodes.run(name));
    let at = stays(name);
    let all = NAMES.join(",");
    let succeeds =
        |nodes: &Nodes, args: &[&str]| nodes.nuda(at, args).status.success().then_some(());
    let nodes = &cluster.nodes;
    nodes.eventually("the member is removed", |nodes| {
        succeeds(nodes, &["members", partition, "--remove", name])
    });
    nodes.eventually("the member is added again", |nodes| {
        succeeds(nodes, &["create", partition, "--on", &all])
    });
    running.on(&[name.to_owned()]);
}

/// A member that stays.
fn stays(name: &str) -> &'static str {
    if name == NAMES[0] { NAMES[1] } else { NAMES[0] }
}

/// Who leads a partition's group.
fn leader(nodes: &Nodes, partition: &str) -> String {
    nodes.eventually("a leader", |nodes| {
        NAMES.iter().find_map(|name| {
            let status = nodes.status(name);
            let mut partitions = status["partitions"].as_array()?.iter();
            let here = partitions.find(|p| p["name"] == partition)?;
            let leader = here["log"]["leader"].as_str()?;
            NAMES.contains(&leader).then(|| leader.to_owned())
        })
    })
}
