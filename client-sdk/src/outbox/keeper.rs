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
use anyport_protocol::event::{EncodedEvent, EventError, framed};
use anyport_protocol::partitioner::{partition_key, partition_of};
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};

use super::folder::Folder;
use super::{Waiting, refused};
use crate::driver::Link;
use crate::publisher::{Follower, Progress, Shared};
use crate::{Error, PublishError};

/// Events that are written together.
const GROUP_EVENTS_MAX: usize = 1024;

#[derive(Debug)]
pub(super) enum Command {
    Publish(Publish),
    /// From now on `shared` sends what there is. False if another does.
    Attach {
        shared: Arc<Shared>,
        partitions: u16,
        link: watch::Receiver<Link>,
        reply: oneshot::Sender<bool>,
    },
    Disconnected(Arc<Shared>),
    /// The segment that is being sent may be settled or stuck.
    Look {
        reply: Option<oneshot::Sender<()>>,
    },
    Detach {
        shared: Arc<Shared>,
        reply: oneshot::Sender<()>,
    },
}

#[derive(Debug)]
pub(super) struct Publish {
    pub(super) event: Bytes,
    pub(super) follower: Follower,
    pub(super) reply: oneshot::Sender<Result<(), PublishError>>,
}

/// For the publisher that sends the events. A keeper that has ended is told nothing, and one that has another publisher by now does nothing.
#[derive(Debug)]
pub(crate) struct KeeperHandle {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) shared: Arc<Shared>,
}

impl KeeperHandle {
    pub(crate) async fn disconnected(&self) {
        let _ = self.commands.send(Command::Disconnected(Arc::clone(&self.shared))).await;
    }

    pub(crate) async fn look(&self) {
        let _ = self.commands.send(Command::Look { reply: None }).await;
    }

