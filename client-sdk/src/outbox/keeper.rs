//! The thread that owns an outbox's folder: writes what is published, and puts one segment after the other before the publisher that
//! sends them.
//!
//! ```text
//!   publish -> append, sync -> the segment that is being sent: to its publisher
//!                              a later one: its turn comes when all before it is settled
//! ```
//! What came while the disk was busy is written and synced together. A segment is begun by every process, after every connection, and
//! when the last one is full. So what is published while nobody is connected is never part of a segment of which the broker has some and
//! may forget that it has: however long the client is away, its numbers begin at 0.
//!
//! The first failure of the disk ends all publishing here; what waits is found at the next start.

use std::collections::HashMap;
use std::sync::Arc;

use anyport_protocol::PartitionId;
use anyport_protocol::event::EncodedEvent;
use anyport_protocol::event::framed;
use anyport_protocol::partitioner::{partition_key, partition_of};
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};

use super::folder::Folder;
use super::{Waiting, refused};
use crate::publisher::{Follower, Progress, Shared};
use crate::{Error, PublishError};

/// A written segment of this size ends when all of it is settled; a smaller one goes on.
const SETTLED_SEGMENT_BYTES: u64 = 1 << 20;

/// Events that are written together.
const GROUP_EVENTS_MAX: usize = 1024;

#[derive(Debug)]
pub(super) enum Command {
    Publish(Publish),
    /// From now on `shared` sends what there is. False if another does.
    Attach {
        shared: Arc<Shared>,
        partitions: u16,
        reply: oneshot::Sender<bool>,
    },
    Disconnected,
    /// The segment that is being sent may be settled or stuck.
    Look,
    Detach {
        reply: oneshot::Sender<()>,
    },
}

#[derive(Debug)]
pub(super) struct Publish {
    pub(super) event: Bytes,
    pub(super) follower: Follower,
    pub(super) reply: oneshot::Sender<Result<(), PublishError>>,
}

/// For the publisher that sends the events. A keeper that has ended is told nothing.
#[derive(Clone, Debug)]
pub(crate) struct KeeperHandle(pub(super) mpsc::Sender<Command>);

impl KeeperHandle {
    pub(crate) async fn disconnected(&self) {
        let _ = self.0.send(Command::Disconnected).await;
    }

    pub(crate) async fn look(&self) {
        let _ = self.0.send(Command::Look).await;
    }

    /// Once it returns nothing more is put before the publisher.
    pub(crate) async fn detach(&self) {
        let (reply, answer) = oneshot::channel();
        if self.0.send(Command::Detach { reply }).await.is_ok() {
            let _ = answer.await;
        }
    }
}

/// What an event takes of the outbox's bytes before it is written.
pub(super) fn reserved_bytes(event: &[u8]) -> u64 {
    (framed::OVERHEAD_BYTES + event.len()) as u64
}

#[derive(Debug)]
pub(super) struct Keeper {
    folder: Folder,
    waiting: watch::Sender<Waiting>,
    attached: Option<Attached>,
    /// By segment that is not being sent: who is to be told of its events, by their place.
    followers: HashMap<u64, Vec<Follower>>,
    /// Segments up to this one may have been sent by somebody.
    sent_upto: u64,
    failed: Option<Error>,
}

#[derive(Debug)]
struct Attached {
    shared: Arc<Shared>,
    partitions: u16,
    /// The segment that it sends.
    sending: Option<u64>,
}

impl Attached {
    /// The partition of an event, which was checked when it was published.
    fn partition_of(&self, event: &[u8]) -> Option<PartitionId> {
        Some(partition_of(partition_key(&EncodedEvent::check(event).ok()?), self.partitions))
    }

    fn push(&self, event: &[u8], follower: Follower) {
        let Some(partition) = self.partition_of(event) else { return };
        if self.shared.queues().push_stored(partition, event, follower) {
            self.shared.tell_sendable();
        }
    }
}

impl Keeper {
    pub(super) fn new(folder: Folder, waiting: watch::Sender<Waiting>) -> Self {
        let sent_upto = folder.last_number();
        Self { folder, waiting, attached: None, followers: HashMap::new(), sent_upto, failed: None }
    }

