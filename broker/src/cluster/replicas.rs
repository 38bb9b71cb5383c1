//! The replicas this broker has: started and stopped as the metadata's assignments say.
//!
//! One task owns them and looks whenever the metadata changes. Which replica the data of a group in the store belong to is a row
//! of the broker's own ([`super::noted`]): data of another replica, of an earlier generation or of one that has moved away, are
//! wiped first, and only because an assignment says so that the cluster has confirmed since this start.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyport_protocol::{BrokerId, PartitionId, ReplicaId};
use anyport_storage::metadata::{Assignment, ClusterState, Command, Timing};
use anyport_storage::{GroupId, Store, StoreError};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::group::{Group, GroupError, GroupParts};
use super::inbox::RaftInbox;
use super::leaders::Leaders;
use super::leadership::Leadership;
use super::metadata_link::MetadataLink;
use super::network::Network;
use super::noted::{Noted, Step};
use super::partition_machine::PartitionStateMachine;
use super::registry_machine::{Ended, RegistryStateMachine};
use super::timing::Pace;
use crate::partition::{
    LeaderBudget, PartitionHandle, PartitionParts, Retention, StartingPartition, StorageFull, Wall,
};
use crate::registry::{self, Housekeeping, RegistryHandle};
use crate::serving::Partitions;

/// What one entry of a registry's log takes, roughly, for a log that was not counted when it was written.
const REGISTRY_ENTRY_BYTES: u64 = 256;

/// How long a log may be held by who reads it after its replica has stopped, and how often it is looked whether it still is.
const IN_USE_MAX: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// When what could not be started or wiped is tried again, if the metadata does not change before.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// What every replica needs.
#[derive(Debug)]
pub(super) struct ReplicaParts {
    pub(super) me: BrokerId,
    pub(super) store: Store,
    pub(super) timing: Timing,
    pub(super) retention: Retention,
    pub(super) housekeeping: Housekeeping,
    /// Where snapshots that are sent or received are written.
    pub(super) snapshots: Arc<Path>,
    pub(super) budget: LeaderBudget,
    pub(super) full: StorageFull,
    pub(super) ended: mpsc::Sender<Ended>,
    pub(super) network: Network,
    pub(super) inbox: RaftInbox,
    pub(super) partitions: Partitions,
    pub(super) registry: RegistryHandle,
    pub(super) metadata: MetadataLink,
    pub(super) leaders: Leaders,
}

#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    #[error("open the state of {group}: {source}")]
    Store { group: GroupId, source: StoreError },
    #[error("note which replica of {group} this broker has: {source}")]
    Note { group: GroupId, source: StoreError },
    #[error("wipe {group}: {source}")]
    Wipe { group: GroupId, source: StoreError },
    #[error(transparent)]
    Group(#[from] GroupError),
}

/// A replica that runs.
#[derive(Clone, Debug)]
pub(super) struct Running {
    pub(super) group: Group,
    pub(super) part: Part,
}

/// What others have of a replica.
#[derive(Clone, Debug)]
pub(super) enum Part {
    Partition(PartitionHandle),
    Shard(registry::Shard),
}

impl Running {
    pub(super) fn partition(&self) -> Option<&PartitionHandle> {
        if let Part::Partition(handle) = &self.part { Some(handle) } else { None }
    }

    pub(super) fn votes(&self) -> bool {
        self.group.members().voters.contains(&self.group.replica())
    }
}

/// The replicas that run, by group, as others see them.
pub(super) type RunningReplicas = BTreeMap<GroupId, Running>;

