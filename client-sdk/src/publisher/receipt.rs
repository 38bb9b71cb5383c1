//! What a publisher gives for an event: a future of where it was stored. All events of a batch share one cell, so that an event
//! costs a counter and not a channel.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use anyport_protocol::{Offset, PartitionId};

use super::numbering::{BatchResult, Stored};
use crate::PublishError;

#[derive(Debug, Default)]
pub(crate) struct BatchReceipt {
    result: OnceLock<BatchResult>,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    wakers: Vec<Waker>,
    /// By place: receipts that were given before the event had a batch.
    followers: Vec<(u32, Follower)>,
}

/// Of an event that was published before it had a batch. Gone if nobody wants to know.
pub(crate) type Follower = Weak<BatchReceipt>;

impl BatchReceipt {
    pub(crate) fn settle(&self, result: BatchResult) {
        // A batch is settled once; a second result could only repeat the first.
        let _ = self.result.set(result);
        let Waiting { wakers, followers } = std::mem::take(&mut *self.waiting());
        wakers.into_iter().for_each(Waker::wake);
        for (place, follower) in followers {
            if let (Some(follower), Some(result)) = (follower.upgrade(), self.result.get()) {
                follower.settle(result.clone().map(|stored| stored.at_place(place)));
            }
        }
    }

    pub(crate) fn poll(&self, context: &Context<'_>) -> Poll<&BatchResult> {
        if let Some(result) = self.result.get() {
            return Poll::Ready(result);
        }
        let mut waiting = self.waiting();
        // Looked at again under the lock: `settle` sets before it takes the wakers.
        if let Some(result) = self.result.get() {
            return Poll::Ready(result);
        }
        if !waiting.wakers.iter().any(|waker| waker.will_wake(context.waker())) {
            waiting.wakers.push(context.waker().clone());
        }
        Poll::Pending
    }

    /// The event at this place has had a receipt of its own. Places come in order.
    pub(crate) fn add_follower(&self, place: u32, follower: Follower) {
        self.waiting().followers.push((place, follower));
    }

    /// Takes those who follow, to be told by other batches.
    pub(crate) fn take_followers(&self) -> Vec<(u32, Follower)> {
        std::mem::take(&mut self.waiting().followers)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where an acked event lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acked {
    pub partition: PartitionId,
    /// Unknown if an earlier attempt stored it and the broker has forgotten where.
    pub offset: Option<Offset>,
}

/// Resolves when the event's fate is known. May be dropped: the event is published all the same.
#[derive(Clone, Debug)]
#[must_use = "the event is acked only when this says so; `Publisher::flush` waits for all"]
pub struct Receipt {
    batch: Arc<BatchReceipt>,
    place: u32,
}

impl Receipt {
    pub(crate) fn new(batch: Arc<BatchReceipt>, place: u32) -> Self {
        Self { batch, place }
    }

    /// The event has had a receipt of its own.
    pub(crate) fn add_follower(&self, follower: Follower) {
        self.batch.add_follower(self.place, follower);
    }

    /// The result, if it is known by now.
    pub fn get(&self) -> Option<Result<Acked, PublishError>> {
        self.batch.result.get().map(|result| self.of_batch(result))
    }

    fn of_batch(&self, result: &BatchResult) -> Result<Acked, PublishError> {
        let Stored { partition, first, .. } = result.as_ref().map_err(Clone::clone)?.at_place(self.place);
        Ok(Acked { partition, offset: first })
    }
}

impl Future for Receipt {
    type Output = Result<Acked, PublishError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.batch.poll(context).map(|result| self.of_batch(result))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_lies_at_its_place_behind_the_first_of_its_batch_if_there_is_such_an_offset() {
        let acked = |first| {
            let batch = Arc::new(BatchReceipt::default());
            batch.settle(Ok(Stored { partition: PartitionId(1), first: Some(Offset(first)), known_from: 0 }));
            Receipt::new(batch, 3).get().expect("it is settled").expect("it is stored").offset
        };
        assert_eq!(acked(40), Some(Offset(43)));
        assert_eq!(acked(u64::MAX - 2), None);
    }
}
