//! A broker's certificate within its cluster, and whom it takes for another member by theirs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quinn::crypto::rustls::QuicClientConfig;
use ring::{digest, hmac};
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{Resumption, WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ParsedCertificate, VerifierBuilderError, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, RootCertStore};

use super::Purpose;
use crate::crypto_provider;
use crate::net::{BindError, Identity, Keys};

/// A name in every broker's certificate, and the one that brokers look for in each other's. Its other names are for clients.
pub const BROKER_NAME: &str = "broker.anyport.internal";

/// A name in every operator's certificate.
pub const OPERATOR_NAME: &str = "admin.anyport.internal";

/// Why a file is no bundle of a broker.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct BundleError {
    pub path: PathBuf,
    pub problem: BundleProblem,
}

#[derive(Debug, thiserror::Error)]
pub enum BundleProblem {
    #[error("read it: {0}")]
    File(#[from] io::Error),
    #[error("it is not in PEM: {0}")]
    Pem(pem::Error),
    #[error("it holds {found} certificates; a bundle begins with the broker's own and ends with the cluster CA's")]
    TooFewCertificates { found: usize },
    #[error("it holds no private key")]
    NoPrivateKey,
    #[error("its private key does not belong to its first certificate, or cannot be used: {0}")]
    PrivateKey(rustls::Error),
    #[error("its last certificate cannot be used as the cluster's CA: {0}")]
    Authority(rustls::Error),
    #[error("its first certificate is not a broker's: {BROKER_NAME} is not among its names")]
    NotABroker,
    #[error("its first certificate is refused by the CA that is its last: {0}")]
    Refused(rustls::Error),
}

/// A broker's certificate chain, its private key, and the CA that makes a cluster of those who have such certificates.
///
/// The file is one bundle in PEM: the certificate, those between it and the CA if there are any, the CA's, and the private key.
#[derive(Debug)]
pub struct ClusterIdentity {
    /// The CA's own certificate is not among them: who does not have it would not believe it.
    chain: Vec<CertificateDer<'static>>,
    private: PrivateKeyDer<'static>,
    authority: Arc<RootCertStore>,
    key: [u8; 32],
}

impl ClusterIdentity {
    pub fn load(path: &Path) -> Result<Self, BundleError> {
        let identity = fs::read(path).map_err(BundleProblem::from).and_then(|pem| Self::broker(&pem));
        identity.map_err(|problem| BundleError { path: path.to_owned(), problem })
    }

    fn broker(pem: &[u8]) -> Result<Self, BundleProblem> {
        let identity = Self::parse(pem)?;
        identity.check_broker()?;
        Ok(identity)
    }

