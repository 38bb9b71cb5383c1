//! What a publisher gives for an event: a future of where it was stored. All events of a batch share one cell, so that an event
//! costs a counter and not a channel.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

use anyport_protocol::{Offset, PartitionId};

use super::numbering::BatchResult;
use crate::PublishError;

#[derive(Debug)]
pub(crate) struct BatchReceipt {
    partition: PartitionId,
    result: OnceLock<BatchResult>,
    wakers: Mutex<Vec<Waker>>,
}

impl BatchReceipt {
    pub(crate) fn new(partition: PartitionId) -> Self {
        Self { partition, result: OnceLock::new(), wakers: Mutex::default() }
    }

    pub(crate) fn settle(&self, result: BatchResult) {
        // A batch is settled once; a second result could only repeat the first.
        let _ = self.result.set(result);
        let wakers = std::mem::take(&mut *self.wakers.lock().unwrap_or_else(PoisonError::into_inner));
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn poll(&self, context: &Context<'_>) -> Poll<&BatchResult> {
        if let Some(result) = self.result.get() {
            return Poll::Ready(result);
        }
        let mut wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
        // Looked at again under the lock: `settle` sets before it takes the wakers.
        if let Some(result) = self.result.get() {
            return Poll::Ready(result);
        }
        if !wakers.iter().any(|waker| waker.will_wake(context.waker())) {
            wakers.push(context.waker().clone());
        }
        Poll::Pending
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

    pub fn partition(&self) -> PartitionId {
        self.batch.partition
    }

    /// The result, if it is known by now.
    pub fn get(&self) -> Option<Result<Acked, PublishError>> {
        self.batch.result.get().map(|result| self.of_batch(result))
    }

    fn of_batch(&self, result: &BatchResult) -> Result<Acked, PublishError> {
        let stored = result.as_ref().map_err(Clone::clone)?;
        let offset = stored.first.map(|first| first.plus(self.place.into()));
        Ok(Acked { partition: self.batch.partition, offset })
    }
}

impl Future for Receipt {
    type Output = Result<Acked, PublishError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.batch.poll(context).map(|result| self.of_batch(result))
    }
}
