//! `nuda_exec` at the leader: statements of many clients, run one after the other in one
//! transaction of the leader's file, which commits as one entry of the log.
//!
//! While a transaction waits for its majority, the next calls gather; so a partition's rate is not
//! bound to the round trip. Each call runs inside a savepoint of its own: what fails leaves
//! nothing and disturbs nobody. An id that has its outcome is answered from the log and not run again;
//! the log itself refuses a transaction in which one would be. The commit goes the way of every
//! strong commit; losing against another node's transaction means running all of it again.
//!
//! Invariant: every call that was taken is answered, and *refused* only while nothing of it can
//! be in the log.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nuda_core::certify::{Answer, Outcome, Statement};
use nuda_core::control::{Execution, Reply};
use nuda_core::limits::{GROUPED_STATEMENTS, RESULTS_BYTES};
use nuda_core::site::{PartitionId, Seq, Site};
use tokio::sync::oneshot;

use super::group::{Appended, Group};
use super::statement::{Runner, changes_schema};
use super::types::GroupId;
use crate::error::{Error, Result};
use crate::node::Node;
use crate::partition::Partition;
use crate::partition::notice::file_at;

/// Calls that may wait at one partition.
const WAITING: usize = 4_096;

/// How long the connection is kept for the next call.
const IDLE: Duration = Duration::from_millis(1_000);

/// How long a transaction takes further calls: others wait for the write lock.
const GATHERING: Duration = Duration::from_millis(20);

/// SQLite's code for a transaction that began on an overtaken snapshot.
const BUSY_SNAPSHOT: i32 = 517;
/// SQLite's primary code for what a constraint refuses.
const CONSTRAINT: i32 = 19;

/// All partitions' executors.
#[derive(Default)]
pub(crate) struct Executors {
    by_partition: Mutex<HashMap<(GroupId, PartitionId), Arc<Executor>>>,
}

/// One partition's calls.
#[derive(Default)]
struct Executor {
    queue: Mutex<Queue>,
    filled: Condvar,
}

#[derive(Default)]
struct Queue {
    calls: VecDeque<Call>,
    /// A thread looks at the queue, or will.
    running: bool,
}

/// A call that waits.
struct Call {
    execution: Execution,
    until: Instant,
    tell: oneshot::Sender<Appended>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Executors {
    /// As the leader: runs a call with those that wait, and answers what became of it.
    pub(crate) async fn execute(
        &self,
        node: &Arc<Node>,
        group: &Arc<Group>,
        partition: PartitionId,
        (execution, within): (Execution, Duration),
    ) -> Appended {
        if !group.leads() {
            return Appended::NotLeader;
        }
        if !group.orders(partition) {
            let standing = group.standing(partition);
            return Appended::Reply(Reply::Decided(group.elsewhere(partition), standing));
        }
        let Some(at) = node.partitions.by_id(partition) else {
            return Appended::Refused("the leader does not hold the partition's file".to_owned());
        };
        let executor = Arc::clone(
            lock(&self.by_partition)
                .entry((group.id, partition))
                .or_default(),
        );
        let (tell, told) = oneshot::channel();
        let call = Call {
            execution,
            until: Instant::now() + within,
            tell,
        };
        let begin = {
            let mut queue = lock(&executor.queue);
            if queue.calls.len() >= WAITING {
                return Appended::Refused("too many calls wait; try again".to_owned());
            }
            queue.calls.push_back(call);
            executor.filled.notify_one();
            !std::mem::replace(&mut queue.running, true)
        };
        if begin {
            let worker = Worker {
                node: Arc::clone(node),
                group: Arc::clone(group),
                at,
                partition,
                executor,
                runner: None,
            };
            node.runtime.spawn_blocking(move || worker.work());
        }
        told.await
            .unwrap_or_else(|_| Appended::Unknown("the leader's worker failed".to_owned()))
    }
}

impl Executor {
    /// The next calls; `None` if none came for a while: then nobody looks any more.
    fn take(&self) -> Option<VecDeque<Call>> {
        let queue = lock(&self.queue);
        let empty = |queue: &mut Queue| queue.calls.is_empty();
        let (mut queue, _) = self
            .filled
            .wait_timeout_while(queue, IDLE, empty)
            .unwrap_or_else(PoisonError::into_inner);
        if queue.calls.is_empty() {
            queue.running = false;
            return None;
        }
        let count = queue.calls.len().min(GROUPED_STATEMENTS);
        Some(queue.calls.drain(..count).collect())
    }

