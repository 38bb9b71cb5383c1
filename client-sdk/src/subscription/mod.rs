//! Subscribing: pull batches of deliveries, ack them, and be told what happens.

mod chain;
mod cover;
mod feed;
mod inbox;
mod stream;

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use anyport_protocol::message::Start;
use anyport_protocol::{ClientId, Cursor, Incarnation, LogEpoch, Offset, OffsetRange, PartitionId};
use bytes::Bytes;
use tokio::sync::Notify;

pub(crate) use inbox::Inbox;
pub use stream::DeliveryStream;

use crate::Error;
use crate::home::{ResumeToken, SavedSubscription};

/// What to subscribe to.
#[derive(Clone, Debug, Default)]
pub struct SubscribeOptions {
    /// The client's own name for it. Subscribing to a name that is there goes on where it was left.
    pub name: String,
    /// In the filter language; empty lets everything pass. A [`Filter`](crate::Filter) becomes such a text, also one made of JSON or of
    /// an example. Another filter than before takes effect from where the old one had got to.
    pub filter: String,
    /// Where a new subscription begins.
    pub start: Start,
    /// Begin at `start` even if the subscription is there.
    pub seek: bool,
    /// It ends when nobody has used it for so long; None is the broker's default of 30 days.
    pub inactive_expiry: Option<Duration>,
    /// Nothing is remembered of it in the home folder, nor at the broker once it has expired.
    pub temporary: bool,
    /// Go on from this position, if it is further than what is known otherwise: see [`Subscription::resume_token`].
    pub resume_token: Option<Vec<u8>>,
}

impl SubscribeOptions {
    pub fn new(name: impl Into<String>, filter: impl Into<String>) -> Self {
        Self { name: name.into(), filter: filter.into(), ..Self::default() }
    }
}

/// One event, delivered.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    pub partition: PartitionId,
    /// Grows when the log has lost its end, and offsets are given again. Partition, epoch and offset together name an event.
    pub epoch: LogEpoch,
    pub offset: Offset,
    /// In the one encoding: see [`anyport_protocol::event::EncodedEvent`].
    pub event: Bytes,
    /// Read from storage, not live.
    pub replayed: bool,
    pub(crate) incarnation: Incarnation,
}

impl Delivery {
    pub(crate) fn at(&self) -> Cursor {
        Cursor { epoch: self.epoch, offset: self.offset }
    }
}

/// What a subscriber is told beside events.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// The log no longer has these; they will not come, or not again. Retention has removed them; or the log has lost its end, in a crash in
    /// relaxed mode or with a majority of its disks: then a later epoch begins where the range does.
    Gap { partition: PartitionId, epoch: LogEpoch, range: OffsetRange },
    /// So many events of the range were left out, by an option that the client chose.
    Omitted { partition: PartitionId, range: OffsetRange, count: u32 },
    /// The connection is lost; a new one is being sought.
    Reconnecting { reason: String },
    /// A session is open; no more events than this are waiting.
    Resumed { waiting_max: u64 },
    /// Final: nobody used the subscription for too long, or somebody removed it.
    SubscriptionExpired,
    /// Final: a newer session of this client has begun elsewhere.
    TakenOver,
}

/// Deliveries and notices, in the order they came.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    pub deliveries: Vec<Delivery>,
    pub notices: Vec<Notice>,
}

impl Batch {
    pub fn is_empty(&self) -> bool {
        self.deliveries.is_empty() && self.notices.is_empty()
    }
}

/// The inbox as it is shared between the application, the driver, and the readers of feed streams.
#[derive(Debug)]
pub(crate) struct Shared {
    inbox: Mutex<Inbox>,
    /// Tells the driver that acks or credit are due.
    due: Arc<Notify>,
}

impl Shared {
    pub(crate) fn new(inbox: Inbox, due: Arc<Notify>) -> Self {
        Self { inbox: Mutex::new(inbox), due }
    }

    pub(crate) fn inbox(&self) -> MutexGuard<'_, Inbox> {
        // The inbox is whole between its methods, and none of them panics half way.
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The driver must look at the inbox.
    pub(crate) fn tell_due(&self) {
        self.due.notify_one();
    }
}

/// An open subscription. Dropping it stops deliveries; the subscription itself stays, and so does what is not acked.
#[derive(Debug)]
pub struct Subscription {
    shared: Arc<Shared>,
    client: ClientId,
}

impl Subscription {
    pub(crate) fn new(shared: Arc<Shared>, client: ClientId) -> Self {
        Self { shared, client }
    }

