//! The other side of a tail: another broker is told what is stored here, as a follower without a filter.

use std::sync::Arc;

use anyport_protocol::filter::Filter;
use anyport_protocol::message::feed::FeedId;
use anyport_protocol::message::push_frame;
use anyport_protocol::{Incarnation, Offset, OffsetRange, PartitionId};
use tokio::sync::mpsc;

use super::tail::OPENED;
use super::words::TailOpened;
use crate::feed::{Frames, write_frames};
use crate::net::WriteError;
use crate::partition::{FollowAnswer, FollowRequest, FollowerId, Live, LiveWindow, PartitionHandle};
use crate::peer::PeerStream;
use crate::peer::body::encode;

/// Stored events that may wait for one broker: some entries. A broker that is further behind reads again.
const WINDOW_BYTES: i64 = 4 << 20;

/// Frames gathered before they are written in one go.
const GATHERED_BYTES: usize = 128 << 10;

/// How often the tail may have moved on between asking where it is and following from there.
const ATTEMPTS: usize = 100;

/// Leaves the partition when it is dropped.
struct Following<'a> {
    partition: &'a PartitionHandle,
    follower: FollowerId,
}

impl Drop for Following<'_> {
    fn drop(&mut self) {
        self.partition.unfollow(self.follower);
    }
}

/// Serves until either side ends the stream, or this one falls behind.
pub(super) async fn serve(partition: &PartitionHandle, stream: PeerStream) {
    let PeerStream { mut reader, mut writer, .. } = stream;
    let window = Arc::new(LiveWindow::new(WINDOW_BYTES));
    let (sink, mut live) = mpsc::unbounded_channel();
    let Some((follower, tail)) = follow(partition, &window, &sink).await else { return writer.finish() };
    let _following = Following { partition, follower };
    let mut opened = Vec::new();
    push_frame(&mut opened, OPENED, 0, |body| body.extend_from_slice(&encode(&TailOpened { tail })));
    if writer.write(&opened).await.is_err() {
        return;
    }
    let mut position = tail;
    loop {
        let first = tokio::select! {
            // Nothing is ever said there: it is how the other side's end shows.
            _ = reader.next() => return,
            live = live.recv() => live,
        };
        let Gathered { frames, taken, has_left } = gather(partition.id(), &mut position, first, &mut live);
        let written: Result<(), WriteError> = writer.write(&frames).await;
        window.give_back(taken);
        if written.is_err() || has_left {
            return writer.finish();
        }
    }
}

async fn follow(
    partition: &PartitionHandle,
    window: &Arc<LiveWindow>,
    sink: &mpsc::UnboundedSender<Live>,
) -> Option<(FollowerId, Offset)> {
    let mut position = partition.bounds().tail;
    for _ in 0..ATTEMPTS {
        let request = FollowRequest {
            feed: feed(partition.id()),
            position,
            filter: Filter::always(),
            window: Arc::clone(window),
            sink: sink.clone(),
        };
        match partition.follow(request).await {
            FollowAnswer::Following(follower) => return Some((follower, position)),
            FollowAnswer::Behind { tail } => position = tail,
            FollowAnswer::Gone => return None,
        }
    }
    None
}

/// Brokers follow for nobody in particular.
fn feed(partition: PartitionId) -> FeedId {
    FeedId { incarnation: Incarnation(0), partition }
}

struct Gathered {
    frames: Vec<u8>,
    /// From the window.
    taken: usize,
    has_left: bool,
}

/// What was told so far, in frames.
fn gather(
    partition: PartitionId,
    position: &mut Offset,
    first: Option<Live>,
    live: &mut mpsc::UnboundedReceiver<Live>,
) -> Gathered {
    let (mut frames, mut taken, mut next) = (Frames::default(), 0, first);
    loop {
        match next {
            Some(Live::Frame { covers, events, bytes, .. }) => {
                taken += bytes;
                *position = covers.end;
                write_frames(&mut frames, feed(partition), covers, events.iter().map(|(at, event)| (*at, event)));
            }
            Some(Live::Progress { upto, .. }) => {
                let covers = OffsetRange::new(*position, upto.max(*position));
                *position = covers.end;
                write_frames(&mut frames, feed(partition), covers, std::iter::empty::<(Offset, &[u8])>());
            }
            Some(Live::Left { .. }) | None => return Gathered { frames: frames.bytes, taken, has_left: true },
        }
        if frames.bytes.len() >= GATHERED_BYTES {
            break;
        }
        match live.try_recv() {
            Ok(live) => next = Some(live),
            Err(_) => break,
        }
    }
    Gathered { frames: frames.bytes, taken, has_left: false }
}
