//! A broker that says what a script wants, for stories about what the SDK makes of it. It stores nothing.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use anyport_protocol::limits::FRAME_BYTES_MAX;
use anyport_protocol::message::publish::PublishBatch;
use anyport_protocol::message::{FrameBuffer, StreamKind, ToBroker, ToClient};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Connection, Endpoint, RecvStream, SendStream, ServerConfig};
use rustls::pki_types::PrivateKeyDer;
use tokio::sync::{Mutex as AsyncMutex, mpsc};
use tokio::task::JoinHandle;

use super::Manners;

/// What signs the certificates of scripted brokers.
#[derive(Debug)]
pub struct Authority {
    certificate_pem: String,
    key_pem: String,
}

impl Authority {
    /// Trusted by clients of this home folder.
    pub fn trusted_in(home: &Path) -> Result<Self> {
        let mut params = rcgen::CertificateParams::new(Vec::new())?;
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
        let key = rcgen::KeyPair::generate()?;
        let certificate_pem = params.self_signed(&key)?.pem();
        std::fs::create_dir_all(home.join("ca"))?;
        std::fs::write(home.join("ca/scripted.pem"), &certificate_pem)?;
        Ok(Self { certificate_pem, key_pem: key.serialize_pem() })
    }

    fn server_config(&self) -> Result<ServerConfig> {
        let issuer = rcgen::Issuer::from_ca_cert_pem(&self.certificate_pem, rcgen::KeyPair::from_pem(&self.key_pem)?)?;
        let key = rcgen::KeyPair::generate()?;
        let certificate = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()])?.signed_by(&key, &issuer)?;
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)?;
        tls.alpn_protocols = vec![b"anyport/1".to_vec()];
        Ok(ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?)))
    }
}

/// What a client has said, in the order it came.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    Request(ToBroker),
    Batch(PublishBatch),
}

/// Ends with all its connections when it is dropped.
#[derive(Debug)]
pub struct ScriptedBroker {
    endpoint: Endpoint,
    shared: Arc<Shared>,
    seen: mpsc::UnboundedReceiver<Seen>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    manners: Mutex<Manners>,
    /// Of the latest client: its connection, and what it is told on.
    client: Mutex<Option<(Connection, Arc<AsyncMutex<SendStream>>)>>,
    seen: mpsc::UnboundedSender<Seen>,
}

impl ScriptedBroker {
    pub fn start(authority: &Authority, manners: Manners) -> Result<Self> {
        let endpoint = Endpoint::server(authority.server_config()?, (Ipv4Addr::LOCALHOST, 0).into())?;
        // A test takes what it awaits, and the rest is little.
        let (tell, seen) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared { manners: Mutex::new(manners), client: Mutex::default(), seen: tell });
        let task = tokio::spawn(accept(endpoint.clone(), Arc::clone(&shared)));
        Ok(Self { endpoint, shared, seen, task })
    }

    pub fn address(&self) -> Result<SocketAddr> {
        Ok(self.endpoint.local_addr()?)
    }

    pub fn behave(&self, manners: Manners) {
        *self.shared.manners.lock().unwrap_or_else(PoisonError::into_inner) = manners;
    }

    /// Waits until a client has said something like this, passing over everything before.
    pub async fn sees(&mut self, wanted: impl Fn(&Seen) -> bool) -> Result<Seen> {
        loop {
            let seen = self.seen.recv().await.context("the broker has ended")?;
            if wanted(&seen) {
                return Ok(seen);
            }
        }
    }

    /// Waits until a client opens a session.
    pub async fn sees_opening(&mut self) -> Result<()> {
        self.sees(|seen| matches!(seen, Seen::Request(ToBroker::OpenSession(_)))).await.map(drop)
    }

    /// Tells the latest client something it did not ask for.
    pub async fn push(&self, message: impl Into<ToClient>) -> Result<()> {
        let (_, control) = self.client()?;
        let mut frame = Vec::new();
        message.into().encode(0, &mut frame);
        control.lock().await.write_all(&frame).await.context("push")
    }

    /// Opens a stream of live frames to the latest client, and writes these bytes on it.
    pub async fn live(&self, frames: &[u8]) -> Result<SendStream> {
        let mut stream = self.client()?.0.open_uni().await?;
        stream.write_all(&[StreamKind::Live as u8]).await?;
        stream.write_all(frames).await?;
        Ok(stream)
    }

    /// Ends the connection of the latest client, without a word before.
    pub fn hang_up(&self) -> Result<()> {
        self.client()?.0.close(0u32.into(), b"");
        Ok(())
    }

    fn client(&self) -> Result<(Connection, Arc<AsyncMutex<SendStream>>)> {
        let client = self.shared.client.lock().unwrap_or_else(PoisonError::into_inner);
        client.clone().context("no client is here")
    }
}

impl Drop for ScriptedBroker {
    fn drop(&mut self) {
        self.task.abort();
        self.endpoint.close(0u32.into(), b"the script is over");
    }
}

async fn accept(endpoint: Endpoint, shared: Arc<Shared>) {
    while let Some(incoming) = endpoint.accept().await {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            // What becomes of a connection that fails is the client's story.
            let Ok(connection) = incoming.await else { return };
            while let Ok((send, receive)) = connection.accept_bi().await {
                tokio::spawn(serve(connection.clone(), send, receive, Arc::clone(&shared)));
            }
        });
    }
}

async fn serve(connection: Connection, send: SendStream, mut receive: RecvStream, shared: Arc<Shared>) -> Result<()> {
    let mut kind = [0];
    receive.read_exact(&mut kind).await?;
    let send = Arc::new(AsyncMutex::new(send));
    let is_control = kind[0] == StreamKind::Control as u8;
    if is_control {
        let client = Some((connection, Arc::clone(&send)));
        *shared.client.lock().unwrap_or_else(PoisonError::into_inner) = client;
    }
    let mut frames = FrameBuffer::new(FRAME_BYTES_MAX);
    while let Some(chunk) = receive.read_chunk(1 << 16, true).await? {
        frames.extend(&chunk.bytes);
        while let Some((header, body)) = frames.next_frame()? {
            let mut out = Vec::new();
            if is_control {
                let request = ToBroker::decode(header.message_type, &body)?;
                let answer = (shared.manners.lock().unwrap_or_else(PoisonError::into_inner).request)(&request);
                let _ = shared.seen.send(Seen::Request(request));
                if let Some(answer) = answer.filter(|_| header.request != 0) {
                    answer.encode(header.request, &mut out);
                }
            } else {
                let batch = PublishBatch::decode(body)?;
                (shared.manners.lock().unwrap_or_else(PoisonError::into_inner).batch)(&batch)
                    .encode(header.request, &mut out);
                let _ = shared.seen.send(Seen::Batch(batch));
            }
            send.lock().await.write_all(&out).await?;
        }
    }
    Ok(())
}
