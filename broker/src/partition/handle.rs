//! What the rest of the broker has of a partition.

use anyport_protocol::event::{EncodedEvent, framed};
use anyport_protocol::limits::BATCH_EVENTS_MAX;
use anyport_protocol::message::publish::{PublishBatch, Published};
use anyport_protocol::{Code, Fault, PartitionId};
use anyport_storage::{Bounds, PartitionReader};
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};

use super::budget::{PartitionBudget, Permit};
use super::live::{FollowAnswer, FollowRequest, FollowerId};
use super::sequencer::{Admission, Arrival};
use super::space::StorageFull;
use crate::spans::BatchSpan;

/// Batches that wait for the task. It never waits itself, so this is full only while it has no processor.
pub(super) const PUBLISHES_MAX: usize = 8192;

/// What a waiting batch costs beside its bytes.
const BATCH_OVERHEAD_BYTES: usize = 512;

const INBOX_FULL_RETRY_MS: u32 = 20;

/// Who waits for a batch, and the bytes it holds meanwhile.
#[derive(Debug)]
pub(super) struct Publisher {
    outcome: oneshot::Sender<(Published, BatchSpan)>,
    pub(super) span: BatchSpan,
    _permit: Option<Permit>,
}

impl Publisher {
    pub(super) fn tell(mut self, published: Published) {
        self.span.decided(&published);
        // One whose connection is gone asks again when it comes back.
        let _ = self.outcome.send((published, self.span));
    }
}

/// Requests that are few: one at a time for each feed.
#[derive(Debug)]
pub(super) enum Request {
    Follow(FollowRequest, oneshot::Sender<FollowAnswer>),
    Unfollow(FollowerId),
    /// All followers: whoever reads here is to read elsewhere.
    Dismiss,
}

/// A handle on one partition; clones share it.
#[derive(Clone, Debug)]
pub struct PartitionHandle {
    pub(super) id: PartitionId,
    pub(super) reader: PartitionReader,
    pub(super) publishes: mpsc::Sender<Arrival<Publisher>>,
    pub(super) requests: mpsc::UnboundedSender<Request>,
    pub(super) budget: PartitionBudget,
    pub(super) full: StorageFull,
    pub(super) open: watch::Receiver<bool>,
}

impl PartitionHandle {
    pub fn id(&self) -> PartitionId {
        self.id
    }

    /// Whether batches are being taken here.
    pub fn is_open(&self) -> bool {
        // A task that has ended is not open, whatever it said last.
        *self.open.borrow() && self.open.has_changed().is_ok()
    }

    /// Waits until batches are being taken here; false if that never comes.
    pub async fn opened(&self) -> bool {
        let mut open = self.open.clone();
        open.wait_for(|open| *open).await.is_ok()
    }

    /// Retained events, as far as they are applied here.
    pub fn bounds(&self) -> Bounds {
        self.reader.bounds()
    }

    pub fn reader(&self) -> &PartitionReader {
        &self.reader
    }

    /// Checks the batch and hands it over before it returns, so that batches of one caller keep their order; the future is the
    /// outcome. Never waits for room: what cannot be taken is refused with `RetryAfter`.
    pub fn publish(&self, batch: PublishBatch) -> impl Future<Output = Published> + Send + use<> {
        let outcome = self.hand_over(batch);
        async move {
            match outcome {
                Ok(outcome) => match outcome.await {
                    Ok((published, _ends_here)) => published,
                    // A task that ended without an answer may have proposed it before.
                    Err(_) => Published::Refused(stopped(Code::MaybeStored)),
                },
                Err(fault) => Published::Refused(fault),
            }
        }
    }

    /// What is refused is handed over too: the sequencer must know, so that nothing after it is taken before it.
    fn hand_over(&self, batch: PublishBatch) -> Result<oneshot::Receiver<(Published, BatchSpan)>, Fault> {
        let span = BatchSpan::received(self.id, batch.count, batch.framed.len());
        let (permit, admission) = self.admit(&batch);
        let (told, outcome) = oneshot::channel();
        let PublishBatch { producer, count, first_number, framed, .. } = batch;
        // Bytes without a permit do not wait in the inbox.
        let framed = if permit.is_some() { framed } else { Bytes::new() };
        let waiter = Publisher { outcome: told, span, _permit: permit };
        let arrival = Arrival { producer, first_number, count, framed, admission, waiter };
        match self.publishes.try_send(arrival) {
            Ok(()) => Ok(outcome),
            Err(mpsc::error::TrySendError::Full(_)) => Err(Fault::retry_after(
                Code::RetryAfter,
                INBOX_FULL_RETRY_MS,
                "too many batches wait for this partition",
            )),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(stopped(Code::ShuttingDown)),
        }
    }

