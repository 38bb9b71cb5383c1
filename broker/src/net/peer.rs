//! The socket between brokers, and connections on it.
//!
//! Both ends of a connection have shown a certificate of the cluster's CA before anything here returns it, and of the kind that may do
//! what the connection is for. Which broker it is, whoever uses the connection finds out.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyport_protocol::message::{DecodeError, FrameHeader, HEADER_BYTES};
use bytes::{Bytes, BytesMut};
use quinn::crypto::rustls::{HandshakeData, QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Endpoint, IdleTimeout, RecvStream, SendStream, ServerConfig, Side, TransportConfig, VarInt};
use rustls::pki_types::CertificateDer;

use super::cluster::{self, BROKER_NAME, ClusterIdentity};
use super::endpoint::{bind_socket, endpoint_config};
use super::{BindError, FrameReader, FrameWriter, ReadError, WriteError};

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

/// Opens and accepts connections between brokers; clones share one socket.
#[derive(Clone)]
pub struct PeerSocket {
    endpoint: Endpoint,
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
        let mut server = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(identity.server_config()?)?));
        server.transport_config(Arc::new(transport_config(ACCEPTED_IDLE_TIMEOUT)));
        let config = endpoint_config(&identity.endpoint_keys());
        let endpoint = Endpoint::new(config, Some(server), socket, Arc::new(quinn::TokioRuntime))
            .map_err(|source| BindError::Socket { address: listen, source })?;
        let [raft, peer, operator] = Purpose::ALL.map(|purpose| identity.client_config(purpose));
        Ok(Self { endpoint, tls: [raft?, peer?, operator?], is_ipv6: listen.is_ipv6() })
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
        let mut transport = transport_config(idle);
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

