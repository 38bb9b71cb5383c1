//! Feed streams: each is read by a task, and its frames go to the inbox of their subscription.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use anyport_protocol::Incarnation;
use anyport_protocol::message::feed::FeedFrame;

use crate::net::{FeedStream, StreamError};
use crate::subscription::Shared;

/// Which inbox is whose. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Routes {
    inboxes: Arc<RwLock<HashMap<Incarnation, Arc<Shared>>>>,
}

impl Routes {
    pub(super) fn replace(&self, inboxes: impl Iterator<Item = (Incarnation, Arc<Shared>)>) {
        *self.inboxes.write().unwrap_or_else(PoisonError::into_inner) = inboxes.collect();
    }

    fn get(&self, incarnation: Incarnation) -> Option<Arc<Shared>> {
        self.inboxes.read().unwrap_or_else(PoisonError::into_inner).get(&incarnation).cloned()
    }

    /// Reads a stream to its end. What the application does not take in time is bounded by credit, so the stream is always read.
    pub(super) async fn read(self, stream: FeedStream) -> Result<(), StreamError> {
        let FeedStream { mut reader, replayed } = stream.identify().await?;
        while let Some((header, body)) = reader.next().await? {
            let frame = FeedFrame::decode(header.message_type, body)?;
            // One of a subscription that has ended on this side is of no interest.
            let Some(shared) = self.get(frame.feed.incarnation) else { continue };
            let mut inbox = shared.inbox();
            if !inbox.handle_frame(frame, replayed, Instant::now()) {
                return Err(StreamError::CreditPassed);
            }
            let due = inbox.is_credit_due() || inbox.patience_ends().is_some();
            drop(inbox);
            if due {
                shared.tell_due();
            }
        }
        Ok(())
    }
}
