//! What the brokers of a cluster agree on about the cluster itself: the facts it was created with, who its brokers are, and which
//! of them has a replica of what.
//!
//! Owns two rows, the facts and the rest of the state. Its invariants: facts are created once and never change, whoever asks
//! again is told those that stand; the number of a broker and the id of a replica are given once, whatever becomes of them.
//! Everything is small enough to be in memory and to be sent whole, so a snapshot is bytes. What cannot be read is an error:
//! a cluster that took missing facts for none would create others, and lock out every client it has.
//!
//! Read [`ClusterState`] first, then [`Command`], then [`decide()`], which has the rules.

mod assign;
mod command;
mod decide;
mod encoding;
mod facts;
#[cfg(test)]
pub(crate) mod fuzz;
mod machine;
#[cfg(test)]
mod machine_tests;
#[cfg(test)]
mod map_stories;
#[cfg(test)]
mod properties;
mod service_map;
mod snapshot;
mod state;
#[cfg(test)]
mod stories;

pub use command::{Command, Refusal, Reply};
pub use decide::decide;
pub use encoding::FormatError;
pub use facts::{ClusterFacts, Timing};
pub use machine::MetadataMachine;
pub use service_map::{Advertised, MapState, ServiceChange, ServiceRule};
pub use snapshot::{BadMetadataSnapshot, MetadataSnapshot};
pub use state::{Assignment, BrokerRecord, ClusterState, EpochBegan};
