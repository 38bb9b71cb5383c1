//! What a partition's log means once it is applied: which events have which offsets, and what each producer has stored.
//!
//! [`PartitionMachine`] applies entries, [`PartitionReader`] serves what is applied. No event byte is copied: the machine writes
//! sparse rows saying where offsets lie in the log, and the reader reads the log there.
//!
//! ```text
//!  log:      ... T | O1 | B 0..40 | B 40..90 | (B 90..99 of O1, void) | ...      index grows, gaps never
//!                     ^ opens nonce 1                  a void entry takes no offset
//!  offsets:         head ............................ tail
//!                     ^ after the last Trim             ^ the next valid batch begins here
//! ```
//! Rule: a batch is valid if its nonce is that of the latest `Open` before it and its first offset equals the tail. Every replica
//! judges the same log, so they agree; and a reader that starts at any valid batch can judge those after it.

mod ahead;
mod apply;
mod builder;
mod chunk;
mod entry;
#[cfg(test)]
pub(crate) mod fuzz;
mod history;
mod machine;
mod offsets;
mod position;
mod producers;
mod reader;
mod search;
mod snapshot;
mod view;
mod walk;

pub use builder::{BadFraming, BatchBuilder};
pub use chunk::{Chunk, Record};
pub use entry::{BadEntry, BatchHeader, PartitionEntry, ProducerBatch};
pub use machine::{PartitionEffect, PartitionMachine};
pub use producers::ProducerRow;
pub use reader::{PartitionReader, ReadError};
pub use snapshot::{BadSnapshot, PartitionSnapshot};
pub use view::Bounds;
pub(crate) use view::PartitionShared;
