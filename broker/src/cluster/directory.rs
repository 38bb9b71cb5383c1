//! Where the other brokers are, and telling them where this one is.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyport_protocol::BrokerId;
use anyport_storage::metadata::{BrokerRecord, ClusterState, Refusal, Reply};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::blocking::in_place;
use super::forming::{self, Announced, Introduction, addresses_of};
use super::metadata_link::MetadataLink;
use super::pulse::Health;
use super::seat::Seat;
use crate::peer::{Directory, PeerAddress, PeerEndpoint};
use crate::serving::Replicas;

/// Between two announcements while nobody has taken one.
const ANNOUNCE_EVERY: Duration = Duration::from_millis(500);

/// Follows the metadata's records of brokers, and keeps the addresses in this broker's seat for its next start.
#[derive(Debug)]
pub(super) struct Whereabouts {
    seat: Seat,
    folder: PathBuf,
    state: watch::Receiver<Arc<ClusterState>>,
    told: watch::Sender<Directory>,
}

impl Whereabouts {
    /// `heard` is what counts until the metadata here knows this broker.
    pub(super) fn new(
        seat: Seat,
        folder: PathBuf,
        heard: Directory,
        state: watch::Receiver<Arc<ClusterState>>,
    ) -> (Self, watch::Receiver<Directory>) {
        let now = current(&state.borrow(), seat.broker).unwrap_or(heard);
        let (told, addresses) = watch::channel(now);
        (Self { seat, folder, state, told }, addresses)
    }

    pub(super) async fn run(mut self, stop: CancellationToken) {
        loop {
            let now = current(&self.state.borrow_and_update(), self.seat.broker);
            if let Some(now) = now.filter(|now| *now != *self.told.borrow()) {
                self.keep(&now);
                self.told.send_replace(now);
            }
            tokio::select! {
                () = stop.cancelled() => return,
                changed = self.state.changed() => if changed.is_err() { return },
            }
        }
    }

    fn keep(&mut self, directory: &Directory) {
        let peers = addresses_of(directory, self.seat.broker);
        if peers != self.seat.peers {
            self.seat.peers = peers;
            if let Err(error) = in_place(|| self.seat.save(&self.folder)) {
                tracing::warn!(%error, "keep where the others are");
            }
        }
    }
}

/// None while the metadata here does not know this broker: then it is older than what the broker was told when it joined.
fn current(state: &ClusterState, me: BrokerId) -> Option<Directory> {
    let address = |(broker, record): (&BrokerId, &BrokerRecord)| {
        (*broker, PeerAddress { address: record.peer_address.clone(), key: record.key })
    };
    state.brokers.contains_key(&me).then(|| state.brokers.iter().map(address).collect())
}

/// Keeps up who has a replica of what, those in this broker's own zone first.
pub(super) async fn tell_replicas(
    me: BrokerId,
    mut state: watch::Receiver<Arc<ClusterState>>,
    replicas: Replicas,
    stop: CancellationToken,
) {
    loop {
        let now = Arc::clone(&state.borrow_and_update());
        let zone = |broker: &BrokerId| now.brokers.get(broker).map(|record| record.zone.as_str());
        let own = zone(&me);
        for (group, assignment) in &now.assignments {
            let present =
                assignment.settled.iter().map(|replica| replica.broker()).filter(|broker| now.is_alive(*broker));
            let mut nearest: Vec<_> = present.collect();
            nearest.sort_by_key(|broker| zone(broker) != own);
            replicas.set(*group, nearest);
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = state.changed() => if changed.is_err() { return },
        }
    }
}

/// What an announcement needs.
pub(super) struct Announcement {
    pub(super) endpoint: PeerEndpoint,
    pub(super) me: BrokerId,
    pub(super) introduction: Introduction,
    pub(super) metadata: MetadataLink,
    /// Where others were when this broker last ran.
    pub(super) peers: Vec<String>,
    pub(super) health: watch::Sender<Health>,
    /// The lease could not be renewed for long: perhaps nobody knows this broker any more.
    pub(super) unheard: Arc<Notify>,
}

impl Announcement {
    /// Says where this broker is until it is known, and again whenever it may have been forgotten.
    pub(super) async fn run(self, stop: CancellationToken) {
        let mut addresses = self.peers.iter().cycle();
        loop {
            let mut announced = self.through_the_metadata().await;
            // What is known here of the metadata may be old, and its members may know nothing of this broker.
            if let (Announced::Failed(_), Some(address)) = (&announced, addresses.next()) {
                announced = forming::announce(&self.endpoint, address, self.me, &self.introduction).await;
            }
            let failed = match announced {
                Announced::Done => None,
                Announced::Removed => return drop(self.health.send_replace(Health::Removed)),
                Announced::Failed(why) => Some(why),
            };
            let again = async {
                match failed {
                    Some(why) => {
                        tracing::debug!(why, "announce this broker");
                        tokio::time::sleep(ANNOUNCE_EVERY).await;
                    }
                    None => self.unheard.notified().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = again => {}
            }
        }
    }

    async fn through_the_metadata(&self) -> Announced {
        match self.metadata.propose(self.introduction.announce(self.me)).await {
            Ok(Reply::Announced) => Announced::Done,
            Ok(Reply::Refused(Refusal::Removed { .. } | Refusal::UnknownBroker { .. })) => Announced::Removed,
            Ok(reply) => Announced::Failed(format!("{reply:?}")),
            Err(fault) => Announced::Failed(fault.to_string()),
        }
    }
}
