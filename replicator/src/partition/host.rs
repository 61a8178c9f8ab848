//! Carries out what the protocol commands for one partition, on its file.
//!
//! Holds the state machine for as long as the process lives and the connection for as long
//! as there is work. A local commit that the machine has not heard of is found by comparing
//! the file's vector with the one the machine knows; anything else that moved behind its
//! back (a new site, foreign changesets applied by somebody else) begins a new machine from
//! the file. What a command does to the file is in `work`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use nuda_core::protocol::{
    Command, Config, Envelope, Event, Head, Member, Members, NodeId, Opened, Replication, Status,
};
use nuda_core::site::{PartitionId, Site};
use nuda_core::version_vector::VersionVector;

use super::{Job, Partition, notice, work};
use crate::clock;
use crate::consensus::deliver::Place;
use crate::error::{Error, Result};
use crate::node::Node;
use crate::sql::{Identity, Kept, Replica};
use crate::transport::wire::Frame;

/// A try that failed for a reason that passes is repeated after this long.
const RETRY_MS: u64 = 250;

/// What the machine was built from, and what has moved since with its knowledge.
pub(crate) struct Live {
    pub(crate) machine: Replication,
    pub(crate) partition: PartitionId,
    pub(crate) site: Site,
    pub(crate) vector: VersionVector,
    pub(crate) collected: VersionVector,
    pub(crate) kept: Kept,
    /// The extension has not been told the member list: a name is not known yet.
    pub(crate) unnamed: bool,
    /// Whether the file is in WAL mode: if not, somebody used it whenever it was to be switched.
    is_wal: bool,
    /// Changesets with two variants, for people.
    pub(crate) alarms: Vec<String>,
}

impl Live {
    /// The file writes under `site` from now on.
    pub(crate) fn own_site(&mut self, replica: &Replica, site: Site) -> Result<()> {
        self.site = site;
        self.kept.own_sites.retain(|own| *own != site);
        self.kept.own_sites.push(site);
        replica.keep_own_sites(&self.kept.own_sites)
    }
}

/// The worker's state.
#[derive(Default)]
pub(crate) struct Host {
    replica: Option<Replica>,
    pub(crate) live: Option<Live>,
    /// The file for which the machine was made: device and inode.
    file: Option<(u64, u64)>,
    used_ms: u64,
    /// The file must be looked at again although nobody will say so.
    retry_at: Option<u64>,
    /// What failed the last time it was tried, and why.
    troubles: BTreeMap<&'static str, String>,
}

impl Host {
    /// Does one job.
    pub(crate) fn work(&mut self, node: &Arc<Node>, at: &Partition, job: Job) -> Result<()> {
        let done = match job {
            Job::Wake => self.look(node, at),
            Job::Event(event) if *event == Event::Tick && self.retry_due() => self
                .look(node, at)
                .and_then(|()| self.feed(node, at, Event::Tick)),
            Job::Event(event) => match self.live(node, at) {
                Ok(_) => self.feed(node, at, *event),
                Err(e) => Err(e),
            },
        };
        self.tried(
            "reading the file",
            done.as_ref().err().map(ToString::to_string),
        );
        if done.is_err() {
            self.retry_at = Some(clock::now_ms() + RETRY_MS);
            // Whatever was wrong, a fresh connection does not inherit it.
            self.replica = None;
        }
        done
    }

    /// Notes how `what` went.
    fn tried(&mut self, what: &'static str, failure: Option<String>) {
        match failure {
            Some(why) => self.troubles.insert(what, why),
            None => self.troubles.remove(what),
        };
    }

    /// What fails now, for people.
    pub(crate) fn troubles(&self) -> Vec<String> {
        let said = self
            .troubles
            .iter()
            .map(|(what, why)| format!("{what}: {why}"));
        said.collect()
    }

