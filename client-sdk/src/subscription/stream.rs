//! Deliveries one by one.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

use super::{Delivery, Notice, Subscription};

/// Ends when the subscription does. Dropped between two deliveries it has lost none.
#[derive(Debug)]
pub struct DeliveryStream<'a> {
    subscription: &'a Subscription,
    notices: Vec<Notice>,
}

impl<'a> DeliveryStream<'a> {
    pub(super) fn new(subscription: &'a Subscription) -> Self {
        Self { subscription, notices: Vec::new() }
    }

    /// What was said before the delivery that came last.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }
}

impl Stream for DeliveryStream<'_> {
    type Item = Delivery;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Delivery>> {
        loop {
            let Some(batch) = std::task::ready!(self.subscription.poll_batch(1, context)) else {
                return Poll::Ready(None);
            };
            self.notices.extend(batch.notices);
            if let Some(delivery) = batch.deliveries.into_iter().next() {
                return Poll::Ready(Some(delivery));
            }
        }
    }
}
