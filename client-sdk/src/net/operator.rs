//! An operator's connection to a broker, on the port where brokers meet.

use std::sync::Arc;
use std::time::Duration;

use anyport_protocol::limits::FRAME_BYTES_MAX;
use anyport_protocol::message::FrameHeader;
use anyport_protocol::message::admin::{ADMIN_ALPN, BROKER_NAME};
use bytes::Bytes;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Endpoint, IdleTimeout, TransportConfig, VarInt};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::time::timeout;

use super::endpoint::{bind, certificate_or_other, resolve};
use super::tls::crypto_provider;
use super::{ConnectError, FrameReader, FrameWriter, StreamError};

/// A question is asked at once or not at all.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);

/// Who the operator is and whom it trusts: what a bundle holds.
#[derive(Clone, Debug)]
pub(crate) struct OperatorIdentity {
    config: Arc<rustls::ClientConfig>,
}

impl OperatorIdentity {
    /// The error says what is wrong with the bundle.
    pub(crate) fn of_bundle(bundle: &[u8]) -> Result<Self, String> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bundle).collect();
        let mut chain = certificates.map_err(|error| error.to_string())?;
        let authority = chain.pop().filter(|_| !chain.is_empty());
        let authority = authority.ok_or("it holds no certificate with its authority's")?;
        let key = PrivateKeyDer::from_pem_slice(bundle).map_err(|_| "it holds no key")?;
        let mut roots = RootCertStore::empty();
        roots.add(authority).map_err(|error| format!("its last certificate is no authority's: {error}"))?;
        let mut config = rustls::ClientConfig::builder_with_provider(crypto_provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("the provider has the cipher suites of TLS 1.3")
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(|error| format!("its certificate and its key do not belong together: {error}"))?;
        config.alpn_protocols = vec![ADMIN_ALPN.to_vec()];
        Ok(Self { config: Arc::new(config) })
    }

    fn quic_config(&self) -> quinn::ClientConfig {
        let crypto = QuicClientConfig::try_from(Arc::clone(&self.config));
        let mut config = quinn::ClientConfig::new(Arc::new(crypto.expect("the provider has QUIC's first suite")));
        let mut transport = TransportConfig::default();
        transport
            .max_idle_timeout(Some(IdleTimeout::try_from(IDLE_TIMEOUT).expect("seconds fit a QUIC integer")))
            .max_concurrent_bidi_streams(VarInt::from_u32(0))
            .max_concurrent_uni_streams(VarInt::from_u32(0));
        config.transport_config(Arc::new(transport));
        config
    }
}

#[derive(Debug)]
pub(crate) struct OperatorConnection {
    // Ends with the connection.
    _endpoint: Endpoint,
    connection: quinn::Connection,
}

impl OperatorConnection {
    pub(crate) async fn connect(
        peer: &str,
        identity: &OperatorIdentity,
        limit: Duration,
    ) -> Result<Self, ConnectError> {
        let attempt = async {
            let address = resolve(peer).await?;
            let endpoint = bind(address).map_err(ConnectError::Bind)?;
            let connecting = endpoint.connect_with(identity.quic_config(), address, BROKER_NAME)?;
            let connection = connecting.await.map_err(certificate_or_other)?;
            Ok(Self { _endpoint: endpoint, connection })
        };
        timeout(limit, attempt).await.unwrap_or(Err(ConnectError::Silent(limit)))
    }

    /// Asks one question on a stream of its own.
    pub(crate) async fn ask(&self, frame: &[u8], limit: Duration) -> Result<(FrameHeader, Bytes), ConnectError> {
        let asked = async {
            let (send, receive) = self.connection.open_bi().await.map_err(StreamError::from)?;
            let mut writer = FrameWriter::new(send);
            writer.write(frame).await?;
            let mut reader = FrameReader::new(receive, FRAME_BYTES_MAX);
            reader.next().await?.ok_or(StreamError::Truncated)
        };
        match timeout(limit, asked).await {
            Ok(Ok(answer)) => Ok(answer),
            // A broker that does not take the certificate says so only after the handshake.
            Ok(Err(error)) => Err(self.connection.close_reason().map_or(error.into(), certificate_or_other)),
            Err(_) => Err(ConnectError::Silent(limit)),
        }
    }
}

impl Drop for OperatorConnection {
    fn drop(&mut self) {
        self.connection.close(VarInt::from_u32(0), b"asked");
    }
}