fn transport_config(idle: Duration) -> TransportConfig {
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

/// A connection with somebody who has a certificate of the cluster's CA, of the kind that its purpose needs.
#[derive(Clone, Debug)]
pub struct PeerConnection {
    connection: quinn::Connection,
    purpose: Purpose,
    key: [u8; 32],
}

impl PeerConnection {
    fn new(connection: quinn::Connection) -> Result<Self, HandshakeError> {
        let data = connection.handshake_data().and_then(|data| data.downcast::<HandshakeData>().ok());
        let spoken = data.and_then(|data| data.protocol);
        let purpose = Purpose::ALL.into_iter().find(|known| spoken.as_deref() == Some(known.alpn()));
        let purpose = purpose.ok_or(HandshakeError::UnknownProtocol)?;
        let chain = connection.peer_identity().and_then(|chain| chain.downcast::<Vec<CertificateDer<'static>>>().ok());
        let certificate = chain.as_ref().and_then(|chain| chain.first());
        // Who is dialled is a broker, whatever it is dialled for.
        let role = if connection.side() == Side::Client { Purpose::Peer } else { purpose };
        let key = certificate.filter(|shown| cluster::may(shown, role)).and_then(|shown| cluster::key_of(shown).ok());
        let Some(key) = key else {
            connection.close(VarInt::from_u32(Goodbye::WrongCertificate as u32), b"a certificate of another kind");
            return Err(HandshakeError::WrongCertificate(purpose));
        };
        Ok(Self { connection, purpose, key })
    }

    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// SHA-256 of the public key that the other side has proved to have.
    pub fn key(&self) -> [u8; 32] {
        self.key
    }

    pub fn remote(&self) -> SocketAddr {
        self.connection.remote_address()
    }

    /// Tells this connection from every other of this process.
    pub fn id(&self) -> usize {
        self.connection.stable_id()
    }

    pub fn close(&self, why: Goodbye, text: &str) {
        self.connection.close(VarInt::from_u32(why as u32), text.as_bytes());
    }

    pub async fn closed(&self) -> quinn::ConnectionError {
        self.connection.closed().await
    }

    /// Why the connection is over, if it is.
    pub fn close_reason(&self) -> Option<quinn::ConnectionError> {
        self.connection.close_reason()
    }

    /// Whether the connection is over because nothing was heard for too long.
    pub fn is_silent(&self) -> bool {
        matches!(self.close_reason(), Some(quinn::ConnectionError::TimedOut))
    }

    /// Opens a stream with its first frame. What comes back on it has frames no longer than `limit`.
    pub async fn open(
        &self,
        message_type: u16,
        opening: Bytes,
        limit: usize,
    ) -> Result<(FrameReader, FrameWriter), OpenError> {
        let (send, receive) = self.connection.open_bi().await.map_err(OpenError::NotSent)?;
        let send = write_frame(send, message_type, 0, opening).await?;
        Ok((FrameReader::new(receive, limit), FrameWriter::new(send)))
    }

    /// The next stream that the other side opens.
    pub async fn accept(&self) -> Result<UnreadStream, quinn::ConnectionError> {
        let (send, receive) = self.connection.accept_bi().await?;
        Ok(UnreadStream { send, receive })
    }

    /// Asks on a stream of its own, and waits for the one frame that answers.
    pub async fn ask(&self, message_type: u16, body: Bytes, limit: usize) -> Result<(FrameHeader, Bytes), OpenError> {
        let (send, mut receive) = self.connection.open_bi().await.map_err(OpenError::NotSent)?;
        // Dropping what comes back finishes the stream: nothing follows.
        drop(write_frame(send, message_type, 0, body).await?);
        Ok(first_frame(&mut receive, |_| Some(limit)).await?)
    }

    /// Sends one frame on a stream of its own.
    pub async fn tell(&self, message_type: u16, request: u32, body: Bytes) -> Result<(), WriteError> {
        write_frame(self.connection.open_uni().await?, message_type, request, body).await.map(drop)
    }

    /// The next stream that the other side sends one frame on.
    pub async fn told(&self) -> Result<UnreadFrame, quinn::ConnectionError> {
        Ok(UnreadFrame(self.connection.accept_uni().await?))
    }
}

/// Why a stream did not come about, or a question on a stream of its own has no answer.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("open a stream: {0}")]
    NotSent(quinn::ConnectionError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// A stream of which nothing has been read.
#[derive(Debug)]
pub struct UnreadStream {
    send: SendStream,
    receive: RecvStream,
}

impl UnreadStream {
    /// Its first frame. `limit` says for each type how long the frame may be, and None for a type that is not known.
    pub async fn first_frame(
        &mut self,
        limit: impl Fn(u16) -> Option<usize>,
    ) -> Result<(FrameHeader, Bytes), ReadError> {
        first_frame(&mut self.receive, limit).await
    }

    pub fn into_frames(self, limit: usize) -> (FrameReader, FrameWriter) {
        (FrameReader::new(self.receive, limit), FrameWriter::new(self.send))
    }

    /// Sends the one frame that answers, after which nothing follows.
    pub async fn answer(self, message_type: u16, body: Bytes) -> Result<(), WriteError> {
        write_frame(self.send, message_type, 0, body).await.map(drop)
    }
}

/// A stream with one frame.
#[derive(Debug)]
pub struct UnreadFrame(RecvStream);

impl UnreadFrame {
    pub async fn read(mut self, limit: usize) -> Result<(FrameHeader, Bytes), ReadError> {
        first_frame(&mut self.0, |_| Some(limit)).await
    }
}

async fn first_frame(
    stream: &mut RecvStream,
    limit: impl Fn(u16) -> Option<usize>,
) -> Result<(FrameHeader, Bytes), ReadError> {
    let mut header = [0; HEADER_BYTES];
    stream.read_exact(&mut header).await.map_err(early)?;
    // The length is looked at only once it is known what it is the length of.
    let message_type = u16::from_le_bytes([header[4], header[5]]);
    let limit = limit(message_type).ok_or(DecodeError::UnknownType(message_type))?;
    let header = FrameHeader::decode(&header, limit)?;
    let mut body = BytesMut::zeroed(header.body_bytes as usize);
    stream.read_exact(&mut body).await.map_err(early)?;
    Ok((header, body.freeze()))
}

fn early(error: quinn::ReadExactError) -> ReadError {
    match error {
        quinn::ReadExactError::FinishedEarly(_) => ReadError::Truncated,
        quinn::ReadExactError::ReadError(gone) => gone.into(),
    }
}

/// Writes the first frame of a stream, the body without copying it. Dropped half way, for whatever reason, it resets the stream: quinn
/// would finish it, and half a frame that looks finished is a broken protocol.
async fn write_frame(
    stream: SendStream,
    message_type: u16,
    request: u32,
    body: Bytes,
) -> Result<SendStream, WriteError> {
    let body_bytes = u32::try_from(body.len()).expect("bodies are bounded far below 4 GiB");
    let header = FrameHeader { body_bytes, message_type, request }.encode();
    let mut half = Half(Some(stream));
    let stream = half.0.as_mut().expect("taken only below");
    stream.write_all_chunks(&mut [Bytes::copy_from_slice(&header), body]).await?;
    Ok(half.0.take().expect("taken only here"))
}

/// A stream in the middle of a frame.
struct Half(Option<SendStream>);

impl Drop for Half {
    fn drop(&mut self) {
        if let Some(stream) = &mut self.0 {
            let _ = stream.reset(VarInt::from_u32(0));
        }
    }
}
