//! Batches for partitions that are led elsewhere: one stream to each leader's broker, of frames as on a client's publish stream.
//!
//! Whatever stands between here and there is told at once: a batch of which no byte was sent is surely not stored, any other may be.
//! A batch is forwarded once; who gets it and does not lead says so, and who may. Bytes that wait here have a budget of their own,
//! apart from the leader's: of it one broker that is slow holds a quarter at most.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyport_protocol::message::publish::{PUBLISHED, PublishBatch, Published};
use anyport_protocol::{BrokerId, Code, Fault, PartitionId};
use anyport_storage::GroupId;
use bytes::Bytes;
use futures_util::FutureExt;
use tokio::sync::{mpsc, oneshot};

use super::{Links, Task};
use crate::net::ReadError;
use crate::partition::{LeaderBudget, PartitionBudget, Permit};
use crate::peer::{PeerStream, PeerStreamKind};

/// Bytes of batches that may wait for leaders elsewhere, all together.
const INGRESS_BYTES_MAX: usize = 64 << 20;

/// Batches that wait for one broker's stream; their bytes are bounded by the budget.
const BATCHES_MAX: usize = 8192;

/// What a waiting batch costs beside its bytes.
const BATCH_OVERHEAD_BYTES: usize = 512;

/// Frames gathered before they are written in one go.
const GATHERED_BYTES: usize = 256 << 10;

/// A stream that is not open by then never will be.
const OPEN_TIMEOUT: Duration = Duration::from_secs(1);

const BUSY_RETRY_MS: u32 = 20;
const NOT_READY_RETRY_MS: u32 = 50;

/// The streams to all leaders; each is opened with its first batch.
#[derive(Debug)]
pub(super) struct Forwarding {
    links: Links,
    budget: LeaderBudget,
    to: Mutex<HashMap<BrokerId, Forwarder>>,
}

#[derive(Debug)]
struct Forwarder {
    batches: mpsc::Sender<Outgoing>,
    budget: PartitionBudget,
    _task: Task,
}

#[derive(Debug)]
struct Outgoing {
    batch: PublishBatch,
    told: oneshot::Sender<Published>,
    permit: Permit,
}

impl Forwarding {
    pub(super) fn new(links: Links) -> Self {
        Self { links, budget: LeaderBudget::new(INGRESS_BYTES_MAX), to: Mutex::default() }
    }

    /// Hands the batch over before it returns, and never waits for room.
    pub(super) fn publish(&self, to: BrokerId, batch: PublishBatch) -> impl Future<Output = Published> + Send + use<> {
        let outcome = self.hand_over(to, batch);
        async move {
            match outcome {
                Ok(outcome) => outcome.await.unwrap_or_else(|_| maybe_stored("this broker stops")),
                Err(fault) => Published::Refused(fault),
            }
        }
    }

    fn hand_over(&self, to: BrokerId, batch: PublishBatch) -> Result<oneshot::Receiver<Published>, Fault> {
        let mut forwarders = self.to.lock().unwrap_or_else(PoisonError::into_inner);
        let forwarder = forwarders.entry(to).or_insert_with(|| self.start(to));
        let busy = |text| Fault::retry_after(Code::RetryAfter, BUSY_RETRY_MS, text);
        let permit = forwarder.budget.try_take(batch.framed.len() + BATCH_OVERHEAD_BYTES);
        let permit = permit.ok_or_else(|| busy("as much as may waits here for the partition's leader"))?;
        let (told, outcome) = oneshot::channel();
        let handed_over = forwarder.batches.try_send(Outgoing { batch, told, permit });
        handed_over.map_err(|_| busy("too many batches wait here for the partition's leader"))?;
        Ok(outcome)
    }

    fn start(&self, to: BrokerId) -> Forwarder {
        let (batches, inbox) = mpsc::channel(BATCHES_MAX);
        let task = ForwardTask { to, links: self.links.clone(), inbox };
        Forwarder { batches, budget: self.budget.of_partition(), _task: Task::spawn(task.run()) }
    }
}

struct ForwardTask {
    to: BrokerId,
    links: Links,
    inbox: mpsc::Receiver<Outgoing>,
}

/// A batch whose frame is written, or waits to be.
struct Waiting {
    partition: PartitionId,
    /// Where its frame begins in the stream.
    begins: u64,
    told: oneshot::Sender<Published>,
    _permit: Permit,
}

impl ForwardTask {
    async fn run(mut self) {
        while let Some(first) = self.inbox.recv().await {
            let opening = self.links.peers.open(self.to, PeerStreamKind::Publish, Bytes::new());
            match tokio::time::timeout(OPEN_TIMEOUT, opening).await {
                Ok(Ok(stream)) => self.converse(stream, first).await,
                Ok(Err(error)) => self.refuse(first, &error.to_string()),
                Err(_) => self.refuse(first, "no stream could be opened in time"),
            }
        }
    }

