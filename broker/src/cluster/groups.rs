//! This broker's part of a cluster while it runs, and how it stops.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyport_protocol::{BrokerId, PartitionId};
use anyport_storage::metadata::{ClusterFacts, ClusterState, Command, Reply};
use anyport_storage::{GroupId, Store};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::answers::ClusterAnswers;
use super::leadership::Leadership;
use super::lease::holds_nothing;
use super::metadata_link::MetadataLink;
use super::placing;
use super::pulse::Health;
use super::registry_machine::Ended;
use super::replicas::{Running, RunningReplicas};
use super::start::StartError;
use super::stewards::Stewards;
use crate::epochs::{self, EpochsError};
use crate::partition::PartitionHandle;
use crate::peer::PeerTasks;
use crate::registry::RegistryHandle;
use crate::serving::{Links, Partitions, Serving};

/// How long a broker alone waits for every partition to take batches. One member needs a few syncs.
pub(super) const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a broker that stops waits until it is off the map.
const LEAVE_TIMEOUT: Duration = Duration::from_millis(500);

/// This broker's part of the cluster, running.
#[derive(Debug)]
pub struct Groups {
    /// What the cluster was created with.
    pub facts: ClusterFacts,
    pub partitions: Partitions,
    pub registry: RegistryHandle,
    pub links: Links,
    pub state: watch::Receiver<Arc<ClusterState>>,
    pub health: watch::Receiver<Health>,
    pub(super) metadata: MetadataLink,
    pub(super) running: watch::Receiver<Arc<RunningReplicas>>,
    pub(super) answers: Arc<ClusterAnswers>,
    /// None of a broker alone.
    pub(super) together: Option<Together>,
    pub(super) restart: Arc<Notify>,
    pub(super) ended: Mutex<Option<mpsc::Receiver<Ended>>>,
    pub(super) tasks: JoinSet<()>,
    pub(super) stop: CancellationToken,
}

/// What a broker has that is not alone, while it runs.
#[derive(Debug)]
pub(super) struct Together {
    pub(super) me: BrokerId,
    /// What this process has announced itself with.
    pub(super) start: u64,
    pub(super) stewards: Stewards,
    pub(super) links: PeerTasks,
}

/// Why a broker stops of the cluster's will.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dismissal {
    /// It was drained and has nothing left.
    Drained,
    /// It was away for too long, or an operator gave it up: others have its replicas now.
    Removed,
    /// It has to start anew, to be all that is left of some groups.
    Recovering,
}

impl Groups {
    pub fn metadata(&self) -> MetadataLink {
        self.metadata.clone()
    }

