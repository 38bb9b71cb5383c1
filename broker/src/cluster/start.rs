//! Starting this broker's part of a cluster, read top to bottom.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use anyport_protocol::{BrokerId, ReplicaId};
use anyport_storage::metadata::{ClusterFacts, ClusterState, Timing};
use anyport_storage::{GroupId, Store, StoreError};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::answers::{Answering, ClusterAnswers};
use super::controller::Controller;
use super::directory::{self, Announcement, Whereabouts};
use super::facts::{self, FactsError, NewCluster};
use super::forming::Introduction;
use super::group::{Group, GroupError, GroupParts};
use super::groups::{Groups, OPEN_TIMEOUT, Together};
use super::inbox::RaftInbox;
use super::leaders::Leaders;
use super::metadata_link::MetadataLink;
use super::metadata_machine::MetadataStateMachine;
use super::network::Network;
use super::noted::Noted;
use super::operator::Operator;
use super::placing::Placing;
use super::pulse::{Health, Pulse, PulseParts};
use super::recovery::{self, ForceError};
use super::registry_machine::Ended;
use super::replicas::{ReplicaError, ReplicaParts, Replicas, RunningReplicas, follow};
use super::seat::Seat;
use super::stewards::Stewards;
use crate::feed::ReadGrants;
use crate::partition::{FreeSpace, LeaderBudget, Retention, SpaceTask, StorageFull};
use crate::peer::{Alone, Directory, LinkProfile, PeerEndpoint, PeerTasks, Peers};
use crate::registry::{Housekeeping, RegistryHandle};
use crate::serving::{Links, Partitions};

/// What copying registries to other brokers may take of the network and of the disk, all of them together.
const SNAPSHOT_BYTES_PER_SECOND: u64 = 32 << 20;

/// Notices of ended subscriptions that wait to be sent to live sessions. One that is lost is learnt from the next request.
const ENDED_MAX: usize = 1024;

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

/// Who this broker is among others.
#[derive(Debug)]
pub enum Membership {
    /// It is its whole cluster, which it makes at its first start.
    Alone(NewCluster),
    OneOfMany(Box<Member>),
}