    /// When the protocol must be called again.
    pub(crate) fn deadline(&self) -> Option<u64> {
        let machine = self.live.as_ref().and_then(|l| l.machine.next_deadline());
        match (machine, self.retry_at) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    fn retry_due(&self) -> bool {
        self.retry_at.is_some_and(|at| clock::now_ms() >= at)
    }

    /// The connection, opened if need be.
    pub(crate) fn replica(&mut self, at: &Partition) -> Result<&mut Replica> {
        self.used_ms = clock::now_ms();
        if self.replica.is_none() {
            let replica = Replica::open(&at.path)?;
            if !replica.is_replica()? {
                return Err(Error::refused(format!(
                    "{} is an ordinary database, not a partition; make one of it with `nuda create NAME --from FILE`",
                    at.path.display()
                )));
            }
            self.replica = Some(replica);
        }
        self.replica
            .as_mut()
            .ok_or_else(|| Error::internal("no connection"))
    }

    /// Closes a connection that nobody used for a while.
    pub(crate) fn close_if_idle(&mut self, idle_ms: u64) {
        if clock::now_ms().saturating_sub(self.used_ms) >= idle_ms {
            self.replica = None;
        }
    }

    /// Forgets everything: the file is about to be, or was, replaced.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }

    /// What the log's delivery knows of the file does not hold any more.
    fn begin_anew(&self, node: &Node) {
        if let Some(live) = &self.live {
            node.consensus.delivery.lost(live.partition);
        }
    }

    /// The machine, made from the file if need be.
    pub(crate) fn live(&mut self, node: &Arc<Node>, at: &Partition) -> Result<&mut Live> {
        if self.live.is_some() && self.file != notice::file_at(&at.path) {
            tracing::warn!(partition = %at.name, "another file is in the place of the one that was open; starting from it anew");
            self.begin_anew(node);
            self.forget();
        }
        if self.live.is_none() {
            self.file = notice::file_at(&at.path);
            let replica = self.replica(at)?;
            let live = open(node, at, replica).map_err(|e| without_wal(replica, e))?;
            if !at.set_id(live.partition) {
                return Err(Error::refused(format!(
                    "{} now holds another partition ({}) than when this process began; restart the daemon if that is meant",
                    at.path.display(),
                    live.partition
                )));
            }
            node.partitions.learn_id(live.partition, &at.name);
            self.retry_at = (!live.is_wal).then(|| clock::now_ms() + RETRY_MS);
            self.live = Some(live);
            self.feed(node, at, Event::Tick)?;
            self.notice(node, at)?;
        }
        self.live
            .as_mut()
            .ok_or_else(|| Error::internal("no machine"))
    }

    /// Looks at the file for local commits. An application that proposes has the write lock and waits until what
    /// it follows was noticed: so whatever may need the lock comes after that.
    pub(crate) fn look(&mut self, node: &Arc<Node>, at: &Partition) -> Result<()> {
        self.retry_at = None;
        self.live(node, at)?;
        self.notice(node, at)?;
        if !self.live(node, at)?.is_wal {
            let is_wal = self.replica(at)?.use_wal()?;
            self.live(node, at)?.is_wal = is_wal;
            self.retry_at = (!is_wal).then(|| clock::now_ms() + RETRY_MS);
        }
        let mut wrote = crate::task::define::look(node, at, self.replica(at)?)?;
        wrote |= self.replica(at)?.settle()?;
        if wrote {
            self.notice(node, at)?;
        }
        Ok(())
    }

    fn notice(&mut self, node: &Arc<Node>, at: &Partition) -> Result<()> {
        let now = self.replica(at)?.identity()?;
        let (Some(live), Some(replica)) = (self.live.as_mut(), self.replica.as_ref()) else {
            return Ok(());
        };
        let own = now.vector.get(now.site);
        let mut expected = live.vector.clone();
        expected.set(now.site, own);
        if now.site != live.site {
            tracing::info!(partition = %at.name, site = %now.site, "the file took a new site");
            live.own_site(replica, now.site)?;
        }
        let advanced = self.advanced(at, &expected, &now)?;
        if !advanced.is_empty() {
            self.feed(node, at, Event::Advanced(advanced))?;
            for site in in_log(now.site) {
                expected.set(site, now.vector.get(site));
            }
        }
        let (Some(live), Some(replica)) = (self.live.as_mut(), self.replica.as_ref()) else {
            return Ok(());
        };
        if expected != now.vector || own < live.vector.get(now.site) {
            tracing::info!(partition = %at.name, site = %now.site, "the file changed behind the daemon; starting from it anew");
            self.begin_anew(node);
            self.live = None;
            self.live(node, at)?;
            return Ok(());
        }
        if let Some(head) = notice::news(node, at, replica, live, &now)? {
            live.vector = now.vector;
            self.feed(node, at, Event::Committed(head))?;
            if let Some(replica) = self.replica.as_ref() {
                // Applications may have left that to others.
                crate::task::checkpoint::if_large(node, at, replica);
            }
        }
        Ok(())
    }

    /// The own site's new head, if it is the site that the protocol knows.
    fn committed(&mut self, node: &Arc<Node>, at: &Partition) -> Result<Option<Head>> {
        let now = self.replica(at)?.identity()?;
        let (Some(live), Some(replica)) = (self.live.as_mut(), self.replica.as_ref()) else {
            return Ok(None);
        };
        if now.site != live.site {
            live.own_site(replica, now.site)?;
        }
        let head = notice::news(node, at, replica, live, &now)?;
        if let Some(head) = head {
            live.vector.set(head.site, head.seq);
        }
        Ok(head)
    }

    /// What this node's applications have committed in the log and the protocol does not know.
    fn advanced_since(&mut self, at: &Partition) -> Result<Option<Vec<Head>>> {
        let now = self.replica(at)?.identity()?;
        let Some(live) = self.live.as_ref() else {
            return Ok(None);
        };
        let known = live.vector.clone();
        let heads = self.advanced(at, &known, &now)?;
        Ok(Some(heads).filter(|heads| !heads.is_empty()))
    }

    /// The transactions in the log that this node's applications have committed by themselves.
    fn advanced(
        &mut self,
        at: &Partition,
        expected: &VersionVector,
        now: &Identity,
    ) -> Result<Vec<Head>> {
        let mut heads = Vec::new();
        for site in in_log(now.site) {
            let seq = now.vector.get(site);
            if seq <= expected.get(site) {
                continue;
            }
            let hash = self.replica(at)?.link(site, seq)?.unwrap_or_default();
            if let Some(live) = self.live.as_mut() {
                live.vector.set(site, seq);
            }
            heads.push(Head { site, seq, hash });
        }
        Ok(heads)
    }

    /// Applies accepted transactions of the replicated log; answers what the file has.
    pub(crate) fn deliver(
        &mut self,
        node: &Arc<Node>,
        at: &Partition,
        places: &[Place],
    ) -> Result<VersionVector> {
        self.live(node, at)?;
        let replica = self.replica(at)?;
        let before = replica.vector()?;
        if places.iter().any(|place| !before.contains(place.dot)) {
            work::deliver(at, replica, &before, places)?;
        }
        let (site, now) = replica.standing()?;
        let Some(live) = self.live.as_mut() else {
            return Ok(now);
        };
        let mut known = live.vector.clone();
        let own = live.site;
        known.set(own, now.get(own));
        if own != site {
            // The file has taken a new site; that is found by looking.
            self.look(node, at)?;
            return Ok(now);
        }
        let heads = self.replica(at)?.heads(&known, &now)?;
        if !heads.is_empty() {
            if let Some(live) = self.live.as_mut() {
                for head in &heads {
                    live.vector.raise(head.site, head.seq);
                }
            }
            self.feed(node, at, Event::Advanced(heads))?;
        }
        crate::task::define::look(node, at, self.replica(at)?)?;
        Ok(now)
    }

    /// Gives the machine a fact and carries out what it answers, and so on.
    pub(crate) fn feed(&mut self, node: &Arc<Node>, at: &Partition, event: Event) -> Result<()> {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let Some(live) = self.live.as_mut() else {
                return Ok(());
            };
            let commands = live.machine.handle(clock::now_ms(), event);
            at.set_noticed(&live.vector);
            for command in commands {
                if matches!(command, Command::Secure { .. }) {
                    // A report says that whatever this node issues after it has seen all of
                    // it: so what was committed before must be known first.
                    events.extend(self.committed(node, at)?.map(Event::Committed));
                    events.extend(self.advanced_since(at)?.map(Event::Advanced));
                }
                if let Some(event) = self.carry_out(node, at, command)? {
                    events.push_back(event);
                }
            }
        }
        Ok(())
    }

