//! Makes a partition, or adds members to one.
//!
//! The file is made under a temporary name and linked to its own when it is whole, so a crash
//! leaves a partition or nothing. Members join one after the other: the protocol lets a new
//! one have its snapshot only when all present ones know of it. Doing it again changes
//! nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nuda_core::protocol::{Event, NodeId};
use nuda_core::site::is_valid_name;
use serde::{Deserialize, Serialize};

use crate::control::Progress;
use crate::error::{Error, Result};
use crate::node::Node;
use crate::partition::{Job, Partition};
use crate::sql::{Digest, Replica};
use crate::transport::wire::Ask;

/// How long a reachable member may take to fetch its snapshot.
const JOIN: Duration = Duration::from_secs(600);

/// What became of `nuda create`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Created {
    pub(crate) partition: String,
    pub(crate) id: String,
    /// Whether the file was made now.
    pub(crate) new: bool,
    /// All members.
    pub(crate) members: Vec<String>,
    /// Those that get their snapshot when they come back.
    pub(crate) pending: Vec<String>,
    pub(crate) tracked: Vec<String>,
    /// Tables that stay local, and why.
    pub(crate) untracked: Vec<(String, String)>,
    /// Tables whose FOREIGN KEYs are not kept between nodes, and why.
    #[serde(default)]
    pub(crate) unkept: Vec<(String, String)>,
}

/// Makes `name` on this node and brings it to the nodes `on`.
pub(crate) async fn run(
    node: &Arc<Node>,
    name: &str,
    on: &[String],
    from: Option<PathBuf>,
    progress: &Progress,
) -> Result<Created> {
    let target = node.dir.partition_file(name)?;
    let _hold = node.consensus.hold(name);
    let mut created = Created {
        partition: name.to_owned(),
        ..Created::default()
    };
    if target.exists() {
        if from.is_some() {
            return Err(Error::refused(format!(
                "{} exists already; a second file cannot be merged into it; remove --from, or choose another name",
                target.display()
            )));
        }
    } else {
        progress.say(match &from {
            Some(file) => format!("making {name} from {}", file.display()),
            None => format!("making {name}"),
        });
        let (work, node_name) = (node.dir.temporary(), node.me().name.clone());
        let (made_name, made_target) = (name.to_owned(), target.clone());
        let made = tokio::task::spawn_blocking(move || {
            make(&work, &made_target, &made_name, &node_name, from.as_deref())
        });
        let tables = made.await??;
        created.tracked = tables.tracked;
        created.untracked = tables.untracked;
        created.unkept = tables.unkept;
        created.new = true;
    }
    let partition = node.partitions.enter(&node.dir, name)?;
    node.on_partition(Arc::clone(&partition), |node, at, host| {
        host.live(node, at).map(|_| ())
    })
    .await?;
    created.id = partition.id().map(|id| id.to_string()).unwrap_or_default();
    // Those that answer first: one that is away holds up the members after it.
    let mut joiners: Vec<&String> = on.iter().collect();
    joiners.sort_by_key(|name| !reachable(node, name));
    for joiner in joiners {
        if add(node, &partition, joiner, progress).await? == Added::Pending {
            created.pending.push(joiner.clone());
        }
    }
    created.members = members(node, &partition).await?;
    Ok(created)
}

