//! The words and the wire of Anyport: ids, events, filters, messages and limits.
//!
//! This crate does no I/O and reads no clock: everything here is a value or a function of values. Clients and brokers agree
//! because both are built on it. Read [`event::EncodedEvent`] first (what is stored and sent), then [`message`] (what is said),
//! then [`ids`] (how things are named).

mod codes;
pub mod error;
pub mod event;
pub mod filter;
pub mod ids;
pub mod limits;
pub mod map;
pub mod message;
pub mod partitioner;

pub use codes::Explanation;
pub use error::{Code, Fault, Outcome};
pub use ids::*;
