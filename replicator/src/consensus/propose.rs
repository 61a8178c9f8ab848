//! The extension's questions, carried to the leader and back.
//!
//! A question is asked again of the next leader until its deadline: ids make that harmless. The
//! rule of the answers: *not committed* only as long as the proposal has certainly reached no
//! log; after that, anything but a decision is *unknown*.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nuda_core::certify::{Answer, Entry};
use nuda_core::changeset::{Part, read_vector};
use nuda_core::codec::Reader;
use nuda_core::control::{Ask, Execution, Reply, Request};
use nuda_core::error::DecodeError;
use nuda_core::site::{PartitionId, Site};
use nuda_core::version_vector::VersionVector;

use super::explain::{explained, no_leader, not_ordered};
use super::group::{Appended, Group};
use super::recent;
use super::told::Asked;
use super::types::GroupId;
use super::wire::{self, Call, Response};
use crate::clock;
use crate::error::{Error, Kind, Result};
use crate::node::Node;
use crate::partition::Job;
use crate::transport::Route;

/// The pause before a question is asked again.
const PAUSE: Duration = Duration::from_millis(25);

/// The pause before the group is looked for to which a partition has moved.
const MOVING: Duration = Duration::from_millis(3);

/// Whoever waits for the partition's worker asks again after this long.
const LOOK: Duration = Duration::from_millis(1);

/// How long what was written by a clock that is ahead is waited for.
const RESTAMPED: Duration = Duration::from_millis(100);

/// How long a leader works on putting a voter's new log in the place of its old one.
const REPLACE: Duration = Duration::from_secs(3);

/// The longest that anybody waits.
const WITHIN_MAX: Duration = Duration::from_secs(60);

/// Answers one request of the extension, in its time.
pub(crate) async fn answer(node: &Arc<Node>, request: Request) -> Reply {
    let (partition, asked) = (request.partition, Asked::of(&request.ask));
    let mut reply = carry_out(node, request).await;
    if let Some(standing) = reply.standing_mut() {
        standing.clock_ahead_ms = node.peers.ahead_ms(clock::wall_ms()).unwrap_or(0);
    }
    if let Some(asked) = asked {
        node.consensus.told.answered(partition, &asked, &reply);
    }
    reply
}

async fn carry_out(node: &Arc<Node>, request: Request) -> Reply {
    let within = Duration::from_millis(request.within_ms).min(WITHIN_MAX);
    let until = Instant::now() + within;
    let partition = request.partition;
    node.consensus.delivery.reach(partition, &request.here);
    let Some(group) = ordered(node, partition, until).await else {
        return Reply::NotCommitted(not_ordered(node, partition));
    };
    match request.ask {
        Ask::Standing => Reply::Ready(group.standing(partition)),
        Ask::Levels => led(node, &group, partition, until).await,
        Ask::Reach(wanted) => reach(node, &group, partition, &wanted, until).await,
        Ask::ReachAll => match acknowledged(node, partition, until).await {
            Reply::Ready(standing) => {
                reach(node, &group, partition, &standing.accepted(), until).await
            }
            Reply::Unknown(why) => Reply::NotCommitted(why),
            other => other,
        },
        Ask::ReachRecent(max_age_ms) => {
            let max_age = Duration::from_millis(max_age_ms);
            recent::reach(node, &group, partition, max_age, until).await
        }
        Ask::Propose { proposal, clock_ms } => {
            if let Err(e) = judge(node, &group, partition, clock_ms, until).await {
                return Reply::NotCommitted(e.to_string());
            }
            // What travels with it counts as shipped: it must have been noticed before.
            if let Err(e) = notice(node, partition, &proposal.dependencies, until).await {
                return Reply::NotCommitted(e.to_string());
            }
            let entry = Entry::Propose(partition, proposal).encode();
            append(node, partition, until, entry).await
        }
        Ask::Execute(execution) => execute(node, &group, partition, until, &execution).await,
        Ask::Settle(id) => {
            let known = node
                .consensus
                .of_partition(partition)
                .map(|g| g.standing(partition));
            let entry = Entry::Abort(partition, id).encode();
            match append(node, partition, until, entry).await {
                Reply::NotCommitted(why) => Reply::Unknown(why),
                Reply::Decided(answer, standing) => Reply::Decided(
                    answer,
                    known
                        .filter(|k| k.decided > standing.decided)
                        .unwrap_or(standing),
                ),
                other => other,
            }
        }
    }
}