    #[cfg(test)]
    pub(crate) fn shared_for_test(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Waits for something to come, at most so long; then gives what is there, at most `max` deliveries. An empty batch says that
    /// nothing came in time, None that nothing ever will. Cancel-safe: what this future has not returned is still there.
    pub async fn next_batch(&self, max: usize, timeout: Duration) -> Option<Batch> {
        let next = poll_fn(|context| self.poll_batch(max, context));
        tokio::time::timeout(timeout, next).await.unwrap_or_else(|_| Some(Batch::default()))
    }

    fn poll_batch(&self, max: usize, context: &Context<'_>) -> Poll<Option<Batch>> {
        loop {
            ready!(self.poll_ready(context));
            match self.take_batch(max) {
                // Somebody else has taken it meanwhile.
                Some(batch) if batch.is_empty() => {}
                batch => return Poll::Ready(batch),
            }
        }
    }

    /// Waits until [`Subscription::take_batch`] has something to give or the subscription has ended, at most so long. Takes nothing: for
    /// languages whose runtime may drop the result of a wait that was cancelled.
    pub async fn ready(&self, timeout: Duration) {
        let _ = tokio::time::timeout(timeout, poll_fn(|context| self.poll_ready(context))).await;
    }

    fn poll_ready(&self, context: &Context<'_>) -> Poll<()> {
        let mut inbox = self.shared.inbox();
        if !inbox.is_empty() || inbox.over().is_some() {
            return Poll::Ready(());
        }
        inbox.wait(context.waker());
        Poll::Pending
    }

    /// What is there by now, at most `max` deliveries and at least one; None once nothing ever will be.
    pub fn take_batch(&self, max: usize) -> Option<Batch> {
        let mut inbox = self.shared.inbox();
        let batch = inbox.pop(max.max(1));
        let is_over = inbox.over().is_some();
        let due = inbox.is_credit_due() || inbox.has_acks_due();
        drop(inbox);
        if due {
            self.shared.tell_due();
        }
        if batch.is_none() && is_over { None } else { Some(batch.unwrap_or_default()) }
    }

    /// The deliveries one by one, as a stream. Notices wait for [`Subscription::next_batch`] or are taken by the stream's own
    /// [`DeliveryStream::take_notices`].
    pub fn stream(&self) -> DeliveryStream<'_> {
        DeliveryStream::new(self)
    }

    /// The event is done with. Returns at once; [`Subscription::acked`] waits until that is durable.
    pub fn ack(&self, delivery: &Delivery) {
        self.ack_batch(std::slice::from_ref(delivery));
    }

    pub fn ack_batch(&self, deliveries: &[Delivery]) {
        let mut inbox = self.shared.inbox();
        let moved = deliveries.iter().fold(false, |moved, delivery| inbox.ack(delivery) | moved);
        drop(inbox);
        if moved {
            self.shared.tell_due();
        }
    }

    /// Waits until every ack given by now is durable at the broker, as far as acks are without holes before them. An event acked and
    /// confirmed is never delivered again, to any process.
    pub async fn acked(&self) -> Result<(), Error> {
        let cursors = {
            let mut inbox = self.shared.inbox();
            inbox.ask_for_cursors();
            inbox.cursors()
        };
        self.shared.tell_due();
        self.wait(|inbox| inbox.is_confirmed(&cursors)).await
    }

    /// Whether everything that was in the log when the session began has been taken by `next_batch`.
    pub fn caught_up(&self) -> bool {
        self.shared.inbox().is_caught_up()
    }

    /// Waits for that. Somebody must take the deliveries meanwhile.
    pub async fn wait_caught_up(&self) -> Result<(), Error> {
        self.wait(Inbox::is_caught_up).await
    }

    async fn wait(&self, done: impl Fn(&Inbox) -> bool) -> Result<(), Error> {
        poll_fn(|context| {
            let mut inbox = self.shared.inbox();
            if done(&inbox) {
                return Poll::Ready(Ok(()));
            }
            if let Some(over) = inbox.tell_over() {
                return Poll::Ready(Err(over));
            }
            inbox.wait(context.waker());
            Poll::Pending
        })
        .await
    }

    /// Per partition, from where delivery is guaranteed for this life of the subscription.
    pub fn starts(&self) -> Vec<(PartitionId, Cursor)> {
        self.shared.inbox().starts()
    }

    /// Why the subscription has ended, if it has.
    pub fn ended(&self) -> Option<Error> {
        self.shared.inbox().tell_over()
    }

    /// One opaque value that holds the position behind everything acked. Who stores it together with the effects of the events, and
    /// gives it back in [`SubscribeOptions::resume_token`], sees each effect exactly once.
    pub fn resume_token(&self) -> Vec<u8> {
        self.resume_token_after(&[])
    }

    /// The token as it will be once these are acked too: to be stored with their effects *before* they are acked.
    pub fn resume_token_after(&self, deliveries: &[Delivery]) -> Vec<u8> {
        let inbox = self.shared.inbox();
        let subscription = SavedSubscription {
            filter: inbox.filter().to_owned(),
            incarnation: inbox.incarnation(),
            cursors: inbox.cursors_after(deliveries),
        };
        ResumeToken { client: self.client, name: inbox.name().clone(), subscription }.encode()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.shared.inbox().abandon();
        self.shared.tell_due();
    }
}
