//! The authority of a cluster, and the bundles that it makes for brokers and operators.
//!
//! A *bundle* is one PEM file: a certificate, the authority's certificate, and the key of the first. Who has it is who it names. Which
//! kind it is, a DNS name in the certificate says; a broker's names its hosts besides, because clients are shown the same one.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyport_protocol::message::admin::{ADMIN_NAME, BROKER_NAME};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::client::verify_server_name;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::ParsedCertificate;
use time::OffsetDateTime;

use crate::net::check_issued;

const DAY: Duration = Duration::from_secs(86_400);
/// Of a bundle. Long, because a cluster whose certificates have run out stands still, and its peers are few and known by their keys.
pub const CERTIFICATE_VALID: Duration = Duration::from_secs(5 * 365 * 86_400);
/// No bundle may outlive it.
const AUTHORITY_VALID: Duration = Duration::from_secs(20 * 365 * 86_400);
/// Clocks differ: what is made now is good on a machine that is behind.
const CLOCKS_DIFFER: Duration = DAY;

const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    #[error("{path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("{path} is there already")]
    Exists { path: PathBuf },
    #[error("{folder} has no authority of a cluster that can be used: {reason}")]
    Unusable { folder: PathBuf, reason: String },
    #[error("{path} is no broker's bundle whose key could be kept: {reason}")]
    NotRenewable { path: PathBuf, reason: String },
    #[error("{host:?} is neither a name nor an IP address")]
    BadHost { host: String },
    #[error("make a certificate: {0}")]
    Make(#[from] rcgen::Error),
}

