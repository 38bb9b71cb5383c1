//! What came of one cause: who had to go, when all were served again, and what that took.

use std::collections::HashMap;
use std::time::Duration;

use super::queue::Moment;

pub type CauseId = usize;

#[derive(Clone, Debug)]
pub struct Cause {
    /// What all brokers let in, each second, when it began.
    rate: f64,
    /// When each client was no longer served, in that order.
    left: Vec<Moment>,
    last_served: Moment,
    refusals: HashMap<u32, u32>,
    moves: HashMap<u32, u32>,
}

impl Cause {
    pub fn new(rate: f64) -> Self {
        let (left, refusals, moves) = (Vec::new(), HashMap::new(), HashMap::new());
        Self { rate, left, last_served: Moment::ZERO, refusals, moves }
    }

    pub fn handle_left(&mut self, now: Moment) {
        self.left.push(now);
    }

    pub fn handle_refused(&mut self, client: u32) {
        *self.refusals.entry(client).or_default() += 1;
    }

    pub fn handle_served(&mut self, client: u32, has_moved: bool, now: Moment) {
        self.last_served = now;
        if has_moved {
            *self.moves.entry(client).or_default() += 1;
        }
    }

    pub fn left(&self) -> usize {
        self.left.len()
    }

    pub fn refusals(&self) -> u32 {
        self.refusals.values().sum()
    }

    pub fn most_refusals(&self) -> u32 {
        self.refusals.values().copied().max().unwrap_or_default()
    }

    pub fn moves(&self) -> u32 {
        self.moves.values().sum()
    }

    /// Clients that it has moved more than once.
    pub fn moved_twice(&self) -> usize {
        self.moves.values().filter(|moves| **moves > 1).count()
    }

    /// From when the first had to go to when the last was served.
    pub fn took(&self) -> Duration {
        self.last_served.saturating_sub(self.left.first().copied().unwrap_or(self.last_served))
    }

    /// What letting all of them in takes.
    pub fn floor(&self) -> Duration {
        Duration::from_secs_f64(self.left.len() as f64 / self.rate.max(f64::MIN_POSITIVE))
    }

    /// The same if they come when they came, and not all at once: one queue before all brokers.
    pub fn floor_as_they_came(&self) -> Duration {
        let every = Duration::from_secs_f64(1.0 / self.rate.max(f64::MIN_POSITIVE));
        let free = self.left.iter().fold(Moment::ZERO, |free, left| free.max(*left) + every);
        free.saturating_sub(self.left.first().copied().unwrap_or_default())
    }
}
