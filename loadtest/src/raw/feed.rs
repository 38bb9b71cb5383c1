//! The subscriber's side of the wire, frame by frame.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};
use anyport_protocol::limits::FRAME_BYTES_MAX;
use anyport_protocol::message::feed::{FEED_HEADER_BYTES, FeedContent, FeedFrame};
use anyport_protocol::message::publish::{PublishBatch, Published};
use anyport_protocol::message::{
    Credit, FrameBuffer, OpenSession, Register, SessionOpened, Start, StreamKind, Subscribe, SubscriptionState,
    ToClient,
};
use anyport_protocol::{Nonce, Number, Offset, PartitionId, ProducerId, SessionEpoch};
use bytes::Bytes;
use quinn::RecvStream;

use super::{RawClient, RawStream};

impl RawStream {
    /// Registers and opens a first session.
    pub async fn open_session(&mut self, nonce: u8) -> Result<SessionOpened> {
        let ToClient::Registered(_) = self.ask(Register {}.into()).await? else { bail!("not registered") };
        let open = OpenSession { epoch: SessionEpoch(1), nonce: Nonce([nonce; 16]), resume: vec![], registry_seen: 0 };
        match self.ask(open.into()).await? {
            ToClient::SessionOpened(opened) => Ok(opened),
            other => bail!("no session but {other:?}"),
        }
    }

    pub async fn subscribe(&mut self, name: &str, filter: &str, start: Start) -> Result<SubscriptionState> {
        match self.ask(Subscribe::new(name.parse()?, filter, start).into()).await? {
            ToClient::Subscribed(subscribed) => Ok(subscribed.state),
            other => bail!("not subscribed but {other:?}"),
        }
    }

    pub async fn credit(&mut self, state: &SubscriptionState, bytes_total: u64) -> Result<()> {
        self.tell(Credit { incarnation: state.incarnation, bytes_total }.into()).await?;
        Ok(())
    }

    /// Publishes one batch on a publish stream and waits for its outcome.
    pub async fn publish(&mut self, partition: u16, first: u64, framed: Bytes, count: u32) -> Result<Published> {
        let producer = ProducerId([9; 16]);
        let batch =
            PublishBatch { producer, partition: PartitionId(partition), count, first_number: Number(first), framed };
        let mut frame = Vec::new();
        batch.encode(1, &mut frame);
        self.send(&frame).await?;
        Ok(Published::decode(&self.receive().await?.1)?)
    }
}

/// Frames of one feed stream.
#[derive(Debug)]
pub struct RawFeed {
    pub kind: StreamKind,
    pub stream: RecvStream,
    buffer: FrameBuffer,
    /// Bytes of event sections so far: what counts against credit.
    pub credited_bytes: u64,
}

impl RawFeed {
    pub async fn accept(client: &RawClient) -> Result<Self> {
        let (kind, stream) = client.accept_feed().await?;
        Ok(Self { kind, stream, buffer: FrameBuffer::new(FRAME_BYTES_MAX), credited_bytes: 0 })
    }

    /// The next frame; None when the broker has finished the stream.
    pub async fn next(&mut self) -> Result<Option<FeedFrame>> {
        loop {
            if let Some((header, body)) = self.buffer.next_frame()? {
                self.credited_bytes += (body.len() - FEED_HEADER_BYTES) as u64;
                return Ok(Some(FeedFrame::decode(header.message_type, body)?));
            }
            match self.stream.read_chunk(1 << 16, true).await? {
                Some(chunk) => self.buffer.extend(&chunk.bytes),
                None => return Ok(None),
            }
        }
    }
}

/// Checks that frames chain, feed by feed.
#[derive(Debug)]
pub struct ChainCheck {
    positions: BTreeMap<PartitionId, Offset>,
    pub events: u64,
}

impl ChainCheck {
    pub fn new(state: &SubscriptionState) -> Self {
        let positions = state.feeds.iter().map(|feed| (feed.partition, feed.position.offset)).collect();
        Self { positions, events: 0 }
    }

    pub fn take(&mut self, frame: &FeedFrame) -> Result<()> {
        let position = self.positions.get_mut(&frame.feed.partition);
        let Some(position) = position else { bail!("a frame of unknown partition {}", frame.feed.partition) };
        ensure!(*position == frame.covers.start, "at {position} a frame that covers {}", frame.covers);
        *position = frame.covers.end;
        if let FeedContent::Events(events) = &frame.content {
            self.events += events.len() as u64;
        }
        Ok(())
    }

    pub fn covered(&self) -> u64 {
        self.positions.values().map(|offset| offset.0).sum()
    }
}
