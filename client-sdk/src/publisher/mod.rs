//! Publishing: events become batches of one partition, batches get numbers, and what is sent twice is stored once.
//!
//! Whoever publishes puts events into [`queues`]; the publisher's task moves batches between there and a stream of whatever
//! connection the client has. It owns no state of its own, so a cut connection loses nothing.

mod numbering;
mod queues;
mod receipt;
mod task;

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use anyport_protocol::event::{EncodedEvent, Event};
use anyport_protocol::partitioner::{partition_key, partition_of};
use anyport_protocol::{Number, ProducerId};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

#[cfg(test)]
pub(crate) use numbering::Sending;
pub use queues::PublishCounts;
pub(crate) use queues::{Progress, Queues};
pub use receipt::{Acked, Receipt};
pub(crate) use receipt::{BatchReceipt, Follower};

use crate::driver::Link;
use crate::outbox::KeeperHandle;
use crate::{Error, PublishError};

/// How a publisher behaves.
#[derive(Clone, Copy, Debug)]
pub struct PublisherOptions {
    /// For a source that numbers its own events: the same id means the same events in the same order in every process. Without
    /// one the publisher has a random id that ends with it.
    pub producer: Option<ProducerId>,
    /// Bytes of events that may wait for their acks; above, `publish` waits.
    pub buffer_bytes: usize,
    /// How long a full broker is waited for before its refusal is reported.
    pub patience: Duration,
}

impl Default for PublisherOptions {
    fn default() -> Self {
        Self { producer: None, buffer_bytes: 32 << 20, patience: Duration::from_secs(10) }
    }
}

/// Publishes events. Dropping it gives up what is not acked; `flush` first.
#[derive(Debug)]
pub struct Publisher {
    shared: Arc<Shared>,
    probes: mpsc::Sender<Probe>,
    task: JoinHandle<()>,
    partitions: u16,
}

#[derive(Debug)]
pub(crate) struct Shared {
    queues: Mutex<Queues>,
    /// There may be something to send.
    sendable: Notify,
}

/// Asks what the broker has of this producer, by a batch that it cannot take.
#[derive(Debug)]
struct Probe {
    partition: anyport_protocol::PartitionId,
    event: Vec<u8>,
    reply: oneshot::Sender<Result<Number, PublishError>>,
}

impl Publisher {
    pub(crate) fn start(partitions: u16, options: PublisherOptions, link: watch::Receiver<Link>) -> Self {
        let producer = options.producer.unwrap_or_else(random_producer);
        let shared = Arc::new(Shared::new(Queues::new(partitions, producer, options)));
        let (probes, inbox) = mpsc::channel(16);
        let task = tokio::spawn(task::run(Arc::clone(&shared), producer, link, inbox, None));
        Self { shared, probes, task, partitions }
    }

    /// Hands over an event. Waits only while the buffer is full; the receipt tells when it is acked. Dropped while it waits, this
    /// future has published nothing.
    pub async fn publish(&self, event: &Event) -> Result<Receipt, PublishError> {
        self.publish_encoded(&event.encode()).await
    }

    /// Hands over an event in the one encoding. For many events a second: nothing is encoded or allocated here.
    pub async fn publish_encoded(&self, event: &[u8]) -> Result<Receipt, PublishError> {
        let partition = partition_of(partition_key(&EncodedEvent::check(event)?), self.partitions);
        loop {
            {
                let mut queues = self.shared.queues();
                if let Some(over) = queues.over() {
                    return Err(over);
                }
                if !queues.is_full(event.len()) {
                    let (receipt, sendable) = queues.push(partition, event);
                    drop(queues);
                    if sendable {
                        self.shared.sendable.notify_one();
                    }
                    return Ok(receipt);
                }
            }
            self.room(event.len()).await;
        }
    }

    async fn room(&self, event_bytes: usize) {
        poll_fn(|context| {
            let mut queues = self.shared.queues();
            if !queues.is_full(event_bytes) {
                return Poll::Ready(());
            }
            queues.wait_for_room(context.waker());
            Poll::Pending
        })
        .await;
    }

    /// Waits until everything handed over by now is acked or failed. Returns the first failure since the last flush.
    pub async fn flush(&self) -> Result<(), PublishError> {
        let receipts = self.shared.queues().receipts();
        for receipt in receipts {
            poll_fn(|context| receipt.poll(context).map(|_| ())).await;
        }
        self.shared.queues().take_failure().map_or(Ok(()), Err)
    }

    /// For a source that numbers its own events, before it publishes into the partition of `event`: how many of that partition's
    /// events the broker has from earlier runs. They must not be published again; the next one's number is the returned one.
    pub async fn resume_point(&self, event: &[u8]) -> Result<Number, PublishError> {
        let partition = partition_of(partition_key(&EncodedEvent::check(event)?), self.partitions);
        let (reply, answer) = oneshot::channel();
        let ended = || PublishError::Ended { cause: Error::Closed, outcome: anyport_protocol::Outcome::SurelyNot };
        let probe = Probe { partition, event: event.to_vec(), reply };
        self.probes.send(probe).await.map_err(|_| ended())?;
        let stored = answer.await.map_err(|_| ended())??;
        self.shared.queues().handle_resume_point(partition, stored);
        Ok(stored)
    }

    /// Which partition an event belongs to.
    pub fn partition_of(&self, event: &EncodedEvent<'_>) -> anyport_protocol::PartitionId {
        partition_of(partition_key(event), self.partitions)
    }

    pub fn counts(&self) -> PublishCounts {
        self.shared.queues().counts
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.task.abort();
        // Whoever still waits for a receipt waits for something.
        let over = PublishError::Ended { cause: Error::Closed, outcome: anyport_protocol::Outcome::Maybe };
        self.shared.change(|queues| queues.handle_over(&over));
    }
}

/// Sends what a keeper puts into the queues of `shared`, over every connection there will be.
pub(crate) async fn send_outbox(shared: Arc<Shared>, link: watch::Receiver<Link>, keeper: KeeperHandle) {
    // An outbox asks nothing: its numbers begin with each segment.
    let (_probes, inbox) = mpsc::channel(1);
    task::run(shared, ProducerId([0; 16]), link, inbox, Some(keeper)).await;
}

impl Shared {
    pub(crate) fn new(queues: Queues) -> Self {
        Self { queues: Mutex::new(queues), sendable: Notify::new() }
    }

    pub(crate) fn tell_sendable(&self) {
        self.sendable.notify_one();
    }

    pub(crate) fn queues(&self) -> MutexGuard<'_, Queues> {
        // Every critical section leaves the queues whole or panics before it changes them.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs an input of the queues and wakes those for whom it has made room.
    pub(crate) fn change<T>(&self, input: impl FnOnce(&mut Queues) -> T) -> T {
        let mut queues = self.queues();
        let output = input(&mut queues);
        let wakers = queues.take_wakers();
        drop(queues);
        wakers.into_iter().for_each(std::task::Waker::wake);
        output
    }
}

fn random_producer() -> ProducerId {
    ProducerId::from_bytes(rand::random())
}
