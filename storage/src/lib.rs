//! Partition logs and the client registry, on one RocksDB with one write-ahead log and one committer thread.
//!
//! Synchronous: no runtime, no consensus engine. Everything that blocks here blocks its caller, so asynchronous callers go
//! through threads of their own. RocksDB appears nowhere else in the project.
//!
//! Read [`Store`] first (what is opened, closed and poisoned), then [`GroupLog`] (what Raft keeps), then [`PartitionMachine`]
//! and [`PartitionReader`] (what an applied log means). The log *is* the event store: an event is written once, as part of
//! its log entry, and replay reads it from there.

mod column;
mod committer;
mod distrust;
mod engine;
mod error;
#[cfg(test)]
mod fuzz;
mod group;
mod keeper;
mod keys;
mod log;
mod mark;
pub mod metadata;
mod open;
mod options;
pub mod partition;
pub mod registry;
mod reset;
mod sealed;
mod state;
mod store;

pub use error::{DamageAt, OpenError, Poison, StoreError};
pub use group::GroupId;
pub use log::{EntryData, GroupLog, LogEntry, LogId, Payload};
pub use metadata::MetadataMachine;
pub use options::{Step, StoreOptions, SyncMode};
pub use partition::{
    BadEntry, BadFraming, BadSnapshot, BatchBuilder, BatchHeader, Bounds, Chunk, PartitionEffect, PartitionEntry,
    PartitionMachine, PartitionReader, PartitionSnapshot, ProducerBatch, ProducerRow, ReadError, Record,
};
pub use registry::RegistryMachine;
pub use store::Store;

/// Called once a write is as durable as the store's [`SyncMode`] promises, or with the reason why it never will be. Runs on
/// the committer thread: it hands the news on and returns.
pub type Done = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