    /// Until the outbox and who sends for it are gone.
    pub(super) fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        let mut group = Vec::new();
        while let Some(command) = inbox.blocking_recv() {
            self.on_command(command, &mut group);
            while group.len() < GROUP_EVENTS_MAX
                && let Ok(command) = inbox.try_recv()
            {
                self.on_command(command, &mut group);
            }
            if !group.is_empty() {
                self.commit(std::mem::take(&mut group));
            }
        }
        let ended = PublishError::Ended { cause: Error::Closed, outcome: anyport_protocol::Outcome::Maybe };
        let followers = self.followers.into_values().flatten();
        followers.filter_map(|follower| follower.upgrade()).for_each(|receipt| receipt.settle(Err(ended.clone())));
    }

    fn on_command(&mut self, command: Command, group: &mut Vec<Publish>) {
        match command {
            Command::Publish(publish) => group.push(publish),
            Command::Attach { shared, partitions, reply } => {
                let is_free = self.attached.is_none();
                if is_free {
                    self.attached = Some(Attached { shared, partitions, sending: None });
                    self.attempt(|keeper| keeper.begin_first(None));
                }
                let _ = reply.send(is_free);
            }
            Command::Disconnected => {
                self.folder.finish();
                self.attempt(Self::look);
            }
            Command::Look => self.attempt(Self::look),
            Command::Detach { reply } => {
                self.folder.finish();
                self.attached = None;
                let _ = reply.send(());
            }
        }
    }

    fn attempt(&mut self, change: impl FnOnce(&mut Self) -> Result<(), Error>) {
        if self.failed.is_none()
            && let Err(error) = change(self)
        {
            self.fail(error);
        }
    }

    fn fail(&mut self, error: Error) {
        tracing::error!(%error, "the outbox has failed");
        self.waiting.send_modify(|waiting| waiting.failed = Some(error.clone()));
        self.failed = Some(error);
    }

    fn commit(&mut self, group: Vec<Publish>) {
        let appended = match &self.failed {
            Some(error) => Err(error.clone()),
            None => self.append(&group),
        };
        if let (Err(error), None) = (&appended, &self.failed) {
            self.fail(error.clone());
        }
        let result = appended.map_err(|cause| PublishError::OutboxFailed { cause });
        for publish in group {
            // Nobody may want to know any more.
            let _ = publish.reply.send(result.clone());
        }
    }

    /// Changes the folder and says what it holds then.
    fn change<T>(&mut self, change: impl FnOnce(&mut Folder) -> Result<T, Error>) -> Result<T, Error> {
        let before = self.folder.bytes();
        let changed = change(&mut self.folder)?;
        let after = self.folder.bytes();
        self.waiting.send_modify(|waiting| waiting.bytes = waiting.bytes + after - before);
        Ok(changed)
    }

    fn append(&mut self, group: &[Publish]) -> Result<(), Error> {
        let segment = self.change(|folder| folder.append(group.iter().map(|publish| &publish.event[..])))?;
        let reserved: u64 = group.iter().map(|publish| reserved_bytes(&publish.event)).sum();
        self.waiting.send_modify(|waiting| {
            waiting.events += group.len() as u64;
            waiting.bytes -= reserved;
        });
        match &self.attached {
            Some(attached) if attached.sending == Some(segment.number) => {
                group.iter().for_each(|publish| attached.push(&publish.event, publish.follower.clone()));
            }
            _ => {
                let followers = group.iter().map(|publish| publish.follower.clone());
                self.followers.entry(segment.number).or_default().extend(followers);
                self.begin_first(None)?;
            }
        }
        Ok(())
    }

    /// Puts the oldest segment before the publisher, unless that has one. `fresh` are the followers of one that was written anew.
    fn begin_first(&mut self, fresh: Option<Vec<Follower>>) -> Result<(), Error> {
        let (Some(attached), Some(segment)) = (&mut self.attached, self.folder.first()) else { return Ok(()) };
        if attached.sending.is_some() {
            return Ok(());
        }
        let Some(content) = self.folder.read_first()? else { return Ok(()) };
        let maybe_sent = fresh.is_none() && segment.number <= self.sent_upto;
        let known = self.followers.remove(&segment.number);
        let mut followers = fresh.or(known).unwrap_or_default().into_iter();
        let (settled, waiting) = content.events.split_at(content.settled);
        let mut done = vec![0; attached.partitions.into()];
        for partition in settled.iter().filter_map(|event| attached.partition_of(event)) {
            done[usize::from(partition.0)] += 1;
        }
        attached.shared.queues().begin_segment(content.producer, &done, maybe_sent);
        attached.sending = Some(segment.number);
        self.sent_upto = self.sent_upto.max(segment.number);
        for event in waiting {
            attached.push(event, followers.next().unwrap_or_default());
        }
        if waiting.is_empty() { self.look() } else { Ok(()) }
    }

    /// Goes on to the next segment when the one that is being sent is done with.
    fn look(&mut self) -> Result<(), Error> {
        let Some(Attached { shared, sending: Some(number), .. }) = &self.attached else { return Ok(()) };
        let (shared, number) = (Arc::clone(shared), *number);
        let (progress, refused) = {
            let mut queues = shared.queues();
            (queues.progress(), queues.take_refused())
        };
        if !refused.is_empty() {
            refused::append(self.folder.path(), &refused)?;
        }
        let written = self.folder.written().filter(|segment| segment.number == number);
        match progress {
            Progress::Sending => Ok(()),
            // It may be asked about for each event, so it is not begun anew for each.
            Progress::Settled if written.is_some_and(|segment| segment.bytes < SETTLED_SEGMENT_BYTES) => {
                self.change(Folder::settle)
            }
            Progress::Settled => self.replace_first(&[]).and_then(|()| self.begin_first(None)),
            Progress::Stuck { alone } => {
                // What comes from now on has numbers that can be used.
                if written.is_some() {
                    self.folder.finish();
                }
                if alone { self.begin_anew(&shared) } else { Ok(()) }
            }
        }
    }

    fn begin_anew(&mut self, shared: &Shared) -> Result<(), Error> {
        let unsettled = shared.queues().take_unsettled();
        let (events, followers): (Vec<_>, Vec<_>) =
            unsettled.into_iter().map(|unsettled| (unsettled.event, unsettled.follower)).unzip();
        tracing::info!(events = events.len(), "a segment of the outbox goes on under other numbers");
        self.replace_first(&events)?;
        let fresh = (!events.is_empty()).then_some(followers);
        self.begin_first(fresh)
    }

    /// What is left of the segment that was being sent is this.
    fn replace_first(&mut self, events: &[Bytes]) -> Result<(), Error> {
        self.change(|folder| folder.replace_first(events))?;
        if let Some(attached) = &mut self.attached {
            attached.sending = None;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "keeper_stories.rs"]
mod stories;