    /// Refuses what waits: none of it was sent.
    fn refuse(&mut self, first: Outgoing, why: &str) {
        let mut next = Some(first);
        while let Some(Outgoing { batch, told, .. }) = next {
            self.links.leaders.forget(GroupId::Partition(batch.partition), self.to);
            let _ = told.send(not_sent(why));
            next = self.inbox.try_recv().ok();
        }
    }

    /// Until the stream ends.
    async fn converse(&mut self, stream: PeerStream, first: Outgoing) {
        let PeerStream { mut reader, mut writer, .. } = stream;
        let mut talk = Talk::default();
        talk.push(first);
        let why: Arc<str> = loop {
            tokio::select! {
                biased;
                frame = reader.next() => match frame {
                    Ok(Some((header, body))) if header.message_type == PUBLISHED => {
                        if let Err(error) = talk.on_published(header.request, &body, self) { break error.to_string().into() }
                    }
                    Ok(_) => break "the leader's broker ended the stream".into(),
                    Err(error) => break error.to_string().into(),
                },
                written = writer.write_some(&talk.frames[talk.written..]), if talk.written < talk.frames.len() => match written {
                    Ok(bytes) => talk.on_written(bytes),
                    Err(error) => break error.to_string().into(),
                },
                outgoing = self.inbox.recv(), if talk.frames.len() < GATHERED_BYTES => match outgoing {
                    Some(outgoing) => {
                        talk.push(outgoing);
                        // What has come together is written together.
                        while talk.frames.len() < GATHERED_BYTES {
                            let Some(Some(outgoing)) = self.inbox.recv().now_or_never() else { break };
                            talk.push(outgoing);
                        }
                    }
                    None => break "this broker stops".into(),
                },
            }
        };
        writer.reset();
        talk.end(&why, self);
    }

    fn note(&self, partition: PartitionId, published: &mut Published) {
        let Published::Refused(fault) = published else { return };
        if !fault.is(Code::NotReady) {
            return;
        }
        let group = GroupId::Partition(partition);
        self.links.leaders.forget(group, self.to);
        // Said between brokers; to a client the number means nothing.
        if let Some(leader) = fault.value.take().and_then(|leader| u32::try_from(leader).ok()) {
            self.links.leaders.note(group, BrokerId(leader));
        }
    }
}

/// What was said on one stream and is not answered.
#[derive(Default)]
struct Talk {
    next_request: u32,
    waiting: HashMap<u32, Waiting>,
    /// Not yet taken by the stream, from `written` on.
    frames: Vec<u8>,
    written: usize,
    /// Bytes of the stream before `frames`.
    before: u64,
}

impl Talk {
    fn push(&mut self, Outgoing { batch, told, permit }: Outgoing) {
        let (partition, begins) = (batch.partition, self.before + self.frames.len() as u64);
        self.next_request = self.next_request.wrapping_add(1);
        batch.encode(self.next_request, &mut self.frames);
        self.waiting.insert(self.next_request, Waiting { partition, begins, told, _permit: permit });
    }

    fn on_written(&mut self, bytes: usize) {
        self.written += bytes;
        if self.written == self.frames.len() {
            self.before += self.written as u64;
            self.frames.clear();
            self.written = 0;
        }
    }

    fn on_published(&mut self, request: u32, body: &[u8], task: &ForwardTask) -> Result<(), ReadError> {
        let mut published = Published::decode(body)?;
        if let Some(Waiting { partition, told, .. }) = self.waiting.remove(&request) {
            task.note(partition, &mut published);
            // A client that is gone asks again when it comes back.
            let _ = told.send(published);
        }
        Ok(())
    }

    fn end(self, why: &str, task: &ForwardTask) {
        let sent = self.before + self.written as u64;
        for Waiting { partition, begins, told, .. } in self.waiting.into_values() {
            task.links.leaders.forget(GroupId::Partition(partition), task.to);
            let _ = told.send(if begins < sent { maybe_stored(why) } else { not_sent(why) });
        }
    }
}

fn not_sent(why: &str) -> Published {
    let text = format!("the partition's leader cannot be reached: {why}");
    Published::Refused(Fault::retry_after(Code::NotReady, NOT_READY_RETRY_MS, text))
}

fn maybe_stored(why: &str) -> Published {
    Published::Refused(Fault::new(Code::MaybeStored, format!("the partition's leader did not answer: {why}")))
}
