//! Producers whose first batch has come by here and is not known to be stored.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use anyport_protocol::message::publish::{PublishBatch, Published};
use anyport_protocol::{Code, Fault, Number, PartitionId, ProducerId};

/// Remembered at a time; past it all are forgotten, at the worst for an error told to a producer that could have gone on.
const BEGINNERS_MAX: usize = 64 << 10;

/// A producer sends its second batch before it knows what became of the first. If the first was refused here, or by one leader, and the
/// second gets to another, that one has never heard of the producer and says so, which is final. Who has seen both knows that the first
/// is to be sent again, and all after it.
#[derive(Debug, Default)]
pub(super) struct Beginners {
    begun: Mutex<HashSet<(PartitionId, ProducerId)>>,
}

/// What must be known of a batch once it is answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbered {
    of: (PartitionId, ProducerId),
    first_number: Number,
}

impl Beginners {
    pub(super) fn handle_batch(&self, batch: &PublishBatch) -> Numbered {
        let of = (batch.partition, batch.producer);
        if batch.first_number == Number(0) {
            let mut begun = self.lock();
            if begun.len() >= BEGINNERS_MAX {
                begun.clear();
            }
            begun.insert(of);
        }
        Numbered { of, first_number: batch.first_number }
    }

    pub(super) fn handle_answer(&self, batch: Numbered, answer: Published) -> Published {
        match answer {
            Published::Stored { .. } | Published::AlreadyStored { .. } if batch.first_number == Number(0) => {
                self.lock().remove(&batch.of);
                answer
            }
            Published::Refused(fault) if fault.is(Code::ProducerUnknown) && self.lock().contains(&batch.of) => {
                let text = format!("the batch begins at number {}, and 0 comes next", batch.first_number);
                Published::Refused(Fault::new(Code::OutOfSequence, text).with_value(0))
            }
            answer => answer,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<(PartitionId, ProducerId)>> {
        // Every critical section leaves the set whole.
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use anyport_protocol::Offset;
    use bytes::Bytes;

    use super::*;

    fn batch(producer: u8, first: u64) -> PublishBatch {
        let (producer, partition) = (ProducerId::from_bytes([producer; 16]), PartitionId(0));
        PublishBatch { producer, partition, count: 1, first_number: Number(first), framed: Bytes::new() }
    }

    fn unknown() -> Published {
        Published::Refused(Fault::new(Code::ProducerUnknown, "never heard of"))
    }

    #[test]
    fn who_has_only_begun_is_told_to_begin_again_and_not_that_all_is_lost() {
        let beginners = Beginners::default();
        let (first, second) = (beginners.handle_batch(&batch(1, 0)), beginners.handle_batch(&batch(1, 5)));
        let refused = Published::Refused(Fault::retry_after(Code::NotReady, 50, "no leader"));
        assert_eq!(beginners.handle_answer(first, refused.clone()), refused);
        let Published::Refused(told) = beginners.handle_answer(second, unknown()) else { panic!("not stored") };
        assert_eq!((told.code(), told.value), (Some(Code::OutOfSequence), Some(0)));
    }

    #[test]
    fn who_was_stored_and_is_forgotten_since_is_told_so() {
        let beginners = Beginners::default();
        let (first, later) = (beginners.handle_batch(&batch(1, 0)), beginners.handle_batch(&batch(1, 5)));
        beginners.handle_answer(first, Published::Stored { first: Offset(7) });
        assert_eq!(beginners.handle_answer(later, unknown()), unknown());
        let other = beginners.handle_batch(&batch(2, 5));
        assert_eq!(beginners.handle_answer(other, unknown()), unknown());
    }
}
