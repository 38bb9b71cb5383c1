//! Renewing this broker's lease, by progress only.
//!
//! A broker that receives and does not process must not count as alive. So before each renewal a *canary* passes everything that an event
//! passes here: the committer writes and syncs a row, each group's core answers and its state machine has not stood still while there was
//! something to apply, and a partition's task and the reading threads answer as they would a feed. Nothing of it needs another broker: a
//! group without a quorum never counts against the brokers that have it.

use std::collections::BTreeMap;
use std::mem::discriminant;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyport_protocol::filter::Filter;
use anyport_protocol::message::feed::FeedId;
use anyport_protocol::{BrokerId, Code, Fault, Incarnation, Offset};
use anyport_storage::metadata::Timing;
use anyport_storage::{GroupId, LogId, Store, StoreError};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::controller::{Controller, Renewal, Roll};
use super::gauges::Gauges;
use super::leaders::Leaders;
use super::metadata_link::MetadataLink;
use super::replicas::{Running, RunningReplicas};
use super::timing::lease_length;
use crate::feed::ReadGrants;
use crate::partition::{FollowRequest, LiveWindow};
use crate::peer::{Call, Link, PeerError, Peers, body};

/// The row that the committer writes for nobody.
const CANARY_ROW: &str = "canary";

/// How this broker is, as it sees itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    Well,
    /// It has made no progress for the time of a lease: it lets the lease end, leads nothing, sends its clients to others, and is not
    /// ready. Until it makes progress again.
    Stuck {
        at: String,
    },
    /// The cluster has given it up.
    Removed,
}

impl Health {
    pub fn is_stuck(&self) -> bool {
        matches!(self, Self::Stuck { .. })
    }
}