#[derive(Debug)]
struct Owned {
    running: Running,
    /// Everything that proposes.
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

pub(super) struct Replicas {
    parts: ReplicaParts,
    /// What this process has drawn at its start. None of a broker alone: nobody but itself changes its metadata.
    start: Option<u64>,
    /// The metadata here tell of this start, so they are no older than it: see [`Replicas::look`].
    is_confirmed: bool,
    ending: CancellationToken,
    owned: BTreeMap<GroupId, Owned>,
    told: watch::Sender<Arc<RunningReplicas>>,
    /// Damaged replicas that another generation was asked for, so that it is asked for once.
    reported: BTreeSet<ReplicaId>,
    reports: JoinSet<()>,
}

/// Which replica of a group this broker is to have. One that is to go stays until the group itself has let it go.
pub(super) fn wanted(me: BrokerId, assignment: &Assignment) -> Option<ReplicaId> {
    let mine = |replicas: &[ReplicaId]| replicas.iter().filter(|replica| replica.broker() == me).max().copied();
    let assigned = mine(&assignment.voters).into_iter().chain(mine(&assignment.learners)).max();
    assigned.or_else(|| mine(&assignment.settled))
}

impl Replicas {
    pub(super) fn new(
        parts: ReplicaParts,
        start: Option<u64>,
        ending: CancellationToken,
    ) -> (Self, watch::Receiver<Arc<RunningReplicas>>) {
        let (told, seen) = watch::channel(Arc::default());
        let (owned, reported, reports) = (BTreeMap::new(), BTreeSet::new(), JoinSet::new());
        (Self { parts, start, is_confirmed: false, ending, owned, told, reported, reports }, seen)
    }

    /// Follows the metadata until it is told to end, then stops every replica.
    pub(super) async fn run(mut self, mut state: watch::Receiver<Arc<ClusterState>>) {
        let mut failed = false;
        loop {
            tokio::select! {
                () = self.ending.cancelled() => break,
                changed = state.changed() => if changed.is_err() { break },
                () = tokio::time::sleep(TRY_AGAIN), if failed => {}
            }
            let now = Arc::clone(&state.borrow_and_update());
            // What failed was said.
            failed = self.become_as(&now).await.is_err();
        }
        self.shutdown().await;
    }

    /// This broker announces itself at each start, with what it has drawn. A state in which that stands was agreed upon since, with all
    /// that came before; and the states that follow here are newer still.
    fn look(&mut self, state: &ClusterState) {
        let record = state.brokers.get(&self.parts.me);
        self.is_confirmed |= self.start.is_none_or(|start| record.is_some_and(|record| record.start == start));
    }

    /// Starts and stops what the assignments say; the first failure does not keep it from the rest.
    pub(super) async fn become_as(&mut self, state: &ClusterState) -> Result<(), ReplicaError> {
        self.look(state);
        let mut outcome = Ok(());
        for (group, assignment) in &state.assignments {
            if *group == GroupId::Metadata {
                continue;
            }
            if let Err(error) = self.become_one(*group, assignment).await {
                if self.ending.is_cancelled() {
                    // Cut short, and taken up at the next start.
                    return Err(error);
                }
                tracing::error!(%group, %error, "have the replica that is assigned");
                outcome = outcome.and(Err(error));
            }
        }
        self.tell();
        outcome
    }

    fn tell(&self) {
        let running = self.owned.iter().map(|(group, owned)| (*group, owned.running.clone())).collect();
        self.told.send_replace(Arc::new(running));
    }

    async fn become_one(&mut self, group: GroupId, assignment: &Assignment) -> Result<(), ReplicaError> {
        let wanted = wanted(self.parts.me, assignment);
        let running = self.owned.get(&group).map(|owned| owned.running.group.replica());
        if running.is_some() && running == wanted {
            return Ok(());
        }
        let mut noted = Noted::read(&self.parts.store, group)?;
        loop {
            let is_damaged = self.parts.store.damaged().contains(&group);
            match noted.step(wanted, self.is_confirmed, is_damaged) {
                Step::Nothing => return Ok(()),
                Step::Note(replica) => noted = self.note(group, noted.with(replica))?,
                Step::Run(replica) => return self.have(group, replica).await.map(drop),
                Step::Create => {
                    let running = self.have(group, ReplicaId::FIRST).await?;
                    running.initialize().await?;
                    return self.note(group, noted.with(ReplicaId::FIRST)).map(drop);
                }
                Step::Wipe => noted = self.give_up(group, noted).await?,
                Step::Replace(replica) => {
                    self.ask_for_another(group, replica, is_damaged);
                    return Ok(());
                }
            }
        }
    }