    fn carry_out(
        &mut self,
        node: &Arc<Node>,
        at: &Partition,
        command: Command,
    ) -> Result<Option<Event>> {
        match command {
            Command::Send { to, message } => Ok(self.send(node, to, message)),
            Command::Seed(joiner) => {
                node.invite(at, joiner);
                Ok(None)
            }
            Command::Reseed { donor, reason } => {
                node.reseed(at, donor, reason);
                Ok(None)
            }
            Command::Collect(frontier) => {
                node.collect(at, frontier);
                Ok(None)
            }
            Command::StopSite { dot, peer } => {
                let peer = node.name_of(peer);
                tracing::error!(partition = %at.name, %dot, peer, "two variants of one change exist; nothing more of that site is shipped or taken");
                if let Some(live) = self.live.as_mut() {
                    live.alarms.push(format!(
                        "two variants of {dot} exist (the other one at {peer}); the site that wrote it is stopped"
                    ));
                }
                Ok(None)
            }
            command => self.on_file(node, at, command),
        }
    }

    fn on_file(
        &mut self,
        node: &Arc<Node>,
        at: &Partition,
        command: Command,
    ) -> Result<Option<Event>> {
        self.replica(at)?;
        let (Some(replica), Some(live)) = (self.replica.as_mut(), self.live.as_mut()) else {
            return Ok(None);
        };
        let failed = work::failure_of(&command);
        let what = work::name_of(&command);
        let done = work::on_file(node, at, replica, live, command);
        self.tried(what, work::trouble_of(&done));
        match done {
            Ok(event) => Ok(Some(event)),
            Err(e) => {
                tracing::warn!(partition = %at.name, error = %e, "will be tried again");
                Ok(failed.map(Event::Failed))
            }
        }
    }

