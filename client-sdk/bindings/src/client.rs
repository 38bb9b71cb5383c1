//! The client: an identity and its connection, made when first needed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyport_client as sdk;
use anyport_client::{Error, Identities};
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;

use crate::{AnyportError, Outbox, Publisher, SubscribeOptions, Subscription, Why, runtime};

/// Who connects where.
#[derive(Clone, Debug, uniffi::Record)]
pub struct ClientOptions {
    /// Addresses (`host:port`) of brokers; every one serves every client.
    pub servers: Vec<String>,
    /// A folder of the application's own: identities and positions, and in its folder `ca` the certificate authorities to trust, as
    /// `*.pem` files. An identity that is imported brings them along.
    pub home: String,
    /// Which identity of the home folder.
    #[uniffi(default = "default")]
    pub name: String,
    /// Whether an identity that is not there is registered. Otherwise connecting fails.
    #[uniffi(default = true)]
    pub register: bool,
    /// How long the first connection may take. Later ones are sought for ever.
    #[uniffi(default = 30000)]
    pub connect_timeout_ms: u64,
}

/// How the client is doing.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum Status {
    /// Nothing has needed a connection yet, or none was had in time.
    NotConnected,
    /// A connection is being sought; if it was tried, why the last attempt failed or the last connection ended.
    Connecting {
        trouble: Option<String>,
    },
    Connected {
        server: String,
    },
    Suspended,
    /// Final.
    Over {
        why: Why,
    },
}

/// A client of a broker. Calls that need a connection make the first one; a background task keeps it, and finds another when it is lost.
/// Every call may be given up at any time.
#[derive(Debug, uniffi::Object)]
pub struct Client {
    shared: Arc<SharedClient>,
}

/// What publishers and subscriptions need of their client. It ends with the last of them.
#[derive(Debug)]
pub(crate) struct SharedClient {
    options: sdk::ClientOptions,
    sdk: OnceCell<sdk::Client>,
}

impl SharedClient {
    /// Connects at the first call. Who waits at the same time waits for the same attempt.
    pub(crate) async fn sdk(&self) -> Result<&sdk::Client, AnyportError> {
        runtime::remember();
        let connect = || sdk::Client::connect(self.options.clone());
        Ok(self.sdk.get_or_try_init(connect).await?)
    }

    /// Where the client's files are, and its name there.
    pub(crate) fn home(&self) -> (PathBuf, String) {
        (self.options.home.clone(), self.options.name.clone())
    }
}

#[uniffi::export(async_runtime = "tokio")]
impl Client {
    /// Only says who will connect where.
    #[uniffi::constructor]
    pub fn new(options: ClientOptions) -> Arc<Self> {
        let options = sdk::ClientOptions {
            servers: options.servers,
            home: options.home.into(),
            name: options.name,
            register: options.register,
            connect_timeout: Duration::from_millis(options.connect_timeout_ms),
            ..sdk::ClientOptions::default()
        };
        Arc::new(Self { shared: Arc::new(SharedClient { options, sdk: OnceCell::new() }) })
    }

    /// Connects, unless it has; fails if that is over. Other calls do it by themselves; this one is for knowing early what is wrong.
    pub async fn connect(&self) -> Result<(), AnyportError> {
        match self.shared.sdk().await?.status() {
            sdk::Status::Over(error) => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Ends in good order, and for good: acks are made durable, the session is closed. Publishers must be flushed before.
    pub async fn disconnect(&self) {
        if let Some(sdk) = self.shared.sdk.get() {
            // One that is over already has nothing to make durable.
            let _ = sdk.close().await;
        }
    }

    /// A publisher over this client's connection.
    pub fn publisher(&self) -> Arc<Publisher> {
        Publisher::new(Arc::clone(&self.shared))
    }

    /// This client's outbox, for publishing without a connection. One object of one process at a time can have it.
    pub fn outbox(&self) -> Arc<Outbox> {
        Outbox::new(Arc::clone(&self.shared))
    }

    /// A subscription, not yet open. Dropped, it stops deliveries; at the broker it stays, and so does what is not acked.
    pub fn subscription(&self, options: SubscribeOptions) -> Arc<Subscription> {
        Subscription::new(Arc::clone(&self.shared), options)
    }

    /// Ends a subscription and forgets its position.
    pub async fn unsubscribe(&self, name: String) -> Result<(), AnyportError> {
        Ok(self.shared.sdk().await?.unsubscribe(name).await?)
    }

    /// Leaves for a while, such as into the background: acks are made durable, the connection is closed. Costs nobody anything until it
    /// resumes.
    pub async fn suspend(&self) -> Result<(), AnyportError> {
        match self.shared.sdk.get() {
            Some(sdk) => Ok(sdk.suspend().await?),
            None => Ok(()),
        }
    }

    /// Comes back, and waits until it is connected: one flight resumes every subscription.
    pub async fn resume(&self) -> Result<(), AnyportError> {
        Ok(self.shared.sdk().await?.resume().await?)
    }

    /// The device has another network, as the system has told: goes on from there in the same session. If the broker is not heard there soon
    /// a new connection is made; if there is none, one is tried at once.
    pub async fn network_changed(&self) -> Result<(), AnyportError> {
        match self.shared.sdk.get() {
            Some(sdk) => Ok(sdk.network_changed().await?),
            None => Ok(()),
        }
    }

    pub fn status(&self) -> Status {
        self.shared.sdk.get().map_or(Status::NotConnected, |sdk| sdk.status().into())
    }

    /// The client's id, once it is known here.
    pub fn id(&self) -> Option<String> {
        self.shared.sdk.get().map(|sdk| sdk.id().to_string())
    }

    /// The identity with its positions, to go on with it on another device: a secret, since whoever has it is the client. Suspend or
    /// disconnect first, so that the positions are the latest.
    pub async fn export_identity(&self) -> Result<Vec<u8>, AnyportError> {
        let (home, name) = self.shared.home();
        blocking(move || Ok(Identities::of(home).export(&name)?.json)).await
    }

    /// Makes an exported identity this client's, with the authorities it trusts. Before connecting; unless `replace`, only where there
    /// is none.
    pub async fn import_identity(&self, exported: Vec<u8>, replace: bool) -> Result<(), AnyportError> {
        let (home, name) = self.shared.home();
        blocking(move || Identities::of(home).import(&name, &exported, replace).map(|_| ())).await
    }
}

/// Work on files.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, AnyportError> {
    runtime::run(async { Ok(spawn_blocking(work).await.unwrap_or(Err(Error::Closed))?) }).await
}

impl From<sdk::Status> for Status {
    fn from(status: sdk::Status) -> Self {
        match status {
            sdk::Status::Connecting { trouble } => Self::Connecting { trouble },
            sdk::Status::Connected { server } => Self::Connected { server },
            sdk::Status::Suspended => Self::Suspended,
            sdk::Status::Over(error) => Self::Over { why: Why::from(&error) },
        }
    }
}
