//! Clients that do as they are told and tell the oracle everything: the SDK on one side, the oracle on the other.

mod access;
mod listener;
mod ongoing;
mod producer;
mod stage;

pub use access::{Access, Attending, Log};
pub use listener::{Listened, Listener, ListenerOptions, Progress};
pub use ongoing::Ongoing;
pub use producer::{Pace, PublishReport, publish};
pub use stage::{Stage, until};
