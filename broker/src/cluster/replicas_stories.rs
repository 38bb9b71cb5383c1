//! Whose data stay and whose go, on a real store, whatever a broker believes of the assignments when it starts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyport_protocol::{BrokerId, PartitionId, ReplicaId, WallMs};
use anyport_storage::metadata::{Assignment, BrokerRecord, ClusterState, Timing};
use anyport_storage::{GroupId, LogId, Store, StoreOptions};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::group::{Group, GroupParts};
use super::inbox::RaftInbox;
use super::leaders::Leaders;
use super::metadata_link::MetadataLink;
use super::metadata_machine::MetadataStateMachine;
use super::network::Network;
use super::noted::{Noted, Step};
use super::replicas::{ReplicaParts, Replicas, RunningReplicas};
use crate::feed::ReadGrants;
use crate::partition::{LeaderBudget, Retention, StorageFull};
use crate::peer::Alone;
use crate::registry::{Housekeeping, RegistryHandle};
use crate::serving::{Links, Partitions};

const GROUP: GroupId = GroupId::Partition(PartitionId(0));
const ELSEWHERE: ReplicaId = ReplicaId::new(BrokerId(1), 9);
const ANEW: ReplicaId = ReplicaId::new(BrokerId::FIRST, 12);

/// A broker's store, through its starts.
struct Broker {
    folder: TempDir,
    store: Store,
    metadata: Group,
}

/// One of its starts.
struct Start {
    replicas: Replicas,
    running: watch::Receiver<Arc<RunningReplicas>>,
    ending: CancellationToken,
}

impl Broker {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let options = StoreOptions { partitions: 1, registry_shards: 1, ..StoreOptions::default() };
        let store = Store::open(folder.path(), options).expect("open");
        let (machine, _) = MetadataStateMachine::new(store.metadata().expect("open"));
        let (log, replica, timing) = (store.log(GroupId::Metadata), ReplicaId::FIRST, Timing::Lan);
        let parts = GroupParts { log, machine, replica, timing, network: Network::alone() };
        let metadata = Group::start(parts).await.expect("start");
        Self { folder, store, metadata }
    }

    /// Has created the group, so there are data of its first replica.
    async fn with_data() -> Self {
        let broker = Self::new().await;
        let mut start = broker.start(1);
        start.replicas.become_as(&state(1, ReplicaId::FIRST)).await.expect("created");
        assert_eq!(start.running(), Some(ReplicaId::FIRST));
        start.end().await;
        assert!(broker.data().is_some());
        broker
    }

    fn start(&self, drawn: u64) -> Start {
        let (grants, links) = (ReadGrants::new(1), Links::alone());
        let parts = ReplicaParts {
            me: BrokerId::FIRST,
            store: self.store.clone(),
            timing: Timing::Lan,
            retention: Retention::default(),
            housekeeping: Housekeeping::default(),
            snapshots: Arc::from(self.folder.path().join("snapshots")),
            budget: LeaderBudget::new(1 << 20),
            full: StorageFull::default(),
            ended: mpsc::channel(1).0,
            network: Network::alone(),
            inbox: RaftInbox::new(self.folder.path().join("snapshots")),
            partitions: Partitions::new(1, links.clone(), grants.clone()),
            registry: RegistryHandle::new(1, links, grants),
            metadata: MetadataLink::new(self.metadata.clone(), Arc::new(Alone::default())),
            leaders: Leaders::default(),
        };
        let ending = CancellationToken::new();
        let (replicas, running) = Replicas::new(parts, Some(drawn), ending.clone());
        Start { replicas, running, ending }
    }

    fn data(&self) -> Option<LogId> {
        self.store.log(GROUP).last()
    }
}

impl Start {
    fn running(&self) -> Option<ReplicaId> {
        self.running.borrow().get(&GROUP).map(|running| running.group.replica())
    }

    async fn end(self) {
        self.ending.cancel();
        self.replicas.run(watch::channel(Arc::default()).1).await;
    }
}

