//! The groups this broker has replicas of, and the consensus engine behind them.
//!
//! Nothing outside this folder sees a type of the engine's (openraft 0.9): others have a [`Group`], which takes entries in
//! order and says what applying them did, and [`start()`], which starts them all. What the engine stores is in our own encoding,
//! so its next version is a change of this folder.
//!
//! A broker alone is a cluster of one: the same code, with nobody to wait for. A group whose replica dies (its store failed, or
//! the engine panicked) stays dead until the process is started again: it is counted and logged as an error, its partition or
//! shard refuses what it is asked, and the broker is not ready.

#![expect(clippy::result_large_err, reason = "the engine's own error, which its traits ask for")]

mod answers;
mod blocking;
mod controller;
mod directory;
mod encoding;
mod facts;
mod forming;
mod gauges;
mod group;
mod groups;
mod inbox;
mod leaders;
mod leadership;
mod lease;
mod log_store;
mod members;
mod metadata_link;
mod metadata_machine;
mod network;
mod noted;
mod operator;
mod oversight;
mod partition_machine;
mod placement;
mod placing;
mod pulse;
mod receiving;
mod recovery;
mod registry_machine;
mod replicas;
#[cfg(test)]
mod replicas_stories;
mod report;
mod seat;
mod sending;
#[cfg(test)]
mod several;
mod start;
mod steward;
mod stewards;
#[cfg(test)]
mod suite;
mod timing;
mod types;
mod wire;

pub use anyport_storage::metadata::Timing;
pub use encoding::BadStored;
pub use facts::{FactsError, NewCluster};
pub use forming::{FormingError, Introduction, Wish, join};
pub use group::{Group, GroupError, ProposeError, TrimError};
pub use groups::{Dismissal, Groups};
pub use inbox::RaftInbox;
pub use leaders::Leaders;
pub use leadership::{Leadership, LeadershipWatch};
pub use members::{ChangeError, Members, Progress};
pub use metadata_link::MetadataLink;
pub use network::Network;
pub use partition_machine::Applied;
pub use placement::plan;
pub use pulse::Health;
pub use recovery::ForceError;
pub use registry_machine::{EndCause, Ended};
pub use replicas::ReplicaError;
pub use seat::{Seat, SeatError};
pub use start::{GroupOptions, Member, Membership, StartError, start};
pub use types::{Effect, SnapshotData, SnapshotFile};