    /// Once it returns nothing more is put before the publisher.
    pub(crate) async fn detach(&self) {
        let (reply, answer) = oneshot::channel();
        if self.commands.send(Command::Detach { shared: Arc::clone(&self.shared), reply }).await.is_ok() {
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
    /// A written segment of this size ends when all of it is settled; a smaller one goes on.
    settled_segment_bytes: u64,
    failed: Option<Error>,
}

#[derive(Debug)]
struct Attached {
    shared: Arc<Shared>,
    partitions: u16,
    link: watch::Receiver<Link>,
    /// The segment that it sends.
    sending: Option<u64>,
}

impl Attached {
    /// Whether its client is gone for good, and only has not said so yet.
    fn is_over(&self) -> bool {
        matches!(*self.link.borrow(), Link::Over(_)) || self.link.has_changed().is_err()
    }

    /// The partition of an event, which was checked when it was published.
    fn partition_of(&self, event: &[u8]) -> Result<PartitionId, EventError> {
        Ok(partition_of(partition_key(&EncodedEvent::check(event)?), self.partitions))
    }

    fn push(&self, partition: PartitionId, event: &[u8], follower: Follower) {
        if self.shared.queues().push_stored(partition, event, follower) {
            self.shared.tell_sendable();
        }
    }
}

impl Keeper {
    pub(super) fn new(folder: Folder, waiting: watch::Sender<Waiting>, bytes_max: u64) -> Self {
        let sent_upto = folder.last_number();
        // What is settled and still there must leave room for more.
        let settled_segment_bytes = (1 << 20).min(bytes_max / 4);
        let (attached, followers) = (None, HashMap::new());
        Self { folder, waiting, attached, followers, sent_upto, settled_segment_bytes, failed: None }
    }

    /// Until the outbox and who sends for it are gone.
    pub(super) fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        let _ended = Ended(self.waiting.clone());
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
        if let Some(attached) = self.attached {
            attached.shared.change(|queues| queues.handle_over(&ended));
        }
        let followers = self.followers.into_values().flatten();
        followers.filter_map(|follower| follower.upgrade()).for_each(|receipt| receipt.settle(Err(ended.clone())));
    }

    fn on_command(&mut self, command: Command, group: &mut Vec<Publish>) {
        match command {
            Command::Publish(publish) => group.push(publish),
            Command::Attach { shared, partitions, link, reply } => {
                if self.attached.as_ref().is_some_and(Attached::is_over) {
                    self.detach();
                }
                let is_free = self.attached.is_none();
                if is_free {
                    self.attached = Some(Attached { shared, partitions, link, sending: None });
                    self.attempt(|keeper| keeper.begin_first(None));
                }
                let _ = reply.send(is_free);
            }
            Command::Disconnected(shared) if self.is_attached_to(&shared) => {
                self.folder.finish();
                self.attempt(Self::look);
            }
            Command::Disconnected(_) => {}
            Command::Look { reply } => {
                self.attempt(Self::look);
                if let Some(reply) = reply {
                    let _ = reply.send(());
                }
            }
            Command::Detach { shared, reply } => {
                if self.is_attached_to(&shared) {
                    self.detach();
                }
                let _ = reply.send(());
            }
        }
    }

    fn is_attached_to(&self, shared: &Arc<Shared>) -> bool {
        self.attached.as_ref().is_some_and(|attached| Arc::ptr_eq(&attached.shared, shared))
    }

    /// What is settled of a segment that is not settled as a whole is sent again with the rest, and so it waits again.
    fn detach(&mut self) {
        self.folder.finish();
        self.attempt(Self::look);
        if let Some(attached) = self.attached.take() {
            let again = attached.shared.queues().take_settled();
            self.waiting.send_modify(|waiting| waiting.events += again);
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
        if let Err(error) = &appended {
            let reserved: u64 = group.iter().map(|publish| reserved_bytes(&publish.event)).sum();
            self.waiting.send_modify(|waiting| waiting.bytes -= reserved);
            if self.failed.is_none() {
                self.fail(error.clone());
            }
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
                for publish in group {
                    let partition = attached.partition_of(&publish.event).expect("checked when it was published");
                    attached.push(partition, &publish.event, publish.follower.clone());
                }
            }
            _ => {
                let followers = group.iter().map(|publish| publish.follower.clone());
                self.followers.entry(segment.number).or_default().extend(followers);
                // Should that fail, these are on the disk all the same.
                self.attempt(|keeper| keeper.begin_first(None));
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
        let partitions: Result<Vec<_>, _> = content.events.iter().map(|event| attached.partition_of(event)).collect();
        let bad = |error| Error::BadOutbox { path: self.folder.path().to_owned(), reason: format!("{error}") };
        // An event that is none any more would shift the numbers of all behind it.
        let partitions = partitions.map_err(bad)?;
        for partition in &partitions[..settled.len()] {
            done[usize::from(partition.0)] += 1;
        }
        attached.shared.queues().begin_segment(content.producer, &done, maybe_sent);
        attached.sending = Some(segment.number);
        self.sent_upto = self.sent_upto.max(segment.number);
        for (event, partition) in waiting.iter().zip(&partitions[settled.len()..]) {
            attached.push(*partition, event, followers.next().unwrap_or_default());
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
        refused::append(self.folder.path(), &refused)?;
        let written = self.folder.written().filter(|segment| segment.number == number);
        match progress {
            Progress::Sending => Ok(()),
            // It may be asked about for each event, so it is not begun anew for each.
            Progress::Settled if written.is_some_and(|segment| segment.bytes < self.settled_segment_bytes) => {
                let is_news = shared.queues().take_settled() > 0;
                if is_news { self.change(Folder::settle) } else { Ok(()) }
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
        let (unsettled, refused) = {
            let mut queues = shared.queues();
            (queues.take_unsettled(), queues.take_refused())
        };
        // Before the file goes that has them, too.
        refused::append(self.folder.path(), &refused)?;
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

/// However the thread ends, nobody waits for it any more.
struct Ended(watch::Sender<Waiting>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.send_modify(|waiting| {
            waiting.failed.get_or_insert(Error::Closed);
        });
    }
}

#[cfg(test)]
#[path = "keeper_stories.rs"]
mod stories;
