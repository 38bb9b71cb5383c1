//! What is known of every client: its subscriptions, how far each has come, and which session may speak for it.
//!
//! The registry is cut into shards, each a Raft group; this module is what such a group applies. It owns the rows of the
//! `registry` column family, one per client. Its invariants: within one incarnation a cursor never goes back, an incarnation
//! number never comes twice, and nobody but the session of the newest epoch makes or moves anything in a record; without one a
//! subscription can only be ended, by the incarnation that is meant. Nothing is kept in memory per client, so a client that is away
//! costs its few hundred bytes of disk and no more. A subscription that expires leaves a [`Tombstone`], so that a client which has
//! lost its own memory of it is told all the same.
//!
//! [`decide()`] is the whole of the rules, a function of values; [`RegistryMachine`] feeds it from the log and writes what it
//! says. A row that cannot be read is an error that names shard and client, never a missing client.

mod batch;
mod codec;
mod command;
mod decide;
mod fields;
#[cfg(test)]
pub(crate) mod fuzz;
mod machine;
#[cfg(test)]
mod machine_tests;
mod reader;
mod record;
mod rows;
mod snapshot_file;
#[cfg(test)]
mod stories;

pub use batch::{BatchError, CommandBatch};
pub use codec::RecordError;
pub use command::{Command, IgnoredMove, Refusal, Reply};
pub use decide::decide;
pub use machine::RegistryMachine;
pub use reader::{ExpiredSubscription, ExpiryScan, RegistryReader};
pub use record::{ClientRecord, SubscriptionRecord, Tombstone};
pub(crate) use rows::bounds;
pub use snapshot_file::{SnapshotError, SnapshotMeta};
