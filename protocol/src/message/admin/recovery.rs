//! Going on without a majority that is lost for good: what would be done, what may be lost by it, and the word to do it.

use serde::{Deserialize, Serialize};

use super::GroupName;
use crate::{ClusterId, Offset, ReplicaId};

/// Asks what recovery would do. Changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RecoverPlanQuestion {}

/// The groups that have lost their majority, and what would become of each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecoverPlan {
    pub cluster: ClusterId,
    /// Names exactly this plan. Once something has changed it is refused, and a new plan is to be asked for.
    pub token: String,
    pub groups: Vec<GroupRecovery>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupRecovery {
    pub group: GroupName,
    /// The voters that cannot be reached. Whatever only they have is given up.
    pub lost: Vec<ReplicaId>,
    /// The replicas that can be, each with what it has.
    pub survivors: Vec<Survivor>,
    /// The one that the group goes on from. None where no copy is left.
    #[serde(default)]
    pub chosen: Option<ReplicaId>,
    /// What may be lost, in words.
    #[serde(default)]
    pub may_lose: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Survivor {
    pub replica: ReplicaId,
    /// The end of its log.
    pub last_term: u64,
    pub last_index: u64,
    /// How far it knows that a majority had it.
    pub committed: u64,
    /// The end of its events, of a partition.
    #[serde(default)]
    pub tail: Option<Offset>,
}

/// Says to do what a plan says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecoverQuestion {
    pub token: String,
}