/// Signs for one cluster. Who has its key can be every broker and every operator.
#[derive(Debug)]
pub struct ClusterAuthority {
    label: String,
    certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl ClusterAuthority {
    pub fn generate() -> Result<Self, AuthorityError> {
        let key = KeyPair::generate()?;
        let mut params = lasting(CertificateParams::default(), AUTHORITY_VALID);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let label = label_of(&key);
        named(&mut params, &format!("Anyport cluster CA {label}"));
        let certificate_pem = params.self_signed(&key)?.pem();
        Ok(Self { label, certificate_pem, issuer: Issuer::new(params, key) })
    }

    /// The one that `cluster-init` has made there.
    pub fn open(folder: &Path) -> Result<Self, AuthorityError> {
        let read = |name| {
            let path = folder.join(name);
            fs::read_to_string(&path).map_err(|source| AuthorityError::File { path, source })
        };
        let (certificate_pem, key_pem) = (read("ca.pem")?, read("ca.key")?);
        let unusable = |reason: String| AuthorityError::Unusable { folder: folder.to_owned(), reason };
        let key = KeyPair::from_pem(&key_pem).map_err(|error| unusable(format!("ca.key: {error}")))?;
        let label = label_of(&key);
        let issuer = Issuer::from_ca_cert_pem(&certificate_pem, key);
        let issuer = issuer.map_err(|error| unusable(format!("ca.pem: {error}")))?;
        let authority = Self { label, certificate_pem, issuer };
        // The two files may be of different authorities; nothing signed by such a pair would be taken.
        let trial = authority.admin_bundle(DAY)?;
        check_issued(&trial, &authority.certificate_pem).map_err(unusable)?;
        Ok(authority)
    }

    /// A short word of its own, by which people and file names tell authorities apart.
    pub fn label(&self) -> &str {
        &self.label
    }

    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// A join token: what makes a broker one of this cluster. The hosts are what clients dial; this machine's loopback is always among
    /// them.
    pub fn broker_bundle(&self, hosts: &[String], valid: Duration) -> Result<String, AuthorityError> {
        self.broker_bundle_of(&KeyPair::generate()?, hosts, valid)
    }

    /// The same for the key of an earlier bundle. The cluster knows a broker by its key, so it stays who it is.
    pub fn renew_broker_bundle(
        &self,
        earlier: &Path,
        hosts: &[String],
        valid: Duration,
    ) -> Result<String, AuthorityError> {
        let file = |source| AuthorityError::File { path: earlier.to_owned(), source };
        let pem = fs::read(earlier).map_err(file)?;
        let key = key_of_broker(&pem);
        let key = key.map_err(|reason| AuthorityError::NotRenewable { path: earlier.to_owned(), reason })?;
        self.broker_bundle_of(&key, hosts, valid)
    }

    fn broker_bundle_of(&self, key: &KeyPair, hosts: &[String], valid: Duration) -> Result<String, AuthorityError> {
        check_hosts(hosts)?;
        let mut names: Vec<String> = [BROKER_NAME].into_iter().chain(LOOPBACK).map(str::to_owned).collect();
        names.extend(hosts.iter().filter(|host| !LOOPBACK.contains(&host.as_str())).cloned());
        let mut params = CertificateParams::new(names)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        self.bundle(params, "Anyport broker", key, valid)
    }

    /// For whoever may ask and command every broker of the cluster. It cannot pose as a broker: clients would not take it for one.
    pub fn admin_bundle(&self, valid: Duration) -> Result<String, AuthorityError> {
        let mut params = CertificateParams::new(vec![ADMIN_NAME.to_owned()])?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.bundle(params, "Anyport operator", &KeyPair::generate()?, valid)
    }

    fn bundle(
        &self,
        params: CertificateParams,
        name: &str,
        key: &KeyPair,
        valid: Duration,
    ) -> Result<String, AuthorityError> {
        let mut params = lasting(params, valid.min(AUTHORITY_VALID));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        named(&mut params, name);
        let certificate = params.signed_by(key, &self.issuer)?;
        Ok(format!("{}{}{}", certificate.pem(), self.certificate_pem, key.serialize_pem()))
    }
}

fn label_of(key: &KeyPair) -> String {
    CertificateParams::default().key_identifier(key).iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

/// The certificate may have run out, and may be of an authority of before: its key is what is kept.
fn key_of_broker(bundle: &[u8]) -> Result<KeyPair, String> {
    let certificate = CertificateDer::from_pem_slice(bundle).map_err(|error| error.to_string())?;
    let shown = ParsedCertificate::try_from(&certificate).map_err(|error| error.to_string())?;
    let name = ServerName::try_from(BROKER_NAME).expect("a name");
    verify_server_name(&shown, &name).map_err(|_| "its certificate is no broker's".to_owned())?;
    let key = PrivateKeyDer::from_pem_slice(bundle).map_err(|error| error.to_string())?;
    KeyPair::try_from(&key).map_err(|error| error.to_string())
}

/// A name that a client could dial, or an address. No wildcards: a bundle is one broker's.
fn check_hosts(hosts: &[String]) -> Result<(), AuthorityError> {
    let is_label = |label: &str| {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(good)
    };
    let is_good = |host: &str| host.parse::<std::net::IpAddr>().is_ok() || host.split('.').all(is_label);
    match hosts.iter().find(|host| !is_good(host)) {
        Some(host) => Err(AuthorityError::BadHost { host: host.clone() }),
        None => Ok(()),
    }
}

fn lasting(mut params: CertificateParams, valid: Duration) -> CertificateParams {
    let now = OffsetDateTime::now_utc();
    (params.not_before, params.not_after) = (now - CLOCKS_DIFFER, now + valid);
    params
}

fn named(params: &mut CertificateParams, name: &str) {
    // Its default names the library.
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
}

/// Writes a file that only its owner may read, and never over one that is there: what is there may be in use.
pub fn write_new(path: &Path, text: &str) -> Result<(), AuthorityError> {
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    let path = path.to_owned();
    write().map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => AuthorityError::Exists { path },
        _ => AuthorityError::File { path, source },
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::RootCertStore;
    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier;
    use rustls::pki_types::UnixTime;

    use super::*;
    use crate::net::crypto_provider;

    /// Whether a client that trusts the authority takes the bundle's certificate for one of this host.
    fn is_taken_for(bundle: &str, authority: &ClusterAuthority, host: &str) -> bool {
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_slice(authority.certificate_pem().as_bytes()).expect("PEM");
        roots.add(certificate).expect("an authority");
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), crypto_provider()).build();
        let leaf = CertificateDer::from_pem_slice(bundle.as_bytes()).expect("PEM");
        let name = ServerName::try_from(host.to_owned()).expect("a name");
        verifier.expect("a root").verify_server_cert(&leaf, &[], &name, &[], UnixTime::now()).is_ok()
    }

    #[test]
    fn a_join_token_holds_a_certificate_the_authority_and_a_key_in_this_order() {
        let authority = ClusterAuthority::generate().expect("made");
        let bundle = authority.broker_bundle(&[], CERTIFICATE_VALID).expect("made");
        let certificates: Vec<_> =
            CertificateDer::pem_slice_iter(bundle.as_bytes()).map(|one| one.expect("PEM")).collect();
        assert_eq!(certificates.len(), 2);
        let ca = CertificateDer::from_pem_slice(authority.certificate_pem().as_bytes()).expect("PEM");
        assert_eq!(certificates[1], ca);
        assert!(PrivateKeyDer::from_pem_slice(bundle.as_bytes()).is_ok());
        assert!(bundle.find("PRIVATE KEY") > bundle.rfind("CERTIFICATE"), "the key comes last");
    }

