//! When a broker is doubted: what it was sent has brought nothing back for longer than the line explains.
//!
//! A network that stands still looks the same, so doubt alone is no reason to leave: another broker is tried, and if it answers while
//! the first is still silent, the first is left.
//!
//! Input: [`Doubt::handle_counts`], when [`Doubt::look_at`] says, and more often if you like. Output: [`Doubt::ends_at`], from when
//! on the broker is doubted.

use std::time::{Duration, Instant};

use crate::net::Counts;

/// Far longer than an answer takes that was lost once.
const SILENCE: Duration = Duration::from_secs(1);
const SILENCE_ROUND_TRIPS: u32 = 6;

const LOOK: Duration = Duration::from_millis(250);
/// While nothing is sent, a phone may sleep.
const LOOK_WHEN_IDLE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Doubt {
    seen: Counts,
    seen_at: Instant,
    is_idle: bool,
    /// Since when something is unanswered, as far as was looked.
    owed_since: Option<Instant>,
}

impl Doubt {
    pub(super) fn new(now: Instant) -> Self {
        Self { seen: Counts::default(), seen_at: now, is_idle: false, owed_since: None }
    }

    pub(super) fn look_at(&self) -> Instant {
        self.seen_at + if self.is_idle { LOOK_WHEN_IDLE } else { LOOK }
    }

    pub(super) fn handle_counts(&mut self, counts: Counts, now: Instant) {
        self.seen_at = now;
        self.is_idle = counts == self.seen;
        if counts.heard != self.seen.heard {
            self.owed_since = None;
        } else if counts.asked != self.seen.asked {
            self.owed_since.get_or_insert(now);
        }
        self.seen = counts;
    }

    /// The same silence is not doubted again at once.
    pub(super) fn begin_anew(&mut self, now: Instant) {
        self.owed_since = self.owed_since.map(|_| now);
    }

    /// None while nothing is unanswered.
    pub(super) fn ends_at(&self, round_trip: Duration) -> Option<Instant> {
        self.owed_since.map(|since| since + SILENCE.max(round_trip * SILENCE_ROUND_TRIPS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEAR: Duration = Duration::from_millis(1);

    /// Looks every 250 ms at counts of (asked, heard), and says after how many looks the broker is doubted.
    fn doubted_after(counts: impl IntoIterator<Item = (u64, u64)>, round_trip: Duration) -> Option<usize> {
        let begun = Instant::now();
        let mut doubt = Doubt::new(begun);
        counts.into_iter().zip(1..).find_map(|((asked, heard), look)| {
            let now = begun + LOOK * look;
            doubt.handle_counts(Counts { asked, heard }, now);
            doubt.ends_at(round_trip).is_some_and(|end| now >= end).then_some(look as usize)
        })
    }

    #[test]
    fn who_does_not_answer_is_doubted_after_a_second_or_some_round_trips() {
        let silent = (0..100).map(|look| (look, 1));
        assert_eq!(doubted_after(silent.clone(), NEAR), Some(6));
        assert_eq!(doubted_after(silent, Duration::from_millis(500)), Some(14));
    }

    #[test]
    fn who_is_asked_nothing_may_be_silent_and_who_is_heard_now_and_then_is_not() {
        assert_eq!(doubted_after((0..100).map(|_| (1, 1)), NEAR), None);
        assert_eq!(doubted_after((0..100).map(|look| (look, look / 3)), NEAR), None);
    }

    #[test]
    fn one_question_that_brings_nothing_back_is_enough() {
        let counts = (0..100).map(|look| (u64::from(look >= 10), 1));
        assert_eq!(doubted_after(counts, NEAR), Some(15));
    }

    #[test]
    fn a_silence_that_was_looked_into_is_doubted_again_a_second_later() {
        let begun = Instant::now();
        let mut doubt = Doubt::new(begun);
        doubt.handle_counts(Counts { asked: 1, heard: 0 }, begun);
        assert_eq!(doubt.ends_at(NEAR), Some(begun + SILENCE));
        doubt.begin_anew(begun + SILENCE);
        assert_eq!(doubt.ends_at(NEAR), Some(begun + 2 * SILENCE));
    }

    #[test]
    fn an_idle_connection_is_looked_at_less_often() {
        let begun = Instant::now();
        let mut doubt = Doubt::new(begun);
        let counts = Counts { asked: 1, heard: 1 };
        doubt.handle_counts(counts, begun);
        assert_eq!(doubt.look_at(), begun + LOOK);
        doubt.handle_counts(counts, begun);
        assert_eq!(doubt.look_at(), begun + LOOK_WHEN_IDLE);
    }
}
