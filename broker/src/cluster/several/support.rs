//! Brokers in one process that have replicas of one partition, and one registry shard, on real stores.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use anyport_protocol::event::{Event, framed};
use anyport_protocol::message::publish::{PublishBatch, Published};
use anyport_protocol::{BrokerId, Number, Offset, PartitionId, ProducerId, ReplicaId};
use anyport_storage::metadata::Timing;
use anyport_storage::{Bounds, GroupId, Step, Store, StoreOptions};
use bytes::Bytes;
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::super::group::{Group, GroupParts};
use super::super::inbox::RaftInbox;
use super::super::leadership::Leadership;
use super::super::members::Members;
use super::super::network::Network;
use super::super::partition_machine::PartitionStateMachine;
use super::super::pulse::Health;
use super::super::registry_machine::RegistryStateMachine;
use super::wires::Wires;
use crate::partition::{
    LeaderBudget, PartitionHandle, PartitionParts, Retention, StartingPartition, StorageFull, Wall,
};
use crate::peer::{Peers, Transport};
use crate::registry::{self, Housekeeping, Shard};

pub(super) const PARTITION: GroupId = GroupId::Partition(PartitionId(0));
pub(super) const SHARD: GroupId = GroupId::Registry(0);
pub(super) const PRODUCER: ProducerId = ProducerId([7; 16]);

/// No test waits longer for what must come.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

pub(super) struct Cluster {
    pub(super) wires: Arc<Wires>,
    pub(super) nodes: BTreeMap<u32, Node>,
}

/// A broker. Its replicas come and go.
pub(super) struct Node {
    pub(super) id: BrokerId,
    pub(super) store: Store,
    pub(super) inbox: RaftInbox,
    network: Network,
    pub(super) partition: Option<Replica<PartitionHandle>>,
    pub(super) shard: Option<Replica<Shard>>,
    /// Whether writes reach the disk and are never told.
    pub(super) stuck: Arc<AtomicBool>,
    /// As it sees itself.
    pub(super) health: watch::Sender<Health>,
    overseer: JoinSet<()>,
    stop: CancellationToken,
    pub(super) folder: TempDir,
}