#[derive(Debug)]
pub struct Member {
    pub seat: Seat,
    pub endpoint: PeerEndpoint,
    /// What others told of the brokers there are; what the metadata says here counts for more.
    pub directory: Directory,
    pub introduction: Introduction,
    /// Of the broker that makes the cluster.
    pub new: Option<NewCluster>,
    /// Where the seat is kept.
    pub folder: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("open the state of the groups: {0}")]
    Store(#[from] StoreError),
    #[error(transparent)]
    Group(#[from] GroupError),
    #[error(transparent)]
    Replica(#[from] ReplicaError),
    #[error(transparent)]
    Facts(#[from] FactsError),
    #[error(transparent)]
    Recovery(#[from] ForceError),
    #[error("{group} took nothing within {} s of its start", OPEN_TIMEOUT.as_secs())]
    NotOpen { group: GroupId },
}

/// Starts the metadata, then the replicas that it assigns to this broker. When this returns, a broker alone takes batches in every
/// partition; one of many serves what it can, and goes on starting what it is assigned.
pub async fn start(
    store: Store,
    options: GroupOptions,
    membership: Membership,
    grants: ReadGrants,
) -> Result<Groups, StartError> {
    let at_rest = store.clone();
    tokio::task::spawn_blocking(move || recovery::carry_out(&at_rest))
        .await
        .unwrap_or(Err(StoreError::Closed.into()))?;
    let starting = Starting::new(store, options, grants);
    match membership {
        Membership::Alone(new) => starting.alone(new).await,
        Membership::OneOfMany(member) => starting.member(*member).await,
    }
}

/// What has been started so far.
struct Starting {
    store: Store,
    options: GroupOptions,
    grants: ReadGrants,
    inbox: RaftInbox,
    leaders: Leaders,
    /// Of a broker alone it never changes.
    health: watch::Sender<Health>,
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

/// The metadata's state machine, and what it tells.
type Metadata = (MetadataStateMachine, watch::Receiver<Arc<ClusterState>>);

/// What a broker has that is not alone.
struct Many {
    endpoint: PeerEndpoint,
    introduction: Introduction,
    /// Where others were when this broker last ran.
    peers: Vec<String>,
    links: PeerTasks,
}

/// The metadata group and what is known from it.
struct Known {
    metadata: MetadataLink,
    /// One for all groups, which share messages.
    network: Network,
    state: watch::Receiver<Arc<ClusterState>>,
    facts: ClusterFacts,
    /// What this process has announced itself with. None of a broker alone, which announces itself to nobody.
    start: Option<u64>,
}

impl Starting {
    fn new(store: Store, options: GroupOptions, grants: ReadGrants) -> Self {
        let (tasks, stop) = (JoinSet::new(), CancellationToken::new());
        let inbox = RaftInbox::new(options.snapshot_folder.clone());
        let (leaders, health) = (Leaders::default(), watch::Sender::new(Health::Well));
        Self { store, options, grants, inbox, leaders, health, tasks, stop }
    }

    async fn alone(mut self, new: NewCluster) -> Result<Groups, StartError> {
        let peers: Peers = Arc::new(Alone::default());
        let (machine, state) = self.open_metadata().await?;
        self.oversee(Timing::Lan, &peers);
        let network = Network::alone();
        let group = self.start_metadata(machine, ReplicaId::FIRST, Timing::Lan, &network).await?;
        let proposed = new.facts(self.options.partitions, self.options.registry_shards);
        let facts = facts::agree(&group, state.clone(), proposed).await?;
        let answers = self.answers(&state);
        let known = Known { metadata: MetadataLink::new(group, peers), network, state, facts, start: None };
        let groups = self.finish(BrokerId::FIRST, known, answers, None).await?;
        groups.all_open().await?;
        Ok(groups)
    }

    async fn member(mut self, member: Member) -> Result<Groups, StartError> {
        let Member { seat, endpoint, directory, introduction, new, folder } = member;
        let (machine, state) = self.open_metadata().await?;
        let answers = self.answers(&state);
        let (whereabouts, addresses) = Whereabouts::new(seat.clone(), folder, directory, state.clone());
        let answering = Arc::new(Answering(Arc::clone(&answers)));
        let (peers, links) =
            endpoint.start(seat.broker, seat.cluster(), link_profile(seat.timing), addresses, answering);
        self.oversee(seat.timing, &peers);
        let network = Network::new(Arc::clone(&peers), SNAPSHOT_BYTES_PER_SECOND);
        let group = self.start_metadata(machine, seat.replica, seat.timing, &network).await?;
        let facts = match new {
            Some(new) => facts::agree(&group, state.clone(), new.facts(seat.partitions, seat.registry_shards)).await?,
            None => facts::wait(&group, state.clone()).await?,
        };
        self.tasks.spawn(whereabouts.run(self.stop.clone()));
        let (metadata, start) = (MetadataLink::new(group, peers), Some(introduction.start));
        let known = Known { metadata, network, state, facts, start };
        let me = seat.broker;
        let many = Many { endpoint, introduction, peers: seat.peers, links };
        self.finish(me, known, answers, Some(many)).await
    }

    async fn open_metadata(&self) -> Result<Metadata, StartError> {
        let store = self.store.clone();
        let machine = tokio::task::spawn_blocking(move || store.metadata()).await.unwrap_or(Err(StoreError::Closed))?;
        Ok(MetadataStateMachine::new(machine))
    }

    fn answers(&self, state: &watch::Receiver<Arc<ClusterState>>) -> Arc<ClusterAnswers> {
        Arc::new(ClusterAnswers::new(self.inbox.clone(), state.clone()))
    }

    fn oversee(&mut self, timing: Timing, peers: &Peers) {
        let (reached, health) = (peers.reached(), self.health.subscribe());
        self.tasks.spawn(self.inbox.clone().oversee(timing, reached, health, self.stop.clone()));
    }

    /// The first replica of the metadata makes its group, once.
    async fn start_metadata(
        &mut self,
        machine: MetadataStateMachine,
        replica: ReplicaId,
        timing: Timing,
        network: &Network,
    ) -> Result<Group, StartError> {
        let (log, network) = (self.store.log(GroupId::Metadata), network.clone());
        let group = Group::start(GroupParts { log, machine, replica, timing, network }).await?;
        self.inbox.insert(&group);
        self.tasks.spawn(follow(group.clone(), self.leaders.clone(), self.stop.clone()));
        let noted = Noted::read(&self.store, GroupId::Metadata)?;
        if noted.has != Some(replica) {
            if replica == ReplicaId::FIRST {
                group.initialize().await?;
            }
            noted.with(replica).write(&self.store, GroupId::Metadata)?;
        }
        Ok(group)
    }

    async fn finish(
        mut self,
        me: BrokerId,
        known: Known,
        answers: Arc<ClusterAnswers>,
        many: Option<Many>,
    ) -> Result<Groups, StartError> {
        let Known { metadata, network, state, facts, start } = known;
        let links = Links { own: me, peers: metadata.peers(), leaders: self.leaders.clone(), ..Links::alone() };
        let partitions = Partitions::new(facts.partitions, links.clone(), self.grants.clone());
        let registry = RegistryHandle::new(facts.registry_shards, links.clone(), self.grants.clone());
        let (ended, ended_in) = mpsc::channel(ENDED_MAX);
        let parts = self.replica_parts(&metadata, network, ended, &partitions, &registry, facts.timing).await;
        let (mut replicas, running) = Replicas::new(parts, start, self.stop.clone());
        let began = replicas.become_as(&Arc::clone(&state.borrow())).await;
        // What a broker alone cannot start nobody else has.
        began.or_else(|error| if many.is_some() { Ok(()) } else { Err(error) })?;
        self.tasks.spawn(replicas.run(state.clone()));
        self.tasks.spawn(directory::tell_replicas(me, state.clone(), links.replicas.clone(), self.stop.clone()));
        let (roll, rolled) = watch::channel(None);
        let mut placing = Placing::new(running.clone(), rolled, partitions.clone(), registry.clone(), many.is_none());
        placing.look(Instant::now());
        self.tasks.spawn(placing.run(self.stop.clone()));

        let health = self.health.subscribe();
        let controller = Controller::new(metadata.clone(), state.clone());
        let operator = self.operator(&metadata, &running, &state);
        let restart = Arc::clone(&operator.restart);
        answers.start(operator, controller.clone());
        let together = match many {
            None => None,
            Some(many) => {
                let pulse = PulseParts {
                    me,
                    start: many.introduction.start,
                    timing: facts.timing,
                    store: self.store.clone(),
                    grants: self.grants.clone(),
                    metadata: metadata.clone(),
                    controller: controller.clone(),
                    running: running.clone(),
                    leaders: self.leaders.clone(),
                    peers: metadata.peers(),
                    roll,
                    health: self.health.clone(),
                    unheard: Arc::default(),
                };
                Some(self.keep_with_others(many, pulse, controller, state.clone(), running.clone()))
            }
        };
        Ok(Groups {
            facts,
            partitions,
            registry,
            links,
            state,
            health,
            metadata,
            running,
            answers,
            together,
            restart,
            ended: Mutex::new(Some(ended_in)),
            tasks: self.tasks,
            stop: self.stop,
        })
    }

    fn operator(
        &self,
        metadata: &MetadataLink,
        running: &watch::Receiver<Arc<RunningReplicas>>,
        state: &watch::Receiver<Arc<ClusterState>>,
    ) -> Operator {
        Operator {
            metadata: metadata.clone(),
            running: running.clone(),
            state: state.clone(),
            store: self.store.clone(),
            restart: Arc::default(),
        }
    }

    async fn replica_parts(
        &mut self,
        metadata: &MetadataLink,
        network: Network,
        ended: mpsc::Sender<Ended>,
        partitions: &Partitions,
        registry: &RegistryHandle,
        timing: Timing,
    ) -> ReplicaParts {
        ReplicaParts {
            me: metadata.group().replica().broker(),
            store: self.store.clone(),
            timing,
            retention: self.options.retention,
            housekeeping: self.options.housekeeping,
            snapshots: Arc::from(self.options.snapshot_folder.as_path()),
            budget: LeaderBudget::new(self.options.leader_budget_bytes),
            full: self.watch_space().await,
            ended,
            network,
            inbox: self.inbox.clone(),
            partitions: partitions.clone(),
            registry: registry.clone(),
            metadata: metadata.clone(),
            leaders: self.leaders.clone(),
        }
    }

    /// What a broker does for the cluster that is not alone in it.
    fn keep_with_others(
        &mut self,
        many: Many,
        pulse: PulseParts,
        controller: Controller,
        state: watch::Receiver<Arc<ClusterState>>,
        running: watch::Receiver<Arc<RunningReplicas>>,
    ) -> Together {
        let (me, start) = (pulse.me, pulse.start);
        let stewards = Stewards {
            metadata: pulse.metadata.clone(),
            running,
            state,
            peers: Arc::clone(&pulse.peers),
            timing: pulse.timing,
        };
        let announcement = Announcement {
            endpoint: many.endpoint,
            me: pulse.me,
            introduction: many.introduction,
            metadata: pulse.metadata.clone(),
            peers: many.peers,
            health: pulse.health.clone(),
            unheard: Arc::clone(&pulse.unheard),
        };
        self.tasks.spawn(announcement.run(self.stop.clone()));
        self.tasks.spawn(stewards.clone().run(self.stop.clone()));
        self.tasks.spawn(controller.run(self.stop.clone()));
        self.tasks.spawn(Pulse::new(pulse).run(self.stop.clone()));
        Together { me, start, stewards, links: many.links }
    }

    async fn watch_space(&mut self) -> StorageFull {
        let (store, full) = (self.store.clone(), StorageFull::default());
        let free = self.options.free_space.clone().unwrap_or_else(|| FreeSpace::new(move || store.free_bytes()));
        let space = SpaceTask { free, mark_bytes: self.options.free_space_mark_bytes, full: full.clone() };
        space.check().await;
        self.tasks.spawn(space.run(self.stop.clone()));
        full
    }
}

fn link_profile(timing: Timing) -> LinkProfile {
    match timing {
        Timing::Lan => LinkProfile::LAN,
        Timing::Wan => LinkProfile::WAN,
    }
}
