//! Every broker serves every client, whatever replicas it has.
//!
//! [`Partitions`] and [`RegistryHandle`](crate::registry::RegistryHandle) are what sessions, feeds and publish streams have. Each
//! use of a partition or shard finds its way anew: to the replica that is placed here, or over [`Links`] to one elsewhere. So a
//! replica may come or go while a delivery runs.

mod links;
mod partitions;

pub use links::{Links, Replicas};
pub use partitions::{Partitions, Way};
