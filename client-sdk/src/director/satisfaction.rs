//! When a server that answers is to be left, because it answers slowly while another would be fast.
//!
//! Moving costs the client two round trips and the next broker a login, and a crowd that moves because it is slow makes the next broker
//! slow. So it takes long, and each time longer, until a client moves again.

use std::time::{Duration, Instant};

/// A person notices half a second; below it nothing is worth a move.
const SLOW: Duration = Duration::from_millis(500);
/// Brokers at the two ends of a continent differ by less.
const TIMES_SLOWER: u32 = 4;
/// What the farthest place on earth takes, where nothing is known of the others.
const ASSUMED_ROUND_TRIP: Duration = Duration::from_millis(300);

/// Longer than a change of leader, a compaction or a walk through a tunnel.
const PATIENCE: Duration = Duration::from_secs(20);
/// One slow answer in a quiet hour is nothing.
const SLOW_ANSWERS_MIN: u32 = 3;

/// Between two moves for slowness, and doubled by each.
const STAY_MIN: Duration = Duration::from_secs(600);
const STAY_MAX: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug)]
pub(super) struct Satisfaction {
    slow_since: Option<Instant>,
    slow_answers: u32,
    /// How long to stay from the last move for slowness on.
    stay: Duration,
    stay_until: Option<Instant>,
}

impl Satisfaction {
    pub(super) fn new() -> Self {
        Self { slow_since: None, slow_answers: 0, stay: STAY_MIN, stay_until: None }
    }

    /// How long the present server's answers take, and the fastest other's.
    pub(super) fn handle_answer(&mut self, here: Duration, elsewhere: Option<Duration>, now: Instant) {
        let others = elsewhere.unwrap_or(ASSUMED_ROUND_TRIP);
        if here <= SLOW || here <= others.saturating_mul(TIMES_SLOWER) {
            return self.handle_left();
        }
        self.slow_since.get_or_insert(now);
        self.slow_answers = self.slow_answers.saturating_add(1);
    }

    /// The next server begins with a clean sheet.
    pub(super) fn handle_left(&mut self) {
        self.slow_since = None;
        self.slow_answers = 0;
    }

    /// Whether to leave. Said once.
    pub(super) fn poll_leave(&mut self, now: Instant) -> bool {
        let is_slow = self.slow_answers >= SLOW_ANSWERS_MIN;
        let is_long = self.slow_since.is_some_and(|since| now >= since + PATIENCE);
        if !is_slow || !is_long || self.stay_until.is_some_and(|until| now < until) {
            return false;
        }
        self.stay_until = Some(now + self.stay);
        self.stay = (self.stay * 2).min(STAY_MAX);
        self.handle_left();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAST: Duration = Duration::from_millis(40);

    /// Answers once a second, from `from` to `until` seconds after `begun`; returns when it wants to leave.
    fn leaves(satisfaction: &mut Satisfaction, begun: Instant, seconds: std::ops::Range<u64>, here: u64) -> Vec<u64> {
        let mut left = Vec::new();
        for second in seconds {
            let now = begun + Duration::from_secs(second);
            satisfaction.handle_answer(Duration::from_millis(here), Some(FAST), now);
            left.extend(satisfaction.poll_leave(now).then_some(second));
        }
        left
    }

    #[test]
    fn a_server_that_stays_slow_is_left_after_twenty_seconds() {
        let begun = Instant::now();
        assert_eq!(leaves(&mut Satisfaction::new(), begun, 0..100, 501), [20]);
        assert_eq!(leaves(&mut Satisfaction::new(), begun, 0..100, 500), [0; 0], "half a second is not slow");
        let mut recovers = Satisfaction::new();
        assert_eq!(leaves(&mut recovers, begun, 0..19, 5000), [0; 0]);
        assert_eq!(leaves(&mut recovers, begun, 19..20, 40), [0; 0]);
        assert_eq!(leaves(&mut recovers, begun, 20..39, 5000), [0; 0], "the time begins anew");
    }

    #[test]
    fn where_all_are_slow_nobody_moves() {
        let begun = Instant::now();
        let mut satisfaction = Satisfaction::new();
        for second in 0..1000 {
            let now = begun + Duration::from_secs(second);
            satisfaction.handle_answer(Duration::from_secs(2), Some(Duration::from_millis(500)), now);
            assert!(!satisfaction.poll_leave(now));
        }
    }

    #[test]
    fn who_meets_only_slow_servers_moves_ever_more_rarely() {
        let left = leaves(&mut Satisfaction::new(), Instant::now(), 0..5000, 5000);
        assert_eq!(left, [20, 620, 1820, 4220]);
    }
}
