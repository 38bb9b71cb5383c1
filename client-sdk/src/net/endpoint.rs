//! The UDP socket, and connecting through it.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ConnectionError, Endpoint, EndpointConfig, IdleTimeout, TokenMemoryCache, TransportConfig, VarInt};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::time::timeout;

use super::connection::Opening;
use super::{Connection, FrameReader, FrameWriter, StreamError, Trust};
use crate::Error;

/// Wanted from the system for each direction; it gives less where its own limit is lower. A replay comes in bursts.
const SOCKET_BUFFER_BYTES: usize = 8 << 20;

/// How long the broker's silence is borne. QUIC bears it for three probe time-outs at least, however long round trips are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// There is another broker to go to: one that was killed, is frozen or cut off is left within seconds.
    Short,
    /// The only broker: leaving it for itself gains nothing, and when it is slow a crowd that connects anew makes it slower.
    Long,
}

impl Patience {
    /// Since the first packet that nothing came back for.
    fn idle_timeout(self) -> Duration {
        Duration::from_secs(match self {
            Self::Short => 4,
            Self::Long => 30,
        })
    }

    /// How soon there is such a packet at the latest. A broker that has restarted says so when it comes.
    fn keep_alive(self) -> Duration {
        Duration::from_secs(match self {
            Self::Short => 2,
            Self::Long => 5,
        })
    }
}

/// Guessed before it is measured: how soon a lost first packet is sent again.
const INITIAL_RTT: Duration = Duration::from_millis(100);

