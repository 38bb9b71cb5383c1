//! A broker's groups on a store in a temporary folder, stopped and started at will.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyport_broker::Broker;
use anyport_broker::cluster::{self, GroupOptions, Groups, Membership, NewCluster};
use anyport_broker::epochs::LogEpochs;
use anyport_broker::feed::ReadGrants;
use anyport_broker::identity::TokenAuthority;
use anyport_broker::map::{self, Advertising};
use anyport_broker::partition::{PartitionHandle, Retention};
use anyport_broker::registry::RegistryHandle;
use anyport_broker::serving::{Links, Notifier, Partitions};
use anyport_broker::session::SessionTable;
use anyport_protocol::event::{Event, framed};
use anyport_protocol::message::publish::{PublishBatch, Published};
use anyport_protocol::{ClusterId, Number, Offset, PartitionId, ProducerId, WallMs};
use anyport_storage::{Bounds, GroupId, Step, Store, StoreOptions};
use bytes::Bytes;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

pub const PRODUCER: ProducerId = ProducerId([7; 16]);

pub struct TestGroups {
    pub groups: Groups,
    /// Would be the cluster if none existed before this start.
    pub proposed: ClusterId,
    store: Store,
    options: GroupOptions,
    fault: Arc<AtomicBool>,
    folder: TempDir,
}

/// Groups of one partition and one registry shard that keep everything.
pub fn options() -> GroupOptions {
    GroupOptions {
        partitions: 1,
        registry_shards: 1,
        retention: Retention { age: None, bytes: None, check_every: Duration::from_millis(20) },
        free_space_mark_bytes: 0,
        ..GroupOptions::default()
    }
}

impl TestGroups {
    pub async fn start(options: GroupOptions) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self::open(folder, options).await
    }

    async fn open(folder: TempDir, options: GroupOptions) -> Self {
        let fault = Arc::new(AtomicBool::new(false));
        let store = open_store(folder.path(), &options, Arc::clone(&fault));
        let proposed = ClusterId::from_bytes(rand::random());
        let new = NewCluster::new(proposed, WallMs(1), TokenAuthority::generate_key());
        let membership = Membership::Alone(new);
        let groups =
            cluster::start(store.clone(), options.clone(), membership, ReadGrants::new(1)).await.expect("start");
        groups.begin_epochs(&store).await.expect("begin");
        Self { groups, proposed, store, options, fault, folder }
    }

    /// Stops in good order, and starts again.
    pub async fn restart(self) -> Self {
        let Self { groups, store, options, folder, .. } = self;
        groups.shutdown().await;
        store.close().expect("close");
        Self::open(folder, options).await
    }

    /// From here on what is synced is not told: the process dies before it could do anything with it.
    pub fn die_after_the_next_sync(&self) {
        self.fault.store(true, Ordering::Relaxed);
    }

    /// Starts again what has died.
    pub async fn recover(self) -> Self {
        let Self { groups, store, options, folder, .. } = self;
        assert!(store.poisoned().is_some(), "the fault was met");
        groups.shutdown().await;
        let _ = store.close();
        Self::open(folder, options).await
    }

    pub fn partition(&self) -> PartitionHandle {
        self.groups.partition(PartitionId(0)).expect("it has all")
    }

    /// A broker on these groups, without a port.
    pub fn broker(&self) -> Arc<Broker> {
        let Groups { partitions, registry, links, .. } = &self.groups;
        self.broker_of(partitions.clone(), registry.clone(), links.clone())
    }

    /// A broker of the same cluster that has no replica placed.
    pub fn broker_with(&self, links: Links) -> Arc<Broker> {
        let (facts, grants) = (&self.groups.facts, ReadGrants::new(1));
        let partitions = Partitions::new(facts.partitions, links.clone(), grants.clone());
        let registry = RegistryHandle::new(facts.registry_shards, links.clone(), grants);
        self.broker_of(partitions, registry, links)
    }

    fn broker_of(&self, partitions: Partitions, registry: RegistryHandle, links: Links) -> Arc<Broker> {
        let Groups { facts, state, health, .. } = &self.groups;
        Arc::new(Broker {
            cluster: facts.cluster,
            partitions,
            registry,
            sessions: SessionTable::default(),
            notifier: Notifier::start(links),
            tokens: TokenAuthority::new(facts.cluster, &facts.token_key).expect("own key"),
            epochs: LogEpochs::new(state.clone()),
            relaxed: false,
            health: health.clone(),
            // As it is now: nobody here asks for later ones.
            map: map::keep(state.clone(), None, CancellationToken::new()).0,
            advertising: Advertising::new(self.groups.metadata()),
        })
    }

    pub async fn log_is_purged(&self) {
        self.purged(GroupId::Partition(PartitionId(0))).await;
    }

    pub async fn registry_log_is_purged(&self) {
        self.purged(GroupId::Registry(0)).await;
    }

    async fn purged(&self, group: GroupId) {
        let log = self.store.log(group);
        let purged = async {
            while log.last_purged().is_none() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), purged).await.expect("purged in time");
    }
}

fn open_store(folder: &Path, options: &GroupOptions, fault: Arc<AtomicBool>) -> Store {
    let inject = move |step: Step| match step {
        Step::AfterSync if fault.load(Ordering::Relaxed) => Err(io::Error::other("the process died")),
        _ => Ok(()),
    };
    let (partitions, registry_shards) = (options.partitions, options.registry_shards);
    let inject: Option<Arc<dyn Fn(Step) -> io::Result<()> + Send + Sync>> = Some(Arc::new(inject));
    let options = StoreOptions { partitions, registry_shards, inject, ..StoreOptions::default() };
    Store::open(folder, options).expect("open")
}

/// `count` events of this type, numbered from `first`, each of which says its number.
pub fn batch(producer: ProducerId, first: u64, count: u32, event_type: &str) -> PublishBatch {
    let mut run = Vec::new();
    for number in first..first + u64::from(count) {
        let event = Event::builder(number.to_string(), "/test", event_type).build().expect("valid");
        framed::push(&mut run, &event.encode());
    }
    PublishBatch { producer, partition: PartitionId(0), count, first_number: Number(first), framed: Bytes::from(run) }
}

pub fn stored_at(first: u64) -> Published {
    Published::Stored { first: Offset(first) }
}

pub fn already_at(first: u64) -> Published {
    Published::AlreadyStored { first: Some(Offset(first)) }
}

/// All retained events.
pub fn read_all(partition: &PartitionHandle) -> Vec<(Offset, Bytes)> {
    let Bounds { head, tail } = partition.bounds();
    let (mut from, mut events) = (head, Vec::new());
    while from < tail {
        let chunk = partition.reader().read(from, 1 << 20).expect("readable");
        events.extend(chunk.events());
        from = chunk.range.end;
    }
    events
}