    fn note(&self, group: GroupId, noted: Noted) -> Result<Noted, ReplicaError> {
        noted.write(&self.parts.store, group)?;
        Ok(noted)
    }

    async fn have(&mut self, group: GroupId, replica: ReplicaId) -> Result<Group, ReplicaError> {
        let owned = self.start(group, replica).await?;
        let running = owned.running.group.clone();
        self.owned.insert(group, owned);
        Ok(running)
    }

    /// Stops the replica, if it runs, and wipes its data.
    async fn give_up(&mut self, group: GroupId, noted: Noted) -> Result<Noted, ReplicaError> {
        if let Some(owned) = self.owned.remove(&group) {
            // First, so that nobody takes it up again, and that nobody's handle keeps its data from being wiped.
            self.tell();
            self.stop(group, owned).await;
        }
        tracing::info!(%group, replica = ?noted.has, "the replica is no longer assigned; its data are wiped");
        let noted = self.note(group, noted.wiping())?;
        self.wipe(group).await?;
        self.note(group, noted.wiped())
    }

    fn ask_for_another(&mut self, group: GroupId, replica: ReplicaId, is_damaged: bool) {
        if self.reported.insert(replica) {
            if is_damaged {
                tracing::error!(%group, %replica, "the replica is damaged; it is rebuilt from the others under a new name");
            } else {
                tracing::info!(%group, %replica, "the replica was wiped here before; if it is to be here, then under a new name");
            }
            let metadata = self.parts.metadata.clone();
            self.reports.spawn(async move { metadata.propose_until_done(Command::Rebuild { group, replica }).await });
        }
    }

    async fn start(&self, group: GroupId, replica: ReplicaId) -> Result<Owned, ReplicaError> {
        match group {
            GroupId::Partition(id) => self.start_partition(id, replica).await,
            GroupId::Registry(shard) => self.start_shard(shard, replica).await,
            GroupId::Metadata => unreachable!("the metadata is started before all others"),
        }
    }

    async fn start_partition(&self, id: PartitionId, replica: ReplicaId) -> Result<Owned, ReplicaError> {
        let (group, parts) = (GroupId::Partition(id), &self.parts);
        let failed = |source| ReplicaError::Store { group, source };
        let store = parts.store.clone();
        let open = move || Ok((store.partition(id)?, Wall::of(&store.log(group))?));
        let ((machine, reader), wall) = blocking(open).await.map_err(failed)?;
        let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
        let (budget, full, retention) = (parts.budget.of_partition(), parts.full.clone(), parts.retention);
        let overdue = Pace::from(parts.timing).overdue;
        let of_partition = PartitionParts { id, reader, wall, retention, budget, full, overdue };
        let (starting, links) = StartingPartition::spawn(of_partition, &mut tasks, stop.clone());
        let machine = PartitionStateMachine::new(machine, links.applied, links.trimmed).map_err(failed)?;
        let running = self.start_group(group, replica, machine).await?;
        let handle = starting.started(running.clone(), &mut tasks, stop.clone());
        self.watch(&running, &mut tasks, &stop);
        Ok(Owned { running: Running { group: running, part: Part::Partition(handle) }, tasks, stop })
    }

