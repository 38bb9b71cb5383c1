//! QUIC: the only place that knows quinn.

mod connection;
mod endpoint;
#[cfg(feature = "admin")]
mod operator;
mod streams;
mod tls;

pub(crate) use connection::{Connection, Counts, FeedStream};
pub(crate) use endpoint::{ConnectError, Dialer, Patience, check_server};
#[cfg(feature = "admin")]
pub(crate) use operator::{OperatorConnection, OperatorIdentity};
pub(crate) use streams::{FrameReader, FrameWriter, StreamError};
#[cfg(feature = "admin")]
pub(crate) use tls::check_issued;
#[cfg(all(test, feature = "admin"))]
pub(crate) use tls::crypto_provider;
pub(crate) use tls::{Trust, check_authorities};

/// Agreed on in the TLS handshake, so that one port can serve other protocols.
const ALPN: &[u8] = b"anyport/1";
