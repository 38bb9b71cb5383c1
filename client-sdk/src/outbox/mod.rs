//! Publishing without a broker: an event is on this device's disk before `publish` returns, and at a broker as soon as one is in reach.
//!
//! The producer's numbers live in the same files as the events ([`segment`]), so what was sent and not acked when the process or the
//! connection ended is sent again under the same numbers, and stored once. What decides about files is in [`folder`], what awaits the disk
//! is a thread of its own, [`keeper`]; the publisher that sends is the same as without an outbox.

mod folder;
mod keeper;
mod refused;
mod segment;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyport_protocol::event::{EncodedEvent, Event};
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::driver::Link;
use crate::home::{Home, home_error};
use crate::publisher::{self, BatchReceipt, Queues, Receipt, Shared};
use crate::{ClientOptions, Error, PublishError};
use folder::Folder;
pub(crate) use keeper::KeeperHandle;
use keeper::{Command, Keeper, Publish, reserved_bytes};
pub(crate) use refused::Refused;

/// Commands waiting for the keeper; more wait with their callers. What they hold is part of the outbox's bytes.
const INBOX: usize = 1024;

/// Whose outbox, and how large.
#[derive(Clone, Debug)]
pub struct OutboxOptions {
    /// The home folder, as in [`ClientOptions`].
    pub home: PathBuf,
    /// The client's name there.
    pub name: String,
    /// Of disk, with what is sent and not yet acked. Files of up to 4 MiB go as a whole.
    pub bytes_max: u64,
    /// How long `publish` waits for room before it says that there is none.
    pub patience: Duration,
}

impl Default for OutboxOptions {
    fn default() -> Self {
        let ClientOptions { home, name, .. } = ClientOptions::default();
        Self { home, name, bytes_max: 64 << 20, patience: Duration::from_secs(10) }
    }
}

/// What is in an outbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboxStatus {
    /// Neither acked nor refused for good.
    pub events: u64,
    /// Of disk.
    pub bytes: u64,
}

/// What everybody around an outbox knows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waiting {
    events: u64,
    /// With what is on its way to the disk.
    bytes: u64,
    /// The first event that was refused for good and `flush` has not told of.
    refused: Option<PublishError>,
    /// The disk has failed, or its owner has ended.
    failed: Option<Error>,
}

impl Waiting {
    /// These have been stored or refused for good.
    pub(crate) fn handle_settled(&mut self, events: u64, refused: Option<&PublishError>) {
        self.events -= events;
        if let Some(refused) = refused {
            self.refused.get_or_insert_with(|| refused.clone());
        }
    }
}

/// Events on this device's disk that are not yet at a broker. Needs no connection; [`Client::send_outbox`](crate::Client::send_outbox)
/// gives it one. Events go in the order in which they were published, those of earlier processes first. Dropping it loses nothing.
#[derive(Debug)]
pub struct Outbox {
    commands: mpsc::Sender<Command>,
    waiting: watch::Sender<Waiting>,
    bytes_max: u64,
    patience: Duration,
    folder: PathBuf,
    /// The task of the client that sends.
    sender: Arc<Mutex<Option<Sending>>>,
    /// The keeper's. It ends with the last who can command it.
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Outbox {
    /// One process at a time can have it.
    pub async fn open(options: OutboxOptions) -> Result<Self, Error> {
        let home = Home::new(options.home, &options.name)?;
        let opened = tokio::task::spawn_blocking(move || Folder::open(&home)).await;
        let (folder, events) = opened.unwrap_or(Err(Error::Closed))?;
        let path = folder.path().to_owned();
        let (waiting, _) = watch::channel(Waiting { events, bytes: folder.bytes(), ..Waiting::default() });
        let (commands, inbox) = mpsc::channel(INBOX);
        let keeper = Keeper::new(folder, waiting.clone(), options.bytes_max);
        let thread = std::thread::Builder::new().name("anyport-outbox".to_owned());
        let thread = thread.spawn(move || keeper.run(inbox)).map_err(|error| home_error(&path, error))?;
        let (bytes_max, patience) = (options.bytes_max, options.patience);
        let (sender, thread) = (Arc::default(), Some(thread));
        Ok(Self { commands, waiting, bytes_max, patience, folder: path, sender, thread })
    }

    /// Once this returns the event is on the disk and will be sent. The receipt tells when a broker has it; it ends with the process.
    /// Dropped while it waits, this future may have published the event.
    pub async fn publish(&self, event: &Event) -> Result<Receipt, PublishError> {
        self.publish_encoded(&event.encode()).await
    }

    /// The same for an event in the one encoding.
    pub async fn publish_encoded(&self, event: &[u8]) -> Result<Receipt, PublishError> {
        EncodedEvent::check(event)?;
        let room = self.reserve(reserved_bytes(event)).await?;
        let place = self.commands.reserve().await.map_err(|_| self.ended())?;
        let receipt = Arc::new(BatchReceipt::default());
        let (reply, answer) = oneshot::channel();
        let event = Bytes::copy_from_slice(event);
        place.send(Command::Publish(Publish { event, follower: Arc::downgrade(&receipt), reply }));
        room.keep();
        answer.await.map_err(|_| self.ended())??;
        Ok(Receipt::new(receipt, 0))
    }

    async fn reserve(&self, bytes: u64) -> Result<Room<'_>, PublishError> {
        match timeout(self.patience, self.room(bytes)).await {
            Ok(room) => room,
            Err(_) => {
                let held = self.waiting.borrow().bytes;
                Err(PublishError::OutboxFull { bytes: held, limit: self.bytes_max })
            }
        }
    }