    /// Puts calls back to the front.
    fn put_back(&self, calls: VecDeque<Call>) {
        let mut queue = lock(&self.queue);
        for call in calls.into_iter().rev() {
            queue.calls.push_front(call);
        }
    }
}

impl Call {
    fn answer(self, appended: Appended) {
        // Whoever has gone asks again by the id.
        let _ = self.tell.send(appended);
    }
}

/// What one transaction came to.
enum Turn {
    /// All that was taken is answered.
    Done,
    /// These are to be run again, at most so many together.
    Again(VecDeque<Call>, usize),
    /// Nothing of these was run.
    Refused(VecDeque<Call>, Error),
}

/// The thread that runs one partition's calls.
struct Worker {
    node: Arc<Node>,
    group: Arc<Group>,
    at: Arc<Partition>,
    partition: PartitionId,
    executor: Arc<Executor>,
    /// The connection, and the file that it is for.
    runner: Option<(Runner, Option<(u64, u64)>)>,
}

impl Worker {
    fn work(mut self) {
        while let Some(mut calls) = self.executor.take() {
            let mut most = GROUPED_STATEMENTS;
            loop {
                calls = self.open_calls(calls);
                if calls.is_empty() {
                    break;
                }
                if calls.len() > most {
                    self.executor.put_back(calls.split_off(most));
                }
                match self.turn(calls) {
                    Turn::Done => break,
                    Turn::Again(again, at_most) => (calls, most) = (again, at_most),
                    Turn::Refused(refused, why) => {
                        self.runner = None;
                        let why = why.to_string();
                        refused
                            .into_iter()
                            .for_each(|call| call.answer(Appended::Refused(why.clone())));
                        break;
                    }
                }
            }
        }
    }

    /// The group that orders the partition now: it may have moved since the calls were taken.
    fn group(&self) -> Arc<Group> {
        let now = self.node.consensus.of_partition(self.partition);
        now.unwrap_or_else(|| Arc::clone(&self.group))
    }

    /// Answers those that have an outcome, or no time left; the others are to be run.
    fn open_calls(&self, calls: VecDeque<Call>) -> VecDeque<Call> {
        let mut open: VecDeque<Call> = VecDeque::new();
        for call in calls {
            let id = call.execution.id;
            if let Some(known) = self.group().outcome(id) {
                call.answer(Appended::Reply(self.known(&known, id)));
            } else if Instant::now() >= call.until {
                let why = "its turn did not come in time; raise nuda_timeout or try again";
                call.answer(Appended::Refused(why.to_owned()));
            } else if open.iter().any(|other| other.execution.id == id) {
                call.answer(Appended::Unknown("the same call waits already".to_owned()));
            } else {
                open.push_back(call);
            }
        }
        open
    }

    /// What the log says about a call.
    fn known(&self, answer: &Answer, id: nuda_core::certify::TxnId) -> Reply {
        let standing = self.group().standing(self.partition);
        match answer {
            Answer::Decided(Outcome::Accepted(position)) => Reply::Executed {
                position: *position,
                is_here: false,
                result: self.group().result(id),
                standing,
            },
            other => Reply::Decided(*other, standing),
        }
    }