    /// Collects what the partition's log allows, and tells the protocol.
    pub(crate) fn collect(
        &mut self,
        node: &Arc<Node>,
        at: &Partition,
        frontier: VersionVector,
    ) -> Result<()> {
        // Another file may be in the place of the one that reported it.
        if !self.live(node, at)?.vector.covers(&frontier) {
            return Ok(());
        }
        self.replica(at)?;
        let (Some(replica), Some(live)) = (self.replica.as_mut(), self.live.as_mut()) else {
            return Ok(());
        };
        let command = Command::Collect(frontier);
        let what = work::name_of(&command);
        let done = work::on_file(node, at, replica, live, command);
        self.tried(what, work::trouble_of(&done));
        self.feed(node, at, done?)
    }

    fn send(
        &self,
        node: &Arc<Node>,
        to: NodeId,
        message: nuda_core::protocol::Message,
    ) -> Option<Event> {
        let live = self.live.as_ref()?;
        let Some(name) = node.peers.name_of(to) else {
            return Some(Event::Unreachable {
                peer: to,
                reason: "its address is not known yet".to_owned(),
            });
        };
        if let nuda_core::protocol::Message::Push { parts, .. } = &message {
            node.metrics.parts_shipped.add(parts.len() as u64);
        }
        let envelope = Envelope {
            partition: live.partition,
            from: node.id,
            to,
            message,
        };
        let frame = Frame::Envelope(envelope.encode());
        node.outboxes.send(node, &name, Some(live.partition), frame);
        None
    }

