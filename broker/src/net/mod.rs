//! QUIC and TLS: the only place that knows quinn. Everything above deals in connections, frames and streams of frames.

mod connection;
mod endpoint;
mod peer;
mod pipe;
mod streams;
mod tls;

pub use connection::{Attempt, Connection, Listener, UnknownStream};
pub use endpoint::{BindError, EndpointOptions, Keys, bind};
pub use peer::{
    BROKER_NAME, BundleError, BundleProblem, ClusterIdentity, Congestion, Goodbye, HandshakeError, OPERATOR_NAME,
    OpenError, PeerAttempt, PeerConnection, PeerSocket, Purpose, UnreadFrame, UnreadStream,
};
pub use pipe::pipe;
pub use streams::{FrameReader, FrameWriter, ReadError, WriteError};
pub use tls::{DevAuthority, Identity, TlsError};

/// The protocol clients speak, as TLS names it. What brokers and operators speak, `peer` says.
pub const ALPN: &[u8] = b"anyport/1";
