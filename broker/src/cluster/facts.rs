//! Learning, before anything else is started, what the cluster was created with, or creating it.
//!
//! Any number of brokers may propose a creation; the first that is applied stands, and all of them take that.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyport_protocol::{ClusterId, WallMs};
use anyport_storage::EntryData;
use anyport_storage::metadata::{ClusterFacts, ClusterState, Command, Reply, Timing};
use tokio::sync::watch;

use super::group::{Group, ProposeError};
use super::leadership::Leadership;
use super::types::Effect;

/// How long a start waits to know the facts. One member needs an election and a few syncs.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What the caller would have a cluster be, if it does not exist yet.
#[derive(Clone)]
pub struct NewCluster {
    pub cluster: ClusterId,
    pub created: WallMs,
    pub token_key: Vec<u8>,
    pub timing: Timing,
    pub replication: u8,
    pub replace_after_ms: u64,
}

/// Without the key.
impl fmt::Debug for NewCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewCluster")
            .field("cluster", &self.cluster)
            .field("created", &self.created)
            .finish_non_exhaustive()
    }
}

impl NewCluster {
    /// With the defaults of a cluster.
    pub fn new(cluster: ClusterId, created: WallMs, token_key: Vec<u8>) -> Self {
        let (replication, replace_after_ms) =
            (ClusterFacts::DEFAULT_REPLICATION, ClusterFacts::DEFAULT_REPLACE_AFTER_MS);
        Self { cluster, created, token_key, timing: Timing::default(), replication, replace_after_ms }
    }

    pub fn facts(self, partitions: u16, registry_shards: u16) -> ClusterFacts {
        let Self { cluster, created, token_key, timing, replication, replace_after_ms } = self;
        ClusterFacts { cluster, partitions, registry_shards, created, token_key, timing, replication, replace_after_ms }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FactsError {
    #[error("the cluster was created with {stored} {what}; {configured} are configured")]
    Layout { what: &'static str, stored: u16, configured: u16 },
    #[error("the metadata group has stopped: {reason}")]
    Stopped { reason: String },
    #[error("what the cluster was created with was not known within {} s", TIMEOUT.as_secs())]
    TimedOut,
}

/// The facts that stand, which are the proposed ones if there were none. Refuses a cluster of other counts.
pub(super) async fn agree(
    group: &Group,
    mut state: watch::Receiver<Arc<ClusterState>>,
    proposed: ClusterFacts,
) -> Result<ClusterFacts, FactsError> {
    let counts = [proposed.partitions, proposed.registry_shards];
    let facts = tokio::select! {
        biased;
        facts = learn(&mut state) => facts,
        created = create(group, proposed) => created?,
        () = tokio::time::sleep(TIMEOUT) => return Err(FactsError::TimedOut),
    };
    let stored = [facts.partitions, facts.registry_shards];
    for ((what, stored), configured) in ["partitions", "registry shards"].into_iter().zip(stored).zip(counts) {
        if stored != configured {
            return Err(FactsError::Layout { what, stored, configured });
        }
    }
    Ok(facts)
}

/// Waits, as long as it takes, for what others have created: of a broker that has joined, the first thing its metadata tells.
pub(super) async fn wait(
    group: &Group,
    mut state: watch::Receiver<Arc<ClusterState>>,
) -> Result<ClusterFacts, FactsError> {
    let told = async {
        loop {
            tokio::time::sleep(TIMEOUT).await;
            tracing::warn!(
                "waits for the cluster's metadata; its leader cannot be reached, or cannot reach this broker"
            );
        }
    };
    tokio::select! {
        facts = learn(&mut state) => Ok(facts),
        reason = group.died() => Err(FactsError::Stopped { reason }),
        never = told => never,
    }
}

/// Resolves when facts stand here, whoever created the cluster.
async fn learn(state: &mut watch::Receiver<Arc<ClusterState>>) -> ClusterFacts {
    let known = state.wait_for(|state| state.facts.is_some()).await.ok().and_then(|state| state.facts.clone());
    match known {
        Some(facts) => facts,
        // The state machine is gone, which `create` reports with the reason.
        None => std::future::pending().await,
    }
}

/// Proposes the creation whenever this replica leads, until one is applied.
async fn create(group: &Group, proposed: ClusterFacts) -> Result<ClusterFacts, FactsError> {
    let command = EntryData::from_bytes(Command::Create(proposed).encode().into());
    let mut leadership = group.leadership();
    let mut current = leadership.current();
    loop {
        match current {
            Leadership::Leader { .. } => match group.propose(command.clone()).await {
                Ok((_, Effect::Metadata(Some(Reply::Created(facts))))) => return Ok(facts),
                Ok((_, effect)) => unreachable!("the metadata group answers a creation, and not with {effect:?}"),
                // The leader that took over creates the cluster, or this one does when it leads again.
                Err(ProposeError::NotLeader { .. }) => {}
                Err(ProposeError::Stopped { reason }) => return Err(FactsError::Stopped { reason }),
            },
            Leadership::Follower { .. } | Leadership::Isolated { .. } => {}
            Leadership::Stopped { reason } => return Err(FactsError::Stopped { reason }),
        }
        current = leadership.changed().await;
    }
}

#[cfg(test)]
mod tests {
    use anyport_protocol::ReplicaId;
    use anyport_storage::{GroupId, Store, StoreOptions};

    use super::super::group::GroupParts;
    use super::super::metadata_machine::MetadataStateMachine;
    use super::super::network::Network;
    use super::*;

    fn proposed(cluster: u8, partitions: u16) -> ClusterFacts {
        let new = NewCluster::new(ClusterId([cluster; 16]), WallMs(1), vec![cluster]);
        new.facts(partitions, 1)
    }

    async fn metadata() -> (tempfile::TempDir, Group, watch::Receiver<Arc<ClusterState>>) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = Store::open(folder.path(), StoreOptions::default()).expect("open");
        let (machine, state) = MetadataStateMachine::new(store.metadata().expect("open"));
        let (log, replica, timing) = (store.log(GroupId::Metadata), ReplicaId::FIRST, Timing::Lan);
        let parts = GroupParts { log, machine, replica, timing, network: Network::alone() };
        let group = Group::start(parts).await.expect("start");
        group.initialize().await.expect("the first member");
        (folder, group, state)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_second_creation_is_answered_with_the_first() {
        let (_folder, group, state) = metadata().await;
        assert_eq!(agree(&group, state.clone(), proposed(1, 8)).await, Ok(proposed(1, 8)));
        assert_eq!(agree(&group, state, proposed(2, 8)).await, Ok(proposed(1, 8)));
        assert_eq!(create(&group, proposed(3, 8)).await, Ok(proposed(1, 8)), "also of one who has not heard of it");
        group.shutdown().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_cluster_of_other_counts_is_refused() {
        let (_folder, group, state) = metadata().await;
        agree(&group, state.clone(), proposed(1, 8)).await.expect("created");
        let refused = agree(&group, state, proposed(1, 9)).await;
        assert_eq!(refused, Err(FactsError::Layout { what: "partitions", stored: 8, configured: 9 }));
        group.shutdown().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_group_that_has_stopped_is_not_waited_for() {
        let (_folder, group, _) = metadata().await;
        group.shutdown().await;
        let nobody = watch::channel(Arc::default()).1;
        assert!(matches!(agree(&group, nobody, proposed(1, 8)).await, Err(FactsError::Stopped { .. })));
    }
}
