//! What the map tells clients to do when an epoch begins: in order, each step once, also when the process is replaced in the middle.
//!
//! Inputs: `handle_map`. Output: `poll`, when `next_at` says. What is left to do is saved with the map.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyport_protocol::map::{Map, MapCommand, ServiceId, SphereEpoch};
use serde::{Deserialize, Serialize};

/// One thing for the driver to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Refetch,
    /// Connections are made anew.
    Forget,
    Reopen,
    MoveTo(String),
    Unknown(String),
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Orders {
    /// Of sessions. None before the first map.
    believed: Option<SphereEpoch>,
    left: VecDeque<MapCommand>,
    #[serde(skip)]
    waits_until: Option<Instant>,
}

impl Orders {
    /// As an earlier process left them; what cannot be read is as nothing.
    pub(super) fn decode(bytes: &[u8]) -> Self {
        serde_json::from_slice(bytes).unwrap_or_default()
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain data")
    }

    /// Of several rows the one of the server counts, where the client is.
    pub(super) fn handle_map(&mut self, map: &Map, server: &str) {
        let sessions = || map.points().iter().filter(|point| point.service.as_str() == ServiceId::SESSION);
        let here = sessions().find(|point| point.host.address() == server);
        let Some(row) = here.or_else(|| sessions().max_by_key(|point| point.sphere.epoch)) else { return };
        let epoch = row.sphere.epoch;
        // Who has just come knows nothing that it would have to forget.
        if self.believed.is_some_and(|believed| believed < epoch) {
            self.left = row.commands.iter().cloned().collect();
            self.waits_until = None;
        }
        self.believed = self.believed.max(Some(epoch));
    }

    pub(super) fn next_at(&self) -> Option<Instant> {
        // Without a wait the next step is due at once: in the past, whatever the clock says.
        (!self.left.is_empty()).then(|| self.waits_until.unwrap_or_else(Instant::now))
    }

    /// The next step that is due; `random`, from 0 to 1, is for a wait that begins.
    pub(super) fn poll(&mut self, now: Instant, random: f64) -> Option<Step> {
        loop {
            if self.waits_until.is_some_and(|until| now < until) {
                return None;
            }
            if self.waits_until.take().is_some() {
                self.left.pop_front();
            }
            if let MapCommand::Wait { upto_ms } = self.left.front()? {
                self.waits_until = Some(now + Duration::from_millis(*upto_ms).mul_f64(random));
                continue;
            }
            return self.left.pop_front().map(|command| match command {
                MapCommand::Refetch => Step::Refetch,
                MapCommand::DropState => Step::Forget,
                MapCommand::Resubscribe => Step::Reopen,
                MapCommand::MoveTo { host } => Step::MoveTo(host.address()),
                MapCommand::Unknown { name } => Step::Unknown(name),
                MapCommand::Wait { .. } => unreachable!("waits are waited above"),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use anyport_protocol::map::{ServicePoint, Sphere};

    use super::*;

    fn map(epoch: u64, commands: &[MapCommand]) -> Map {
        let sphere = Sphere { provider: "cluster".parse().expect("good"), epoch: SphereEpoch(epoch) };
        let host = "a:1".parse().expect("good");
        let point = ServicePoint::new(ServiceId::known(ServiceId::SESSION), sphere, host);
        Map::new(epoch, [ServicePoint { commands: commands.to_vec(), ..point }])
    }

    fn all() -> Vec<MapCommand> {
        vec![
            MapCommand::Refetch,
            MapCommand::Wait { upto_ms: 4000 },
            MapCommand::Unknown { name: "dance".into() },
            MapCommand::MoveTo { host: "b:1".parse().expect("good") },
            MapCommand::Resubscribe,
        ]
    }

    #[test]
    fn steps_are_taken_in_order_and_waits_are_waited() {
        let (now, mut orders) = (Instant::now(), Orders::default());
        orders.handle_map(&map(1, &[MapCommand::DropState]), "a:1");
        assert_eq!(orders.poll(now, 0.5), None, "who has just come has nothing to drop");
        orders.handle_map(&map(2, &all()), "a:1");
        assert_eq!(orders.poll(now, 0.5), Some(Step::Refetch));
        assert_eq!(orders.poll(now, 0.5), None);
        let later = now + Duration::from_secs(2);
        assert_eq!(orders.next_at(), Some(later));
        let rest: Vec<_> = std::iter::from_fn(|| orders.poll(later, 0.5)).collect();
        assert_eq!(rest, [Step::Unknown("dance".into()), Step::MoveTo("b:1".into()), Step::Reopen]);
        orders.handle_map(&map(2, &all()), "a:1");
        assert_eq!((orders.poll(later, 0.5), orders.next_at()), (None, None), "once for each epoch");
    }

    #[test]
    fn another_process_goes_on_where_one_was_interrupted() {
        let (now, mut orders) = (Instant::now(), Orders::default());
        orders.handle_map(&map(1, &[]), "a:1");
        orders.handle_map(&map(2, &all()), "a:1");
        assert_eq!(orders.poll(now, 1.0), Some(Step::Refetch));
        assert_eq!(orders.poll(now, 1.0), None);
        let mut next = Orders::decode(&orders.encode());
        assert_eq!(
            next.poll(now, 0.0),
            Some(Step::Unknown("dance".into())),
            "the wait begins anew, and is short this time"
        );
        assert!(Orders::decode(b"\xc1").next_at().is_none(), "hostile, and no panic");
    }
}
