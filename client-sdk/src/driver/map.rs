//! What a client does with the Service Point Map that brokers tell it: the director chooses by it, the home folder keeps it, and a new
//! epoch's commands are carried out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyport_protocol::map::{Map, MapDelta, MapError, ServiceId};
use anyport_protocol::message::{GetMap, MapAnswer};

use super::connected::Ended;
use super::orders::Step;
use super::session::Request;
use super::{Driver, blocking};

/// Changes of the map are saved at most so often: a map that is a little old is good enough to begin with.
const SAVE_EVERY: Duration = Duration::from_secs(10);

impl Driver {
    /// Asks for what has changed since the map that the client has, and to be told of every change from now on.
    pub(super) fn push_get_map(&mut self, now: Instant, out: &mut Vec<u8>) {
        if !self.roam {
            return;
        }
        // A map of an earlier process may be one of other wishes.
        let have = self.told.map.borrow().as_ref().map_or(0, |map| map.revision);
        self.push_get_map_since(have, now, out);
    }

    fn push_get_map_since(&mut self, have: u64, now: Instant, out: &mut Vec<u8>) {
        self.is_whole_map_asked = have == 0;
        let zone = self.zone.clone().unwrap_or_default();
        let service = Some(ServiceId::known(ServiceId::SESSION));
        self.session.request(Request::Map, GetMap { have, service, zone, follow: true }, now, out);
    }

    /// A map that cannot be taken is asked for whole.
    pub(super) fn on_map(&mut self, answer: &MapAnswer, out: &mut Vec<u8>) {
        let now = Instant::now();
        match self.take_map(answer, now) {
            Ok(true) => {}
            Ok(false) if self.is_whole_map_asked => {
                return tracing::warn!("the broker tells a change where the whole map was asked for");
            }
            Ok(false) => return self.push_get_map_since(0, now, out),
            Err(error) => return tracing::warn!(%error, "the broker's map cannot be read"),
        }
        let Some(map) = self.director.map().cloned() else { return };
        self.orders.handle_map(&map, self.director.server());
        let before = self.told.map.send_replace(Some(Arc::clone(&map)));
        // What is more or less loaded is of no use to a later process.
        self.is_map_unsaved |= before.is_none_or(|before| !before.differs_in_load_alone(&map));
    }

    /// False if it is a change of another map than the client has.
    fn take_map(&mut self, answer: &MapAnswer, now: Instant) -> Result<bool, MapError> {
        if !answer.is_whole {
            let delta = MapDelta::decode(&answer.map)?;
            return Ok(self.director.handle_delta(delta, answer.server_time, now).is_ok());
        }
        let map = Map::decode(&answer.map)?;
        // A broker alone that does not know its own address has nothing to say.
        if !map.points().is_empty() {
            self.director.handle_map(map, answer.server_time, now);
        }
        Ok(true)
    }

    /// When `keep_map` and `obey` have something to do.
    pub(super) fn map_due(&self) -> Option<Instant> {
        let save = self.is_map_unsaved.then(|| self.map_saved_at + SAVE_EVERY);
        save.into_iter().chain(self.orders.next_at()).min()
    }

    pub(super) async fn keep_map(&mut self, now: Instant) {
        if self.is_map_unsaved && now >= self.map_saved_at + SAVE_EVERY {
            self.save_map().await;
        }
    }

    /// Not vital: without it the next process begins with the servers that it is given.
    pub(super) async fn save_map(&mut self) {
        (self.is_map_unsaved, self.map_saved_at) = (false, Instant::now());
        let Some(map) = self.director.map().map(|map| map.encode()) else { return };
        let (home, orders) = (self.home.clone(), self.orders.encode());
        if let Err(error) = blocking(move || home.save_map(&orders, &map)).await {
            tracing::warn!(%error, "save the map");
        }
    }

    /// Carries out the next command of a new epoch, if it is time.
    pub(super) fn obey(&mut self, now: Instant, out: &mut Vec<u8>) -> Result<(), Ended> {
        while let Some(step) = self.orders.poll(now, rand::random()) {
            tracing::info!(?step, "a new epoch of the map says so");
            // Saved later: whoever is interrupted does it again, which does no harm.
            self.is_map_unsaved = true;
            match step {
                Step::Refetch => self.push_get_map_since(0, now, out),
                Step::Forget => {
                    (self.spare, self.trust) = (None, None);
                    self.director.forget_map();
                    self.told.map.send_replace(None);
                    return Err(Ended::Moved);
                }
                // At the same broker: it has not failed.
                Step::Reopen => return Err(Ended::Moved),
                Step::MoveTo(server) => {
                    self.director.prefer(&server);
                    return Err(Ended::Moved);
                }
                Step::Unknown(name) => tracing::warn!(name, "a command that this version does not know is skipped"),
            }
        }
        Ok(())
    }
}
