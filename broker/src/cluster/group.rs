//! One replicated log: entries go in, and what applying them did comes out. This is the seam behind which the consensus engine
//! stays.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyport_protocol::ReplicaId;
use anyport_storage::{EntryData, GroupId, GroupLog, LogId};
use futures_util::FutureExt;
use openraft::error::{ClientWriteError, Fatal};
use openraft::raft::ClientWriteResponse;
use openraft::storage::RaftStateMachine;
use openraft::{Config, Raft, RaftMetrics, SnapshotPolicy};

use super::leadership::{Leadership, LeadershipWatch, reason};
use super::log_store::LogStore;
use super::network::Network;
use super::oversight::Oversight;
use super::timing::Pace;
use super::types::{Effect, TypeConfig, from_raft_id};
use anyport_storage::metadata::Timing;

/// How long a snapshot and a purge may take. Neither writes more than a mark.
const TRIM_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a proposal has no known effect. It may have one all the same: what this replica appended as leader, and then had to drop for
/// another leader's entries, some third replica may still have, and may lead one day.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    #[error("this replica does not lead the group; replica {leader:?} may")]
    NotLeader { leader: Option<ReplicaId> },
    #[error("the group has stopped: {reason}")]
    Stopped { reason: String },
}

#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    #[error("{group}: the engine refuses its configuration: {cause}")]
    Config { group: GroupId, cause: String },
    #[error("{group}: start: {cause}")]
    Start { group: GroupId, cause: String },
    #[error("{group}: make the first membership: {cause}")]
    Initialize { group: GroupId, cause: String },
}

#[derive(Debug, thiserror::Error)]
pub enum TrimError {
    #[error("the group has stopped: {reason}")]
    Stopped { reason: String },
    #[error("the log was not trimmed to {upto} in time")]
    TimedOut { upto: u64 },
}

/// What a replica is started from.
pub(super) struct GroupParts<M> {
    pub(super) log: GroupLog,
    pub(super) machine: M,
    /// Its name, which is given out once: not even to the same broker again after its data is lost.
    pub(super) replica: ReplicaId,
    pub(super) timing: Timing,
    pub(super) network: Network,
}

/// A running replica of one group. Clones are handles on the same.
#[derive(Clone)]
pub struct Group {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    id: GroupId,
    replica: ReplicaId,
    pub(super) raft: Raft<TypeConfig>,
    pub(super) pace: Pace,
    pub(super) oversight: Oversight,
}

