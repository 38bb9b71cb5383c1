//! The other brokers of the cluster: what brokers ask each other, and the way there.
//!
//! Two connections join each pair of brokers. One carries Raft and nothing else, so that no replay can delay an append; the other
//! carries all the rest. A *call* is one question with one answer; what goes on for longer has a stream of its own.
//!
//! [`Peers`] is what asks; what answers is given to it as an [`Answers`].

mod alone;
mod answering;
pub(crate) mod body;
mod calls;
mod connection;
mod dial;
mod endpoint;
mod frames;
#[cfg(test)]
pub(crate) mod fuzz;
mod greeting;
mod keeper;
mod links;
mod words;

pub use alone::Alone;
pub use endpoint::{JoinError, LinkProfile, PeerEndpoint, PeerTasks};
pub use words::{
    Answers, Call, Directory, Link, PeerAddress, PeerError, PeerKey, PeerStream, PeerStreamKind, Peers, Transport,
};

#[cfg(test)]
mod stories;