    async fn room(&self, bytes: u64) -> Result<Room<'_>, PublishError> {
        let mut changes = self.waiting.subscribe();
        let has_room = |waiting: &Waiting| waiting.bytes + bytes <= self.bytes_max;
        loop {
            let mut taken = false;
            self.waiting.send_if_modified(|waiting| {
                taken = has_room(waiting);
                waiting.bytes += if taken { bytes } else { 0 };
                // Less room is news to nobody.
                false
            });
            if taken {
                return Ok(Room { waiting: &self.waiting, bytes });
            }
            let changed = changes.wait_for(|waiting| has_room(waiting) || waiting.failed.is_some()).await;
            if let Some(cause) = changed.map_err(|_| self.ended())?.failed.clone() {
                return Err(PublishError::OutboxFailed { cause });
            }
        }
    }

    fn ended(&self) -> PublishError {
        let cause = self.waiting.borrow().failed.clone().unwrap_or(Error::Closed);
        PublishError::OutboxFailed { cause }
    }

    pub fn status(&self) -> OutboxStatus {
        let waiting = self.waiting.borrow();
        OutboxStatus { events: waiting.events, bytes: waiting.bytes }
    }

    /// Waits until it is empty, for as long as that takes. Returns the first event's refusal since it was asked last: refused events are
    /// in [`Outbox::refused_path`], with the reason.
    pub async fn flush(&self) -> Result<(), PublishError> {
        let mut changes = self.waiting.subscribe();
        let done = changes.wait_for(|waiting| waiting.events == 0 || waiting.failed.is_some()).await;
        if let Some(cause) = done.ok().and_then(|waiting| waiting.failed.clone()) {
            return Err(PublishError::OutboxFailed { cause });
        }
        // Only now the disk knows it, too.
        let (reply, looked) = oneshot::channel();
        self.commands.send(Command::Look { reply: Some(reply) }).await.map_err(|_| self.ended())?;
        looked.await.map_err(|_| self.ended())?;
        let mut refused = None;
        self.waiting.send_if_modified(|waiting| {
            refused = waiting.refused.take();
            false
        });
        refused.map_or(Ok(()), Err)
    }

    /// One line of JSON for each event that was refused for good, with `code`, `error`, `outcome` and the `event`.
    pub fn refused_path(&self) -> PathBuf {
        self.folder.join(refused::FILE)
    }

    /// Ends it, and waits until another process may have it.
    pub async fn close(mut self) {
        let thread = self.thread.take();
        // With it goes the task that sends, and with both the thread.
        drop(self);
        if let Some(thread) = thread {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }

    pub(crate) async fn attach(&self, partitions: u16, link: watch::Receiver<Link>) -> Result<(), Error> {
        let shared = Arc::new(Shared::new(Queues::of_outbox(partitions, self.waiting.clone())));
        let (commands, sender) = (self.commands.clone(), Arc::clone(&self.sender));
        // A task, since nobody may be attached who does not send: whoever waits here may give up.
        let attaching = tokio::spawn(async move {
            let (reply, answer) = oneshot::channel();
            let attach = Command::Attach { shared: Arc::clone(&shared), partitions, link: link.clone(), reply };
            let is_attached = commands.send(attach).await.is_ok() && answer.await.map_err(|_| Error::Closed)?;
            if is_attached {
                let keeper = KeeperHandle { commands, shared: Arc::clone(&shared) };
                let task = Sending(tokio::spawn(publisher::send_outbox(shared, link, keeper)));
                *sender.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
            }
            Ok(is_attached)
        });
        match attaching.await.unwrap_or(Err(Error::Closed))? {
            true => Ok(()),
            false => Err(Error::OutboxInUse { path: self.folder.clone(), holder: Some(std::process::id()) }),
        }
    }
}

/// Ends with its owner.
#[derive(Debug)]
struct Sending(JoinHandle<()>);

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Bytes that are reserved, until the event is on its way.
struct Room<'a> {
    waiting: &'a watch::Sender<Waiting>,
    bytes: u64,
}

impl Room<'_> {
    fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.waiting.send_modify(|waiting| waiting.bytes -= self.bytes);
    }
}
