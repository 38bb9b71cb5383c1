//! The publisher's task: from the queues to a stream and back. On every connection it opens a stream of its own, and says again
//! what is not answered.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyport_protocol::event::framed;
use anyport_protocol::message::publish::{PUBLISHED, PublishBatch, Published};
use anyport_protocol::message::{DecodeError, FrameHeader};
use anyport_protocol::{Code, Fault, Number, Outcome, ProducerId};
use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use super::queues::Progress;
use super::{Probe, Shared, random_producer};
use crate::driver::Link;
use crate::impatience::{Impatience, is_of_this_broker};
use crate::net::{Connection, StreamError};
use crate::outbox::KeeperHandle;
use crate::{Error, PublishError};

/// Encoded and not yet taken by the transport.
const OUTGOING_BYTES: usize = 1 << 20;

/// Before a stream is opened again that broke although its connection did not.
const STREAM_RETRY: Duration = Duration::from_millis(200);

/// After a probe that a busy broker did not look at.
const PROBE_RETRY: Duration = Duration::from_millis(100);

/// Far above any number that was ever sent, so a batch that begins here is surely not stored.
const PROBE_NUMBER: Number = Number(u64::MAX / 2);

pub(super) async fn run(
    shared: Arc<Shared>,
    producer: ProducerId,
    mut link: watch::Receiver<Link>,
    inbox: mpsc::Receiver<Probe>,
    keeper: Option<KeeperHandle>,
) {
    let mut task = Task::new(shared, producer, inbox, keeper);
    loop {
        let connection = match next_connection(&mut link).await {
            Ok(connection) => connection,
            Err(cause) => return task.end(cause).await,
        };
        let ended = tokio::select! {
            ended = task.serve(&connection) => ended,
            _ = connection.closed() => Ok(()),
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "publish stream");
        }
        task.handle_disconnected();
        if let Some(keeper) = &task.keeper {
            keeper.disconnected().await;
        }
        if !connection.is_closed() {
            sleep(STREAM_RETRY).await;
        }
    }
}

async fn next_connection(link: &mut watch::Receiver<Link>) -> Result<Connection, Error> {
    let usable = |link: &Link| match link {
        Link::Waiting => false,
        Link::Up(connection) => !connection.is_closed(),
        Link::Over(_) => true,
    };
    match link.wait_for(usable).await.map(|link| link.clone()) {
        Ok(Link::Up(connection)) => Ok(connection),
        Ok(Link::Over(cause)) => Err(cause),
        Ok(Link::Waiting) => unreachable!("waiting is not usable"),
        Err(_) => Err(Error::Closed),
    }
}

struct Task {
    shared: Arc<Shared>,
    producer: ProducerId,
    inbox: mpsc::Receiver<Probe>,
    /// Frames on their way to the transport.
    outgoing: Vec<Bytes>,
    /// To be sent, not before the time if one is named.
    probes: Vec<Probe>,
    probes_held_until: Option<Instant>,
    /// Sent, by request.
    probing: HashMap<u32, Probe>,
    impatience: Impatience,
    /// Of the outbox whose events these are.
    keeper: Option<KeeperHandle>,
}

impl Task {
    fn new(
        shared: Arc<Shared>,
        producer: ProducerId,
        inbox: mpsc::Receiver<Probe>,
        keeper: Option<KeeperHandle>,
    ) -> Self {
        let (outgoing, probes, probing) = (Vec::new(), Vec::new(), HashMap::new());
        let impatience = Impatience::new();
        Self { shared, producer, inbox, outgoing, probes, probes_held_until: None, probing, impatience, keeper }
    }

    async fn serve(&mut self, connection: &Connection) -> Result<(), StreamError> {
        let (mut writer, mut reader) = connection.open_publish().await?;
        loop {
            let hold_until = self.fill();
            tokio::select! {
                biased;
                frame = reader.next() => match frame? {
                    Some((header, body)) => {
                        let is_to_be_left = self.on_frame(header, &body)?;
                        if is_to_be_left && connection.has_others() {
                            tracing::info!("this broker has taken nothing for a while");
                            connection.close(0, "publishes are refused here");
                        }
                        self.tell_keeper().await;
                    }
                    None => return Ok(()),
                },
                written = writer.write_some(&mut self.outgoing), if !self.outgoing.is_empty() => written?,
                Some(probe) = self.inbox.recv() => self.probes.push(probe),
                () = self.shared.sendable.notified() => {}
                () = sleep_until(hold_until), if hold_until.is_some() => {}
            }
        }
    }

    async fn tell_keeper(&self) {
        if let Some(keeper) = &self.keeper
            && self.shared.queues().progress() != Progress::Sending
        {
            keeper.look().await;
        }
    }