    /// One transaction.
    fn turn(&mut self, calls: VecDeque<Call>) -> Turn {
        if let Err(e) = self.prepare(&calls) {
            return Turn::Refused(calls, e);
        }
        let Some((mut runner, file)) = self.runner.take() else {
            return Turn::Refused(calls, Error::internal("no connection"));
        };
        let turn = self.run(&mut runner, calls);
        if !runner.connection().is_autocommit() {
            // Whatever was left open is nobody's.
            let _ = runner.connection().execute_batch("ROLLBACK");
        }
        self.runner = Some((runner, file));
        turn
    }

    /// Waits for the calls' turn, brings the file to where the log is, and opens it.
    fn prepare(&mut self, calls: &VecDeque<Call>) -> Result<()> {
        let until = calls.iter().map(|call| call.until).max();
        let until = until.unwrap_or_else(Instant::now);
        let group = self.group();
        let turn = group.turn_of_calls(self.partition, until);
        self.node.runtime.block_on(turn);
        let wanted = self.group().standing(self.partition).accepted();
        let left = until.saturating_duration_since(Instant::now());
        let delivery = Arc::clone(&self.node.consensus.delivery);
        let reached = self.node.runtime.block_on(async {
            let waiting = delivery.wait(&self.node, self.partition, &wanted);
            tokio::time::timeout(left, waiting).await
        });
        reached.map_err(|_| {
            Error::retry(format!(
                "the leader's file could not be brought to {wanted} in time"
            ))
        })??;
        let file = file_at(&self.at.path);
        if self.runner.as_ref().is_none_or(|(_, of)| *of != file) {
            self.runner = Some((Runner::open(&self.at.path)?, file));
        }
        Ok(())
    }

    fn run(&self, runner: &mut Runner, calls: VecDeque<Call>) -> Turn {
        let begun = runner
            .connection()
            .execute_batch("BEGIN IMMEDIATE")
            .map_err(Error::from)
            .and_then(|()| runner.look_at_schema())
            // From here on it is strong, whatever tables are written.
            .and_then(|()| ran_for(runner, &[]).map_err(Error::from))
            .and_then(|()| runner.replica().vector());
        let before = match begun {
            Ok(vector) => vector.get(Site::LOG_STRONG),
            Err(e) => return Turn::Refused(calls, e),
        };
        if before < self.group().standing(self.partition).position {
            return Turn::Again(calls, GROUPED_STATEMENTS);
        }
        match self.run_calls(runner, calls) {
            Ok(ran) if ran.is_empty() => Turn::Done,
            Ok(ran) => self.commit(runner, before, ran),
            Err(again) => Turn::Again(again, GROUPED_STATEMENTS),
        }
    }

    /// Runs calls one after the other. An error means that SQLite has rolled all of it back:
    /// the others begin anew.
    fn run_calls(
        &self,
        runner: &Runner,
        mut calls: VecDeque<Call>,
    ) -> std::result::Result<Vec<(Call, String)>, VecDeque<Call>> {
        let conn = runner.connection();
        let (began, mut bytes) = (Instant::now(), 0);
        let mut ran: Vec<(Call, String)> = Vec::new();
        while let Some(call) = calls.pop_front() {
            let alone = changes_schema(&call.execution.sql);
            let full = began.elapsed() > GATHERING || bytes > RESULTS_BYTES / 2;
            if !ran.is_empty() && (alone || full) {
                calls.push_front(call);
                self.executor.put_back(calls);
                break;
            }
            let result = match conn.execute_batch("SAVEPOINT nuda_call") {
                Ok(()) => runner.run(&call.execution, call.until),
                Err(e) => Err(e.into()),
            };
            match result {
                Ok(result) if conn.execute_batch("RELEASE nuda_call").is_ok() => {
                    bytes += result.len();
                    ran.push((call, result));
                    if alone {
                        self.executor.put_back(calls);
                        break;
                    }
                }
                Ok(_) => {
                    call.answer(Appended::Refused(
                        "the leader's file cannot be written".into(),
                    ));
                    return Err(again(ran, calls));
                }
                Err(failure) => {
                    call.answer(Appended::Reply(failure.into()));
                    let undo = "ROLLBACK TO nuda_call; RELEASE nuda_call";
                    if conn.is_autocommit() || conn.execute_batch(undo).is_err() {
                        return Err(again(ran, calls));
                    }
                }
            }
        }
        Ok(ran)
    }

