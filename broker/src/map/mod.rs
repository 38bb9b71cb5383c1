//! The Service Point Map, as this broker serves it.
//!
//! Every broker has the same map of the same revision, from the metadata ([`anyport_storage::metadata::ClusterState::service_map`]). Here
//! the last revisions are kept, so that a client is told what has changed since the one that it has, whichever broker told it that.
//!
//! [`ServiceMap`] is what sessions ask; [`keep`] follows the metadata, and [`report_load`] tells it how loaded this broker is.

mod advertised;
mod answer;
mod history;
mod load;

use std::sync::Arc;

use anyport_protocol::map::Host;
use anyport_protocol::{BrokerId, WallMs};
use anyport_storage::metadata::{BrokerRecord, ClusterState};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use xxhash_rust::xxh3::xxh3_64;

pub use advertised::{Advertising, expire};
pub use answer::Asked;
pub use history::History;
pub use load::{report_load, thousandths};

/// What sessions ask; clones share it.
#[derive(Clone, Debug)]
pub struct ServiceMap {
    history: watch::Receiver<Arc<History>>,
}

impl ServiceMap {
    pub fn current(&self) -> Arc<History> {
        Arc::clone(&self.history.borrow())
    }

    /// Told when there is another revision.
    pub fn watch(&self) -> watch::Receiver<Arc<History>> {
        self.history.clone()
    }
}

/// The map from now on, and the task that keeps it up to date. `own` is where a broker is that is its whole cluster.
pub fn keep(
    mut state: watch::Receiver<Arc<ClusterState>>,
    own: Option<Host>,
    stop: CancellationToken,
) -> (ServiceMap, impl Future<Output = ()> + Send) {
    let first = Arc::clone(&state.borrow_and_update());
    let (told, history) = watch::channel(Arc::new(History::of(&seen(&first, own.as_ref()))));
    let following = async move {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                changed = state.changed() => if changed.is_err() { return },
            }
            let now = Arc::clone(&state.borrow_and_update());
            told.send_if_modified(|history| match history.followed_by(&seen(&now, own.as_ref())) {
                Some(next) => {
                    *history = Arc::new(next);
                    true
                }
                None => false,
            });
        }
    };
    (ServiceMap { history }, following)
}

/// A broker alone announces itself to nobody, and is in the map all the same.
fn seen(state: &Arc<ClusterState>, own: Option<&Host>) -> Arc<ClusterState> {
    let Some(own) = own.filter(|_| state.brokers.is_empty()) else { return Arc::clone(state) };
    let record = BrokerRecord {
        id: BrokerId::FIRST,
        key: [0; 32],
        peer_address: String::new(),
        client_address: own.address(),
        zone: String::new(),
        edge: false,
        start: 0,
        away_since: None,
        draining: false,
        joined: WallMs(0),
        load: 0,
        leaving: false,
    };
    let mut with_own = ClusterState::clone(state);
    with_own.brokers.insert(record.id, record);
    // Of its own for each address, and far from those of a cluster: what one address was told is nothing to go on from for another.
    with_own.map.revision += (1 << 50) + ((xxh3_64(own.address().as_bytes()) >> 32) << 16);
    Arc::new(with_own)
}
