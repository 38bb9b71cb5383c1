//! What the brokers of a cluster agree on about the cluster itself: so far only the facts it was created with.
//!
//! Owns one row, the facts. Its invariant: facts are created once and never change, whoever asks again is told those that
//! stand. Everything is small enough to be in memory and to be sent whole, so a snapshot is bytes. What cannot be read is an
//! error: a cluster that took missing facts for none would create others, and lock out every client it has.

mod command;
mod encoding;
mod facts;
#[cfg(test)]
pub(crate) mod fuzz;
mod machine;
#[cfg(test)]
mod machine_tests;
mod snapshot;

pub use command::{Command, Reply};
pub use encoding::FormatError;
pub use facts::ClusterFacts;
pub use machine::MetadataMachine;
pub use snapshot::{BadMetadataSnapshot, MetadataSnapshot};
