//! Publishing without a broker in reach: events are on this device's disk before `publish` returns.

use std::sync::Arc;

use anyport_client as sdk;
use anyport_client::{OutboxOptions, PublishError};
use tokio::sync::OnceCell;

use crate::client::SharedClient;
use crate::{AnyportError, Event, runtime};

/// Events on this device's disk that are not yet at a broker. They survive the process, go in the order in which they were published, and
/// are stored once. Needs no connection but to send.
#[derive(Debug, uniffi::Object)]
pub struct Outbox {
    client: Arc<SharedClient>,
    sdk: OnceCell<sdk::Outbox>,
    sending: OnceCell<()>,
}

/// What is in an outbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, uniffi::Record)]
pub struct OutboxStatus {
    /// Neither acked nor refused for good.
    pub events: u64,
    /// Of disk.
    pub bytes: u64,
}

impl Outbox {
    pub(crate) fn new(client: Arc<SharedClient>) -> Arc<Self> {
        Arc::new(Self { client, sdk: OnceCell::new(), sending: OnceCell::new() })
    }

    async fn sdk(&self) -> Result<&sdk::Outbox, AnyportError> {
        let (home, name) = self.client.home();
        let open = || sdk::Outbox::open(OutboxOptions { home, name, ..OutboxOptions::default() });
        Ok(self.sdk.get_or_try_init(open).await?)
    }
}

// Its disk has a thread of its own. Tasks wait for that, so that it is the runtime's thread that calls back.
#[uniffi::export(async_runtime = "tokio")]
impl Outbox {
    /// Once this returns the event is on the disk and will be sent. Given up, it may be there too.
    pub async fn publish(self: Arc<Self>, event: Event) -> Result<(), AnyportError> {
        let encoded = event.encode().map_err(PublishError::from)?;
        runtime::run(async move { Ok(self.sdk().await?.publish_encoded(&encoded).await.map(|_receipt| ())?) }).await
    }

    /// Connects, if need be, and sends what is in it and what comes into it, for as long as its client lives. May be called again.
    pub async fn send(self: Arc<Self>) -> Result<(), AnyportError> {
        runtime::run(async move {
            let start = || async { Ok(self.client.sdk().await?.send_outbox(self.sdk().await?).await?) };
            self.sending.get_or_try_init(start).await.copied()
        })
        .await
    }

    /// Waits until it is empty, for as long as that takes. Fails with the first event's refusal since it was asked last; refused events are
    /// kept in the file `refused_path`.
    pub async fn flush(self: Arc<Self>) -> Result<(), AnyportError> {
        runtime::wait(async move { Ok(self.sdk().await?.flush().await?) }).await
    }

    /// What is in it, once it is used.
    pub fn status(&self) -> OutboxStatus {
        let status = self.sdk.get().map(sdk::Outbox::status).unwrap_or_default();
        OutboxStatus { events: status.events, bytes: status.bytes }
    }

    /// Where events are that were refused for good, a line of JSON each, once it is used.
    pub fn refused_path(&self) -> Option<String> {
        Some(self.sdk.get()?.refused_path().display().to_string())
    }
}
