//! What the rest of the broker has of the registry.

use std::sync::Arc;

use anyport_protocol::{ClientId, Code, Fault};
use anyport_storage::StoreError;
use anyport_storage::registry::{ClientRecord, Command, RegistryReader, Reply};
use tokio::sync::{mpsc, oneshot};
use xxhash_rust::xxh3::xxh3_64;

/// Commands that wait for a shard's task.
pub(super) const COMMANDS_MAX: usize = 4096;

const BUSY_RETRY_MS: u32 = 50;

pub(super) type Outcome = Result<(Reply, u64), Fault>;

/// A command, and who waits for its reply.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) command: Command,
    pub(super) outcome: oneshot::Sender<Outcome>,
}

#[derive(Clone, Debug)]
pub(crate) struct Shard {
    pub(super) commands: mpsc::Sender<Request>,
    pub(super) reader: RegistryReader,
}

impl Shard {
    pub(super) async fn apply(&self, command: Command) -> Outcome {
        let (told, outcome) = oneshot::channel();
        self.commands.try_send(Request { command, outcome: told }).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => {
                Fault::retry_after(Code::RetryAfter, BUSY_RETRY_MS, "too many commands wait for this registry shard")
            }
            mpsc::error::TrySendError::Closed(_) => stopped(Code::ShuttingDown),
        })?;
        // One that was taken and is not answered may have been proposed.
        outcome.await.unwrap_or_else(|_| Err(stopped(Code::MaybeStored)))
    }
}

fn stopped(code: Code) -> Fault {
    Fault::new(code, "the registry has stopped")
}

/// A handle on all shards; clones share it.
#[derive(Clone, Debug)]
pub struct RegistryHandle {
    shards: Arc<[Shard]>,
}

impl RegistryHandle {
    pub(super) fn new(shards: Vec<Shard>) -> Self {
        assert!(!shards.is_empty(), "a registry has at least one shard");
        Self { shards: shards.into() }
    }

    /// Returns the reply once it is durable and applied, with the index it was applied at. A command whose fate is not known is
    /// `MaybeStored`: sending it again is safe.
    pub async fn apply(&self, command: Command) -> Result<(Reply, u64), Fault> {
        self.shard(command.client()).apply(command).await
    }

    /// The record as applied here. Reads the disk.
    pub fn record(&self, client: ClientId) -> Result<Option<ClientRecord>, StoreError> {
        self.shard(client).reader.record(client)
    }

    fn shard(&self, client: ClientId) -> &Shard {
        let shard = xxh3_64(client.as_bytes()) % self.shards.len() as u64;
        &self.shards[usize::try_from(shard).expect("below the number of shards")]
    }
}
