//! The running node: what every task shares, and how they reach each other.
//!
//! Owns the partitions, the address list, the queues to peers, the timers and the counters.
//! Decides nothing about replication; it carries facts to the partitions concerned. The
//! node's lifetime is the process's: tasks hold it by `Arc` and end when `stop` says so.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nuda_core::protocol::message::Refusal;
use nuda_core::protocol::{Event, Message, NodeId};
use nuda_core::site::PartitionId;
use nuda_core::version_vector::VersionVector;
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, watch};

use crate::clock;
use crate::config::Config;
use crate::consensus::Consensus;
use crate::dir::{DataDir, Identity};
use crate::error::{Error, Kind, Result};
use crate::metrics::Metrics;
use crate::partition::{Job, Partition};
use crate::peers::Peers;
use crate::registry::Registry;
use crate::task;
use crate::task::timer::Timers;
use crate::transport::outbox::Outboxes;
use crate::transport::wire::{NodeEntry, Receipt, Refused, RefusedKind};
use crate::transport::{Route, Transport};

/// One running node.
pub(crate) struct Node {
    pub(crate) dir: DataDir,
    pub(crate) identity: Identity,
    /// Its name, as the protocol writes it.
    pub(crate) id: NodeId,
    pub(crate) config: Config,
    pub(crate) peers: Peers,
    pub(crate) partitions: Registry,
    pub(crate) outboxes: Outboxes,
    pub(crate) timers: Timers,
    pub(crate) snapshots: task::snapshot::Snapshots,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) consensus: Consensus,
    pub(crate) runtime: Handle,
    /// Kept streams that peers may still open.
    pub(crate) streams: Arc<Semaphore>,
    /// The address list has changed.
    pub(crate) news: Notify,
    /// The directory has been looked over: what is not in `partitions` now is not held.
    pub(crate) scanned: AtomicBool,
    transport: Box<dyn Transport>,
    stop: watch::Sender<bool>,
    /// Wakes those who wait for a silent peer.
    back: Mutex<HashMap<String, Arc<Notify>>>,
    /// Joins, re-seeds and invitations under way, so that each runs once.
    busy: Mutex<HashSet<String>>,
}

impl Node {
    /// A node with nothing running yet.
    pub(crate) fn new(
        dir: DataDir,
        identity: Identity,
        config: Config,
        (address, boot_ms): (String, u64),
        transport: Box<dyn Transport>,
        metrics: Arc<Metrics>,
        consensus: Consensus,
    ) -> Self {
        let me = NodeEntry {
            name: identity.name.clone(),
            id: identity.id.clone(),
            address,
            boot_ms,
        };
        Self {
            id: NodeId::of_name(&identity.name),
            peers: Peers::load(me, dir.nodes_file()),
            partitions: Registry::default(),
            outboxes: Outboxes::default(),
            timers: Timers::default(),
            snapshots: task::snapshot::Snapshots::default(),
            metrics,
            consensus,
            runtime: Handle::current(),
            streams: Arc::new(Semaphore::new(crate::limits::STREAMS)),
            news: Notify::new(),
            scanned: AtomicBool::new(false),
            transport,
            stop: watch::Sender::new(false),
            back: Mutex::default(),
            busy: Mutex::default(),
            dir,
            identity,
            config,
        }
    }

    /// This node's entry in the address list.
    pub(crate) fn me(&self) -> &NodeEntry {
        self.peers.me()
    }

    /// A node's name for people; its id in hexadecimal if nobody has told the name.
    pub(crate) fn name_of(&self, id: NodeId) -> String {
        self.peers.name_of(id).unwrap_or_else(|| id.to_string())
    }

