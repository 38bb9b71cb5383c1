//! The socket to the other brokers, from before this one has a number until it stops.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyport_protocol::{BrokerId, ClusterId, Fault};
use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::calls::Failure;
use super::connection::ask_alone;
use super::dial::dial;
use super::frames::Greeting;
use super::greeting::greet;
use super::keeper::Keeper;
use super::links::{Links, QuicPeers};
use super::{Answers, Call, Directory, Peers};
use crate::net::{BindError, ClusterIdentity, Congestion, Goodbye, PeerSocket, Purpose};

/// A connection for one question: long enough for an entry of the metadata group to commit in the slowest cluster.
const NEWCOMER_IDLE: Duration = Duration::from_secs(5);

/// What is expected of the lines between brokers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkProfile {
    /// How soon silence is taken for death on the Raft connection. The other one is given twice the time, or ends with it.
    pub idle: Duration,
    /// A broker that was not reached is tried again after this long at most.
    pub redial_max: Duration,
    pub congestion: Congestion,
}

impl LinkProfile {
    /// For brokers within milliseconds of each other.
    pub const LAN: Self =
        Self { idle: Duration::from_millis(1500), redial_max: Duration::from_secs(1), congestion: Congestion::Cubic };

    /// For brokers anywhere. Over 200 ms each way of which 5 % are lost Cubic would carry 20 kB/s.
    pub const WAN: Self =
        Self { idle: Duration::from_secs(5), redial_max: Duration::from_secs(5), congestion: Congestion::Bbr };
}

/// Why somebody who was asked by address did not answer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum JoinError {
    /// Nothing was asked.
    #[error("no broker can be reached at {address}: {why}")]
    Unreachable { address: String, why: Arc<str> },
    /// It may have been heard.
    #[error("the broker at {address} did not answer: {why}")]
    Lost { address: String, why: Arc<str> },
    #[error("the broker at {address} refuses: {fault}")]
    Refused { address: String, fault: Fault },
}

/// The socket to the other brokers; clones share it.
#[derive(Clone, Debug)]
pub struct PeerEndpoint {
    socket: PeerSocket,
}

impl PeerEndpoint {
    /// Binds the socket. Who connects waits until `start`.
    pub fn bind(listen: SocketAddr, identity: &ClusterIdentity) -> Result<Self, BindError> {
        Ok(Self { socket: PeerSocket::bind(listen, identity)? })
    }

    /// Where other brokers connect, with the port the system chose if it was asked to.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Asks whoever is at an address (host and port, the host may be a name) one question, as somebody of whom no more is known than the
    /// certificate. The caller decides how long to wait.
    pub async fn join_call(&self, address: &str, call: Call, body: Bytes) -> Result<Bytes, JoinError> {
        let unreachable = |why: String| JoinError::Unreachable { address: address.to_owned(), why: why.into() };
        let wire = dial(&self.socket, address, Purpose::Peer, NEWCOMER_IDLE).await.map_err(unreachable)?;
        // The common stream stays open for as long as the connection is used.
        let greeted = greet(&wire, &Greeting::of(None, None), NEWCOMER_IDLE).await;
        let (_, _common) = greeted.map_err(|error| unreachable(error.to_string()))?;
        let answer = ask_alone(&wire, call, body).await;
        wire.close(Goodbye::Done, "the question is answered");
        let address = address.to_owned();
        answer.map_err(|failure| match failure {
            Failure::NotSent(why) => JoinError::Unreachable { address, why },
            Failure::Lost(why) => JoinError::Lost { address, why },
            Failure::Refused(fault) => JoinError::Refused { address, fault },
        })
    }

    /// Answers from now on, and keeps both connections with every broker that the directory names, for as long as it names it.
    pub fn start(
        &self,
        own: BrokerId,
        cluster: ClusterId,
        profile: LinkProfile,
        directory: watch::Receiver<Directory>,
        answers: Arc<dyn Answers>,
    ) -> (Peers, PeerTasks) {
        let links = Arc::new(Links::default());
        let socket = self.socket.clone().with_congestion(profile.congestion);
        let keeper = Keeper { socket, own, cluster, profile, directory, answers, links: Arc::clone(&links) };
        let stop = CancellationToken::new();
        let keeper = tokio::spawn(Arc::new(keeper).run(stop.clone()));
        (Arc::new(QuicPeers(links)), PeerTasks { stop: stop.drop_guard(), keeper })
    }
}

/// The tasks behind the links. Dropped, they end without waiting for anything.
#[derive(Debug)]
pub struct PeerTasks {
    stop: DropGuard,
    keeper: JoinHandle<()>,
}

impl PeerTasks {
    /// Ends all connections and the socket, and waits for that.
    pub async fn stop(self) {
        drop(self.stop);
        if let Err(failed) = self.keeper.await {
            tracing::error!(%failed, "the keeper of the peer links");
        }
    }
}
