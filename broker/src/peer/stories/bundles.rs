//! Bundles as `anyport admin cluster-init` makes them: certificate, CA, private key.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use crate::net::{BROKER_NAME, ClusterIdentity, OPERATOR_NAME};

pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

/// A certificate and its private key.
pub(crate) struct Leaf {
    pub(crate) certificate: String,
    pub(crate) private: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("sign").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    pub(crate) fn leaf(&self, name: &str) -> Leaf {
        self.leaf_until(name, 2100)
    }

    /// One that is good from the year 2000 to the first day of another.
    pub(crate) fn leaf_until(&self, name: &str, year: i32) -> Leaf {
        let mut params = CertificateParams::new(vec![name.to_owned(), "localhost".to_owned()]).expect("DNS names");
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("sign").pem();
        Leaf { certificate, private: key.serialize_pem() }
    }

    pub(crate) fn bundle(&self, leaf: &Leaf) -> String {
        [&leaf.certificate, &self.pem, &leaf.private].map(String::as_str).concat()
    }

    pub(crate) fn broker(&self) -> ClusterIdentity {
        self.identity(BROKER_NAME)
    }

    pub(crate) fn operator(&self) -> ClusterIdentity {
        self.identity(OPERATOR_NAME)
    }

    fn identity(&self, name: &str) -> ClusterIdentity {
        ClusterIdentity::parse(self.bundle(&self.leaf(name)).as_bytes()).expect("a bundle")
    }
}
