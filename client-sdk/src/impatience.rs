//! When a broker that does not do what it is asked is to be left for another: it may be cut off from those that could.
//!
//! While a group changes its leader every broker refuses, for a second or some; then all is well again, and nobody has moved.
//!
//! Inputs: `handle_done`, `handle_refused`, `handle_disconnected`. Output: `poll_leave`, to be asked when `ends`.

use std::time::{Duration, Instant};

use anyport_protocol::{Code, Fault};

/// Longer than a change of leader takes.
const PATIENCE: Duration = Duration::from_secs(6);

/// Where no broker does it, going around costs all of them.
const PATIENCE_MAX: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Impatience {
    since: Option<Instant>,
    patience: Duration,
}

impl Impatience {
    pub(crate) fn new() -> Self {
        Self { since: None, patience: PATIENCE }
    }

    pub(crate) fn handle_done(&mut self) {
        *self = Self::new();
    }

    pub(crate) fn handle_refused(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// The next broker gets all of what patience there is.
    pub(crate) fn handle_disconnected(&mut self) {
        self.since = None;
    }

    pub(crate) fn ends(&self) -> Option<Instant> {
        self.since.map(|since| since + self.patience)
    }

    /// Whether to leave. With the next broker that refuses the patience is twice as long.
    pub(crate) fn poll_leave(&mut self, now: Instant) -> bool {
        let is_over = self.ends().is_some_and(|end| now >= end);
        if is_over {
            *self = Self { since: None, patience: (self.patience * 2).min(PATIENCE_MAX) };
        }
        is_over
    }
}

/// Whether another broker may do what this one refuses.
pub(crate) fn is_of_this_broker(fault: &Fault) -> bool {
    let codes = [Code::NotReady, Code::RetryAfter, Code::MaybeStored, Code::ShuttingDown, Code::StoreFailed];
    codes.into_iter().any(|code| fault.is(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The seconds after which a broker is left that refuses for two minutes, asked every second.
    fn left_after(impatience: &mut Impatience) -> Vec<u64> {
        let begun = Instant::now();
        let leaves_at = |secs: &u64| {
            impatience.handle_refused(begun + Duration::from_secs(*secs));
            impatience.poll_leave(begun + Duration::from_secs(*secs))
        };
        (0..120).filter(leaves_at).collect()
    }

    #[test]
    fn a_broker_that_refuses_is_left_later_each_time_until_one_does_what_it_is_asked() {
        let mut impatience = Impatience::new();
        assert_eq!(left_after(&mut impatience), [6, 19, 44, 93]);
        impatience.handle_done();
        assert_eq!(left_after(&mut impatience)[0], 6);
    }

    #[test]
    fn what_every_broker_would_refuse_is_no_reason_to_leave() {
        assert!(is_of_this_broker(&Fault::new(Code::NotReady, "")));
        for code in [Code::StorageFull, Code::OutOfSequence] {
            assert!(!is_of_this_broker(&Fault::new(code, "")), "{code}");
        }
    }
}
