//! Whom to trust. Certificates are always verified, against the authorities of the home folder.

use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::ALPN;
use crate::Error;
use crate::home::pem_files;

/// Sessions to resume, one or two for each server of a list.
const RESUMABLE_SESSIONS: usize = 64;

/// The trusted authorities, and what is remembered of sessions under them.
#[derive(Clone, Debug)]
pub(crate) struct Trust {
    config: Arc<rustls::ClientConfig>,
}

impl Trust {
    /// Reads every `*.pem` of the folder.
    pub(crate) fn load(folder: &Path) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        for path in pem_files(folder)? {
            add_authorities(&mut roots, &path)?;
        }
        if roots.is_empty() {
            return Err(Error::NoAuthority { folder: folder.to_owned() });
        }
        let mut config = rustls::ClientConfig::builder_with_provider(crypto_provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("the provider has the cipher suites of TLS 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::in_memory_sessions(RESUMABLE_SESSIONS);
        config.enable_early_data = true;
        Ok(Self { config: Arc::new(config) })
    }

    pub(super) fn config(&self) -> Arc<rustls::ClientConfig> {
        Arc::clone(&self.config)
    }
}

/// The one place that chooses who does the cryptography.
pub(crate) fn crypto_provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Whether each of these texts is a certificate that can be trusted; if not, what is wrong with one of them.
pub(crate) fn check_authorities(certificates: &[String]) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes());
        let bad = |reason: String| format!("an authority in it is no certificate: {reason}");
        let certificate = certificate.map_err(|error| bad(error.to_string()))?;
        roots.add(certificate).map_err(|error| bad(error.to_string()))?;
    }
    Ok(())
}

/// Whether the first certificate of a bundle is one that brokers take for one of this authority; if not, why.
#[cfg(feature = "admin")]
pub(crate) fn check_issued(bundle: &str, authority: &str) -> Result<(), String> {
    use rustls::pki_types::UnixTime;
    use rustls::server::WebPkiClientVerifier;

    let certificate = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| error.to_string());
    let mut roots = RootCertStore::empty();
    roots.add(certificate(authority)?).map_err(|error| error.to_string())?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), crypto_provider()).build();
    let verifier = verifier.map_err(|error| error.to_string())?;
    let checked = verifier.verify_client_cert(&certificate(bundle)?, &[], UnixTime::now());
    checked.map(drop).map_err(|error| error.to_string())
}

fn add_authorities(roots: &mut RootCertStore, path: &Path) -> Result<(), Error> {
    let bad = |reason: String| Error::BadAuthority { path: path.to_owned(), reason };
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| bad(error.to_string()))? {
        let certificate = certificate.map_err(|error| bad(error.to_string()))?;
        roots.add(certificate).map_err(|error| bad(error.to_string()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_an_authority_nobody_is_trusted() {
        let folder = tempfile::tempdir().expect("temporary folder");
        assert!(matches!(Trust::load(folder.path()), Err(Error::NoAuthority { .. })));
        assert!(matches!(Trust::load(&folder.path().join("absent")), Err(Error::NoAuthority { .. })));
        std::fs::write(folder.path().join("bad.pem"), "-----BEGIN CERTIFICATE-----\n????\n").expect("write");
        assert!(matches!(Trust::load(folder.path()), Err(Error::BadAuthority { .. })));
    }
}
