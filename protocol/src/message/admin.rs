//! What an operator and a broker say to each other, on the port where brokers meet.

/// Agreed on in the TLS handshake.
pub const ADMIN_ALPN: &[u8] = b"anyport-admin/1";

/// The DNS name that tells a broker's certificate, beside the names of its hosts.
pub const BROKER_NAME: &str = "broker.anyport.internal";

/// The DNS name that tells an operator's certificate.
pub const ADMIN_NAME: &str = "admin.anyport.internal";