    /// Of whatever kind the certificate is.
    pub(crate) fn parse(pem: &[u8]) -> Result<Self, BundleProblem> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let mut chain = certificates.map_err(BundleProblem::Pem)?;
        if chain.len() < 2 {
            return Err(BundleProblem::TooFewCertificates { found: chain.len() });
        }
        let private = PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
            pem::Error::NoItemsFound => BundleProblem::NoPrivateKey,
            other => BundleProblem::Pem(other),
        })?;
        let mut authority = RootCertStore::empty();
        authority.add(chain.pop().expect("there are two")).map_err(BundleProblem::Authority)?;
        CertifiedKey::from_der(chain.clone(), private.clone_key(), &crypto_provider())
            .map_err(BundleProblem::PrivateKey)?;
        let key = key_of(&chain[0]).map_err(BundleProblem::Refused)?;
        Ok(Self { chain, private, authority: Arc::new(authority), key })
    }

    /// That other brokers will take it: an operator learns it here, in words, and not from their refusals.
    fn check_broker(&self) -> Result<(), BundleProblem> {
        let (own, between) = self.chain.split_first().expect("a chain begins with the certificate itself");
        let servers = WebPkiServerVerifier::builder_with_provider(Arc::clone(&self.authority), crypto_provider());
        let servers = servers.build().map_err(|error| BundleProblem::Authority(general(&error)))?;
        match servers.verify_server_cert(own, between, &name(BROKER_NAME), &[], UnixTime::now()) {
            Ok(_) => {}
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => return Err(BundleProblem::NotABroker),
            Err(refused) => return Err(BundleProblem::Refused(refused)),
        }
        let clients = self.client_verifier().map_err(BundleProblem::Authority)?;
        clients.verify_client_cert(own, between, UnixTime::now()).map(drop).map_err(BundleProblem::Refused)
    }

    /// SHA-256 of the certificate's public key: what the cluster knows this broker by. It outlives the certificate.
    pub fn key(&self) -> [u8; 32] {
        self.key
    }

    /// What clients are shown: the same certificate, by its other names.
    pub fn client_facing(&self) -> Identity {
        Identity { chain: self.chain.clone(), key: self.private.clone_key() }
    }

    /// Takes only who has a certificate of the cluster's CA. Whether its kind fits what it wants is told after the handshake.
    pub(super) fn server_config(&self) -> Result<rustls::ServerConfig, rustls::Error> {
        let mut tls = rustls::ServerConfig::builder_with_provider(crypto_provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(self.client_verifier()?)
            .with_single_cert(self.chain.clone(), self.private.clone_key())?;
        tls.alpn_protocols = Purpose::ALL.map(|purpose| purpose.alpn().to_vec()).into();
        // Each connection shows its certificate anew, so that one that has expired is not carried on by a ticket.
        tls.session_storage = Arc::new(NoServerSessionStorage {});
        tls.send_tls13_tickets = 0;
        Ok(tls)
    }

    pub(super) fn client_config(&self, purpose: Purpose) -> Result<Arc<QuicClientConfig>, BindError> {
        self.client_config_showing(Some(self), purpose)
    }

    /// Shows the certificate of another one, or none.
    pub(super) fn client_config_showing(
        &self,
        shown: Option<&Self>,
        purpose: Purpose,
    ) -> Result<Arc<QuicClientConfig>, BindError> {
        let tls = rustls::ClientConfig::builder_with_provider(crypto_provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(Arc::clone(&self.authority));
        let mut tls = match shown {
            Some(shown) => tls.with_client_auth_cert(shown.chain.clone(), shown.private.clone_key())?,
            None => tls.with_no_client_auth(),
        };
        tls.alpn_protocols = vec![purpose.alpn().to_vec()];
        tls.resumption = Resumption::disabled();
        Ok(Arc::new(QuicClientConfig::try_from(tls)?))
    }

    /// Drawn from the private key, so that they are the same after a restart and nobody else's.
    pub(super) fn endpoint_keys(&self) -> Keys {
        let secret = hmac::Key::new(hmac::HMAC_SHA512, self.private.secret_der());
        let draw = |what: &str| hmac::sign(&secret, what.as_bytes());
        let id_key = draw("anyport peer connection ids");
        Keys {
            reset_secret: draw("anyport peer resets").as_ref().try_into().expect("SHA-512 gives 64 bytes"),
            connection_id_key: u64::from_le_bytes(id_key.as_ref()[..8].try_into().expect("64 bytes have 8")),
        }
    }

    fn client_verifier(&self) -> Result<Arc<dyn ClientCertVerifier>, rustls::Error> {
        WebPkiClientVerifier::builder_with_provider(Arc::clone(&self.authority), crypto_provider())
            .build()
            .map_err(|error| general(&error))
    }
}

/// SHA-256 of a certificate's public key, as X.509 encodes it (SubjectPublicKeyInfo).
pub(super) fn key_of(certificate: &CertificateDer<'_>) -> Result<[u8; 32], rustls::Error> {
    let public = ParsedCertificate::try_from(certificate)?.subject_public_key_info();
    let digest = digest::digest(&digest::SHA256, public.as_ref());
    Ok(digest.as_ref().try_into().expect("SHA-256 gives 32 bytes"))
}

/// Whether a certificate, already found to be one of the cluster's, is of the kind that may do this, and of no other.
pub(super) fn may(certificate: &CertificateDer<'_>, purpose: Purpose) -> bool {
    let Ok(certificate) = ParsedCertificate::try_from(certificate) else { return false };
    let has = |wanted| verify_server_name(&certificate, &name(wanted)).is_ok();
    has(BROKER_NAME) == (purpose != Purpose::Operator) && has(OPERATOR_NAME) == (purpose == Purpose::Operator)
}

fn name(name: &'static str) -> ServerName<'static> {
    ServerName::try_from(name).expect("the names of this file are DNS names")
}

fn general(error: &VerifierBuilderError) -> rustls::Error {
    rustls::Error::General(error.to_string())
}