/// Waits until this node has heard of all nodes `on`, which may just have been started.
pub(crate) async fn wait_for_nodes(
    node: &Arc<Node>,
    name: &str,
    on: &[String],
    timeout: Duration,
    progress: &Progress,
) -> Result<()> {
    check(node, name, on)?;
    let began = Instant::now();
    let mut told = Duration::from_secs(1);
    loop {
        let missing = unknown(node, on);
        if missing.is_empty() {
            return Ok(());
        }
        let waited = began.elapsed();
        if waited >= timeout {
            return Err(no_such_node(node, &missing, waited));
        }
        if waited > told {
            told += Duration::from_secs(2);
            progress.say(format!("waiting to hear of {}", missing.join(", ")));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn unknown(node: &Node, on: &[String]) -> Vec<String> {
    let known = |name: &&String| **name == node.me().name || node.peers.address(name).is_some();
    on.iter().filter(|name| !known(name)).cloned().collect()
}

fn no_such_node(node: &Node, missing: &[String], waited: Duration) -> Error {
    let known: Vec<String> = node.peers.entries().into_iter().map(|e| e.name).collect();
    let first = missing.first().map_or("", String::as_str);
    Error::refused(format!(
        "there is no node {} (heard of none in {} s); {} knows {}; start it with `nuda serve --dir {first} --peer {}`",
        missing.join(", "),
        waited.as_secs(),
        node.me().name,
        if known.is_empty() {
            "no other node".to_owned()
        } else {
            known.join(", ")
        },
        node.me().address
    ))
}

/// What can be refused at once.
fn check(node: &Node, name: &str, on: &[String]) -> Result<()> {
    node.dir.partition_file(name)?;
    let me = &node.me().name;
    let exists = node.partitions.get(name).is_some();
    if !on.is_empty() && !on.contains(me) && !exists {
        return Err(Error::refused(format!(
            "{me} is not among --on {}; the node that makes a partition holds it; add {me}, or talk to another node with --dir",
            on.join(",")
        )));
    }
    match on.iter().find(|member| !is_valid_name(member)) {
        Some(member) => Err(Error::refused(format!(
            "\"{}\" is no node name",
            member.escape_debug()
        ))),
        None => Ok(()),
    }
}

/// What became of an existing file's tables; see [`Created`].
#[derive(Debug, Default)]
struct Tables {
    tracked: Vec<String>,
    untracked: Vec<(String, String)>,
    unkept: Vec<(String, String)>,
}

fn make(work: &Path, target: &Path, name: &str, node: &str, from: Option<&Path>) -> Result<Tables> {
    let file = work.join(format!("{}.new", crate::random::hex128()));
    let made = fill(&file, name, node, from)
        .and_then(|tables| super::join::link(&file, target).map(|()| tables));
    super::join::remove_database(&file);
    made
}

fn fill(file: &Path, name: &str, node: &str, from: Option<&Path>) -> Result<Tables> {
    if let Some(source) = from {
        super::snapshot::copy_pages(source, file)
            .map_err(|e| e.during(format!("cannot read {}", source.display())))?;
    }
    let replica = Replica::create(file)?;
    if replica.is_replica()? {
        return Err(Error::refused(
            "that file is a replica already; join its partition instead, or run SELECT nuda_eject() on a copy of it first",
        ));
    }
    replica.init(name)?;
    replica.join(node)?;
    let tables = track_all(&replica)?;
    super::join::seal(replica)?;
    Ok(tables)
}

/// Tracks what can be tracked, parents and children in one transaction.
fn track_all(replica: &Replica) -> Result<Tables> {
    let names: Vec<String> = {
        let mut statement = replica.connection().prepare(
            "SELECT name FROM pragma_table_list
             WHERE schema = 'main' AND type = 'table'
               AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name NOT LIKE 'nuda\\_%' ESCAPE '\\'
             ORDER BY name",
        )?;
        let rows = statement.query_map([], |row| row.get(0))?;
        rows.collect::<rusqlite::Result<_>>()?
    };
    let mut tables = Tables::default();
    let mut waiting = names;
    // A table is tracked after those that its FOREIGN KEYs name, whatever they are called.
    loop {
        let before = waiting.len();
        let mut refused = Vec::new();
        for name in std::mem::take(&mut waiting) {
            match track(replica, &name, refers(replica, &name)?)? {
                None => tables.tracked.push(name),
                Some(reason) => refused.push((name, reason)),
            }
        }
        if refused.len() < before {
            waiting = refused.into_iter().map(|(name, _)| name).collect();
            continue;
        }
        for (name, reason) in refused {
            if refers(replica, &name)? && track(replica, &name, false)?.is_none() {
                tables.tracked.push(name.clone());
                tables.unkept.push((name, reason));
            } else {
                tables.untracked.push((name, reason));
            }
        }
        return Ok(tables);
    }
}

/// Whether a table has FOREIGN KEYs.
fn refers(replica: &Replica, name: &str) -> Result<bool> {
    let keys = "SELECT EXISTS (SELECT 1 FROM pragma_foreign_key_list(?))";
    Ok(replica
        .connection()
        .query_row(keys, [name], |row| row.get(0))?)
}

/// Tracks a table if it can be; else answers why not.
fn track(replica: &Replica, name: &str, keeps_references: bool) -> Result<Option<String>> {
    let mut reason: Option<String> = None;
    // Without an option, or with the one that UNIQUE constraints need.
    for unique in ["", "unique=keep_first"] {
        let options = if keeps_references {
            format!("foreign_keys,{unique}")
        } else {
            unique.to_owned()
        };
        let asked = [name, options.as_str()];
        let connection = replica.connection();
        reason = connection.query_row("SELECT nuda_trackable(?, ?)", asked, |row| row.get(0))?;
        if reason.is_none() {
            let track = "SELECT nuda_track(?, 'eventual', ?)";
            let tracked = connection.query_row(track, asked, |_| Ok(()));
            reason = tracked.err().map(|e| Error::from(e).to_string());
            break;
        }
    }
    Ok(reason)
}

fn reachable(node: &Arc<Node>, name: &str) -> bool {
    node.me().name == name
        || node
            .peers
            .all()
            .iter()
            .any(|p| p.entry.name == name && p.failure.is_none() && p.heard_ms.is_some())
}

#[derive(Debug, PartialEq, Eq)]
enum Added {
    Holds,
    Pending,
}

async fn add(
    node: &Arc<Node>,
    partition: &Arc<Partition>,
    joiner: &str,
    progress: &Progress,
) -> Result<Added> {
    if joiner == node.me().name {
        return Ok(Added::Holds);
    }
    let joined = propose(node, partition, joiner).await?;
    if joined {
        progress.say(format!("{joiner} joins"));
    }
    partition.post(node, Job::Wake);
    let began = Instant::now();
    let mut told = false;
    let mut pause = Duration::from_millis(10);
    loop {
        if holds(node, partition, joiner).await {
            if joined {
                progress.say(format!("{joiner} holds {}", partition.name));
            }
            return Ok(Added::Holds);
        }
        // Another node may have changed the list at the same moment, and its list stands.
        propose(node, partition, joiner).await?;
        if !reachable(node, joiner) && began.elapsed() > Duration::from_secs(2) {
            return Ok(Added::Pending);
        }
        if began.elapsed() > JOIN {
            return Err(Error::retry(format!(
                "{joiner} did not fetch its snapshot; see its log; run the same command again to go on waiting"
            )));
        }
        if !told && began.elapsed() > Duration::from_secs(2) {
            told = true;
            progress.say(format!("waiting for {joiner} to fetch its snapshot"));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(250));
    }
}

/// Puts a joiner on the member list, unless it is there; whether that was news.
async fn propose(node: &Arc<Node>, partition: &Arc<Partition>, joiner: &str) -> Result<bool> {
    let id = NodeId::of_name(joiner);
    node.on_partition(Arc::clone(partition), move |node, at, host| {
        let list = host.live(node, at)?.kept.members.clone();
        if list.counts(id) {
            return Ok(false);
        }
        host.feed(node, at, Event::Members(list.joining(id)))?;
        Ok(true)
    })
    .await
}

/// Whether the node answers for the partition.
async fn holds(node: &Arc<Node>, partition: &Partition, name: &str) -> bool {
    let ask = Ask::Digest {
        name: partition.name.clone(),
        id: partition.id().map(|id| id.to_string()).unwrap_or_default(),
    };
    node.ask::<Digest>(name, &ask).await.is_ok()
}

/// The members' names.
pub(crate) async fn members(node: &Arc<Node>, partition: &Arc<Partition>) -> Result<Vec<String>> {
    node.on_partition(Arc::clone(partition), |node, at, host| {
        let members = &host.live(node, at)?.kept.members;
        let mut names: Vec<String> = members.iter().map(|m| node.name_of(m.node)).collect();
        names.sort();
        Ok(names)
    })
    .await
}
