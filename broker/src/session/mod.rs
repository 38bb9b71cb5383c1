//! Sessions: what a client's connection may ask for, one file per idea.
//!
//! A connection has one control stream, handled by [`control`], and any number of publish streams, handled by [`publish`]. The
//! control task owns the connection's state: who it is, and the session it has opened. Requests are handled in the order they
//! arrive, so a client may send a whole opening in one flight; only acks are answered out of turn.

mod ack;
mod balance;
mod connection;
mod control;
mod ended;
mod epochs;
mod identity;
mod list;
mod map;
mod open;
mod publish;
mod subscribe;
mod table;
mod touch;

pub use balance::hand_over;
pub use connection::{ConnectionLimits, serve};
pub use ended::announce_ended;
pub use epochs::begin_anew;
pub(crate) use publish::answer_batches;
pub use table::{Push, SessionTable};
