//! Groups of several replicas, in one process, on real stores: what the engine and its adapters do together.

mod durability;
mod partitions;
mod snapshots;
mod support;
mod wires;
