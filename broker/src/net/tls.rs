//! The certificate a broker shows, and the throw-away authority of `--dev`.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("read or write {path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("{path} holds no certificate or key: {source}")]
    Pem { path: PathBuf, source: rustls::pki_types::pem::Error },
    #[error("make a certificate: {0}")]
    Generate(#[from] rcgen::Error),
}

/// A certificate chain and its key.
#[derive(Debug)]
pub struct Identity {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
}

impl Identity {
    pub fn load(chain: &Path, key: &Path) -> Result<Self, TlsError> {
        let pem = |path: &Path| {
            let path = path.to_owned();
            move |source| TlsError::Pem { path, source }
        };
        Ok(Self {
            chain: CertificateDer::pem_file_iter(chain).and_then(Iterator::collect).map_err(pem(chain))?,
            key: PrivateKeyDer::from_pem_file(key).map_err(pem(key))?,
        })
    }

    /// TLS as this broker speaks it on every port.
    pub fn server_config(self) -> Result<rustls::ServerConfig, rustls::Error> {
        rustls::ServerConfig::builder_with_provider(crate::crypto_provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(self.chain, self.key)
    }
}

/// A certificate authority made at the first start and kept beside the data, so that clients that trusted it once still do
/// after a restart.
#[derive(Debug)]
pub struct DevAuthority {
    certificate_pem: String,
    key_pem: String,
}

impl DevAuthority {
    pub fn open(folder: &Path) -> Result<Self, TlsError> {
        let (certificate, key) = (folder.join("ca.pem"), folder.join("ca.key"));
        if !key.exists() {
            let authority = Self::generate()?;
            fs::create_dir_all(folder).map_err(|source| TlsError::File { path: folder.into(), source })?;
            write_private(&certificate, &authority.certificate_pem)?;
            // The key goes last: its presence says that the pair is complete.
            write_private(&key, &authority.key_pem)?;
        }
        let read = |path: PathBuf| fs::read_to_string(&path).map_err(|source| TlsError::File { path, source });
        Ok(Self { certificate_pem: read(certificate)?, key_pem: read(key)? })
    }

    fn generate() -> Result<Self, TlsError> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        params.distinguished_name.push(DnType::CommonName, "Anyport development CA");
        let key = KeyPair::generate()?;
        Ok(Self { certificate_pem: params.self_signed(&key)?.pem(), key_pem: key.serialize_pem() })
    }

    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// A fresh certificate for this machine's loopback names and the address listened on.
    pub fn issue(&self, listen: IpAddr) -> Result<Identity, TlsError> {
        let issuer = Issuer::from_ca_cert_pem(&self.certificate_pem, KeyPair::from_pem(&self.key_pem)?)?;
        let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(String::from).into();
        if !listen.is_loopback() && !listen.is_unspecified() {
            names.push(listen.to_string());
        }
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, "Anyport development broker");
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &issuer)?;
        Ok(Identity { chain: vec![certificate.der().clone()], key: PrivateKeyDer::Pkcs8(key.serialize_der().into()) })
    }

    /// Puts the authority where the command line of the same user looks for those it trusts.
    pub fn publish(&self, file: &Path) -> Result<(), TlsError> {
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder).map_err(|source| TlsError::File { path: folder.into(), source })?;
        }
        // Renamed into place: a client reading at this moment sees the old file or the new one.
        let draft = file.with_extension(format!("{}.tmp", std::process::id()));
        write_private(&draft, &self.certificate_pem)?;
        fs::rename(&draft, file).map_err(|source| TlsError::File { path: file.into(), source })
    }
}

fn write_private(path: &Path, text: &str) -> Result<(), TlsError> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;

    let write = || {
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|source| TlsError::File { path: path.into(), source })
}