    fn commit(&self, runner: &Runner, before: Seq, ran: Vec<(Call, String)>) -> Turn {
        let conn = runner.connection();
        let statements: Vec<Statement> = ran
            .iter()
            .map(|(call, result)| Statement {
                id: call.execution.id,
                result: result.clone().into_bytes(),
            })
            .collect();
        let committed = ran_for(runner, &statements).and_then(|()| conn.execute_batch("COMMIT"));
        match committed {
            Ok(()) => self.committed(runner, before, ran),
            Err(e) => self.not_committed(&e, ran),
        }
    }

    fn committed(&self, runner: &Runner, before: Seq, ran: Vec<(Call, String)>) -> Turn {
        let position = match runner.replica().vector() {
            Ok(vector) => vector.get(Site::LOG_STRONG),
            Err(e) => return self.unknown(ran, &e.to_string()),
        };
        if position == before {
            // Nothing was changed: what was read is the latest if this node still leads.
            let group = self.group();
            let confirmed = group.position(self.partition, IDLE);
            if !matches!(
                self.node.runtime.block_on(confirmed),
                Appended::Reply(Reply::Ready(_))
            ) {
                let calls = ran.into_iter().map(|(call, _)| call).collect();
                return Turn::Refused(calls, Error::retry("the leader is not confirmed"));
            }
        }
        let has = [(Site::LOG_STRONG, position)].into_iter().collect();
        self.node.consensus.delivery.reach(self.partition, &has);
        let standing = self.group().standing(self.partition);
        for (call, result) in ran {
            call.answer(Appended::Reply(Reply::Executed {
                position,
                is_here: false,
                result: Some(result),
                standing: standing.clone(),
            }));
        }
        Turn::Done
    }

    fn not_committed(&self, error: &rusqlite::Error, ran: Vec<(Call, String)>) -> Turn {
        let text = error.to_string();
        let code = error.sqlite_error().map_or(1, |e| e.extended_code);
        let together = ran.len();
        let accepted =
            |(call, _): &(Call, String)| self.group().outcome(call.execution.id).is_some();
        if code == BUSY_SNAPSHOT || ran.iter().any(accepted) {
            // Another one was first, or the log has it and only the file does not yet.
            return Turn::Again(again(ran, VecDeque::new()), GROUPED_STATEMENTS);
        }
        if text.contains("is unknown") {
            return self.unknown(ran, &text);
        }
        if together > 1 {
            // It may be the fault of one.
            return Turn::Again(again(ran, VecDeque::new()), 1);
        }
        for (call, _) in ran {
            call.answer(if code & 0xff == CONSTRAINT {
                let why = text.clone();
                Appended::Reply(Reply::Failed { code, why })
            } else {
                Appended::Refused(text.clone())
            });
        }
        Turn::Done
    }

    fn unknown(&self, ran: Vec<(Call, String)>, why: &str) -> Turn {
        for (call, _) in ran {
            call.answer(Appended::Unknown(why.to_owned()));
        }
        Turn::Done
    }
}

/// Tells the extension for whom the open transaction is run.
fn ran_for(runner: &Runner, statements: &[Statement]) -> rusqlite::Result<()> {
    let mut encoded = Vec::new();
    Statement::encode_all(statements, &mut encoded);
    let conn = runner.connection();
    let mut query = conn.prepare_cached("SELECT nuda_ran_for(?)")?;
    query.query_row([encoded], |_| Ok(()))
}

/// Those that were run, and those that were not.
fn again(ran: Vec<(Call, String)>, rest: VecDeque<Call>) -> VecDeque<Call> {
    let ran = ran.into_iter().map(|(call, _)| call);
    ran.chain(rest).collect()
}
