//! What makes a broker one of a cluster.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

#[derive(Clone, Debug)]
pub struct Membership {
    /// Its certificate, key and authority in one file, by which it may join.
    pub bundle: PathBuf,
    pub peer: SocketAddr,
    /// The broker whose cluster it joins when it starts without a store; without one it begins a cluster.
    pub joins: Option<SocketAddr>,
    /// Where the clients of all brokers find the authority of the cluster.
    pub home: PathBuf,
}

impl Membership {
    /// What `anyportd` is told. With a store it knows its cluster, and what it is called there.
    pub(super) fn arguments(&self, has_store: bool) -> Vec<OsString> {
        let mut arguments = vec!["--cluster".into(), self.bundle.clone().into()];
        arguments.extend(["--peer".into(), self.peer.to_string().into()]);
        match self.joins {
            _ if has_store => {}
            None => arguments.push("--bootstrap".into()),
            Some(seed) => arguments.extend(["--join".into(), seed.to_string().into()]),
        }
        arguments
    }
}
