//! A client that speaks the wire and nothing else: it sends whatever it is told, good or bad, and shows what comes back.
//!
//! For tests of what the SDK never does: garbage, forged lengths, requests out of turn, replayed or stopped streams. And the other
//! side: [`ScriptedBroker`], for tests of what the SDK makes of brokers that refuse, vanish and say what they should not.

mod feed;
mod http;
mod manners;
mod scripted;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use anyport_protocol::Fault;
use anyport_protocol::limits::FRAME_BYTES_MAX;
use anyport_protocol::message::{FrameBuffer, FrameHeader, Hello, StreamKind, ToBroker, ToClient};
use bytes::Bytes;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint, RecvStream, SendStream, TransportConfig, VarInt};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::time::timeout;

use crate::runner::BrokerProcess;

pub use feed::{ChainCheck, RawFeed};
pub use http::{HttpAnswer, RawHttp};
pub use manners::{Manners, polite};
pub use scripted::{Authority, ScriptedBroker, Seen};

/// Nothing here takes long on loopback; a test that waits longer has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// One connection, with nothing said on it.
#[derive(Debug)]
pub struct RawClient {
    pub endpoint: Endpoint,
    pub connection: Connection,
}

impl RawClient {
    /// Connects to a broker, trusting the authority it put in its home folder.
    pub async fn connect(broker: &BrokerProcess) -> Result<Self> {
        let authority = broker.home().join("ca").join(format!("dev-{}.pem", broker.address().port()));
        Self::connect_to(broker.address(), &authority).await
    }

    /// Connects to an address, perhaps a proxy's, trusting one authority.
    pub async fn connect_to(address: SocketAddr, authority: &Path) -> Result<Self> {
        let endpoint = Endpoint::client(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).context("bind a socket")?;
        let connecting = endpoint.connect_with(client_config(authority)?, address, "localhost")?;
        let connection = timeout(PATIENCE, connecting).await.context("no handshake")??;
        Ok(Self { endpoint, connection })
    }

    /// Opens a stream and says what it is for.
    pub async fn open(&self, kind: StreamKind) -> Result<RawStream> {
        let mut stream = self.open_silent().await?;
        stream.send(&[kind as u8]).await?;
        Ok(stream)
    }

    /// Opens a stream without a word.
    pub async fn open_silent(&self) -> Result<RawStream> {
        let (send, receive) = self.connection.open_bi().await?;
        Ok(RawStream { send, receive, buffer: FrameBuffer::new(FRAME_BYTES_MAX), next_request: 1 })
    }

    /// A control stream that has said hello.
    pub async fn control(&self) -> Result<RawStream> {
        let mut control = self.open(StreamKind::Control).await?;
        match control.ask(Hello::of_this_version("raw").into()).await? {
            ToClient::Welcome(_) => Ok(control),
            other => bail!("no welcome but {other:?}"),
        }
    }

    /// Waits until the broker closes the connection; returns the code and text it gives.
    pub async fn closed_by_broker(&self) -> Result<(u16, String)> {
        match timeout(PATIENCE, self.connection.closed()).await.context("the broker did not close")? {
            quinn::ConnectionError::ApplicationClosed(close) => {
                let code = u16::try_from(close.error_code.into_inner()).context("a code")?;
                Ok((code, String::from_utf8_lossy(&close.reason).into_owned()))
            }
            other => bail!("closed otherwise: {other}"),
        }
    }

    /// The next stream the broker opens, past its first byte.
    pub async fn accept_feed(&self) -> Result<(StreamKind, RecvStream)> {
        let mut stream = timeout(PATIENCE, self.connection.accept_uni()).await.context("no feed stream")??;
        let mut kind = [0];
        stream.read_exact(&mut kind).await?;
        Ok((StreamKind::from_byte(kind[0]).context("a kind of stream")?, stream))
    }
}

/// One bidirectional stream.
#[derive(Debug)]
pub struct RawStream {
    pub send: SendStream,
    pub receive: RecvStream,
    buffer: FrameBuffer,
    next_request: u32,
}

impl RawStream {
    pub async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.send.write_all(bytes).await?)
    }

    /// The next frame, whatever it is.
    pub async fn receive(&mut self) -> Result<(FrameHeader, Bytes)> {
        loop {
            if let Some(frame) = self.buffer.next_frame()? {
                return Ok(frame);
            }
            let chunk = timeout(PATIENCE, self.receive.read_chunk(1 << 16, true)).await.context("no answer")??;
            self.buffer.extend(&chunk.context("the stream ended")?.bytes);
        }
    }

    /// Sends a request and returns its answer, passing over what was pushed meanwhile.
    pub async fn ask(&mut self, request: ToBroker) -> Result<ToClient> {
        let number = self.tell(request).await?;
        loop {
            let (header, body) = self.receive().await?;
            if header.request == number {
                return Ok(ToClient::decode(header.message_type, &body)?);
            }
        }
    }

    /// Sends a request without waiting; returns its number.
    pub async fn tell(&mut self, request: ToBroker) -> Result<u32> {
        let number = self.next_request;
        self.next_request += 1;
        let mut frame = Vec::new();
        request.encode(number, &mut frame);
        self.send(&frame).await?;
        Ok(number)
    }

    /// Sends a request that must be refused; returns why it was.
    pub async fn refused(&mut self, request: ToBroker) -> Result<Fault> {
        match self.ask(request).await? {
            ToClient::Refused(refused) => Ok(refused.fault),
            other => bail!("not refused but {other:?}"),
        }
    }
}

/// What a client of the wire is configured with, trusting one authority.
pub fn client_config(authority: &Path) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority).with_context(|| format!("read {}", authority.display()))?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"anyport/1".to_vec()];
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    let mut transport = TransportConfig::default();
    transport.max_concurrent_uni_streams(VarInt::from_u32(256));
    config.transport_config(Arc::new(transport));
    Ok(config)
}