    #[test]
    fn a_brokers_certificate_names_its_hosts_and_its_kind_and_nothing_else() {
        let authority = ClusterAuthority::generate().expect("made");
        let hosts = ["b1.example", "10.0.0.7", "localhost"].map(str::to_owned);
        let bundle = authority.broker_bundle(&hosts, CERTIFICATE_VALID).expect("made");
        for host in ["localhost", "127.0.0.1", "::1", "b1.example", "10.0.0.7", BROKER_NAME] {
            assert!(is_taken_for(&bundle, &authority, host), "{host}");
        }
        for host in ["b2.example", "10.0.0.8", ADMIN_NAME] {
            assert!(!is_taken_for(&bundle, &authority, host), "{host}");
        }
        let other = ClusterAuthority::generate().expect("made");
        assert!(!is_taken_for(&bundle, &other, "localhost"), "another cluster's authority");
        assert!(check_issued(&bundle, authority.certificate_pem()).is_ok(), "a broker dials brokers");
    }

    #[test]
    fn a_renewed_token_is_of_the_same_key() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let earlier = folder.path().join("broker-1.pem");
        let authority = ClusterAuthority::generate().expect("made");
        let first = authority.broker_bundle(&[], CERTIFICATE_VALID).expect("made");
        write_new(&earlier, &first).expect("written");
        let renewed =
            authority.renew_broker_bundle(&earlier, &["b1.example".to_owned()], CERTIFICATE_VALID).expect("made");
        let key = |bundle: &str| bundle[bundle.find("-----BEGIN PRIVATE").expect("a key")..].to_owned();
        assert_eq!(key(&renewed), key(&first));
        assert!(is_taken_for(&renewed, &authority, "b1.example") && !is_taken_for(&first, &authority, "b1.example"));
        // Whoever has another key must not become a broker by it.
        for other in [
            authority.admin_bundle(CERTIFICATE_VALID).expect("made"),
            authority.key_pem(),
            authority.certificate_pem().to_owned(),
            "no PEM".to_owned(),
        ] {
            fs::write(&earlier, other).expect("written");
            let refused = authority.renew_broker_bundle(&earlier, &[], CERTIFICATE_VALID);
            assert!(matches!(refused, Err(AuthorityError::NotRenewable { .. })), "{refused:?}");
        }
    }

    #[test]
    fn an_operators_certificate_is_no_brokers() {
        let authority = ClusterAuthority::generate().expect("made");
        let bundle = authority.admin_bundle(CERTIFICATE_VALID).expect("made");
        assert_eq!(check_issued(&bundle, authority.certificate_pem()), Ok(()));
        for host in [ADMIN_NAME, BROKER_NAME, "localhost"] {
            assert!(!is_taken_for(&bundle, &authority, host), "{host}: it must not serve anybody");
        }
    }

    #[test]
    fn what_no_client_could_dial_is_no_host() {
        let authority = ClusterAuthority::generate().expect("made");
        for bad in ["", "*.example", "b1.example:7400", "ü", "a b", "a..b", &"x".repeat(64)] {
            let refused = authority.broker_bundle(&[bad.to_owned()], CERTIFICATE_VALID);
            assert!(matches!(refused, Err(AuthorityError::BadHost { .. })), "{bad:?}: {refused:?}");
        }
    }

    #[test]
    fn an_authority_is_opened_again_and_one_of_two_halves_is_not() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let (first, second) =
            (ClusterAuthority::generate().expect("made"), ClusterAuthority::generate().expect("made"));
        write_new(&folder.path().join("ca.pem"), first.certificate_pem()).expect("written");
        let key = folder.path().join("ca.key");
        assert!(matches!(ClusterAuthority::open(folder.path()), Err(AuthorityError::File { .. })), "no key");
        write_new(&key, &first.key_pem()).expect("written");
        let opened = ClusterAuthority::open(folder.path()).expect("both halves");
        let bundle = opened.broker_bundle(&[], CERTIFICATE_VALID).expect("made");
        assert!(is_taken_for(&bundle, &first, BROKER_NAME), "it signs as the one that was made");
        fs::write(&key, second.key_pem()).expect("written");
        let refused = ClusterAuthority::open(folder.path());
        assert!(matches!(refused, Err(AuthorityError::Unusable { .. })), "{refused:?}");
    }

    #[test]
    fn a_file_that_is_there_is_not_written_over_and_a_new_one_is_its_owners() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("broker-1.pem");
        write_new(&path, "first").expect("written");
        assert!(matches!(write_new(&path, "second"), Err(AuthorityError::Exists { .. })));
        assert_eq!(fs::read_to_string(&path).expect("read"), "first");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
    }
}
