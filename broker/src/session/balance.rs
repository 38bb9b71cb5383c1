//! Handing clients over: all of them while this broker is drained, some of them when others have much more room.
//!
//! Clients choose by load when they look for a broker, but those that are served stay. So a broker that has joined, or is back, would stay
//! empty until others fail. [`surplus`] says how many are to go: the share above what all brokers have on average, each to the least
//! loaded one, spread over some time. What was asked for is waited for before more is.

use std::sync::Arc;
use std::time::Duration;

use anyport_protocol::map::{ServiceId, ServicePoint};
use anyport_protocol::message::GoAway;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{Broker, clock};

/// Between two looks at the map.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Those who go do so in this time, at random.
const SPREAD: Duration = Duration::from_secs(5);

/// Loads have followed by then, and nobody is sent twice for one reason.
const SETTLE: Duration = Duration::from_secs(15);

/// A load this much above the average is worth moving somebody for: a tenth of it, and two hundredths of what a broker takes.
const UNEVEN_MIN: u32 = 20;

/// Runs until it is told to stop. `own` is this broker's address on the map.
pub async fn hand_over(broker: Arc<Broker>, own: String, stop: CancellationToken) {
    let mut not_before = Instant::now();
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if Instant::now() < not_before {
            continue;
        }
        let history = broker.map.current();
        let rows: Vec<_> = history.map().of(ServiceId::SESSION, clock::wall()).collect();
        let Some(Surplus { to, thousandths }) = surplus(&rows, &own) else { continue };
        let count = (broker.sessions.len() * usize::from(thousandths)).div_ceil(1000);
        if count > 0 {
            tracing::info!(count, to, "hand clients over");
            metrics::counter!("anyport_clients_handed_over_total").increment(count as u64);
            let spread_over_ms = u32::try_from(SPREAD.as_millis()).expect("some seconds");
            broker.sessions.push_to_some(count, &GoAway { reconnect_after_ms: 0, to: Some(to), spread_over_ms });
            not_before = Instant::now() + SETTLE;
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Surplus {
    to: String,
    /// Of this broker's sessions.
    thousandths: u16,
}

fn surplus(rows: &[&ServicePoint], own: &str) -> Option<Surplus> {
    let own_row = rows.iter().find(|row| row.host.address() == own)?;
    let takes = |row: &&&ServicePoint| row.weight > 0 && row.sphere.provider == own_row.sphere.provider;
    let others = rows.iter().filter(takes).filter(|row| row.host.address() != own);
    let to = others.min_by_key(|row| row.load)?.host.address();
    if own_row.weight == 0 {
        return Some(Surplus { to, thousandths: 1000 });
    }
    let loads = || rows.iter().filter(takes).map(|row| u32::from(row.load));
    let mean = loads().sum::<u32>() / u32::try_from(loads().count()).ok()?;
    let load = u32::from(own_row.load);
    let is_uneven = load > mean + UNEVEN_MIN.max(mean / 10);
    let thousandths = u16::try_from((load - mean.min(load)) * 1000 / load.max(1)).ok()?;
    is_uneven.then_some(Surplus { to, thousandths })
}

#[cfg(test)]
mod tests {
    use anyport_protocol::map::{Sphere, SphereEpoch};

    use super::*;

    fn row(address: &str, load: u16, weight: u16) -> ServicePoint {
        let sphere = Sphere { provider: "cluster".parse().expect("good"), epoch: SphereEpoch(0) };
        let point = ServicePoint::new(ServiceId::known(ServiceId::SESSION), sphere, address.parse().expect("good"));
        ServicePoint { load, weight, ..point }
    }

    fn of(rows: &[ServicePoint], own: &str) -> Option<(String, u16)> {
        surplus(&rows.iter().collect::<Vec<_>>(), own).map(|surplus| (surplus.to, surplus.thousandths))
    }

    #[test]
    fn what_is_above_the_average_goes_to_the_least_loaded() {
        let rows = [row("a:1", 300, 100), row("b:1", 150, 100), row("c:1", 0, 100)];
        assert_eq!(of(&rows, "a:1"), Some(("c:1".into(), 500)));
        assert_eq!((of(&rows, "b:1"), of(&rows, "c:1")), (None, None));
    }

    #[test]
    fn a_small_difference_moves_nobody_and_neither_does_being_alone() {
        assert_eq!(of(&[row("a:1", 520, 100), row("b:1", 440, 100)], "a:1"), None);
        assert_eq!(of(&[row("a:1", 19, 100), row("b:1", 0, 100)], "a:1"), None);
        assert_eq!(of(&[row("a:1", 900, 100)], "a:1"), None);
        assert_eq!(of(&[row("a:1", 900, 100), row("b:1", 0, 0)], "a:1"), None, "nobody is sent to who is drained");
        assert_eq!(of(&[], "a:1"), None);
    }

    #[test]
    fn who_is_drained_hands_over_everybody() {
        assert_eq!(of(&[row("a:1", 5, 0), row("b:1", 300, 100)], "a:1"), Some(("b:1".into(), 1000)));
    }
}
