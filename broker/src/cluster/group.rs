//! One replicated log: entries go in, and what applying them did comes out. This is the seam behind which the consensus engine
//! stays.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyport_protocol::Outcome;
use anyport_storage::{EntryData, GroupId, GroupLog, LogId};
use futures_util::FutureExt;
use openraft::error::{ClientWriteError, Fatal};
use openraft::metrics::RaftServerMetrics;
use openraft::raft::ClientWriteResponse;
use openraft::storage::RaftStateMachine;
use openraft::{Config, Raft, RaftMetrics, ServerState, SnapshotPolicy};
use tokio::sync::watch;

use super::log_store::LogStore;
use super::network::NoNetwork;
use super::types::{Effect, TypeConfig, from_raft_id};

/// Names this broker's replica of every group. Never used again once its data is lost.
const REPLICA: u64 = 1;

/// The timing of brokers in one place: a dead leader is replaced within 1.2 to 1.6 seconds.
const HEARTBEAT_MS: u64 = 150;
const ELECTION_MS: std::ops::Range<u64> = 450..750;

/// How long a snapshot and a purge may take. Neither writes more than a mark.
const TRIM_TIMEOUT: Duration = Duration::from_secs(10);

/// Who leads the group, as far as this replica knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leadership {
    /// This replica does. Every time it comes to lead, the term is another one, except after a restart.
    Leader {
        term: u64,
    },
    Follower {
        leader: Option<u64>,
    },
    /// The group is dead here: it was shut down, or its store failed.
    Stopped {
        reason: String,
    },
}

/// Why a proposal has no known effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    #[error("this replica does not lead the group; replica {leader:?} may")]
    NotLeader { leader: Option<u64> },
    #[error("the group has stopped: {reason}")]
    Stopped { reason: String },
}

impl ProposeError {
    /// May the entry be applied all the same?
    pub fn outcome(&self) -> Outcome {
        match self {
            // Not appended, or truncated since: it is in no log that can win.
            Self::NotLeader { .. } => Outcome::SurelyNot,
            Self::Stopped { .. } => Outcome::Maybe,
        }
    }
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

/// A running replica of one group. Clones are handles on the same.
#[derive(Clone)]
pub struct Group {
    id: GroupId,
    raft: Raft<TypeConfig>,
}

impl Group {
    /// Starts the replica from what the store has; a group that never was begins with this broker as its only member.
    pub(super) async fn start(log: GroupLog, machine: impl RaftStateMachine<TypeConfig>) -> Result<Self, GroupError> {
        let group = log.group();
        let config = config(group).validate().map_err(|bad| GroupError::Config { group, cause: bad.to_string() })?;
        let raft = Raft::new(REPLICA, Arc::new(config), NoNetwork, LogStore::new(log), machine).await;
        let raft = raft.map_err(|fatal| GroupError::Start { group, cause: fatal.to_string() })?;
        let failed = |cause: &dyn fmt::Display| GroupError::Initialize { group, cause: cause.to_string() };
        if !raft.is_initialized().await.map_err(|fatal| failed(&fatal))? {
            raft.initialize(BTreeSet::from([REPLICA])).await.map_err(|error| failed(&error))?;
        }
        Ok(Self { id: group, raft })
    }

    pub fn id(&self) -> GroupId {
        self.id
    }

    /// Hands an entry to the group before it returns, so entries of one caller keep their order. The future says what applying
    /// it did; dropping it takes nothing back.
    pub fn submit(
        &self,
        data: EntryData,
    ) -> impl Future<Output = Result<(LogId, Effect), ProposeError>> + Send + use<> {
        let raft = self.raft.clone();
        // It is sent to the engine's unbounded queue, without waiting unless the engine is gone. Callers bound what they have
        // under way.
        let submitted = raft.client_write_ff(data).now_or_never();
        async move {
            let Some(Ok(outcome)) = submitted else { return Err(stopped(&raft)) };
            match outcome.await {
                Ok(Ok(ClientWriteResponse { log_id, data, .. })) => Ok((from_raft_id(&log_id), data)),
                Ok(Err(ClientWriteError::ForwardToLeader(to))) => Err(ProposeError::NotLeader { leader: to.leader_id }),
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
        let (server, engine) = (self.raft.server_metrics(), self.raft.metrics());
        LeadershipWatch { server, engine, stopped: false }
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
        self.raft.metrics().borrow().last_applied.as_ref().map(from_raft_id)
    }

    /// Forgets the log up to this index, which the state machine's snapshot must reach: makes the snapshot, then purges.
    pub async fn trim(&self, upto: u64) -> Result<(), TrimError> {
        let reached = |id: Option<openraft::LogId<u64>>| id.is_some_and(|id| id.index >= upto);
        self.trigger(self.raft.trigger().snapshot().await)?;
        self.wait_until(upto, move |metrics| reached(metrics.snapshot)).await?;
        self.trigger(self.raft.trigger().purge_log(upto).await)?;
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
        let mut metrics = self.raft.metrics();
        let waited = tokio::time::timeout(TRIM_TIMEOUT, metrics.wait_for(reached)).await;
        match waited {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(TrimError::Stopped { reason: reason(&self.raft.metrics().borrow()) }),
            Err(_) => Err(TrimError::TimedOut { upto }),
        }
    }

    /// Ends the replica. What was submitted and is not applied stays unknown to whoever submitted it.
    pub async fn shutdown(&self) {
        if let Err(failed) = self.raft.shutdown().await {
            tracing::error!(group = %self.id, %failed, "shut the group down");
        }
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("id", &self.id).finish_non_exhaustive()
    }
}

fn config(group: GroupId) -> Config {
    Config {
        cluster_name: group.to_string(),
        heartbeat_interval: HEARTBEAT_MS,
        election_timeout_min: ELECTION_MS.start,
        election_timeout_max: ELECTION_MS.end,
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

fn reason(metrics: &RaftMetrics<u64, ()>) -> String {
    match &metrics.running_state {
        Ok(()) => "it is shutting down".to_owned(),
        Err(fatal) => fatal.to_string(),
    }
}

/// Follows who leads a group.
#[derive(Clone, Debug)]
pub struct LeadershipWatch {
    /// Changes with the leader only; the engine's other metrics change with every entry.
    server: watch::Receiver<RaftServerMetrics<u64, ()>>,
    engine: watch::Receiver<RaftMetrics<u64, ()>>,
    stopped: bool,
}

impl LeadershipWatch {
    pub fn current(&self) -> Leadership {
        if self.server.has_changed().is_err() {
            return Leadership::Stopped { reason: reason(&self.engine.borrow()) };
        }
        let server = self.server.borrow();
        match server.state {
            ServerState::Leader => Leadership::Leader { term: server.vote.leader_id.term },
            ServerState::Shutdown => Leadership::Stopped { reason: reason(&self.engine.borrow()) },
            _ => Leadership::Follower { leader: server.current_leader },
        }
    }

    pub fn is_leader(&self) -> bool {
        matches!(self.current(), Leadership::Leader { .. })
    }

    /// Resolves when it may have changed; never again once the group has stopped.
    pub async fn changed(&mut self) -> Leadership {
        if self.stopped {
            std::future::pending::<()>().await;
        }
        self.stopped = self.server.changed().await.is_err();
        self.current()
    }
}
