//! Brokers that are cut off from each other, each in a network namespace of its own on one bridge. Only root has such; elsewhere these
//! stories say that they are skipped.

mod namespaces;
mod splits;