    fn admit(&self, batch: &PublishBatch) -> (Option<Permit>, Admission) {
        if let Err(fault) = check(batch) {
            return (None, Admission::Refused(fault));
        }
        if self.full.is_full() {
            return (None, Admission::StorageFull);
        }
        match self.budget.try_take(batch.framed.len() + BATCH_OVERHEAD_BYTES) {
            Some(permit) => (Some(permit), Admission::Admitted),
            None => (None, Admission::OverBudget),
        }
    }

    /// Asks to be told of what is stored from the position on, which must be the tail.
    pub async fn follow(&self, request: FollowRequest) -> FollowAnswer {
        let (told, answer) = oneshot::channel();
        if self.requests.send(Request::Follow(request, told)).is_err() {
            return FollowAnswer::Gone;
        }
        answer.await.unwrap_or(FollowAnswer::Gone)
    }

    /// Dismisses a follower, who may still find in its sink what was sent before.
    pub fn unfollow(&self, follower: FollowerId) {
        // A partition that has stopped follows nobody.
        let _ = self.requests.send(Request::Unfollow(follower));
    }

    /// Dismisses all followers, who are told up to where they were served.
    pub fn dismiss_followers(&self) {
        let _ = self.requests.send(Request::Dismiss);
    }
}

fn stopped(code: Code) -> Fault {
    Fault::new(code, "the partition has stopped")
}

/// Checks everything about a batch that does not depend on the partition. The caller's work, not the task's.
fn check(batch: &PublishBatch) -> Result<(), Fault> {
    let count = batch.count as usize;
    if count == 0 || count > BATCH_EVENTS_MAX || batch.first_number.0.checked_add(u64::from(batch.count)).is_none() {
        let text = format!(
            "a batch has 1 to {BATCH_EVENTS_MAX} events and numbers below 2^64, this one has {count} from {}",
            batch.first_number
        );
        return Err(Fault::new(Code::LimitPassed, text).with_value(u64::from(batch.count)));
    }
    let mut found = 0u64;
    for event in framed::iter(&batch.framed) {
        let event = event.map_err(|bad| bad_event(found, &bad))?;
        EncodedEvent::check(event).map_err(|error| {
            Fault::new(error.code(), format!("event {found} of the batch: {error}")).with_value(found)
        })?;
        found += 1;
    }
    if found != u64::from(batch.count) {
        return Err(bad_event(found, &format_args!("the batch names {count} events and has {found}")));
    }
    Ok(())
}

fn bad_event(place: u64, why: &dyn std::fmt::Display) -> Fault {
    Fault::new(Code::BadEvent, format!("event {place} of the batch: {why}")).with_value(place)
}

#[cfg(test)]
mod tests {
    use anyport_protocol::event::Event;
    use anyport_protocol::{Number, ProducerId};

    use super::*;

    fn batch(count: u32, events: &[&[u8]]) -> PublishBatch {
        let mut run = Vec::new();
        events.iter().for_each(|event| framed::push(&mut run, event));
        let (producer, partition) = (ProducerId::from_bytes([1; 16]), PartitionId(0));
        PublishBatch { producer, partition, count, first_number: Number(0), framed: Bytes::from(run) }
    }

    fn refusal(batch: &PublishBatch) -> Option<(Code, Option<u64>)> {
        check(batch).err().map(|fault| (fault.code().expect("our own"), fault.value))
    }

    #[test]
    fn a_bad_event_refuses_its_batch_and_is_named_by_its_place() {
        let good = Event::builder("1", "/test", "t").build().expect("valid").encode();
        assert_eq!(refusal(&batch(2, &[&good, &good])), None);
        assert_eq!(refusal(&batch(3, &[&good, &good, b"not an event"])), Some((Code::BadEvent, Some(2))));
        let large = vec![1; (1 << 20) + 1];
        assert_eq!(refusal(&batch(2, &[&good, &large])), Some((Code::EventTooLarge, Some(1))));
        let cut = batch(2, &[&good, &good]);
        let cut = PublishBatch { framed: cut.framed.slice(..cut.framed.len() - 1), ..cut };
        assert_eq!(refusal(&cut), Some((Code::BadEvent, Some(1))));
    }

    #[test]
    fn a_batch_that_miscounts_itself_is_refused() {
        let good = Event::builder("1", "/test", "t").build().expect("valid").encode();
        assert_eq!(refusal(&batch(3, &[&good, &good])), Some((Code::BadEvent, Some(2))));
        assert_eq!(refusal(&batch(0, &[])), Some((Code::LimitPassed, Some(0))));
        let last = PublishBatch { first_number: Number(u64::MAX), ..batch(1, &[&good]) };
        assert_eq!(refusal(&last), Some((Code::LimitPassed, Some(1))));
    }
}