const STREAM_RECEIVE_WINDOW_BYTES: u32 = 512 << 10;
/// A live and a replay stream for each subscription that a client may have.
const FEED_STREAMS: u32 = 2 * anyport_protocol::limits::SUBSCRIPTIONS_PER_CLIENT_MAX as u32;
/// All stream windows together, with the control and publish streams, so that no stream can starve another. It is a bound: the
/// streams are always read.
const RECEIVE_WINDOW_BYTES: u32 = (FEED_STREAMS + 8) * STREAM_RECEIVE_WINDOW_BYTES;
/// Published and not yet acknowledged by the transport.
const SEND_WINDOW_BYTES: u64 = 8 << 20;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("bind a UDP socket: {0}")]
    Bind(io::Error),
    #[error("find {server}: {source}")]
    Resolve { server: String, source: io::Error },
    #[error("no answer within {0:?}")]
    Silent(Duration),
    #[error("{0}")]
    Certificate(String),
    #[error("{0}")]
    Connection(#[from] ConnectionError),
    #[error("{0}")]
    Start(#[from] quinn::ConnectError),
    #[error("{0}")]
    Stream(#[from] StreamError),
}

/// Connects to servers from one socket, which it binds at first use. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Dialer {
    early_data: bool,
    endpoint: Arc<Mutex<Option<Endpoint>>>,
    /// By which a server knows an address that it has validated before. Without one it may send only three times what it has had
    /// from us until the handshake is done, so what was missed would come a round trip later.
    address_tokens: Arc<TokenMemoryCache>,
}

impl Dialer {
    pub(crate) fn new(early_data: bool) -> Self {
        Self { early_data, endpoint: Arc::default(), address_tokens: Arc::default() }
    }

    /// Connects and sends the first flight on the control stream. `is_idempotent` says that the flight may arrive twice: then it
    /// goes out with the very first packet if an earlier TLS session can be resumed.
    pub(crate) async fn connect(
        &self,
        server: &str,
        trust: &Trust,
        patience: Patience,
        flight: &[u8],
        is_idempotent: bool,
        limit: Duration,
    ) -> Result<(Connection, FrameWriter, FrameReader), ConnectError> {
        let attempt = async {
            let address = resolve(server).await?;
            let config = client_config(trust, patience, Arc::clone(&self.address_tokens));
            let connecting = self.endpoint_for(address)?.connect_with(config, address, host_of(server))?;
            let opening = match if is_idempotent && self.early_data { connecting.into_0rtt() } else { Err(connecting) }
            {
                Ok((connection, accepted)) => Opening::early(connection, patience, accepted),
                Err(connecting) => Opening::confirmed(connecting.await.map_err(certificate_or_other)?, patience),
            };
            opening.first_flight(flight).await
        };
        timeout(limit, attempt).await.unwrap_or(Err(ConnectError::Silent(limit)))
    }

    fn endpoint_for(&self, address: SocketAddr) -> Result<Endpoint, ConnectError> {
        let reaches =
            |endpoint: &Endpoint| endpoint.local_addr().is_ok_and(|local| local.is_ipv4() == address.is_ipv4());
        let mut endpoint = self.endpoint();
        match endpoint.as_ref().filter(|endpoint| reaches(endpoint)) {
            Some(endpoint) => Ok(endpoint.clone()),
            None => Ok(endpoint.insert(bind(address).map_err(ConnectError::Bind)?).clone()),
        }
    }

    fn endpoint(&self) -> MutexGuard<'_, Option<Endpoint>> {
        self.endpoint.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes on from a new socket, because the network has changed.
    pub(crate) fn rebind(&self) -> io::Result<()> {
        match &*self.endpoint() {
            Some(endpoint) => endpoint.rebind(bind_socket(endpoint.local_addr()?)?),
            None => Ok(()),
        }
    }

    /// Waits a moment, so that the peer learns of connections that were just closed.
    pub(crate) async fn wait_idle(&self) {
        let endpoint = self.endpoint().clone();
        if let Some(endpoint) = endpoint {
            let _ = timeout(Duration::from_millis(500), endpoint.wait_idle()).await;
        }
    }
}

pub(super) fn bind(to: SocketAddr) -> io::Result<Endpoint> {
    Endpoint::new(EndpointConfig::default(), None, bind_socket(to)?, Arc::new(quinn::TokioRuntime))
}

/// Binds a free port of every interface, in the family of `like`.
fn bind_socket(like: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr =
        if like.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = Socket::new(Domain::for_address(any), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.set_nonblocking(true)?;
    socket.bind(&any.into())?;
    Ok(socket.into())
}

pub(super) async fn resolve(server: &str) -> Result<SocketAddr, ConnectError> {
    let failed = |source| ConnectError::Resolve { server: server.to_owned(), source };
    let mut addresses = tokio::net::lookup_host(server).await.map_err(failed)?;
    addresses.next().ok_or_else(|| failed(io::ErrorKind::NotFound.into()))
}

/// The name that the certificate must have: the address without its port.
fn host_of(server: &str) -> &str {
    let host = server.rsplit_once(':').map_or(server, |(host, _)| host);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

fn client_config(trust: &Trust, patience: Patience, address_tokens: Arc<TokenMemoryCache>) -> quinn::ClientConfig {
    let crypto = QuicClientConfig::try_from(trust.config()).expect("the provider has the suite that QUIC begins with");
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(Some(
            IdleTimeout::try_from(patience.idle_timeout()).expect("some seconds fit a QUIC integer"),
        ))
        .keep_alive_interval(Some(patience.keep_alive()))
        .initial_rtt(INITIAL_RTT)
        .stream_receive_window(VarInt::from_u32(STREAM_RECEIVE_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(RECEIVE_WINDOW_BYTES))
        .send_window(SEND_WINDOW_BYTES)
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(FEED_STREAMS))
        .datagram_receive_buffer_size(None);
    config.transport_config(Arc::new(transport)).token_store(address_tokens);
    config
}

/// A failed TLS handshake is told apart: trying again does not help, and must not look like a silent network.
pub(super) fn certificate_or_other(error: ConnectionError) -> ConnectError {
    /// QUIC carries TLS alerts as error codes from here on.
    const CRYPTO_ERRORS: std::ops::Range<u64> = 0x100..0x200;
    match &error {
        ConnectionError::TransportError(transport) if CRYPTO_ERRORS.contains(&u64::from(transport.code)) => {
            ConnectError::Certificate(transport.reason.clone())
        }
        _ => error.into(),
    }
}

/// An address as a user writes it: with a port.
pub(crate) fn check_server(server: &str) -> Result<(), Error> {
    let has_port = server.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    if has_port { Ok(()) } else { Err(Error::BadServer { server: server.to_owned() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_to_verify_is_the_address_without_its_port() {
        assert_eq!(host_of("127.0.0.1:7400"), "127.0.0.1");
        assert_eq!(host_of("[::1]:7400"), "::1");
        assert_eq!(host_of("broker.example:7400"), "broker.example");
    }

    #[test]
    fn a_server_has_a_port() {
        assert!(check_server("localhost:7400").is_ok());
        for wrong in ["localhost", ":7400", "localhost:", "localhost:99999"] {
            assert!(check_server(wrong).is_err(), "{wrong}");
        }
    }
}
