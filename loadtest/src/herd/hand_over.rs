//! How clients come to a broker that has nobody yet: the others send some there, each of its own surplus above the mean, no faster than
//! the new one lets them in, and those first who are there longest, so that nobody is moved who has just been.

use std::time::Duration;

use rand::Rng;

use super::queue::Moment;
use super::world::{Happening, World};

/// Of what the new broker lets in, so that there is room for those who come by themselves.
const SHARE_OF_ADMISSION: f64 = 0.9;

/// A new broker that has so much of the mean is none any more.
const ENOUGH: f64 = 0.98;

/// Who has come within this time stays.
const STAY: Duration = Duration::from_secs(300);

impl World {
    /// Once per map. Every broker knows all loads by it, and so decides for itself alone.
    pub(super) fn hand_over(&mut self) {
        let present: Vec<usize> =
            (0..self.brokers.len()).filter(|at| self.brokers[*at].is_up && !self.brokers[*at].is_leaving).collect();
        let clients: u32 = present.iter().map(|at| self.brokers[*at].clients).sum();
        let mean = f64::from(clients) / present.len().max(1) as f64;
        for at in &present {
            let broker = &mut self.brokers[*at];
            broker.is_new &= f64::from(broker.clients) < mean * ENOUGH;
        }
        let newcomers: Vec<usize> = present.iter().copied().filter(|at| self.brokers[*at].is_new).collect();
        let wanted: f64 =
            newcomers.iter().map(|at| self.brokers[*at].admission.per_second() * SHARE_OF_ADMISSION).sum();
        let surplus = |world: &Self, at: usize| (f64::from(world.brokers[at].clients) - mean).max(0.0);
        let all_surplus: f64 = present.iter().map(|at| surplus(self, *at)).sum();
        if newcomers.is_empty() || all_surplus < 1.0 {
            return;
        }
        for at in present {
            // Filling a new broker can wait. Those who have lost theirs cannot, and need all that are let in.
            if self.brokers[at].admission.has_queue(self.now) {
                continue;
            }
            let share = (wanted * surplus(self, at) / all_surplus).min(surplus(self, at));
            // The part of a client that is left goes by chance, or brokers with a small surplus would never give any.
            let count = (share + self.random.random::<f64>()) as usize;
            self.send_some(at, count, &newcomers);
        }
    }

    fn send_some(&mut self, from: usize, count: usize, newcomers: &[usize]) {
        for _ in 0..count {
            let Some(client) = self.longest_here(from) else { return };
            let broker = newcomers[self.random.random_range(0..newcomers.len())];
            let spread = self.up_to(Duration::from_secs(1));
            let connection = self.clients[client as usize].connection;
            let cause = self.brokers[broker].filling;
            self.queue.plan(self.now + spread, Happening::SentTo { client, connection, broker, cause });
        }
    }

    fn longest_here(&mut self, broker: usize) -> Option<u32> {
        let latest: Moment = self.now.saturating_sub(STAY);
        while let Some((client, since)) = self.brokers[broker].arrivals.front().copied() {
            if since > latest {
                return None;
            }
            self.brokers[broker].arrivals.pop_front();
            let client_there = &self.clients[client as usize];
            if client_there.is_served && client_there.seat == Some(broker) {
                return Some(client);
            }
        }
        None
    }
}
