//! Starting and stopping all groups of a broker, read top to bottom.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyport_protocol::{PartitionId, ReplicaId};
use anyport_storage::metadata::ClusterFacts;
use anyport_storage::{
    GroupId, GroupLog, MetadataMachine, PartitionMachine, PartitionReader, RegistryMachine, Store, StoreError,
};
use openraft::storage::RaftStateMachine;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::facts::{self, FactsError, NewCluster};
use super::group::{Group, GroupError, GroupParts};
use super::metadata_machine::MetadataStateMachine;
use super::network::Network;
use super::partition_machine::PartitionStateMachine;
use super::registry_machine::{Ended, RegistryStateMachine};
use super::types::TypeConfig;
use crate::partition::{
    FreeSpace, LeaderBudget, PartitionHandle, PartitionParts, Retention, SpaceTask, StartingPartition, StorageFull,
    Wall,
};
use crate::registry::{self, Housekeeping, RegistryHandle};
use crate::serving::Partitions;
use anyport_storage::metadata::Timing;

/// How long a start waits for every partition to take batches. One member needs a few syncs.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// Notices of ended subscriptions that wait to be sent to live sessions. One that is lost is learnt from the next request.
const ENDED_MAX: usize = 1024;

/// What one entry of a registry's log takes, roughly, for a log that was not counted when it was written.
const REGISTRY_ENTRY_BYTES: u64 = 256;

#[derive(Clone, Debug)]
pub struct GroupOptions {
    pub partitions: u16,
    pub registry_shards: u16,
    pub retention: Retention,
    /// Bytes of batches that may wait to be stored, all partitions together.
    pub leader_budget_bytes: usize,
    /// Below this much free space publishes are refused.
    pub free_space_mark_bytes: u64,
    /// Asked instead of the file system, by tests.
    pub free_space: Option<FreeSpace>,
    /// Where snapshots of the registry are written for replicas that ask for one.
    pub snapshot_folder: PathBuf,
    pub housekeeping: Housekeeping,
}