pub(super) struct Replica<H> {
    pub(super) group: Group,
    pub(super) handle: H,
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl<H> Replica<H> {
    async fn stop(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
        self.group.shutdown().await;
    }
}

pub(super) fn replica(broker: u32, generation: u32) -> ReplicaId {
    ReplicaId::new(BrokerId(broker), generation)
}

pub(super) fn replicas(brokers: &[u32]) -> BTreeSet<ReplicaId> {
    brokers.iter().map(|broker| replica(*broker, 1)).collect()
}

fn open_store(folder: &Path, stuck: Arc<AtomicBool>) -> Store {
    let inject = move |step: Step| {
        // Not for ever: a test that has failed waits for its store to close.
        let begun = Instant::now();
        while step == Step::Sync && stuck.load(Ordering::Relaxed) && begun.elapsed() < 2 * PATIENCE {
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok::<(), io::Error>(())
    };
    let options =
        StoreOptions { partitions: 1, registry_shards: 1, inject: Some(Arc::new(inject)), ..StoreOptions::default() };
    Store::open(folder, options).expect("open")
}

impl Node {
    fn start(wires: &Arc<Wires>, id: u32, folder: TempDir) -> Self {
        let (stuck, id) = (Arc::new(AtomicBool::new(false)), BrokerId(id));
        let store = open_store(folder.path(), Arc::clone(&stuck));
        let inbox = RaftInbox::new(folder.path().join("snapshots"));
        let wire = wires.plug(id, inbox.clone());
        let (reached, stop) = (wire.reached(), CancellationToken::new());
        let network = Network::new(Arc::new(wire) as Peers, u64::MAX);
        let health = watch::Sender::new(Health::Well);
        let oversee = inbox.clone().oversee(Timing::Lan, reached, health.subscribe(), stop.clone());
        let overseer = JoinSet::from_iter([oversee]);
        Self { id, store, inbox, network, partition: None, shard: None, stuck, health, overseer, stop, folder }
    }

    fn parts<M>(&self, group: GroupId, machine: M, generation: u32) -> GroupParts<M> {
        let (replica, timing) = (replica(self.id.0, generation), Timing::Lan);
        GroupParts { log: self.store.log(group), machine, replica, timing, network: self.network.clone() }
    }

    pub(super) async fn start_partition(&mut self, generation: u32) {
        let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
        let (machine, reader) = self.store.partition(PartitionId(0)).expect("open");
        let wall = Wall::of(&self.store.log(PARTITION)).expect("readable");
        let retention = Retention { age: None, bytes: None, check_every: Duration::from_secs(3600) };
        let (budget, full) = (LeaderBudget::new(64 << 20).of_partition(), StorageFull::default());
        let overdue = Duration::from_secs(2);
        let parts = PartitionParts { id: PartitionId(0), reader, wall, retention, budget, full, overdue };
        let (starting, links) = StartingPartition::spawn(parts, &mut tasks, stop.clone());
        let machine = PartitionStateMachine::new(machine, links.applied, links.trimmed).expect("open");
        let group = Group::start(self.parts(PARTITION, machine, generation)).await.expect("start");
        let handle = starting.started(group.clone(), &mut tasks, stop.clone());
        self.inbox.insert(&group);
        self.partition = Some(Replica { group, handle, tasks, stop });
    }

    pub(super) async fn start_shard(&mut self, generation: u32) {
        let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
        let machine = self.store.registry(0).expect("open");
        let (reader, log_bytes) = (machine.reader(), Arc::new(AtomicU64::new(0)));
        let folder = Arc::from(self.folder.path().join("snapshots"));
        let machine = RegistryStateMachine::new(machine, mpsc::channel(1).0, Arc::clone(&log_bytes), folder);
        let group = Group::start(self.parts(SHARD, machine, generation)).await.expect("start");
        let housekeeping = Housekeeping { every: Duration::from_secs(3600), ..Housekeeping::default() };
        let shard = registry::spawn_shard(group.clone(), reader, log_bytes, housekeeping, &mut tasks, &stop);
        self.inbox.insert(&group);
        self.shard = Some(Replica { group, handle: shard, tasks, stop });
    }

    pub(super) fn group(&self) -> &Group {
        &self.partition.as_ref().expect("it has a replica of the partition").group
    }

    pub(super) fn handle(&self) -> &PartitionHandle {
        &self.partition.as_ref().expect("it has a replica of the partition").handle
    }

    pub(super) fn shard_group(&self) -> &Group {
        &self.shard.as_ref().expect("it has a replica of the shard").group
    }

    pub(super) async fn stop_partition(&mut self) {
        self.inbox.remove(PARTITION);
        if let Some(replica) = self.partition.take() {
            replica.stop().await;
        }
    }

    async fn stop(mut self) -> TempDir {
        self.stop_partition().await;
        self.inbox.remove(SHARD);
        if let Some(replica) = self.shard.take() {
            replica.stop().await;
        }
        self.stop.cancel();
        while self.overseer.join_next().await.is_some() {}
        self.store.close().expect("close");
        self.folder
    }
}

impl Cluster {
    /// As many brokers, without replicas.
    pub(super) fn of(brokers: u32) -> Self {
        show_panics_with_their_logs();
        let mut cluster = Self { wires: Arc::default(), nodes: BTreeMap::new() };
        (0..brokers).for_each(|id| cluster.add(id));
        cluster
    }

    pub(super) fn add(&mut self, id: u32) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        self.nodes.insert(id, Node::start(&self.wires, id, folder));
    }

    /// Brokers that all have a voter of the partition; the first leads.
    pub(super) async fn with_partition(brokers: u32) -> Self {
        let mut cluster = Self::of(brokers);
        for node in cluster.nodes.values_mut() {
            node.start_partition(1).await;
        }
        let first = cluster.nodes[&0].group();
        first.initialize().await.expect("the first member");
        cluster.grow((0..brokers).collect()).await;
        cluster
    }

    /// The leader of the partition takes these brokers as voters.
    pub(super) async fn grow(&self, brokers: Vec<u32>) {
        let leader = self.leader().await.group().clone();
        change(&leader, replicas(&brokers), BTreeSet::new()).await;
    }

    pub(super) fn node(&self, id: u32) -> &Node {
        &self.nodes[&id]
    }

    pub(super) fn node_mut(&mut self, id: u32) -> &mut Node {
        self.nodes.get_mut(&id).expect("there")
    }

    /// Stops in good order, as far as the others notice at once that it is gone.
    pub(super) async fn stop(&mut self, id: u32) -> TempDir {
        self.wires.unplug(BrokerId(id));
        self.nodes.remove(&id).expect("there").stop().await
    }

    /// Starts again what was stopped.
    pub(super) async fn start(&mut self, id: u32, folder: TempDir) {
        let mut node = Node::start(&self.wires, id, folder);
        node.start_partition(1).await;
        self.nodes.insert(id, node);
    }

    /// The broker whose replica of the partition leads and takes batches.
    pub(super) async fn leader(&self) -> &Node {
        self.leader_among(&self.nodes.keys().copied().collect::<Vec<_>>()).await
    }

    pub(super) async fn leader_among(&self, among: &[u32]) -> &Node {
        let leads = |node: &&Node| {
            among.contains(&node.id.0)
                && node.partition.as_ref().is_some_and(|replica| replica.group.leadership().is_leader())
        };
        eventually("a leader", || self.nodes.values().find(leads)).await
    }

    pub(super) async fn shutdown(mut self) {
        while let Some(id) = self.nodes.keys().next().copied() {
            self.stop(id).await;
        }
    }
}

/// Changes the members, and waits for those that lag.
pub(super) async fn change(leader: &Group, voters: BTreeSet<ReplicaId>, learners: BTreeSet<ReplicaId>) {
    let changed = async {
        while leader.change_members(voters.clone(), learners.clone()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, changed).await.expect("the members change");
    let wanted = Members { voters, learners, settled: true };
    eventually("word of the change", || (leader.members() == wanted).then_some(())).await;
}

/// Asks until there is an answer.
pub(super) async fn eventually<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let looked = async {
        loop {
            match found() {
                Some(found) => return found,
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, looked).await.unwrap_or_else(|_| panic!("{what} did not come"))
}

pub(super) fn batch(first: u64, count: u32, payload_bytes: usize) -> PublishBatch {
    let mut run = Vec::new();
    for number in first..first + u64::from(count) {
        let text = format!("{number}{}", "x".repeat(payload_bytes));
        let event = Event::builder(number.to_string(), "/test", "t").binary(text).build().expect("valid");
        framed::push(&mut run, &event.encode());
    }
    PublishBatch {
        producer: PRODUCER,
        partition: PartitionId(0),
        count,
        first_number: Number(first),
        framed: Bytes::from(run),
    }
}

/// Publishes as the SDK does: again and again, wherever the leader is, until it is stored.
pub(super) async fn publish(cluster: &Cluster, among: &[u32], number: u64, payload_bytes: usize) {
    let published = async {
        loop {
            let leader = cluster.leader_among(among).await;
            match leader.handle().publish(batch(number, 1, payload_bytes)).await {
                Published::Stored { .. } | Published::AlreadyStored { .. } => return,
                Published::Refused(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, published).await.expect("stored");
}

/// All retained events, by offset.
pub(super) fn read_all(partition: &PartitionHandle) -> Vec<(Offset, Bytes)> {
    let Bounds { head, tail } = partition.bounds();
    let (mut from, mut events) = (head, Vec::new());
    while from < tail {
        let chunk = partition.reader().read(from, 1 << 20).expect("readable");
        events.extend(chunk.events());
        from = chunk.range.end;
    }
    events
}

/// Waits until this replica has applied as much as the leader.
pub(super) async fn caught_up(node: &Node, leader: &Node) {
    eventually("the replica's tail", || (node.handle().bounds().tail == leader.handle().bounds().tail).then_some(()))
        .await;
}

pub(super) fn leads(node: &Node) -> bool {
    matches!(node.group().leadership().current(), Leadership::Leader { .. })
}

/// The watch is seen by whoever waits.
pub(super) async fn becomes(group: &Group, wanted: impl Fn(&Leadership) -> bool) -> Leadership {
    let mut watch = group.leadership();
    let mut current = watch.current();
    let seen = async {
        while !wanted(&current) {
            current = watch.changed().await;
        }
        current
    };
    tokio::time::timeout(PATIENCE, seen).await.expect("the leadership changes")
}

fn show_panics_with_their_logs() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if let Ok(filter) = std::env::var("RUST_LOG") {
            let _ = tracing_subscriber::fmt().with_env_filter(filter).try_init();
        }
    });
}
