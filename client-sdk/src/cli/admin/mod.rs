//! `anyport admin`: what an operator does with a cluster.

mod args;
mod certificates;
mod change;
mod draining;
mod health;
mod map;
mod recover;
mod status;

pub(super) use args::Admin;
use args::{AdminVerb, Reach};

use super::args::Common;
use super::exit::{Exit, Failure, refused};
use crate::ClientCode;
use crate::admin::{Operator, OperatorError};

pub(super) async fn run(common: &Common, admin: Admin) -> Result<Exit, Failure> {
    match admin.verb {
        AdminVerb::ClusterInit(options) => certificates::init(common, options).await,
        AdminVerb::JoinToken(options) => certificates::join_token(common, options).await,
        AdminVerb::Status(options) => status::run(common, options).await,
        AdminVerb::Drain(options) => change::drain(common, options).await,
        AdminVerb::Remove(options) => change::remove(common, options).await,
        AdminVerb::Map(options) => map::run(common, options).await,
        AdminVerb::Recover(options) => recover::run(common, options).await,
    }
}

impl Reach {
    async fn connect(&self) -> Result<Operator, OperatorError> {
        Operator::connect(&self.cluster, &self.peer).await
    }
}

impl From<OperatorError> for Failure {
    fn from(error: OperatorError) -> Self {
        let text = error.to_string();
        match error {
            OperatorError::Refused(fault) => refused(&fault),
            OperatorError::BadBundle { .. } => Self::of(ClientCode::ClusterFiles, text).with_next(
                "name the admin.pem that `anyport admin cluster-init` has made, by --cluster or ANYPORT_CLUSTER",
            ),
            OperatorError::Certificate { .. } => Self::of(ClientCode::Certificate, text).with_next(
                "check that --cluster and --peer are of one cluster, and that the certificates have not run out",
            ),
            OperatorError::Unreachable { .. } => Self::of(ClientCode::Unreachable, text)
                .with_next("check that a broker runs, and that --peer names the port where brokers meet (7401)"),
            OperatorError::Unexpected { .. } => Self::of(ClientCode::CommandFailed, text)
                .with_next("install the version of anyport that came with the broker"),
        }
    }
}