impl Default for GroupOptions {
    fn default() -> Self {
        Self {
            partitions: 8,
            registry_shards: 4,
            retention: Retention::default(),
            leader_budget_bytes: 64 << 20,
            free_space_mark_bytes: 256 << 20,
            free_space: None,
            snapshot_folder: PathBuf::from("snapshots"),
            housekeeping: Housekeeping::default(),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("open the state of the groups: {0}")]
    Store(#[from] StoreError),
    #[error("open the state of the groups: {0}")]
    Opener(#[from] JoinError),
    #[error(transparent)]
    Group(#[from] GroupError),
    #[error(transparent)]
    Facts(#[from] FactsError),
    #[error("partition {partition} took no batches within {} s of its start", OPEN_TIMEOUT.as_secs())]
    NotOpen { partition: PartitionId },
}

/// All groups of this broker, running.
#[derive(Debug)]
pub struct Groups {
    /// What the cluster was created with.
    pub facts: ClusterFacts,
    /// By id.
    pub partitions: Vec<PartitionHandle>,
    pub shards: Vec<registry::Shard>,
    groups: Vec<Group>,
    open: Vec<watch::Receiver<bool>>,
    ended: Mutex<Option<mpsc::Receiver<Ended>>>,
    /// Everything that proposes.
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

/// Starts every group from what the store has; when this returns all partitions take batches. If there is no cluster yet, it
/// is created as `new` says.
pub async fn start(store: Store, options: GroupOptions, new: NewCluster) -> Result<Groups, StartError> {
    let mut starting = Starting::new(&store, &options);
    let opened = open_all(store.clone(), options.partitions, options.registry_shards).await?;
    // First: the other groups are what these facts say.
    let proposed = new.facts(options.partitions, options.registry_shards);
    let facts = starting.metadata(opened.metadata, proposed).await?;
    let free = options.free_space.unwrap_or_else(|| FreeSpace::new(move || store.free_bytes()));
    let space = SpaceTask { free, mark_bytes: options.free_space_mark_bytes, full: starting.full.clone() };
    space.check().await;
    let stop = starting.stop.clone();
    starting.tasks.spawn(space.run(stop));
    for (shard, machine) in opened.registry {
        starting.shard(shard, machine).await?;
    }
    for (id, machine, reader, wall) in opened.partitions {
        starting.partition(id, machine, reader, wall).await?;
    }
    starting.finish(facts).await
}

struct Opened {
    metadata: MetadataMachine,
    registry: Vec<(u16, RegistryMachine)>,
    partitions: Vec<(PartitionId, PartitionMachine, PartitionReader, Wall)>,
}

/// Opening reads the disk.
async fn open_all(store: Store, partitions: u16, shards: u16) -> Result<Opened, StartError> {
    let open = move || {
        let metadata = store.metadata()?;
        let registry = (0..shards).map(|shard| Ok((shard, store.registry(shard)?)));
        let partitions = (0..partitions).map(PartitionId).map(|id| {
            let (machine, reader) = store.partition(id)?;
            Ok((id, machine, reader, Wall::of(&store.log(GroupId::Partition(id)))?))
        });
        let registry = registry.collect::<Result<_, StoreError>>()?;
        Ok(Opened { metadata, registry, partitions: partitions.collect::<Result<_, StoreError>>()? })
    };
    tokio::task::spawn_blocking(open).await?
}

/// What has been started so far.
struct Starting {
    store: Store,
    retention: Retention,
    housekeeping: Housekeeping,
    snapshots: Arc<Path>,
    budget: LeaderBudget,
    full: StorageFull,
    ended: (mpsc::Sender<Ended>, mpsc::Receiver<Ended>),
    shards: Vec<registry::Shard>,
    partitions: Vec<(PartitionHandle, watch::Receiver<bool>)>,
    groups: Vec<Group>,
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl Starting {
    fn new(store: &Store, options: &GroupOptions) -> Self {
        Self {
            store: store.clone(),
            retention: options.retention,
            housekeeping: options.housekeeping,
            snapshots: Arc::from(options.snapshot_folder.as_path()),
            budget: LeaderBudget::new(options.leader_budget_bytes),
            full: StorageFull::default(),
            ended: mpsc::channel(ENDED_MAX),
            shards: Vec::new(),
            partitions: Vec::new(),
            groups: Vec::new(),
            tasks: JoinSet::new(),
            stop: CancellationToken::new(),
        }
    }

    async fn metadata(&mut self, machine: MetadataMachine, proposed: ClusterFacts) -> Result<ClusterFacts, StartError> {
        let (machine, standing) = MetadataStateMachine::new(machine);
        let group = first_replica(self.store.log(GroupId::Metadata), machine).await?;
        self.keep(&group);
        Ok(facts::agree(&group, standing, proposed).await?)
    }

    async fn shard(&mut self, shard: u16, machine: RegistryMachine) -> Result<(), StartError> {
        let log = self.store.log(GroupId::Registry(shard));
        let index = |id: Option<anyport_storage::LogId>| id.map_or(0, |id| id.index);
        let entries = index(log.last()) - index(log.last_purged());
        let log_bytes = Arc::new(AtomicU64::new(entries * REGISTRY_ENTRY_BYTES));
        let (ended, snapshots, reader) = (self.ended.0.clone(), Arc::clone(&self.snapshots), machine.reader());
        let machine = RegistryStateMachine::new(machine, ended, Arc::clone(&log_bytes), snapshots);
        let group = first_replica(log, machine).await?;
        self.keep(&group);
        let (tasks, stop) = (&mut self.tasks, &self.stop);
        self.shards.push(registry::spawn_shard(group, reader, log_bytes, self.housekeeping, tasks, stop));
        Ok(())
    }

    async fn partition(
        &mut self,
        id: PartitionId,
        machine: PartitionMachine,
        reader: PartitionReader,
        wall: Wall,
    ) -> Result<(), StartError> {
        let (budget, full) = (self.budget.of_partition(), self.full.clone());
        let parts = PartitionParts { id, reader, wall, retention: self.retention, budget, full };
        let (starting, links) = StartingPartition::spawn(parts, &mut self.tasks, self.stop.clone());
        let machine = PartitionStateMachine::new(machine, links.applied, links.trimmed)?;
        let group = first_replica(self.store.log(GroupId::Partition(id)), machine).await?;
        self.keep(&group);
        self.partitions.push(starting.started(group, &mut self.tasks, self.stop.clone()));
        Ok(())
    }

    fn keep(&mut self, group: &Group) {
        self.groups.push(group.clone());
        self.tasks.spawn(report_death(group.clone(), self.stop.clone()));
    }

    async fn finish(mut self, facts: ClusterFacts) -> Result<Groups, StartError> {
        for (partition, open) in &mut self.partitions {
            let opened = tokio::time::timeout(OPEN_TIMEOUT, open.wait_for(|open| *open)).await;
            if !matches!(opened, Ok(Ok(_))) {
                return Err(StartError::NotOpen { partition: partition.id() });
            }
        }
        let (partitions, open) = self.partitions.into_iter().unzip();
        Ok(Groups {
            facts,
            partitions,
            shards: self.shards,
            groups: self.groups,
            open,
            ended: Mutex::new(Some(self.ended.1)),
            tasks: self.tasks,
            stop: self.stop,
        })
    }
}

/// The only replica of a group, of a broker that is alone.
async fn first_replica(log: GroupLog, machine: impl RaftStateMachine<TypeConfig>) -> Result<Group, GroupError> {
    let (replica, timing, network) = (ReplicaId::FIRST, Timing::Lan, Network::alone());
    let group = Group::start(GroupParts { log, machine, replica, timing, network }).await?;
    group.initialize().await?;
    Ok(group)
}

async fn report_death(group: Group, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        reason = group.died() => {
            tracing::error!(group = %group.id(), reason, "the group is dead until the next start");
            metrics::counter!("anyport_dead_groups_total").increment(1);
        }
    }
}

impl Groups {
    /// Has this broker serve from its own replicas.
    pub fn place(&self, partitions: &Partitions, registry: &RegistryHandle) {
        self.partitions.iter().cloned().for_each(|partition| partitions.place(partition));
        for (number, shard) in (0..).zip(&self.shards) {
            registry.place(number, shard.clone());
        }
    }

    /// Says whether every group has its leader here and every partition takes batches, or what does not.
    pub fn ready_probe(&self) -> Arc<dyn Fn() -> Result<(), String> + Send + Sync> {
        let leaders: Vec<_> = self.groups.iter().map(|group| (group.id(), group.leadership())).collect();
        let open: Vec<_> = self.partitions.iter().map(PartitionHandle::id).zip(self.open.iter().cloned()).collect();
        Arc::new(move || {
            if let Some((group, watch)) = leaders.iter().find(|(_, watch)| !watch.is_leader()) {
                return Err(format!("{group} is not led here: {:?}", watch.current()));
            }
            // A task that has ended is not open, whatever it said last.
            let is_open = |open: &watch::Receiver<bool>| *open.borrow() && open.has_changed().is_ok();
            match open.iter().find(|(_, open)| !is_open(open)) {
                Some((partition, _)) => Err(format!("partition {partition} takes no batches")),
                None => Ok(()),
            }
        })
    }

    /// Subscriptions as they end without their client's session. There is one stream of them; who asks second gets an empty one.
    pub fn ended(&self) -> mpsc::Receiver<Ended> {
        let stream = self.ended.lock().unwrap_or_else(PoisonError::into_inner).take();
        stream.unwrap_or_else(|| mpsc::channel(1).1)
    }

    /// Stops in order: nothing new is taken and what was taken is answered; then the replicas end. The store is the caller's
    /// to close.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(failed) = ended {
                tracing::error!(%failed, "a task of the groups");
            }
        }
        for group in &self.groups {
            group.shutdown().await;
        }
    }
}