/// The partition has one replica, and the broker announced itself with what it had drawn.
fn state(drawn: u64, replica: ReplicaId) -> ClusterState {
    let id = BrokerId::FIRST;
    let record = BrokerRecord {
        load: 0,
        leaving: false,
        id,
        key: [0; 32],
        peer_address: String::new(),
        client_address: String::new(),
        zone: String::new(),
        edge: false,
        start: drawn,
        away_since: None,
        draining: false,
        joined: WallMs(1),
    };
    let assignment = Assignment {
        version: 1,
        voters: vec![replica],
        learners: Vec::new(),
        leader: replica.broker(),
        settled: vec![replica],
        damaged: Vec::new(),
    };
    ClusterState {
        brokers: BTreeMap::from([(id, record)]),
        assignments: BTreeMap::from([(GROUP, assignment)]),
        ..ClusterState::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_assigned_anew_meanwhile_is_not_wiped_by_an_old_copy_of_the_metadata() {
    let broker = Broker::with_data().await;
    let before = broker.data();
    let mut start = broker.start(2);
    for yesterday in [ELSEWHERE, ANEW] {
        start.replicas.become_as(&state(1, yesterday)).await.expect("nothing is done");
        assert_eq!((start.running(), broker.data()), (None, before));
    }
    start.replicas.become_as(&state(2, ReplicaId::FIRST)).await.expect("started");
    assert_eq!(start.running(), Some(ReplicaId::FIRST));
    start.end().await;
    assert!(broker.data() >= before, "it goes on from what it had");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_moved_away_is_wiped_once_the_cluster_has_confirmed_it() {
    let broker = Broker::with_data().await;
    let mut start = broker.start(2);
    start.replicas.become_as(&state(1, ReplicaId::FIRST)).await.expect("started from what is known");
    start.replicas.become_as(&state(1, ELSEWHERE)).await.expect("nothing is done");
    assert_eq!(start.running(), Some(ReplicaId::FIRST));
    start.replicas.become_as(&state(2, ELSEWHERE)).await.expect("wiped");
    assert_eq!((start.running(), broker.data()), (None, None));
    start.replicas.become_as(&state(2, ANEW)).await.expect("begun");
    assert_eq!(start.running(), Some(ANEW));
    start.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_is_created_once_whatever_is_assigned_later() {
    let broker = Broker::with_data().await;
    let mut start = broker.start(2);
    start.replicas.become_as(&state(2, ELSEWHERE)).await.expect("wiped");
    start.replicas.become_as(&state(2, ReplicaId::FIRST)).await.expect("nothing is done");
    assert_eq!((start.running(), broker.data()), (None, None));
    start.end().await;
    let mut start = broker.start(3);
    start.replicas.become_as(&state(2, ReplicaId::FIRST)).await.expect("nothing is done");
    assert_eq!((start.running(), broker.data()), (None, None));
    start.end().await;
}

/// Longer than an end may take here, and shorter than the wipe would wait.
const SOON: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_stops_does_not_wait_for_a_wipe_and_ends_it_at_its_next_start() {
    let broker = Broker::with_data().await;
    let reader = broker.store.log(GROUP);
    let Start { replicas, ending, .. } = broker.start(2);
    let (states, seen) = watch::channel(Arc::default());
    let running = tokio::spawn(replicas.run(seen));
    states.send_replace(Arc::new(state(2, ELSEWHERE)));
    let is_wiping = || Noted::read(&broker.store, GROUP).expect("read").step(None, false, false) == Step::Wipe;
    tokio::time::timeout(SOON, async {
        while !is_wiping() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("begun");
    ending.cancel();
    tokio::time::timeout(SOON, running).await.expect("it does not wait").expect("no panic");
    assert!(broker.data().is_some(), "somebody reads it");

    drop(reader);
    let mut start = broker.start(3);
    start.replicas.become_as(&state(1, ReplicaId::FIRST)).await.expect("wiped");
    assert_eq!((start.running(), broker.data()), (None, None));
    start.end().await;
}
