//! QUIC and TLS: the only place that knows quinn. Everything above deals in connections, frames and streams of frames.

mod connection;
mod endpoint;
mod streams;
mod tls;

pub use connection::{Attempt, Connection, Listener, UnknownStream};
pub use endpoint::{BindError, EndpointOptions, Keys, bind};
pub use streams::{FrameReader, FrameWriter, ReadError, WriteError};
pub use tls::{DevAuthority, Identity, TlsError};

/// The protocol clients speak, as TLS names it.
pub const ALPN: &[u8] = b"anyport/1";
