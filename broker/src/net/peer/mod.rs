//! The socket between brokers, and connections on it.
//!
//! Both ends of a connection have shown a certificate of the cluster's CA before anything here returns it, and of the kind that may do
//! what the connection is for. Which broker it is, whoever uses the connection finds out.

mod connection;
mod identity;
mod socket;
mod streams;

pub use connection::PeerConnection;
pub use identity::{BROKER_NAME, BundleError, BundleProblem, ClusterIdentity, OPERATOR_NAME};
pub use socket::{Congestion, PeerAttempt, PeerSocket};
pub use streams::{OpenError, UnreadFrame, UnreadStream};

/// What a connection is for, told by its ALPN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Raft,
    Peer,
    Operator,
}

impl Purpose {
    pub(super) const ALL: [Self; 3] = [Self::Raft, Self::Peer, Self::Operator];

    pub(super) fn alpn(self) -> &'static [u8] {
        match self {
            Self::Raft => b"anyport-raft/1",
            Self::Peer => b"anyport-peer/1",
            Self::Operator => b"anyport-admin/1",
        }
    }
}

/// Why a broker ends a connection with another: the code that QUIC carries. Numbers are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Goodbye {
    /// The broker is stopping.
    Stopping = 0,
    /// Bytes that are no frame of ours, or none that belongs there.
    Malformed = 1,
    /// A frame over the limit.
    FrameTooLarge = 2,
    /// Nothing was said for too long.
    Silent = 3,
    /// The certificate is of another kind than the connection needs.
    WrongCertificate = 4,
    /// Of another cluster, though its CA is the same.
    OtherCluster = 5,
    /// The directory does not name this broker, or not yet.
    UnknownBroker = 6,
    /// The directory says that this broker has another key, or the broker says that it has another number.
    OtherBroker = 7,
    /// No version in common.
    OtherVersion = 8,
    /// A newer connection has taken this one's place.
    Replaced = 9,
    /// More is under way than is ever answered.
    Overfull = 10,
    /// What the connection was opened for is done.
    Done = 11,
}

#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    #[error("the address: {0}")]
    Address(#[from] quinn::ConnectError),
    #[error(transparent)]
    Connection(#[from] quinn::ConnectionError),
    #[error("its certificate is not one for {0:?}")]
    WrongCertificate(Purpose),
    #[error("it speaks no protocol of ours")]
    UnknownProtocol,
}