    async fn start_shard(&self, shard: u16, replica: ReplicaId) -> Result<Owned, ReplicaError> {
        let (group, parts) = (GroupId::Registry(shard), &self.parts);
        let failed = |source| ReplicaError::Store { group, source };
        let store = parts.store.clone();
        let machine = blocking(move || store.registry(shard)).await.map_err(failed)?;
        let (log, reader) = (parts.store.log(group), machine.reader());
        let index = |id: Option<anyport_storage::LogId>| id.map_or(0, |id| id.index);
        let entries = index(log.last()) - index(log.last_purged());
        let log_bytes = Arc::new(AtomicU64::new(entries * REGISTRY_ENTRY_BYTES));
        let machine = RegistryStateMachine::new(
            machine,
            parts.ended.clone(),
            Arc::clone(&log_bytes),
            Arc::clone(&parts.snapshots),
        );
        let running = self.start_group(group, replica, machine).await?;
        let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
        let handle = registry::spawn_shard(running.clone(), reader, log_bytes, parts.housekeeping, &mut tasks, &stop);
        self.watch(&running, &mut tasks, &stop);
        Ok(Owned { running: Running { group: running, part: Part::Shard(handle) }, tasks, stop })
    }
}

impl Replicas {
    async fn start_group(
        &self,
        group: GroupId,
        replica: ReplicaId,
        machine: impl openraft::storage::RaftStateMachine<super::types::TypeConfig>,
    ) -> Result<Group, GroupError> {
        let ReplicaParts { store, timing, network, inbox, .. } = &self.parts;
        let parts = GroupParts { log: store.log(group), machine, replica, timing: *timing, network: network.clone() };
        let running = Group::start(parts).await?;
        inbox.insert(&running);
        Ok(running)
    }

    fn watch(&self, group: &Group, tasks: &mut JoinSet<()>, stop: &CancellationToken) {
        tasks.spawn(follow(group.clone(), self.parts.leaders.clone(), stop.clone()));
    }

    /// In order: nothing new comes here, what was taken is answered, then the replica ends.
    async fn stop(&self, group: GroupId, owned: Owned) {
        let Owned { running, mut tasks, stop } = owned;
        self.take_back(group);
        stop.cancel();
        while let Some(ended) = tasks.join_next().await {
            if let Err(failed) = ended {
                tracing::error!(%group, %failed, "a task of the replica");
            }
        }
        self.parts.inbox.remove(group);
        running.group.shutdown().await;
        // Whoever was just looking at the replicas of before may have placed it anew.
        self.take_back(group);
    }

    /// Clients are served from this replica no more.
    fn take_back(&self, group: GroupId) {
        match group {
            GroupId::Partition(id) => self.parts.partitions.remove(id),
            GroupId::Registry(shard) => self.parts.registry.remove(shard),
            GroupId::Metadata => {}
        }
    }

    async fn shutdown(mut self) {
        // All at once: each may wait for what it has proposed.
        let owned = std::mem::take(&mut self.owned);
        let stopped = owned.into_iter().map(|(group, owned)| self.stop(group, owned));
        futures_util::future::join_all(stopped).await;
    }

    /// Reads that were under way when the replica was stopped may hold its log for a moment.
    async fn wipe(&self, group: GroupId) -> Result<(), ReplicaError> {
        let by = tokio::time::Instant::now() + IN_USE_MAX;
        loop {
            let store = self.parts.store.clone();
            let in_use = match blocking(move || store.reset_group(group)).await {
                Ok(()) => return Ok(()),
                Err(source @ StoreError::InUse { .. }) => source,
                Err(source) => return Err(ReplicaError::Wipe { group, source }),
            };
            tokio::select! {
                () = self.ending.cancelled() => return Err(ReplicaError::Wipe { group, source: in_use }),
                () = tokio::time::sleep_until(by) => return Err(ReplicaError::Wipe { group, source: in_use }),
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
        }
    }
}

/// Says who leads, as soon as this replica knows, and when the replica has died.
pub(super) async fn follow(group: Group, leaders: Leaders, stop: CancellationToken) {
    let mut leadership = group.leadership();
    loop {
        match leadership.current() {
            Leadership::Leader { .. } => leaders.note(group.id(), group.replica().broker()),
            Leadership::Follower { leader: Some(leader) } => leaders.note(group.id(), leader.broker()),
            Leadership::Stopped { reason } if !stop.is_cancelled() => {
                tracing::error!(group = %group.id(), reason, "the replica is dead until the next start");
                metrics::counter!("anyport_dead_groups_total").increment(1);
                return;
            }
            _ => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            _ = leadership.changed() => {}
        }
    }
}

/// Opening and wiping read and write the disk.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(StoreError::Closed))
}