#[derive(Debug, thiserror::Error)]
enum CanaryError {
    #[error("the committer: {0}")]
    Committer(#[from] StoreError),
    #[error("the committer has not answered for {} s", since.as_secs())]
    CommitterSilent { since: Duration },
    #[error("{group}: {why}")]
    Group { group: GroupId, why: &'static str },
}

#[derive(Debug)]
pub(super) struct PulseParts {
    pub(super) me: BrokerId,
    pub(super) start: u64,
    pub(super) timing: Timing,
    pub(super) store: Store,
    pub(super) grants: ReadGrants,
    pub(super) metadata: MetadataLink,
    pub(super) controller: Controller,
    pub(super) running: watch::Receiver<Arc<RunningReplicas>>,
    pub(super) leaders: Leaders,
    pub(super) peers: Peers,
    pub(super) roll: watch::Sender<Option<(Instant, Roll)>>,
    pub(super) health: watch::Sender<Health>,
    /// Told when the lease could not be renewed for long.
    pub(super) unheard: Arc<Notify>,
}

pub(super) struct Pulse {
    parts: PulseParts,
    /// A write that has not been answered yet. There is never a second one: a disk that hangs must not take a thread each second.
    writing: Option<(Instant, JoinHandle<Result<(), StoreError>>)>,
    /// What each group had applied, and had to apply, when it was last asked.
    seen: BTreeMap<GroupId, (Option<u64>, Option<u64>)>,
    well_at: Instant,
    renewed_at: Instant,
}

impl Pulse {
    pub(super) fn new(parts: PulseParts) -> Self {
        Self { parts, writing: None, seen: BTreeMap::new(), well_at: Instant::now(), renewed_at: Instant::now() }
    }

    pub(super) async fn run(mut self, stop: CancellationToken) {
        let length = lease_length(self.parts.timing);
        let mut ticks = tokio::time::interval(length / 3);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            match tokio::time::timeout(length / 3, self.canary()).await {
                Ok(Ok(())) => {
                    self.well_at = Instant::now();
                    self.become_as(Health::Well);
                    self.renew(length).await;
                }
                Ok(Err(error)) => self.stuck(error.to_string(), length),
                Err(_) => self.stuck("a task does not answer".to_owned(), length),
            }
            self.show(length);
        }
    }

    fn show(&self, length: Duration) {
        let running = Arc::clone(&self.parts.running.borrow());
        let groups = running.values().map(|running| &running.group).chain([self.parts.metadata.group()]);
        let gauges = Gauges::of(groups, &self.parts.peers.reached().borrow());
        let is_well = *self.parts.health.borrow() == Health::Well;
        gauges.show(is_well && self.renewed_at.elapsed() < length);
    }

    fn stuck(&self, at: String, length: Duration) {
        tracing::warn!(at, "no progress: the lease is not renewed");
        if self.well_at.elapsed() >= length {
            self.become_as(Health::Stuck { at });
        }
    }

    /// Being removed is final. Whoever is stuck stays so for the first reason; the log has the later ones.
    fn become_as(&self, health: Health) {
        self.parts.health.send_if_modified(|now| {
            let changes = discriminant(now) != discriminant(&health) && *now != Health::Removed;
            if changes {
                tracing::info!(?health, "health");
                *now = health;
            }
            changes
        });
    }

    async fn canary(&mut self) -> Result<(), CanaryError> {
        self.committer().await?;
        let running = Arc::clone(&self.parts.running.borrow());
        for (id, replica) in running.iter() {
            self.group(*id, replica).await?;
        }
        let partitions: Vec<_> = running.values().filter_map(Running::partition).collect();
        if !partitions.is_empty() {
            let handle = partitions[rand::random_range(0..partitions.len())];
            // A task that has ended, because its replica is just being stopped, is no sign of anything.
            let _ = handle.follow(nobodys_feed(handle.id())).await;
            self.parts.grants.run(|| ()).await;
        }
        Ok(())
    }

    async fn committer(&mut self) -> Result<(), CanaryError> {
        let (since, writing) = self.writing.get_or_insert_with(|| {
            let store = self.parts.store.clone();
            let write = move || store.put_local(CANARY_ROW, b"");
            (Instant::now(), tokio::task::spawn_blocking(write))
        });
        let patience = lease_length(self.parts.timing) / 4;
        let Ok(written) = tokio::time::timeout(patience, writing).await else {
            return Err(CanaryError::CommitterSilent { since: since.elapsed() });
        };
        self.writing = None;
        Ok(written.unwrap_or(Err(StoreError::Closed))?)
    }

    /// The core answers, and what was committed when it was last asked has been applied by now, or some of it.
    async fn group(&mut self, group: GroupId, running: &Running) -> Result<(), CanaryError> {
        // A replica that is dead is told of elsewhere, and stays so until the broker is started again: the rest of it goes on.
        let Ok((committed, applied)) = running.group.committed_and_applied().await else { return Ok(()) };
        let index = |id: Option<LogId>| id.map(|id| id.index);
        let now = (index(committed), index(applied));
        let before = self.seen.insert(group, now);
        match before {
            Some((committed, applied)) if committed > applied && now.1 == applied => {
                Err(CanaryError::Group { group, why: "it applies nothing of what is committed" })
            }
            _ => Ok(()),
        }
    }

    async fn renew(&mut self, length: Duration) {
        let PulseParts { me, start, metadata, controller, peers, .. } = &self.parts;
        let renewal = Renewal { broker: *me, start: *start, led: self.led() };
        let answered = if metadata.is_led_here() {
            controller.renew(renewal)
        } else if let Some(leader) = metadata.leader() {
            let asked = peers.call(leader, Link::Bulk, Call::Renew, body::encode(&renewal));
            match tokio::time::timeout(length / 3, asked).await {
                Ok(Ok(roll)) => body::decode(&roll).map(|(roll, _)| roll),
                Ok(Err(PeerError::Refused { fault, .. })) => Err(fault),
                Ok(Err(error)) => Err(Fault::new(Code::NotReady, error.to_string())),
                Err(_) => Err(Fault::new(Code::NotReady, "no answer in time")),
            }
        } else {
            Err(Fault::new(Code::NotReady, "nobody is known here to lead the metadata"))
        };
        match answered {
            Ok(roll) => {
                self.renewed_at = Instant::now();
                self.take(roll);
            }
            Err(fault) if fault.code() == Some(Code::UnknownBroker) => self.become_as(Health::Removed),
            Err(fault) => tracing::debug!(%fault, "renew the lease"),
        }
        if self.renewed_at.elapsed() > 2 * length {
            self.parts.unheard.notify_one();
        }
    }

    fn led(&self) -> Vec<(GroupId, Option<Offset>)> {
        let running = self.parts.running.borrow();
        let led = running.iter().filter(|(_, running)| running.group.leadership().is_leader());
        let tail = |running: &Running| running.partition().map(|partition| partition.bounds().tail);
        let mut led: Vec<_> = led.map(|(group, running)| (*group, tail(running))).collect();
        if self.parts.metadata.is_led_here() {
            led.push((GroupId::Metadata, None));
        }
        led
    }

    fn take(&self, roll: Roll) {
        for (group, leader) in &roll.leaders {
            self.parts.leaders.note(*group, *leader);
        }
        self.parts.roll.send_replace(Some((Instant::now(), roll)));
    }
}

/// Asks to follow from beyond every tail, which is answered by the partition's task and followed by nobody.
fn nobodys_feed(partition: anyport_protocol::PartitionId) -> FollowRequest {
    FollowRequest {
        feed: FeedId { incarnation: Incarnation(0), partition },
        position: Offset(u64::MAX),
        filter: Filter::always(),
        window: Arc::new(LiveWindow::new(0)),
        sink: mpsc::unbounded_channel().0,
    }
}
