//! What the rest of the broker has of the registry.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyport_protocol::map::bucket::bucket_of;
use anyport_protocol::{ClientId, Code, Fault};
use anyport_storage::GroupId;
use anyport_storage::registry::{ClientRecord, Command, RegistryReader, Reply};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::remote;
use crate::cluster::Group;
use crate::feed::ReadGrants;
use crate::serving::{Links, no_replica};

/// Commands that wait for a shard's task.
pub(super) const COMMANDS_MAX: usize = 4096;

const BUSY_RETRY_MS: u32 = 50;

/// How long a replica that is behind is given to catch up with what a client has seen.
const CATCH_UP_TIMEOUT: Duration = Duration::from_millis(500);
const CATCH_UP_POLL: Duration = Duration::from_millis(5);

/// The reply, and the index it was applied at.
pub type Outcome = Result<(Reply, u64), Fault>;

/// A command, and who waits for its reply.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) command: Command,
    pub(super) outcome: oneshot::Sender<Outcome>,
}

/// This broker's replica of one shard; clones share it.
#[derive(Clone)]
pub struct Shard {
    pub(super) commands: mpsc::Sender<Request>,
    pub(super) reader: RegistryReader,
    pub(super) group: Group,
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

    fn leads(&self) -> bool {
        self.group.leadership().is_leader()
    }

    /// Waits a moment until what is applied reaches an index; returns how far it does.
    async fn reach(&self, index: u64) -> Result<u64, Fault> {
        let give_up = Instant::now() + CATCH_UP_TIMEOUT;
        loop {
            let applied = self.group.applied().map_or(0, |id| id.index);
            if applied >= index {
                return Ok(applied);
            }
            if Instant::now() >= give_up {
                let text = format!(
                    "the replica of {} here has applied {applied}, and the client has seen {index}",
                    self.group.id()
                );
                return Err(Fault::retry_after(Code::RetryAfter, BUSY_RETRY_MS, text));
            }
            tokio::time::sleep(CATCH_UP_POLL).await;
        }
    }
}

impl fmt::Debug for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shard").field("group", &self.group).finish_non_exhaustive()
    }
}

fn stopped(code: Code) -> Fault {
    Fault::new(code, "the registry has stopped")
}

/// A handle on all shards, wherever their replicas are; clones share it.
#[derive(Clone, Debug)]
pub struct RegistryHandle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// By number: the replica that this broker serves from, which may come and go.
    placed: Box<[RwLock<Option<Shard>>]>,
    links: Links,
    grants: ReadGrants,
}

impl RegistryHandle {
    pub fn new(shards: u16, links: Links, grants: ReadGrants) -> Self {
        assert!(shards > 0, "a registry has at least one shard");
        let placed = (0..shards).map(|_| RwLock::default()).collect();
        Self { shared: Arc::new(Shared { placed, links, grants }) }
    }

    pub fn shards(&self) -> u16 {
        u16::try_from(self.shared.placed.len()).expect("made from one")
    }

    /// From here on this broker serves from its own replica of the shard.
    pub fn place(&self, shard: u16, replica: Shard) {
        self.replace(shard, Some(replica));
    }

    /// From here on this broker asks others.
    pub fn remove(&self, shard: u16) {
        self.replace(shard, None);
    }

    fn replace(&self, shard: u16, replica: Option<Shard>) {
        if let Some(place) = self.shared.placed.get(usize::from(shard)) {
            *place.write().unwrap_or_else(PoisonError::into_inner) = replica;
        }
    }

    fn placed(&self, shard: u16) -> Option<Shard> {
        let place = self.shared.placed.get(usize::from(shard))?;
        place.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the reply once it is durable and applied, with the index it was applied at. A command whose fate is not known is
    /// `MaybeStored`: sending it again is safe.
    pub async fn apply(&self, command: Command) -> Outcome {
        let shard = self.shard_of(command.client());
        match self.placed(shard) {
            Some(placed) if placed.leads() => placed.apply(command).await,
            placed => remote::apply(&self.shared.links, GroupId::Registry(shard), placed, command).await,
        }
    }

    /// Applies a command that another broker was asked for, if this one leads: it is not sent on. Otherwise the fault's value is the
    /// broker that may.
    pub async fn apply_here(&self, command: Command) -> Outcome {
        let shard = self.shard_of(command.client());
        match self.placed(shard) {
            Some(placed) if placed.leads() => placed.apply(command).await,
            _ => Err(remote::not_led_here(&self.shared.links, GroupId::Registry(shard))),
        }
    }

    /// The record as applied, with the index up to which that is: at least `seen`, which another broker may have told the client.
    pub async fn record(&self, client: ClientId, seen: u64) -> Result<(Option<ClientRecord>, u64), Fault> {
        match self.record_here(client, seen).await {
            Ok(found) => Ok(found),
            Err(fault) if fault.is(Code::StoreFailed) => Err(fault),
            Err(_) => remote::record(&self.shared.links, GroupId::Registry(self.shard_of(client)), client, seen).await,
        }
    }

    /// The same from the replica that is placed here, if it gets that far in a moment.
    pub async fn record_here(&self, client: ClientId, seen: u64) -> Result<(Option<ClientRecord>, u64), Fault> {
        let shard = self.shard_of(client);
        let placed = self.placed(shard).ok_or_else(|| no_replica(GroupId::Registry(shard)))?;
        // Before the row, which may be newer.
        let index = placed.reach(seen).await?;
        let record = self.shared.grants.run(move || placed.reader.record(client)).await;
        let record = record.map_err(|error| Fault::new(Code::StoreFailed, error.to_string()))?;
        Ok((record, index))
    }

    /// Whether a replica of this client's shard is placed here.
    pub fn has(&self, client: ClientId) -> bool {
        self.placed(self.shard_of(client)).is_some()
    }

    /// Whether this broker leads this client's shard.
    pub fn leads(&self, client: ClientId) -> bool {
        self.placed(self.shard_of(client)).is_some_and(|placed| placed.leads())
    }

    fn shard_of(&self, client: ClientId) -> u16 {
        bucket_of(client, u16::try_from(self.shared.placed.len()).expect("shards are counted by a u16"))
    }
}