    /// Tells the cluster how loaded this broker is, and returns whether it has heard. None of a broker alone, which everybody is at anyway.
    pub fn tell_load(&self) -> Option<impl Fn(u16) -> BoxFuture<'static, bool> + Send + use<>> {
        let Together { me, start, .. } = *self.together.as_ref()?;
        let metadata = self.metadata.clone();
        Some(move |load| {
            let metadata = metadata.clone();
            async move {
                let told = metadata.decide(Command::Load { broker: me, start, load }).await;
                matches!(told, Ok(Reply::Done))
            }
            .boxed()
        })
    }

    /// Takes this broker off the map, so that nobody who leaves it now is sent back. Waits a moment at most.
    pub async fn leave_map(&self) {
        let Some(Together { me, start, .. }) = &self.together else { return };
        let left = self.metadata.decide(Command::Leave { broker: *me, start: *start });
        if !matches!(tokio::time::timeout(LEAVE_TIMEOUT, left).await, Ok(Ok(Reply::Done))) {
            tracing::info!("the cluster does not hear that this broker stops; its lease ends soon");
        }
    }

    /// Has the metadata know of the log epoch that the store begins, of which this broker alone can tell.
    pub async fn begin_epochs(&self, store: &Store) -> Result<(), EpochsError> {
        let running = Arc::clone(&self.running.borrow());
        let tails: Vec<_> =
            running.values().filter_map(Running::partition).map(|handle| handle.bounds().tail).collect();
        if tails.len() < usize::from(self.facts.partitions) {
            // Where others have partitions, stores are always synced, and no end is lost without the others knowing.
            return Ok(());
        }
        epochs::begin(store, &tails, &self.state, &self.metadata).await
    }

    /// Resolves when this broker is to stop because of what the cluster has decided.
    pub async fn dismissed(&self) -> Dismissal {
        let (mut health, mut state, me) = (self.health.clone(), self.state.clone(), self.links.own);
        let drained = |state: &ClusterState| {
            state.brokers.get(&me).is_some_and(|record| record.draining) && holds_nothing(state, me)
        };
        let given_up = |state: &ClusterState| state.removed.contains_key(&me);
        loop {
            if *health.borrow_and_update() == Health::Removed || given_up(&state.borrow()) {
                return Dismissal::Removed;
            }
            if drained(&state.borrow_and_update()) {
                return Dismissal::Drained;
            }
            tokio::select! {
                () = self.restart.notified() => return Dismissal::Recovering,
                Ok(()) = health.changed() => {}
                Ok(()) = state.changed() => {}
                else => std::future::pending().await,
            }
        }
    }

    /// Has other brokers answered, too, by what serves clients.
    pub fn serve(&self, serving: Serving) {
        self.answers.serve(serving);
    }

    /// This broker's own replica of a partition, if it has one.
    pub fn partition(&self, id: PartitionId) -> Option<PartitionHandle> {
        self.running.borrow().get(&GroupId::Partition(id)).and_then(|running| running.partition().cloned())
    }

    /// Has others serve from this broker's replicas, which must all be here.
    pub fn place(&self, partitions: &Partitions, registry: &RegistryHandle) {
        let running = Arc::clone(&self.running.borrow());
        for (group, running) in running.iter() {
            placing::set(partitions, registry, *group, running, true);
        }
    }

    /// Waits until every group is led here and every partition takes batches.
    pub(super) async fn all_open(&self) -> Result<(), StartError> {
        let running = Arc::clone(&self.running.borrow());
        for (group, running) in running.iter() {
            let open = async {
                let mut leadership = running.group.leadership();
                while !leadership.is_leader() {
                    leadership.changed().await;
                }
                match running.partition() {
                    Some(partition) => partition.opened().await,
                    None => true,
                }
            };
            if !tokio::time::timeout(OPEN_TIMEOUT, open).await.is_ok_and(|open| open) {
                return Err(StartError::NotOpen { group: *group });
            }
        }
        Ok(())
    }

    /// Says whether this broker serves as it should, or what does not.
    pub fn ready_probe(&self) -> Arc<dyn Fn() -> Result<(), String> + Send + Sync> {
        let (running, health, metadata) = (self.running.clone(), self.health.clone(), self.metadata.clone());
        let alone = self.together.is_none();
        Arc::new(move || {
            if *health.borrow() != Health::Well {
                return Err(format!("this broker is not well: {:?}", *health.borrow()));
            }
            let groups = running.borrow();
            let all = groups.values().map(|running| &running.group).chain([metadata.group()]);
            for group in all {
                match group.leadership().current() {
                    Leadership::Stopped { reason } => return Err(format!("{} is dead here: {reason}", group.id())),
                    other if alone && !matches!(other, Leadership::Leader { .. }) => {
                        return Err(format!("{} is not led here: {other:?}", group.id()));
                    }
                    _ => {}
                }
            }
            let is_shut = |running: &Running| running.partition().is_some_and(|partition| !partition.is_open());
            match groups.iter().find(|(_, running)| alone && is_shut(running)) {
                Some((group, _)) => Err(format!("{group} takes no batches")),
                None => Ok(()),
            }
        })
    }

    /// Subscriptions as they end without their client's session. There is one stream of them; who asks second gets an empty one.
    pub fn ended(&self) -> mpsc::Receiver<Ended> {
        let stream = self.ended.lock().unwrap_or_else(PoisonError::into_inner).take();
        stream.unwrap_or_else(|| mpsc::channel(1).1)
    }

    /// Stops in order: what is led here is handed over, nothing new is taken and what was taken is answered, the replicas end, the
    /// metadata last. The store is the caller's to close.
    pub async fn shutdown(mut self) {
        if let Some(together) = &self.together {
            together.stewards.hand_over_all().await;
        }
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(failed) = ended {
                tracing::error!(%failed, "a task of the groups");
            }
        }
        self.metadata.group().shutdown().await;
        if let Some(together) = self.together {
            together.links.stop().await;
        }
    }
}