impl Group {
    /// Starts the replica from what the store has. One that has nothing waits for a leader to send it the log, or for
    /// [`Group::initialize`].
    pub(super) async fn start(parts: GroupParts<impl RaftStateMachine<TypeConfig>>) -> Result<Self, GroupError> {
        let GroupParts { log, machine, replica, timing, network } = parts;
        let (id, pace) = (log.group(), Pace::from(timing));
        let config = Config { enable_elect: network.links.is_none(), ..config(id, pace) }.validate();
        let config = config.map_err(|bad| GroupError::Config { group: id, cause: bad.to_string() })?;
        let raft = Raft::new(replica.0, Arc::new(config), network.of_group(id), LogStore::new(log), machine).await;
        let raft = raft.map_err(|fatal| GroupError::Start { group: id, cause: fatal.to_string() })?;
        let inner = Inner { id, replica, raft, pace, oversight: Oversight::default() };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Makes this replica the only member of a group that never was. Only for the creation of a cluster: elsewhere it would make
    /// a second group of the same name. Does nothing if the replica has a log.
    pub(super) async fn initialize(&self) -> Result<(), GroupError> {
        let failed = |cause: &dyn fmt::Display| GroupError::Initialize { group: self.id(), cause: cause.to_string() };
        let raft = &self.inner.raft;
        if !raft.is_initialized().await.map_err(|fatal| failed(&fatal))? {
            raft.initialize(BTreeSet::from([self.inner.replica.0])).await.map_err(|error| failed(&error))?;
        }
        Ok(())
    }

    pub fn id(&self) -> GroupId {
        self.inner.id
    }

    pub fn replica(&self) -> ReplicaId {
        self.inner.replica
    }

    /// How long whoever proposes waits before it gives up.
    pub fn overdue(&self) -> Duration {
        self.inner.pace.overdue
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// Hands an entry to the group before it returns, so entries of one caller keep their order. The future says what applying
    /// it did; dropping it takes nothing back.
    pub fn submit(
        &self,
        data: EntryData,
    ) -> impl Future<Output = Result<(LogId, Effect), ProposeError>> + Send + use<> {
        let raft = self.inner.raft.clone();
        // It is sent to the engine's unbounded queue, without waiting unless the engine is gone. Callers bound what they have
        // under way.
        let submitted = raft.client_write_ff(data).now_or_never();
        async move {
            let Some(Ok(outcome)) = submitted else { return Err(stopped(&raft)) };
            match outcome.await {
                Ok(Ok(ClientWriteResponse { log_id, data, .. })) => Ok((from_raft_id(&log_id), data)),
                Ok(Err(ClientWriteError::ForwardToLeader(to))) => {
                    Err(ProposeError::NotLeader { leader: to.leader_id.map(ReplicaId) })
                }
                Ok(Err(ClientWriteError::ChangeMembershipError(error))) => {
                    unreachable!("data changes no membership: {error}")
                }
                Err(_) => Err(stopped(&raft)),
            }
        }
    }

    pub async fn propose(&self, data: EntryData) -> Result<(LogId, Effect), ProposeError> {
        self.submit(data).await
    }

    pub fn leadership(&self) -> LeadershipWatch {
        let (server, engine) = (self.inner.raft.server_metrics(), self.inner.raft.metrics());
        LeadershipWatch { server, engine, quorum: self.inner.oversight.quorum(), stopped: false }
    }

    /// Resolves with the reason when the replica is dead: it was shut down, or its store failed, or the engine panicked.
    pub async fn died(&self) -> String {
        let mut leadership = self.leadership();
        let mut current = leadership.current();
        loop {
            if let Leadership::Stopped { reason } = current {
                return reason;
            }
            current = leadership.changed().await;
        }
    }

    /// The last entry applied here.
    pub fn applied(&self) -> Option<LogId> {
        self.inner.raft.metrics().borrow().last_applied.as_ref().map(from_raft_id)
    }

    /// The index of the last entry of its log.
    pub fn last(&self) -> Option<u64> {
        self.inner.raft.metrics().borrow().last_log_index
    }

    /// What this replica knows to be committed, and what it has applied. Asks the engine itself, so an answer also shows that it
    /// runs; a caller who wants to know that gives it a time.
    pub async fn committed_and_applied(&self) -> Result<(Option<LogId>, Option<LogId>), ProposeError> {
        let committed = self.inner.raft.with_raft_state(|state| state.committed).await;
        let committed = committed.map_err(|_| stopped(&self.inner.raft))?;
        Ok((committed.as_ref().map(from_raft_id), self.applied()))
    }

    /// Who votes, as its log says: two sets while they change. Asks the engine itself.
    pub async fn voters(&self) -> Result<Vec<Vec<ReplicaId>>, ProposeError> {
        let asked = self.inner.raft.with_raft_state(|state| {
            let membership = state.membership_state.effective().membership();
            let set = |voters: &BTreeSet<u64>| voters.iter().copied().map(ReplicaId).collect();
            membership.get_joint_config().iter().map(set).collect()
        });
        asked.await.map_err(|_| stopped(&self.inner.raft))
    }

    /// Has this replica stand for election now. In vain while its voters believe in a leader: they do for the longest time of an
    /// election after its last heartbeat, see [`Group::heartbeats`].
    pub async fn elect(&self) {
        // If the engine has stopped, that is told elsewhere.
        let _ = self.inner.raft.trigger().elect().await;
    }

    /// Whether this replica may stand for election by itself, when it can win. True at the start.
    pub fn allow_elections(&self, allowed: bool) {
        self.inner.oversight.allow_elections(allowed);
    }

    /// Whether this replica tells the others that it leads, while it does. A leader that is to step back says so no more, and is
    /// [`Leadership::Isolated`] at once, so that nothing is proposed either. True at the start.
    pub fn heartbeats(&self, sent: bool) {
        self.inner.oversight.allow_heartbeats(sent);
    }

    /// Forgets the log up to this index, which the state machine's snapshot must reach: makes the snapshot, then purges.
    pub async fn trim(&self, upto: u64) -> Result<(), TrimError> {
        let reached = |id: Option<openraft::LogId<u64>>| id.is_some_and(|id| id.index >= upto);
        self.trigger(self.inner.raft.trigger().snapshot().await)?;
        self.wait_until(upto, move |metrics| reached(metrics.snapshot)).await?;
        self.trigger(self.inner.raft.trigger().purge_log(upto).await)?;
        self.wait_until(upto, move |metrics| reached(metrics.purged)).await
    }

    fn trigger(&self, triggered: Result<(), Fatal<u64>>) -> Result<(), TrimError> {
        triggered.map_err(|fatal| TrimError::Stopped { reason: fatal.to_string() })
    }

    async fn wait_until(
        &self,
        upto: u64,
        reached: impl Fn(&RaftMetrics<u64, ()>) -> bool + Send,
    ) -> Result<(), TrimError> {
        let mut metrics = self.inner.raft.metrics();
        let waited = tokio::time::timeout(TRIM_TIMEOUT, metrics.wait_for(reached)).await;
        match waited {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(TrimError::Stopped { reason: reason(&self.inner.raft.metrics().borrow()) }),
            Err(_) => Err(TrimError::TimedOut { upto }),
        }
    }

    /// Ends the replica. What was submitted and is not applied stays unknown to whoever submitted it.
    pub async fn shutdown(&self) {
        if let Err(failed) = self.inner.raft.shutdown().await {
            tracing::error!(group = %self.id(), %failed, "shut the group down");
        }
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("id", &self.id()).field("replica", &self.replica()).finish_non_exhaustive()
    }
}

fn config(group: GroupId, pace: Pace) -> Config {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).expect("some seconds");
    Config {
        cluster_name: group.to_string(),
        heartbeat_interval: millis(pace.heartbeat),
        election_timeout_min: millis(pace.election_min),
        election_timeout_max: millis(pace.election_max),
        // Sent for all groups at once: see `oversight.rs`, which also says when a replica with peers may stand.
        enable_heartbeat: false,
        // Trimming is decided by us, never by the engine: it would drop entries that hold retained events.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        // Counts entries. Bytes are bounded by the log store.
        max_payload_entries: 64,
        // Its default calls a learner caught up that lacks thousands of entries.
        replication_lag_threshold: 16,
        ..Config::default()
    }
}

fn stopped(raft: &Raft<TypeConfig>) -> ProposeError {
    ProposeError::Stopped { reason: reason(&raft.metrics().borrow()) }
}