    /// Runs a task until it ends or the node stops.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut stop = self.stop.subscribe();
        self.runtime.spawn(async move {
            tokio::select! {
                () = work => {}
                _ = stop.wait_for(|stopped| *stopped) => {}
            }
        });
    }

    /// Tells every task to end.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Ends when the node stops.
    pub(crate) async fn stopped(&self) {
        let _ = self.stop.subscribe().wait_for(|stopped| *stopped).await;
    }

    /// Calls a peer by name.
    pub(crate) async fn call(&self, name: &str, route: Route, body: Vec<u8>) -> Result<Vec<u8>> {
        let withheld = route != Route::Consensus && self.peers.is_withheld_from(name);
        if withheld || self.peers.is_cut_to(name) {
            return Err(Error::unsent(format!(
                "cannot reach {name}; traffic is cut by `nuda fault`"
            )));
        }
        let address = self.peers.address(name).ok_or_else(|| {
            Error::unsent(format!("cannot reach {name}; its address is not known yet"))
        })?;
        self.transport.call(address, route, body).await
    }

    /// Calls whoever is at an address.
    pub(crate) async fn call_address(
        &self,
        address: &str,
        route: Route,
        body: Vec<u8>,
    ) -> Result<Vec<u8>> {
        if self.peers.is_address_cut(address) {
            return Err(Error::retry(format!(
                "cannot reach {address}; traffic is cut by `nuda fault`"
            )));
        }
        self.transport.call(address.to_owned(), route, body).await
    }

    /// Asks a peer a question.
    pub(crate) async fn ask<T: serde::de::DeserializeOwned>(
        &self,
        name: &str,
        ask: &crate::transport::wire::Ask,
    ) -> Result<T> {
        let answer = self
            .call(name, Route::Ask, serde_json::to_vec(ask)?)
            .await?;
        Ok(serde_json::from_slice(&answer)?)
    }

    /// A peer answered or called.
    pub(crate) fn heard(self: &Arc<Self>, name: &str) {
        if self.peers.heard(name, clock::now_ms()) {
            tracing::info!(peer = name, "reachable");
            self.notify_for(name).notify_waiters();
            let peer = NodeId::of_name(name);
            for partition in self.partitions.all() {
                partition.post(self, Job::from(Event::Reachable(peer)));
            }
        }
    }

    /// What a peer's wall clock shows now.
    pub(crate) fn clock_of(self: &Arc<Self>, name: &str, wall_ms: u64) {
        if self.peers.set_clock(name, wall_ms) {
            // What was written before waits for the first clock.
            for partition in self.partitions.all() {
                partition.post(self, Job::Wake);
            }
        }
    }

    /// A call to a peer failed.
    pub(crate) fn failed(&self, name: &str, error: &Error) {
        let incompatible = error.kind == Kind::Incompatible;
        self.peers.failed(name, &error.to_string(), incompatible);
        if incompatible {
            tracing::error!(peer = name, %error, "incompatible");
        } else {
            tracing::debug!(peer = name, %error, "call failed");
        }
    }

    /// Sleeps, but no longer than until the peer is heard of.
    pub(crate) async fn wait_for_peer(&self, name: &str, pause: Duration) {
        let back = self.notify_for(name);
        let _ = tokio::time::timeout(pause, back.notified()).await;
    }

    fn notify_for(&self, name: &str) -> Arc<Notify> {
        let mut back = self.back.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(back.entry(name.to_owned()).or_default())
    }

    /// Messages about a partition could not be delivered.
    pub(crate) fn undelivered(
        self: &Arc<Self>,
        id: PartitionId,
        name: &str,
        reason: &str,
        incompatible: bool,
    ) {
        if let Some(partition) = self.partitions.by_id(id) {
            let peer = NodeId::of_name(name);
            let reason = reason.to_owned();
            partition.post(
                self,
                Job::from(if incompatible {
                    Event::Incompatible { peer, reason }
                } else {
                    Event::Unreachable { peer, reason }
                }),
            );
        }
    }

    /// A peer did not take some messages.
    pub(crate) fn refused_by(self: &Arc<Self>, name: &str, receipt: Receipt) {
        for Refused {
            partition,
            reason,
            kind,
        } in receipt.refused
        {
            let Some(partition) =
                PartitionId::parse(&partition).and_then(|id| self.partitions.by_id(id))
            else {
                continue;
            };
            let peer = NodeId::of_name(name);
            tracing::debug!(partition = %partition.name, peer = name, reason, "not taken");
            let event = match kind {
                RefusedKind::Unknown => {
                    self.rejoin(&partition, peer);
                    Event::Received {
                        from: peer,
                        message: Message::Refused(Refusal::UnknownPartition),
                    }
                }
                RefusedKind::Later => Event::Unreachable { peer, reason },
                RefusedKind::Incompatible => Event::Incompatible { peer, reason },
            };
            partition.post(self, Job::from(event));
        }
    }

    /// A member says that it does not hold the partition: it is new, or lost its disk.
    fn rejoin(self: &Arc<Self>, partition: &Arc<Partition>, peer: NodeId) {
        let Some(host) = partition.try_host() else {
            // At work; the next message or summary tells again.
            return;
        };
        let Some(live) = &host.live else { return };
        if live.kept.members.get(peer).is_none() {
            return;
        }
        let status = live.machine.status();
        let held = status
            .peers
            .iter()
            .any(|p| p.node == peer && p.reported > 0);
        // It has never held it, as far as is known here: it is joining, others maybe with it.
        if !held {
            if live.machine.may_seed(peer) {
                self.invite(partition, peer);
            }
        } else {
            let list = live.kept.members.joining(peer);
            tracing::warn!(partition = %partition.name, member = self.name_of(peer), "the member lost its replica and joins anew");
            drop(host);
            partition.post(self, Job::from(Event::Members(list)));
        }
    }

    /// Begins to invite a member that lacks the partition, unless that is under way.
    pub(crate) fn invite(self: &Arc<Self>, partition: &Partition, joiner: NodeId) {
        if let (Some(name), Some(id)) = (self.peers.name_of(joiner), partition.id()) {
            let partition = partition.name.clone();
            self.once(
                format!("invite {name} {partition}"),
                task::invite::run(Arc::clone(self), partition, id, name),
            );
        }
    }

    /// Begins to re-seed a partition from a donor, unless that is under way.
    pub(crate) fn reseed(self: &Arc<Self>, partition: &Partition, donor: NodeId, reason: String) {
        if let Some(id) = partition.id() {
            let donor = self
                .peers
                .name_of(donor)
                .filter(|name| *name != self.me().name);
            let partition = partition.name.clone();
            self.once(
                format!("seed {partition}"),
                task::reseed::run(Arc::clone(self), partition, id, donor, reason),
            );
        }
    }

    /// Collects in a partition's file what every member has reported, when its log allows it.
    pub(crate) fn collect(self: &Arc<Self>, partition: &Partition, frontier: VersionVector) {
        if let Some(id) = partition.id() {
            self.spawn(task::collect::run(Arc::clone(self), id, frontier));
        }
    }

    /// Begins to fetch a partition that this node lacks, unless that is under way.
    pub(crate) fn join(self: &Arc<Self>, partition: String, id: PartitionId, donor: String) {
        self.once(
            format!("seed {partition}"),
            task::join::run(Arc::clone(self), partition, id, donor),
        );
    }

    /// For tests: dies here as by kill -9, if that was asked for.
    pub(crate) fn fault(&self, point: &str) {
        if self.config.fault_point.as_deref() == Some(point) {
            tracing::error!(point, "a fault was asked for");
            std::process::abort();
        }
    }

    /// Runs `work` unless work of that name is running.
    fn once(self: &Arc<Self>, key: String, work: impl Future<Output = ()> + Send + 'static) {
        let fresh = {
            let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
            busy.insert(key.clone())
        };
        if fresh {
            let node = Arc::clone(self);
            self.spawn(async move {
                work.await;
                let mut busy = node.busy.lock().unwrap_or_else(PoisonError::into_inner);
                busy.remove(&key);
            });
        }
    }

    /// Runs `work` with the partition on a blocking thread.
    pub(crate) async fn on_partition<T: Send + 'static>(
        self: &Arc<Self>,
        partition: Arc<Partition>,
        work: impl FnOnce(&Arc<Self>, &Arc<Partition>, &mut crate::partition::host::Host) -> Result<T>
        + Send
        + 'static,
    ) -> Result<T> {
        let node = Arc::clone(self);
        self.runtime
            .spawn_blocking(move || {
                let mut host = partition.host();
                let done = work(&node, &partition, &mut host);
                let deadline = host.deadline();
                drop(host);
                node.timers.set(&partition.name, deadline);
                done
            })
            .await?
    }
}
