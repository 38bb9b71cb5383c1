//! A batch as a receipt: empty until it is opened, and the one thing to be acked afterwards. So a batch that was lost on its way to
//! the application has taken nothing with it, and payloads do not cross the border a second time to be acked.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use anyport_client as sdk;
use anyport_client::protocol::OffsetRange;
use anyport_client::{Error, PublishError};

use crate::subscription::Slot;
use crate::{AnyportError, Event};

/// What has come for a subscription.
#[derive(Debug, uniffi::Object)]
pub struct Batch {
    /// Weak: a batch that was lost must not keep its subscription open.
    subscription: Weak<Slot>,
    max: u32,
    opened: Mutex<Option<Opened>>,
}

#[derive(Debug)]
struct Opened {
    subscription: Arc<Slot>,
    /// Without their payloads, which are the application's now.
    deliveries: Vec<sdk::Delivery>,
}

/// Deliveries and notices, each in the order they came.
#[derive(Clone, Debug, Default, PartialEq, Eq, uniffi::Record)]
pub struct Contents {
    pub deliveries: Vec<Delivery>,
    pub notices: Vec<Notice>,
}

/// One event, delivered.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct Delivery {
    pub partition: u16,
    /// Grows when the log has lost its end, and offsets are given again. Partition, epoch and offset together name an event.
    pub epoch: u32,
    pub offset: u64,
    /// Read from storage, not live.
    pub replayed: bool,
    pub event: Event,
}

/// What a subscriber is told beside events. Ranges of offsets are half-open: `start` is in, `end` is not.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum Notice {
    /// The log no longer has these; they will not come, or not again.
    Gap { partition: u16, epoch: u32, start: u64, end: u64 },
    /// So many events of the range were left out, by an option that the client chose.
    Omitted { partition: u16, start: u64, end: u64, count: u32 },
    /// The connection is lost; a new one is being sought.
    Reconnecting { reason: String },
    /// A session is open; no more events than this are waiting.
    Resumed { waiting_max: u64 },
    /// Final: nobody used the subscription for too long, or somebody removed it.
    SubscriptionExpired,
    /// Final: a newer session of this client has begun elsewhere.
    TakenOver,
}

impl Batch {
    pub(crate) fn new(subscription: &Arc<Slot>, max: u32) -> Arc<Self> {
        Arc::new(Self { subscription: Arc::downgrade(subscription), max, opened: Mutex::new(None) })
    }

    /// Runs this on what was opened, if anything was.
    fn with_opened<T>(&self, run: impl FnOnce(&sdk::Subscription, &[sdk::Delivery]) -> T) -> Option<T> {
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let opened = opened.as_ref()?;
        Some(run(opened.subscription.get()?, &opened.deliveries))
    }
}

#[uniffi::export]
impl Batch {
    /// Takes what is there and hands it over, once; from then on it is the application's. Empty if nothing came in time. Fails once the
    /// subscription has ended and everything was taken.
    pub fn open(&self) -> Result<Contents, AnyportError> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let (None, Some(subscription)) = (&*opened, self.subscription.upgrade()) else {
            return Ok(Contents::default());
        };
        let Some(sdk) = subscription.get() else { return Ok(Contents::default()) };
        let max = usize::try_from(self.max).unwrap_or(usize::MAX);
        let Some(batch) = sdk.take_batch(max) else { return Err(sdk.ended().unwrap_or(Error::Closed).into()) };
        let contents = Contents::of(&batch);
        let mut deliveries = batch.deliveries;
        for delivery in &mut deliveries {
            std::mem::take(&mut delivery.event);
        }
        *opened = Some(Opened { subscription, deliveries });
        contents
    }

    /// All its events are done with. Returns at once; `Subscription.acked` waits until that is durable.
    pub fn ack(&self) {
        self.with_opened(sdk::Subscription::ack_batch);
    }

    /// Those of its events are done with that stand at these places, counted from 0.
    pub fn ack_some(&self, places: Vec<u32>) {
        self.with_opened(|sdk, deliveries| {
            let at = |place: u32| deliveries.get(usize::try_from(place).ok()?);
            places.into_iter().filter_map(at).for_each(|delivery| sdk.ack(delivery));
        });
    }

    /// One opaque value that holds the position behind everything acked and this batch. Who stores it together with the effects of
    /// the events, acks then, and subscribes with what is stored, sees each effect exactly once. Empty unless the batch was opened.
    pub fn resume_token(&self) -> Vec<u8> {
        self.with_opened(sdk::Subscription::resume_token_after).unwrap_or_default()
    }
}

impl Contents {
    fn of(batch: &sdk::Batch) -> Result<Self, AnyportError> {
        let deliveries: Result<_, _> = batch.deliveries.iter().map(Delivery::of).collect();
        Ok(Self { deliveries: deliveries?, notices: batch.notices.iter().map(Notice::from).collect() })
    }
}

impl Delivery {
    fn of(delivery: &sdk::Delivery) -> Result<Self, PublishError> {
        Ok(Self {
            partition: delivery.partition.0,
            epoch: delivery.epoch.0,
            offset: delivery.offset.0,
            replayed: delivery.replayed,
            event: Event::decode(&delivery.event)?,
        })
    }
}

impl From<&sdk::Notice> for Notice {
    fn from(notice: &sdk::Notice) -> Self {
        match notice {
            sdk::Notice::Gap { partition, epoch, range: OffsetRange { start, end } } => {
                Self::Gap { partition: partition.0, epoch: epoch.0, start: start.0, end: end.0 }
            }
            sdk::Notice::Omitted { partition, range: OffsetRange { start, end }, count } => {
                Self::Omitted { partition: partition.0, start: start.0, end: end.0, count: *count }
            }
            sdk::Notice::Reconnecting { reason } => Self::Reconnecting { reason: reason.clone() },
            sdk::Notice::Resumed { waiting_max } => Self::Resumed { waiting_max: *waiting_max },
            sdk::Notice::SubscriptionExpired => Self::SubscriptionExpired,
            sdk::Notice::TakenOver => Self::TakenOver,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_batch_keeps_no_subscription_open() {
        let subscription = Arc::<Slot>::default();
        let lost = Batch::new(&subscription, 1);
        assert!(Arc::into_inner(subscription).is_some(), "nobody else holds it");
        assert_eq!(lost.open(), Ok(Contents::default()));
    }
}
