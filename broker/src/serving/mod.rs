//! Every broker serves every client, whatever replicas it has.
//!
//! [`Partitions`] and [`RegistryHandle`](crate::registry::RegistryHandle) are what sessions, feeds and publish streams have. Each
//! use of a partition or shard finds its way anew: to the replica that is placed here, or over [`Links`] to one elsewhere. So a
//! replica may come or go while a delivery runs.
//!
//! Between brokers go batches to the partition's leader ([`forwarding`]), pieces of the log that a replica has read through a filter
//! ([`reading`]), one stream of what is stored for each partition that is followed ([`tail`]), changes of records and records, and
//! notices for other brokers' sessions ([`notices`]). [`Serving`] is the side that answers.

mod answering;
mod beginners;
mod forwarding;
#[cfg(test)]
pub(crate) mod fuzz;
mod links;
mod notices;
mod partitions;
mod reading;
mod tail;
mod tail_server;
mod words;

use tokio::task::JoinHandle;

pub use answering::Serving;
pub(crate) use links::no_replica;
pub use links::{Links, Replicas};
pub use notices::Notifier;
pub use partitions::{Partitions, Way};
pub use words::Notice;
pub(crate) use words::{CommandAnswer, CommandRequest, RecordAnswer, RecordRequest};

/// A task that ends with whoever has it.
#[derive(Debug)]
struct Task(JoinHandle<()>);

impl Task {
    fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(task))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
