//! Binding, dialling and accepting.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::congestion::{BbrConfig, ControllerFactory, CubicConfig};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Endpoint, IdleTimeout, ServerConfig, TransportConfig, VarInt};

use super::{BROKER_NAME, ClusterIdentity, Goodbye, HandshakeError, PeerConnection, Purpose};
use crate::net::BindError;
use crate::net::endpoint::{bind_socket, endpoint_config};

/// Streams that one side may have open at once on a connection: one for each partition that is followed, and some more for calls that
/// are too long for the common stream, snapshots and publishing.
const STREAMS: u32 = 320;

/// Answers that are too long for the common stream, under way at once.
const ANSWER_STREAMS: u32 = 64;

/// What a stream may hold unread: an append of 512 KiB arrives whole without waiting for its reader.
const STREAM_WINDOW_BYTES: u32 = 640 << 10;

/// The windows of all streams that there can be, so that those nobody reads leave the others all they need. It is a bound, not memory
/// that is used: only an authenticated broker fills it, and only as far as what is sent to it is not read here.
const WINDOW_BYTES: u32 = (2 * STREAMS + ANSWER_STREAMS) * STREAM_WINDOW_BYTES;

/// At most this for a connection that somebody else has opened; who opens it wants less.
const ACCEPTED_IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// How a sender finds out what the line carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Congestion {
    /// Each lost packet is a sign of congestion.
    Cubic,
    /// Losses are not, up to a fifth of all: the rate at which packets arrive is measured.
    Bbr,
}

impl Congestion {
    fn factory(self) -> Arc<dyn ControllerFactory + Send + Sync> {
        match self {
            Self::Cubic => Arc::new(CubicConfig::default()),
            Self::Bbr => Arc::new(BbrConfig::default()),
        }
    }
}

/// Opens and accepts connections between brokers; clones share one socket.
#[derive(Clone)]
pub struct PeerSocket {
    endpoint: Endpoint,
    congestion: Congestion,
    server_tls: Arc<QuicServerConfig>,
    /// By purpose.
    tls: [Arc<QuicClientConfig>; 3],
    is_ipv6: bool,
}

impl fmt::Debug for PeerSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerSocket").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl PeerSocket {
    pub fn bind(listen: SocketAddr, identity: &ClusterIdentity) -> Result<Self, BindError> {
        let socket = bind_socket(listen).map_err(|source| BindError::Socket { address: listen, source })?;
        let server_tls = Arc::new(QuicServerConfig::try_from(identity.server_config()?)?);
        let congestion = Congestion::Cubic;
        let server = server_config(Arc::clone(&server_tls), congestion);
        let config = endpoint_config(&identity.endpoint_keys());
        let endpoint = Endpoint::new(config, Some(server), socket, Arc::new(quinn::TokioRuntime))
            .map_err(|source| BindError::Socket { address: listen, source })?;
        let [raft, peer, operator] = Purpose::ALL.map(|purpose| identity.client_config(purpose));
        let tls = [raft?, peer?, operator?];
        Ok(Self { endpoint, congestion, server_tls, tls, is_ipv6: listen.is_ipv6() })
    }

    /// The same socket, for connections that are dialled by what this returns, or accepted from now on.
    pub fn with_congestion(self, congestion: Congestion) -> Self {
        self.endpoint.set_server_config(Some(server_config(Arc::clone(&self.server_tls), congestion)));
        Self { congestion, ..self }
    }

    /// As somebody who believes the same cluster, but shows something else, or nothing.
    #[cfg(test)]
    pub(crate) fn show(&mut self, shown: Option<&ClusterIdentity>, believing: &ClusterIdentity) {
        let tls = |purpose| believing.client_config_showing(shown, purpose).expect("configure TLS");
        self.tls = Purpose::ALL.map(tls);
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    pub fn connections(&self) -> usize {
        self.endpoint.open_connections()
    }

    /// Whether the socket can send there at all.
    pub fn reaches(&self, address: &SocketAddr) -> bool {
        self.is_ipv6 || address.is_ipv4()
    }

    /// The next connection attempt; None once the socket is closed.
    pub async fn accept(&self) -> Option<PeerAttempt> {
        self.endpoint.accept().await.map(PeerAttempt)
    }

    /// Connects to a broker. The connection ends when nothing is heard for `idle`; until then this side keeps it alive.
    pub async fn dial(
        &self,
        address: SocketAddr,
        purpose: Purpose,
        idle: Duration,
    ) -> Result<PeerConnection, HandshakeError> {
        let tls = Arc::clone(&self.tls[purpose as usize]);
        let mut config = ClientConfig::new(tls);
        let mut transport = transport_config(idle, self.congestion);
        // Three in the time: one may be lost. Nothing is sent while the other side is heard anyway.
        transport.keep_alive_interval(Some(idle / 3));
        config.transport_config(Arc::new(transport));
        let connection = self.endpoint.connect_with(config, address, BROKER_NAME)?.await?;
        PeerConnection::new(connection)
    }

    /// Ends every connection and waits until the others have been told, or a moment has passed.
    pub async fn close(&self, grace: Duration) {
        self.endpoint.close(VarInt::from_u32(Goodbye::Stopping as u32), b"the broker stops");
        let _ = tokio::time::timeout(grace, self.endpoint.wait_idle()).await;
    }
}

fn server_config(tls: Arc<QuicServerConfig>, congestion: Congestion) -> ServerConfig {
    let mut server = ServerConfig::with_crypto(tls);
    server.transport_config(Arc::new(transport_config(ACCEPTED_IDLE_TIMEOUT, congestion)));
    server
}

fn transport_config(idle: Duration, congestion: Congestion) -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(Some(IdleTimeout::try_from(idle).expect("seconds fit a QUIC integer")))
        // QUIC waits for nine of these before it gives up on somebody who has never answered.
        .initial_rtt(idle / 15)
        .receive_window(VarInt::from_u32(WINDOW_BYTES))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        // As above: no stream may keep another from being sent, and each is held back by its own window.
        .send_window(u64::from(WINDOW_BYTES))
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS))
        .max_concurrent_uni_streams(VarInt::from_u32(ANSWER_STREAMS))
        .congestion_controller_factory(congestion.factory())
        .datagram_receive_buffer_size(None);
    transport
}

/// A connection attempt that nothing has been spent on yet.
#[derive(Debug)]
pub struct PeerAttempt(quinn::Incoming);

impl PeerAttempt {
    pub fn remote(&self) -> SocketAddr {
        self.0.remote_address()
    }

    /// Whether the sender has shown that it receives at the address it names.
    pub fn address_is_validated(&self) -> bool {
        self.0.remote_address_validated()
    }

    pub fn validate_address(self) {
        // Fails only for an address that is validated already, which the caller has asked.
        let _ = self.0.retry();
    }

    pub fn refuse(self) {
        self.0.refuse();
    }

    /// Waits until the other side has shown its certificate.
    pub async fn accept(self) -> Result<PeerConnection, HandshakeError> {
        PeerConnection::new(self.0.accept()?.await?)
    }
}
