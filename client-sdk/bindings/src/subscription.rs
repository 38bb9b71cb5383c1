//! Subscribing. Calls that wait take nothing from the SDK's subscription: a batch does, when it is opened, which does not wait.

use std::sync::Arc;
use std::time::Duration;

use anyport_client as sdk;
use anyport_client::protocol::WallMs;
use tokio::sync::OnceCell;

use crate::client::SharedClient;
use crate::{AnyportError, Batch};

/// What to subscribe to.
#[derive(Clone, Debug, uniffi::Record)]
pub struct SubscribeOptions {
    /// The client's own name for it. Subscribing to a name that is there goes on where it was left.
    pub name: String,
    /// In the filter language (docs/filters.md); empty lets everything pass. Another filter than before takes effect from where the old one
    /// had got to.
    #[uniffi(default = "")]
    pub filter: String,
    /// Where a new subscription begins; unsaid, with the next event.
    #[uniffi(default = None)]
    pub start: Option<Start>,
    /// Begin at `start` even if the subscription is there.
    #[uniffi(default = false)]
    pub seek: bool,
    /// It ends when nobody has used it for so long; unsaid, the broker's default of 30 days.
    #[uniffi(default = None)]
    pub inactive_expiry_secs: Option<u64>,
    /// Nothing is remembered of it in the home folder, nor at the broker once it has expired.
    #[uniffi(default = false)]
    pub temporary: bool,
    /// Go on from this position, if it is further than what is known otherwise: see `Batch.resume_token`.
    #[uniffi(default = None)]
    pub resume_token: Option<Vec<u8>>,
}

/// Where a new subscription begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum Start {
    Earliest,
    Latest,
    /// The first event the broker appended at or after this time, in milliseconds since 1970.
    Time {
        unix_ms: u64,
    },
}

/// A subscription of a client, for one reader at a time. What several readers take is shared out among them.
#[derive(Debug, uniffi::Object)]
pub struct Subscription {
    client: Arc<SharedClient>,
    options: sdk::SubscribeOptions,
    sdk: Arc<Slot>,
}

/// The SDK's subscription, once it is open.
pub(crate) type Slot = OnceCell<sdk::Subscription>;

impl Subscription {
    pub(crate) fn new(client: Arc<SharedClient>, options: SubscribeOptions) -> Arc<Self> {
        Arc::new(Self { client, options: options.into(), sdk: Arc::default() })
    }

    async fn sdk(&self) -> Result<&sdk::Subscription, AnyportError> {
        let subscribe = || async { Ok(self.client.sdk().await?.subscribe(self.options.clone()).await?) };
        self.sdk.get_or_try_init(subscribe).await
    }
}

#[uniffi::export(async_runtime = "tokio")]
impl Subscription {
    /// Subscribes, unless it is open. Reading does it by itself; this call is for knowing early what is wrong. While a connection is lost it
    /// waits for the next.
    pub async fn open(&self) -> Result<(), AnyportError> {
        self.sdk().await.map(|_| ())
    }

    /// Waits for something to come, at most so long: at most `max` events, and what is to be told beside them. A batch that turns out empty
    /// says that nothing came in time. May be given up at any moment: nothing is taken before the batch is opened.
    pub async fn next_batch(&self, max: u32, timeout_ms: u64) -> Result<Arc<Batch>, AnyportError> {
        self.sdk().await?.ready(Duration::from_millis(timeout_ms)).await;
        Ok(Batch::new(&self.sdk, max))
    }

    /// Waits until every ack given by now is durable at the broker, as far as acks are without holes before them. An event acked and
    /// confirmed is never delivered again, to any process.
    pub async fn acked(&self) -> Result<(), AnyportError> {
        match self.sdk.get() {
            Some(sdk) => Ok(sdk.acked().await?),
            None => Ok(()),
        }
    }

    /// Whether everything has been read that was there when the session began.
    pub fn is_caught_up(&self) -> bool {
        self.sdk.get().is_some_and(sdk::Subscription::caught_up)
    }
}

impl From<SubscribeOptions> for sdk::SubscribeOptions {
    fn from(options: SubscribeOptions) -> Self {
        Self {
            name: options.name,
            filter: options.filter,
            start: options.start.unwrap_or(Start::Latest).into(),
            seek: options.seek,
            inactive_expiry: options.inactive_expiry_secs.map(Duration::from_secs),
            temporary: options.temporary,
            resume_token: options.resume_token,
        }
    }
}

impl From<Start> for sdk::Start {
    fn from(start: Start) -> Self {
        match start {
            Start::Earliest => Self::Earliest,
            Start::Latest => Self::Latest,
            Start::Time { unix_ms } => Self::Time(WallMs(unix_ms)),
        }
    }
}