/// Runs something at the leader, and brings its rows here.
async fn execute(
    node: &Arc<Node>,
    group: &Arc<Group>,
    partition: PartitionId,
    until: Instant,
    execution: &Execution,
) -> Reply {
    let mut encoded = Vec::new();
    execution.encode(&mut encoded);
    let call = |group, within: Duration| Call::Execute {
        group,
        partition: partition.0,
        execution: encoded.clone(),
        within_ms: milliseconds(within),
    };
    match ask(node, partition, until, call).await {
        Reply::Executed {
            position,
            result,
            standing,
            ..
        } => {
            let wanted = [(Site::LOG_STRONG, position)].into_iter().collect();
            let here = reach(node, group, partition, &wanted, until).await;
            Reply::Executed {
                position,
                is_here: matches!(here, Reply::Ready(_)),
                result,
                standing,
            }
        }
        other => other,
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The group that orders a partition. One that has just been made gets its log within a moment,
/// which is worth waiting for.
async fn ordered(node: &Arc<Node>, partition: PartitionId, until: Instant) -> Option<Arc<Group>> {
    loop {
        if let Some(group) = node.consensus.of_partition(partition) {
            return Some(group);
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        tokio::time::sleep(PAUSE.min(left)).await;
    }
}

/// Waits for somebody who leads, if there will be one.
async fn led(
    node: &Arc<Node>,
    group: &Arc<Group>,
    partition: PartitionId,
    until: Instant,
) -> Reply {
    while group.leader().is_none() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || !is_between_leaders(node, group) {
            return Reply::NotCommitted(no_leader(node, group, partition));
        }
        tokio::time::sleep(PAUSE.min(left)).await;
    }
    Reply::Ready(group.standing(partition))
}

/// Refuses a clock that is ahead of the other nodes'; the first of theirs is waited for.
async fn judge(
    node: &Arc<Node>,
    group: &Arc<Group>,
    partition: PartitionId,
    clock_ms: u64,
    until: Instant,
) -> Result<()> {
    while node.peers.agreed_ms().is_none() && group.standing(partition).voters > 1 {
        if let Reply::NotCommitted(why) = led(node, group, partition, until).await {
            return Err(Error::retry(why));
        }
        if Instant::now() >= until {
            return Err(Error::retry("no other node's clock is known yet"));
        }
        tokio::time::sleep(LOOK).await;
    }
    match node.peers.ahead_ms(clock_ms) {
        None => Ok(()),
        Some(ahead_ms) => Err(Error::refused(format!(
            "this machine's clock has gone {} s ahead of the other nodes'; mend it, and run the transaction again",
            ahead_ms / 1_000
        ))),
    }
}

/// Waits until the partition's worker knows of these changes. It may be about to apply something, and
/// wait for the write lock that whoever proposes holds: so nobody waits for its queue, only for
/// its next look, which comes before whatever else is queued.
async fn notice(
    node: &Arc<Node>,
    partition: PartitionId,
    changes: &[Vec<u8>],
    until: Instant,
) -> Result<()> {
    if changes.is_empty() {
        return Ok(());
    }
    let malformed = |e: DecodeError| Error::refused(format!("malformed: a proposal; {e}"));
    let mut dots = Vec::new();
    for part in changes {
        dots.push(Part::decode(part).map_err(malformed)?.dot);
    }
    let missing = || Error::not_found("the partition is not on this node");
    let at = node.partitions.by_id(partition).ok_or_else(missing)?;
    let mut looks = false;
    let until = match node.peers.ahead_ms(clock::wall_ms()) {
        None => until,
        // The worker cannot stamp them again before the one who proposes lets go of the file.
        Some(_) => until.min(Instant::now() + RESTAMPED),
    };
    while !at.has_noticed(&dots) {
        if Instant::now() >= until {
            return Err(Error::retry(
                "this node's daemon has not seen in time what it follows; run the transaction again",
            ));
        }
        if !std::mem::replace(&mut looks, true) {
            at.post(node, Job::Wake);
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

/// Puts an entry into a partition's log, through whoever leads.
pub(super) async fn append(
    node: &Arc<Node>,
    partition: PartitionId,
    until: Instant,
    entry: Vec<u8>,
) -> Reply {
    let call = |group, within: Duration| Call::Append {
        group,
        entry: entry.clone(),
        within_ms: milliseconds(within),
    };
    ask(node, partition, until, call).await
}

/// Puts an entry into a partition's log that decides on nothing; answers what was accepted before it.
pub(super) async fn note(
    node: &Arc<Node>,
    partition: PartitionId,
    until: Instant,
    entry: &Entry,
) -> Result<VersionVector> {
    match append(node, partition, until, entry.encode()).await {
        Reply::Decided(Answer::Open, standing) => Ok(standing.accepted()),
        Reply::NotCommitted(why) | Reply::Unknown(why) => Err(Error::retry(why)),
        _ => Err(Error::internal("an unexpected answer of the log")),
    }
}

/// As [`append`], with the log of this group.
pub(crate) async fn append_to(
    node: &Arc<Node>,
    group: &Arc<Group>,
    partition: PartitionId,
    until: Instant,
    entry: Vec<u8>,
) -> Reply {
    let call = |within: Duration| Call::Append {
        group: group.id,
        entry: entry.clone(),
        within_ms: milliseconds(within),
    };
    ask_leader(node, group, partition, until, &mut None, call).await
}

/// Everything that was acknowledged before now, as the leader knows it.
pub(super) async fn acknowledged(
    node: &Arc<Node>,
    partition: PartitionId,
    until: Instant,
) -> Reply {
    let call = |group, _| Call::position(group, partition);
    ask(node, partition, until, call).await
}

/// Whether a group orders a partition, or has ordered it, as of now.
pub(crate) async fn has_ordered(
    node: &Arc<Node>,
    group: &Arc<Group>,
    partition: PartitionId,
    until: Instant,
) -> Result<bool> {
    let call = |_| Call::position(group.id, partition);
    match ask_leader(node, group, partition, until, &mut None, call).await {
        Reply::Ready(_) | Reply::Decided(Answer::Moved, _) => Ok(true),
        Reply::Decided(Answer::NotHere, _) => Ok(false),
        Reply::NotCommitted(why) | Reply::Unknown(why) => Err(Error::retry(why)),
        _ => Err(Error::internal("an unexpected answer about a position")),
    }
}

/// Asks the leader of the group that orders a partition, wherever that is: a group that the
/// partition has left says so, and the next one is asked.
async fn ask(
    node: &Arc<Node>,
    partition: PartitionId,
    until: Instant,
    call: impl Fn(GroupId, Duration) -> Call,
) -> Reply {
    let mut unknown = None;
    loop {
        let Some(group) = ordered(node, partition, until).await else {
            return match unknown {
                Some(why) => Reply::Unknown(why),
                None => Reply::NotCommitted(not_ordered(node, partition)),
            };
        };
        let of_group = |within| call(group.id, within);
        let reply = ask_leader(node, &group, partition, until, &mut unknown, of_group).await;
        let is_elsewhere = match &reply {
            Reply::Decided(answer, _) => {
                matches!(answer, Answer::Moved | Answer::NotHere | Answer::Expected)
            }
            // The engine may have ended with its group.
            Reply::NotCommitted(_) => !group.orders(partition),
            _ => false,
        };
        if !is_elsewhere {
            return reply;
        }
        let left = until.saturating_duration_since(Instant::now());
        tokio::time::sleep(MOVING.min(left)).await;
    }
}

/// Asks a group's leader until it answers or the time is over, also through an election. `unknown` says why a question
/// may be in a log although nobody said so.
async fn ask_leader(
    node: &Arc<Node>,
    group: &Arc<Group>,
    partition: PartitionId,
    until: Instant,
    unknown: &mut Option<String>,
    call: impl Fn(Duration) -> Call,
) -> Reply {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return match unknown.take() {
                Some(why) => Reply::Unknown(why),
                None => Reply::NotCommitted(no_leader(node, group, partition)),
            };
        }
        let appended = match group.leader() {
            None => Appended::Refused(no_leader(node, group, partition)),
            Some(name) => ask_voter(node, &name, call(left), left).await,
        };
        match appended {
            Appended::Reply(Reply::Decided(Answer::Expired, _)) if unknown.is_some() => {
                return Reply::Unknown(unknown.take().unwrap_or_default());
            }
            Appended::Reply(Reply::Unknown(why)) | Appended::Unknown(why) => *unknown = Some(why),
            Appended::Reply(reply) => return reply,
            Appended::NotLeader => {}
            // Another one will lead soon, and nothing has reached anybody.
            Appended::Refused(_) if group.orders(partition) && is_between_leaders(node, group) => {}
            // Whoever looks for the partition goes on to the next group.
            Appended::Refused(why) if unknown.is_none() || !group.orders(partition) => {
                return Reply::NotCommitted(explained(node, group, partition, &why));
            }
            Appended::Refused(_) => {}
        }
        tokio::time::sleep(PAUSE.min(left)).await;
    }
}

/// Asks one voter, or this node itself.
pub(super) async fn ask_voter(
    node: &Arc<Node>,
    name: &str,
    call: Call,
    within: Duration,
) -> Appended {
    if name != node.me().name {
        return ask_node(node, name, call, within).await;
    }
    match handle(node, call).await {
        Ok(handled) => handled,
        Err(e) => Appended::Refused(e.to_string()),
    }
}

async fn ask_node(node: &Arc<Node>, name: &str, call: Call, within: Duration) -> Appended {
    let body = match wire::encode(&call) {
        Ok(body) => body,
        Err(e) => return Appended::Refused(e.to_string()),
    };
    let asked = node.call(name, Route::Consensus, body);
    let answer = tokio::time::timeout(within, asked).await;
    if let Ok(Err(e)) = &answer
        && e.is_retry()
    {
        node.failed(name, e);
    }
    match answer {
        Err(_) => Appended::Unknown(format!("no answer from the leader {name} in time")),
        Ok(Err(e)) if e.kind == Kind::Unsent => Appended::Refused(e.to_string()),
        Ok(Err(e)) => Appended::Unknown(e.to_string()),
        Ok(Ok(answer)) => match wire::decode::<Response>(&answer) {
            Ok(Response::NotLeader) => Appended::NotLeader,
            Ok(Response::Reply(bytes)) => match Reply::decode(bytes.get(4..).unwrap_or_default()) {
                Ok(reply) => Appended::Reply(reply),
                Err(e) => Appended::Unknown(format!("the answer of {name}: {e}")),
            },
            Ok(_) => Appended::Unknown(format!("{name} answered something else")),
            Err(e) => Appended::Unknown(e.to_string()),
        },
    }
}

/// As the leader: carries out a question.
async fn handle(node: &Arc<Node>, call: Call) -> Result<Appended> {
    let missing = || Error::not_found("this node is not in that group");
    match call {
        Call::Append {
            group,
            entry,
            within_ms,
        } => {
            let group = node.consensus.group(group).ok_or_else(missing)?;
            let within = Duration::from_millis(within_ms).min(WITHIN_MAX);
            // Cancelling a write half-way would leave nobody to hear the decision.
            let worker = tokio::spawn(async move { group.append(entry, within).await });
            Ok(worker.await?)
        }
        Call::Position { group, partition } => {
            let group = node.consensus.group(group).ok_or_else(missing)?;
            let position = group.position(PartitionId(partition), WITHIN_MAX).await;
            Ok(position)
        }
        Call::Execute {
            group,
            partition,
            execution,
            within_ms,
        } => {
            let group = node.consensus.group(group).ok_or_else(missing)?;
            let within = Duration::from_millis(within_ms).min(WITHIN_MAX);
            let malformed = |e: DecodeError| Error::refused(format!("malformed: a call; {e}"));
            let mut reader = Reader::new(&execution);
            let execution = Execution::decode(&mut reader).map_err(malformed)?;
            let executors = &node.consensus.executors;
            let what = (execution, within);
            Ok(executors
                .execute(node, &group, PartitionId(partition), what)
                .await)
        }
        _ => Err(Error::refused("no question for a leader")),
    }
}

/// Answers a call of another node.
pub(crate) async fn called(node: &Arc<Node>, body: &[u8]) -> Result<Vec<u8>> {
    let response = match wire::decode::<Call>(body)? {
        Call::Engine {
            group,
            to,
            acknowledged,
            call,
        } => match node.consensus.group(group) {
            Some(found) => found.engine_call(to, acknowledged, call).await?,
            None if node.consensus.has_ended(group)? => Response::Retired,
            None => {
                let me = &node.me().name;
                return Err(Error::not_found(format!("{me} is not in group {group}")));
            }
        },
        Call::Describe { partition } => match node.consensus.describe(PartitionId(partition)) {
            Some(known) => Response::Group(known.group, known.charter, known.moves),
            None if !node.consensus.has_caught_up().await => Response::Unsure,
            None => return Err(Error::not_found("no group here orders that partition")),
        },
        Call::Provide { charter } => {
            let group = super::found::home_group(node, &charter).await?;
            Response::Group(group.id, group.charter.clone(), 0)
        }
        Call::OnDisk { partition, vector } => {
            let malformed = |e: DecodeError| Error::refused(format!("malformed: a vector; {e}"));
            let vector = read_vector(&mut Reader::new(&vector)).map_err(malformed)?;
            super::moves::has_on_disk(node, PartitionId(partition), &vector).await?;
            Response::Done
        }
        Call::Replace {
            group,
            name,
            incarnation,
        } => {
            let Some(found) = node.consensus.group(group) else {
                if node.consensus.has_ended(group)? {
                    return wire::encode(&Response::Retired);
                }
                return Err(Error::not_found("this node is not in that group"));
            };
            // The voter asks again: waiting longer for a learner that does not catch up, or as a
            // leader that is none any more, would only keep it from asking the next one.
            let replacing = found.replace(&name, incarnation);
            let replaced = tokio::time::timeout(REPLACE, replacing).await;
            if replaced.map_err(|_| Error::retry("the voter does not catch up"))?? {
                Response::Done
            } else {
                Response::NotLeader
            }
        }
        Call::TakePart { id, charter } => {
            super::found::asked_to_take_part(node, id, &charter).await?
        }
        Call::Holds { partition } => recent::held(node, PartitionId(partition)).await?,
        call => match handle(node, call).await? {
            Appended::NotLeader => Response::NotLeader,
            Appended::Reply(reply) => Response::Reply(reply.encode()),
            Appended::Refused(why) => Response::Reply(Reply::NotCommitted(why).encode()),
            Appended::Unknown(why) => Response::Reply(Reply::Unknown(why).encode()),
        },
    };
    wire::encode(&response)
}

pub(super) async fn reach(
    node: &Arc<Node>,
    group: &Arc<Group>,
    partition: PartitionId,
    wanted: &VersionVector,
    until: Instant,
) -> Reply {
    let left = until.saturating_duration_since(Instant::now());
    let delivery = Arc::clone(&node.consensus.delivery);
    let waiting = delivery.wait(node, partition, wanted);
    let reached = tokio::time::timeout(left, waiting).await;
    // It may have moved meanwhile.
    let now = node.consensus.of_partition(partition);
    let group = now.as_ref().unwrap_or(group);
    match reached {
        Ok(Ok(())) => Reply::Ready(group.standing(partition)),
        Ok(Err(e)) => Reply::NotCommitted(e.to_string()),
        Err(_) => Reply::NotCommitted(format!(
            "this file could not be brought to {wanted} in time; another transaction may hold its write lock"
        )),
    }
}

/// Whether nobody leads who can be reached, while a majority can, which will elect somebody.
fn is_between_leaders(node: &Arc<Node>, group: &Arc<Group>) -> bool {
    let is_there = |name: &String| *name == node.me().name || node.peers.is_reachable(name);
    let voters = &group.charter.voters;
    let there = voters.iter().filter(|voter| is_there(voter)).count();
    !group.leader().is_some_and(|name| is_there(&name)) && there * 2 > voters.len()
}
