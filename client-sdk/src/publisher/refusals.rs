//! When a broker that takes nothing is to be left for another: it may be cut off from those that do.
//!
//! While a partition changes its leader every broker refuses, for a second or some; then all is well again, and nobody has moved.
//!
//! Inputs: `handle_stored`, `handle_refused`. Output: what the latter returns.

use std::time::{Duration, Instant};

use anyport_protocol::{Code, Fault};

/// Longer than a change of leader takes.
const PATIENCE: Duration = Duration::from_secs(6);

/// Where no broker takes anything, going around costs all of them.
const PATIENCE_MAX: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Refusals {
    since: Option<Instant>,
    patience: Duration,
}

impl Refusals {
    pub(super) fn new() -> Self {
        Self { since: None, patience: PATIENCE }
    }

    pub(super) fn handle_stored(&mut self) {
        *self = Self::new();
    }

    /// Returns whether to leave. What is refused at the next broker is borne twice as long.
    pub(super) fn handle_refused(&mut self, fault: &Fault, now: Instant) -> bool {
        let is_of_this_broker = |code| {
            matches!(
                code,
                Code::NotReady | Code::RetryAfter | Code::MaybeStored | Code::ShuttingDown | Code::StoreFailed
            )
        };
        if !fault.code().is_some_and(is_of_this_broker) {
            return false;
        }
        let since = *self.since.get_or_insert(now);
        let is_over = now.duration_since(since) >= self.patience;
        if is_over {
            *self = Self { since: None, patience: (self.patience * 2).min(PATIENCE_MAX) };
        }
        is_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The seconds after which a broker is left that refuses so for two minutes, asked every second.
    fn left_after(code: Code, refusals: &mut Refusals) -> Vec<u64> {
        let begun = Instant::now();
        let refused_at =
            |secs: &u64| refusals.handle_refused(&Fault::new(code, ""), begun + Duration::from_secs(*secs));
        (0..120).filter(refused_at).collect()
    }

    #[test]
    fn a_broker_that_takes_nothing_is_left_later_each_time_until_something_is_stored() {
        let mut refusals = Refusals::new();
        assert_eq!(left_after(Code::NotReady, &mut refusals), [6, 19, 44, 93]);
        refusals.handle_stored();
        assert_eq!(left_after(Code::RetryAfter, &mut refusals)[0], 6);
    }

    #[test]
    fn what_every_broker_would_refuse_is_no_reason_to_leave() {
        for code in [Code::StorageFull, Code::OutOfSequence] {
            assert!(left_after(code, &mut Refusals::new()).is_empty(), "{code}");
        }
    }
}
