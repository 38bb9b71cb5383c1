//! What became of the portions of one request in one partition, as the answers come in.
//!
//! A plain state machine. Portions are handed over all at once, in their order and under consecutive numbers, so that they are stored as
//! far as the first that is not. [`Settling::handle_answers`] takes the answers of one attempt and says whether another is to be made
//! of what is not settled: only where it is not known whether this one was stored, since the partition finds that out by the numbers.

use anyport_protocol::message::publish::Published;
use anyport_protocol::{Code, Fault, Offset, Outcome};

/// Where a portion lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    At(Offset),
    /// An earlier attempt stored it, perhaps cut otherwise, or too long ago to be told where.
    Earlier(Option<Offset>),
}

#[derive(Debug, Default)]
pub(super) struct Settling {
    /// The first portions, which are stored.
    pub(super) stored: Vec<Place>,
    /// Why the next one is not, or not known to be; nor is any after it.
    pub(super) refusal: Option<Fault>,
    /// An attempt ended without anybody knowing what it stored.
    is_unsure: bool,
}

impl Settling {
    /// Takes the answers for the portions after those that are stored. Returns whether to hand these over again, never
    /// without `may_repeat`.
    pub(super) fn handle_answers(&mut self, answers: Vec<Published>, may_repeat: bool) -> bool {
        for answer in answers {
            match answer {
                Published::Stored { first } => self.stored.push(Place::At(first)),
                Published::AlreadyStored { first } => self.stored.push(Place::Earlier(first)),
                // The rest was handed over behind it: the partition took nothing of that, or knows as little of it.
                Published::Refused(fault) => return self.handle_refusal(fault, may_repeat),
            }
        }
        false
    }

    fn handle_refusal(&mut self, fault: Fault, may_repeat: bool) -> bool {
        self.is_unsure |= fault.is(Code::MaybeStored);
        let will_know = [Code::MaybeStored, Code::NotReady, Code::RetryAfter, Code::StorageFull];
        if self.is_unsure && may_repeat && will_know.into_iter().any(|code| fault.is(code)) {
            return true;
        }
        // A refusal of this attempt says nothing of an earlier one, except by the number that is expected.
        let hides_an_earlier_attempt = self.is_unsure && !fault.is(Code::OutOfSequence);
        self.refusal = Some(if hides_an_earlier_attempt { Fault::new(Code::MaybeStored, fault.text) } else { fault });
        false
    }

    /// Which portions' numbers are used is known.
    pub(super) fn is_certain(&self) -> bool {
        let is_sure = |fault: &Fault| fault.code().is_some_and(|code| code.outcome() == Outcome::SurelyNot);
        self.refusal.as_ref().is_none_or(is_sure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(first: u64) -> Published {
        Published::Stored { first: Offset(first) }
    }

    fn refused(code: Code) -> Published {
        Published::Refused(Fault::new(code, "no"))
    }

    /// Repeats as long as there are attempts.
    fn settle(attempts: Vec<Vec<Published>>) -> (Settling, usize) {
        let mut settling = Settling::default();
        let last = attempts.len() - 1;
        let mut made = 0;
        for (attempt, answers) in attempts.into_iter().enumerate() {
            made += 1;
            if !settling.handle_answers(answers, attempt < last) {
                break;
            }
        }
        (settling, made)
    }

    fn refusal(settling: &Settling) -> Option<Code> {
        settling.refusal.as_ref().map(|fault| fault.code().expect("our own"))
    }

    #[test]
    fn portions_are_stored_as_far_as_the_first_that_is_not() {
        let answers = vec![stored(5), refused(Code::RetryAfter), refused(Code::OutOfSequence)];
        let (settling, _) = settle(vec![answers]);
        assert_eq!(settling.stored, [Place::At(Offset(5))]);
        assert_eq!(refusal(&settling), Some(Code::RetryAfter));
        assert!(settling.is_certain());
    }

    #[test]
    fn a_refusal_that_is_certain_is_not_argued_with() {
        for code in [Code::RetryAfter, Code::NotReady, Code::StorageFull, Code::BadEvent, Code::ShuttingDown] {
            let (settling, made) = settle(vec![vec![refused(code)], vec![stored(0)]]);
            assert_eq!((refusal(&settling), made), (Some(code), 1));
            assert!(settling.is_certain());
        }
    }

    #[test]
    fn what_may_be_stored_is_handed_over_again_until_it_is_known() {
        let lost = || vec![refused(Code::MaybeStored), refused(Code::MaybeStored)];
        let found = vec![Published::AlreadyStored { first: Some(Offset(7)) }, stored(9)];
        let attempts = vec![lost(), vec![refused(Code::NotReady), refused(Code::NotReady)], lost(), found];
        let (settling, made) = settle(attempts);
        assert_eq!(settling.stored, [Place::Earlier(Some(Offset(7))), Place::At(Offset(9))]);
        assert_eq!((refusal(&settling), made), (None, 4));
        assert!(settling.is_certain());
    }

    #[test]
    fn what_stays_unknown_is_said_to_be_so_whatever_was_answered_last() {
        for last in [Code::MaybeStored, Code::NotReady, Code::RetryAfter, Code::ShuttingDown, Code::ProducerUnknown] {
            let (settling, _) = settle(vec![vec![refused(Code::MaybeStored)], vec![refused(last)]]);
            assert_eq!(refusal(&settling), Some(Code::MaybeStored), "{last}");
            assert!(!settling.is_certain());
        }
    }

    #[test]
    fn an_expected_number_tells_that_an_earlier_attempt_was_not_stored() {
        let (settling, _) = settle(vec![vec![refused(Code::MaybeStored)], vec![refused(Code::OutOfSequence)]]);
        assert_eq!(refusal(&settling), Some(Code::OutOfSequence));
        assert!(settling.is_certain());
    }
}
