//! What this client has met at each address: failures, how fast it answers, and a circuit breaker.
//!
//! A breaker is *open* after a failure, and nobody is let through until it ends: for as long as the server has named, or else for a random
//! time under a growing cap, so that a fleet never comes back in step.

use std::time::{Duration, Instant};

use crate::backoff::Backoff;

/// A lost first packet is sent again after a third of a second; a phone's first round trip may take one.
pub(super) const ATTEMPT_MIN: Duration = Duration::from_millis(1500);
pub(super) const ATTEMPT_MAX: Duration = Duration::from_secs(5);

const BREAKER_FIRST: Duration = Duration::from_millis(500);
/// Matters where every breaker is open: long enough for a fleet, short enough for a person who waits.
const BREAKER_CAP: Duration = Duration::from_secs(5);

/// More addresses than a client meets before it is served. Of more, those met long ago are forgotten.
const REMEMBERED_MAX: usize = 64;

/// A measurement this old says nothing: the client may be in another network by now.
const ANSWERS_AGE_MAX: Duration = Duration::from_secs(30 * 60);

/// One answer of eight weighs as in TCP's round trip: a single slow one does not move the rest far.
const SMOOTHING: u32 = 8;

#[derive(Debug, Default)]
pub(super) struct Acquaintances {
    met: Vec<Acquaintance>,
}

#[derive(Debug)]
struct Acquaintance {
    address: String,
    met_at: Instant,
    failures: u32,
    backoff: Backoff,
    open_until: Option<Instant>,
    answers: Option<Answers>,
}

#[derive(Clone, Copy, Debug)]
struct Answers {
    took: Duration,
    measured_at: Instant,
}

impl Acquaintances {
    pub(super) fn failures(&self, address: &str) -> u32 {
        self.find(address).map_or(0, |met| met.failures)
    }

    /// Longer after each failure, for it may be far away.
    pub(super) fn attempt_timeout(&self, address: &str) -> Duration {
        ATTEMPT_MIN.saturating_mul(self.failures(address).saturating_add(1)).min(ATTEMPT_MAX)
    }

    /// Until when nobody is let through there, if that is not over.
    pub(super) fn open_until(&self, address: &str, now: Instant) -> Option<Instant> {
        self.find(address)?.open_until.filter(|until| now < *until)
    }

    /// How long answers take there: measured, smoothed, and not too long ago.
    pub(super) fn answers_in(&self, address: &str, now: Instant) -> Option<Duration> {
        self.find(address)?.answers_in(now)
    }

    /// The shortest answers among those addresses.
    pub(super) fn fastest(&self, now: Instant, is_meant: impl Fn(&str) -> bool) -> Option<(&str, Duration)> {
        let meant = self.met.iter().filter(|met| is_meant(&met.address));
        let measured = meant.filter_map(|met| Some((met.address.as_str(), met.answers_in(now)?)));
        measured.min_by_key(|(_, took)| *took)
    }

    /// `random` lies in [0, 1).
    pub(super) fn handle_failure(&mut self, address: &str, wait: Option<Duration>, now: Instant, random: f64) {
        let met = self.meet(address, now);
        met.failures = met.failures.saturating_add(1);
        let jittered = met.backoff.handle_failure(random);
        met.open_until = Some(now + wait.unwrap_or(jittered));
    }

    pub(super) fn handle_success(&mut self, address: &str, now: Instant) {
        let met = self.meet(address, now);
        met.failures = 0;
        met.backoff.handle_success();
        met.open_until = None;
    }

    pub(super) fn handle_answer(&mut self, address: &str, took: Duration, now: Instant) {
        let met = self.meet(address, now);
        let smoothed = match met.answers_in(now) {
            Some(before) => (before * (SMOOTHING - 1) + took) / SMOOTHING,
            None => took,
        };
        met.answers = Some(Answers { took: smoothed, measured_at: now });
    }

    fn find(&self, address: &str) -> Option<&Acquaintance> {
        self.met.iter().find(|met| met.address == address)
    }

    fn meet(&mut self, address: &str, now: Instant) -> &mut Acquaintance {
        let known = self.met.iter().position(|met| met.address == address);
        let at = known.unwrap_or_else(|| self.add(address, now));
        let met = &mut self.met[at];
        met.met_at = now;
        met
    }

    fn add(&mut self, address: &str, now: Instant) -> usize {
        if self.met.len() >= REMEMBERED_MAX
            && let Some((oldest, _)) = self.met.iter().enumerate().min_by_key(|(_, met)| met.met_at)
        {
            self.met.swap_remove(oldest);
        }
        self.met.push(Acquaintance {
            address: address.to_owned(),
            met_at: now,
            failures: 0,
            backoff: Backoff::new(BREAKER_FIRST, BREAKER_CAP),
            open_until: None,
            answers: None,
        });
        self.met.len() - 1
    }
}

impl Acquaintance {
    fn answers_in(&self, now: Instant) -> Option<Duration> {
        let recent = self.answers.filter(|answers| now.duration_since(answers.measured_at) < ANSWERS_AGE_MAX);
        recent.map(|answers| answers.took)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_breaker_opens_for_a_named_time_or_a_random_one_under_a_growing_cap() {
        let now = Instant::now();
        let mut met = Acquaintances::default();
        let mut waits = Vec::new();
        for _ in 0..6 {
            met.handle_failure("a", None, now, 1.0);
            waits.push((met.open_until("a", now).expect("open") - now).as_millis());
        }
        assert_eq!(waits, [500, 1000, 2000, 4000, 5000, 5000]);
        met.handle_failure("a", Some(Duration::from_secs(77)), now, 0.5);
        assert_eq!(met.open_until("a", now), Some(now + Duration::from_secs(77)));
        assert_eq!(met.open_until("a", now + Duration::from_secs(77)), None, "it ends by itself");
        met.handle_success("a", now);
        assert_eq!((met.open_until("a", now), met.failures("a")), (None, 0));
    }

    #[test]
    fn one_slow_answer_does_not_outweigh_the_rest() {
        let now = Instant::now();
        let mut met = Acquaintances::default();
        [80, 80, 160].into_iter().for_each(|millis| met.handle_answer("a", Duration::from_millis(millis), now));
        assert_eq!(met.answers_in("a", now), Some(Duration::from_millis(90)));
        assert_eq!(met.answers_in("a", now + ANSWERS_AGE_MAX), None, "and old ones say nothing");
    }

    #[test]
    fn of_very_many_addresses_the_latest_are_remembered() {
        let begun = Instant::now();
        let mut met = Acquaintances::default();
        for nth in 0..1000u32 {
            met.handle_failure(&nth.to_string(), None, begun + Duration::from_secs(nth.into()), 0.5);
        }
        assert_eq!(met.met.len(), REMEMBERED_MAX);
        assert_eq!((met.failures("999"), met.failures("0")), (1, 0));
    }
}
