//! Who leads a group, and following it.

use anyport_protocol::ReplicaId;
use openraft::metrics::RaftServerMetrics;
use openraft::{RaftMetrics, ServerState};
use tokio::sync::watch;

/// Who leads the group, as far as this replica knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leadership {
    /// This replica does. Every time it comes to lead, the term is another one, except after a restart.
    Leader {
        term: u64,
    },
    /// This replica was made leader, and has not heard from a majority for so long that another may have been made since. What it
    /// would propose might never be answered, so it refuses; it leads on when the majority answers.
    Isolated {
        term: u64,
    },
    Follower {
        leader: Option<ReplicaId>,
    },
    /// The group is dead here: it was shut down, or its store failed.
    Stopped {
        reason: String,
    },
}

/// Follows who leads a group.
#[derive(Clone, Debug)]
pub struct LeadershipWatch {
    /// Changes with the leader and the members only; the engine's other metrics change with every entry.
    pub(super) server: watch::Receiver<RaftServerMetrics<u64, ()>>,
    pub(super) engine: watch::Receiver<RaftMetrics<u64, ()>>,
    /// Whether a leader hears from a majority. Outlives the engine.
    pub(super) quorum: watch::Receiver<bool>,
    pub(super) stopped: bool,
}

impl LeadershipWatch {
    pub fn current(&self) -> Leadership {
        if self.server.has_changed().is_err() {
            return Leadership::Stopped { reason: reason(&self.engine.borrow()) };
        }
        let server = self.server.borrow();
        let term = server.vote.leader_id.term;
        match server.state {
            ServerState::Leader if *self.quorum.borrow() => Leadership::Leader { term },
            ServerState::Leader => Leadership::Isolated { term },
            ServerState::Shutdown => Leadership::Stopped { reason: reason(&self.engine.borrow()) },
            _ => Leadership::Follower { leader: server.current_leader.map(ReplicaId) },
        }
    }

    pub fn is_leader(&self) -> bool {
        matches!(self.current(), Leadership::Leader { .. })
    }

    /// Resolves when it may have changed; never again once the group has stopped.
    pub async fn changed(&mut self) -> Leadership {
        if self.stopped {
            std::future::pending::<()>().await;
        }
        tokio::select! {
            server = self.server.changed() => self.stopped = server.is_err(),
            Ok(()) = self.quorum.changed() => {}
        }
        self.current()
    }
}

/// Why the engine has stopped.
pub(super) fn reason(metrics: &RaftMetrics<u64, ()>) -> String {
    match &metrics.running_state {
        Ok(()) => "it is shutting down".to_owned(),
        Err(fatal) => fatal.to_string(),
    }
}