    /// For people and peers, without touching the file.
    pub(crate) fn status(&self) -> Option<Status> {
        self.live.as_ref().map(|live| live.machine.status())
    }
}

fn open(node: &Arc<Node>, at: &Partition, replica: &mut Replica) -> Result<Live> {
    let mut identity = replica.identity()?;
    if identity.name != at.name {
        return Err(Error::refused(format!(
            "{} holds the partition {}; name the file {}.db",
            at.path.display(),
            identity.name,
            identity.name
        )));
    }
    if identity.node != node.me().name {
        // A file from elsewhere: it must not go on under the site of where it came from.
        replica.join(&node.me().name)?;
        identity = replica.identity()?;
    }
    let is_wal = replica.use_wal()?;
    if !is_wal {
        tracing::warn!(partition = %at.name, "this file is not in WAL mode, and somebody uses it: it is tried again, see `nuda status`");
    }
    crate::task::reseed::finish(node, at, replica)?;
    if replica.heed_note()? {
        tracing::warn!(partition = %at.name, "this file was put back from a backup; it writes under a new site");
        node.metrics.new_sites.add(1);
        identity = replica.identity()?;
    }
    let mut kept = replica.kept()?;
    if kept.members.version == 0 {
        kept.members = first_members(&node.me().name, &identity.members, identity.members_version);
    }
    if !kept.own_sites.contains(&identity.site) {
        kept.own_sites.push(identity.site);
        replica.keep_own_sites(&kept.own_sites)?;
    }
    let mut life = replica.life(&node.me().name)?;
    if life.is_none() {
        life = kept.members.get(node.id).map(|m| m.joined);
        life.map_or(Ok(()), |joined| replica.keep_life(&node.me().name, joined))?;
    }
    // What was not taken notice of yet is judged before the protocol hears of it.
    let mut vector = identity.vector.clone();
    vector.set(identity.site, notice::noted(node, at, &identity)?);
    let heads = replica.heads(&VersionVector::new(), &vector)?;
    let mut durable = replica.fsync(&at.path)?;
    durable.meet(&vector);
    let opened = Opened {
        site: identity.site,
        own_sites: kept.own_sites.clone(),
        heads,
        waiting: replica.waiting_vector()?,
        durable,
        floor: kept.floor.clone(),
        collected: identity.collected.clone(),
        members: kept.members.clone(),
        life,
        entropy: crate::random::bits(),
    };
    let config = Config {
        backoff_ms: (100, 5_000),
        relay_after_ms: 500,
        secure_after_ms: 500,
        collect_after_ms: node.config.collect_after_ms,
        exclude_after_ms: node.config.exclude_after_ms,
        ..Config::default()
    };
    Ok(Live {
        machine: Replication::new(node.id, config, opened),
        partition: identity.partition,
        site: identity.site,
        vector,
        collected: identity.collected,
        kept,
        unnamed: false,
        is_wal,
        alarms: Vec::new(),
    })
}

/// The same error, with the reason that only a file in another journal mode than WAL has.
fn without_wal(replica: &Replica, error: Error) -> Error {
    match replica.journal_mode() {
        Ok(mode) if mode != "wal" && error.is_retry() => error.during(format!(
            "the file is in journal_mode {mode}, in which nobody writes while others read; it is switched to wal as \
             soon as no one uses it"
        )),
        _ => error,
    }
}

/// The member list of a file that only the extension has written so far.
fn first_members(me: &str, names: &str, version: u64) -> Members {
    let version = version.max(1);
    let mut names: Vec<&str> = names.split(',').filter(|n| !n.is_empty()).collect();
    if names.is_empty() {
        names.push(me);
    }
    Members::new(
        version,
        names.into_iter().map(|name| Member {
            node: NodeId::of_name(name),
            joined: version,
            excluded: false,
        }),
    )
}

/// The names under which the log numbers what this file's applications commit.
fn in_log(site: Site) -> impl Iterator<Item = Site> {
    [Some(Site::LOG_STRONG), site.lane()].into_iter().flatten()
}
