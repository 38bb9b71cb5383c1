//! The operator's side of a cluster: its certificates, and what `anyport admin` asks its brokers.
//!
//! Behind the feature `admin`, because a phone needs none of it.

mod authority;

pub use authority::{AuthorityError, CERTIFICATE_VALID, ClusterAuthority, write_new};
