//! Opening sessions anew when a log has lost its end: the positions they hold may lie beyond it.

use std::sync::Arc;

use anyport_protocol::message::GoAway;
use anyport_storage::metadata::ClusterState;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Push;
use crate::Broker;

/// Whenever a log epoch begins while clients are served. A client that comes back is told what is lost, and where it goes on.
pub async fn begin_anew(broker: Arc<Broker>, mut state: watch::Receiver<Arc<ClusterState>>, stop: CancellationToken) {
    let mut known = broker.epochs.current();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            changed = state.changed() => if changed.is_err() { return },
        }
        let current = broker.epochs.current();
        if std::mem::replace(&mut known, current) < current {
            broker.sessions.push_to_all(&Push::GoAway(GoAway::default()));
        }
    }
}