    /// Takes what may be sent. Returns when to look again, if that is a matter of time.
    fn fill(&mut self) -> Option<Instant> {
        let now = Instant::now();
        if self.probes_held_until.is_none_or(|until| now >= until) {
            self.probes_held_until = None;
            std::mem::take(&mut self.probes).into_iter().for_each(|probe| self.send_probe(probe));
        }
        let mut bytes: usize = self.outgoing.iter().map(Bytes::len).sum();
        let mut queues = self.shared.queues();
        while bytes < OUTGOING_BYTES {
            let Some((request, partition, sending)) = queues.next_to_send(now) else {
                return queues.hold_until().into_iter().chain(self.probes_held_until).min();
            };
            let batch = PublishBatch {
                producer: sending.producer,
                partition,
                count: sending.count,
                first_number: sending.first,
                framed: sending.framed,
            };
            bytes += batch.framed.len();
            self.outgoing.extend(frame_of(request, batch));
        }
        None
    }

    fn send_probe(&mut self, probe: Probe) {
        let mut event = Vec::new();
        framed::push(&mut event, &probe.event);
        let batch = PublishBatch {
            producer: self.producer,
            partition: probe.partition,
            count: 1,
            first_number: PROBE_NUMBER,
            framed: event.into(),
        };
        let request = self.shared.queues().free_request();
        self.outgoing.extend(frame_of(request, batch));
        self.probing.insert(request, probe);
    }

    /// Returns whether this broker is to be left for another, if there is one.
    fn on_frame(&mut self, header: FrameHeader, body: &[u8]) -> Result<bool, StreamError> {
        if header.message_type != PUBLISHED {
            return Err(DecodeError::UnknownType(header.message_type).into());
        }
        let answer = Published::decode(body)?;
        match self.probing.remove(&header.request) {
            Some(probe) => {
                self.on_probed(probe, answer);
                Ok(false)
            }
            None => {
                let now = Instant::now();
                match &answer {
                    Published::Refused(fault) if is_of_this_broker(fault) => self.impatience.handle_refused(now),
                    Published::Refused(_) => {}
                    Published::Stored { .. } | Published::AlreadyStored { .. } => self.impatience.handle_done(),
                }
                self.shared.change(|queues| queues.handle_answer(header.request, answer, now, random_producer()));
                Ok(self.impatience.poll_leave(now))
            }
        }
    }

    fn on_probed(&mut self, probe: Probe, answer: Published) {
        let result = match answer {
            Published::Refused(Fault { code, value: Some(expected), .. }) if code == Code::OutOfSequence as u16 => {
                Ok(Number(expected))
            }
            // Nothing of this producer is retained, so its first number is free.
            Published::Refused(fault) if fault.is(Code::ProducerUnknown) => Ok(Number(0)),
            Published::Refused(fault) if fault.retry() => {
                self.probes_held_until = Some(Instant::now() + PROBE_RETRY);
                return self.probes.push(probe);
            }
            Published::Refused(fault) => Err(PublishError::Refused { fault, outcome: Outcome::SurelyNot }),
            Published::Stored { .. } | Published::AlreadyStored { .. } => {
                Err(PublishError::Interleaved { expected: PROBE_NUMBER.0, outcome: Outcome::Maybe })
            }
        };
        // Nobody may want to know any more.
        let _ = probe.reply.send(result);
    }

    fn handle_disconnected(&mut self) {
        self.impatience.handle_disconnected();
        self.outgoing.clear();
        self.probes.extend(self.probing.drain().map(|(_, probe)| probe));
        self.shared.queues().handle_disconnected();
    }

    async fn end(mut self, cause: Error) {
        if let Some(keeper) = &self.keeper {
            keeper.detach().await;
        }
        let over = PublishError::Ended { cause, outcome: Outcome::SurelyNot };
        self.inbox.close();
        self.handle_disconnected();
        for probe in self.probes.drain(..) {
            let _ = probe.reply.send(Err(over.clone()));
        }
        self.shared.change(|queues| queues.handle_over(&over));
    }
}

/// The frame in two parts, so that the events are not copied.
fn frame_of(request: u32, mut batch: PublishBatch) -> [Bytes; 2] {
    let events = std::mem::take(&mut batch.framed);
    let mut head = Vec::new();
    batch.encode(request, &mut head);
    // The frame's first four bytes are the length of its body, of which the events are the last part.
    let head_bytes = head.len() - anyport_protocol::message::HEADER_BYTES;
    let body_bytes =
        u32::try_from(head_bytes + events.len()).expect("a batch is closed before it passes a frame's limit");
    head[..4].copy_from_slice(&body_bytes.to_le_bytes());
    [head.into(), events]
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use anyport_protocol::PartitionId;

    use super::*;

    #[test]
    fn a_frame_in_two_parts_is_the_frame() {
        let batch = PublishBatch {
            producer: ProducerId([7; 16]),
            partition: PartitionId(3),
            count: 2,
            first_number: Number(40),
            framed: Bytes::from_static(b"\x01\0\0\0a\x01\0\0\0b"),
        };
        let mut whole = Vec::new();
        batch.encode(9, &mut whole);
        assert_eq!(frame_of(9, batch).concat(), whole);
    }
}
