//! Who belongs to a group, and changing that.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyport_protocol::ReplicaId;
use openraft::error::{ClientWriteError, RaftError};
use openraft::{ChangeMembers, Membership};

use super::group::Group;
use super::types::from_raft_id;

/// How long one change of the members may take to be committed and applied.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(10);

/// A replica that lacks at most so many entries has caught up: about what is on its way under load. One that lacks more does not become a
/// voter, for acks would wait for it.
pub(super) const LAG_ENTRIES_MAX: u64 = 64;

/// The members of a group, as its log here says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// While the voters change, those of before and those to come.
    pub voters: BTreeSet<ReplicaId>,
    /// They are sent the log, and have no say.
    pub learners: BTreeSet<ReplicaId>,
    /// No change is under way: one set of voters, committed and applied here.
    pub settled: bool,
}

impl Members {
    pub fn contains(&self, replica: ReplicaId) -> bool {
        self.voters.contains(&replica) || self.learners.contains(&replica)
    }
}

/// How far the members of a group have come, as its leader knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The last entry of the leader's log.
    pub last: Option<u64>,
    /// Up to which entry each member's log is known to be the leader's.
    pub matched: BTreeMap<ReplicaId, Option<u64>>,
}

impl Progress {
    /// Entries that this member lacks. None if it is none, or was not heard yet.
    pub fn lag(&self, replica: ReplicaId) -> Option<u64> {
        let matched = (*self.matched.get(&replica)?)?;
        Some(self.last.map_or(0, |last| last.saturating_sub(matched)))
    }
}

/// Why the members were not changed, or not as far as is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    #[error("this replica does not lead the group; replica {leader:?} may")]
    NotLeader { leader: Option<ReplicaId> },
    #[error("another change of the members is under way")]
    UnderWay,
    #[error("replica {replica} lacks {lag:?} entries, and becomes a voter when it lacks {LAG_ENTRIES_MAX} at most")]
    Lags { replica: ReplicaId, lag: Option<u64> },
    #[error("the change is refused: {cause}")]
    Refused { cause: String },
    #[error("the change was not committed in time")]
    TimedOut,
    #[error("the group has stopped: {reason}")]
    Stopped { reason: String },
}

impl Group {
    pub fn members(&self) -> Members {
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow();
        let stored = &metrics.membership_config;
        let membership = stored.membership();
        let is_applied = stored.log_id().is_some() && *stored.log_id() <= metrics.last_applied;
        Members {
            voters: membership.voter_ids().map(ReplicaId).collect(),
            learners: membership.learner_ids().map(ReplicaId).collect(),
            settled: is_applied && membership.get_joint_config().len() == 1,
        }
    }

    /// None if this replica does not lead.
    pub fn progress(&self) -> Option<Progress> {
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow();
        let replication = metrics.replication.as_ref()?;
        let index = |id: &Option<openraft::LogId<u64>>| id.as_ref().map(|id| from_raft_id(id).index);
        let matched = replication.iter().map(|(replica, id)| (ReplicaId(*replica), index(id))).collect();
        Some(Progress { last: metrics.last_log_index, matched })
    }

    /// Makes a replica a learner, which is then sent the log. Who is a member already stays what it is.
    pub async fn add_learner(&self, replica: ReplicaId) -> Result<(), ChangeError> {
        self.add(BTreeSet::from([replica])).await
    }

    /// Has the group end up with these members. Every step leaves it whole, and a change that was cut short is taken up by the
    /// next call. Voters that are to go are learners on the way. A voter-to-be must have caught up.
    pub async fn change_members(
        &self,
        voters: BTreeSet<ReplicaId>,
        learners: BTreeSet<ReplicaId>,
    ) -> Result<(), ChangeError> {
        let wanted: BTreeSet<_> = voters.union(&learners).copied().collect();
        self.add(wanted.clone()).await?;
        let now = self.membership().await?;
        let has: BTreeSet<_> = now.voter_ids().map(ReplicaId).collect();
        if has != voters || now.get_joint_config().len() > 1 {
            self.check_caught_up(voters.difference(&has).copied())?;
            let voters = voters.iter().map(|voter| voter.0).collect();
            self.change(ChangeMembers::ReplaceAllVoters(voters)).await?;
        }
        let now = self.membership().await?;
        let gone: BTreeSet<u64> =
            now.nodes().map(|(id, ())| *id).filter(|id| !wanted.contains(&ReplicaId(*id))).collect();
        if gone.is_empty() { Ok(()) } else { self.change(ChangeMembers::RemoveNodes(gone)).await }
    }

    async fn add(&self, replicas: BTreeSet<ReplicaId>) -> Result<(), ChangeError> {
        let now = self.membership().await?;
        let missing: BTreeMap<u64, ()> =
            replicas.into_iter().filter(|id| now.get_node(&id.0).is_none()).map(|id| (id.0, ())).collect();
        if missing.is_empty() { Ok(()) } else { self.change(ChangeMembers::AddNodes(missing)).await }
    }

    /// Asks the engine itself: what it publishes may be a moment old.
    async fn membership(&self) -> Result<Membership<u64, ()>, ChangeError> {
        let membership =
            self.inner.raft.with_raft_state(|state| state.membership_state.effective().membership().clone());
        membership.await.map_err(|fatal| ChangeError::Stopped { reason: fatal.to_string() })
    }

    fn check_caught_up(&self, mut replicas: impl Iterator<Item = ReplicaId>) -> Result<(), ChangeError> {
        let progress = self.progress().unwrap_or_default();
        let lags = |replica: &ReplicaId| progress.lag(*replica).is_none_or(|lag| lag > LAG_ENTRIES_MAX);
        match replicas.find(lags) {
            Some(replica) => Err(ChangeError::Lags { replica, lag: progress.lag(replica) }),
            None => Ok(()),
        }
    }

    async fn change(&self, change: ChangeMembers<u64, ()>) -> Result<(), ChangeError> {
        // Voters that are no longer any are kept as learners, until they are removed by name.
        let changed = self.inner.raft.change_membership(change, true);
        match tokio::time::timeout(CHANGE_TIMEOUT, changed).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(to)))) => {
                Err(ChangeError::NotLeader { leader: to.leader_id.map(ReplicaId) })
            }
            Ok(Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(error)))) => Err(match error {
                openraft::error::ChangeMembershipError::InProgress(_) => ChangeError::UnderWay,
                refused => ChangeError::Refused { cause: refused.to_string() },
            }),
            Ok(Err(RaftError::Fatal(fatal))) => Err(ChangeError::Stopped { reason: fatal.to_string() }),
            Err(_) => Err(ChangeError::TimedOut),
        }
    }
}
