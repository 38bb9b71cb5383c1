//! The UDP socket and what is configured on it.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::{NoInitialCipherSuite, QuicServerConfig};
use quinn::{Endpoint, EndpointConfig, IdleTimeout, ServerConfig, TransportConfig, VarInt};
use rustls::server::ServerSessionMemoryCache;
use socket2::{Domain, Protocol, Socket, Type};

use super::{ALPN, Identity, Listener};

/// Wanted from the system for each direction; it gives less where its own limit is lower. With the default of 208 KiB a burst
/// of handshakes waits on retransmissions.
const SOCKET_BUFFER_BYTES: usize = 8 << 20;

/// Sessions whose resumption a broker remembers: early data needs stateful resumption, at about 1 KiB each.
const RESUMABLE_SESSIONS: usize = 50_000;

/// Unread bytes a connection may pile up here, and unacknowledged ones it may have in flight. The defaults (no limit, 10 MB)
/// would let a thousand slow clients take ten gigabytes.
const RECEIVE_WINDOW_BYTES: u32 = 2 << 20;
const STREAM_RECEIVE_WINDOW_BYTES: u32 = 1 << 20;
const SEND_WINDOW_BYTES: u64 = 1 << 20;

/// Streams a client may have open at once: one control stream and a publish stream for each of its publishers.
const CLIENT_STREAMS: u32 = 64;

/// A phone in the background sends nothing; the session is durable, so an early end costs one round trip.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct EndpointOptions {
    pub listen: SocketAddr,
    pub identity: Identity,
    pub keys: Keys,
}

/// Kept across restarts: with the same keys a restarted broker can tell an old connection's owner at its next packet that the
/// connection is gone. With new ones the owner waits for its idle timeout.
#[derive(Clone, Debug)]
pub struct Keys {
    pub reset_secret: [u8; 64],
    pub connection_id_key: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("listen on udp {address}: {source}")]
    Socket { address: SocketAddr, source: io::Error },
    #[error("use the certificate: {0}")]
    Certificate(#[from] rustls::Error),
    #[error("use the cipher suites: {0}")]
    Ciphers(#[from] NoInitialCipherSuite),
}

/// Binds the socket and listens on it.
pub fn bind(options: EndpointOptions) -> Result<Listener, BindError> {
    let socket = bind_socket(options.listen).map_err(|source| BindError::Socket { address: options.listen, source })?;
    let mut server = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls_config(options.identity)?)?));
    server.transport_config(Arc::new(transport_config()));
    Endpoint::new(endpoint_config(&options.keys), Some(server), socket, Arc::new(quinn::TokioRuntime))
        .map(Listener::new)
        .map_err(|source| BindError::Socket { address: options.listen, source })
}

pub(super) fn bind_socket(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    tracing::info!(
        receive_buffer_bytes = socket.recv_buffer_size()?,
        send_buffer_bytes = socket.send_buffer_size()?,
        "bound {address}"
    );
    Ok(socket.into())
}

fn tls_config(identity: Identity) -> Result<rustls::ServerConfig, rustls::Error> {
    let mut tls = identity.server_config()?;
    tls.alpn_protocols = vec![ALPN.to_vec()];
    tls.session_storage = ServerSessionMemoryCache::new(RESUMABLE_SESSIONS);
    // QUIC knows only "all" or "none"; which requests are taken from early data is decided per request, in `session`.
    tls.max_early_data_size = u32::MAX;
    Ok(tls)
}

pub(super) fn endpoint_config(keys: &Keys) -> EndpointConfig {
    let reset_key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &keys.reset_secret);
    let mut config = EndpointConfig::new(Arc::new(reset_key));
    let connection_id_key = keys.connection_id_key;
    config.cid_generator(move || Box::new(quinn_proto::HashedConnectionIdGenerator::from_key(connection_id_key)));
    config
}

fn transport_config() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(Some(IdleTimeout::try_from(IDLE_TIMEOUT).expect("a minute fits a QUIC integer")))
        .receive_window(VarInt::from_u32(RECEIVE_WINDOW_BYTES))
        .stream_receive_window(VarInt::from_u32(STREAM_RECEIVE_WINDOW_BYTES))
        .send_window(SEND_WINDOW_BYTES)
        .max_concurrent_bidi_streams(VarInt::from_u32(CLIENT_STREAMS))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None);
    transport
}
