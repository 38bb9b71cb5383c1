//! Dialling one broker, for ever.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyport_protocol::BrokerId;

use super::connection::{Connected, Other};
use super::endpoint::LinkProfile;
use super::frames::Greeting;
use super::greeting::{CommonStream, check_dialled, greet};
use super::keeper::Keeper;
use super::{Link, PeerAddress};
use crate::net::{Goodbye, PeerConnection, PeerSocket, Purpose};

/// Below this the first wait lies.
const REDIAL_FIRST: Duration = Duration::from_millis(50);

/// A connection that lives shorter counts as a failed attempt.
const LIVED: Duration = Duration::from_secs(1);

/// What goes wrong again and again is told so often.
pub(super) const TOLD_AGAIN: Duration = Duration::from_secs(60);

impl Link {
    pub(super) fn purpose(self) -> Purpose {
        match self {
            Self::Raft => Purpose::Raft,
            Self::Bulk => Purpose::Peer,
        }
    }

    fn idle(self, profile: LinkProfile) -> Duration {
        match self {
            Self::Raft => profile.idle,
            Self::Bulk => 2 * profile.idle,
        }
    }
}

impl LinkProfile {
    /// For the greetings of a connection, at which both sides speak at once.
    pub(super) fn patience(self) -> Duration {
        2 * self.idle
    }

    /// Full jitter under a bound that grows; `random` lies in [0, 1).
    fn wait(self, failures: u32, random: f64) -> Duration {
        REDIAL_FIRST.saturating_mul(1 << failures.min(20)).min(self.redial_max).mul_f64(random)
    }
}

/// Connects to whatever answers at an address; each that its name has is tried in turn.
pub(super) async fn dial(
    socket: &PeerSocket,
    address: &str,
    purpose: Purpose,
    idle: Duration,
) -> Result<PeerConnection, String> {
    let mut why = "its name has no address that this broker's socket can reach".to_owned();
    let resolved = tokio::net::lookup_host(address).await.map_err(|error| format!("look up {address}: {error}"))?;
    for address in resolved.filter(|address| socket.reaches(address)) {
        match socket.dial(address, purpose, idle).await {
            Ok(wire) => return Ok(wire),
            Err(error) => why = error.to_string(),
        }
    }
    Err(why)
}

impl Keeper {
    /// Keeps one connection with a broker until the directory does not name it any more.
    pub(super) async fn keep_dialling(self: Arc<Self>, to: BrokerId, link: Link) {
        let (mut failures, mut told) = (0, None);
        while let Some(peer) = self.named(to) {
            match self.reach(to, link, &peer).await {
                Ok((connected, common)) => {
                    (failures, told) = (0, None);
                    let begun = Instant::now();
                    self.serve(&connected, Other::Broker(to), common).await;
                    failures += u32::from(begun.elapsed() < LIVED);
                }
                Err(why) => {
                    failures += 1;
                    if told.is_none_or(|told: Instant| told.elapsed() >= TOLD_AGAIN) {
                        told = Some(Instant::now());
                        tracing::warn!(broker = %to, ?link, address = peer.address, "cannot reach a broker: {why}");
                    }
                }
            }
            tokio::time::sleep(self.profile.wait(failures, rand::random())).await;
        }
    }

    async fn reach(
        &self,
        to: BrokerId,
        link: Link,
        peer: &PeerAddress,
    ) -> Result<(Arc<Connected>, CommonStream), String> {
        let wire = dial(&self.socket, &peer.address, link.purpose(), link.idle(self.profile)).await?;
        if wire.key() != peer.key {
            let why = format!("whoever is there does not have the key of broker {to}");
            wire.close(Goodbye::OtherBroker, &why);
            return Err(why);
        }
        let greeted = greet(&wire, &Greeting::of(Some(self.own), Some(self.cluster)), self.profile.patience()).await;
        let checked = greeted.and_then(|(there, common)| check_dialled(&there, to, self.cluster).map(|()| common));
        match checked {
            Ok(common) => Ok((Connected::new(wire), common)),
            Err(error) => {
                wire.close(error.goodbye(), &error.to_string());
                Err(error.to_string())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_cap_and_no_further() {
        let waits: Vec<u128> = (0..7).map(|failures| LinkProfile::LAN.wait(failures, 1.0).as_millis()).collect();
        assert_eq!(waits, [50, 100, 200, 400, 800, 1000, 1000]);
        assert!(LinkProfile::WAN.wait(u32::MAX, 0.5) <= Duration::from_secs(5));
    }
}
