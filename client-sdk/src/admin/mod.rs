//! The operator's side of a cluster: its certificates, and what `anyport admin` asks its brokers.
//!
//! Behind the feature `admin`, because a phone needs none of it. [`Operator`] asks; [`picture()`] shows what was answered.

mod authority;
mod operator;
mod picture;
#[cfg(test)]
pub(crate) mod sample;

pub use authority::{AuthorityError, CERTIFICATE_VALID, ClusterAuthority, write_new};
pub use operator::{Operator, OperatorError};
pub use picture::{SIGNS, picture, sign_of};
