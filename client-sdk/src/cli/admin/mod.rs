//! `anyport admin`: what an operator does with a cluster.

mod args;
mod certificates;

pub(super) use args::Admin;
use args::AdminVerb;

use super::args::Common;
use super::exit::{Exit, Failure};

pub(super) async fn run(common: &Common, admin: Admin) -> Result<Exit, Failure> {
    match admin.verb {
        AdminVerb::ClusterInit(options) => certificates::init(common, options).await,
        AdminVerb::JoinToken(options) => certificates::join_token(common, options).await,
    }
}
