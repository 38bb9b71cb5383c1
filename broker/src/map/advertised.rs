//! Other people's services on the map: each for a time, which whoever advertises it makes longer again and again.

use std::sync::Arc;
use std::time::Duration;

use anyport_protocol::map::Map;
use anyport_protocol::message::{Advertise, Withdraw};
use anyport_protocol::{ClientId, Code, Fault, WallMs};
use anyport_storage::metadata::{ClusterState, Command, Refusal, Reply};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::cluster::MetadataLink;

/// How long a service may stay on the map without a word of it. Each word is an entry of the metadata.
const LEASE_MS_MIN: u64 = 5_000;
const LEASE_MS_MAX: u64 = 24 * 3600 * 1000;

/// How often is looked for what is over.
const EXPIRE_EVERY: Duration = Duration::from_secs(1);

/// The way of advertisements into the metadata; clones share it.
#[derive(Clone, Debug)]
pub struct Advertising {
    metadata: MetadataLink,
}

impl Advertising {
    pub fn new(metadata: MetadataLink) -> Self {
        Self { metadata }
    }

    pub async fn advertise(self, client: ClientId, wish: Advertise) -> Result<(), Fault> {
        let Advertise { row, lease_ms } = wish;
        let bad = |text: String| Fault::new(Code::BadMap, text);
        let map = Map::decode(&row).map_err(|error| bad(error.to_string()))?;
        let [point] = map.points() else {
            return Err(bad(format!("a map of {} rows, where one is advertised", map.points().len())));
        };
        if !(LEASE_MS_MIN..=LEASE_MS_MAX).contains(&lease_ms) {
            let text = format!("a lease of {lease_ms} ms; {LEASE_MS_MIN} to {LEASE_MS_MAX} are possible");
            return Err(Fault::new(Code::LimitPassed, text).with_value(lease_ms));
        }
        let now = clock::wall();
        let (point, until) = (Box::new(point.clone()), WallMs(now.0 + lease_ms));
        self.propose(Command::Advertise { point, client, until, now }).await
    }

    pub async fn withdraw(self, client: ClientId, wish: Withdraw) -> Result<(), Fault> {
        self.propose(Command::Withdraw { key: wish.key, client }).await
    }

    async fn propose(&self, command: Command) -> Result<(), Fault> {
        match self.metadata.decide(command).await? {
            Reply::Refused(refusal) => Err(refused(&refusal)),
            _ => Ok(()),
        }
    }
}

fn refused(refusal: &Refusal) -> Fault {
    let code = match refusal {
        Refusal::TooLong { .. } | Refusal::MapFull { .. } => Code::LimitPassed,
        Refusal::NotCreated => Code::NotReady,
        Refusal::OfAnother { .. } => Code::Forbidden,
        _ => Code::BadMap,
    };
    Fault::new(code, refusal.to_string())
}

/// Takes off the map what nobody has advertised again in time. Whoever leads the metadata does it.
pub async fn expire(metadata: MetadataLink, state: watch::Receiver<Arc<ClusterState>>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(EXPIRE_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let now = clock::wall();
        let any = state.borrow().map.advertised.values().any(|advertised| advertised.until <= now);
        if any && metadata.is_led_here() {
            // If it fails, it is tried again at the next look.
            let _ = metadata.decide(Command::Expire { now }).await;
        }
    }
}
