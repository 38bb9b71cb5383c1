//! `anyportd`, the broker: connections, sessions, feeds and the groups that keep what they serve.
//!
//! It keeps no client in memory that is not connected, matches nothing for clients that are away, and has no second copy of an
//! event: a feed reads the log that Raft replicated. quinn appears only in [`net`], openraft only in [`cluster`].
//!
//! Read [`server::start`] first (what there is and in which order it starts and stops), then [`partition`] (how an event gets
//! its offset) and [`feed`] (how it gets to a client).

pub mod admin;
pub mod advice;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod epochs;
pub mod feed;
#[cfg(test)]
mod fuzz;
pub mod http;
pub mod identity;
pub mod map;
pub mod net;
#[cfg(feature = "otel")]
pub mod otel;
pub mod partition;
pub mod peer;
pub mod registry;
pub mod seating;
pub mod server;
pub mod serving;
pub mod session;
mod shared;
mod spans;

pub use shared::{Broker, crypto_provider};
