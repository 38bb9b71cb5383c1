//! Publishing: events are handed to the SDK's publisher, whose task owns them from then on, and their fates are waited for.

use std::sync::Arc;

use anyport_client as sdk;
use anyport_client::{Acked, PublishError, PublisherOptions};
use tokio::sync::OnceCell;

use crate::client::SharedClient;
use crate::{AnyportError, Event, Why};

/// Publishes events. A call that is given up has published all, some or none of its events; `flush` tells how those fared that it
/// had handed over.
#[derive(Debug, uniffi::Object)]
pub struct Publisher {
    client: Arc<SharedClient>,
    sdk: OnceCell<sdk::Publisher>,
}

/// Where a published event lies: synced to disk at the broker.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct Stored {
    pub partition: u16,
    /// Unknown if an earlier attempt stored it and the broker has forgotten where.
    pub offset: Option<u64>,
}

/// What has become of one event of a batch.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum Published {
    Stored {
        at: Stored,
    },
    /// `why.maybe_stored` says whether it may have been stored all the same.
    NotAcked {
        why: Why,
    },
}

impl Publisher {
    pub(crate) fn new(client: Arc<SharedClient>) -> Arc<Self> {
        Arc::new(Self { client, sdk: OnceCell::new() })
    }

    async fn sdk(&self) -> Result<&sdk::Publisher, AnyportError> {
        let start = || async { Ok(self.client.sdk().await?.publisher(PublisherOptions::default())) };
        self.sdk.get_or_try_init(start).await
    }
}

#[uniffi::export(async_runtime = "tokio")]
impl Publisher {
    /// Publishes an event and waits for its ack. Many calls at once share batches.
    pub async fn publish(&self, event: Event) -> Result<Stored, AnyportError> {
        let encoded = event.encode().map_err(PublishError::from)?;
        let receipt = self.sdk().await?.publish_encoded(&encoded).await?;
        Ok(receipt.await?.into())
    }

    /// Publishes events in order and waits for what becomes of each. If one is no valid event, none is published.
    pub async fn publish_batch(&self, events: Vec<Event>) -> Result<Vec<Published>, AnyportError> {
        let encoded: Result<Vec<_>, _> = events.into_iter().map(Event::encode).collect();
        let encoded = encoded.map_err(PublishError::from)?;
        let sdk = self.sdk().await?;
        let mut receipts = Vec::with_capacity(encoded.len());
        for event in &encoded {
            receipts.push(sdk.publish_encoded(event).await);
        }
        let mut published = Vec::with_capacity(receipts.len());
        for receipt in receipts {
            let acked = match receipt {
                Ok(receipt) => receipt.await,
                Err(error) => Err(error),
            };
            published.push(acked.into());
        }
        Ok(published)
    }

    /// Waits until everything handed over by now is acked or failed, by whichever call. Fails with the first failure since the last flush.
    pub async fn flush(&self) -> Result<(), AnyportError> {
        match self.sdk.get() {
            Some(sdk) => Ok(sdk.flush().await?),
            None => Ok(()),
        }
    }
}

impl From<Acked> for Stored {
    fn from(acked: Acked) -> Self {
        Self { partition: acked.partition.0, offset: acked.offset.map(|offset| offset.0) }
    }
}

impl From<Result<Acked, PublishError>> for Published {
    fn from(acked: Result<Acked, PublishError>) -> Self {
        match acked {
            Ok(acked) => Self::Stored { at: acked.into() },
            Err(error) => Self::NotAcked { why: Why::from(&error) },
        }
    }
}
